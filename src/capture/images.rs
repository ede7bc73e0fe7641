//! Pictures from files, folders and pipes, none of them lost.
//!
//! A file and a pipe with the same bytes give the same pictures: all of a film of JPEGs or
//! PNGs one after another, of a multipart stream or of Motion JPEG in AVI. They differ in what
//! a fault means. A named file that holds no picture is refused, and one whose only picture is
//! damaged is handed over to be refused by the decoder; a stream is searched for the next
//! picture, whatever it begins with, and what is damaged in it is counted and told.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::background::Background;
use super::camera::framer::Framer;
use super::camera::{CameraState, Frame, FrameData, FrameReport, FrameSource, Losses, name_of};
use super::{CaptureError, Source, limits};
use crate::vision::{ImageFormat, PictureError};

/// Bytes read from a pipe at a time.
const PIECE: usize = 64 << 10;

/// Pictures of a file, a folder or a pipe.
pub struct ImageSource {
    inner: Inner,
    ended: bool,
    report: Arc<Mutex<FrameReport>>,
}

enum Inner {
    Files(Files),
    Pipe(Background<Frame>),
}

/// Files that are read one at a time.
struct Files {
    opened: Instant,
    paths: std::vec::IntoIter<PathBuf>,
    /// The file that is being read.
    current: Option<(Arc<str>, Box<Cutter<File>>)>,
    /// The folder that they were found in; `None` for a file that was named.
    folder: Option<Arc<str>>,
}

impl ImageSource {
    /// Opens a picture file, a folder of them in the order of their names (sub-folders are
    /// left out), a pipe, or standard input as `-`. Files and pipes may hold one picture or many
    /// one after another; a pipe is read by a thread of its own.
    ///
    /// # Errors
    /// [`CaptureError::Open`] when there is no such file or it may not be read,
    /// [`CaptureError::NoPictures`] when a folder has no file at all. A file that is no
    /// picture is [`PictureError::Foreign`] when polled; in a folder it is skipped and
    /// counted, and [`CaptureError::NoPictures`] comes at the end if all were.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path == Path::new("-") {
            return Ok(Self::pipe("standard input".into(), || {
                Ok(Box::new(io::stdin()))
            }));
        }
        let name = name_of(path);
        let failed = |source| CaptureError::Open {
            name: name.to_string(),
            source,
        };
        let kind = path.metadata().map_err(failed)?.file_type();
        if kind.is_dir() {
            let paths = listing(path).map_err(failed)?;
            return Self::files(paths, Some(name));
        }
        if kind.is_file() {
            return Self::files(vec![path.to_owned()], None);
        }
        // Opening a named pipe waits for its writer: the thread's business too.
        let path = path.to_owned();
        Ok(Self::pipe(name, move || {
            File::open(path).map(|file| Box::new(file) as Box<dyn Read + Send>)
        }))
    }

    fn files(paths: Vec<PathBuf>, folder: Option<Arc<str>>) -> Result<Self, CaptureError> {
        if let (true, Some(folder)) = (paths.is_empty(), &folder) {
            return Err(CaptureError::NoPictures {
                name: folder.to_string(),
            });
        }
        Ok(Self {
            inner: Inner::Files(Files {
                opened: Instant::now(),
                paths: paths.into_iter(),
                current: None,
                folder,
            }),
            ended: false,
            report: Arc::default(),
        })
    }

    /// Pictures of what `open` yields, read by a thread of its own.
    pub(super) fn pipe<F>(name: Arc<str>, open: F) -> Self
    where
        F: FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
    {
        let report = Arc::new(Mutex::new(FrameReport::default()));
        let pipe = Pipe {
            name,
            opened: Instant::now(),
            report: Arc::clone(&report),
        };
        let frames = Background::spawn(limits::PICTURE_QUEUE, move |sender| {
            if let Err(error) = pipe.run(open, sender) {
                // Nobody left to hear of it is no failure.
                let _ = sender.send(Err(error));
            }
        });
        Self {
            inner: Inner::Pipe(frames),
            ended: false,
            report,
        }
    }

    fn next(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        match &mut self.inner {
            Inner::Files(files) => Ok(files.next(&mut lock(&self.report))?),
            Inner::Pipe(frames) => frames.poll(),
        }
    }
}

fn lock(report: &Mutex<FrameReport>) -> MutexGuard<'_, FrameReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for ImageSource {
    type Item = Frame;

    fn poll(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.next();
        match &next {
            Ok(Some(_)) => lock(&self.report).frames += 1,
            Err(nb::Error::WouldBlock) => {}
            Ok(None) | Err(nb::Error::Other(_)) => self.ended = true,
        }
        next
    }
}

impl FrameSource for ImageSource {
    fn state(&self) -> CameraState {
        if self.ended {
            CameraState::Ended
        } else {
            CameraState::Capturing
        }
    }

    fn report(&self) -> FrameReport {
        lock(&self.report).clone()
    }
}

/// A folder's files in the order of their names; hidden ones are left out.
fn listing(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        // Asked of the path, so that links to files count as files.
        if !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

impl Files {
    fn next(&mut self, report: &mut FrameReport) -> Result<Option<Frame>, CaptureError> {
        loop {
            if let Some((name, cutter)) = &mut self.current {
                let picture = cutter.next();
                cutter.losses.settle(name, report);
                match picture? {
                    Some(bytes) => {
                        return Ok(Some(Frame {
                            at: self.opened.elapsed(),
                            name: Arc::clone(name),
                            data: FrameData::Encoded(bytes),
                        }));
                    }
                    None => self.current = None,
                }
            }
            let Some(path) = self.paths.next() else {
                return match &self.folder {
                    Some(folder) if report.frames == 0 => Err(CaptureError::NoPictures {
                        name: folder.to_string(),
                    }),
                    _ => Ok(None),
                };
            };
            let name = name_of(&path);
            match (open(&path, &name), &self.folder) {
                (Ok(cutter), _) => self.current = Some((name, Box::new(cutter))),
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => {
                    log::info!("skipped: {error}");
                    report.skipped += 1;
                }
            }
        }
    }
}

/// A file that holds pictures, as far as its beginning tells.
fn open(path: &Path, name: &Arc<str>) -> Result<Cutter<File>, CaptureError> {
    let file = File::open(path).map_err(|source| CaptureError::Open {
        name: name.to_string(),
        source,
    })?;
    let mut cutter = Cutter::new(Arc::clone(name), file, Fault::Refused)?;
    let is_film = match ImageFormat::of(&cutter.head) {
        ImageFormat::Jpeg | ImageFormat::Png => true,
        ImageFormat::Foreign(_) => false,
        ImageFormat::Unknown(_) => is_film(path, &cutter.head),
    };
    if !is_film {
        return Err(cutter.no_picture());
    }
    // a film may turn out to hold none
    cutter.fill()?;
    Ok(cutter)
}

/// Whether a file that does not begin with a picture may hold some further in: by its name, or
/// as the answer of a web server or Motion JPEG in AVI. Others hold previews at best, which
/// are not what they are looked at for.
pub(super) fn is_film(path: &Path, head: &[u8]) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    ending == "mjpg" || ending == "mjpeg" || holds_parts(head)
}

/// Whether these are the first bytes of a multipart stream, of a web server's whole answer, or
/// of AVI.
pub(super) fn holds_parts(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    let is_avi = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"AVI ");
    is_avi
        || [&b"--"[..], b"HTTP/", b"Content-"]
            .iter()
            .any(|word| text.starts_with(word))
}

/// What a fault means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A file is refused.
    Refused,
    /// A stream goes on.
    PassedOver,
}

/// Cuts what a reader holds into pictures.
struct Cutter<R> {
    name: Arc<str>,
    reader: R,
    fault: Fault,
    /// The first bytes, which tell what it is.
    head: Vec<u8>,
    framer: Framer,
    ready: VecDeque<Vec<u8>>,
    piece: Vec<u8>,
    ended: bool,
    losses: Losses,
}

impl<R: Read> Cutter<R> {
    fn new(name: Arc<str>, mut reader: R, fault: Fault) -> Result<Self, CaptureError> {
        let mut head = Vec::new();
        let read = (&mut reader)
            .take(ImageFormat::HEAD as u64)
            .read_to_end(&mut head);
        read.map_err(|e| CaptureError::read(&name, e))?;
        let mut cutter = Self {
            name,
            reader,
            fault,
            framer: Framer::new(),
            ready: VecDeque::new(),
            piece: vec![0; PIECE],
            ended: false,
            losses: Losses::default(),
            head,
        };
        let ready = &mut cutter.ready;
        cutter
            .framer
            .push(&cutter.head, |picture| ready.push_back(picture));
        Ok(cutter)
    }

    /// The next picture; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, CaptureError> {
        self.fill()?;
        Ok(self.ready.pop_front())
    }

    /// Reads until a picture is ready or there is none any more.
    fn fill(&mut self) -> Result<(), CaptureError> {
        while self.ready.is_empty() && !self.ended {
            let read = match self.reader.read(&mut self.piece) {
                Ok(0) => return self.finish(),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(CaptureError::read(&self.name, e)),
            };
            let bytes = self.piece.get(..read).unwrap_or_default();
            let ready = &mut self.ready;
            self.framer.push(bytes, |picture| ready.push_back(picture));
            self.losses.add(self.framer.take_damaged());
            if self.framer.garbage() > limits::MAX_GARBAGE {
                self.endure()?;
            }
        }
        Ok(())
    }

    /// Decides about a long stretch without a picture: behind the pictures of a file there may
    /// be anything, a stream that had some is waited for, and one that had none has none.
    fn endure(&mut self) -> Result<(), CaptureError> {
        match (self.framer.has_any(), self.fault) {
            (true, Fault::Refused) => self.ended = true,
            (true, Fault::PassedOver) => {}
            (false, _) => return Err(self.no_picture()),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CaptureError> {
        self.ended = true;
        let ready = &mut self.ready;
        let spoilt = self.framer.finish(|picture| ready.push_back(picture));
        self.losses.add(self.framer.take_damaged());
        if self.framer.has_any() {
            return Ok(());
        }
        // the decoder says what is wrong with the only picture that there is
        match spoilt {
            Some(picture) => {
                self.losses.forgive();
                self.ready.push_back(picture);
                Ok(())
            }
            None => Err(self.no_picture()),
        }
    }

    fn no_picture(&self) -> CaptureError {
        let what = match ImageFormat::of(&self.head) {
            ImageFormat::Foreign(what) | ImageFormat::Unknown(what) => what,
            ImageFormat::Jpeg | ImageFormat::Png => {
                return PictureError::Cut {
                    name: self.name.to_string(),
                }
                .into();
            }
        };
        match self.fault {
            Fault::Refused => PictureError::foreign(&self.name, what).into(),
            Fault::PassedOver => CaptureError::NoStream {
                name: self.name.to_string(),
                what: what.to_owned(),
            },
        }
    }
}

/// The reading thread of a pipe.
struct Pipe {
    name: Arc<str>,
    opened: Instant,
    report: Arc<Mutex<FrameReport>>,
}

type Sender = SyncSender<Result<Frame, CaptureError>>;

impl Pipe {
    fn run<F>(&self, open: F, sender: &Sender) -> Result<(), CaptureError>
    where
        F: FnOnce() -> io::Result<Box<dyn Read + Send>>,
    {
        let reader = open().map_err(|source| CaptureError::Open {
            name: self.name.to_string(),
            source,
        })?;
        let mut cutter = Cutter::new(Arc::clone(&self.name), reader, Fault::PassedOver)?;
        if let ImageFormat::Foreign(_) = ImageFormat::of(&cutter.head) {
            return Err(cutter.no_picture());
        }
        loop {
            let picture = cutter.next();
            cutter.losses.settle(&self.name, &mut lock(&self.report));
            let Some(bytes) = picture? else { return Ok(()) };
            let frame = Frame {
                at: self.opened.elapsed(),
                name: Arc::clone(&self.name),
                data: FrameData::Encoded(bytes),
            };
            if sender.send(Ok(frame)).is_err() {
                return Ok(());
            }
        }
    }
}

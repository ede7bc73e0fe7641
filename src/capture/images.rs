//! Pictures from files, folders and pipes, one frame each, none of them lost.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::background::Background;
use super::camera::mjpeg::Framer;
use super::camera::{CameraState, Frame, FrameData, FrameReport, FrameSource, name_of};
use super::{CaptureError, Source, limits};
use crate::vision::Kind;

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
    /// The folder that they were found in; `None` for a file that was named.
    folder: Option<Arc<str>>,
}

impl ImageSource {
    /// Opens a picture file, a folder of them in the order of their names (sub-folders are
    /// left out), a pipe, or standard input as `-`. A pipe may hold one picture or JPEGs one
    /// after another; it is read by a thread of its own.
    ///
    /// # Errors
    /// [`CaptureError::Open`] when there is no such file or it may not be read,
    /// [`CaptureError::NoPictures`] when a folder has no file at all. A file that is no
    /// picture is [`CaptureError::NoPicture`] when polled; in a folder it is skipped and
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
        for path in self.paths.by_ref() {
            let name = name_of(&path);
            match (read(&path, &name), &self.folder) {
                (Ok(bytes), _) => {
                    return Ok(Some(Frame {
                        at: self.opened.elapsed(),
                        name,
                        data: FrameData::Encoded(bytes),
                    }));
                }
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => {
                    log::info!("skipped: {error}");
                    report.skipped += 1;
                }
            }
        }
        match &self.folder {
            Some(folder) if report.frames == 0 => Err(CaptureError::NoPictures {
                name: folder.to_string(),
            }),
            _ => Ok(None),
        }
    }
}

/// The bytes of a file that is a picture, as far as its first ones tell.
fn read(path: &Path, name: &str) -> Result<Vec<u8>, CaptureError> {
    let file = File::open(path).map_err(|source| CaptureError::Open {
        name: name.to_owned(),
        source,
    })?;
    let (mut file, mut bytes) = (file, Vec::new());
    take(&mut file, Kind::HEAD, &mut bytes, name)?;
    if let Kind::Foreign(what) = Kind::of(&bytes) {
        return Err(CaptureError::no_picture(name, what));
    }
    take_all(&mut file, &mut bytes, name)?;
    Ok(bytes)
}

/// Reads up to `most` more bytes.
fn take(
    reader: &mut (impl Read + ?Sized),
    most: usize,
    bytes: &mut Vec<u8>,
    name: &str,
) -> Result<(), CaptureError> {
    let read = reader.take(most as u64).read_to_end(bytes);
    read.map(drop).map_err(|e| CaptureError::read(name, e))
}

/// Reads the rest, unless it is beyond [`limits::MAX_PICTURE_BYTES`].
fn take_all(
    reader: &mut (impl Read + ?Sized),
    bytes: &mut Vec<u8>,
    name: &str,
) -> Result<(), CaptureError> {
    take(reader, limits::MAX_PICTURE_BYTES, bytes, name)?;
    if bytes.len() > limits::MAX_PICTURE_BYTES {
        let what = format!("it is longer than {} MiB", limits::MAX_PICTURE_BYTES >> 20);
        return Err(CaptureError::picture(name, what));
    }
    Ok(())
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
        let mut reader = open().map_err(|source| CaptureError::Open {
            name: self.name.to_string(),
            source,
        })?;
        let mut head = Vec::new();
        take(&mut reader, Kind::HEAD, &mut head, &self.name)?;
        match Kind::of(&head) {
            Kind::Jpeg => self.stream(head, &mut reader, sender),
            Kind::Png => {
                take_all(&mut reader, &mut head, &self.name)?;
                let _ = sender.send(Ok(self.frame(head)));
                Ok(())
            }
            Kind::Foreign(what) => Err(CaptureError::no_picture(&self.name, what)),
        }
    }

    fn frame(&self, bytes: Vec<u8>) -> Frame {
        Frame {
            at: self.opened.elapsed(),
            name: Arc::clone(&self.name),
            data: FrameData::Encoded(bytes),
        }
    }

    /// JPEGs one after another. A damaged one is passed over, unless there is no other.
    fn stream(
        &self,
        head: Vec<u8>,
        reader: &mut dyn Read,
        sender: &Sender,
    ) -> Result<(), CaptureError> {
        let (mut framer, mut piece) = (Framer::new(), vec![0; PIECE]);
        let (mut any, mut heard) = (false, true);
        let mut push = |bytes: &[u8]| {
            framer.push(bytes, |picture| {
                any = true;
                heard &= sender.send(Ok(self.frame(picture))).is_ok();
            });
            lock(&self.report).damaged += framer.take_damaged();
            (heard, framer.garbage())
        };
        push(&head);
        loop {
            let read = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(CaptureError::read(&self.name, e)),
            };
            match push(piece.get(..read).unwrap_or_default()) {
                (true, 0..=limits::MAX_GARBAGE) => {}
                (true, _) => return Err(self.garbage()),
                (false, _) => return Ok(()),
            }
        }
        if framer.is_inside() {
            lock(&self.report).damaged += 1;
        }
        if any {
            return Ok(());
        }
        Err(CaptureError::PictureCut {
            name: self.name.to_string(),
        })
    }

    fn garbage(&self) -> CaptureError {
        let size = limits::MAX_GARBAGE >> 20;
        CaptureError::picture(
            &self.name,
            format!("{size} MiB in a row hold no whole JPEG picture"),
        )
    }
}

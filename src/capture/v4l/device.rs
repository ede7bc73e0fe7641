//! V4L2 through linuxvideo: the only file that names it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linuxvideo::format::{PixFormat, PixelFormat};
use linuxvideo::stream::ReadStream;
use linuxvideo::{BufType, CapabilityFlags};

use super::Wish;
use crate::capture::camera::live::{Device, Live, Opener, Outlet, Refusal};
use crate::capture::camera::{
    CameraState, Frame, FrameData, FrameReport, FrameSource, Patience, name_of,
};
use crate::capture::{CaptureError, Source};
use crate::vision::jpeg::in_buffer;
use crate::vision::yuv::Layout;

/// Forms that are understood, the ones to ask for first first.
const FORMS: [PixelFormat; 3] = [
    PixelFormat::from_fourcc(*b"MJPG"),
    PixelFormat::from_fourcc(*b"JPEG"),
    YUYV,
];
const YUYV: PixelFormat = PixelFormat::from_fourcc(*b"YUYV");

/// A V4L2 camera.
pub struct V4lSource(Live);

impl V4lSource {
    /// Opens a device such as `/dev/video0`. One that is busy is waited for.
    ///
    /// # Errors
    /// [`CaptureError::Camera`] when there is no such device, it may not be opened, or it is
    /// no camera that sends MJPEG or YUYV.
    pub fn open(path: &Path, wish: Wish, patience: Patience) -> Result<Self, CaptureError> {
        let node = Node {
            path: path.to_owned(),
            name: name_of(path),
            wish,
        };
        Live::open(Arc::clone(&node.name), node, patience).map(Self)
    }
}

impl Source for V4lSource {
    type Item = Frame;

    fn poll(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        self.0.poll()
    }
}

impl FrameSource for V4lSource {
    fn state(&self) -> CameraState {
        self.0.state()
    }

    fn report(&self) -> FrameReport {
        self.0.report()
    }
}

/// A device's file, which comes and goes.
struct Node {
    path: PathBuf,
    name: Arc<str>,
    wish: Wish,
}

impl Opener for Node {
    type Device = Streaming;

    fn open(&mut self) -> Result<Streaming, Refusal> {
        let (device, form) = self.find()?;
        let wished = PixFormat::new(self.wish.width, self.wish.height, form);
        let capture = device.video_capture(wished).map_err(|e| self.refusal(&e))?;
        let form = self.form(capture.format())?;
        let stream = capture.into_stream().map_err(|e| self.refusal(&e))?;
        rustix::io::ioctl_fionbio(&stream, true).map_err(|e| self.refusal(&e.into()))?;
        Ok(Streaming { stream, form })
    }
}

/// Opens a device as far as [`V4lSource::open`] does before it asks for pictures, and says
/// what form they would have. One that is in use can be asked all the same.
///
/// # Errors
/// As [`V4lSource::open`].
pub fn probe(path: &Path) -> Result<String, CaptureError> {
    let node = Node {
        path: path.to_owned(),
        name: name_of(path),
        wish: Wish::default(),
    };
    match node.find() {
        Ok((_, form)) => Ok(fourcc(form)),
        Err(Refusal::Never(error)) => Err(error),
        Err(Refusal::Later(what)) => Err(node.error(what, "plug it in again, or start again")),
    }
}

impl Node {
    /// The device, and the form to ask it for.
    fn find(&self) -> Result<(linuxvideo::Device, PixelFormat), Refusal> {
        let device = linuxvideo::Device::open(&self.path).map_err(|e| self.refusal(&e))?;
        let has = device
            .capabilities()
            .map_err(|e| self.refusal(&e))?
            .device_capabilities();
        if !has.contains(CapabilityFlags::VIDEO_CAPTURE | CapabilityFlags::STREAMING) {
            return Err(self.no_camera("it streams no pictures"));
        }
        let offered: Vec<PixelFormat> = device
            .formats(BufType::VIDEO_CAPTURE)
            .filter_map(|format| Some(format.ok()?.pixel_format()))
            .collect();
        let Some(form) = FORMS.into_iter().find(|form| offered.contains(form)) else {
            let names: Vec<String> = offered.into_iter().map(fourcc).collect();
            let what = format!("it sends {} and not MJPEG or YUYV", names.join(", "));
            return Err(self.no_camera(&what));
        };
        Ok((device, form))
    }

    /// What the driver made of our wish.
    fn form(&self, format: &PixFormat) -> Result<FrameFormat, Refusal> {
        let (width, height) = (format.width(), format.height());
        match format.pixel_format() {
            YUYV => {
                // Some drivers leave the stride out.
                let stride = format.bytes_per_line().max(width.saturating_mul(2));
                let layout = Layout::yuyv(width, height, stride);
                let odd = || format!("it sends {width} × {height} with a stride of {stride}");
                layout
                    .map(FrameFormat::Yuyv)
                    .ok_or_else(|| self.no_camera(&odd()))
            }
            form if FORMS.contains(&form) => Ok(FrameFormat::Jpeg),
            form => Err(self.no_camera(&format!("it insists on sending {}", fourcc(form)))),
        }
    }

    fn refusal(&self, error: &io::Error) -> Refusal {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "plug it in, or see with `ls /dev/video*` what there is",
            io::ErrorKind::PermissionDenied => "add the user to the group `video`",
            // ENOTTY and EINVAL: it does not know what a camera is asked.
            _ if matches!(error.raw_os_error(), Some(22 | 25)) => NO_CAMERA,
            _ => return Refusal::Later(error.to_string()),
        };
        Refusal::Never(self.error(error.to_string(), advice))
    }

    fn no_camera(&self, what: &str) -> Refusal {
        Refusal::Never(self.error(what.to_owned(), NO_CAMERA))
    }

    fn error(&self, what: String, advice: &'static str) -> CaptureError {
        CaptureError::Camera {
            name: self.name.to_string(),
            what,
            advice,
        }
    }
}

const NO_CAMERA: &str = "try the next device of `ls /dev/video*`; a camera on the board's ribbon \
                         cable is reached by a command instead, such as `rpicam-vid -n -t 0 \
                         --codec mjpeg -o -`";

fn fourcc(form: PixelFormat) -> String {
    let code = form.as_fourcc();
    String::from_utf8_lossy(&code).trim().to_owned()
}

/// What a camera sends.
enum FrameFormat {
    Jpeg,
    Yuyv(Layout),
}

/// A camera that streams; dropping it stops it.
struct Streaming {
    stream: ReadStream,
    form: FrameFormat,
}

impl Device for Streaming {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.stream.as_fd()]
    }

    fn read(&mut self, out: &mut Outlet<'_>) -> Result<(), String> {
        let form = &self.form;
        let frame = self
            .stream
            .dequeue(|buffer| Ok((!buffer.is_error()).then(|| frame(form, &buffer)).flatten()));
        match frame {
            Ok(Some(frame)) => out.frame(frame),
            Ok(None) => out.damaged(1),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(format!("it stopped sending: {e}")),
        }
        Ok(())
    }
}

/// A buffer's content as a frame; `None` when it is damaged.
fn frame(form: &FrameFormat, buffer: &[u8]) -> Option<FrameData> {
    match form {
        FrameFormat::Jpeg => in_buffer(buffer).map(|jpeg| FrameData::Encoded(jpeg.to_vec())),
        FrameFormat::Yuyv(layout) => Some(FrameData::Yuyv {
            layout: *layout,
            bytes: buffer.get(..layout.yuyv_bytes())?.to_vec(),
        }),
    }
}

//! A program that writes frames to its standard output: how cameras behind libcamera, Argus
//! or GStreamer are reached, and any other.
//!
//! The program is started without a shell, in a process group of its own, with nothing on its
//! standard input. What it says on standard error goes to the log. When it ends, stalls or
//! writes what is no picture, its whole group is ended (SIGTERM, and SIGKILL a second later)
//! and it is started again after a growing wait ([`Patience`]); so it is when the source is
//! dropped. If we are killed outright, it dies of its next write.

mod notes;
mod stream;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStderr, ChildStdout, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use super::camera::live::{Device, Live, Opener, Outlet, Refusal};
use super::camera::{CameraState, Frame, FrameReport, FrameSource, Patience};
use super::{CaptureError, Source};
use crate::vision::yuv::Layout;
use notes::Notes;
use stream::Assembler;

/// Time to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);
/// Time for a program that closed its output to say how it ended.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Pause between two looks at a program that is about to end.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes read at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// The form of a program's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JPEG pictures one after another, as of `rpicam-vid --codec mjpeg -o -`.
    Mjpeg,
    /// Raw I420 frames of [`Layout::i420_bytes`] each. Cameras pad rows: `rpicam-vid` writes
    /// 480 columns with a stride of 512.
    I420(Layout),
}

/// A program, and what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    form: Form,
}

impl Command {
    /// A command of a program and its arguments, each a word of its own: no shell reads them.
    ///
    /// # Errors
    /// [`CaptureError::Camera`] without any word, or when the first is empty.
    pub fn new(words: &[String], form: Form) -> Result<Self, CaptureError> {
        match words {
            [program, arguments @ ..] if !program.is_empty() => Ok(Self {
                program: program.clone(),
                arguments: arguments.to_vec(),
                form,
            }),
            _ => Err(CaptureError::Camera {
                name: "command".to_owned(),
                what: "it has no program".to_owned(),
                advice: "give the program and its arguments as a list of words",
            }),
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }
}

/// Frames from a program.
pub struct ChildSource(Live);

impl ChildSource {
    /// Starts the program.
    ///
    /// # Errors
    /// [`CaptureError::Camera`] when there is no such program or it may not be run.
    pub fn open(command: &Command, patience: Patience) -> Result<Self, CaptureError> {
        let name = Arc::from(command.program.as_str());
        Live::open(name, Starter(command.clone()), patience).map(Self)
    }
}

impl Source for ChildSource {
    type Item = Frame;

    fn poll(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        self.0.poll()
    }
}

impl FrameSource for ChildSource {
    fn state(&self) -> CameraState {
        self.0.state()
    }

    fn report(&self) -> FrameReport {
        self.0.report()
    }
}

struct Starter(Command);

impl Opener for Starter {
    type Device = Running;

    fn open(&mut self) -> Result<Running, Refusal> {
        let command = &self.0;
        let child = process::Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| refusal(&command.program, &error))?;
        let mut running = Running {
            pipes: None,
            child,
            assembler: Assembler::new(command.form),
            notes: Notes::new(command.program.clone()),
            buffer: vec![0; PIECE],
        };
        let pipes = running.child.stdout.take().zip(running.child.stderr.take());
        let (stdout, stderr) =
            pipes.ok_or_else(|| Refusal::Later("it was started without pipes".to_owned()))?;
        let later = |e: rustix::io::Errno| Refusal::Later(e.to_string());
        rustix::io::ioctl_fionbio(&stdout, true).map_err(later)?;
        rustix::io::ioctl_fionbio(&stderr, true).map_err(later)?;
        running.pipes = Some((stdout, Some(stderr)));
        Ok(running)
    }
}

fn refusal(program: &str, error: &io::Error) -> Refusal {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "install it, or give its whole path",
        io::ErrorKind::PermissionDenied => "check that it is a program and may be run",
        io::ErrorKind::InvalidInput => "take the zero byte out of the command",
        _ => return Refusal::Later(format!("it cannot be started: {error}")),
    };
    Refusal::Never(CaptureError::Camera {
        name: program.to_owned(),
        what: format!("it cannot be started: {error}"),
        advice,
    })
}

/// The program while it runs.
struct Running {
    /// Its output, and its messages until it has closed them.
    pipes: Option<(ChildStdout, Option<ChildStderr>)>,
    child: process::Child,
    assembler: Assembler,
    notes: Notes,
    buffer: Vec<u8>,
}

impl Device for Running {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = Vec::with_capacity(2);
        if let Some((stdout, stderr)) = &self.pipes {
            all.push(stdout.as_fd());
            all.extend(stderr.as_ref().map(AsFd::as_fd));
        }
        all
    }

    fn read(&mut self, out: &mut Outlet<'_>) -> Result<(), String> {
        self.listen();
        let Some((stdout, _)) = &mut self.pipes else {
            return Err("it has no output".to_owned());
        };
        match stdout.read(&mut self.buffer) {
            Ok(0) => {
                self.assembler.finish(out);
                Err(self.obituary())
            }
            Ok(read) => {
                let bytes = self.buffer.get(..read).unwrap_or_default();
                self.assembler.push(bytes, out)
            }
            Err(e) if is_not_yet(&e) => Ok(()),
            Err(e) => Err(format!("its output cannot be read: {e}")),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Running {
    /// Logs what it says on standard error.
    fn listen(&mut self) {
        let Some((_, stderr)) = &mut self.pipes else {
            return;
        };
        let Some(pipe) = stderr else { return };
        match pipe.read(&mut self.buffer) {
            Ok(0) => *stderr = None,
            Ok(read) => {
                let bytes = self.buffer.get(..read).unwrap_or_default();
                self.notes.push(bytes, Instant::now());
            }
            Err(e) if is_not_yet(&e) => {}
            Err(_) => *stderr = None,
        }
    }

    /// Why its output ended.
    fn obituary(&mut self) -> String {
        let how = match self.ending(LAST_WORDS) {
            None => "it still runs".to_owned(),
            Some(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("ended by signal {signal}"),
                (None, None) => "it has gone".to_owned(),
            },
        };
        self.listen();
        let mut text = format!("its output ended ({how})");
        if let Some(complaint) = self.assembler.complaint() {
            text.push_str("; ");
            text.push_str(&complaint);
        }
        if let Some(words) = self.notes.last() {
            text.push_str(&format!("; its last words were \"{words}\""));
        }
        text
    }

    /// How it ended, if it does within `time`. It is not reaped: until then its id, and that
    /// of its group, stay its own.
    fn ending(&self, time: Duration) -> Option<WaitIdStatus> {
        let id = WaitId::Pid(Pid::from_child(&self.child));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let begun = Instant::now();
        loop {
            match waitid(id.clone(), options) {
                Ok(None) if begun.elapsed() < time => thread::sleep(LOOK),
                ended => return ended.ok().flatten(),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has gone already.
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::TERM);
        self.ending(GRACE);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

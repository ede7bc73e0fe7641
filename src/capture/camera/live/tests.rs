//! A device file that goes away and comes back. A named pipe stands in for a camera's node:
//! its descriptor is waited for, its end is a camera that was pulled out, and its path is
//! missing until it is plugged in again.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::*;
use crate::vision::yuv::Layout;

/// Frames of two pixels: the pipe's bytes, four at a time.
struct Node(PathBuf);

struct Plugged(File, Vec<u8>);

impl Opener for Node {
    type Device = Plugged;

    fn open(&mut self) -> Result<Plugged, Refusal> {
        // With a writer of our own the pipe opens at once, as a device does.
        let file = OpenOptions::new().read(true).write(true).open(&self.0);
        let file = file.map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => Refusal::Never(CaptureError::read("cam", e)),
            _ => Refusal::Later(e.to_string()),
        })?;
        rustix::io::ioctl_fionbio(&file, true).map_err(|e| Refusal::Later(e.to_string()))?;
        Ok(Plugged(file, Vec::new()))
    }
}

impl Device for Plugged {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.0.as_fd()]
    }

    fn read(&mut self, out: &mut Outlet<'_>) -> Result<(), String> {
        let mut bytes = [0; 64];
        let read = match self.0.read(&mut bytes) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        for byte in &bytes[..read] {
            match byte {
                b'!' => return Err("No such device (os error 19)".to_owned()),
                b'?' => out.damaged(1),
                byte => self.1.push(*byte),
            }
            if let [_, _, _, _] = self.1.as_slice() {
                out.frame(FrameData::Yuyv {
                    layout: Layout::yuyv(2, 1, 4).unwrap(),
                    bytes: std::mem::take(&mut self.1),
                });
            }
        }
        Ok(())
    }
}

struct Camera {
    folder: PathBuf,
    live: Live,
}

impl Camera {
    /// A camera that is plugged in, or is not.
    fn new(name: &str, plugged: bool, patience: Patience) -> Self {
        let folder = std::env::temp_dir().join(format!("demeanor-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let node = folder.join("video0");
        if plugged {
            plug(&node);
        }
        let live = Live::open("cam".into(), Node(node), patience).unwrap();
        Self { folder, live }
    }

    fn node(&self) -> PathBuf {
        self.folder.join("video0")
    }

    fn send(&self, bytes: &[u8]) {
        let mut node = OpenOptions::new().write(true).open(self.node()).unwrap();
        node.write_all(bytes).unwrap();
    }

    fn until<T>(&mut self, mut seen: impl FnMut(&mut Live) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = seen(&mut self.live) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it never came");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn frame(&mut self) -> Frame {
        self.until(|live| live.poll().ok().map(|frame| frame.unwrap()))
    }

    fn reason(&mut self) -> String {
        self.until(|live| match live.state() {
            CameraState::Waiting { reason, .. } => Some(reason),
            _ => None,
        })
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn plug(node: &Path) {
    let made = std::process::Command::new("mkfifo").arg(node).status();
    assert!(made.unwrap().success());
}

fn hasty() -> Patience {
    Patience {
        stall: Duration::from_secs(20),
        first_retry: Duration::from_millis(20),
        last_retry: Duration::from_millis(80),
        ran_well: Duration::from_secs(20),
    }
}

#[test]
fn unplugged_and_plugged_in_again() {
    let mut camera = Camera::new("lost", true, hasty());
    camera.send(&[50, 128, 60, 128]);
    let first = camera.frame();
    assert_eq!(first.clone().decode().unwrap().width(), 2);
    camera.send(b"!");
    fs::remove_file(camera.node()).unwrap();
    assert!(camera.reason().contains("os error"));
    // gone for several tries, each after a longer wait
    let missing = camera.until(|live| match live.state() {
        CameraState::Waiting { reason, retry_in } if retry_in == hasty().last_retry => Some(reason),
        _ => None,
    });
    assert!(missing.contains("No such file"), "{missing}");
    plug(&camera.node());
    camera.until(|live| (live.state() == CameraState::Capturing).then_some(()));
    camera.send(&[70, 128, 80, 128]);
    let second = camera.frame();
    assert!(second.at > first.at, "time goes on while it is away");
    let report = camera.live.report();
    assert!(report.restarts >= 3, "{report:?}");
    assert_eq!((report.frames, report.dropped), (2, 0));
}

#[test]
fn a_device_that_is_missing_at_first_is_waited_for() {
    let mut camera = Camera::new("missing", false, hasty());
    assert!(camera.reason().contains("No such file"));
    assert!(matches!(camera.live.poll(), Err(nb::Error::WouldBlock)));
    plug(&camera.node());
    camera.until(|live| (live.state() == CameraState::Capturing).then_some(()));
}

#[test]
fn waiting_begins_anew_after_a_good_run() {
    let patience = Patience {
        ran_well: Duration::ZERO,
        ..hasty()
    };
    let mut camera = Camera::new("well", true, patience);
    for _ in 0..4 {
        camera.send(&[50, 128, 60, 128]);
        camera.frame();
        camera.send(b"!");
        let wait = camera.until(|live| match live.state() {
            CameraState::Waiting { retry_in, .. } => Some(retry_in),
            _ => None,
        });
        assert_eq!(wait, patience.first_retry);
        camera.until(|live| (live.state() == CameraState::Capturing).then_some(()));
    }
}

#[test]
fn nothing_but_damage_is_a_stall_too() {
    let patience = Patience {
        stall: Duration::from_millis(200),
        ..hasty()
    };
    let mut camera = Camera::new("damage", true, patience);
    camera.send(b"????");
    let reason = camera.reason();
    assert!(reason.contains("no whole frame for 200ms"), "{reason}");
    assert_eq!(camera.live.report().damaged, 4);
}

#[test]
fn dropping_wakes_whatever_is_waited_for() {
    let patient = Patience {
        first_retry: Duration::from_secs(600),
        last_retry: Duration::from_secs(600),
        stall: Duration::from_secs(600),
        ..hasty()
    };
    for plugged in [true, false] {
        let camera = Camera::new(&format!("drop-{plugged}"), plugged, patient);
        let begun = Instant::now();
        drop(camera);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

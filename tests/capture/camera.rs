//! Cameras: real programs that write frames, die, stall, flood and lie, and files and pipes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::{is_emulated, mutate};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Folder;
use demeanor::capture::camera::{
    CameraSpec, CameraState, Frame, FrameReport, FrameSource, Patience, open_camera,
};
use demeanor::capture::child::{ChildSource, Command, Form};
use demeanor::capture::images::ImageSource;
use demeanor::capture::{CaptureError, Source};
use demeanor::vision::yuv::Layout;

/// Longest time that anything here may take; most takes a few milliseconds.
const LONG: Duration = Duration::from_secs(60);

fn picture(name: &str) -> PathBuf {
    crate::support::repo("tests/data/pictures").join(name)
}

/// Short waits, so that a second try is seen soon.
fn hasty() -> Patience {
    Patience {
        stall: Duration::from_secs(20),
        first_retry: Duration::from_millis(30),
        last_retry: Duration::from_millis(120),
        ran_well: Duration::from_secs(30),
    }
}

fn shell_with(script: &str, form: Form, patience: Patience) -> ChildSource {
    let words = ["sh", "-c", script].map(str::to_owned);
    ChildSource::open(&Command::new(&words, form).unwrap(), patience).unwrap()
}

fn shell(script: &str, form: Form) -> ChildSource {
    shell_with(script, form, hasty())
}

/// Looks until `seen` says what it wanted to see.
fn until<T>(mut seen: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = seen() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "it never came");
        thread::sleep(Duration::from_millis(2));
    }
}

fn frame(source: &mut impl FrameSource) -> Frame {
    until(|| match source.poll() {
        Ok(frame) => Some(frame.expect("it has not ended")),
        Err(nb::Error::WouldBlock) => None,
        Err(nb::Error::Other(error)) => panic!("{error}"),
    })
}

/// The reason of the first wait.
fn reason(source: &mut impl FrameSource) -> String {
    until(|| match source.state() {
        CameraState::Waiting { reason, .. } => Some(reason),
        _ => None,
    })
}

fn everything(source: &mut impl FrameSource) -> Result<Vec<Frame>, CaptureError> {
    let mut frames = Vec::new();
    loop {
        match nb::block!(source.poll())? {
            Some(frame) => frames.push(frame),
            None => return Ok(frames),
        }
    }
}

/// Whether a process is gone, or dead and only not yet reaped by whoever is to.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z'),
    }
}

/// The lines of a file that a program writes, as soon as there are so many.
fn lines(path: &str, count: usize) -> Vec<String> {
    until(|| {
        let text = fs::read_to_string(path).ok()?;
        let lines: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
        (text.ends_with('\n') && lines.len() >= count).then_some(lines)
    })
}

#[test]
fn pictures_of_a_program_arrive_and_decode() {
    let file = picture("thumbnail.jpg");
    let mut source = shell(&format!("cat {}; sleep 1000", file.display()), Form::Mjpeg);
    let frame = frame(&mut source);
    assert_eq!(
        (&*frame.name, source.state()),
        ("sh", CameraState::Capturing)
    );
    assert!(frame.at < LONG);
    let picture = frame.decode().unwrap();
    assert_eq!((picture.width(), picture.height()), (48, 32));
    assert_eq!(source.report().frames, 1);
}

#[test]
fn raw_frames_are_cut_by_their_size() {
    let layout = Layout::i420(6, 4, 8).unwrap();
    let white = "\\353".repeat(32) + &"\\200".repeat(16);
    let black = "\\020".repeat(32) + &"\\200".repeat(16);
    let script = format!("printf '{white}'; read x < $0; printf '{black}'; sleep 1000");
    let folder = Folder::new();
    let gate = folder.file("gate", "");
    fs::remove_file(&gate).unwrap();
    make_fifo(&gate);
    let words = ["sh", "-c", &script, &gate].map(str::to_owned);
    let command = Command::new(&words, Form::I420(layout)).unwrap();
    let mut source = ChildSource::open(&command, hasty()).unwrap();
    for value in [255, 0] {
        let picture = frame(&mut source).decode().unwrap();
        assert_eq!((picture.width(), picture.height()), (6, 4));
        assert!(picture.rgb().iter().all(|byte| *byte == value), "{value}");
        if value == 255 {
            fs::write(&gate, "go\n").unwrap();
        }
    }
}

fn make_fifo(path: &str) {
    let status = std::process::Command::new("mkfifo").arg(path).status();
    assert!(status.unwrap().success());
}

#[test]
fn the_newest_frame_wins_and_the_others_are_counted() {
    let folder = Folder::new();
    let done = folder.path("done");
    let (small, large) = (picture("one.jpg"), picture("plain.jpg"));
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9; do cat {}; done; cat {}; echo > {}; sleep 1000",
        small.display(),
        large.display(),
        done.display()
    );
    let mut source = shell(&script, Form::Mjpeg);
    until(|| done.exists().then_some(()));
    until(|| (source.report().dropped == 9).then_some(()));
    let newest = frame(&mut source).decode().unwrap();
    assert_eq!(newest.width(), 48, "the last one is the large one");
    assert!(matches!(source.poll(), Err(nb::Error::WouldBlock)));
    assert_eq!(source.report().frames, 1);
}

#[test]
fn a_program_that_dies_is_started_again_and_its_last_words_are_told() {
    let script = "echo 'no cameras available' >&2; exit 3";
    let mut source = shell(script, Form::Mjpeg);
    let reason = reason(&mut source);
    println!("{reason}");
    assert!(reason.contains("exit status 3"), "{reason}");
    assert!(reason.contains("no cameras available"), "{reason}");
    until(|| (source.report().restarts >= 3).then_some(()));
    // each wait is twice as long as the one before, up to the longest
    let longest = until(|| match source.state() {
        CameraState::Waiting { retry_in, .. } if retry_in >= hasty().last_retry => Some(retry_in),
        _ => None,
    });
    assert_eq!(longest, hasty().last_retry);
    assert!(
        matches!(source.poll(), Err(nb::Error::WouldBlock)),
        "it goes on trying"
    );
}

#[test]
fn a_program_that_recovers_delivers_again() {
    let folder = Folder::new();
    let (marker, file) = (folder.path("been"), picture("plain.jpg"));
    let script = format!(
        "if test -e {0}; then cat {1}; sleep 1000; else echo > {0}; kill -9 $$; fi",
        marker.display(),
        file.display()
    );
    let mut source = shell(&script, Form::Mjpeg);
    assert_eq!(frame(&mut source).decode().unwrap().width(), 48);
    assert_eq!(
        (source.state(), source.report().restarts),
        (CameraState::Capturing, 1)
    );
}

#[test]
fn silence_is_a_stall_and_the_program_is_replaced() {
    let folder = Folder::new();
    let pids = folder.file("pids", "");
    let patience = Patience {
        stall: Duration::from_millis(300),
        ..hasty()
    };
    let mut source = shell_with(
        &format!("echo $$ >> {pids}; exec sleep 1000"),
        Form::Mjpeg,
        patience,
    );
    let reason = reason(&mut source);
    assert!(reason.contains("no frame for 300ms"), "{reason}");
    let pids = lines(&pids, 2);
    assert!(
        is_gone(&pids[0]),
        "the silent one was ended before the next was started"
    );
}

#[test]
fn garbage_is_told_from_pictures() {
    let mut source = shell("yes no picture at all", Form::Mjpeg);
    let reason = reason(&mut source);
    println!("{reason}");
    assert!(
        reason.contains("4 MiB") && reason.contains("mjpeg"),
        "{reason}"
    );
    assert!(matches!(source.poll(), Err(nb::Error::WouldBlock)));
}

#[test]
fn damaged_pictures_are_counted_and_whole_ones_pass() {
    let (cut, whole) = (picture("cut-data.jpg"), picture("plain.jpg"));
    let script = format!(
        "cat {0}; cat {1}; printf garbage; cat {1}; sleep 1000",
        cut.display(),
        whole.display()
    );
    let mut source = shell(&script, Form::Mjpeg);
    until(|| {
        let _ = source.poll();
        let report = source.report();
        (report.frames + report.dropped == 2).then_some(())
    });
    assert_eq!(source.report().damaged, 1);
}

#[test]
fn a_wrong_stride_is_told_at_the_end_of_the_stream() {
    // two frames of 48 × 32 with a stride of 64, taken for a stride of 48
    let script = "head -c 6144 /dev/zero";
    let mut source = shell(script, Form::I420(Layout::i420(48, 32, 48).unwrap()));
    let reason = reason(&mut source);
    println!("{reason}");
    for part in ["6144 bytes", "48 × 32, stride 48", "; 48 × 32, stride 64"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_wrong_stride_is_seen_while_the_stream_goes_on() {
    let folder = Folder::new();
    let mut raw = Vec::new();
    for y in 0..120u32 {
        raw.extend((0..200u32).map(|x| (x + y / 2) as u8));
        raw.extend([0; 56]);
    }
    raw.resize(256 * 120 * 3 / 2, 128);
    let file = folder.file("raw", raw.repeat(3));
    let form = Form::I420(Layout::i420(200, 120, 200).unwrap());
    let mut source = shell(&format!("cat {file}; sleep 1000"), form);
    frame(&mut source);
    let warnings = source.report().warnings;
    println!("{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("stride to 256")));
}

#[test]
fn a_flood_takes_neither_memory_nor_the_machine() {
    // a tiny picture as often as the pipe takes it: kept back by our pace
    let file = picture("one.jpg");
    let script = format!("f={}; while :; do cat $f $f $f $f; done", file.display());
    let mut source = shell(&script, Form::Mjpeg);
    until(|| (source.report().dropped > 50).then_some(()));
    assert_eq!(frame(&mut source).decode().unwrap().width(), 1);
    let begun = Instant::now();
    drop(source);
    assert!(begun.elapsed() < LONG);
    // zeros as raw frames, which cost their writer nothing
    let layout = Layout::i420(64, 48, 64).unwrap();
    let mut source = shell("exec cat /dev/zero", Form::I420(layout));
    let (begun, before) = (Instant::now(), cpu_time());
    until(|| (begun.elapsed() > Duration::from_secs(1)).then_some(()));
    let used = cpu_time() - before;
    println!(
        "{} frames, {used:?} of processor time",
        source.report().dropped
    );
    // the other tests of this file count as well, so the bound is a wide one
    assert!(source.report().dropped < 20_000);
    assert!(frame(&mut source).decode().is_ok());
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn dropping_ends_the_whole_group() {
    let folder = Folder::new();
    let pids = folder.file("pids", "");
    // a child of the program, and both deaf to the gentle signal
    let script = format!(
        "trap '' TERM; echo $$ > {pids}; (trap '' TERM; exec sleep 1000) & echo $! >> {pids}; \
         cat {}; wait",
        picture("plain.jpg").display()
    );
    let mut source = shell(&script, Form::Mjpeg);
    frame(&mut source);
    let pids = lines(&pids, 2);
    assert!(pids.iter().all(|pid| !is_gone(pid)));
    drop(source);
    for pid in pids {
        until(|| is_gone(&pid).then_some(()));
    }
}

#[test]
fn a_gentle_signal_comes_first() {
    let folder = Folder::new();
    let (pids, farewell) = (folder.file("pids", ""), folder.path("farewell"));
    let script = format!(
        "trap 'echo > {}; exit' TERM; echo $$ > {pids}; while :; do sleep 0.01; done",
        farewell.display()
    );
    let source = shell(&script, Form::Mjpeg);
    lines(&pids, 1);
    drop(source);
    assert!(farewell.exists(), "it was given time to clean up");
}

#[test]
fn a_program_does_not_outlive_us() {
    let folder = Folder::new();
    let pids = folder.file("pids", "");
    let mut us = crate::support::start(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "camera::child_captures",
            "--ignored",
            "--nocapture",
        ])
        .env("DEMEANOR_PIDS", &pids)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pids = lines(&pids, 1);
    assert!(!is_gone(&pids[0]));
    // not even time to drop anything: it dies of its next write
    us.kill().unwrap();
    us.wait().unwrap();
    until(|| is_gone(&pids[0]).then_some(()));
}

#[test]
fn a_stop_signal_ends_the_program_too() {
    let folder = Folder::new();
    let pids = folder.file("pids", "");
    let mut us = crate::support::start(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "camera::child_captures",
            "--ignored",
            "--nocapture",
        ])
        .env("DEMEANOR_PIDS", &pids)
        .env("DEMEANOR_SILENT", "yes")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pids = lines(&pids, 1);
    let kill = std::process::Command::new("kill")
        .args(["-TERM", &us.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert!(us.wait().unwrap().success());
    until(|| is_gone(&pids[0]).then_some(()));
}

#[test]
#[ignore = "run by the two tests before, in a process that can be killed"]
fn child_captures() {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, stop.clone()).unwrap();
    let pids = std::env::var("DEMEANOR_PIDS").unwrap();
    let then = match std::env::var("DEMEANOR_SILENT") {
        Ok(_) => "exec sleep 1000".to_owned(),
        // by the shell itself, for it is the shell that is to die
        Err(_) => "while :; do printf x; sleep 0.05; done".to_owned(),
    };
    let mut source = shell(&format!("echo $$ > {pids}; {then}"), Form::Mjpeg);
    let begun = Instant::now();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) && begun.elapsed() < LONG {
        let _ = source.poll();
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_that_is_not_there_is_an_error_at_once() {
    if is_emulated() {
        return;
    }
    let open = |program: &str| {
        let command = Command::new(&[program.to_owned()], Form::Mjpeg).unwrap();
        let error = ChildSource::open(&command, hasty())
            .map(|_| ())
            .unwrap_err();
        println!("{error}");
        error.to_string()
    };
    let missing = open("rpicam-vid-of-nowhere");
    assert!(missing.contains("rpicam-vid-of-nowhere") && missing.contains("install it"));
    assert!(open("/etc/passwd").contains("may be run"));
    assert!(Command::new(&[], Form::Mjpeg).is_err());
    assert!(Command::new(&[String::new()], Form::Mjpeg).is_err());
}

#[test]
fn a_folder_gives_its_pictures_by_name_and_skips_the_rest() {
    let folder = Folder::new();
    let copy = |name: &str, of: &str| folder.file(name, fs::read(picture(of)).unwrap());
    copy("b.jpg", "plain.jpg");
    copy("a.png", "plain.png");
    copy("c-not-called-so.txt", "one.jpg");
    copy(".hidden.jpg", "one.jpg");
    folder.file("notes.jpg", "no picture");
    folder.file("empty.jpg", "");
    fs::create_dir(folder.path("sub")).unwrap();
    fs::copy(picture("one.jpg"), folder.path("sub/d.jpg")).unwrap();
    let mut source = ImageSource::open(&folder.path("")).unwrap();
    assert_eq!(source.state(), CameraState::Capturing);
    let frames = everything(&mut source).unwrap();
    let names: Vec<&str> = frames
        .iter()
        .map(|frame| {
            Path::new(&*frame.name)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect();
    assert_eq!(names, ["a.png", "b.jpg", "c-not-called-so.txt"]);
    let report = source.report();
    assert_eq!((report.frames, report.skipped), (3, 2));
    assert_eq!(source.state(), CameraState::Ended);
    for frame in frames {
        frame.decode().unwrap();
    }
}

#[test]
fn a_named_file_that_is_no_picture_is_an_error() {
    let folder = Folder::new();
    let gif = folder.file("a.jpg", "GIF89a....");
    let mut source = ImageSource::open(Path::new(&gif)).unwrap();
    let error = everything(&mut source).unwrap_err().to_string();
    assert!(error.contains("a.jpg: this is GIF"), "{error}");
    assert!(
        matches!(source.poll(), Ok(None)),
        "a failed source has ended"
    );
    let missing = ImageSource::open(Path::new("/nowhere/a.jpg")).map(|_| ());
    assert!(matches!(missing, Err(CaptureError::Open { .. })));
}

#[test]
fn a_folder_without_pictures_is_an_error() {
    let folder = Folder::new();
    let open = ImageSource::open(&folder.path("")).map(|_| ());
    assert!(matches!(open, Err(CaptureError::NoPictures { .. })));
    folder.file("notes.txt", "no picture");
    let mut source = ImageSource::open(&folder.path("")).unwrap();
    let error = everything(&mut source).unwrap_err();
    assert!(matches!(error, CaptureError::NoPictures { .. }), "{error}");
}

/// All that comes out of a named pipe into which another thread writes `bytes`, and how the
/// source accounts for it.
fn piped(bytes: Vec<u8>) -> (Result<Vec<Frame>, CaptureError>, FrameReport) {
    let folder = Folder::new();
    let path = folder.path("pipe");
    make_fifo(path.to_str().unwrap());
    let mut source = ImageSource::open(&path).unwrap();
    thread::spawn(move || {
        // the reader may have seen enough; that is its right
        let _ = fs::write(path, bytes);
    });
    (everything(&mut source), source.report())
}

#[test]
fn a_pipe_gives_every_picture_in_it() {
    let read = |name: &str| fs::read(picture(name)).unwrap();
    let stream = [
        read("plain.jpg"),
        read("thumbnail.jpg"),
        b"\0\0noise".to_vec(),
        read("cut-data.jpg"),
        read("one.jpg"),
    ]
    .concat();
    let (frames, report) = piped(stream);
    let widths: Vec<u32> = frames
        .unwrap()
        .into_iter()
        .map(|frame| frame.decode().unwrap().width())
        .collect();
    assert_eq!(widths, [48, 48, 1]);
    assert_eq!((report.frames, report.dropped, report.damaged), (3, 0, 1));
}

/// Multipart answers of web cameras, with and without the server's own header, in the line
/// ends and orders that there are.
fn multipart(pictures: &[&[u8]], line: &str, length: bool, header: &str) -> Vec<u8> {
    let mut out = header.as_bytes().to_vec();
    for picture in pictures {
        out.extend(format!("--frame{line}Content-Type: image/jpeg{line}").bytes());
        if length {
            out.extend(format!("Content-Length: {}{line}", picture.len()).bytes());
        }
        out.extend(line.bytes());
        out.extend_from_slice(picture);
        out.extend(line.bytes());
    }
    out.extend(format!("--frame--{line}").bytes());
    out
}

/// A film as AVI: a header, pictures in chunks, and an index.
fn avi(pictures: &[&[u8]]) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0AVI LIST\xC0\0\0\0hdrlavih".to_vec();
    out.extend([0; 0xB4]);
    out.extend(b"LIST\0\0\0\0movi");
    for picture in pictures {
        out.extend(b"00dc");
        out.extend((picture.len() as u32).to_le_bytes());
        out.extend_from_slice(picture);
        out.extend(vec![0; picture.len() % 2]);
    }
    out.extend(b"idx1\x10\0\0\0");
    out.extend([0xFF; 16]);
    out
}

/// What a stream holds that a camera, a web server or a program made.
fn streams() -> Vec<(&'static str, Vec<u8>, usize)> {
    let read = |name: &str| fs::read(picture(name)).unwrap();
    let (plain, lossless) = (read("plain.jpg"), read("plain.png"));
    let open = &plain[..plain.len() - 2];
    let three = [&plain[..], &plain, &plain];
    let web = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";
    vec![
        ("one after another", three.concat(), 3),
        ("PNGs", [&lossless[..], &lossless].concat(), 2),
        ("both", [&plain[..], &lossless, &plain].concat(), 3),
        ("multipart", multipart(&three, "\r\n", true, ""), 3),
        ("no lengths", multipart(&three, "\r\n", false, ""), 3),
        ("short lines", multipart(&three, "\n", true, ""), 3),
        (
            "an empty line first",
            multipart(&three, "\r\n", true, "\r\n"),
            3,
        ),
        (
            "the server's header",
            multipart(&three, "\r\n", true, web),
            3,
        ),
        (
            "PNG parts",
            multipart(&[&lossless, &lossless], "\r\n", true, ""),
            2,
        ),
        ("no ends", [open, open, open].concat(), 3),
        (
            "parts without ends",
            multipart(&[open, open, open], "\r\n", true, ""),
            3,
        ),
        (
            "no ends, short lines",
            multipart(&[open, open], "\n", false, ""),
            2,
        ),
        (
            "padding",
            [&plain[..], &[0; 999], &plain, b"\r\n"].concat(),
            2,
        ),
        ("AVI", avi(&three), 3),
        ("AVI without ends", avi(&[open, &plain, open]), 3),
    ]
}

#[test]
fn a_file_and_a_pipe_give_the_same_pictures() {
    let folder = Folder::new();
    for (what, bytes, count) in streams() {
        let path = folder.file("film.mjpg", &bytes);
        let mut source = ImageSource::open(Path::new(&path)).unwrap();
        let of_file = everything(&mut source).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (of_pipe, report) = piped(bytes);
        let of_pipe = of_pipe.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((of_pipe.len(), report.damaged), (count, 0), "{what}");
        assert_eq!(source.report().damaged, 0, "{what}");
        let data = |frames: &[Frame]| frames.iter().map(|f| f.data.clone()).collect::<Vec<_>>();
        assert_eq!(data(&of_file), data(&of_pipe), "{what}");
        for frame in of_pipe {
            assert_eq!(frame.decode().unwrap().width(), 48, "{what}");
        }
    }
}

#[test]
fn a_program_may_write_any_of_these() {
    let folder = Folder::new();
    for (what, bytes, count) in streams() {
        let path = folder.file("film", &bytes);
        let mut source = shell(&format!("cat {path}"), Form::Mjpeg);
        // the last one may lack an end that only the end of the stream tells
        until(|| {
            let report = source.report();
            (report.restarts > 0 || report.dropped + 1 >= count as u64).then_some(())
        });
        assert_eq!(frame(&mut source).decode().unwrap().width(), 48, "{what}");
        assert_eq!(source.report().damaged, 0, "{what}");
    }
}

#[test]
fn a_stream_may_begin_anywhere_in_a_picture() {
    let plain = fs::read(picture("plain.jpg")).unwrap();
    for from in (1..plain.len()).step_by(37) {
        let (frames, report) = piped([&plain[from..], &plain, &plain].concat());
        assert_eq!(frames.unwrap().len(), 2, "from {from}");
        assert_eq!(report.damaged, 0, "from {from}");
    }
}

#[test]
fn a_photograph_is_one_picture_whatever_follows_it() {
    let folder = Folder::new();
    let plain = fs::read(picture("plain.jpg")).unwrap();
    for trailer in [
        &b"\0\0\0\x18ftypmp42"[..],
        &[0; 5000],
        &[0xFF; 700],
        b"\xFF\xD8\xFF",
    ] {
        let path = folder.file("photo.jpg", [&plain, trailer].concat());
        let mut source = ImageSource::open(Path::new(&path)).unwrap();
        assert_eq!(everything(&mut source).unwrap().len(), 1);
        assert_eq!(source.report().damaged, 0, "{trailer:?}");
    }
    // pictures inside of what is no film are none of ours
    for (name, head) in [
        ("thumbs.db", &b"\xD0\xCF\x11\xE0"[..]),
        ("a.psd", b"8BPS\0\x01"),
    ] {
        let path = folder.file(name, [head, &[7; 600], &plain].concat());
        let mut source = ImageSource::open(Path::new(&path)).unwrap();
        let error = everything(&mut source).unwrap_err().to_string();
        assert!(error.contains("no picture of a known kind"), "{error}");
    }
}

/// Ten thousand items that are no pictures among pictures that are: these come through, the
/// others are counted, and the stream goes on. A few good ones may be lost where a piece of
/// another ends in a segment's header and takes their first bytes for its own.
#[test]
fn ten_thousand_malformed_items_end_no_stream() {
    let plain = fs::read(picture("plain.jpg")).unwrap();
    let lossless = fs::read(picture("plain.png")).unwrap();
    // another one, for pieces of the others may happen to make a whole
    let whole_one = fs::read(picture("sampled420.jpg")).unwrap();
    let mut random = mutate::Rng(0x5eed_0009);
    let (mut stream, mut good) = (Vec::new(), 0);
    for item in 0..10_000 {
        let whole = if item % 3 == 0 { &lossless } else { &plain };
        match random.below(5) {
            0 => stream.extend_from_slice(&whole[..random.below(whole.len() - 24)]),
            1 => stream.extend_from_slice(&whole[random.below(whole.len()) + 1..]),
            2 => stream.extend(mutate::mutate(&whole[..whole.len() / 2], &mut random)),
            3 => stream.extend((0..random.below(300)).map(|_| random.next() as u8)),
            _ => stream.extend(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"),
        }
        if item % 10 == 9 {
            stream.extend_from_slice(&whole_one);
            good += 1;
        }
    }
    let (frames, report) = piped(stream);
    let wanted = demeanor::vision::decode(&whole_one, "good").unwrap();
    let is_good = |frame: &Frame| frame.decode().is_ok_and(|seen| seen.rgb() == wanted.rgb());
    let came = frames
        .unwrap()
        .iter()
        .filter(|frame| is_good(frame))
        .count();
    println!(
        "{came} of {good} came, {} damaged, {} frames",
        report.damaged, report.frames
    );
    assert!(came * 100 >= good * 98, "{came} of {good}");
    assert!(report.damaged > 1000, "{}", report.damaged);
}

#[test]
fn a_pipe_may_hold_one_png_or_nothing_of_use() {
    let (frames, _) = piped(fs::read(picture("plain.png")).unwrap());
    let frames = frames.unwrap();
    assert_eq!(frames.len(), 1);
    frames.into_iter().next().unwrap().decode().unwrap();
    let page = b"<html>401 Unauthorized</html>".to_vec();
    for (bytes, words) in [
        (b"GIF89a".to_vec(), "this is GIF"),
        (Vec::new(), "it is empty"),
        (b"\0\0\0\x01\x67\x42\0\x1E".to_vec(), "H.264"),
        (
            b"\x47\x40\x11\x10\0\x42\xF0\x25".to_vec(),
            "transport stream",
        ),
        (page, "web page"),
        (vec![b'x'; 5 << 20], "no picture of a known kind"),
    ] {
        let error = piped(bytes).0.unwrap_err();
        assert!(matches!(error, CaptureError::NoStream { .. }), "{error}");
        let error = error.to_string();
        assert!(
            error.contains(words) && error.contains("--codec mjpeg"),
            "{error}"
        );
    }
    // the only picture that there is comes as it is, and the decoder says what is wrong
    let frames = piped(fs::read(picture("cut-data.jpg")).unwrap()).0.unwrap();
    let error = frames[0].decode().unwrap_err().to_string();
    assert!(frames.len() == 1 && error.contains("is cut"), "{error}");
}

#[test]
fn sources_are_told_by_their_words() {
    for (word, spec) in [
        ("none", CameraSpec::None),
        ("/dev/video2", CameraSpec::Device("/dev/video2".into())),
        ("v4l:/tmp/cam", CameraSpec::Device("/tmp/cam".into())),
        ("-", CameraSpec::Pictures("-".into())),
        ("holiday", CameraSpec::Pictures("holiday".into())),
    ] {
        assert_eq!(CameraSpec::parse(word).unwrap(), spec);
    }
    let error = CameraSpec::parse("child:rpicam-vid -n").unwrap_err();
    assert!(error.to_string().contains("config"), "{error}");
    assert!(open_camera(&CameraSpec::None).unwrap().is_none());
    let spec = CameraSpec::Pictures(picture("one.jpg"));
    let mut source = open_camera(&spec).unwrap().unwrap();
    assert_eq!(everything(&mut source).unwrap().len(), 1);
}

#[cfg(not(feature = "v4l"))]
#[test]
fn without_the_feature_one_sentence_says_what_to_do() {
    let spec = CameraSpec::parse("/dev/video0").unwrap();
    let error = open_camera(&spec).map(|_| ()).unwrap_err().to_string();
    for part in ["/dev/video0", "--features v4l", "ffmpeg -f v4l2"] {
        assert!(error.contains(part), "{error}");
    }
}

#[cfg(feature = "v4l")]
#[test]
fn what_is_no_camera_is_refused_with_a_way_out() {
    if is_emulated() {
        return;
    }
    let open = |path: &str| {
        let spec = CameraSpec::Device(path.into());
        let error = open_camera(&spec).map(|_| ()).unwrap_err().to_string();
        println!("{error}");
        error
    };
    assert!(open("/dev/video99").contains("ls /dev/video*"));
    assert!(open("/dev/null").contains("rpicam-vid"));
}

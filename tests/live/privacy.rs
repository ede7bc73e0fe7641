//! What leaves the process: a syscall trace of `run` with sound, pictures and words shows that
//! no media is written anywhere and that no socket is made.
//!
//! Without strace nothing is traced and nothing fails, unless `DEMEANOR_REQUIRE_STRACE` is set.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";

/// Calls that could carry sound or pictures away, and those that name where to.
/// A `?` passes over a call that this processor's kernel does not have.
const TRACED: &str = "trace=%network,?open,openat,?openat2,?creat,write,writev,pwrite64,pwritev,\
                      sendfile,splice,tee,vmsplice,?copy_file_range,?io_uring_setup,memfd_create,\
                      mmap,?rename,renameat,renameat2,?link,linkat,?mkdir,mkdirat,?mknod,mknodat,\
                      dup,?dup2,dup3,fcntl";

/// A finished call of the trace: its name and its text.
struct Call {
    name: String,
    text: String,
}

/// Runs under strace; `None`, with a word, where that cannot be done.
fn trace(args: &[&str], input: &[u8]) -> Option<(Vec<Call>, String)> {
    use std::io::Write;
    let usable = Command::new("strace").args(["-V"]).output();
    if usable.is_err() || is_emulated() {
        let is_required = std::env::var_os("DEMEANOR_REQUIRE_STRACE").is_some();
        assert!(
            is_emulated() || !is_required,
            "DEMEANOR_REQUIRE_STRACE is set, and there is no strace (package strace)"
        );
        eprintln!("no strace here (package strace), or emulation: nothing was traced");
        return None;
    }
    let folder = Folder::new();
    let log = folder.path("trace");
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-s", "64", "-e", TRACED, "-o"])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_demeanor"))
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    let trace = fs::read_to_string(&log).unwrap_or_default();
    assert!(!trace.is_empty(), "strace traced nothing: {err}");
    let calls = trace.lines().filter_map(call).collect();
    Some((calls, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// `PID name(arguments) = result`; of a call that others interrupt, its beginning.
fn call(line: &str) -> Option<Call> {
    let (_, rest) = line.trim_start().split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (name, _) = rest.split_once('(')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| Call {
        name: name.into(),
        text: rest.into(),
    })
}

/// The quoted path of a call that opens or makes something.
fn path(call: &Call) -> Option<&str> {
    call.text.split('"').nth(1)
}

fn descriptor(call: &Call) -> Option<&str> {
    let (_, arguments) = call.text.split_once('(')?;
    arguments.split([',', ')']).next()
}

/// Files opened so that they could be written.
fn writable(calls: &[Call]) -> BTreeSet<String> {
    let opens = calls.iter().filter(|c| c.name.starts_with("open"));
    let write = opens.filter(|c| {
        ["O_WRONLY", "O_RDWR", "O_CREAT"]
            .iter()
            .any(|flag| c.text.contains(flag))
    });
    write.filter_map(path).map(str::to_owned).collect()
}

fn names(calls: &[Call]) -> BTreeSet<&str> {
    calls.iter().map(|c| c.name.as_str()).collect()
}

/// What no run may do, whatever it is configured to do.
fn carries_nothing_away(calls: &[Call]) {
    carries_nothing_away_but(calls, &[]);
}

/// The same, but for some calls.
fn carries_nothing_away_but(calls: &[Call], others: &[&str]) {
    let allowed = [
        "open",
        "openat",
        "write",
        "writev",
        "mmap",
        "fcntl",
        "rename",
        "renameat",
        "renameat2",
        "mkdir",
    ];
    for name in names(calls) {
        let is_allowed = allowed.contains(&name) || others.contains(&name);
        assert!(is_allowed, "the run made a call of {name}");
    }
    let shared = |c: &&Call| {
        c.name == "mmap" && c.text.contains("MAP_SHARED") && c.text.contains("PROT_WRITE")
    };
    assert!(
        !calls.iter().any(|c| shared(&c)),
        "a file is mapped to be written"
    );
}

fn sources(folder: &Folder, config: &str) -> Vec<String> {
    let config = folder.file("run.toml", config);
    let sound = repo("tests/data/sample.wav");
    let pictures = repo("tests/data/pictures");
    let mut args: Vec<String> = ["run", "--config", &config, "--text-stdin", "--audio"]
        .map(String::from)
        .to_vec();
    args.push(sound.to_str().unwrap().into());
    args.push("--camera".into());
    args.push(pictures.to_str().unwrap().into());
    args
}

#[test]
fn the_default_build_writes_no_file_and_opens_no_socket() {
    let folder = Folder::new();
    let args = sources(&folder, NOTICE);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let words = fs::read(repo("tests/data/sample.txt")).unwrap();
    let Some((calls, out)) = trace(&args, &words) else {
        return;
    };
    // the run did its work, and the trace saw it: media were read, answers written
    assert!(
        out.contains("\"task\":\"emotion\"") && out.contains("\"face\""),
        "{out}"
    );
    let opened: BTreeSet<&str> = calls.iter().filter_map(path).collect();
    assert!(
        opened.iter().any(|p| p.ends_with("sample.wav")),
        "{opened:?}"
    );
    assert!(opened.iter().any(|p| p.ends_with(".jpg")), "{opened:?}");
    let written: BTreeSet<&str> = calls
        .iter()
        .filter(|c| c.name.starts_with("write"))
        .filter_map(descriptor)
        .collect();
    // answers, and warnings about pictures that are damaged on purpose
    assert_eq!(written, BTreeSet::from(["1", "2"]));
    assert_eq!(writable(&calls), BTreeSet::new());
    carries_nothing_away(&calls);
}

#[test]
fn with_log_and_metrics_these_two_are_all_that_is_written() {
    let folder = Folder::new();
    let (log, metrics) = (folder.path("audit.jsonl"), folder.path("demeanor.prom"));
    let config = format!("{NOTICE}[audit]\nfile = {log:?}\n[metrics]\nfile = {metrics:?}\n");
    let args = sources(&folder, &config);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let secret = "my grandmother's cactus is called Bartholomew";
    let Some((calls, _)) = trace(&args, format!("{secret}\n").as_bytes()) else {
        return;
    };
    let inside = folder.path("");
    for file in writable(&calls) {
        assert!(
            file.starts_with(inside.to_str().unwrap()),
            "{file} is written"
        );
    }
    carries_nothing_away(&calls);
    for file in [&log, &metrics] {
        let text = fs::read_to_string(file).unwrap();
        // a minute of text says less than one tenth of a second of sound
        assert!(!text.is_empty() && text.len() < 16_000, "{text}");
        for content in ["cactus", "Bartholomew", "angry", "happy", "neutral"] {
            assert!(
                !text.contains(content),
                "{content} stands in {}",
                file.display()
            );
        }
    }
}

#[test]
fn a_calibration_writes_its_table_and_no_media() {
    let folder = Folder::new();
    let args = sources(&folder, NOTICE);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args[0] = "calibrate";
    args.retain(|arg| *arg != "--text-stdin");
    let Some((calls, out)) = trace(&args, b"") else {
        return;
    };
    let opened: BTreeSet<&str> = calls.iter().filter_map(path).collect();
    assert!(
        opened.iter().any(|p| p.ends_with("sample.wav")),
        "{opened:?}"
    );
    // the config, aside and then in its place
    let aside = folder.path(".run.toml.partial");
    let aside = aside.to_str().unwrap().to_owned();
    assert_eq!(writable(&calls), BTreeSet::from([aside]));
    carries_nothing_away(&calls);
    let text = fs::read_to_string(folder.path("run.toml")).unwrap();
    assert!(
        text.contains("[calibration]") && text.len() < 1000,
        "{text}"
    );
    // no answer is told, and none is kept
    for content in ["angry", "happy", "neutral"] {
        assert!(!out.contains(content) && !text.contains(content), "{out}");
    }
}

#[test]
fn an_output_waits_for_readers_where_the_config_says_and_connects_to_nobody() {
    let folder = Folder::new();
    let path = folder.path("events.sock");
    // free a moment ago
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let port = port.unwrap().port();
    let config = format!(
        "{NOTICE}[decision]\ntasks = [\"emotion\"]\n[audio]\nsource = \"none\"\n\
         [socket]\npath = {path:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    let config = folder.file("run.toml", config);
    let args = ["run", "--config", &config, "--text-stdin"];
    let Some((calls, out)) = trace(&args, b"I am so happy\n") else {
        return;
    };
    assert!(out.contains("\"task\":\"emotion\""), "{out}");
    let waiting = [
        "socket",
        "setsockopt",
        "bind",
        "listen",
        "getsockname",
        "accept4",
    ];
    carries_nothing_away_but(&calls, &waiting);
    let [unix, inet] = bound(&calls)[..] else {
        panic!("{:?}", bound(&calls))
    };
    assert!(
        unix.contains("AF_UNIX") && unix.contains("events.sock"),
        "{unix}"
    );
    assert!(
        inet.contains("127.0.0.1") && inet.contains(&port.to_string()),
        "{inet}"
    );
    assert!(!path.exists());
}

/// Sockets that were bound, each call as it was made.
fn bound(calls: &[Call]) -> Vec<&str> {
    let bound = calls.iter().filter(|c| c.name == "bind");
    bound.map(|c| c.text.as_str()).collect()
}

#[test]
fn the_devices_own_voice_is_waited_for_on_one_socket() {
    let folder = Folder::new();
    let path = folder.path("speaking.sock");
    let config = format!("{NOTICE}[audio]\nignore_while = {path:?}\n");
    let args = sources(&folder, &config);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some((calls, out)) = trace(&args, b"I am so happy\n") else {
        return;
    };
    assert!(out.contains("\"task\":\"emotion\""), "{out}");
    carries_nothing_away_but(&calls, &["socket", "bind", "listen", "accept4"]);
    let [socket] = bound(&calls)[..] else {
        panic!("{:?}", bound(&calls))
    };
    assert!(socket.contains("speaking.sock"), "{socket}");
    assert_eq!(writable(&calls), BTreeSet::new());
}

/// A broker and a bridge that take a connection and end it: nothing else is connected to.
#[test]
fn outputs_that_connect_do_so_where_the_config_says() {
    let folder = Folder::new();
    let peers = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [broker, bridge] = peers
        .each_ref()
        .map(|peer| peer.local_addr().unwrap().port());
    for peer in peers {
        std::thread::spawn(move || peer.incoming().for_each(drop));
    }
    let config = format!(
        "{NOTICE}[decision]\ntasks = [\"emotion\"]\n[audio]\nsource = \"none\"\n\
         [mqtt]\nbroker = \"mqtt://127.0.0.1:{broker}\"\n[ros]\nbridge = \"ws://127.0.0.1:{bridge}\"\n"
    );
    let config = folder.file("run.toml", config);
    let args = ["run", "--config", &config, "--text-stdin"];
    let Some((calls, out)) = trace(&args, b"I am so happy\n") else {
        return;
    };
    assert!(out.contains("\"task\":\"emotion\""), "{out}");
    assert_eq!(bound(&calls), [""; 0]);
    let connects = calls.iter().filter(|c| c.name == "connect");
    let connects: Vec<&str> = connects.map(|c| c.text.as_str()).collect();
    for port in [broker, bridge] {
        let to = format!("sin_port=htons({port}), sin_addr=inet_addr(\"127.0.0.1\")");
        assert!(connects.iter().any(|c| c.contains(&to)), "{connects:?}");
    }
    let elsewhere = connects.iter().find(|c| {
        let ports = [broker, bridge].map(|port| format!("htons({port})"));
        !ports.iter().any(|port| c.contains(port))
    });
    assert_eq!(elsewhere, None);
}

/// Nobody else is in the domain: it announces itself, and that on one network alone.
#[cfg(feature = "ros2")]
#[test]
fn dds_speaks_on_the_network_that_the_config_names() {
    let folder = Folder::new();
    let config = format!("{NOTICE}[ros]\ndomain = 98\naddress = \"127.0.0.1\"\n");
    // long enough that it does
    let args = sources(&folder, &config);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some((calls, out)) = trace(&args, b"I am so happy\n") else {
        return;
    };
    assert!(out.contains("\"task\":\"emotion\""), "{out}");
    let network = [
        "socket",
        "socketpair",
        "setsockopt",
        "getsockopt",
        "bind",
        "getsockname",
        "connect",
        "sendto",
        "recvfrom",
        "recvmsg",
    ];
    carries_nothing_away_but(&calls, &network);
    let to = |name: &str| -> BTreeSet<&str> {
        let calls = calls.iter().filter(|c| c.name == name);
        let inet = calls.filter_map(|c| c.text.split_once("inet_addr(\"")?.1.split('"').next());
        inet.collect()
    };
    assert_eq!(to("sendto"), BTreeSet::from(["127.0.0.1"]));
    // to see by which network it goes; nothing is sent there
    assert_eq!(to("connect"), BTreeSet::from(["239.255.0.1"]));
    assert_eq!(writable(&calls), BTreeSet::new());
}

#[test]
fn a_lamp_that_cannot_be_lit_keeps_every_source_closed() {
    let folder = Folder::new();
    let config = format!("{NOTICE}[indicator]\nled = {{ chip = \"no-such-chip\", line = 4 }}\n");
    let args = sources(&folder, &config);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    demeanor(&args).is_error("no-such-chip");
    let Some((calls, out)) = trace(&args, b"") else {
        return;
    };
    assert!(out.is_empty(), "{out}");
    let opened: BTreeSet<&str> = calls.iter().filter_map(path).collect();
    // the trace saw the config, and nothing that could be heard or seen
    assert!(opened.iter().any(|p| p.ends_with("run.toml")), "{opened:?}");
    assert!(
        !opened
            .iter()
            .any(|p| p.ends_with(".wav") || p.contains("pictures")),
        "{opened:?}"
    );
}

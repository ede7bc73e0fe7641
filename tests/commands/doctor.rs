//! `demeanor doctor`: an exit status that an updater may rely on, and nothing captured.

use crate::support::*;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";
const NO_LINES: &str = "[indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";

/// As long as a token must be.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn report(args: &[&str]) -> (Ran, Value) {
    let mut all = vec!["doctor", "--board", "host", "--json"];
    all.extend(args);
    let ran = demeanor(&all);
    let report = serde_json::from_str(&ran.out).expect(&ran.err);
    (ran, report)
}

fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str) {
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|c| c["name"] == name).expect(name);
    let word = |key: &str| found[key].as_str().expect("a word");
    (word("verdict"), word("finding"))
}

#[test]
fn without_a_config_models_and_machine_are_checked_and_the_rest_is_said_to_be_skipped() {
    let (ran, report) = report(&[]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert_eq!(report["schema"], "demeanor.doctor/1");
    assert_eq!(report["healthy"], true);
    for name in ["notice", "sound", "camera", "indicator", "button", "audit"] {
        assert_eq!(check(&report, name).0, "skipped", "{name}");
    }
    for name in ["models", "emotion", "sentiment", "expression"] {
        let (verdict, finding) = check(&report, name);
        assert!(["ok", "warning"].contains(&verdict), "{name}: {finding}");
    }
    assert!(check(&report, "emotion").1.contains(" ms"));
}

#[test]
fn people_read_one_line_a_check() {
    let ran = demeanor(&["doctor", "--board", "host"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in ran.out.lines() {
        let mark = line.split_whitespace().next().unwrap_or_default();
        assert!(["ok", "-", "warn"].contains(&mark), "{line}");
    }
    assert!(ran.out.lines().count() >= 12, "{}", ran.out);
}

#[test]
fn a_config_is_checked_with_its_files() {
    let folder = Folder::new();
    let sound = repo("tests/data/sample.wav");
    let (audit, page) = (folder.path("audit.jsonl"), folder.path("demeanor.prom"));
    let socket = folder.path("events.sock");
    let config = format!(
        "{NOTICE}{NO_LINES}[audio]\nsource = {sound:?}\n[audit]\nfile = {audit:?}\n\
         [metrics]\nfile = {page:?}\n[socket]\npath = {socket:?}\n\
         [http]\nlisten = \"127.0.0.1:0\"\n"
    );
    let config = folder.file("run.toml", config);
    let (ran, report) = report(&["--config", &config]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert_eq!(check(&report, "notice"), ("ok", "public: a test"));
    for name in ["sound", "audit", "metrics", "socket", "http"] {
        assert_eq!(check(&report, name).0, "ok", "{name}");
    }
    // what run would not load is not loaded
    assert_eq!(check(&report, "sentiment").0, "skipped");
    // the doctor leaves nothing behind that would belong to whoever ran it
    assert!(!audit.exists() && !page.exists());
    let left = fs::read_dir(folder.path("")).expect("the folder").count();
    assert_eq!(left, 1, "only the config");
}

#[test]
fn a_port_that_is_taken_is_a_warning_and_a_token_of_ones_own_is_well() {
    let folder = Folder::new();
    let sound = repo("tests/data/sample.wav");
    let token = folder.file("token", TOKEN);
    fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("ours");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let config = format!(
        "{NOTICE}{NO_LINES}[audio]\nsource = {sound:?}\n[decision]\ntasks = [\"emotion\"]\n\
         [http]\nlisten = \"{address}\"\ntoken_file = {token:?}\n"
    );
    let config = folder.file("run.toml", config);
    let http = || {
        let (ran, report) = report(&["--config", &config]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
        let (verdict, finding) = check(&report, "http");
        (verdict.to_owned(), finding.to_owned())
    };
    let said = format!("{address} is served already; by demeanor, if it runs");
    assert_eq!(http(), ("warning".into(), said));
    drop(taken);
    assert_eq!(http(), ("ok".into(), format!("{address} is free")));
}

#[test]
fn what_does_not_work_is_status_2_and_says_what_to_do() {
    let folder = Folder::new();
    // a build with a microphone would look for the default one
    let silent = format!("{NOTICE}[audio]\nsource = \"none\"\n");
    let (open, token) = (folder.file("open", TOKEN), folder.file("token", TOKEN));
    fs::set_permissions(&open, Permissions::from_mode(0o644)).expect("ours");
    fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("ours");
    let nobody = free_port();
    for (config, name, word) in [
        ("", "notice", "no `[notice]`"),
        (
            &NOTICE.replace("true", "false"),
            "notice",
            "put up the notice",
        ),
        (
            &format!("{NOTICE}[audio]\nsource = \"gone.wav\"\n"),
            "sound",
            "gone.wav",
        ),
        (
            &format!("{silent}[camera]\ncommand = [\"no-such-program\"]\n"),
            "camera",
            "no-such-program",
        ),
        (
            &format!("{silent}[camera]\nsource = \"/dev/video99\"\n"),
            "camera",
            "/dev/video99",
        ),
        (
            &format!("{silent}[indicator]\nled = {{ chip = \"nowhere\", line = 4 }}\n"),
            "indicator",
            "nowhere",
        ),
        (
            &format!("{silent}[audit]\nfile = \"/no/such/folder/audit.jsonl\"\n"),
            "audit",
            "/no/such/folder",
        ),
        (
            &format!("{silent}[metrics]\nfile = \"/no/such/folder/page.prom\"\n"),
            "metrics",
            "/no/such/folder",
        ),
        (
            &format!("{silent}ignore_while = \"/dev/null\"\n"),
            "ignore_while",
            "no socket",
        ),
        (
            &format!("{silent}[socket]\npath = \"/dev/null\"\n"),
            "socket",
            "no socket",
        ),
        (
            &format!("{silent}[http]\ntoken_file = \"/no/such/token\"\n"),
            "http",
            "/no/such/token",
        ),
        (
            &format!("{silent}[http]\ntoken_file = {open:?}\n"),
            "http",
            "others than its owner may use it (mode 0644); chmod 600 it",
        ),
        // an address of documentation's, which no machine has
        (
            &format!("{silent}[http]\nlisten = \"192.0.2.1:80\"\ntoken_file = {token:?}\n"),
            "http",
            "choose another in [http] listen",
        ),
        (
            &format!("{silent}[mqtt]\nuser = \"a\"\npassword_file = {open:?}\n"),
            "mqtt",
            "chmod 600 it",
        ),
        (
            &format!("{silent}[mqtt]\nbroker = \"mqtt://127.0.0.1:{nobody}\"\n"),
            "mqtt",
            "nobody listens there",
        ),
    ] {
        // the small models alone: an emulated board is slow
        let config = format!("{config}[decision]\ntasks = [\"expression\"]\n");
        let config = folder.file("run.toml", config);
        let models = repo("models/expression");
        let models = models.to_str().expect("UTF-8");
        let (ran, report) = report(&["--config", &config, "--models", models]);
        ran.is_error("failed");
        assert_eq!(report["healthy"], false);
        let (verdict, finding) = check(&report, name);
        assert_eq!(verdict, "failed", "{name}: {finding}");
        assert!(finding.contains(word), "{name}: {finding}");
    }
}

#[test]
fn a_changed_model_is_found() {
    let folder = Folder::new();
    let from = repo("models/expression");
    fs::create_dir(folder.path("expression")).expect("a folder");
    for entry in fs::read_dir(&from).expect("the bundle") {
        let entry = entry.expect("an entry");
        let to = folder.path("expression").join(entry.file_name());
        fs::copy(entry.path(), to).expect("a copy");
    }
    let model = folder.path("expression/face.onnx");
    let mut bytes = fs::read(&model).expect("a model");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).expect("written");
    let models = folder.path("");
    let (ran, report) = report(&["--models", models.to_str().expect("UTF-8")]);
    ran.is_error("failed");
    let (verdict, finding) = check(&report, "models");
    assert_eq!(verdict, "failed");
    assert!(
        finding.contains("face.onnx") && finding.contains("SHA-256"),
        "{finding}"
    );
}

#[test]
fn a_board_that_this_is_not_fails() {
    if cfg!(target_arch = "x86_64") {
        let ran = demeanor(&["doctor", "--board", "rpi5"]);
        ran.is_error("failed");
        assert!(ran.out.contains("name the right board"), "{}", ran.out);
    }
    demeanor(&["doctor", "--board", "toaster"]).is_error("no such board");
}

//! A real server on a port of its own, and requests as bytes: what a browser, a probe, or
//! somebody who means no good sends.

use super::*;
use crate::config::outputs::Aggregate;
use crate::config::{Notice, Setting};
use crate::event::{Event, Stamp, State, StateChange};
use crate::service::latches::{Remote, Shown};
use crate::service::metrics::Machine;
use crate::service::scratch::Folder;
use crate::sink::feed::{Feed, FeedWriter};
use crate::sink::{Content, Message, Receiver};
use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

const TOKEN: &str = "0123456789abcdef-a-token";

/// A server, and what stands behind it.
struct Served {
    address: SocketAddr,
    feed: Arc<Feed>,
    writer: FeedWriter,
    remote: Arc<Remote>,
    resting: Arc<Mutex<Vec<&'static str>>>,
    told: u64,
}

fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Config::default()
    }
}

fn serve(config: &Config) -> Served {
    let (feed, writer) = Feed::new(config.words);
    let (remote, resting) = (Arc::new(Remote::default()), Arc::new(Mutex::default()));
    let rests: Arc<Mutex<Vec<&'static str>>> = Arc::clone(&resting);
    let site = Site {
        notice: Notice {
            acknowledged: true,
            purpose: "how visitors like <b>it</b>".into(),
            setting: Setting::Public,
        },
        device: "door".into(),
        bundles: vec!["le-mer@1.2.0".into()],
        aggregate: Some(Aggregate::default()),
        can_mute: config.mute,
        remote: Arc::clone(&remote),
        feed: Arc::clone(&feed),
        resting: Box::new(move || rests.lock().unwrap().clone()),
        metrics: Box::new(|| {
            "# HELP demeanor_a_total A.\n# TYPE demeanor_a_total counter\ndemeanor_a_total 1\n"
                .into()
        }),
        machine: Box::new(|| Machine {
            temperature: Some(48.5),
            ..Machine::default()
        }),
        started: Instant::now(),
    };
    let http = Http::open(config).unwrap();
    let address = http.listener.local_addr().unwrap();
    http.serve(site).unwrap();
    Served {
        address,
        feed,
        writer,
        remote,
        resting,
        told: 0,
    }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream
    }

    /// Sends bytes; all that comes back.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // what is refused early may be closed before all is written
        let _ = stream.write_all(bytes);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    /// A request with the right host, and these headers.
    fn ask(&self, line: &str, headers: &str) -> String {
        let host = self.address;
        self.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes())
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path}"), "")
    }

    /// The JSON that a path answers with.
    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        serde_json::from_str(body(&answer)).expect(&answer)
    }

    fn post(&self, headers: &str, content: &str) -> String {
        let length = content.len();
        let host = self.address;
        let head = format!("POST /api/mute HTTP/1.1\r\nHost: {host}\r\n{headers}");
        self.send(format!("{head}Content-Length: {length}\r\n\r\n{content}").as_bytes())
    }

    fn tell(&mut self, content: Content<'_>) {
        self.told += 1;
        let stamp = Stamp {
            seq: self.told,
            ..Stamp::default()
        };
        self.writer.take(&Message { stamp, content }).unwrap();
    }

    fn tell_state(&mut self, detail: &str) {
        let change = StateChange::new("camera", State::Lost, detail);
        self.tell(Content::State(Cow::Owned(change)));
    }

    fn tell_answer(&mut self) {
        let event = Event {
            task: "emotion".into(),
            label: "unsure".into(),
            scores: vec![("angry".into(), 0.5), ("happy".into(), 0.5)],
            ..Event::default()
        };
        self.tell(Content::Event(Cow::Owned(event)));
    }

    /// A reader of events, once it is one.
    fn listen(&self, headers: &str) -> TcpStream {
        let before = self.feed.counts().readers;
        let mut stream = self.connect();
        let host = self.address;
        let head = format!("GET /events HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        wait(|| self.feed.counts().readers == before + 1);
        stream
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("nothing")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn wait(is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never comes");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads a stream until it holds `text`.
fn until(stream: &mut TcpStream, text: &str) -> String {
    let (mut all, mut buffer) = (String::new(), [0; 4096]);
    while !all.contains(text) {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "it ended: {all}");
        all += std::str::from_utf8(&buffer[..n]).unwrap();
    }
    all
}

#[test]
fn the_page_may_run_its_own_script_and_nothing_else() {
    let served = serve(&config());
    let answer = served.get("/");
    assert_eq!(status(&answer), "200");
    assert_eq!(body(&answer), page::PAGE);
    let head = &answer[..answer.len() - page::PAGE.len()];
    for part in [
        "default-src 'none'; connect-src 'self'; style-src 'sha256-",
        "script-src 'sha256-",
        "frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cross-Origin-Resource-Policy: same-origin",
        "Cache-Control: no-store",
    ] {
        assert!(head.contains(part), "{part} is missing in {head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
}

#[test]
fn no_answer_lets_another_site_read_it() {
    let served = serve(&config());
    for path in [
        "/",
        "/api/state",
        "/api/last",
        "/metrics",
        "/healthz",
        "/no",
    ] {
        let answer = served.get(path);
        let head = answer.to_ascii_lowercase();
        assert!(!head.contains("access-control-"), "{answer}");
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{answer}"
        );
    }
    let asked = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    let answer = served.ask("OPTIONS /api/mute", asked);
    assert_eq!(status(&answer), "403");
    let host = served.address;
    let asked = format!("Origin: http://{host}\r\n");
    assert_eq!(status(&served.ask("GET /api/state", &asked)), "200");
    let answer = served.ask("GET /api/state", "Origin: null\r\n");
    assert_eq!(status(&answer), "403");
}

#[test]
fn a_name_that_another_site_points_here_is_not_served() {
    let mut config = config();
    config.hosts = vec!["Kiosk.local".into(), "proxy.example:8443".into()];
    let served = serve(&config);
    let port = served.address.port();
    let ask = |host: &str| served.send(format!("GET /api/last HTTP/1.1\r\n{host}\r\n").as_bytes());
    for host in [
        format!("Host: localhost:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}\r\n"),
        format!("Host: [::1]:{port}\r\n"),
        format!("Host: LOCALHOST:{port}\r\n"),
        "Host: kiosk.local\r\n".into(),
        format!("Host: kiosk.local:{port}\r\n"),
        "Host: proxy.example:8443\r\n".into(),
    ] {
        assert_eq!(status(&ask(&host)), "200", "{host}");
    }
    for host in [
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: localhost.evil.example:{port}\r\n"),
        format!("Host: 0.0.0.0:{port}\r\n"),
        "Host: localhost:1\r\n".into(),
        "Host: proxy.example\r\n".into(),
        "Host: \r\n".into(),
        String::new(),
    ] {
        let answer = ask(&host);
        assert_eq!(status(&answer), "403", "{host}");
        assert!(body(&answer).contains("hosts in [http]"), "{answer}");
    }
    let twice = format!("Host: localhost:{port}\r\nHost: evil.example\r\n");
    assert_eq!(status(&ask(&twice)), "400");
}

#[test]
fn the_remote_latch_is_turned_by_json_of_this_site_alone() {
    let served = serve(&config());
    let json = "Content-Type: application/json\r\n";
    let remote = Arc::clone(&served.remote);
    // the supervisor, as far as it matters here: a person keeps the sources closed
    let obeying = Arc::new(AtomicBool::new(true));
    let goes_on = Arc::clone(&obeying);
    let gate = thread::spawn(move || {
        while goes_on.load(Ordering::Relaxed) {
            let mut shown = Shown::default();
            shown.latches.person = true;
            shown.latches.remote = remote.wished();
            remote.show(shown);
            thread::sleep(Duration::from_millis(1));
        }
    });
    let answer = served.post(json, "{\"muted\":true}");
    assert_eq!(
        body(&answer).trim(),
        r#"{"capturing":false,"muted":true,"muted_by":["person","remote"]}"#
    );
    for (headers, content, refused) in [
        ("", "{\"muted\":false}", "415"),
        ("Content-Type: text/plain\r\n", "{\"muted\":false}", "415"),
        (json, "{\"muted\":1}", "400"),
        (json, "[[[[", "400"),
        (json, "", "400"),
        (
            "Content-Type: application/json\r\nOrigin: http://evil.example\r\n",
            "{\"muted\":false}",
            "403",
        ),
    ] {
        assert_eq!(
            status(&served.post(headers, content)),
            refused,
            "{headers}{content}"
        );
        assert!(served.remote.wished());
    }
    assert_eq!(status(&served.get("/api/mute")), "405");
    let answer = served.post(json, "{\"muted\":false}");
    // its own latch alone
    assert!(
        answer.contains(r#""muted":true,"muted_by":["person"]"#),
        "{answer}"
    );
    obeying.store(false, Ordering::Relaxed);
    gate.join().unwrap();
    let mut config = config();
    config.mute = false;
    let served = serve(&config);
    assert_eq!(status(&served.post(json, "{\"muted\":true}")), "403");
    assert!(!served.remote.wished() && served.json("/api/state")["can_mute"] == false);
}

fn token_file(folder: &Folder, text: &str, mode: u32) -> PathBuf {
    let path = folder.0.join(format!("token-{mode:o}"));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let folder = Folder::new();
    let mut config = config();
    config.token_file = Some(token_file(&folder, &format!("{TOKEN}\n"), 0o600));
    let served = serve(&config);
    for path in [
        "/",
        "/events",
        "/api/state",
        "/api/last",
        "/metrics",
        "/no",
        "/?token=x",
    ] {
        let answer = served.get(path);
        assert_eq!(status(&answer), "401", "{path}");
        assert!(answer.contains("WWW-Authenticate: Bearer"));
    }
    assert_eq!(status(&served.get("/healthz")), "200");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&served.ask("GET /api/state", &bearer)), "200");
    for wrong in ["", &TOKEN[1..], "0123456789abcdef-a-tokem"] {
        let bearer = format!("Authorization: Bearer {wrong}\r\n");
        assert_eq!(status(&served.ask("GET /api/state", &bearer)), "401");
    }
    let json = "Content-Type: application/json\r\n";
    assert_eq!(status(&served.post(json, "{\"muted\":true}")), "401");
    assert!(!served.remote.wished());
    // a browser: the token once, in the address, and a cookie from then on
    let answer = served.get(&format!("/?token={TOKEN}"));
    assert_eq!(status(&answer), "303");
    assert!(
        answer.contains("Location: /\r\n") && body(&answer).len() < 40,
        "{answer}"
    );
    let cookie = answer.split_once("Set-Cookie: ").unwrap().1;
    let (cookie, rest) = cookie.split_once(';').unwrap();
    assert!(
        rest.starts_with(" Path=/; HttpOnly; SameSite=Strict\r\n"),
        "{rest}"
    );
    assert!(!cookie.contains(TOKEN));
    let cookies = format!("Cookie: other=1; {cookie}\r\n");
    assert_eq!(status(&served.ask("GET /", &cookies)), "200");
    let cookies = format!("Cookie: {}0\r\n", &cookie[..cookie.len() - 1]);
    assert_eq!(status(&served.ask("GET /", &cookies)), "401");
    // a token does not make another site one of ours
    let evil = format!("{bearer}Origin: http://evil.example\r\n");
    assert_eq!(status(&served.ask("GET /api/state", &evil)), "403");
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    let folder = Folder::new();
    let said = |path: &Path| {
        let read = Token::read(path);
        read.err().map(|e| e.to_string()).unwrap_or_default()
    };
    for mode in [0o644, 0o640, 0o602] {
        let said = said(&token_file(&folder, TOKEN, mode));
        assert!(
            said.contains("chmod 600") && said.contains("token_file"),
            "{said}"
        );
    }
    let read = said(&token_file(&folder, TOKEN, 0o400));
    assert!(read.is_empty() || read.contains("may be read"), "{read}");
    for (n, short) in ["", "secret", "a token with spaces in it"]
        .iter()
        .enumerate()
    {
        let said = said(&token_file(&folder, short, 0o600 - (n as u32 & 1) * 0o200));
        assert!(said.contains("openssl rand"), "{said}");
    }
    let said = said(&folder.0.join("none"));
    assert!(said.contains("check that it may be read"), "{said}");
}

#[test]
fn a_request_has_limits_of_size() {
    let served = serve(&config());
    let host = served.address;
    let long = "x".repeat(9 << 10);
    let head = format!("GET /{long} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(status(&served.send(head.as_bytes())), "431");
    let many = "A: b\r\n".repeat(100);
    assert_eq!(status(&served.ask("GET /", &many)), "431");
    // a megabyte and no end
    assert_eq!(status(&served.send(&vec![b'x'; 1 << 20])), "431");
    let json = "Content-Type: application/json\r\n";
    let much = "x".repeat(10 << 20);
    assert_eq!(status(&served.post(json, &much)), "413");
    for (length, refused) in [
        ("4096", "413"),
        ("99999999999999999999", "413"),
        ("-1", "400"),
    ] {
        let asked = format!("{json}Content-Length: {length}\r\n");
        assert_eq!(status(&served.ask("POST /api/mute", &asked)), refused);
    }
    let chunks = format!("{json}Transfer-Encoding: chunked\r\n");
    assert_eq!(status(&served.ask("POST /api/mute", &chunks)), "411");
    for nonsense in [
        "\r\n\r\n\u{1}\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    ] {
        assert_eq!(
            status(&served.send(nonsense.as_bytes())),
            "400",
            "{nonsense:?}"
        );
    }
    assert_eq!(status(&served.get("/healthz")), "200");
}

#[test]
fn a_slow_head_is_given_up_however_it_drips() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut slow = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let patience = Duration::from_millis(200);
    let dripping = thread::spawn(move || {
        while slow.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let begun = Instant::now();
    let refusal = Request::read(&mut stream, patience).unwrap_err();
    assert_eq!(refusal.status, 408);
    assert!(begun.elapsed() >= patience);
    drop(stream);
    dripping.join().unwrap();
}

#[test]
fn so_many_connections_and_no_more() {
    let served = serve(&config());
    let silent: Vec<TcpStream> = (0..MOST_CONNECTIONS).map(|_| served.connect()).collect();
    // they say nothing, and hold their places until that takes too long
    wait_for(|| status(&served.get("/healthz")) == "503");
    drop(silent);
    wait_for(|| status(&served.get("/healthz")) == "200");
    // a hundred at once: each is answered or refused, and it lives on
    let all: Vec<TcpStream> = (0..100).map(|_| served.connect()).collect();
    drop(all);
    wait_for(|| status(&served.get("/healthz")) == "200");
}

fn wait_for(mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never comes");
    }
}

#[test]
fn events_come_as_they_are_told_and_what_was_missed_is_replayed() {
    let mut served = serve(&config());
    let mut stream = served.listen("");
    let head = until(&mut stream, "retry: 2000\n\n");
    assert!(
        head.contains("Content-Type: text/event-stream\r\n"),
        "{head}"
    );
    assert!(!head.contains("Content-Length"), "{head}");
    served.tell_answer();
    let text = until(&mut stream, "\n\n");
    let data = text.strip_prefix("id: 1\ndata: ").expect(&text).trim();
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&event["task"], &event["seq"]),
        (&json!("emotion"), &json!(1))
    );
    drop(stream);
    wait(|| served.feed.counts().readers == 0);
    served.tell_state("once");
    served.tell_state("twice");
    let mut stream = served.listen("Last-Event-ID: 1\r\n");
    let text = until(&mut stream, "id: 3\n");
    assert!(
        text.contains("id: 2\n") && !text.contains("id: 1\n"),
        "{text}"
    );
    // garbage is no number, and so nothing is replayed
    let mut stream = served.listen("Last-Event-ID: one of ours\r\n");
    served.tell_state("thrice");
    let text = until(&mut stream, "id: 4\n");
    assert!(!text.contains("id: 3\n"), "{text}");
    let others: Vec<_> = (0..2).map(|_| served.listen("")).collect();
    assert_eq!(status(&served.get("/events")), "503");
    drop(others);
}

#[test]
fn a_reader_that_stops_reading_is_cut_and_holds_nobody_up() {
    let mut served = serve(&config());
    let slow = served.listen("");
    let detail = "x".repeat(8000);
    let begun = Instant::now();
    while served.feed.counts().cut == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it was never cut"
        );
        let telling = Instant::now();
        served.tell_state(&detail);
        assert!(telling.elapsed() < Duration::from_secs(1));
        thread::sleep(Duration::from_micros(200));
    }
    wait(|| served.feed.counts().readers == 0);
    assert_eq!(status(&served.get("/api/state")), "200");
    drop(slow);
}

#[test]
fn state_and_last_answers_are_told_as_json() {
    let mut served = serve(&config());
    assert_eq!(served.json("/api/last"), json!({}));
    served.tell_answer();
    served.tell_state("unplugged");
    served.remote.show(Shown {
        is_capturing: true,
        ..Shown::default()
    });
    let last = served.json("/api/last");
    assert_eq!(last["emotion"]["label"], "unsure");
    let state = served.json("/api/state");
    assert_eq!(state["capturing"], true);
    assert_eq!(state["purpose"], "how visitors like <b>it</b>");
    assert_eq!(state["sources"][0]["detail"], "unplugged");
    assert_eq!(state["bundles"], json!(["le-mer@1.2.0"]));
    assert_eq!(state["temperature"], 48.5);
    assert_eq!(status(&served.get("/etc/passwd")), "404");
    assert_eq!(status(&served.ask("DELETE /api/state", "")), "405");
    assert_eq!(status(&served.ask("POST /", "")), "405");
}

#[test]
fn a_probe_hears_of_a_stage_that_hangs() {
    let served = serve(&config());
    assert_eq!(status(&served.get("/healthz")), "200");
    served.resting.lock().unwrap().push("worker");
    let answer = served.get("/healthz");
    assert_eq!(status(&answer), "503");
    assert_eq!(body(&answer), "no progress of worker\n");
    assert_eq!(
        served.json("/api/state")["problem"],
        "no progress of worker"
    );
}

#[test]
fn figures_are_had_in_both_formats() {
    let served = serve(&config());
    let plain = served.get("/metrics");
    assert!(
        plain.contains("Content-Type: text/plain; version=0.0.4"),
        "{plain}"
    );
    assert!(
        body(&plain).contains("# TYPE demeanor_a_total counter"),
        "{plain}"
    );
    let open = served.ask(
        "GET /metrics",
        "Accept: application/openmetrics-text;q=0.8\r\n",
    );
    assert!(
        open.contains("Content-Type: application/openmetrics-text"),
        "{open}"
    );
}

#[test]
fn an_address_that_is_taken_is_told_in_a_sentence() {
    let served = serve(&config());
    let mut config = config();
    config.listen = served.address;
    let said = Http::open(&config).unwrap_err().to_string();
    assert!(said.contains("another program listens there"), "{said}");
    config.listen = "203.0.113.7:8642".parse().unwrap();
    let said = Http::open(&config).unwrap_err().to_string();
    assert!(said.contains("no such address"), "{said}");
}

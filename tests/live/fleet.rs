//! `boards/fleet`: what its certificates and rules let a board do at a real broker, and a load of
//! boards beside a real run.
//!
//! The boards of the load have neither models nor sources; what speaks to the broker is what a run
//! has, and what they say is held against what the run says. As many as one likes:
//!
//! ```sh
//! boards/fleet/load 2000
//! ```

#![cfg(all(unix, feature = "tls"))]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use broker::*;
use demeanor::testing::fleet::*;
use demeanor::{Event, Observation, Session, SessionOptions};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A broker as `boards/fleet` sets it up, and certificates for whoever comes to it.
struct Hub {
    folder: Folder,
    port: u16,
    broker: Option<Running>,
}

impl Hub {
    /// `None`, with a word, where there is no broker.
    fn new(boards: &[String]) -> Option<Hub> {
        let hub = Hub {
            folder: Folder::new(),
            port: free_port(),
            broker: None,
        };
        hub.certificates("broker", &["localhost", "127.0.0.1"]);
        let boards: Vec<&str> = boards.iter().map(String::as_str).collect();
        hub.certificates("board", &boards);
        hub.certificates("console", &["console", "remote", "series"]);
        let rules = fs::read(repo("boards/fleet/demeanor.acl")).unwrap();
        hub.folder.file("demeanor.acl", rules);
        let config = fs::read_to_string(repo("boards/fleet/mosquitto.conf")).unwrap();
        let place = hub.folder.path("");
        let place = place.to_str().unwrap().trim_end_matches('/');
        let config = config
            .replace("listener 8883", &format!("listener {} 127.0.0.1", hub.port))
            .replace("/etc/mosquitto/certs", place);
        // started by root, it would not read its key as another user
        hub.folder
            .file("mosquitto.conf", format!("{config}user root\n"));
        hub.started()
    }

    fn started(mut self) -> Option<Hub> {
        self.start()?;
        Some(self)
    }

    /// Starts the broker, again where it runs.
    fn start(&mut self) -> Option<u32> {
        self.broker = None;
        let config = self.file("mosquitto.conf");
        self.broker = Some(broker(&["-c", &config], self.port)?);
        // it has a machine of its own, and boards have theirs: these here shall not take its time
        let pid = self.broker.as_ref()?.0.id().to_string();
        let _ = Command::new("renice")
            .args(["-n", "-10", "-p", &pid])
            .output();
        self.broker.as_ref().map(|broker| broker.0.id())
    }

    fn file(&self, name: &str) -> String {
        self.folder.path(name).to_str().unwrap().to_owned()
    }

    fn certificates(&self, role: &str, names: &[&str]) {
        let script = Command::new(repo("boards/fleet/certificates"))
            .args([self.folder.path("").to_str().unwrap(), role])
            .args(names)
            .output()
            .unwrap();
        assert!(
            script.status.success(),
            "{}",
            String::from_utf8_lossy(&script.stderr)
        );
    }

    /// A client of mosquitto's that shows a certificate.
    fn client(&self, program: &str, who: &str, topic: &str) -> Command {
        // lines are there as they are written
        let mut client = Command::new("stdbuf");
        client.args(["-oL", program]);
        let shown = [".pem", ".key"].map(|end| self.file(&format!("{who}{end}")));
        client
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["--cafile", &self.file("ca.pem")])
            .args(["--cert", &shown[0], "--key", &shown[1], "-t", topic]);
        client
    }

    /// Publishes; whether the broker let them in.
    fn publish(&self, who: &str, topic: &str, payload: &str) -> bool {
        let mut publisher = self.client("mosquitto_pub", who, topic);
        let publisher = publisher.args(["-q", "1", "-m", payload]);
        publisher.stderr(Stdio::null()).status().unwrap().success()
    }

    fn subscribe(&self, who: &str, topic: &str, more: &[&str]) -> (Running, Lines) {
        let mut subscriber = self.client("mosquitto_sub", who, topic);
        let subscriber = subscriber.args(["-v", "-d"]).args(more);
        let mut child = Running(subscriber.stdout(Stdio::piped()).spawn().unwrap());
        let lines = Lines::of(child.0.stdout.take().unwrap());
        lines.wait(&["Subscribed"]);
        (child, lines)
    }

    /// `[mqtt]` of a board.
    fn section(&self, who: &str, group: &str) -> String {
        let [ca, cert, key] =
            ["ca.pem".into(), format!("{who}.pem"), format!("{who}.key")].map(|f| self.file(&f));
        format!(
            "broker = \"mqtts://127.0.0.1:{}\"\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n\
             group = {group:?}\ndiscovery = \"none\"\n",
            self.port
        )
    }
}

/// Lines that are messages, up to the last one.
fn messages(lines: &Lines, last: &str) -> BTreeSet<String> {
    let mut heard = BTreeSet::new();
    loop {
        let line = lines.wait(&[]);
        assert!(!line.contains("CONNACK"), "it was thrown out and came back");
        if line.starts_with("demeanor/") && line.ends_with(last) {
            return heard;
        }
        if line.starts_with("demeanor/") {
            heard.insert(line);
        }
    }
}

#[test]
fn a_board_writes_its_own_topics_and_hears_its_own_wishes_alone() {
    let Some(mut hub) = Hub::new(&["door-7".into(), "door-8".into()]) else {
        return;
    };
    let (_console, heard) = hub.subscribe("console", "demeanor/#", &[]);
    let published = [
        ("door-7", "door-7/state", true),
        ("door-7", "door-7/event/emotion", true),
        ("door-7", "door-8/state", false),
        ("door-7", "door-8/mute/set", false),
        ("door-7", "all/mute/set", false),
        ("door-7", "group/shop-1/mute/set", false),
        ("door-7", "console/state", false),
        ("series", "door-7/mute/set", false),
        ("remote", "door-7/state", false),
        ("remote", "door-8/mute/set", true),
    ];
    for (who, topic, _) in published {
        assert!(hub.publish(who, &format!("demeanor/{topic}"), who), "{who}");
    }
    hub.publish("remote", "demeanor/all/forget", "the last");
    let arrived = published.iter().filter(|(_, _, arrives)| *arrives);
    let arrived = arrived.map(|(who, topic, _)| format!("demeanor/{topic} {who}"));
    assert_eq!(messages(&heard, "the last"), arrived.collect());

    // the other one takes its name, which throws nobody out
    let (_board, wishes) = hub.subscribe("door-7", "#", &[]);
    let (_other, _) = hub.subscribe("door-8", "demeanor/all/mute/set", &["-i", "door-7"]);
    for topic in [
        "door-7/mute/set",
        "door-8/mute/set",
        "all/forget",
        "group/shop-1/forget",
    ] {
        assert!(hub.publish("remote", &format!("demeanor/{topic}"), "now"));
    }
    assert!(hub.publish("console", "demeanor/door-7/forget", "now"));
    hub.publish("remote", "demeanor/all/mute/set", "the last");
    let own = [
        "door-7/mute/set",
        "door-7/forget",
        "all/forget",
        "group/shop-1/forget",
    ];
    let own = own.map(|topic| format!("demeanor/{topic} now"));
    assert_eq!(messages(&wishes, "the last"), BTreeSet::from(own));

    // one that was stolen; and nobody at all
    let kept = ["pem", "key"].map(|end| fs::read(hub.file(&format!("door-7.{end}"))).unwrap());
    hub.certificates("revoke", &["door-7"]);
    for (end, bytes) in ["pem", "key"].iter().zip(kept) {
        hub.folder.file(&format!("stolen.{end}"), bytes);
    }
    hub.start().unwrap();
    assert!(!hub.publish("stolen", "demeanor/door-7/state", "x"));
    assert!(hub.publish("door-8", "demeanor/door-8/state", "x"));
    let port = hub.port.to_string();
    let stranger = Command::new("mosquitto_pub")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "demeanor/x",
            "-m",
            "x",
        ])
        .args(["--cafile", &hub.file("ca.pem")])
        .stderr(Stdio::null())
        .status();
    assert!(!stranger.unwrap().success());

    // a board that says it were the broker
    let config = fs::read_to_string(hub.file("mosquitto.conf")).unwrap();
    let config = config.replace("broker.pem", "door-8.pem");
    hub.folder
        .file("mosquitto.conf", config.replace("broker.key", "door-8.key"));
    hub.start().unwrap();
    is_told(
        &Folder::new(),
        &hub.section("door-8", "shop"),
        "certificate",
    );
}

/// A board without models and sources, as far as a broker can tell.
struct Board {
    name: String,
    remote: Arc<Remote>,
    report: Arc<Report>,
    fan: Fanout,
    is_muted: bool,
    /// When it answers next.
    due: Instant,
    /// Answers that it told.
    told: u64,
}

impl Board {
    fn new(
        hub: &Hub,
        (name, group): (&str, &str),
        answer: &Event,
        labels: &[String],
        machine: Machine,
    ) -> Board {
        let section: Section = toml::from_str(&hub.section(name, group)).unwrap();
        let remote = Arc::new(Remote::default());
        let about = About {
            device: name.to_owned(),
            board: "host".into(),
            bundles: vec![answer.bundle.clone()],
            tasks: vec![(answer.task.clone(), labels.to_vec())],
            sees: false,
            hears: false,
            setting: "public",
            purpose: "a load".into(),
            aggregate: None,
            config_sha256: "0".repeat(64),
            resting: Box::new(Vec::new),
            // a process with thousands of files takes long to count them
            machine: Box::new(move || machine),
        };
        let mqtt = Mqtt::open(&section, name).unwrap();
        let report = Arc::new(Report::new(&section, about, Arc::clone(&remote)).unwrap());
        let mut fan = Fanout::new(Reporter(Arc::clone(&report))).live(name);
        let mut is = |source, state| fan.state(&StateChange::new(source, state, "")).unwrap();
        is("notice", State::Public);
        is("text", State::Capturing);
        remote.show(Shown {
            is_capturing: true,
            latches: Latches::default(),
        });
        let serving = (Arc::clone(&report), Arc::clone(&remote));
        mqtt.serve(serving.0, serving.1, drop).unwrap();
        Board {
            name: name.to_owned(),
            remote,
            report,
            fan,
            is_muted: false,
            due: Instant::now(),
            told: 0,
        }
    }

    /// Obeys, as the gate of a run does.
    fn obey(&mut self) {
        let mutes = self.remote.wished();
        if mutes == self.is_muted {
            return;
        }
        self.is_muted = mutes;
        let (latch, source) = match mutes {
            true => (State::Muted, State::Muted),
            false => (State::Unmuted, State::Capturing),
        };
        for (name, state) in [("remote", latch), ("text", source)] {
            self.fan.state(&StateChange::new(name, state, "")).unwrap();
        }
        self.remote.show(Shown {
            is_capturing: !mutes,
            latches: Latches {
                remote: mutes,
                ..Latches::default()
            },
        });
    }

    fn answer(&mut self, answer: &Event) {
        self.fan.event(answer).unwrap();
        self.told += 1;
    }
}

/// Threads of the boards' sources, in one: wishes are looked for as often as a run does.
struct Fleet {
    boards: Arc<Mutex<Vec<Board>>>,
    is_over: Arc<AtomicBool>,
}

impl Fleet {
    fn new(boards: Vec<Board>, answer: Event, every: Duration) -> Fleet {
        let fleet = Fleet {
            boards: Arc::new(Mutex::new(boards)),
            is_over: Arc::default(),
        };
        let (boards, is_over) = (Arc::clone(&fleet.boards), Arc::clone(&fleet.is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                let now = Instant::now();
                for board in boards.lock().unwrap().iter_mut() {
                    board.obey();
                    if !board.is_muted && board.due <= now {
                        board.answer(&answer);
                        board.due = now + every;
                    }
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        fleet
    }

    /// Seconds until every board is muted as it is asked, at the boards.
    fn until_muted(&self, is_muted: bool, since: Instant) -> f64 {
        let obeys = || {
            let boards = self.boards.lock().unwrap();
            boards.iter().all(|board| board.is_muted == is_muted)
        };
        while !obeys() {
            assert!(since.elapsed() < PATIENCE, "a board is not reached");
            thread::sleep(Duration::from_millis(5));
        }
        since.elapsed().as_secs_f64()
    }
}

/// What somebody far away knows of the boards.
struct Console {
    /// What listens now; none once the console is gone.
    client: Arc<Mutex<Option<Running>>>,
    lines: Receiver<(Instant, String)>,
    online: BTreeMap<String, bool>,
    muted: BTreeMap<String, bool>,
    /// `muted_by` of the state.
    remote: BTreeMap<String, bool>,
    /// Numbers of every board's events.
    seen: BTreeMap<String, BTreeSet<u64>>,
    twice: Vec<String>,
    /// By board and topic, what was said last.
    told: BTreeMap<String, BTreeMap<String, Value>>,
    /// When the last one came.
    last: Instant,
}

impl Drop for Console {
    fn drop(&mut self) {
        self.client.lock().unwrap().take();
    }
}

impl Console {
    fn new(hub: &Hub) -> Console {
        let mut command = hub.client("mosquitto_sub", "console", "demeanor/#");
        command.args(["-q", "1", "-v"]).stdout(Stdio::piped());
        let mut listen = move || Running(command.stderr(Stdio::null()).spawn().unwrap());
        let client = Arc::new(Mutex::new(Some(listen())));
        let ((sender, lines), shared) = (mpsc::channel(), Arc::clone(&client));
        // mosquitto_sub itself may give up when it loses a broker
        thread::spawn(move || {
            let out = || Some(shared.lock().unwrap().as_mut()?.0.stdout.take().unwrap());
            while let Some(out) = out() {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    let _ = sender.send((Instant::now(), line));
                }
                thread::sleep(Duration::from_millis(200));
                if let Some(client) = shared.lock().unwrap().as_mut() {
                    *client = listen();
                }
            }
        });
        Console {
            client,
            lines,
            online: BTreeMap::new(),
            muted: BTreeMap::new(),
            remote: BTreeMap::new(),
            seen: BTreeMap::new(),
            twice: Vec::new(),
            told: BTreeMap::new(),
            last: Instant::now(),
        }
    }

    fn hear(&mut self, line: &str) {
        let (topic, payload) = line.split_once(' ').unwrap_or((line, ""));
        let mut levels = topic.splitn(3, '/').skip(1);
        let (Some(board), Some(of)) = (levels.next(), levels.next()) else {
            return;
        };
        let board = board.to_owned();
        let told: Value = serde_json::from_str(payload).unwrap_or_else(|_| json!(payload));
        let last = self.told.entry(board.clone()).or_default();
        last.insert(of.to_owned(), told.clone());
        match of {
            "availability" => drop(self.online.insert(board, payload == "online")),
            "mute" => drop(self.muted.insert(board, payload == "ON")),
            "state" => {
                let remote = told["muted_by"] == json!(["remote"]) && told["capturing"] == false;
                self.remote.insert(board, remote);
            }
            _ if of.starts_with("event/") => {
                let seq = told["seq"].as_u64().unwrap();
                if !self.seen.entry(board).or_default().insert(seq) {
                    self.twice.push(line.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Listens until it `is` so, for so long at most; seconds since, and whether it came.
    fn until(&mut self, since: Instant, is: impl Fn(&Console) -> bool) -> f64 {
        let end = since + 3 * PATIENCE;
        while !is(self) {
            let left = end.saturating_duration_since(Instant::now());
            let (came, line) = self.lines.recv_timeout(left).unwrap_or_else(|_| {
                let online = self.online.values().filter(|is| **is).count();
                let muted = self.muted.values().filter(|is| **is).count();
                panic!("the console waits in vain: {online} are online, {muted} muted")
            });
            self.last = came;
            self.hear(&line);
        }
        self.last.saturating_duration_since(since).as_secs_f64()
    }

    fn listen(&mut self, how_long: Duration) {
        let end = Instant::now() + how_long;
        while let Ok((came, line)) = {
            let left = end.saturating_duration_since(Instant::now());
            self.lines.recv_timeout(left)
        } {
            self.last = came;
            self.hear(&line);
        }
    }

    /// Whether it knows of so many boards that it is so, and of no other.
    fn knows(&self, boards: usize, is_muted: bool) -> bool {
        let all = |of: &BTreeMap<String, bool>| {
            of.len() == boards && of.values().all(|is| *is == is_muted)
        };
        all(&self.muted) && all(&self.remote)
    }

    fn are_online(&self) -> usize {
        self.online.values().filter(|is| **is).count()
    }

    /// Answers of a board.
    fn heard_of(&self, board: &Board) -> u64 {
        self.seen.get(&board.name).map_or(0, BTreeSet::len) as u64
    }

    fn events(&self) -> usize {
        self.seen.values().map(BTreeSet::len).sum()
    }
}

/// Whether two messages have the same fields of the same kinds; one of them may have no value.
fn is_like(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value)| other.get(name).is_some_and(|of| is_like(value, of));
            one.len() == other.len() && one.iter().all(has)
        }
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

/// Seconds of processor time, and MB of memory, that a process has used.
fn used(pid: u32) -> (f64, f64) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let stat = read("stat");
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|t| t.parse::<f64>().ok())
        .sum();
    let status = read("status");
    let resident = status.lines().find_map(|l| {
        l.strip_prefix("VmRSS:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    (ticks / 100.0, resident.unwrap_or(0.0) / 1024.0)
}

/// A run that answers every so often.
fn speak(mut words: ChildStdin, every: Duration, is_over: &Arc<AtomicBool>) {
    let is_over = Arc::clone(is_over);
    thread::spawn(move || {
        while !is_over.load(Ordering::Acquire)
            && writeln!(words, "this makes me very happy").is_ok()
        {
            thread::sleep(every);
        }
    });
}

#[test]
fn a_fleet_is_muted_by_one_wish_and_back_after_its_broker_nothing_twice() {
    let asked = std::env::var("DEMEANOR_FLEET")
        .ok()
        .and_then(|n| n.parse().ok());
    let n: usize = asked.unwrap_or(40);
    let is_load = asked.is_some();
    let (every, outage) = match is_load {
        true => (Duration::from_secs(10), Duration::from_secs(20)),
        false => (Duration::from_secs(1), Duration::from_secs(1)),
    };
    // a socket and a pipe each, and the broker's
    let limit = getrlimit(Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();

    let names: Vec<String> = (1..=n).map(|i| format!("board-{i}")).collect();
    let began = Instant::now();
    let mut all = names.clone();
    all.push("door".into());
    let Some(mut hub) = Hub::new(&all) else {
        return;
    };
    println!(
        "{} certificates: {:.1} s",
        n + 5,
        began.elapsed().as_secs_f64()
    );
    let mut session = Session::open(SessionOptions::default()).unwrap();
    let said = Observation::of_words("text", "this makes me very happy");
    let mut answers = session.observe(&said).unwrap();
    answers.retain(|answer| answer.task == "emotion");
    let answer = Event {
        source: "text".into(),
        ..answers.remove(0)
    };
    let labels: Vec<String> = answer
        .scores
        .iter()
        .map(|(label, _)| label.clone())
        .collect();
    drop(session);

    let mut console = Console::new(&hub);
    let folder = Folder::new();
    let (mut real, words, out) = run(&folder, &hub.section("door", "shop-1"));
    out.wait(&["\"capturing\""]);
    let began = Instant::now();
    let group = |i: usize| ["shop-1", "shop-2"][i % 2];
    let (machine, boards) = (Machine::of_process(), names.iter().enumerate());
    let mut boards: Vec<Board> = boards
        .map(|(i, name)| Board::new(&hub, (name, group(i)), &answer, &labels, machine))
        .collect();
    for (i, board) in boards.iter_mut().enumerate() {
        board.due = Instant::now() + every.mul_f64(i as f64 / n as f64);
    }
    let fleet = Fleet::new(boards, answer, every);
    speak(words, every, &fleet.is_over);
    let took = console.until(began, |c| c.are_online() == n + 1 && c.knows(n + 1, false));
    println!("{n} boards and a real one are online after {took:.1} s");

    // what they say is what the real one says
    let has = |c: &Console, name: &str| c.told[name].contains_key("event/emotion");
    let began = Instant::now();
    console.until(began, |c| has(c, "board-1") && has(c, "door"));
    console.listen(Duration::from_secs(1));
    let (ours, real_ones) = (&console.told["board-1"], &console.told["door"]);
    assert!(
        real_ones.len() > 6 && ours.keys().eq(real_ones.keys()),
        "{ours:?}\n{real_ones:?}"
    );
    for (topic, told) in real_ones {
        assert!(
            is_like(&ours[topic], told),
            "{topic}: {}\n{told}",
            ours[topic]
        );
    }

    let broker = |hub: &Hub| used(hub.broker.as_ref().unwrap().0.id());
    let (before, events, began) = (broker(&hub), console.events(), Instant::now());
    console.listen(if is_load {
        Duration::from_secs(30)
    } else {
        every
    });
    let seconds = began.elapsed().as_secs_f64();
    let after = broker(&hub);
    println!(
        "{:.0} answers a second arrive; the broker uses {:.0} % of a core and {:.0} MB",
        (console.events() - events) as f64 / seconds,
        (after.0 - before.0) / seconds * 100.0,
        after.1,
    );

    // one wish for all, one for a group
    for (mutes, wish) in [(true, "ON"), (false, "OFF")] {
        let began = Instant::now();
        assert!(hub.publish("remote", "demeanor/all/mute/set", wish));
        let at_boards = fleet.until_muted(mutes, began);
        let seen = console.until(began, |c| c.knows(n + 1, mutes));
        println!(
            "{wish} to all: every board after {at_boards:.2} s, the console sees {} after {seen:.1} s",
            n + 1
        );
    }
    let began = Instant::now();
    assert!(hub.publish("remote", "demeanor/group/shop-2/mute/set", "ON"));
    let muted = |c: &Console| c.muted.values().filter(|is| **is).count();
    let seen = console.until(began, |c| muted(c) == n / 2);
    console.listen(Duration::from_secs(1));
    assert!(console.muted["board-2"] && !console.muted["board-1"] && !console.muted["door"]);
    assert_eq!(muted(&console), n / 2);
    println!(
        "ON to a group: the console sees {} after {seen:.1} s",
        n / 2
    );
    hub.publish("remote", "demeanor/all/mute/set", "OFF");
    console.until(Instant::now(), |c| c.knows(n + 1, false));

    // the broker dies, and is back after a while
    hub.broker = None;
    thread::sleep(outage);
    console.listen(Duration::ZERO);
    console.online.clear();
    let began = Instant::now();
    hub.start().unwrap();
    let up = began.elapsed();
    let back = console.until(began + up, |c| c.are_online() == n + 1);
    println!(
        "broker away for {:.0} s: all are back {back:.1} s after it listens",
        outage.as_secs_f64()
    );
    assert!(back < 60.0, "{back}");
    console.listen(2 * every);

    // nothing twice, nothing lost that was not counted
    fleet.is_over.store(true, Ordering::Release);
    assert_eq!(real.exit_code(), Some(0));
    console.listen(Duration::from_secs(2));
    assert!(console.twice.is_empty(), "{:?}", console.twice);
    let boards = fleet.boards.lock().unwrap();
    assert!(
        boards
            .iter()
            .all(|board| console.heard_of(board) <= board.told)
    );
    let sum = |of: &dyn Fn(&Board) -> u64| boards.iter().map(of).sum::<u64>();
    // what came before the console itself was back, it does not know
    println!(
        "of {} answers the console heard {}, none twice; boards count {} as lost",
        sum(&|board| board.told),
        sum(&|board| console.heard_of(board)),
        sum(&|board| board.report.outbox.counts().lost),
    );
    drop(boards);
    let mut boards = fleet.boards.lock().unwrap();
    let began = Instant::now();
    boards.clear();
    drop(boards);
    console.until(began, |c| c.are_online() == 0);
    println!("all have said goodbye");
}

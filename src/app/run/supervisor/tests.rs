use super::*;
use crate::app::queue::{Lane, Next, Pushed, Queue};
use crate::app::run::align::Said;
use crate::app::run::reporter::StatusReporter;
use crate::app::run::switch::Switch;
use crate::app::run::worker::Work;
use crate::app::run::{Shared, Writing};
use crate::config::Config;
use crate::service::health::Health;
use crate::service::latches::Remote;
use crate::service::ledger::Ledger;
use crate::service::metrics::Metrics;
use crate::service::progress::Progress;
use crate::service::voice::{Voice, VoiceActivity};
use crate::tasks::pair::Pair;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};

/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_secs(2);
const GRACE: Grace = Grace {
    output: Duration::from_millis(200),
    others: Duration::from_millis(200),
    answer: Duration::from_millis(600),
};

/// A run without devices: what happens to it is the test's choice.
struct Stage {
    shared: Arc<Shared>,
    pressed: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    supervisor: Supervisor,
}

fn stage(audit: Option<PathBuf>) -> Stage {
    let name = format!("demeanor-supervisor-{:?}.toml", thread::current().id());
    let path = std::env::temp_dir().join(name);
    let wired = "[indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";
    let notice = "[notice]\nacknowledged = true\npurpose = \"x\"\nsetting = \"public\"\n";
    std::fs::write(&path, format!("{notice}{wired}")).unwrap();
    let mut config = Config::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    config.audit.file = audit;
    let (pressed, stop) = (Arc::default(), Arc::default());
    let profile = crate::board::choose(Some("host")).unwrap();
    let remote = Arc::new(Remote::default());
    let gate = CaptureGate::open(&config, &profile, Arc::clone(&pressed), Arc::clone(&remote));
    let gate = gate.unwrap();
    let queue = Arc::new(Queue::new(1));
    let ledger = Ledger::open(&config, Instant::now()).unwrap();
    let shared = Arc::new(Shared {
        switch: Switch::new(),
        status: StatusReporter::new(Arc::clone(&queue), ledger),
        queue,
        progress: Progress::new([]),
        metrics: Metrics::new(Instant::now()),
        writing: Writing::default(),
        remote,
        activity: VoiceActivity::default(),
        health: Health::new(Instant::now()),
        is_ready: AtomicBool::new(false),
    });
    let signals = Signals::of(&stop);
    let names = vec!["a device".to_owned()];
    let supervisor = Supervisor::new(Arc::clone(&shared), gate, signals, names, GRACE);
    Stage {
        shared,
        pressed,
        stop,
        supervisor,
    }
}

impl Stage {
    /// Runs `capture` and `infer` in a thread, and waits until capture is on.
    fn begin(
        self,
        capture: impl FnOnce(&Shared) -> Result<(), Error> + Send + 'static,
        infer: impl FnOnce(&Shared) -> Result<bool, Error> + Send + 'static,
    ) -> Running {
        let (captures, infers) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let supervisor = self.supervisor;
        let watching = thread::spawn(move || {
            supervisor.watch(
                |_| Ok(()),
                Machine::default,
                move || {
                    // nothing is captured before it is announced
                    while captures.switch.read().0 == Position::Off {
                        thread::sleep(Duration::from_millis(1));
                    }
                    capture(&captures)
                },
                move || infer(&infers),
            )
        });
        while self.shared.switch.read().0 == Position::Off {
            thread::sleep(Duration::from_millis(1));
        }
        Running {
            shared: self.shared,
            pressed: self.pressed,
            stop: self.stop,
            watching,
        }
    }
}

struct Running {
    shared: Arc<Shared>,
    pressed: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<Result<Outcome, Error>>,
}

impl Running {
    fn wait(&self, position: Position) {
        let begun = Instant::now();
        while self.shared.switch.read().0 != position {
            assert!(begun.elapsed() < SLACK, "not {position:?} in time");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Presses the button, and waits until the switch stands as it should.
    fn press(&self, position: Position) {
        self.pressed.store(true, Ordering::Release);
        self.wait(position);
    }

    /// How it ended, and how long that took.
    fn end(self) -> (Result<Outcome, Error>, Duration) {
        let begun = Instant::now();
        let ended = self.watching.join().expect("it does not panic");
        (ended, begun.elapsed())
    }
}

/// Captures until it is over.
fn capture(shared: &Shared) -> Result<(), Error> {
    loop {
        let known = shared.switch.read();
        if known.0 == Position::Over {
            return Ok(());
        }
        shared.switch.wait(known, Duration::from_secs(60));
    }
}

/// Takes all there is, and answers nothing.
fn infer(shared: &Shared) -> Result<bool, Error> {
    loop {
        match shared.queue.pop(Duration::from_secs(1)) {
            Next::Closed => return Ok(true),
            Next::Work(..) | Next::State(_) | Next::Idle => {}
        }
    }
}

/// Something that blocks for as long as the test goes on.
fn blocker() -> (Sender<()>, impl FnOnce() + Send + 'static) {
    let (sender, receiver): (_, Receiver<()>) = mpsc::channel();
    (sender, move || {
        let _ = receiver.recv();
    })
}

fn sentence(ended: Result<Outcome, Error>) -> String {
    ended.err().map(|e| e.to_string()).unwrap_or_default()
}

fn work() -> Work {
    let said = Said {
        pair: Pair::default(),
        number: None,
        at: 0.0,
    };
    Work::Said(said, None)
}

#[test]
fn a_run_ends_by_itself_and_by_a_signal() {
    let run = stage(None).begin(|_| Ok(()), infer);
    assert!(matches!(run.end().0, Ok(Outcome::Done(true))));
    let run = stage(None).begin(capture, infer);
    run.stop.store(true, Ordering::Release);
    assert!(matches!(run.end().0, Ok(Outcome::Done(true))));
}

#[test]
fn a_wish_from_afar_closes_the_sources_and_cannot_open_what_a_person_closed() {
    let run = stage(None).begin(capture, infer);
    let remote = Arc::clone(&run.shared.remote);
    remote.wish(true);
    run.wait(Position::Off);
    let seen = remote.obeyed(SLACK);
    assert_eq!(seen.latches.closed_by(), ["remote"]);
    remote.wish(false);
    run.wait(Position::On);
    run.press(Position::Off);
    let epoch = run.shared.switch.epoch();
    for mutes in [true, false] {
        remote.wish(mutes);
        let seen = remote.obeyed(SLACK);
        assert_eq!(seen.latches.remote, mutes);
        assert!(seen.latches.person && !seen.is_capturing);
    }
    // nothing was opened and closed meanwhile
    assert_eq!(run.shared.switch.read(), (Position::Off, epoch));
    run.press(Position::On);
    run.stop.store(true, Ordering::Release);
    assert!(matches!(run.end().0, Ok(Outcome::Done(true))));
    assert!(!remote.shown().is_capturing);
}

#[test]
fn a_panic_of_the_inferring_thread_ends_capture_at_once_and_is_passed_on() {
    let (begin, wait) = blocker();
    let captured = Arc::new(AtomicBool::new(true));
    let captures = Arc::clone(&captured);
    let stage = stage(None);
    let run = stage.begin(
        move |shared| {
            let ended = capture(shared);
            captures.store(false, Ordering::Release);
            ended
        },
        |shared| {
            let Next::Idle = shared.queue.pop(Duration::ZERO) else {
                return Ok(false);
            };
            wait();
            panic!("a fault of ours")
        },
    );
    drop(begin);
    run.wait(Position::Over);
    let panicked = catch_unwind(AssertUnwindSafe(|| run.watching.join()));
    assert!(panicked.expect("joined").is_err(), "it was swallowed");
    assert!(!captured.load(Ordering::Acquire), "it still captures");
}

#[test]
fn a_panic_of_the_capturing_thread_is_passed_on_once_all_is_answered() {
    let stage = stage(None);
    let run = stage.begin(|_| panic!("a fault of ours"), infer);
    assert!(run.watching.join().is_err());
}

#[test]
fn a_press_works_while_the_model_computes_for_ever_and_so_does_the_end() {
    let (_held, wait) = blocker();
    let run = stage(None).begin(capture, |shared| {
        while !matches!(shared.queue.pop(Duration::from_secs(1)), Next::Work(..)) {}
        wait();
        Ok(true)
    });
    assert_eq!(
        run.shared.queue.push(Lane::Speech, work(), 0, false),
        Ok(Pushed::Queued)
    );
    run.press(Position::Off);
    run.press(Position::On);
    run.stop.store(true, Ordering::Release);
    run.wait(Position::Over);
    let (ended, took) = run.end();
    assert!(took < GRACE.answer + SLACK, "{took:?}");
    let said = sentence(ended);
    assert!(said.contains("an answer was not ready"), "{said}");
}

#[test]
fn a_press_works_while_the_output_blocks_and_the_end_comes_after_its_grace() {
    let (_held, wait) = blocker();
    let run = stage(None).begin(capture, |shared| {
        while !matches!(shared.queue.pop(Duration::from_secs(1)), Next::Work(..)) {}
        shared.writing.begin();
        wait();
        Ok(true)
    });
    run.shared
        .queue
        .push(Lane::Speech, work(), 0, false)
        .unwrap();
    run.press(Position::Off);
    run.stop.store(true, Ordering::Release);
    run.wait(Position::Over);
    let (ended, took) = run.end();
    assert!(took < GRACE.output + SLACK, "{took:?}");
    let said = sentence(ended);
    assert!(
        said.starts_with("standard output: nobody read it"),
        "{said}"
    );
}

#[test]
fn sources_that_ended_by_themselves_leave_a_reader_its_time() {
    let (reads, wait) = blocker();
    let run = stage(None).begin(
        |shared| {
            shared.queue.push(Lane::Speech, work(), 0, false).unwrap();
            Ok(())
        },
        |shared| {
            while !matches!(shared.queue.pop(Duration::from_secs(1)), Next::Work(..)) {}
            shared.writing.begin();
            wait();
            shared.writing.end();
            infer(shared)
        },
    );
    run.wait(Position::Over);
    thread::sleep(4 * GRACE.output);
    assert!(!run.watching.is_finished(), "the answer was given up");
    drop(reads);
    assert!(matches!(run.end().0, Ok(Outcome::Done(true))));
}

#[test]
fn what_waits_for_room_is_dropped_by_a_press() {
    let (_held, wait) = blocker();
    let (sender, pushed) = mpsc::channel();
    let run = stage(None).begin(
        move |shared| {
            // one is being answered, one waits, and one has no room
            for _ in 0..3 {
                let result = shared.queue.push(Lane::Speech, work(), 0, false);
                let _ = sender.send(result);
            }
            capture(shared)
        },
        |shared| {
            while !matches!(shared.queue.pop(Duration::from_secs(1)), Next::Work(..)) {}
            wait();
            Ok(true)
        },
    );
    for _ in 0..2 {
        assert_eq!(pushed.recv_timeout(SLACK), Ok(Ok(Pushed::Queued)));
    }
    run.press(Position::Off);
    assert_eq!(pushed.recv_timeout(SLACK), Ok(Ok(Pushed::Stale)));
    run.stop.store(true, Ordering::Release);
    run.end().0.expect_err("the model never answered");
}

#[test]
fn the_end_does_not_wait_for_ever_for_a_source_that_stays_open() {
    let (_held, wait) = blocker();
    let run = stage(None).begin(
        |shared| {
            let _permit = shared.switch.permit();
            wait();
            Ok(())
        },
        infer,
    );
    while !run.shared.switch.is_in_use() {
        thread::sleep(Duration::from_millis(1));
    }
    run.press(Position::Off);
    assert!(run.shared.switch.is_in_use());
    run.stop.store(true, Ordering::Release);
    let (ended, took) = run.end();
    assert!(took < 2 * GRACE.others + SLACK, "{took:?}");
    let said = sentence(ended);
    assert!(said.contains("a source did not close"), "{said}");
}

#[test]
fn a_second_signal_waits_for_no_answer() {
    let (_held, wait) = blocker();
    let run = stage(None).begin(capture, |shared| {
        while !matches!(shared.queue.pop(Duration::from_secs(1)), Next::Work(..)) {}
        wait();
        Ok(true)
    });
    run.shared
        .queue
        .push(Lane::Speech, work(), 0, false)
        .unwrap();
    run.stop.store(true, Ordering::Release);
    run.wait(Position::Over);
    run.stop.store(true, Ordering::Release);
    assert!(matches!(run.end().0, Ok(Outcome::Interrupted)));
}

#[test]
fn a_press_ends_what_is_heard_though_who_hears_it_hangs() {
    let (release, block) = blocker();
    let hears = move |shared: &Shared| {
        shared.activity.hear(Voice::Speaking, 0);
        block();
        shared.activity.hear(Voice::Speaking, 0);
        Ok(())
    };
    let run = stage(None).begin(hears, infer);
    let (tell, told) = mpsc::channel();
    run.shared.activity.watch(move |voice| {
        let _ = tell.send(voice);
    });
    let told_next = || told.recv_timeout(SLACK);
    while told_next().unwrap() != Voice::Speaking {}
    run.press(Position::Off);
    assert_eq!(told_next(), Ok(Voice::Unheard));
    drop(release);
    assert!(run.end().0.is_ok());
    assert!(told_next().is_err());
}

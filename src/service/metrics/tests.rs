//! The page is read back by the grammar of the format, as the exporter does.

use super::*;
use crate::event::State;
use crate::service::scratch::Folder;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Labels = Vec<(String, String)>;
/// A sample: its name, its labels, its value.
type Sample = (String, Labels, f64);

fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    let tail = |c: char| c.is_ascii_alphanumeric() || c == '_';
    first && name.chars().all(tail)
}

/// `key="value",…`
fn labels(text: &str) -> Labels {
    let label = |part: &str| {
        let (key, value) = part.split_once('=').expect(part);
        let value = value
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .expect(part);
        assert!(is_name(key), "{key}");
        assert!(!value.contains(['"', '\\', '\n', ',']), "{value}");
        (key.to_owned(), value.to_owned())
    };
    text.split(',').map(label).collect()
}

fn value(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        _ => text.parse().expect(text),
    }
}

/// Reads a page; fails on anything that the exporter would refuse.
fn parse(page: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    assert!(page.ends_with('\n'), "the last line ends too");
    let (mut kinds, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "{name} has two helps");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name), "{name} has no help before its type");
            let earlier = kinds.insert(name.to_owned(), kind.to_owned());
            assert!(earlier.is_none(), "{name} has two types");
            family = name.to_owned();
        } else {
            let (series, number) = line.rsplit_once(' ').expect(line);
            let (name, inner) = match series.split_once('{') {
                None => (series, Vec::new()),
                Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect(line))),
            };
            assert!(is_name(name), "{name}");
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let of_family = |s: &str| name == format!("{family}{s}");
            let mut known = suffixes.into_iter().filter(|s| of_family(s));
            let suffix = known.next().expect("samples stand below their type");
            assert_eq!(kinds[&family] == "histogram", !suffix.is_empty(), "{line}");
            samples.push((name.to_owned(), inner, value(number)));
        }
    }
    let series: BTreeSet<_> = samples
        .iter()
        .map(|s| format!("{}{:?}", s.0, s.1))
        .collect();
    assert_eq!(series.len(), samples.len(), "a series stands twice");
    (kinds, samples)
}

/// Buckets only grow, the last one is everything.
fn check_histograms(kinds: &BTreeMap<String, String>, samples: &[Sample]) {
    for name in kinds.iter().filter(|k| k.1 == "histogram").map(|k| k.0) {
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for (_, inner, count) in samples.iter().filter(|s| s.0 == format!("{name}_bucket")) {
            let (le, of) = inner.split_last().unwrap();
            assert_eq!(le.0, "le");
            let bound = value(&le.1);
            buckets
                .entry(of.to_vec())
                .or_default()
                .push((bound, *count));
        }
        for (of, buckets) in buckets {
            let grows = |w: &[(f64, f64)]| w[0].0 < w[1].0 && w[0].1 <= w[1].1;
            assert!(buckets.windows(2).all(grows), "{name} {of:?}: {buckets:?}");
            let all = samples
                .iter()
                .find(|s| s.0 == format!("{name}_count") && s.1 == of)
                .unwrap();
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, all.2)));
            assert!(
                samples
                    .iter()
                    .any(|s| s.0 == format!("{name}_sum") && s.1 == of)
            );
        }
    }
}

fn event(task: &str, label: &str, mel: f64) -> Event {
    Event {
        task: task.into(),
        source: "microphone of somebody".into(),
        label: label.into(),
        scores: vec![("angry".into(), 0.75), ("sad".into(), 0.25)],
        bundle: "b@1".into(),
        latency: Latency {
            mel: Some(mel),
            speech: Some(100.0),
            ..Latency::default()
        },
        notes: vec!["a note".into()],
        ..Event::default()
    }
}

fn filled(now: Instant) -> Metrics {
    let metrics = Metrics::new(now);
    metrics.observe(&event("emotion", "angry", 1.0));
    metrics.observe(&event("emotion", "unsure", 4.0));
    metrics.observe(&event("emotion", "sad", 1e6));
    metrics.observe(&event("expression", "unsure", 0.0));
    metrics.add(Counter::SkippedLooks, 3);
    metrics.add(Counter::SkippedLooks, 4);
    metrics.set(Counter::SoundRestarts, 5);
    metrics.mute(true);
    metrics
}

const MACHINE: Machine = Machine {
    resident: Some(1024),
    open_files: Some(12),
    temperature: Some(61.5),
    throttled: Some(false),
};

fn find(samples: &[Sample], name: &str, label: &str) -> f64 {
    let found = samples.iter().find(|s| {
        s.0 == format!("demeanor_{name}") && (label.is_empty() || s.1.iter().any(|l| l.1 == label))
    });
    found.unwrap_or_else(|| panic!("no {name} {label}")).2
}

#[test]
fn a_page_is_what_the_format_allows_and_holds_what_was_counted() {
    let now = Instant::now();
    let page = filled(now).render(&MACHINE, now + Duration::from_secs(90));
    let (kinds, samples) = parse(&page);
    check_histograms(&kinds, &samples);
    let value = |name, label| find(&samples, name, label);
    assert_eq!(value("answers_total", "emotion"), 3.0);
    assert_eq!(value("unsure_total", "emotion"), 1.0);
    assert_eq!(value("unsure_total", "expression"), 1.0);
    assert_eq!(value("answer_seconds_count", "emotion"), 3.0);
    assert_eq!(value("answer_seconds_sum", "expression"), 0.1);
    assert_eq!(value("skipped_total", "look"), 7.0);
    assert_eq!(value("source_restarts_total", "sound"), 5.0);
    assert_eq!(value("source_restarts_total", "camera"), 0.0);
    assert_eq!(value("muted", ""), 1.0);
    assert_eq!(value("temperature_celsius", ""), 61.5);
    assert_eq!(value("throttled", ""), 0.0);
    assert_eq!(value("resident_bytes", ""), 1_048_576.0);
    assert_eq!(value("uptime_seconds", ""), 90.0);
    let mel = |bound: &str| {
        let label = |s: &Sample, v: &str| s.1.iter().any(|l| l.1 == v);
        let bucket = samples.iter().find(|s| {
            s.0 == "demeanor_stage_seconds_bucket"
                && ["emotion", "mel", bound].iter().all(|v| label(s, v))
        });
        bucket.unwrap().2
    };
    assert_eq!(
        [mel("0.0005"), mel("0.001"), mel("0.005"), mel("2.5")],
        [0.0, 1.0, 2.0, 2.0]
    );
    assert_eq!(mel("+Inf"), 3.0);
}

#[test]
fn nothing_about_people_is_in_a_page() {
    let now = Instant::now();
    let page = filled(now).render(&MACHINE, now);
    for word in ["angry", "sad", "0.75", "somebody", "a note", "face"] {
        assert!(!page.contains(word), "{word} in\n{page}");
    }
}

#[test]
fn what_drifts_is_told_by_task_and_as_far_as_it_is_known() {
    let metrics = Metrics::new(Instant::now());
    let figure = |of, usual, off| Drifting {
        task: "emotion".into(),
        of,
        mean: 0.5,
        usual,
        off,
    };
    metrics.drift(vec![
        figure("speech", Some(0.25), Some(-1.5)),
        figure("unsure", None, None),
    ]);
    let (kinds, samples) = parse(&metrics.render(&Machine::default(), Instant::now()));
    assert_eq!(kinds["demeanor_drift"], "gauge");
    assert_eq!(find(&samples, "drift", "speech"), -1.5);
    assert_eq!(find(&samples, "drift_usual", "speech"), 0.25);
    assert_eq!(find(&samples, "drift_mean", "unsure"), 0.5);
    let told = samples.iter().filter(|s| s.0.starts_with("demeanor_drift"));
    assert_eq!(told.count(), 4);
}

#[test]
fn an_empty_page_and_a_bare_machine_are_pages_too() {
    let now = Instant::now();
    let page = Metrics::new(now).render(&Machine::default(), now);
    let (kinds, samples) = parse(&page);
    check_histograms(&kinds, &samples);
    assert!(!kinds.contains_key("demeanor_temperature_celsius"));
}

#[test]
fn every_counter_has_one_row_and_rows_of_a_name_stand_together() {
    let rows: BTreeSet<_> = COUNTERS.iter().map(|row| row.0 as usize).collect();
    assert_eq!(rows, (0..COUNTERS.len()).collect());
    let mut names: Vec<_> = COUNTERS.iter().map(|row| row.1).collect();
    names.dedup();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}

#[test]
fn the_process_knows_its_memory_and_its_open_files() {
    let before = Machine::of_process();
    assert!(before.resident.is_some_and(|kib| kib > 1000), "{before:?}");
    let held: Vec<_> = (0..50)
        .map(|_| fs::File::open("/dev/null").unwrap())
        .collect();
    let after = Machine::of_process().open_files.unwrap();
    // other tests open and close files meanwhile
    assert!(after > before.open_files.unwrap() + 20, "{after}");
    drop(held);
}

#[test]
fn readers_never_see_half_a_page() {
    let folder = Folder::new();
    let path = folder.0.join("demeanor.prom");
    let now = Instant::now();
    let mut page = Page::new(&path, Duration::from_secs(15), now);
    let pages = ["a".repeat(300_000), "b".repeat(200_000)];
    assert_eq!(page.write(&pages[0], now), None);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            (0..300).for_each(|n| assert_eq!(page.write(&pages[n % 2], now), None));
        });
        while !writing.is_finished() {
            let seen = fs::read_to_string(&path).unwrap();
            assert!(pages.contains(&seen), "{} bytes", seen.len());
        }
    });
    let left: Vec<_> = fs::read_dir(&folder.0).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn a_page_that_cannot_be_written_is_told_once_and_tried_again() {
    let folder = Folder::new();
    let path = folder.0.join("later/demeanor.prom");
    let now = Instant::now();
    let every = Duration::from_secs(15);
    let mut page = Page::new(&path, every, now);
    assert_eq!(page.due(), now);
    let told = page.write("x\n", now).unwrap();
    assert_eq!((told.part, told.state), ("metrics", State::Failing));
    assert!(
        told.detail.contains("later/demeanor.prom"),
        "{}",
        told.detail
    );
    assert_eq!(page.due(), now + every);
    assert_eq!(page.write("x\n", now + every), None);
    fs::create_dir(folder.0.join("later")).unwrap();
    let told = page.write("x\n", now + 2 * every).unwrap();
    assert_eq!((told.part, told.state), ("metrics", State::Recovered));
    assert_eq!(page.write("y\n", now + 3 * every), None);
    assert_eq!(fs::read_to_string(&path).unwrap(), "y\n");
}

#[test]
fn a_file_that_a_killed_process_left_and_a_link_are_replaced_not_followed() {
    let folder = Folder::new();
    let (path, victim) = (folder.0.join("d.prom"), folder.0.join("victim"));
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, folder.0.join(".d.prom.new")).unwrap();
    let now = Instant::now();
    assert_eq!(
        Page::new(&path, Duration::ZERO, now).write("x\n", now),
        None
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
}

#[test]
fn a_link_or_a_device_in_the_place_of_the_page_is_left_alone() {
    let folder = Folder::new();
    let (path, victim) = (folder.0.join("d.prom"), folder.0.join("victim"));
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    let now = Instant::now();
    let told = Page::new(&path, Duration::ZERO, now).write("x\n", now);
    let told = told.expect("it says so");
    assert!(told.detail.contains("a symbolic link"), "{}", told.detail);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn readers_of_outputs_are_counted_by_output() {
    let metrics = Metrics::new(Instant::now());
    let (feed, _writer) = Feed::new(false);
    let _reader = feed.join(1);
    assert!(feed.join(1).is_none());
    metrics.count_readers(vec![("socket", Arc::clone(&feed)), ("http", feed)]);
    let (kinds, samples) = parse(&metrics.render(&Machine::default(), Instant::now()));
    assert_eq!(kinds["demeanor_readers"], "gauge");
    for output in ["socket", "http"] {
        let labels = vec![("output".to_owned(), output.to_owned())];
        for (name, value) in [("readers", 1.0), ("readers_refused_total", 1.0)] {
            let sample = (format!("demeanor_{name}"), labels.clone(), value);
            assert!(samples.contains(&sample), "{sample:?}");
        }
    }
}

#[test]
fn figures_of_answers_that_are_withheld_grow_when_they_are_revealed() {
    let metrics = Metrics::new(Instant::now());
    metrics.withhold();
    let shown = || {
        let (_, samples) = parse(&metrics.render(&Machine::default(), Instant::now()));
        let of_tasks = samples
            .into_iter()
            .filter(|s| s.1.iter().any(|l| l.0 == "task"));
        of_tasks.collect::<Vec<Sample>>()
    };
    for label in ["sad", "unsure"] {
        metrics.observe(&event("emotion", label, 1.0));
    }
    assert_eq!(shown(), []);
    metrics.reveal("sentiment");
    assert_eq!(shown(), []);
    metrics.reveal("emotion");
    let told = shown();
    let value = |name: &str| told.iter().find(|s| s.0 == name).unwrap().2;
    assert_eq!(value("demeanor_answers_total"), 2.0);
    assert_eq!(value("demeanor_unsure_total"), 1.0);
    assert_eq!(value("demeanor_answer_seconds_count"), 2.0);
    metrics.observe(&event("emotion", "unsure", 1.0));
    assert_eq!(shown(), told);
}

#[test]
fn open_metrics_name_a_counter_without_its_ending_and_mark_the_end() {
    let metrics = Metrics::new(Instant::now());
    metrics.observe(&Event {
        task: "emotion".into(),
        ..Event::default()
    });
    let page = metrics.render(&Machine::default(), Instant::now());
    let open = open_metrics(&page);
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    assert!(open.contains("# TYPE demeanor_answers counter\n"), "{open}");
    assert!(open.contains("# HELP demeanor_answers Answers given, of each task.\n"));
    assert!(open.contains("\ndemeanor_answers_total{task=\"emotion\"} 1\n"));
    // every sample as it was
    let samples = |page: &str| -> Vec<String> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(String::from).collect()
    };
    assert_eq!(samples(&open), samples(&page));
}

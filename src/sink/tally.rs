//! Counts answers, so that they are told together and none by itself.
//!
//! A task's counts are told at the end of a window, if they are of enough answers; fewer are
//! carried into the next window, and at the end of a run are never told. The span that is told
//! begins where the last one ended, so that it does not show in which window nobody was there.

use crate::event::{Aggregate, Event, now as by_clock};
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// The label of an answer that was left open.
const UNSURE: &str = "unsure";

/// Counts of every task since they were told last.
#[derive(Debug)]
pub struct Tally {
    every: Duration,
    at_least: u64,
    /// The end of the present window.
    due: Instant,
    tasks: Vec<Aggregate>,
}

impl Tally {
    /// Nothing counted yet. `tasks` are those that may answer, with their labels.
    pub fn new(
        every: Duration,
        at_least: u64,
        tasks: &[(String, Vec<String>)],
        now: Instant,
    ) -> Tally {
        let from = by_clock();
        let empty = |(task, labels): &(String, Vec<String>)| {
            let labels = labels.iter().map(String::as_str).chain([UNSURE]);
            Aggregate {
                of: task.clone(),
                from,
                until: None,
                counts: labels.map(|label| (label.to_owned(), 0)).collect(),
            }
        };
        Tally {
            every,
            at_least,
            due: now + every,
            tasks: tasks.iter().map(empty).collect(),
        }
    }

    /// Counts an answer. What is not over yet is none.
    pub fn count(&mut self, event: &Event) {
        let of = self.tasks.iter_mut().find(|task| task.of == event.task);
        let Some(counts) = of.filter(|_| !event.partial).map(|task| &mut task.counts) else {
            return;
        };
        match counts.iter_mut().find(|(label, _)| *label == event.label) {
            Some((_, count)) => *count += 1,
            // of tasks whose labels are put together of several
            None => counts.push((event.label.clone(), 1)),
        }
    }

    /// What is to be told now: at the end of a window, and when the run `is_over`.
    pub fn due(&mut self, now: Instant, is_over: bool) -> Vec<Aggregate> {
        if now < self.due && !is_over {
            return Vec::new();
        }
        // a machine that slept tells once
        while self.due <= now {
            self.due += self.every;
        }
        let until = by_clock();
        let enough = |task: &&mut Aggregate| task.answers() >= self.at_least;
        let tasks = self.tasks.iter_mut().filter(enough);
        tasks.map(|task| close(task, until)).collect()
    }
}

/// Takes the counts out; the next span begins here.
fn close(task: &mut Aggregate, until: Option<Timestamp>) -> Aggregate {
    let told = Aggregate {
        until,
        ..task.clone()
    };
    task.from = until;
    task.counts.iter_mut().for_each(|(_, count)| *count = 0);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn tally(now: Instant) -> Tally {
        let labels = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect();
        let tasks = [
            ("emotion".to_owned(), labels(&["happy", "sad"])),
            ("entities".to_owned(), labels(&["PER", "LOC"])),
        ];
        Tally::new(WINDOW, 3, &tasks, now)
    }

    fn answer(tally: &mut Tally, task: &str, label: &str) {
        tally.count(&Event {
            task: task.into(),
            label: label.into(),
            ..Event::default()
        });
    }

    fn counts(told: &Aggregate) -> Vec<(&str, u64)> {
        told.counts.iter().map(|(l, n)| (l.as_str(), *n)).collect()
    }

    #[test]
    fn a_window_tells_each_task_once_and_begins_anew() {
        let start = Instant::now();
        let mut tally = tally(start);
        for label in ["sad", "unsure", "sad", "happy"] {
            answer(&mut tally, "emotion", label);
        }
        for label in ["PER+LOC", "none", "none"] {
            answer(&mut tally, "entities", label);
        }
        answer(&mut tally, "nobody's", "x");
        assert!(
            tally
                .due(start + WINDOW - Duration::from_secs(1), false)
                .is_empty()
        );
        let told = tally.due(start + WINDOW, false);
        assert_eq!((told[0].of.as_str(), told[0].answers()), ("emotion", 4));
        assert_eq!(counts(&told[0]), [("happy", 1), ("sad", 2), ("unsure", 1)]);
        let several = [
            ("PER", 0),
            ("LOC", 0),
            ("unsure", 0),
            ("PER+LOC", 1),
            ("none", 2),
        ];
        assert_eq!(counts(&told[1]), several);
        assert!(told.iter().all(|t| t.from.is_some() && t.from <= t.until));
        // nothing is told twice
        assert!(tally.due(start + 2 * WINDOW, false).is_empty());
        (0..3).for_each(|_| answer(&mut tally, "emotion", "happy"));
        let next = tally.due(start + 3 * WINDOW, false);
        assert_eq!(counts(&next[0]), [("happy", 3), ("sad", 0), ("unsure", 0)]);
        assert_eq!(next[0].from, told[0].until);
    }

    #[test]
    fn few_answers_are_carried_and_the_span_does_not_show_when_they_came() {
        let start = Instant::now();
        let mut tally = tally(start);
        let from = tally.tasks[0].from;
        answer(&mut tally, "emotion", "sad");
        assert!(tally.due(start + WINDOW, false).is_empty());
        // nobody for hours, while the machine slept
        assert!(tally.due(start + 40 * WINDOW, false).is_empty());
        answer(&mut tally, "emotion", "sad");
        answer(&mut tally, "emotion", "happy");
        assert!(tally.due(start + 40 * WINDOW, false).is_empty());
        let told = tally.due(start + 41 * WINDOW, false);
        assert_eq!(counts(&told[0]), [("happy", 1), ("sad", 2), ("unsure", 0)]);
        assert_eq!(told[0].from, from);
    }

    #[test]
    fn at_the_end_enough_answers_are_told_and_few_are_not() {
        let start = Instant::now();
        let mut tally = tally(start);
        (0..3).for_each(|_| answer(&mut tally, "emotion", "sad"));
        (0..2).for_each(|_| answer(&mut tally, "entities", "none"));
        let told = tally.due(start, true);
        let of: Vec<&str> = told.iter().map(|t| t.of.as_str()).collect();
        assert_eq!(of, ["emotion"]);
    }

    #[test]
    fn what_is_not_over_is_not_counted() {
        let start = Instant::now();
        let mut tally = tally(start);
        for partial in [true, true, true, false] {
            tally.count(&Event {
                task: "emotion".into(),
                label: "sad".into(),
                partial,
                ..Event::default()
            });
        }
        assert_eq!(tally.tasks[0].answers(), 1);
    }

    #[test]
    fn the_json_holds_counts_and_nothing_of_an_answer() {
        let told = Aggregate {
            of: "emotion".into(),
            from: "2026-11-27T17:00:00Z".parse().ok(),
            until: "2026-11-27T17:05:00.7Z".parse().ok(),
            counts: vec![("sad".into(), 2), ("unsure".into(), 5)],
        };
        assert_eq!(
            told.to_json().to_string(),
            "{\"schema\":\"demeanor.event/1\",\"task\":\"aggregate\",\"of\":\"emotion\",\
             \"from\":\"2026-11-27T17:00:00Z\",\"until\":\"2026-11-27T17:05:00Z\",\
             \"answers\":7,\"counts\":{\"sad\":2,\"unsure\":5}}"
        );
    }
}

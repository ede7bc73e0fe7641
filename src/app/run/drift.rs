//! Whether what comes to a run is like what is usual: how far it lies from what the models learnt
//! from, and how much is left open. Averages alone; of no answer is anything kept.

use crate::config::calibration::{Usual, Watched};
use crate::decision::drift::{self, Kind, Tally, Turn, Watch};
use crate::event::{Event, State, StateChange};
use crate::service::metrics::Drifting;
use crate::session::{Distance, Session, UNSURE};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Answers about one source that follow each other faster count once: they are about the same
/// moment. Seconds.
const MOMENT: f64 = 1.0;

/// A task, and what of its answers is watched.
type Key = (String, Watched);

/// Numbers of an observation and its answers, one of each key.
pub(super) fn numbers(events: &[Event], distances: &[Distance]) -> BTreeMap<Key, f64> {
    let mut numbers = BTreeMap::new();
    for distance in distances {
        if let Some(of) = Watched::of(distance.trunk) {
            numbers.insert((distance.task.clone(), of), f64::from(distance.distance));
        }
    }
    for event in events.iter().filter(|e| !e.scores.is_empty()) {
        let open = f64::from(u8::from(event.label == UNSURE));
        numbers.insert((event.task.clone(), Watched::Unsure), open);
    }
    numbers
}

fn kind(of: Watched) -> Kind {
    match of {
        Watched::Unsure => Kind::Share,
        Watched::Speech | Watched::Text | Watched::Image => Kind::Number,
    }
}

/// Passes on what is no more of the same moment.
#[derive(Debug, Default)]
struct Moments(BTreeMap<Key, f64>);

impl Moments {
    fn is_new(&mut self, key: &Key, now: f64) -> bool {
        let last = self.0.get(key);
        // a clock that went back is another stream
        let is_new = last.is_none_or(|last| now < *last || now - last >= MOMENT);
        if is_new {
            self.0.insert(key.clone(), now);
        }
        is_new
    }
}

/// Adds up what is usual.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    sums: BTreeMap<Key, Tally>,
    moments: Moments,
}

impl Tallies {
    /// Counts an observation.
    pub fn count(&mut self, events: &[Event], distances: &[Distance], now: f64) {
        for (key, number) in numbers(events, distances) {
            if self.moments.is_new(&key, now) {
                self.sums.entry(key).or_default().push(number);
            }
        }
    }

    /// What was usual until this date, of what there was enough of.
    pub fn usual(&self, date: Timestamp) -> Vec<Usual> {
        let known = self.sums.iter().filter_map(|((task, of), tally)| {
            let usual = tally.usual()?;
            Some(Usual {
                task: task.clone(),
                of: *of,
                date: date.to_string(),
                mean: rounded(usual.mean),
                within: rounded(usual.within),
                between: rounded(usual.between),
                answers: usual.answers,
            })
        });
        known.collect()
    }
}

/// Four decimals: nobody reads more in a config.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

/// What is watched, and since when it was measured.
struct Watching {
    watch: Watch,
    /// Measured in this place, and not while the model was made.
    is_here: bool,
}

/// Watches a run.
pub(super) struct Drift {
    usual: Vec<Usual>,
    watches: BTreeMap<Key, Watching>,
    moments: Moments,
}

impl Drift {
    /// Against what was usual here.
    pub fn new(usual: Vec<Usual>) -> Drift {
        Drift {
            usual,
            watches: BTreeMap::new(),
            moments: Moments::default(),
        }
    }

    /// Takes an observation; what is to be told, with the names of what is heard and seen.
    pub fn observe(
        &mut self,
        events: &[Event],
        distances: &[Distance],
        now: f64,
        session: &Session,
        (heard, seen): (&str, &str),
    ) -> Vec<StateChange> {
        let mut told = Vec::new();
        for (key, number) in numbers(events, distances) {
            if !self.moments.is_new(&key, now) {
                continue;
            }
            let usual = &self.usual;
            let watching = self.watches.entry(key.clone()).or_insert_with(|| {
                let here = usual.iter().find(|u| (&u.task, u.of) == (&key.0, key.1));
                let usual = here.map(Usual::range).or_else(|| learnt(session, &key));
                Watching {
                    watch: Watch::new(kind(key.1), usual),
                    is_here: here.is_some(),
                }
            });
            let Some(turn) = watching.watch.push(number) else {
                continue;
            };
            let source = match key.1 {
                Watched::Unsure => &key.0,
                Watched::Speech | Watched::Text => heard,
                Watched::Image => seen,
            };
            let state = match turn {
                Turn::Back => State::Back,
                Turn::More | Turn::Less => State::Drifted,
            };
            told.push(StateChange::new(
                source,
                state,
                sentence(&key, turn, watching),
            ));
        }
        told
    }

    /// For the figures.
    pub fn figures(&self) -> Vec<Drifting> {
        let figures = self.watches.iter().filter_map(|((task, of), watching)| {
            Some(Drifting {
                task: task.clone(),
                of: of.name(),
                mean: watching.watch.mean()?,
                usual: watching.watch.usual().map(|u| u.mean),
                off: watching.watch.off(),
            })
        });
        figures.collect()
    }
}

/// What the bundle says of people whom its statistics did not see: a wide range, for the trunk
/// itself may have met them.
fn learnt(session: &Session, (task, of): &Key) -> Option<drift::Usual> {
    use crate::model::manifest::Trunk;
    let trunk = Trunk::ALL
        .into_iter()
        .find(|t| Watched::of(*t) == Some(*of))?;
    let range = session.range(task, trunk)?;
    Some(drift::Usual {
        mean: range.mean,
        within: range.within,
        between: range.between,
        answers: range.answers,
    })
}

/// In words: what was seen, and what may be behind it.
fn sentence((task, of): &Key, turn: Turn, watching: &Watching) -> String {
    let since = match watching.is_here {
        true => "at calibration",
        false => "with people whom the model was tried on",
    };
    let lately = watching.watch.mean().unwrap_or_default();
    let before = watching.watch.usual().map_or(0.0, |u| u.mean);
    let what = match of {
        Watched::Speech => "voices",
        Watched::Text => "words",
        Watched::Image => "pictures",
        Watched::Unsure => {
            let (lately, before) = (100.0 * lately, 100.0 * before);
            let share = format!(
                "{lately:.0}% of the answers to {task} are left open, {before:.0}% {since}"
            );
            return match turn {
                Turn::Back => format!("{share}: as before again"),
                Turn::More => format!(
                    "{share}: is it dark, loud or far away, or are these others than before?"
                ),
                Turn::Less => format!("{share}: are these others than before, or always the same?"),
            };
        }
    };
    let causes = match of {
        Watched::Speech => "another microphone, room or language?",
        Watched::Text => "another language, or another recogniser of speech?",
        _ => "another camera, light or place?",
    };
    let numbers = format!("{lately:.2} instead of {before:.2}");
    match turn {
        Turn::Back => {
            format!("{what} are as far from what the model learnt as {since} again ({numbers})")
        }
        Turn::More => format!(
            "{what} here are farther from what the model learnt than {since} ({numbers}): {causes}"
        ),
        Turn::Less => format!(
            "{what} here are nearer to what the model learnt than {since} ({numbers}): {causes}"
        ),
    }
}

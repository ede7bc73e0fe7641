//! What `calibrate` keeps of ordinary background: how much like a voice or a face it was taken
//! for. Numbers alone, for as long as it runs.

use super::Shared;
use super::drift::Tallies;
use super::switch::Position;
use crate::config::calibration::Calibration;
use crate::event::Event;
use crate::model::manifest::Trunk;
use crate::session::{Distance, Gated};
use crate::signal::segment::Utterance;
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How much more than the background was taken for is asked of what is to be judged.
const MARGIN: f32 = 0.02;
/// No gate asks for more: it would keep people out.
const MOST: f32 = 0.95;
/// A level floor lies so much above the background, in dB.
const ABOVE: f32 = 2.0;
/// No level floor lies higher: people speak at this level.
const LOUDEST_FLOOR: f32 = -30.0;
/// How often the time is counted.
const TICK: Duration = Duration::from_millis(100);

/// Sound in which somebody seemed to speak.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sound {
    /// dB of full scale.
    level: f32,
    /// Probability that somebody speaks; 1 where no gate was asked.
    speech: f32,
}

#[derive(Debug, Default)]
struct Tally {
    sounds: Vec<Sound>,
    /// Of each look with a find, the greatest probability that it is a face.
    faces: Vec<f32>,
    /// Time that sources were open.
    open: Duration,
    /// Stream time of the last observation: recordings go by faster than that.
    streamed: Duration,
    /// Of the answers, while people use it.
    usual: Tallies,
}

/// What is counted, and for how long.
#[derive(Debug)]
pub(crate) struct Calibrating {
    /// It ends after this time with open sources.
    pub lasts: Duration,
    /// False answers an hour that are allowed.
    pub false_answers: f64,
    /// People use it as they will: what is usual is measured, and no background.
    pub people: bool,
    tally: Mutex<Tally>,
}

impl Calibrating {
    pub fn new(lasts: Duration, false_answers: f64, people: bool) -> Calibrating {
        Calibrating {
            lasts,
            false_answers,
            people,
            tally: Mutex::default(),
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers were given, and would have been told.
    pub fn answered(&self, events: &[Event], distances: &[Distance], now: f64) {
        if self.people {
            self.tally().usual.count(events, distances, now);
        }
    }

    /// An utterance was cut, and gates were asked about it.
    pub fn heard(&self, utterance: Option<&Utterance>, gated: &[Gated], now: f64) {
        let mut tally = self.tally();
        tally.streamed = tally.streamed.max(Duration::from_secs_f64(now.max(0.0)));
        let Some(utterance) = utterance else {
            return;
        };
        let speech = gated.iter().filter(|g| g.trunk == Trunk::Speech);
        let speech = speech.map(|g| g.first).fold(None, |most: Option<f32>, p| {
            Some(most.map_or(p, |most| most.max(p)))
        });
        tally.sounds.push(Sound {
            level: utterance.level(),
            speech: speech.unwrap_or(1.0),
        });
    }

    /// A frame was looked at, and gates were asked about what was found in it.
    pub fn looked(&self, gated: &[Gated], at: f64) {
        let mut tally = self.tally();
        tally.streamed = tally.streamed.max(Duration::from_secs_f64(at.max(0.0)));
        let faces = gated.iter().filter(|g| g.trunk == Trunk::Face);
        let most = faces.map(|g| g.first).fold(0.0, f32::max);
        if most > 0.0 {
            tally.faces.push(most);
        }
    }

    /// Counts time while sources are open, and asks for the end when it is over.
    pub(super) fn count(&self, shared: &Shared) {
        loop {
            thread::sleep(TICK);
            match shared.switch.read().0 {
                Position::Over => return,
                Position::Off => continue,
                Position::On => {}
            }
            let mut tally = self.tally();
            tally.open += TICK;
            if tally.open >= self.lasts {
                drop(tally);
                // the same end as if somebody asked for it
                if let Err(error) = signal_hook::low_level::raise(signal_hook::consts::SIGTERM) {
                    log::warn!("it does not end by itself ({error}): press Ctrl-C");
                }
                return;
            }
        }
    }

    /// What was known of the place with what was measured now; `None` if nothing was.
    pub fn outcome(&self, before: Calibration, date: Timestamp) -> Option<Calibration> {
        let tally = self.tally();
        if self.people {
            let usual = tally.usual.usual(date);
            return (!usual.is_empty()).then_some(Calibration { usual, ..before });
        }
        let time = tally.open.max(tally.streamed);
        if time < Duration::from_secs(1) {
            return None;
        }
        let allowed = (self.false_answers * time.as_secs_f64() / 3600.0).floor() as usize;
        let heard: Vec<f32> = tally.sounds.iter().map(|s| s.speech).collect();
        let speech = threshold(&heard, allowed);
        Some(Calibration {
            date: date.to_string(),
            minutes: (time.as_secs_f64() / 6.0).round() / 10.0,
            false_answers: self.false_answers,
            sounds: tally.sounds.len(),
            faces: tally.faces.len(),
            level: floor(&tally.sounds, speech, allowed),
            speech,
            face: threshold(&tally.faces, allowed),
            ..before
        })
    }
}

/// The least threshold that no more than `allowed` of these reach; `None` if no more are there.
fn threshold(scores: &[f32], allowed: usize) -> Option<f32> {
    let mut falling = scores.to_vec();
    falling.sort_by(|a, b| b.total_cmp(a));
    let held = falling.get(allowed)?;
    Some(hundredths((held + MARGIN).min(MOST)))
}

/// The level below which sound is background, if the gate alone lets too much through.
fn floor(sounds: &[Sound], speech: Option<f32>, allowed: usize) -> Option<f32> {
    let least = speech?;
    let through = sounds.iter().filter(|s| s.speech >= least);
    let mut levels: Vec<f32> = through.map(|s| s.level).collect();
    levels.sort_by(|a, b| b.total_cmp(a));
    let level = levels.get(allowed)? + ABOVE;
    (level <= LOUDEST_FLOOR).then(|| hundredths(level))
}

fn hundredths(x: f32) -> f32 {
    (x * 100.0).ceil() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_lets_no_more_through_than_is_allowed() {
        let scores = [0.2, 0.7, 0.45, 0.5];
        assert_eq!(threshold(&scores, 4), None);
        for allowed in 0..4 {
            let least = threshold(&scores, allowed).unwrap_or_default();
            let through = scores.iter().filter(|p| **p >= least).count();
            assert!(through <= allowed, "{allowed}: {least}");
        }
        assert_eq!(threshold(&[0.99], 0), Some(MOST));
    }

    #[test]
    fn a_quiet_television_is_held_by_its_level_and_a_loud_one_is_not() {
        let sound = |level| Sound { level, speech: 1.0 };
        let quiet = [sound(-50.0), sound(-41.0)];
        assert_eq!(floor(&quiet, Some(MOST), 0), Some(-39.0));
        assert_eq!(floor(&quiet, Some(MOST), 1), Some(-48.0));
        assert_eq!(floor(&[sound(-20.0)], Some(MOST), 0), None);
        assert_eq!(floor(&quiet, None, 2), None);
    }

    #[test]
    fn no_time_is_no_calibration() {
        let calibrating = Calibrating::new(Duration::from_secs(60), 1.0, false);
        let now = Timestamp::UNIX_EPOCH;
        let before = Calibration::unknown("a", "none", now);
        assert_eq!(calibrating.outcome(before.clone(), now), None);
        calibrating.looked(&[], 600.0);
        let made = calibrating.outcome(before, now);
        assert!(made.is_some_and(|c| c.minutes == 10.0 && c.speech.is_none() && c.face.is_none()));
    }
}

//! The state of the board before and after, and what it says about the figures.

use crate::board::thermal::{Condition, Reason};
use std::io::{self, Write};

/// A clock that moved by more than this is worth a word.
const MOVED: f64 = 0.05;

/// Before and after the measurements.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    pub before: Condition,
    pub after: Condition,
}

impl Conditions {
    /// What makes the figures doubtful. One sentence each.
    pub(super) fn doubts(&self) -> Vec<String> {
        let told = [self.held(), self.counted(), self.moved()];
        told.into_iter().flatten().collect()
    }

    /// The clock was held back at either end, or in between.
    fn held(&self) -> Option<String> {
        let ends = [&self.before, &self.after];
        let states = ends.map(|c| c.throttling.clone().unwrap_or_default());
        let [before, after] = &states;
        let new = |r: &&Reason| !before.since_boot.contains(r);
        let all = before.now.iter().chain(&after.now);
        let mut reasons: Vec<&str> = Vec::new();
        for reason in all.chain(after.since_boot.iter().filter(new)) {
            if !reasons.contains(&reason.name()) {
                reasons.push(reason.name());
            }
        }
        let held = (!reasons.is_empty()).then(|| reasons.join(", "))?;
        Some(format!(
            "the clock was held back ({held}): cool the board or give it a better supply, and \
             measure again"
        ))
    }

    fn counted(&self) -> Option<String> {
        let times = self
            .after
            .throttle_count?
            .saturating_sub(self.before.throttle_count?);
        (times > 0).then(|| {
            format!("the CPU was throttled {times} times: cool the machine and measure again")
        })
    }

    fn moved(&self) -> Option<String> {
        let (before, after) = (self.before.clock()?, self.after.clock()?);
        ((after - before).abs() > MOVED * before).then(|| {
            format!(
                "the clock moved from {before:.0} to {after:.0} MHz: set the governor to \
                 `performance` and measure again"
            )
        })
    }

    /// A line for each end, where anything is known, and a line for each doubt.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for (end, condition) in [("before", &self.before), ("after", &self.after)] {
            let known = words(condition);
            if !known.is_empty() {
                writeln!(out, "{end:<7} {}", known.join(", "))?;
            }
        }
        for doubt in self.doubts() {
            writeln!(out, "{doubt}")?;
        }
        Ok(())
    }
}

fn words(condition: &Condition) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(celsius) = condition.temperature {
        words.push(format!("{celsius:.1} °C"));
    }
    let fastest = |a: f64, b: f64| a.max(b);
    let most = condition.clocks.iter().map(|c| c.most).reduce(fastest);
    if let (Some(now), Some(most)) = (condition.clock(), most) {
        words.push(format!("{now:.0} of {most:.0} MHz"));
    }
    if let Some(throttling) = &condition.throttling {
        let now: Vec<&str> = throttling.now.iter().map(|r| r.name()).collect();
        words.push(if now.is_empty() {
            "not throttled".into()
        } else {
            now.join(", ")
        });
    }
    for rail in &condition.rails {
        words.push(format!("{} {:.2} W", rail.name, rail.watts));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::thermal::{Clock, Throttling};

    fn at(mhz: f64, now: &[Reason], since_boot: &[Reason]) -> Condition {
        Condition {
            temperature: Some(61.84),
            clocks: vec![Clock {
                now: mhz,
                most: 1800.0,
            }],
            throttling: Some(Throttling {
                now: now.to_vec(),
                since_boot: since_boot.to_vec(),
            }),
            ..Condition::default()
        }
    }

    fn doubts(before: Condition, after: Condition) -> String {
        Conditions { before, after }.doubts().join("\n")
    }

    #[test]
    fn a_calm_board_gives_no_doubt() {
        let calm = at(1800.0, &[], &[Reason::UnderVoltage]);
        assert_eq!(doubts(calm.clone(), calm.clone()), "");
        assert_eq!(doubts(calm, at(1750.0, &[], &[Reason::UnderVoltage])), "");
        assert_eq!(doubts(Condition::default(), Condition::default()), "");
    }

    #[test]
    fn throttling_at_an_end_or_in_between_is_told() {
        let calm = at(1800.0, &[], &[]);
        let hot = at(1800.0, &[Reason::Throttled], &[Reason::Throttled]);
        let past = at(1800.0, &[], &[Reason::UnderVoltage]);
        assert!(doubts(hot.clone(), calm.clone()).contains("(throttled)"));
        assert!(doubts(calm.clone(), hot).contains("(throttled)"));
        assert!(doubts(calm, past).contains("(under-voltage)"));
    }

    #[test]
    fn a_moved_clock_is_told() {
        let told = doubts(at(1800.0, &[], &[]), at(1500.0, &[], &[]));
        assert!(told.contains("from 1800 to 1500 MHz"), "{told}");
    }

    #[test]
    fn counted_throttling_is_told() {
        let counted = |n| Condition {
            throttle_count: Some(n),
            ..Condition::default()
        };
        assert_eq!(doubts(counted(7), counted(7)), "");
        assert!(doubts(counted(7), counted(9)).contains("throttled 2 times"));
    }

    #[test]
    fn lines_say_what_is_known_and_no_more() {
        let mut out = Vec::new();
        let conditions = Conditions {
            before: at(1800.0, &[], &[]),
            after: Condition::default(),
        };
        conditions.print(&mut out).expect("written");
        let said = String::from_utf8(out).expect("text");
        assert_eq!(said, "before  61.8 °C, 1800 of 1800 MHz, not throttled\n");
    }
}

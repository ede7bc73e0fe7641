//! Pictures that were lost, told without a flood.

use std::time::{Duration, Instant};

use super::FrameReport;

/// Losses are told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Counts the damaged pictures of a source and says so now and then: the first at once, later
/// ones together.
#[derive(Debug, Default)]
pub(in crate::capture) struct Losses {
    /// Not in the report yet.
    new: u64,
    /// Not told yet.
    untold: u64,
    told: Option<Instant>,
}

impl Losses {
    /// So many more.
    pub(in crate::capture) fn add(&mut self, damaged: u64) {
        self.new += damaged;
    }

    /// One of those is handed on all the same.
    pub(in crate::capture) fn forgive(&mut self) {
        self.new = self.new.saturating_sub(1);
    }

    /// Puts them into the report, and tells them if it is time.
    pub(in crate::capture) fn settle(&mut self, name: &str, report: &mut FrameReport) {
        let new = std::mem::take(&mut self.new);
        report.damaged += new;
        self.untold += new;
        if let Some(sentence) = self.tell(Instant::now()) {
            log::warn!("{name}: {sentence}");
        }
    }

    fn tell(&mut self, now: Instant) -> Option<String> {
        let lately = |told: Instant| now.saturating_duration_since(told) < TELL_EVERY;
        if self.untold == 0 || self.told.is_some_and(lately) {
            return None;
        }
        self.told = Some(now);
        Some(match std::mem::take(&mut self.untold) {
            1 => "a damaged picture was left out".to_owned(),
            count => format!("{count} damaged pictures were left out"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let (mut losses, mut report) = (Losses::default(), FrameReport::default());
        let start = Instant::now();
        assert_eq!(losses.tell(start), None);
        losses.untold = 1;
        let told = losses.tell(start).unwrap_or_default();
        assert!(told.starts_with("a damaged picture"), "{told}");
        losses.untold = 999;
        assert_eq!(losses.tell(start + Duration::from_secs(4)), None);
        let told = losses.tell(start + TELL_EVERY).unwrap_or_default();
        assert!(told.starts_with("999 damaged pictures"), "{told}");
        losses.add(3);
        losses.settle("camera", &mut report);
        losses.settle("camera", &mut report);
        assert_eq!(report.damaged, 3);
    }
}

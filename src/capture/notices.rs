//! What is worth telling of a live stream while it goes on.

use std::time::{Duration, Instant};

use super::AudioReport;
use super::text::TextReport;

/// Least time between two sentences about the same thing: a broken program upstream must not
/// flood whoever reads them.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Turns the growing accounts of a source into sentences, each told once.
#[derive(Debug, Default)]
pub struct Notices {
    warnings: usize,
    not_finite: u64,
    skipped: u64,
    partial: bool,
    told: Option<Instant>,
}

/// A sentence, and the one word that says what kind of news it is.
pub type Notice = (&'static str, String);

impl Notices {
    /// News of a source of sound: samples that were no numbers (`skipped`), and warnings
    /// (`warning`). To be asked again and again.
    pub fn audio(&mut self, report: &AudioReport, now: Instant) -> Option<Notice> {
        if let Some(warning) = report.warnings.get(self.warnings) {
            self.warnings += 1;
            return Some(("warning", warning.clone()));
        }
        if report.not_finite == self.not_finite || self.told_lately(now) {
            return None;
        }
        self.told = Some(now);
        self.not_finite = report.not_finite;
        let detail = match report.not_finite {
            1 => "1 sample was no number and was taken as silence".to_owned(),
            count => format!("{count} samples so far were no numbers and were taken as silence"),
        };
        Some(("skipped", detail))
    }

    /// News of a source of words: lines that were passed over (`skipped`). To be asked again
    /// and again.
    pub fn text(&mut self, report: &TextReport, now: Instant) -> Option<Notice> {
        if report.partial > 0 && !self.partial {
            self.partial = true;
            let detail = "partial results are passed over; a sentence is judged when it is final";
            return Some(("skipped", detail.to_owned()));
        }
        if report.skipped == self.skipped || self.told_lately(now) {
            return None;
        }
        self.told = Some(now);
        self.skipped = report.skipped;
        let detail = match report.skipped {
            1 => format!("1 line was passed over: {}", report.last),
            count => format!(
                "{count} lines so far were passed over, the last: {}",
                report.last
            ),
        };
        Some(("skipped", detail))
    }

    fn told_lately(&self, now: Instant) -> bool {
        let since = |told| now.saturating_duration_since(told);
        self.told.is_some_and(|told| since(told) < TELL_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_bad_lines_is_told_at_once_and_then_seldom() {
        let mut notices = Notices::default();
        let begun = Instant::now();
        let told: Vec<String> = (1..=3000)
            .filter_map(|count| {
                let report = TextReport {
                    skipped: count,
                    last: format!("line {count} is wrong"),
                    partial: 0,
                };
                let now = begun + Duration::from_millis(10 * count);
                notices.text(&report, now).map(|(_, detail)| detail)
            })
            .collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "1 line was passed over: line 1 is wrong");
        assert!(told[2].starts_with("2001 lines"), "{told:?}");
    }

    #[test]
    fn each_warning_is_told_once() {
        let mut notices = Notices::default();
        let mut report = AudioReport::default();
        let now = Instant::now();
        assert_eq!(notices.audio(&report, now), None);
        report.warnings.push("cut".into());
        assert_eq!(notices.audio(&report, now), Some(("warning", "cut".into())));
        report.not_finite = 7;
        let told = notices.audio(&report, now).unwrap_or_default();
        assert!(told.0 == "skipped" && told.1.starts_with("7 samples"));
        assert_eq!(notices.audio(&report, now), None);
    }
}

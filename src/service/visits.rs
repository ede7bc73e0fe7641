//! Connections to somebody who may be away, one after another.

use super::Told;
use super::backoff::Backoff;
use super::outbox::Outbox;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// Tries again and again, and says so once.
pub struct Visits<F> {
    /// The output's section.
    part: &'static str,
    /// What was told to be wrong last, until it went well.
    said: Option<String>,
    tell: F,
}

impl<F: Fn(Told)> Visits<F> {
    /// `tell` hears when somebody is lost, and when they are back.
    pub fn new(part: &'static str, tell: F) -> Visits<F> {
        Visits {
            part,
            said: None,
            tell,
        }
    }

    /// Visits until the outbox is closed; a visit ends well when it is.
    pub fn repeat<P, E>(
        mut self,
        outbox: &Outbox<P>,
        mut visit: impl FnMut(&mut Self) -> Result<(), E>,
    ) where
        P: Clone + PartialEq,
        E: Display,
    {
        let mut backoff = Backoff::default();
        while !outbox.is_closed() {
            let begun = Instant::now();
            let ended = visit(&mut self);
            outbox.set_up(false);
            let Err(fault) = ended else { break };
            log::debug!("{}: {fault}", self.part);
            self.goes_wrong(&fault.to_string());
            if begun.elapsed() > GOOD {
                backoff.reset();
            }
            outbox.wait_closed(backoff.next());
        }
        outbox.finish();
    }

    fn goes_wrong(&mut self, sentence: &str) {
        let then = "events wait, the oldest give way, and it is tried again";
        self.find_fault(&format!("{sentence}; {then}"));
    }

    /// Tells what is wrong: the same once, however often it comes.
    pub fn find_fault(&mut self, sentence: &str) {
        if self.said.as_deref() != Some(sentence) {
            (self.tell)(Told::failing(self.part, sentence.into()));
            self.said = Some(sentence.into());
        }
    }

    /// What was sent was taken by `whom`.
    pub fn go_well(&mut self, whom: &impl Display) {
        if self.said.take().is_some() {
            let detail = format!("{whom} takes events");
            (self.tell)(Told::recovered(self.part, detail));
        }
    }
}

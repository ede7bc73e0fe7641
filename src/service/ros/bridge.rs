//! A rosbridge, and what it is told.

use super::fault::Fault;
use super::link::{Heard, Link};
use super::report::Report;
use crate::config::ros::Bridge;
use crate::service::Told;
use crate::service::pace::Pace;
use crate::service::visits::Visits;
use std::time::{Duration, Instant};

/// A bridge that takes or says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at how things are.
const LOOK: Duration = Duration::from_millis(250);

/// What a bridge made of us so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unknown,
    Good,
    Bad,
}

/// Connects once, and leaves again.
///
/// # Errors
/// What is in the way.
pub fn knock(bridge: &Bridge) -> Result<(), Fault> {
    let mut link = Link::open(bridge, PATIENCE)?;
    link.greet()?;
    link.leave()
}

/// One connection, until the report is closed.
///
/// # Errors
/// What broke it.
pub fn visit(
    bridge: &Bridge,
    report: &Report,
    visits: &mut Visits<impl Fn(Told)>,
) -> Result<(), Fault> {
    let outbox = &report.outbox;
    let mut link = Link::open(bridge, PATIENCE)?;
    outbox.repeat();
    link.ask(Instant::now())?;
    let (mut looked, mut standing, mut pace) = (None, Standing::Unknown, Pace::default());
    let mut has_complained = false;
    loop {
        let now = Instant::now();
        outbox.answer_bell();
        report.look(&mut looked, now);
        while let Some(letter) = outbox.next(now) {
            if let Err(fault) = link.publish(&letter.topic, &letter.payload, now) {
                outbox.count_lost(usize::from(!letter.retain));
                return Err(fault);
            }
            outbox.count_published();
        }
        if outbox.is_closed() {
            return link.leave();
        }
        link.tidy(now)?;
        link.keep_alive(now)?;
        let pause = pace.pause(now);
        if !pause.is_zero() {
            // a bridge that says too much is heard later: we ask for nothing there
            outbox.wait_closed(pause);
            continue;
        }
        link.wait(Some(outbox.bell()), LOOK)?;
        while pace.pause(Instant::now()).is_zero()
            && let Some(said) = link.hear()?
        {
            pace.count(Instant::now());
            match said {
                // it has taken all that it was told since the pong before
                Heard::Pong if !has_complained && standing != Standing::Good => {
                    standing = Standing::Good;
                    outbox.set_up(true);
                    visits.go_well(bridge);
                }
                Heard::Pong => has_complained = false,
                // of a type that is not installed there, say: the first one tells
                Heard::Complaint(what) => {
                    has_complained = true;
                    if standing != Standing::Bad {
                        standing = Standing::Bad;
                        visits.find_fault(&format!("{bridge} says: {what}"));
                    }
                }
                Heard::Other => {}
            }
        }
    }
}

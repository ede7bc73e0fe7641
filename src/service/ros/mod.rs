//! Answers, faces and states for robots, as ROS topics.
//!
//! [`report`] makes messages of what happens, on the topics of REP-155; a thread carries them to
//! a rosbridge and waits for it, or is a node of its own by DDS. Whoever tells something leaves it
//! in the [`outbox`](super::outbox) and goes on. Nothing is asked of us from there.

mod bridge;
mod dds;
mod fault;
mod link;
mod message;
mod node;
mod report;
mod topics;

pub use dds::Seen;
pub use fault::Fault;
pub use report::{About, Report, Reporter};

use super::Told;
use super::visits::Visits;
use crate::config::ros::{Bridge, Domain, Way};
use std::io;
use std::sync::Arc;
use std::thread;

/// What was found where topics go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// A bridge that lets us in.
    Bridge(&'a Bridge),
    /// A domain, and who is there.
    Domain(&'a Domain, Seen),
}

/// Whether this program can go that way at all.
///
/// # Errors
/// It was built without.
pub fn check(way: &Way) -> Result<(), Fault> {
    match way {
        Way::Domain(_) if !node::IS_BUILT => Err(Fault::Absent),
        _ => Ok(()),
    }
}

/// Goes there once, and leaves again.
///
/// # Errors
/// What is in the way.
pub fn knock(way: &Way) -> Result<Found<'_>, Fault> {
    match way {
        Way::Bridge(bridge) => bridge::knock(bridge).map(|()| Found::Bridge(bridge)),
        Way::Domain(domain) => dds::knock(domain).map(|seen| Found::Domain(domain, seen)),
    }
}

/// Tells robots what the report says, in a thread of its own, until that is closed. `tell`
/// hears when they are lost, and when they are back.
///
/// # Errors
/// The system's, when it gives no thread.
pub fn serve(
    way: Way,
    report: Arc<Report>,
    tell: impl Fn(Told) + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        let visit = |visits: &mut Visits<_>| match &way {
            Way::Bridge(to) => bridge::visit(to, &report, visits),
            Way::Domain(to) => dds::visit(to, &report, visits),
        };
        Visits::new("ros", tell).repeat(&report.outbox, visit);
    };
    thread::Builder::new().name("ros".into()).spawn(run)?;
    Ok(())
}

//! A domain of DDS, and what is told there.

use super::fault::Fault;
use super::node::Node;
use super::report::Report;
use crate::config::ros::Domain;
use crate::service::visits::Visits;
use crate::service::{Told, tcp};
use rustix::event::{PollFd, PollFlags};
use std::net::{IpAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Nodes need a moment to find each other: who is there hears nothing that is told before.
const SETTLE: Duration = Duration::from_millis(500);
/// How often it is looked at how things are.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is looked at whether the node itself is well.
const CHECK: Duration = Duration::from_secs(5);
/// Topics of one node. DDS forgets none of them, so a node that had so many is replaced.
const MOST_OPENED: usize = 1000;
/// How long the doctor looks around.
const SEARCH: Duration = Duration::from_secs(4);

/// Who was seen in a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Other programs that use DDS.
    pub others: usize,
    /// Readers of what we tell.
    pub readers: usize,
}

/// Looks around in a domain, and leaves again.
///
/// # Errors
/// What is in the way.
pub fn knock(domain: &Domain) -> Result<Seen, Fault> {
    let node = Node::open(domain, "doctor", &[])?;
    let end = Instant::now() + SEARCH;
    let mut seen = node.seen();
    while seen.readers == 0 && Instant::now() < end {
        thread::sleep(LOOK);
        seen = node.seen();
    }
    Ok(seen)
}

/// One node after another, until the report is closed.
///
/// # Errors
/// What is in the way of one, or broke it.
pub fn visit(
    domain: &Domain,
    report: &Report,
    visits: &mut Visits<impl Fn(Told)>,
) -> Result<(), Fault> {
    loop {
        let (device, topics) = (report.device(), report.standing());
        let opened = catch_unwind(|| Node::open(domain, device, &topics));
        let mut node = opened.unwrap_or(Err(Fault::broken(domain)))?;
        let telling = AssertUnwindSafe(|| tell(domain, &mut node, report, visits));
        let told = catch_unwind(telling).unwrap_or(Err(Fault::broken(domain)));
        // what broke may break again when it is closed
        let closed = catch_unwind(AssertUnwindSafe(|| node.close()));
        match told? {
            Why::Closed => return Ok(()),
            Why::Worn => closed.map_err(|_| Fault::broken(domain))?,
        }
    }
}

/// Why a node comes to an end.
enum Why {
    /// There is nothing more to tell.
    Closed,
    /// Another one is needed.
    Worn,
}

fn tell(
    domain: &Domain,
    node: &mut Node,
    report: &Report,
    visits: &mut Visits<impl Fn(Told)>,
) -> Result<Why, Fault> {
    let outbox = &report.outbox;
    let at = address();
    outbox.wait_closed(SETTLE);
    outbox.repeat();
    outbox.set_up(true);
    visits.go_well(domain);
    let (mut looked, mut checked) = (None, Instant::now());
    loop {
        let now = Instant::now();
        outbox.answer_bell();
        report.look(&mut looked, now);
        while let Some(letter) = outbox.next(now) {
            match node.publish(&letter.topic, letter.payload, now) {
                Ok(true) => outbox.count_published(),
                Ok(false) => outbox.count_lost(usize::from(!letter.retain)),
                Err(fault) => {
                    outbox.count_lost(usize::from(!letter.retain));
                    return Err(fault);
                }
            }
        }
        if outbox.is_closed() {
            node.flush();
            return Ok(Why::Closed);
        }
        node.tidy(now);
        if now.saturating_duration_since(checked) >= CHECK {
            checked = now;
            if !node.is_alive() {
                return Err(Fault::broken(domain));
            }
            // DDS reads the addresses of the board once, and a network may come later
            if node.opened() >= MOST_OPENED || address() != at {
                return Ok(Why::Worn);
            }
        }
        let mut bell = [PollFd::new(outbox.bell(), PollFlags::IN)];
        let waited = tcp::ready(&mut bell, LOOK);
        waited.map_err(|e| Fault::unopened(domain, &e))?;
    }
}

/// The board's address on the way to other nodes; nothing is sent to find it out.
fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("239.255.0.1:7400").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

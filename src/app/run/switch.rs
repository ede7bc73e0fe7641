//! The switch of the capture: what the button and the signals turn, and what everybody who
//! reads a device obeys.
//!
//! A device is opened only while somebody holds a [`Permit`], and none is given out unless the
//! switch is on. So the lamp can tell the truth: it is lit for as long as a permit is out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the switch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Nothing may be read: it was not announced yet, or a press forbids it.
    Off,
    /// Sources are open.
    On,
    /// The run ends: every source is to be closed for good.
    Over,
}

/// Turned by one thread, obeyed by all others. Nobody who turns or asks it waits.
#[derive(Debug)]
pub struct Switch {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    position: Position,
    /// Begins anew whenever capture is switched off: what was captured before is void.
    epoch: u64,
    permits: usize,
}

/// A device may be open. To be dropped behind it.
#[derive(Debug)]
pub struct Permit(Arc<Switch>);

impl Switch {
    /// A switch that is off.
    pub fn new() -> Arc<Switch> {
        let inner = Inner {
            position: Position::Off,
            epoch: 0,
            permits: 0,
        };
        Arc::new(Switch {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns it; the epoch that begins with this. The end is final, and what was captured
    /// before it stays good.
    pub fn turn(&self, position: Position) -> u64 {
        let mut inner = self.lock();
        if inner.position != Position::Over {
            inner.position = position;
        }
        if inner.position == Position::Off {
            inner.epoch += 1;
        }
        self.changed.notify_all();
        inner.epoch
    }

    /// Where it stands, and the present epoch.
    pub fn read(&self) -> (Position, u64) {
        let inner = self.lock();
        (inner.position, inner.epoch)
    }

    /// The present epoch.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Waits until it was turned since it was `known` to stand so, for up to `patience`. That
    /// it went off and on again is seen by the epoch.
    pub fn wait(&self, known: (Position, u64), patience: Duration) {
        let same = |inner: &mut Inner| (inner.position, inner.epoch) == known;
        let inner = self.lock();
        let _ = self.changed.wait_timeout_while(inner, patience, same);
    }

    /// Leave to open a device; none unless the switch is on.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let mut inner = self.lock();
        if inner.position != Position::On {
            return None;
        }
        inner.permits += 1;
        Some(Permit(Arc::clone(self)))
    }

    /// Whether a device is open, or may be.
    pub fn is_in_use(&self) -> bool {
        self.lock().permits > 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().permits -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_permit_is_given_out_unless_it_is_on() {
        let switch = Switch::new();
        assert!(switch.permit().is_none());
        switch.turn(Position::On);
        let permit = switch.permit();
        assert!(permit.is_some() && switch.is_in_use());
        switch.turn(Position::Off);
        assert!(switch.permit().is_none() && switch.is_in_use());
        drop(permit);
        assert!(!switch.is_in_use());
    }

    #[test]
    fn switching_off_ends_an_epoch_and_the_end_does_not() {
        let switch = Switch::new();
        assert_eq!(switch.turn(Position::On), 0);
        assert_eq!(switch.turn(Position::Off), 1);
        assert_eq!(switch.turn(Position::On), 1);
        assert_eq!(switch.turn(Position::Over), 1);
        // nothing opens after the end
        assert_eq!(switch.turn(Position::On), 1);
        assert_eq!(switch.read(), (Position::Over, 1));
        assert!(switch.permit().is_none());
    }

    #[test]
    fn who_waits_for_a_turn_is_woken_by_it() {
        let switch = Switch::new();
        let long = Duration::from_secs(60);
        std::thread::scope(|scope| {
            scope.spawn(|| switch.wait((Position::Off, 0), long));
            switch.turn(Position::On);
        });
        // off and on again is a turn as well
        switch.turn(Position::Off);
        switch.turn(Position::On);
        switch.wait((Position::On, 0), long);
    }
}

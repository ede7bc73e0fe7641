//! The lamp that says whether people are being listened to or looked at.

use embedded_hal::digital::OutputPin;
use std::time::{Duration, Instant};

/// What the lamp says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Dark: nothing is captured.
    Off,
    /// Lit: something is captured.
    On,
    /// Slow blinking, a second dark and a second lit: muted, nothing is captured.
    Muted,
    /// Fast blinking, four times a second: something needs attention.
    Fault,
}

impl Signal {
    /// Time between two changes, where it blinks.
    fn half_period(self) -> Option<Duration> {
        match self {
            Signal::Off | Signal::On => None,
            Signal::Muted => Some(Duration::from_secs(1)),
            Signal::Fault => Some(Duration::from_millis(125)),
        }
    }
}

/// A steady level is written again this often, so that a line that went away is noticed.
const REWRITE: Duration = Duration::from_secs(1);

/// A lamp on a line whose high level lights it. Dropping it turns it off.
#[derive(Debug)]
pub struct Indicator<P: OutputPin> {
    pin: P,
    signal: Signal,
    lit: bool,
    /// When the line is to be written next.
    due: Instant,
}

impl<P: OutputPin> Indicator<P> {
    /// Takes the line and turns the lamp off.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn new(pin: P, now: Instant) -> Result<Self, P::Error> {
        let mut indicator = Indicator {
            pin,
            signal: Signal::Off,
            lit: false,
            due: now,
        };
        indicator.write(false, now)?;
        Ok(indicator)
    }

    /// What the lamp says now.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Says `signal`: when this returns, the line has been written. Blinking begins dark, and
    /// goes on undisturbed when it is asked for again.
    ///
    /// # Errors
    /// The line cannot be written. What the lamp shows is then unknown; the next
    /// [`tick`](Self::tick) tries again.
    pub fn show(&mut self, signal: Signal, now: Instant) -> Result<(), P::Error> {
        let lit = if self.signal == signal {
            self.lit
        } else {
            signal == Signal::On
        };
        let blinks_on = self.signal == signal && signal.half_period().is_some();
        let due = self.due;
        self.signal = signal;
        self.write(lit, now)?;
        if blinks_on {
            self.due = due;
        }
        Ok(())
    }

    /// Blinks where it is time to, and writes a steady level again every second. To be called
    /// every 50 ms or so.
    ///
    /// # Errors
    /// The line cannot be written: what the lamp shows can no longer be relied on.
    pub fn tick(&mut self, now: Instant) -> Result<(), P::Error> {
        if now < self.due {
            return Ok(());
        }
        let blinks = self.signal.half_period().is_some();
        self.write(self.lit != blinks, now)
    }

    fn write(&mut self, lit: bool, now: Instant) -> Result<(), P::Error> {
        // should the line fail, it is due at once
        self.due = now;
        self.pin.set_state(lit.into())?;
        self.lit = lit;
        self.due = now + self.signal.half_period().unwrap_or(REWRITE);
        Ok(())
    }
}

impl<P: OutputPin> Drop for Indicator<P> {
    fn drop(&mut self) {
        // there is nobody left to tell
        let _ = self.pin.set_low();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    const OFF: State = State::Low;
    const LIT: State = State::High;

    /// Runs `work` on a lamp whose line must see exactly `levels`, the last one on dropping.
    fn lamp(levels: &[State], work: impl FnOnce(&mut Indicator<Mock>, Instant)) {
        let expected: Vec<_> = levels.iter().map(|l| Transaction::set(*l)).collect();
        let mut line = Mock::new(&expected);
        let start = Instant::now();
        let mut indicator = Indicator::new(line.clone(), start).expect("a lamp");
        work(&mut indicator, start);
        drop(indicator);
        line.done();
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lamp_is_dark_from_beginning_to_end() {
        lamp(&[OFF, OFF], |_, _| {});
    }

    #[test]
    fn the_level_is_written_when_show_returns() {
        let expected = [OFF, LIT].map(Transaction::set);
        let mut line = Mock::new(&expected);
        let now = Instant::now();
        let mut indicator = Indicator::new(line.clone(), now).expect("a lamp");
        indicator.show(Signal::On, now).expect("lit");
        line.done();
        line.update_expectations(&[Transaction::set(OFF)]);
        drop(indicator);
        line.done();
    }

    #[test]
    fn a_steady_lamp_is_written_every_second() {
        lamp(&[OFF, LIT, LIT, LIT, OFF], |lamp, start| {
            lamp.show(Signal::On, start).expect("lit");
            for at in (50..=2040).step_by(50) {
                lamp.tick(start + ms(at)).expect("lit");
            }
        });
    }

    #[test]
    fn mute_blinks_slowly_and_begins_dark() {
        lamp(&[OFF, LIT, OFF, LIT, OFF, LIT, OFF], |lamp, start| {
            lamp.show(Signal::On, start).expect("lit");
            lamp.show(Signal::Muted, start).expect("dark");
            for at in (0..=3000).step_by(50) {
                lamp.tick(start + ms(at)).expect("blinks");
            }
        });
    }

    #[test]
    fn a_fault_blinks_eight_times_as_fast() {
        let levels = [OFF, OFF, LIT, OFF, LIT, OFF, LIT, OFF, LIT, OFF];
        lamp(&levels, |lamp, start| {
            lamp.show(Signal::Fault, start).expect("dark");
            for at in (0..=900).step_by(25) {
                lamp.tick(start + ms(at)).expect("blinks");
            }
        });
    }

    #[test]
    fn asking_again_does_not_hold_the_blinking() {
        // asked every 50 ms for 1.2 s: dark 20 times, then lit 5 times
        let mut levels = vec![OFF];
        levels.extend([OFF; 20]);
        levels.extend([LIT; 6]);
        levels.push(OFF);
        lamp(&levels, |lamp, start| {
            for at in (0..1250).step_by(50) {
                lamp.tick(start + ms(at)).expect("blinks");
                lamp.show(Signal::Muted, start + ms(at)).expect("blinks");
            }
        });
    }

    #[test]
    fn a_late_tick_changes_once() {
        lamp(&[OFF, OFF, LIT, OFF], |lamp, start| {
            lamp.show(Signal::Muted, start).expect("dark");
            lamp.tick(start + ms(10_000)).expect("lit");
            lamp.tick(start + ms(10_500)).expect("still lit");
        });
    }

    #[test]
    fn a_lost_line_is_told_and_tried_again() {
        let lost = MockError::Io(ErrorKind::NotConnected);
        let expected = [
            Transaction::set(OFF),
            Transaction::set(LIT),
            Transaction::set(LIT).with_error(lost.clone()),
            Transaction::set(LIT),
            Transaction::set(OFF),
        ];
        let mut line = Mock::new(&expected);
        let start = Instant::now();
        let mut lamp = Indicator::new(line.clone(), start).expect("a lamp");
        lamp.show(Signal::On, start).expect("lit");
        assert_eq!(lamp.tick(start + ms(1000)), Err(lost));
        lamp.tick(start + ms(1001)).expect("it is back");
        drop(lamp);
        line.done();
    }

    #[test]
    fn a_line_that_cannot_be_written_gives_no_lamp() {
        let lost = MockError::Io(ErrorKind::NotConnected);
        let refused = Transaction::set(OFF).with_error(lost.clone());
        let mut line = Mock::new(&[refused, Transaction::set(OFF)]);
        let lamp = Indicator::new(line.clone(), Instant::now());
        assert_eq!(lamp.map(|l| l.signal()), Err(lost));
        line.done();
    }
}

//! What stands between people and the sources: the lamp that must be lit while capture is on,
//! and the button that stops it.

use crate::Error;
use crate::board::pins::{self, Input, Output};
use crate::board::profile::{Line, Profile};
use crate::board::{BoardError, Button, Indicator, PinError, Pressed, Signal};
use crate::config::{Config, Means, Wired};
use embedded_hal::digital::{InputPin, OutputPin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a press asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Read nothing until the next press.
    Mute,
    /// Go on.
    Unmute,
}

/// Lamp and button. The lamp is dark until [`Guard::light`], and again once the guard is
/// dropped.
pub struct Guard<L: OutputPin = Output, B: InputPin = Input> {
    lamp: Option<Indicator<L>>,
    button: Option<Button<B>>,
    /// Raised by SIGUSR1: a press without a button.
    pressed: Arc<AtomicBool>,
    muted: bool,
}

impl Guard {
    /// Takes the lines that the config names, or else the board's profile. Nothing is lit yet.
    ///
    /// # Errors
    /// A line that is not there, or that may not be used or is already.
    pub fn open(
        config: &Config,
        profile: &Profile,
        pressed: Arc<AtomicBool>,
    ) -> Result<Guard, Error> {
        let lamp = line(&config.indicator.led, profile.indicator(), "indicator.led")?;
        let key = line(&config.button.line, profile.button(), "button.line")?;
        let output = lamp.map(|line| pins::output(&line, "demeanor indicator"));
        let input = key.map(|line| pins::input(&line, "demeanor button"));
        let debounce = Duration::from_secs_f64(config.button.debounce);
        Ok(Guard::of(
            output.transpose()?,
            input.transpose()?,
            debounce,
            config.button.means,
            pressed,
        )?)
    }
}

impl<L, B> Guard<L, B>
where
    L: OutputPin<Error = PinError>,
    B: InputPin<Error = PinError>,
{
    fn of(
        lamp: Option<L>,
        button: Option<B>,
        debounce: Duration,
        means: Means,
        pressed: Arc<AtomicBool>,
    ) -> Result<Self, BoardError> {
        let lamp = lamp.map(|pin| Indicator::new(pin, Instant::now()));
        Ok(Guard {
            lamp: lamp.transpose()?,
            button: button.map(|pin| Button::new(pin, debounce)),
            pressed,
            muted: means == Means::Consent,
        })
    }

    /// Whether a press, or consent that nobody gave yet, keeps the sources closed.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Whether there is a lamp.
    pub fn has_lamp(&self) -> bool {
        self.lamp.is_some()
    }

    /// Lights the lamp as the state asks. It is lit when this returns.
    ///
    /// # Errors
    /// A lamp that cannot be lit: nothing may be captured.
    pub fn light(&mut self, now: Instant) -> Result<(), BoardError> {
        let signal = if self.muted {
            Signal::Muted
        } else {
            Signal::On
        };
        let shown = self.lamp.as_mut().map(|lamp| lamp.show(signal, now));
        Ok(shown.transpose().map(drop)?)
    }

    /// Keeps the lamp going and looks at the button.
    ///
    /// # Errors
    /// A lamp or a button that no longer works: capture must end.
    pub fn tick(&mut self, now: Instant) -> Result<Option<Wish>, BoardError> {
        self.lamp.as_mut().map_or(Ok(()), |lamp| lamp.tick(now))?;
        let by_signal = self.pressed.swap(false, Ordering::AcqRel);
        let by_hand = self
            .button
            .as_mut()
            .map_or(Ok(false), |button| is_pressed(button, now))?;
        if !(by_signal || by_hand) {
            return Ok(None);
        }
        self.muted = !self.muted;
        // lit before a source opens again
        self.light(now)?;
        Ok(Some(if self.muted { Wish::Mute } else { Wish::Unmute }))
    }

    /// Says that something is wrong, as far as the lamp still can.
    pub fn fault(&mut self, now: Instant) {
        let shown = self.lamp.as_mut().map(|lamp| lamp.show(Signal::Fault, now));
        if let Some(Err(e)) = shown {
            log::warn!("{e}");
        }
    }
}

fn is_pressed<B>(button: &mut Button<B>, now: Instant) -> Result<bool, PinError>
where
    B: InputPin<Error = PinError>,
{
    match button.poll(now) {
        Ok(Pressed) => Ok(true),
        Err(nb::Error::WouldBlock) => Ok(false),
        Err(nb::Error::Other(e)) => Err(e),
    }
}

/// The line that the config stands for.
pub(crate) fn line(wired: &Wired, board: Option<Line>, field: &str) -> Result<Option<Line>, Error> {
    match wired {
        Wired::To(line) => Ok(Some(line.clone())),
        Wired::None => Ok(None),
        Wired::Board if board.is_none() => Err(Error::Usage(format!(
            "`{field} = \"board\"`, and this board's profile names no line; name the board with \
             --board, or the line as {{ chip = \"label\", line = 17 }}"
        ))),
        Wired::Board | Wired::Unsaid => Ok(board),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::digital::ErrorType;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    /// A line that fails once it was written `left` times; it remembers its levels.
    struct Lamp {
        left: usize,
        levels: Arc<Mutex<Vec<bool>>>,
    }

    impl ErrorType for Lamp {
        type Error = PinError;
    }

    impl Lamp {
        fn set(&mut self, level: bool) -> Result<(), PinError> {
            let gone = || PinError {
                chip: "a chip".into(),
                line: 4,
                what: "it is gone".into(),
            };
            self.left = self.left.checked_sub(1).ok_or_else(gone)?;
            self.levels.lock().expect("unpoisoned").push(level);
            Ok(())
        }
    }

    impl OutputPin for Lamp {
        fn set_low(&mut self) -> Result<(), PinError> {
            self.set(false)
        }

        fn set_high(&mut self) -> Result<(), PinError> {
            self.set(true)
        }
    }

    /// A button that others hold.
    struct Held(Arc<AtomicUsize>);

    impl ErrorType for Held {
        type Error = PinError;
    }

    impl InputPin for Held {
        fn is_high(&mut self) -> Result<bool, PinError> {
            Ok(self.0.load(Ordering::Relaxed) > 0)
        }

        fn is_low(&mut self) -> Result<bool, PinError> {
            self.is_high().map(|high| !high)
        }
    }

    const DEBOUNCE: Duration = Duration::from_millis(20);

    type Levels = Arc<Mutex<Vec<bool>>>;

    fn guard(left: usize, means: Means) -> (Guard<Lamp, Held>, Levels, Arc<AtomicUsize>) {
        let levels = Levels::default();
        let held = Arc::new(AtomicUsize::new(0));
        let lamp = Lamp {
            left,
            levels: Arc::clone(&levels),
        };
        let guard = Guard::of(
            Some(lamp),
            Some(Held(Arc::clone(&held))),
            DEBOUNCE,
            means,
            Arc::default(),
        );
        (guard.expect("a lamp"), levels, held)
    }

    fn last(levels: &Levels) -> Option<bool> {
        levels.lock().expect("unpoisoned").last().copied()
    }

    /// Ticks every 10 ms from `from` to `to`; what was wished.
    fn ticks(guard: &mut Guard<Lamp, Held>, start: Instant, from: u64, to: u64) -> Vec<Wish> {
        let at = |ms| start + Duration::from_millis(ms);
        let ticked = (from..to).step_by(10).map(|ms| guard.tick(at(ms)));
        ticked.filter_map(|wish| wish.expect("it works")).collect()
    }

    #[test]
    fn the_lamp_is_dark_until_lit_and_after_the_guard() {
        let (mut guard, levels, _) = guard(99, Means::Mute);
        assert_eq!(last(&levels), Some(false));
        guard.light(Instant::now()).expect("lit");
        assert_eq!(last(&levels), Some(true));
        drop(guard);
        assert_eq!(last(&levels), Some(false));
    }

    #[test]
    fn a_press_mutes_and_the_next_one_unmutes() {
        let start = Instant::now();
        let (mut guard, levels, held) = guard(99, Means::Mute);
        guard.light(start).expect("lit");
        assert_eq!(ticks(&mut guard, start, 0, 100), []);
        held.store(1, Ordering::Relaxed);
        assert_eq!(ticks(&mut guard, start, 100, 300), [Wish::Mute]);
        assert!(guard.is_muted() && last(&levels) == Some(false));
        held.store(0, Ordering::Relaxed);
        assert_eq!(ticks(&mut guard, start, 300, 400), []);
        guard.pressed.store(true, Ordering::Relaxed);
        assert_eq!(ticks(&mut guard, start, 400, 500), [Wish::Unmute]);
        assert!(!guard.is_muted() && last(&levels) == Some(true));
    }

    #[test]
    fn consent_is_given_by_a_press() {
        let start = Instant::now();
        let (mut guard, levels, held) = guard(99, Means::Consent);
        assert!(guard.is_muted());
        guard.light(start).expect("dark");
        assert_eq!(last(&levels), Some(false));
        assert_eq!(ticks(&mut guard, start, 0, 100), []);
        held.store(1, Ordering::Relaxed);
        assert_eq!(ticks(&mut guard, start, 100, 300), [Wish::Unmute]);
        assert_eq!(last(&levels), Some(true));
    }

    #[test]
    fn a_lamp_that_dies_ends_the_run() {
        let start = Instant::now();
        let (mut guard, _, _) = guard(2, Means::Mute);
        guard.light(start).expect("lit");
        // written again within two seconds, and found to be gone
        let later = start + Duration::from_secs(2);
        let error = guard.tick(later).map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("line 4 of a chip")));
    }
}

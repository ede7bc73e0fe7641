//! What stands between people and the sources: the lamp that must be lit while capture is on,
//! and the button that stops it.
//!
//! Whoever serves them waits for nothing else, so that a press always works.

use crate::Error;
use crate::board::pins::{self, Input, Output};
use crate::board::profile::{Line, Profile};
use crate::board::{BoardError, Button, Indicator, PinError, Pressed, Signal};
use crate::config::{Config, Means, Wired};
use crate::service::latches::{Latch, Latches, Remote};
use embedded_hal::digital::{InputPin, OutputPin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A latch that was closed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub latch: Latch,
    /// It was closed.
    pub mutes: bool,
}

/// Lamp and button. The lamp is dark until [`CaptureGate::light`], and again once the gate is
/// dropped.
pub struct CaptureGate<L: OutputPin = Output, B: InputPin = Input> {
    lamp: Option<Indicator<L>>,
    button: Option<Button<B>>,
    /// Raised by SIGUSR1: a press without a button.
    pressed: Arc<AtomicBool>,
    /// What is wished from afar.
    remote: Arc<Remote>,
    latches: Latches,
    /// The lamp shows what goes on; before that it is dark.
    is_lit: bool,
}

impl CaptureGate {
    /// Takes the lines that the config names, or else the board's profile. Nothing is lit yet.
    ///
    /// # Errors
    /// A line that is not there, or that may not be used or is already.
    pub fn open(
        config: &Config,
        profile: &Profile,
        pressed: Arc<AtomicBool>,
        remote: Arc<Remote>,
    ) -> Result<CaptureGate, Error> {
        let lamp = line(&config.indicator.led, profile.indicator(), "indicator.led")?;
        let key = line(&config.button.line, profile.button(), "button.line")?;
        let output = lamp.map(|line| pins::output(&line, "demeanor indicator"));
        let input = key.map(|line| pins::input(&line, "demeanor button"));
        let debounce = Duration::from_secs_f64(config.button.debounce);
        Ok(CaptureGate::of(
            output.transpose()?,
            input.transpose()?,
            debounce,
            config.button.means,
            pressed,
            remote,
        )?)
    }
}

impl<L, B> CaptureGate<L, B>
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
        remote: Arc<Remote>,
    ) -> Result<Self, BoardError> {
        let lamp = lamp.map(|pin| Indicator::new(pin, Instant::now()));
        Ok(CaptureGate {
            lamp: lamp.transpose()?,
            button: button.map(|pin| Button::new(pin, debounce)),
            pressed,
            remote,
            is_lit: false,
            latches: Latches {
                // the person's, so that nobody far away can give it
                person: means == Means::Consent,
                remote: false,
            },
        })
    }

    /// Who keeps the sources closed.
    pub fn latches(&self) -> Latches {
        self.latches
    }

    /// Whether a press, consent that nobody gave yet, or a wish from afar keeps the sources closed.
    pub fn is_muted(&self) -> bool {
        self.latches.is_muted()
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
        self.is_lit = true;
        self.show(now, false)
    }

    /// A lamp is lit for as long as a device is open, whatever was wished.
    fn show(&mut self, now: Instant, in_use: bool) -> Result<(), BoardError> {
        let Some(lamp) = self.lamp.as_mut().filter(|_| self.is_lit) else {
            return Ok(());
        };
        let signal = match self.latches.is_muted() && !in_use {
            true => Signal::Muted,
            false => Signal::On,
        };
        if lamp.signal() == signal {
            Ok(lamp.tick(now)?)
        } else {
            Ok(lamp.show(signal, now)?)
        }
    }

    /// Keeps the lamp going, and looks at the button and at what is wished from afar: what was
    /// turned, one latch a round. `in_use`: a device is open.
    ///
    /// # Errors
    /// A lamp or a button that no longer works: capture must end.
    pub fn tick(&mut self, now: Instant, in_use: bool) -> Result<Option<Turn>, BoardError> {
        let by_signal = self.pressed.swap(false, Ordering::AcqRel);
        let by_hand = self
            .button
            .as_mut()
            .map_or(Ok(false), |button| is_pressed(button, now))?;
        let turn = self.turn(by_signal || by_hand);
        // lit before a source opens again
        self.show(now, in_use)?;
        Ok(turn)
    }

    /// A press turns the person's latch, a wish sets the remote one: neither touches the other's.
    fn turn(&mut self, is_pressed: bool) -> Option<Turn> {
        if is_pressed {
            self.latches.person = !self.latches.person;
            return Some(Turn {
                latch: Latch::Person,
                mutes: self.latches.person,
            });
        }
        let mutes = self.remote.wished();
        if mutes == self.latches.remote {
            return None;
        }
        self.latches.remote = mutes;
        let latch = Latch::Remote;
        Some(Turn { latch, mutes })
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

    const PRESSED: Turn = Turn {
        latch: Latch::Person,
        mutes: true,
    };
    const RELEASED: Turn = Turn {
        latch: Latch::Person,
        mutes: false,
    };
    const MUTED_FROM_AFAR: Turn = Turn {
        latch: Latch::Remote,
        mutes: true,
    };
    const OPENED_FROM_AFAR: Turn = Turn {
        latch: Latch::Remote,
        mutes: false,
    };

    type Levels = Arc<Mutex<Vec<bool>>>;

    fn gate(left: usize, means: Means) -> (CaptureGate<Lamp, Held>, Levels, Arc<AtomicUsize>) {
        let levels = Levels::default();
        let held = Arc::new(AtomicUsize::new(0));
        let lamp = Lamp {
            left,
            levels: Arc::clone(&levels),
        };
        let gate = CaptureGate::of(
            Some(lamp),
            Some(Held(Arc::clone(&held))),
            DEBOUNCE,
            means,
            Arc::default(),
            Arc::default(),
        );
        (gate.expect("a lamp"), levels, held)
    }

    fn last(levels: &Levels) -> Option<bool> {
        levels.lock().expect("unpoisoned").last().copied()
    }

    /// Ticks every 10 ms from `from` to `to`; what was turned.
    fn ticks(gate: &mut CaptureGate<Lamp, Held>, start: Instant, from: u64, to: u64) -> Vec<Turn> {
        let at = |ms| start + Duration::from_millis(ms);
        let ticked = (from..to).step_by(10).map(|ms| gate.tick(at(ms), false));
        ticked.filter_map(|turn| turn.expect("it works")).collect()
    }

    #[test]
    fn the_lamp_is_dark_until_lit_and_after_the_gate() {
        let (mut gate, levels, _) = gate(99, Means::Mute);
        assert_eq!(last(&levels), Some(false));
        gate.light(Instant::now()).expect("lit");
        assert_eq!(last(&levels), Some(true));
        drop(gate);
        assert_eq!(last(&levels), Some(false));
    }

    #[test]
    fn a_press_mutes_and_the_next_one_unmutes() {
        let start = Instant::now();
        let (mut gate, levels, held) = gate(99, Means::Mute);
        gate.light(start).expect("lit");
        assert_eq!(ticks(&mut gate, start, 0, 100), []);
        held.store(1, Ordering::Relaxed);
        assert_eq!(ticks(&mut gate, start, 100, 300), [PRESSED]);
        assert!(gate.is_muted() && last(&levels) == Some(false));
        held.store(0, Ordering::Relaxed);
        assert_eq!(ticks(&mut gate, start, 300, 400), []);
        gate.pressed.store(true, Ordering::Relaxed);
        assert_eq!(ticks(&mut gate, start, 400, 500), [RELEASED]);
        assert!(!gate.is_muted() && last(&levels) == Some(true));
    }

    #[test]
    fn the_lamp_stays_lit_until_the_last_device_is_closed() {
        let start = Instant::now();
        let (mut gate, levels, _) = gate(99, Means::Mute);
        gate.light(start).expect("lit");
        gate.pressed.store(true, Ordering::Relaxed);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(gate.tick(at(10), true).expect("it works"), Some(PRESSED));
        assert_eq!(last(&levels), Some(true));
        assert_eq!(gate.tick(at(20), false).expect("it works"), None);
        assert_eq!(last(&levels), Some(false));
    }

    #[test]
    fn consent_is_given_by_a_press() {
        let start = Instant::now();
        let (mut gate, levels, held) = gate(99, Means::Consent);
        assert!(gate.is_muted());
        gate.light(start).expect("dark");
        assert_eq!(last(&levels), Some(false));
        assert_eq!(ticks(&mut gate, start, 0, 100), []);
        held.store(1, Ordering::Relaxed);
        assert_eq!(ticks(&mut gate, start, 100, 300), [RELEASED]);
        assert_eq!(last(&levels), Some(true));
    }

    #[test]
    fn a_wish_from_afar_mutes_once_and_undoes_its_own_latch_alone() {
        let start = Instant::now();
        let (mut gate, levels, _) = gate(99, Means::Mute);
        gate.light(start).expect("lit");
        // an OFF where nothing was set is no turn
        gate.remote.wish(false);
        assert_eq!(ticks(&mut gate, start, 0, 50), []);
        gate.remote.wish(true);
        assert_eq!(ticks(&mut gate, start, 50, 100), [MUTED_FROM_AFAR]);
        gate.remote.wish(true);
        assert_eq!(ticks(&mut gate, start, 100, 150), []);
        assert!(gate.is_muted() && last(&levels) == Some(false));
        gate.remote.wish(false);
        assert_eq!(ticks(&mut gate, start, 150, 200), [OPENED_FROM_AFAR]);
        assert!(!gate.is_muted() && last(&levels) == Some(true));
    }

    #[test]
    fn a_persons_press_holds_against_any_wish_from_afar() {
        let start = Instant::now();
        let (mut gate, levels, _) = gate(99, Means::Mute);
        gate.light(start).expect("lit");
        gate.pressed.store(true, Ordering::Relaxed);
        assert_eq!(ticks(&mut gate, start, 0, 50), [PRESSED]);
        for mutes in [false, true, false] {
            gate.remote.wish(mutes);
            ticks(&mut gate, start, 50, 100);
            assert!(gate.is_muted() && last(&levels) == Some(false));
        }
        gate.pressed.store(true, Ordering::Relaxed);
        assert_eq!(ticks(&mut gate, start, 100, 150), [RELEASED]);
        assert!(!gate.is_muted());
    }

    #[test]
    fn a_press_does_not_undo_what_was_wished_from_afar() {
        let start = Instant::now();
        let (mut gate, _, _) = gate(99, Means::Mute);
        gate.light(start).expect("lit");
        gate.remote.wish(true);
        assert_eq!(ticks(&mut gate, start, 0, 50), [MUTED_FROM_AFAR]);
        for turned in [PRESSED, RELEASED] {
            gate.pressed.store(true, Ordering::Relaxed);
            assert_eq!(ticks(&mut gate, start, 50, 100), [turned]);
            assert!(gate.is_muted());
        }
        assert_eq!(gate.latches().closed_by(), ["remote"]);
    }

    #[test]
    fn consent_is_never_given_from_afar() {
        let start = Instant::now();
        let (mut gate, levels, _) = gate(99, Means::Consent);
        gate.light(start).expect("dark");
        for mutes in [false, true, false] {
            gate.remote.wish(mutes);
            ticks(&mut gate, start, 0, 100);
            assert!(gate.is_muted() && last(&levels) == Some(false));
        }
        assert_eq!(gate.latches().closed_by(), ["person"]);
    }

    #[test]
    fn a_press_and_a_wish_in_the_same_moment_are_both_obeyed() {
        let start = Instant::now();
        let (mut gate, _, _) = gate(99, Means::Mute);
        gate.light(start).expect("lit");
        gate.remote.wish(true);
        gate.pressed.store(true, Ordering::Relaxed);
        let turned = ticks(&mut gate, start, 0, 50);
        assert_eq!(turned, [PRESSED, MUTED_FROM_AFAR]);
    }

    #[test]
    fn a_lamp_that_dies_ends_the_run() {
        let start = Instant::now();
        let (mut gate, _, _) = gate(2, Means::Mute);
        gate.light(start).expect("lit");
        // written again within two seconds, and found to be gone
        let later = start + Duration::from_secs(2);
        let error = gate.tick(later, false).map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("line 4 of a chip")));
    }
}

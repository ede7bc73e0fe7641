//! The button of the people in front of the device, without its bounces.

use embedded_hal::digital::InputPin;
use std::time::{Duration, Instant};

/// The button was pressed: once for a press, however long it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed;

/// A button on a line that is high while it is pressed.
///
/// A level counts once it has rested for the debounce time. The level that is found first
/// is no press, so a line that is stuck, or held while the program starts, means nothing.
#[derive(Debug)]
pub struct Button<P: InputPin> {
    pin: P,
    debounce: Duration,
    /// The level last read, and since when it has rested.
    level: Option<(bool, Instant)>,
    /// The level last believed.
    settled: Option<bool>,
}

impl<P: InputPin> Button<P> {
    /// A button whose level must rest for `debounce`: 20 ms suit most.
    pub fn new(pin: P, debounce: Duration) -> Self {
        Button {
            pin,
            debounce,
            level: None,
            settled: None,
        }
    }

    /// `Ok` once for each press. A press is seen if the line is polled twice while it lasts,
    /// at least the debounce time apart: poll every 20 ms or so.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] while there is nothing new; the line's own error when it
    /// cannot be read.
    pub fn poll(&mut self, now: Instant) -> nb::Result<Pressed, P::Error> {
        let level = self.pin.is_high().map_err(nb::Error::Other)?;
        let since = match self.level {
            Some((before, since)) if before == level => since,
            _ => now,
        };
        self.level = Some((level, since));
        if now.duration_since(since) < self.debounce || self.settled == Some(level) {
            return Err(nb::Error::WouldBlock);
        }
        let before = self.settled.replace(level);
        if before == Some(false) && level {
            Ok(Pressed)
        } else {
            Err(nb::Error::WouldBlock)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use proptest::prelude::*;
    use std::io::ErrorKind;

    const DEBOUNCE: u64 = 20;

    /// Times of presses of a line that is polled every millisecond.
    fn presses(levels: &[bool]) -> Vec<usize> {
        let state = |level| if level { State::High } else { State::Low };
        let expected: Vec<_> = levels.iter().map(|l| Transaction::get(state(*l))).collect();
        let mut line = Mock::new(&expected);
        let mut button = Button::new(line.clone(), Duration::from_millis(DEBOUNCE));
        let start = Instant::now();
        let pressed = |at: &usize| match button.poll(start + Duration::from_millis(*at as u64)) {
            Ok(Pressed) => true,
            Err(nb::Error::WouldBlock) => false,
            Err(nb::Error::Other(e)) => panic!("{e:?}"),
        };
        let presses = (0..levels.len()).filter(pressed).collect();
        line.done();
        presses
    }

    fn stretches(stretches: &[(bool, usize)]) -> Vec<bool> {
        let levels = stretches.iter().flat_map(|(l, ms)| vec![*l; *ms]);
        levels.collect()
    }

    #[test]
    fn a_press_is_told_once_when_it_has_rested() {
        let line = stretches(&[(false, 50), (true, 500), (false, 50), (true, 50)]);
        assert_eq!(presses(&line), [50 + 20, 600 + 20]);
    }

    #[test]
    fn what_is_too_short_is_no_press() {
        let line = stretches(&[(false, 50), (true, 20), (false, 50)]);
        assert!(presses(&line).is_empty());
        let line = stretches(&[(false, 50), (true, 21), (false, 50)]);
        assert_eq!(presses(&line).len(), 1);
    }

    #[test]
    fn held_from_the_start_is_no_press() {
        let line = stretches(&[(true, 300), (false, 30), (true, 30)]);
        assert_eq!(presses(&line), [330 + 20]);
    }

    #[test]
    fn a_bounce_while_held_is_no_second_press() {
        let line = stretches(&[(false, 30), (true, 100), (false, 15), (true, 100)]);
        assert_eq!(presses(&line).len(), 1);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told_and_polled_again() {
        let lost = MockError::Io(ErrorKind::NotConnected);
        let mut line = Mock::new(&[
            Transaction::get(State::Low),
            Transaction::get(State::High),
            Transaction::get(State::High).with_error(lost.clone()),
            Transaction::get(State::High),
        ]);
        let mut button = Button::new(line.clone(), Duration::ZERO);
        let now = Instant::now();
        assert_eq!(button.poll(now), Err(nb::Error::WouldBlock));
        assert_eq!(button.poll(now), Ok(Pressed));
        assert_eq!(button.poll(now), Err(nb::Error::Other(lost)));
        assert_eq!(button.poll(now), Err(nb::Error::WouldBlock));
        line.done();
    }

    /// Presses of a train of stretches, found from the stretches themselves.
    fn reference(train: &[(bool, usize)]) -> usize {
        let mut merged: Vec<(bool, usize)> = Vec::new();
        for (level, ms) in train {
            match merged.last_mut() {
                Some((last, sum)) if last == level => *sum += ms,
                _ => merged.push((*level, *ms)),
            }
        }
        let rests: Vec<bool> = merged
            .iter()
            .filter(|(_, ms)| *ms as u64 > DEBOUNCE)
            .map(|(level, _)| *level)
            .collect();
        rests.windows(2).filter(|w| w == &[false, true]).count()
    }

    proptest! {
        #[test]
        fn any_train_of_levels(train in prop::collection::vec((any::<bool>(), 1_usize..60), 1..40)) {
            prop_assert_eq!(presses(&stretches(&train)).len(), reference(&train));
        }

        #[test]
        fn one_press_however_much_it_bounces(
            closing in prop::collection::vec(1_usize..20, 0..12),
            opening in prop::collection::vec(1_usize..20, 0..12),
            held in 21_usize..400,
        ) {
            let mut train = vec![(false, 40)];
            let bounces = |lengths: &[usize]| -> Vec<(bool, usize)> {
                lengths.iter().enumerate().map(|(i, ms)| (i % 2 == 0, *ms)).collect()
            };
            train.extend(bounces(&closing));
            train.push((false, 1));
            train.push((true, held));
            train.push((false, 1));
            train.extend(bounces(&opening));
            train.push((false, 40));
            let presses = presses(&stretches(&train));
            prop_assert_eq!(presses.len(), 1);
            let closed = 40 + closing.iter().sum::<usize>() + 1;
            prop_assert_eq!(presses[0], closed + DEBOUNCE as usize);
        }
    }
}

//! From several channels to one.

use std::time::Duration;

use super::channel::Channel;
use super::convert::time_of;
use super::hearing::{Hearing, OwnChannel};

/// Zeros after which a channel counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(1);
/// A change of the mix is spread over this time, or it would click.
const RAMP: Duration = Duration::from_millis(10);
/// Levels are taken, and the channel is chosen anew, this often.
const STEP: Duration = Duration::from_millis(20);
/// Part of a step's power in the smoothed level: some 40 ms are remembered.
const SMOOTHING: f64 = 0.4;
/// What a channel's noise floor rises by in each step (2 dB a second); it falls at once.
const FLOOR_RISE: f64 = 1.01;
/// A channel sounds when its power is this much above its floor: 6 dB.
const SOUNDS: f64 = 4.0;
/// A channel takes over when its power is this much above that of the one heard: 6 dB, more
/// than the microphones of an array differ by.
const LOUDER: f64 = 4.0;
/// Steps in a row that it must be louder for: a click is shorter.
const LOUDER_FOR: u32 = 3;
/// Steps in a row that a channel must sound for to take over from one that does not.
const SOUNDS_FOR: u32 = 5;
/// Steps after which a channel that does not sound is no longer held: 1 s.
const HELD_FOR: u32 = 50;
/// Power below which nothing is said: -90 dB of full scale.
const INAUDIBLE: f64 = 1e-9;
/// Channels cancel when their mean is this part of what it would be if they had nothing to
/// do with each other, ...
const CANCELLED: f64 = 0.1;
/// ... over as much time, while their own power is audible, at -60 dB.
const WINDOW: Duration = Duration::from_millis(500);
const AUDIBLE: f64 = 1e-6;

/// Several interleaved channels to one.
pub(super) struct Mixer {
    channel: Channel,
    levels: Vec<Level>,
    /// What the channels weigh, when the change from `before` is over.
    weights: Vec<f32>,
    before: Vec<f32>,
    /// Frames since the last change.
    changed: usize,
    /// The channel heard, when the best one is.
    best: usize,
    settled: bool,
    step: usize,
    ramp: usize,
    dead_after: u64,
    cancelling: Cancelling,
    own: Option<Own>,
}

impl Mixer {
    /// `channels` must not be 0, the numbers of channels are below it, and one that is not the
    /// device's own voice is left to hear.
    pub(super) fn new(hearing: Hearing, channels: usize, rate: u32) -> Self {
        let frames = |time: Duration| (time.as_secs_f64() * f64::from(rate)) as usize;
        let own = hearing.own.map(|own| Own::new(own, rate));
        let heard = channels - usize::from(own.is_some());
        let weight = |c| match &own {
            Some(own) if own.number == c => 0.0,
            _ => 1.0 / heard as f32,
        };
        let weights: Vec<f32> = (0..channels).map(weight).collect();
        Self {
            channel: hearing.channel,
            levels: vec![Level::default(); channels],
            before: weights.clone(),
            weights,
            changed: 0,
            best: 0,
            settled: false,
            step: frames(STEP).max(1),
            ramp: frames(RAMP),
            dead_after: frames(DEAD_AFTER) as u64,
            cancelling: Cancelling::new(frames(WINDOW) as u64, rate),
            own,
        }
    }

    /// Whether the device's own voice was in what was mixed since the last call.
    pub(super) fn own_voice(&mut self) -> bool {
        let own = self.own.as_mut();
        own.is_some_and(|own| std::mem::take(&mut own.spoke))
    }

    pub(super) fn channels(&self) -> usize {
        self.levels.len()
    }

    /// For how long the mean of the channels was next to nothing while they sounded.
    pub(super) fn cancelled(&self) -> Duration {
        self.cancelling.time()
    }

    /// Appends the mix of whole frames to `mono`.
    pub(super) fn mix(&mut self, interleaved: &[f32], mono: &mut Vec<f32>) {
        if self.levels.len() == 1 {
            mono.extend_from_slice(interleaved);
            return;
        }
        for part in interleaved.chunks(self.step * self.levels.len()) {
            self.mix_step(part, mono);
        }
    }

    fn mix_step(&mut self, interleaved: &[f32], mono: &mut Vec<f32>) {
        self.listen(interleaved);
        if let Some(own) = &mut self.own {
            let frames = interleaved.len() / self.levels.len();
            own.listen(self.levels[own.number].last, frames as u64);
        }
        let target = self.target();
        if target != self.weights {
            self.before = match self.settled {
                true => self.weights_now(),
                false => target.clone(),
            };
            self.weights = target;
            self.changed = 0;
        }
        self.settled |= self.levels.iter().any(|level| level.quiet.is_some());
        let from = mono.len();
        for frame in interleaved.chunks_exact(self.weights.len()) {
            let part = self.part();
            let weights = self.before.iter().zip(&self.weights);
            let sum = frame
                .iter()
                .zip(weights)
                .map(|(x, (old, new))| x * (old + (new - old) * part));
            mono.push(sum.sum());
            self.changed = self.changed.saturating_add(1);
        }
        // a loudspeaker's channel is no microphone, and would look like one that cancels
        if self.channel == Channel::Mix && self.own.is_none() {
            let alive = self.alive().count();
            self.cancelling.listen(interleaved, &mono[from..], alive);
        }
    }

    /// How much of the last change is done, in `[0, 1]`.
    fn part(&self) -> f32 {
        (self.changed as f32 / self.ramp.max(1) as f32).min(1.0)
    }

    fn weights_now(&self) -> Vec<f32> {
        let part = self.part();
        let weights = self.before.iter().zip(&self.weights);
        weights.map(|(old, new)| old + (new - old) * part).collect()
    }

    /// Channels that hear what is around.
    fn microphones(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let own = self.own.as_ref().map(|own| own.number);
        (0..self.levels.len()).filter(move |c| Some(*c) != own)
    }

    fn listen(&mut self, interleaved: &[f32]) {
        let channels = self.levels.len();
        for (channel, level) in self.levels.iter_mut().enumerate() {
            level.listen(interleaved.iter().skip(channel).step_by(channels));
        }
    }

    fn target(&mut self) -> Vec<f32> {
        let channels = self.levels.len();
        let one = |channel: usize| {
            let weight = |c| if c == channel { 1.0 } else { 0.0 };
            (0..channels).map(weight).collect()
        };
        match self.channel {
            Channel::Number(number) => one(usize::from(number)),
            Channel::Best => {
                self.best = self.choose();
                one(self.best)
            }
            Channel::Mix => self.mean(),
        }
    }

    /// The mean of the channels that are alive.
    ///
    /// A stereo device with one microphone gives one channel of zeros; a plain mean would
    /// halve the voice. A channel is alive once it has been other than zero, until it has
    /// been exactly zero for [`DEAD_AFTER`].
    fn mean(&self) -> Vec<f32> {
        let count = self.alive().count();
        if count == 0 {
            return self.weights.clone();
        }
        let mut weights = vec![0.0; self.levels.len()];
        self.alive().for_each(|c| weights[c] = 1.0 / count as f32);
        weights
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        let alive = |level: &Level| level.quiet.is_some_and(|frames| frames < self.dead_after);
        self.microphones().filter(move |c| alive(&self.levels[*c]))
    }

    /// The channel to hear from now on.
    fn choose(&mut self) -> usize {
        let power = |c: &usize| self.levels[*c].power;
        let louder = |a: &usize, b: &usize| power(a).total_cmp(&power(b));
        if !self.settled {
            // The first of several that are equal.
            return self.microphones().rev().max_by(louder).unwrap_or(0);
        }
        let held = self.best;
        let sounding = self.microphones().filter(|c| self.levels[*c].sounds());
        let Some(loudest) = sounding.max_by(louder) else {
            return held;
        };
        let wins = power(&loudest) > LOUDER * power(&held);
        for (channel, level) in self.levels.iter_mut().enumerate() {
            level.louder = if wins && channel == loudest {
                level.louder + 1
            } else {
                0
            };
        }
        let held_is_silent = self.levels[held].since_sounding > HELD_FOR;
        let rival = &self.levels[loudest];
        let takes_over =
            rival.louder >= LOUDER_FOR || held_is_silent && rival.sounding >= SOUNDS_FOR;
        if takes_over { loudest } else { held }
    }
}

/// What is known of one channel.
#[derive(Debug, Clone, Default)]
struct Level {
    /// Frames of zeros at the end of what was heard; `None`: never alive.
    quiet: Option<u64>,
    /// Mean square of the last step, without the offset that cheap converters add.
    last: f64,
    /// The same, smoothed.
    power: f64,
    /// Least power of late: its noise. `None` before the first step.
    floor: Option<f64>,
    /// Steps in a row that it has sounded for.
    sounding: u32,
    /// Steps since it last sounded.
    since_sounding: u32,
    /// Steps in a row that it was louder than the channel heard.
    louder: u32,
}

impl Level {
    fn listen<'a>(&mut self, samples: impl DoubleEndedIterator<Item = &'a f32> + Clone) {
        let (mut count, mut sum, mut squares) = (0u64, 0.0, 0.0);
        for x in samples.clone() {
            let x = f64::from(*x);
            count += 1;
            sum += x;
            squares += x * x;
        }
        let zeros = samples.rev().take_while(|x| **x == 0.0).count() as u64;
        if zeros < count {
            self.quiet = Some(zeros);
        } else if let Some(before) = &mut self.quiet {
            *before += zeros;
        }
        let count = count.max(1) as f64;
        let power = (squares / count - (sum / count).powi(2)).max(0.0);
        self.last = power;
        let Some(floor) = self.floor else {
            self.power = power;
            self.floor = Some(power);
            self.since_sounding = HELD_FOR + 1;
            return;
        };
        self.power += SMOOTHING * (power - self.power);
        self.floor = Some((floor * FLOOR_RISE).max(INAUDIBLE).min(self.power));
        if self.sounds() {
            self.sounding += 1;
            self.since_sounding = 0;
        } else {
            self.sounding = 0;
            self.since_sounding = self.since_sounding.saturating_add(1);
        }
    }

    fn sounds(&self) -> bool {
        self.power > SOUNDS * self.floor.unwrap_or(0.0).max(INAUDIBLE)
    }
}

/// Watches the channel of the device's own voice.
struct Own {
    number: usize,
    /// Power from which it sounds.
    power: f64,
    /// Frames for which the room rings behind it.
    after: u64,
    /// Frames left of that.
    rings: u64,
    spoke: bool,
}

impl Own {
    fn new(own: OwnChannel, rate: u32) -> Self {
        Self {
            number: usize::from(own.number),
            power: 10.0_f64.powf(f64::from(own.above) / 10.0),
            after: (own.after.as_secs_f64() * f64::from(rate)) as u64,
            rings: 0,
            spoke: false,
        }
    }

    /// Takes the power of so many frames.
    fn listen(&mut self, power: f64, frames: u64) {
        let sounds = power > self.power;
        let speaks = sounds || self.rings > 0;
        self.rings = match sounds {
            true => self.after,
            false => self.rings.saturating_sub(frames),
        };
        self.spoke |= speaks;
    }
}

/// Watches whether the channels cancel in their mean.
struct Cancelling {
    window: u64,
    rate: u32,
    frames: u64,
    mean: f64,
    /// Power that the mean would have of channels that have nothing to do with each other.
    independent: f64,
    cancelled: u64,
}

impl Cancelling {
    fn new(window: u64, rate: u32) -> Self {
        Self {
            window: window.max(1),
            rate,
            frames: 0,
            mean: 0.0,
            independent: 0.0,
            cancelled: 0,
        }
    }

    fn listen(&mut self, interleaved: &[f32], mono: &[f32], alive: usize) {
        let power = |samples: &[f32]| samples.iter().map(|x| f64::from(x * x)).sum::<f64>();
        let alive = alive.max(1) as f64;
        self.frames += mono.len() as u64;
        self.mean += power(mono);
        self.independent += power(interleaved) / (alive * alive);
        if self.frames < self.window {
            return;
        }
        let audible = self.independent > AUDIBLE * self.frames as f64;
        if audible && self.mean < CANCELLED * self.independent {
            self.cancelled += self.frames;
        }
        (self.frames, self.mean, self.independent) = (0, 0.0, 0.0);
    }

    fn time(&self) -> Duration {
        time_of(self.cancelled, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: usize = 16_000;

    fn mixed(
        channel: Channel,
        channels: usize,
        frames: usize,
        sample: impl Fn(usize, usize) -> f32,
    ) -> (Vec<f32>, Duration) {
        let mut mixer = Mixer::new(channel.into(), channels, RATE as u32);
        let all: Vec<f32> = (0..frames)
            .flat_map(|i| (0..channels).map(move |c| (i, c)))
            .map(|(i, c)| sample(i, c))
            .collect();
        let mut mono = Vec::new();
        for block in all.chunks(channels * 1000) {
            mixer.mix(block, &mut mono);
        }
        (mono, mixer.cancelled())
    }

    fn rms(samples: &[f32]) -> f32 {
        (samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32).sqrt()
    }

    /// A voice of sorts: syllables of 200 ms with pauses of 100 ms.
    fn voice(i: usize) -> f32 {
        let t = i as f32 / RATE as f32;
        let on = if t % 0.3 < 0.2 { 1.0 } else { 0.01 };
        on * 0.3 * (t * 1_900.0).sin()
    }

    /// White noise in `[-1, 1]`, the same each time.
    fn noise(i: usize, seed: u64) -> f32 {
        let mut x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    #[test]
    fn a_dead_channel_does_not_halve_the_level() {
        for channel in [Channel::Best, Channel::Mix] {
            let (mono, _) = mixed(channel, 2, 5000, |i, c| if c == 1 { voice(i) } else { 0.0 });
            assert!((0..5000).all(|i| mono[i] == voice(i)), "{channel}");
        }
    }

    #[test]
    fn living_channels_are_averaged() {
        let (mono, _) = mixed(Channel::Mix, 4, 3000, |_, c| [0.1, 0.2, 0.0, 0.6][c]);
        assert!(mono.iter().all(|x| (x - 0.3).abs() < 1e-6));
    }

    #[test]
    fn a_channel_that_dies_leaves_the_mix_without_a_click() {
        let sample = |i, c| if c == 0 || i < 2000 { 0.5 } else { 0.0 };
        let (mono, _) = mixed(Channel::Mix, 2, 40_000, sample);
        assert_eq!(mono[1000], 0.5);
        assert_eq!(mono[10_000], 0.25);
        assert_eq!(mono[30_000], 0.5);
        let jump = mono
            .windows(2)
            .skip(2001)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(jump < 0.01, "a step of {jump}");
    }

    #[test]
    fn a_channel_with_a_number_is_heard_alone() {
        let (mono, _) = mixed(Channel::Number(2), 4, 3000, |i, c| {
            if c == 2 { voice(i) } else { 0.9 }
        });
        assert!((0..3000).all(|i| mono[i] == voice(i)));
    }

    #[test]
    fn the_loudspeakers_channel_is_watched_and_never_heard() {
        // it speaks in the second second, louder than anybody
        let sample = |i: usize, c: usize| match (c, i / RATE) {
            (2, 1) => 3.0 * voice(i),
            (2, _) => 0.0005 * noise(i, 2),
            _ => 0.1 * voice(i) + 0.001 * noise(i, c as u64),
        };
        let own = OwnChannel {
            number: 2,
            above: -50.0,
            after: Duration::from_millis(200),
        };
        for channel in [Channel::Best, Channel::Mix] {
            let hearing = Hearing {
                channel,
                own: Some(own),
            };
            let mut mixer = Mixer::new(hearing, 3, RATE as u32);
            let mut own = Vec::new();
            for step in 0..3 * RATE / 320 {
                let frames =
                    (step * 320..(step + 1) * 320).flat_map(|i| [0, 1, 2].map(|c| sample(i, c)));
                let mut mono = Vec::new();
                mixer.mix(&frames.collect::<Vec<_>>(), &mut mono);
                assert!(
                    mono.iter().all(|x| x.abs() < 0.05),
                    "{channel}: step {step}"
                );
                own.push(mixer.own_voice());
            }
            // from its first step to 200 ms behind its last syllable
            let (first, last) = (own.iter().position(|o| *o), own.iter().rposition(|o| *o));
            assert_eq!(first, Some(50), "{channel}");
            assert!(
                last.is_some_and(|last| (108..=111).contains(&last)),
                "{channel}: {last:?}"
            );
            assert!(own[50..108].iter().all(|o| *o), "{channel}");
            assert!(mixer.cancelled().is_zero(), "{channel}");
        }
    }

    #[test]
    fn opposite_phases_are_heard_or_told() {
        let sample = |i: usize, c: usize| if c == 0 { voice(i) } else { -0.98 * voice(i) };
        let (mono, cancelled) = mixed(Channel::Best, 2, 32_000, sample);
        assert!((0..32_000).all(|i| mono[i] == voice(i)));
        assert!(cancelled.is_zero());
        let (mono, cancelled) = mixed(Channel::Mix, 2, 32_000, sample);
        assert!(rms(&mono) < 0.01);
        assert!(cancelled > Duration::from_millis(1500), "{cancelled:?}");
    }

    #[test]
    fn channels_that_have_nothing_in_common_do_not_cancel() {
        let (_, cancelled) = mixed(Channel::Mix, 8, 32_000, |i, c| noise(i, c as u64));
        assert!(cancelled.is_zero(), "{cancelled:?}");
    }

    #[test]
    fn an_array_is_heard_through_one_microphone() {
        // Some samples apart and 3 dB from the quietest to the loudest, two left empty.
        let sample = |i: usize, c: usize| {
            if c >= 6 {
                return 0.0;
            }
            let level = 0.7 + 0.05 * c as f32;
            level * voice(i.saturating_sub(c)) + 0.001 * noise(i, c as u64)
        };
        let (mono, _) = mixed(Channel::Best, 8, 64_000, sample);
        // Whichever it was at the start, it has stayed the same.
        let one = (0..6).find(|c| (100..64_000).all(|i| mono[i] == sample(i, *c)));
        assert!(one.is_some());
    }

    #[test]
    fn two_speakers_with_a_microphone_each_are_both_heard() {
        let turn = |i: usize| i / RATE % 4 / 2;
        let sample = |i: usize, c: usize| {
            let own = if turn(i) == c { voice(i) } else { 0.0 };
            own + 0.002 * noise(i, c as u64)
        };
        let (mono, _) = mixed(Channel::Best, 2, 8 * RATE, sample);
        for (second, part) in mono.chunks(RATE).enumerate() {
            let begins = second * RATE;
            let speaker = turn(begins);
            let spoken: Vec<f32> = (begins..begins + RATE)
                .map(|i| sample(i, speaker))
                .collect();
            // A turn that begins without a pause loses 150 ms at its beginning, no more.
            let lost = part.iter().zip(&spoken).filter(|(a, b)| a != b).count();
            assert!(lost < RATE * 15 / 100, "second {second}: {lost} samples");
        }
    }

    #[test]
    fn hum_does_not_pass_for_a_voice() {
        // An open input hums louder than the voice in the other channel.
        let sample = |i: usize, c: usize| {
            let hum = 0.3 * (i as f32 / RATE as f32 * 314.16).sin() + 0.02 * noise(i, 5);
            if c == 0 {
                hum
            } else {
                0.3 * voice(i) + 0.0005 * noise(i, 6)
            }
        };
        let (mono, _) = mixed(Channel::Best, 2, 4 * RATE, sample);
        assert!((RATE..4 * RATE).all(|i| mono[i] == sample(i, 1)));
    }

    #[test]
    fn an_offset_is_no_voice() {
        let sample = |i: usize, c: usize| if c == 0 { 0.8 } else { 0.1 * voice(i) };
        let (mono, _) = mixed(Channel::Best, 2, 2 * RATE, sample);
        assert!((0..2 * RATE).all(|i| mono[i] == sample(i, 1)));
    }

    #[test]
    fn a_take_over_does_not_click() {
        let sample = |i: usize, c: usize| match (c, i < RATE) {
            (0, true) | (1, false) => 0.3 * (i as f32 * 0.01).sin(),
            _ => 0.001 * noise(i, c as u64),
        };
        let (mono, _) = mixed(Channel::Best, 2, 2 * RATE, sample);
        let jump = mono.windows(2).map(|w| (w[1] - w[0]).abs());
        let jump = jump.enumerate().filter(|(i, _)| *i != RATE - 1);
        let jump = jump.map(|(_, jump)| jump).fold(0.0, f32::max);
        assert!(jump < 0.01, "a step of {jump}");
    }
}

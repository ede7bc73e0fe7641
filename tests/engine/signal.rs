//! Sound to features: what the resampler, the log-mel, and the segmenter promise.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::cases;
use demeanor::capture::{AudioChunk, Channel, Source, open_audio};
use demeanor::signal::mel::{Mel, N_MELS};
use demeanor::signal::resample::{MAX_RATE, MIN_RATE, Resampler, UnsupportedRate};
use demeanor::signal::segment::{SegmentConfig, Segmenter, Utterance, trim};
use demeanor::signal::vad::VadConfig;
use demeanor::signal::{SAMPLE_RATE, duration_of, samples_in};
use proptest::prelude::*;
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

// ---- resampler -----------------------------------------------------------------------

fn resampled(rate: u32, input: &[f32], chunk: usize) -> Vec<f32> {
    let mut resampler = Resampler::new(rate).unwrap();
    let mut out = Vec::new();
    for piece in input.chunks(chunk) {
        resampler.push(piece, &mut out);
    }
    resampler.flush(&mut out);
    out
}

fn sine(rate: u32, hz: f64, seconds: f64) -> Vec<f32> {
    let samples = (f64::from(rate) * seconds) as usize;
    (0..samples)
        .map(|i| (0.5 * (TAU * hz * i as f64 / f64::from(rate)).sin()) as f32)
        .collect()
}

fn decibels(samples: &[f32]) -> f64 {
    let power: f64 = samples.iter().map(|x| f64::from(*x).powi(2)).sum();
    10.0 * (power / samples.len() as f64).max(1e-30).log10()
}

/// Far enough from both ends for the filter to have settled.
fn middle(samples: &[f32]) -> &[f32] {
    &samples[400..samples.len() - 400]
}

const RATES: [u32; 13] = [
    4_000, 8_000, 11_025, 12_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000,
    44_101,
];

#[test]
fn a_tone_keeps_its_amplitude_and_phase() {
    for rate in RATES {
        let nyquist = f64::from(rate.min(SAMPLE_RATE)) / 2.0;
        for part in [0.01, 0.3, 0.6, 0.88] {
            let hz = nyquist * part;
            let out = resampled(rate, &sine(rate, hz, 0.3), 777);
            let ideal = sine(SAMPLE_RATE, hz, 0.3);
            let error: Vec<f32> = out.iter().zip(&ideal).map(|(a, b)| a - b).collect();
            let error = decibels(middle(&error)) - decibels(middle(&ideal));
            assert!(
                error < -70.0,
                "{rate} Hz, tone of {hz:.0} Hz: error {error:.1} dB"
            );
        }
    }
}

#[test]
fn what_16_khz_cannot_hold_is_gone_and_not_folded() {
    for rate in RATES.into_iter().filter(|rate| *rate > SAMPLE_RATE) {
        let top = f64::from(rate) / 2.0;
        for hz in [8_010.0, 8_500.0, 10_500.0, 15_700.0, 23_000.0, 90_000.0] {
            if hz < top {
                let input = sine(rate, hz, 0.3);
                let left = decibels(middle(&resampled(rate, &input, 1000))) - decibels(&input);
                assert!(
                    left < -70.0,
                    "{rate} Hz, tone of {hz} Hz: {left:.1} dB are left"
                );
            }
        }
    }
}

#[test]
fn a_slower_recording_gets_no_mirror_image() {
    // 3 kHz at 8 kHz would be mirrored at 5 kHz: after subtracting the tone nothing is left,
    // which the tone test shows; here the whole upper half must be empty.
    let mut mel = Mel::new();
    let out = resampled(8_000, &sine(8_000, 3_000.0, 1.0), 640);
    let frames = mel.log_mel(&out);
    let row = &frames.data[50 * N_MELS..51 * N_MELS];
    // Band 62 begins above 4.5 kHz; 1.75 is 7 decades of power below the peak at 1.5.
    assert!(row[62..].iter().all(|y| *y < 0.0), "{:?}", &row[62..]);
}

#[test]
fn a_constant_stays_one() {
    for rate in RATES {
        let out = resampled(rate, &vec![0.25; rate as usize / 2], 4096);
        for x in middle(&out) {
            assert!((x - 0.25).abs() < 2e-6, "{rate} Hz: {x}");
        }
    }
}

#[test]
fn rates_out_of_reach_are_refused_with_a_sentence() {
    for rate in [0, 1, MIN_RATE - 1, MAX_RATE + 1, u32::MAX] {
        let error = Resampler::new(rate).map(|_| ()).unwrap_err();
        assert_eq!(error, UnsupportedRate(rate));
        assert!(error.to_string().contains("between 4000 and 384000 Hz"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(60)))]

    #[test]
    fn chunking_changes_no_bit(
        rate in prop_oneof![prop::sample::select(&RATES[..]), MIN_RATE..=MAX_RATE],
        cuts in prop::collection::vec(0usize..3000, 1..12),
        seed in any::<u32>(),
    ) {
        let mut state = seed | 1;
        let input: Vec<f32> = (0..cuts.iter().sum())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect();
        let whole = resampled(rate, &input, usize::MAX);
        let (mut resampler, mut pieces, mut rest) =
            (Resampler::new(rate).unwrap(), Vec::new(), &input[..]);
        for cut in cuts {
            let (piece, later) = rest.split_at(cut);
            resampler.push(piece, &mut pieces);
            rest = later;
        }
        resampler.flush(&mut pieces);
        prop_assert_eq!(&whole, &pieces);
        let due = (input.len() as u64 * u64::from(SAMPLE_RATE)).div_ceil(u64::from(rate));
        prop_assert_eq!(whole.len() as u64, due);
        // A flushed resampler is a new one.
        let mut again = Vec::new();
        resampler.push(&input, &mut again);
        resampler.flush(&mut again);
        prop_assert_eq!(whole, again);
    }

    #[test]
    fn times_and_samples_agree(samples in 0u64..1 << 40) {
        prop_assert_eq!(samples_in(duration_of(samples)) as u64, samples);
    }
}

// ---- log-mel -------------------------------------------------------------------------

/// The signal that `mel_reference.json` describes.
fn chirps(samples: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..samples)
        .map(|i| {
            let t = i as f64 / f64::from(SAMPLE_RATE);
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state) / 2f64.powi(31) - 1.0;
            let low = (TAU * (200.0 * t + 1500.0 * t * t)).sin();
            let high = (TAU * (3000.0 * t - 1000.0 * t * t)).sin();
            (0.4 * low + 0.1 * high + 0.02 * noise) as f32
        })
        .collect()
}

#[test]
fn log_mel_equals_the_recipe_that_trained_the_student() {
    let text = std::fs::read_to_string(data("mel_reference.json")).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let samples = case["samples"].as_u64().unwrap() as usize;
        let mel = Mel::new().log_mel(&chirps(samples));
        assert_eq!(
            mel.frames as u64,
            case["frames"].as_u64().unwrap(),
            "{samples} samples"
        );
        assert_eq!(mel.data.len(), mel.frames * N_MELS);
        for (row, values) in case["rows"].as_object().unwrap() {
            let row: usize = row.parse().unwrap();
            let values = values.as_array().unwrap();
            assert_eq!(values.len(), N_MELS);
            for (band, value) in values.iter().enumerate() {
                let (ours, theirs) = (
                    mel.data[row * N_MELS + band],
                    value.as_f64().unwrap() as f32,
                );
                assert!(
                    (ours - theirs).abs() < 2e-5,
                    "{samples} samples, frame {row}, band {band}: {ours} for {theirs}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(40)))]

    #[test]
    fn log_mel_has_the_promised_shape_and_range(len in 0usize..6000, gain in 1e-3f32..1.0) {
        let samples: Vec<f32> = chirps(len).iter().map(|x| x * gain).collect();
        let mel = Mel::new().log_mel(&samples);
        prop_assert_eq!(mel.frames, if len <= 200 { 2 } else { len / 160 });
        prop_assert_eq!(mel.data.len(), mel.frames * N_MELS);
        prop_assert!(mel.data.iter().all(|y| (-0.5..=1.5).contains(y)));
        // The loudest band of the utterance is the reference.
        let peak = mel.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        prop_assert!(mel.data.is_empty() || peak == 1.5);
    }

    #[test]
    fn gain_does_not_matter(gain in 0.05f32..2.0) {
        let samples = chirps(4000);
        let loud: Vec<f32> = samples.iter().map(|x| x * gain).collect();
        let (a, b) = (Mel::new().log_mel(&samples), Mel::new().log_mel(&loud));
        for (a, b) in a.data.iter().zip(&b.data) {
            prop_assert!((a - b).abs() < 2e-3, "{} {}", a, b);
        }
    }
}

#[test]
fn silence_has_no_peak_to_refer_to_and_still_is_finite() {
    let mel = Mel::new().log_mel(&[0.0; 1600]);
    assert_eq!(mel.frames, 10);
    assert!(mel.data.iter().all(|y| *y == 1.5));
}

// ---- utterances ----------------------------------------------------------------------

/// Our own spoken sentence: 0.4 s of silence, "Hello there", 0.2 s, "How are you today?",
/// 0.7 s of silence.
fn hello() -> Vec<f32> {
    recording("hello.opus")
}

fn recording(name: &str) -> Vec<f32> {
    let mut source = open_audio(&data(name), Channel::Best).unwrap();
    let mut samples = Vec::new();
    while let Some(chunk) = nb::block!(source.poll()).unwrap() {
        samples.extend(chunk.samples);
    }
    samples
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

fn silence(length: f64) -> Vec<f32> {
    // A microphone's hiss at -70 dB: digital zeros would make it too easy.
    let mut state = 7u32;
    (0..(length * 16_000.0) as usize)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            5e-4 * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
        })
        .collect()
}

/// Feeds `samples` in chunks of `chunk`, and looks at the utterance under way after each.
fn watched(samples: &[f32], chunk: usize) -> (Vec<Utterance>, Vec<(Duration, Utterance)>) {
    let mut segmenter = Segmenter::new(&SegmentConfig::default()).unwrap();
    let (mut utterances, mut parts) = (Vec::new(), Vec::new());
    for (n, samples) in samples.chunks(chunk).enumerate() {
        utterances.extend(segmenter.push(&AudioChunk {
            start: duration_of((n * chunk) as u64),
            samples: samples.to_vec(),
            gap: None,
            own: false,
        }));
        if let Some(part) = segmenter.under_way() {
            parts.push((segmenter.spoken(), part));
        }
    }
    utterances.extend(segmenter.finish());
    assert!(segmenter.under_way().is_none() && segmenter.spoken().is_zero());
    (utterances, parts)
}

#[test]
fn the_utterance_under_way_is_shown_and_cut_as_if_nobody_had_looked() {
    // somebody who speaks on and on is cut in the middle
    let mut stream = recording("sample.wav");
    let on_and_on = stream[..48_000].to_vec();
    (0..4).for_each(|_| stream.extend_from_slice(&on_and_on));
    let expected = segmented(&SegmentConfig::default(), &stream, 1600);
    let (utterances, parts) = watched(&stream, 1600);
    assert_eq!(utterances, expected);
    assert!(utterances.iter().any(|u| u.cut), "none was cut");
    for utterance in &utterances {
        let of = |p: &&(Duration, Utterance)| p.1.start == utterance.start;
        let parts: Vec<_> = parts.iter().filter(of).collect();
        assert!(parts.len() >= 10, "{}", parts.len());
        assert!(parts.is_sorted_by(|a, b| a.0 <= b.0 && a.1.samples.len() <= b.1.samples.len()));
        for (spoken, part) in parts {
            let both = part.samples.len().min(utterance.samples.len());
            assert_eq!(part.samples[..both], utterance.samples[..both]);
            assert!(*spoken < part.duration() && !part.cut);
        }
    }
    // silence is nobody's utterance
    let (_, parts) = watched(&silence(3.0), 1600);
    assert!(parts.is_empty());
}

/// Feeds `samples` in chunks of `chunk` and ends the stream.
fn segmented(config: &SegmentConfig, samples: &[f32], chunk: usize) -> Vec<Utterance> {
    let mut segmenter = Segmenter::new(config).unwrap();
    let mut utterances = Vec::new();
    for (i, piece) in samples.chunks(chunk).enumerate() {
        let start = duration_of((i * chunk) as u64);
        utterances.extend(segmenter.push(&AudioChunk {
            start,
            samples: piece.to_vec(),
            gap: None,
            own: false,
        }));
    }
    utterances.extend(segmenter.finish());
    utterances
}

#[test]
fn utterances_come_out_whole_with_margins_and_true_times() {
    let hello = hello();
    let stream = [
        silence(2.0),
        hello.clone(),
        silence(2.0),
        hello,
        silence(3.0),
    ]
    .concat();
    let utterances = segmented(&SegmentConfig::default(), &stream, 1000);
    assert_eq!(utterances.len(), 2, "{:?}", times(&utterances));
    // Speech runs from 0.4 s to 2.5 s of the recording of 3.25 s.
    for (utterance, said) in utterances.iter().zip([2.4, 2.0 + 3.253 + 2.4]) {
        let start = utterance.start.as_secs_f64();
        let end = start + utterance.duration().as_secs_f64();
        assert!(
            said - 0.45 < start && start < said - 0.1,
            "begins at {start}, said at {said}"
        );
        assert!(
            said + 2.2 < end && end < said + 2.8,
            "ends at {end}, said at {said}"
        );
        assert!(!utterance.cut && utterance.gaps.is_empty());
        // The samples are the stream's own at that time.
        let from = samples_in(utterance.start);
        assert_eq!(
            utterance.samples,
            stream[from..from + utterance.samples.len()]
        );
    }
}

fn times(utterances: &[Utterance]) -> Vec<(f64, f64, bool)> {
    let time = |u: &Utterance| (u.start.as_secs_f64(), u.duration().as_secs_f64(), u.cut);
    utterances.iter().map(time).collect()
}

#[test]
fn chunking_changes_no_utterance() {
    let stream = [silence(1.0), hello(), silence(1.0), hello()].concat();
    let expected = segmented(&SegmentConfig::default(), &stream, usize::MAX);
    assert!(!expected.is_empty());
    for chunk in [1, 37, 160, 256, 1000, 16_000] {
        assert_eq!(
            segmented(&SegmentConfig::default(), &stream, chunk),
            expected,
            "chunks of {chunk}"
        );
    }
}

#[test]
fn silence_noise_and_clicks_are_no_utterances() {
    let config = SegmentConfig::default();
    assert!(segmented(&config, &vec![0.0; 160_000], 1600).is_empty());
    assert!(segmented(&config, &silence(10.0), 1600).is_empty());
    let mut clicks = silence(5.0);
    for at in (8_000..80_000).step_by(16_000) {
        clicks[at..at + 40].fill(0.9);
    }
    assert!(segmented(&config, &clicks, 1600).is_empty());
}

#[test]
fn endless_speech_is_cut_without_losing_a_sample() {
    // The sentence without its silences, over and over.
    let said = hello()[6_400..40_000].to_vec();
    let stream = [silence(0.5), said.repeat(12), silence(1.0)].concat();
    let config = SegmentConfig::default();
    let utterances = segmented(&config, &stream, 512);
    assert!(utterances.len() >= 3, "{:?}", times(&utterances));
    let (last, cut) = utterances.split_last().unwrap();
    assert!(
        cut.iter().all(|u| u.cut) && !last.cut,
        "{:?}",
        times(&utterances)
    );
    for pair in utterances.windows(2) {
        assert!(pair[0].duration() <= config.max_length);
        assert!(pair[0].duration() >= config.max_length * 3 / 4 - seconds(0.05));
        assert_eq!(
            samples_in(pair[0].start) + pair[0].samples.len(),
            samples_in(pair[1].start)
        );
    }
    // The cut lies where it is quiet.
    let whole = decibels(&stream);
    for u in cut {
        let at = samples_in(u.start) + u.samples.len();
        let there = decibels(&stream[at - 160..at + 160]);
        assert!(there < whole - 6.0, "cut at {there:.1} dB of {whole:.1} dB");
    }
}

#[test]
fn a_short_gap_is_silence_and_recorded() {
    let stream = [silence(1.0), hello(), silence(1.0)].concat();
    let (at, lost) = (30_000, 1_600);
    let mut segmenter = Segmenter::new(&SegmentConfig::default()).unwrap();
    let mut out = segmenter.push(&AudioChunk {
        start: Duration::ZERO,
        samples: stream[..at].to_vec(),
        gap: None,
        own: false,
    });
    out.extend(segmenter.push(&AudioChunk {
        start: duration_of((at + lost) as u64),
        samples: stream[at + lost..].to_vec(),
        gap: Some(duration_of(lost as u64)),
        own: false,
    }));
    out.extend(segmenter.finish());
    assert_eq!(out.len(), 1, "{:?}", times(&out));
    let utterance = &out[0];
    assert_eq!(utterance.gaps.len(), 1);
    let from = samples_in(utterance.start);
    let gap = utterance.gaps[0];
    assert_eq!(
        (from + samples_in(gap.at), gap.length),
        (at, duration_of(lost as u64))
    );
    let mut expected = stream.clone();
    expected[at..at + lost].fill(0.0);
    assert_eq!(
        utterance.samples,
        expected[from..from + utterance.samples.len()]
    );
}

#[test]
fn a_long_gap_ends_the_utterance_and_time_goes_on_behind_it() {
    let hello = hello();
    let mut segmenter = Segmenter::new(&SegmentConfig::default()).unwrap();
    let begun = segmenter.push(&AudioChunk {
        start: Duration::ZERO,
        samples: hello[..25_000].to_vec(),
        gap: None,
        own: false,
    });
    assert!(begun.is_empty() && segmenter.is_speaking());
    let lost = seconds(30.0);
    let mut out = segmenter.push(&AudioChunk {
        start: duration_of(25_000) + lost,
        samples: hello.clone(),
        gap: Some(lost),
        own: false,
    });
    out.extend(segmenter.finish());
    assert_eq!(out.len(), 2, "{:?}", times(&out));
    assert!(out[0].cut);
    assert_eq!(
        (out[0].gaps[0].length, out[0].gaps[0].at),
        (lost, out[0].duration())
    );
    assert_eq!(samples_in(out[0].start) + out[0].samples.len(), 25_000);
    let resumed = duration_of(25_000) + lost + seconds(0.4);
    assert!(out[1].start < resumed && out[1].start + seconds(0.45) > resumed);
}

#[test]
fn a_gap_of_unknown_length_is_recorded_without_samples() {
    let stream = hello();
    let mut segmenter = Segmenter::new(&SegmentConfig::default()).unwrap();
    let mut out = Vec::new();
    for (i, piece) in stream.chunks(20_000).enumerate() {
        let gap = (i > 0).then_some(Duration::ZERO);
        let start = duration_of(i as u64 * 20_000);
        out.extend(segmenter.push(&AudioChunk {
            start,
            samples: piece.to_vec(),
            gap,
            own: false,
        }));
    }
    out.extend(segmenter.finish());
    assert_eq!(out.len(), 1);
    let from = samples_in(out[0].start);
    let gaps: Vec<_> = out[0]
        .gaps
        .iter()
        .map(|gap| (from + samples_in(gap.at), gap.length))
        .collect();
    assert_eq!(gaps, [(20_000, Duration::ZERO), (40_000, Duration::ZERO)]);
    assert_eq!(out[0].samples, stream[from..from + out[0].samples.len()]);
}

#[test]
fn contradictory_configurations_are_refused() {
    let good = SegmentConfig::default();
    assert!(Segmenter::new(&good).is_ok());
    for (bad, word) in [
        (
            SegmentConfig {
                max_length: seconds(0.5),
                ..good.clone()
            },
            "max_length",
        ),
        (
            SegmentConfig {
                max_length: seconds(1e6),
                ..good.clone()
            },
            "max_length",
        ),
        (
            SegmentConfig {
                pre_roll: seconds(5.0),
                ..good.clone()
            },
            "shorten",
        ),
        (
            SegmentConfig {
                end_silence: Duration::ZERO,
                ..good.clone()
            },
            "end silence",
        ),
        (
            SegmentConfig {
                vad: VadConfig {
                    enter: 0.3,
                    leave: 0.5,
                },
                ..good.clone()
            },
            "leave <= enter",
        ),
        (
            SegmentConfig {
                vad: VadConfig {
                    enter: f32::NAN,
                    leave: 0.5,
                },
                ..good
            },
            "leave <= enter",
        ),
    ] {
        let error = Segmenter::new(&bad).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn trim_finds_the_speech_of_a_file() {
    let hello = hello();
    let padded = [silence(3.0), hello.clone(), silence(2.0)].concat();
    for gain in [1.0, 0.03] {
        let samples: Vec<f32> = padded.iter().map(|x| x * gain).collect();
        let range = trim(&samples).unwrap();
        let (start, end) = (range.start as f64 / 16_000.0, range.end as f64 / 16_000.0);
        assert!(
            (2.9..3.4).contains(&start),
            "gain {gain}: begins at {start}"
        );
        assert!((5.6..6.3).contains(&end), "gain {gain}: ends at {end}");
    }
    let said = &hello[8_000..36_000];
    let range = trim(said).unwrap();
    assert!(
        range.start < 1_000 && range.end > said.len() - 4_000,
        "{range:?}: margins end with the file"
    );
    for nothing in [vec![], vec![0.0; 100], vec![0.0; 50_000], silence(4.0)] {
        assert_eq!(trim(&nothing), None);
    }
}

#[test]
fn somebody_is_heard_from_what_is_no_click_until_the_silence_behind_it() {
    let config = SegmentConfig {
        min_speech: seconds(0.5),
        max_length: seconds(2.0),
        ..SegmentConfig::default()
    };
    let mut segmenter = Segmenter::new(&config).unwrap();
    let (mut now, mut edges, mut cuts) = (Duration::ZERO, Vec::new(), Vec::new());
    let mut hear = |segmenter: &mut Segmenter, samples: &[f32]| {
        for piece in samples.chunks(160) {
            let was = segmenter.hears_somebody();
            let chunk = AudioChunk {
                start: now,
                samples: piece.to_vec(),
                gap: None,
                own: false,
            };
            now += duration_of(piece.len() as u64);
            cuts.extend(segmenter.push(&chunk));
            if segmenter.hears_somebody() != was {
                edges.push((now.as_secs_f64(), !was));
            }
        }
    };
    let hello = hello();
    let speech = &hello[8_000..36_000];
    hear(&mut segmenter, &silence(1.0));
    // over before it is an utterance
    hear(&mut segmenter, &speech[..2_400]);
    hear(&mut segmenter, &silence(1.0));
    let begun = 2.15;
    for _ in 0..3 {
        hear(&mut segmenter, speech);
    }
    hear(&mut segmenter, &silence(1.0));
    // what is interrupted is heard no more
    hear(&mut segmenter, speech);
    assert!(segmenter.hears_somebody());
    segmenter.interrupt();
    assert!(!segmenter.hears_somebody());
    assert!(cuts.len() >= 3, "{}", cuts.len());
    let [(began, true), (ended, false), (_, true)] = edges[..] else {
        panic!("{edges:?}")
    };
    let after = began - begun;
    assert!((0.5..0.9).contains(&after), "{after}");
    let after = ended - begun - 5.25;
    assert!((0.5..0.9).contains(&after), "{after}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(30)))]

    #[test]
    fn any_stream_is_taken_in_bounded_memory(
        pieces in prop::collection::vec((0usize..40_000, 0u32..3, prop::option::of(0u64..400)), 1..12),
    ) {
        let config = SegmentConfig { max_length: seconds(2.0), ..SegmentConfig::default() };
        let hello = hello();
        let mut segmenter = Segmenter::new(&config).unwrap();
        let (mut now, mut out) = (Duration::ZERO, Vec::new());
        for (length, kind, gap) in pieces {
            let samples: Vec<f32> = match kind {
                0 => vec![0.0; length],
                1 => hello.iter().copied().cycle().skip(8_000).take(length).collect(),
                _ => (0..length).map(|i| if i % 7 < 3 { 1.0 } else { -1.0 }).collect(),
            };
            let gap = gap.map(Duration::from_millis);
            let start = now + gap.unwrap_or_default();
            now = start + duration_of(length as u64);
            out.extend(segmenter.push(&AudioChunk {
                start,
                samples,
                gap,
                own: false,
            }));
        }
        out.extend(segmenter.finish());
        let mut last = Duration::ZERO;
        for utterance in out {
            // A frame may complete the utterance, so the limit is passed by less than one.
            prop_assert!(utterance.duration() <= config.max_length + duration_of(511));
            prop_assert!(utterance.start + Duration::from_millis(1) >= last, "they do not overlap");
            prop_assert!(utterance.gaps.iter().all(|gap| gap.at <= utterance.duration()));
            last = utterance.start + utterance.duration();
        }
    }
}

//! WAV in all its forms, the way recorders really write it, whole and broken.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use demeanor::capture::{
    AudioChunk, AudioReport, AudioSource, CaptureError, Channel, Source, limits, open_audio,
    open_reader,
};

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

const KINDS: [Kind; 6] = [
    Kind::U8,
    Kind::I16,
    Kind::I24,
    Kind::I32,
    Kind::F32,
    Kind::F64,
];

impl Kind {
    fn bytes(self) -> u16 {
        match self {
            Kind::U8 => 1,
            Kind::I16 => 2,
            Kind::I24 => 3,
            Kind::I32 | Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }

    /// Half a step of its scale.
    fn error(self) -> f32 {
        match self {
            Kind::U8 => 1.0 / 128.0,
            Kind::I16 => 1.0 / 32_768.0,
            _ => 1e-6,
        }
    }

    fn write(self, x: f64, out: &mut Vec<u8>) {
        let scaled = |full: f64| (x * full).round().clamp(-full, full - 1.0);
        match self {
            Kind::U8 => out.push((scaled(128.0) + 128.0) as u8),
            Kind::I16 => out.extend((scaled(32_768.0) as i16).to_le_bytes()),
            Kind::I24 => out.extend(&(scaled(8_388_608.0) as i32).to_le_bytes()[..3]),
            Kind::I32 => out.extend((scaled(2_147_483_648.0) as i32).to_le_bytes()),
            Kind::F32 => out.extend((x as f32).to_le_bytes()),
            Kind::F64 => out.extend(x.to_le_bytes()),
        }
    }

    fn tag(self) -> u16 {
        if matches!(self, Kind::F32 | Kind::F64) {
            3
        } else {
            1
        }
    }
}

fn fmt_chunk(kind: Kind, channels: u16, rate: u32, extensible: bool) -> Vec<u8> {
    let frame = kind.bytes() * channels;
    let mut fmt = Vec::new();
    fmt.extend(if extensible { 0xFFFEu16 } else { kind.tag() }.to_le_bytes());
    fmt.extend(channels.to_le_bytes());
    fmt.extend(rate.to_le_bytes());
    fmt.extend((rate * u32::from(frame)).to_le_bytes());
    fmt.extend(frame.to_le_bytes());
    fmt.extend((kind.bytes() * 8).to_le_bytes());
    if extensible {
        fmt.extend(22u16.to_le_bytes());
        fmt.extend((kind.bytes() * 8).to_le_bytes());
        fmt.extend(0u32.to_le_bytes());
        fmt.extend(kind.tag().to_le_bytes());
        fmt.extend(b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
    }
    fmt
}

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out.resize(out.len() + body.len() % 2, 0);
    out
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    let mut out = b"RIFF".to_vec();
    out.extend((body.len() as u32 + 4).to_le_bytes());
    out.extend(b"WAVE");
    out.extend(body);
    out
}

fn samples_of(kind: Kind, values: &[f64]) -> Vec<u8> {
    let mut out = Vec::new();
    for x in values {
        kind.write(*x, &mut out);
    }
    out
}

fn wav(kind: Kind, channels: u16, rate: u32, values: &[f64]) -> Vec<u8> {
    let fmt = fmt_chunk(kind, channels, rate, false);
    riff(&[
        chunk(b"fmt ", &fmt),
        chunk(b"data", &samples_of(kind, values)),
    ])
}

/// A tone of 500 Hz at a quarter of full scale, the same in every channel.
fn tone(rate: u32, channels: u16, seconds: f64) -> Vec<f64> {
    let frames = (f64::from(rate) * seconds) as usize;
    (0..frames)
        .flat_map(|i| {
            let t = i as f64 / f64::from(rate);
            let x = 0.25 * (std::f64::consts::TAU * 500.0 * t).sin();
            std::iter::repeat_n(x, usize::from(channels))
        })
        .collect()
}

type Heard = (Vec<AudioChunk>, AudioReport, Option<CaptureError>);

fn hear(bytes: Vec<u8>) -> Result<Heard, CaptureError> {
    hear_as(bytes, Some(limits::MAX_AUDIO), Channel::Best)
}

/// As a live stream when there is no limit.
fn hear_as(
    bytes: Vec<u8>,
    limit: Option<Duration>,
    channel: Channel,
) -> Result<Heard, CaptureError> {
    let mut source = open_reader(
        Box::new(Cursor::new(bytes)),
        "clip".to_owned(),
        limit,
        channel,
    )?;
    let mut chunks = Vec::new();
    let error = loop {
        match nb::block!(source.poll()) {
            Ok(Some(chunk)) => chunks.push(chunk),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(source.poll(), Ok(None)), "it stays ended");
    Ok((chunks, source.report(), error))
}

fn play(bytes: Vec<u8>) -> (Vec<f32>, AudioReport) {
    let (chunks, report, error) = hear(bytes).unwrap();
    assert!(error.is_none(), "{error:?}");
    (
        chunks.into_iter().flat_map(|chunk| chunk.samples).collect(),
        report,
    )
}

fn sentence(bytes: Vec<u8>) -> String {
    let error = match hear(bytes) {
        Err(error) => error,
        Ok((chunks, report, error)) => {
            error.unwrap_or_else(|| panic!("{} chunks, {report:?}", chunks.len()))
        }
    };
    let sentence = error.to_string();
    assert!(sentence.starts_with("clip: "), "{sentence}");
    sentence
}

fn assert_tone(samples: &[f32], seconds: f64, error: f32) {
    assert_eq!(samples.len(), (seconds * 16_000.0).ceil() as usize);
    let ideal = tone(16_000, 1, seconds);
    for (i, (x, ideal)) in samples.iter().zip(ideal).enumerate().skip(100) {
        if i + 100 < samples.len() {
            assert!(
                (x - ideal as f32).abs() < error,
                "sample {i}: {x} for {ideal}"
            );
        }
    }
}

// ---- what plays -------------------------------------------------------------------------

#[test]
fn every_kind_of_sample_plays_in_both_kinds_of_header() {
    for kind in KINDS {
        let values = tone(16_000, 1, 0.25);
        for extensible in [false, true] {
            let fmt = fmt_chunk(kind, 1, 16_000, extensible);
            let bytes = riff(&[
                chunk(b"fmt ", &fmt),
                chunk(b"data", &samples_of(kind, &values)),
            ]);
            let (samples, report) = play(bytes);
            assert_tone(&samples, 0.25, kind.error());
            assert!(
                report.warnings.is_empty() && report.clipped_fraction == 0.0,
                "{report:?}"
            );
        }
    }
}

#[test]
fn every_rate_and_channel_count_comes_out_as_16_khz_mono() {
    for (rate, channels, kind) in [
        (8_000, 1, Kind::I16),
        (8_000, 2, Kind::U8),
        (11_025, 1, Kind::I24),
        (22_050, 2, Kind::I16),
        (44_100, 2, Kind::I24),
        (48_000, 8, Kind::I32),
        (96_000, 2, Kind::F32),
        (192_000, 1, Kind::F64),
        (16_000, 32, Kind::I16),
    ] {
        let (samples, report) = play(wav(kind, channels, rate, &tone(rate, channels, 0.25)));
        assert_eq!((report.rate, report.channels), (rate, channels));
        let seconds = (f64::from(rate) * 0.25).floor() / f64::from(rate);
        // The filter's own ripple comes on top.
        assert_tone(&samples, seconds, kind.error() + 2e-4);
    }
}

#[test]
fn one_dead_channel_of_two_does_not_halve_the_voice() {
    let mut values = tone(16_000, 2, 0.25);
    for right in values.iter_mut().skip(1).step_by(2) {
        *right = 0.0;
    }
    assert_tone(&play(wav(Kind::I16, 2, 16_000, &values)).0, 0.25, 1e-4);
}

#[test]
fn chunks_follow_each_other_in_time() {
    let (chunks, report, _) = hear(wav(Kind::I16, 1, 44_100, &tone(44_100, 1, 1.0))).unwrap();
    assert!(chunks.len() > 10, "a stream, not one block");
    let mut sounded = 0;
    for chunk in &chunks {
        let due = Duration::from_nanos(sounded * 62_500);
        assert!(chunk.start.abs_diff(due) < Duration::from_nanos(2) && chunk.gap.is_none());
        sounded += chunk.samples.len() as u64;
    }
    assert_eq!(report.duration, Duration::from_secs(1));
}

#[test]
fn foreign_chunks_and_their_padding_are_stepped_over() {
    let values = tone(16_000, 1, 0.1);
    let bytes = riff(&[
        chunk(b"JUNK", &[7; 27]),
        chunk(b"bext", &[1; 602]),
        chunk(b"fmt ", &fmt_chunk(Kind::I16, 1, 16_000, false)),
        chunk(b"fact", &1600u32.to_le_bytes()),
        chunk(b"LIST", b"INFOISFT\x0e\0\0\0some program\0\0"),
        chunk(b"data", &samples_of(Kind::I16, &values)),
        chunk(b"id3 ", &[0xFF; 99]),
    ]);
    let (samples, report) = play(bytes);
    assert_tone(&samples, 0.1, 1e-4);
    assert!(
        report.warnings.is_empty(),
        "what follows the sound is no sound: {report:?}"
    );
}

/// The header with its two lengths replaced.
fn with_lengths(mut bytes: Vec<u8>, riff: u32, data: u32) -> Vec<u8> {
    bytes[4..8].copy_from_slice(&riff.to_le_bytes());
    bytes[40..44].copy_from_slice(&data.to_le_bytes());
    bytes
}

#[test]
fn headers_that_recorders_write_into_a_pipe() {
    let bytes = wav(Kind::I16, 1, 16_000, &tone(16_000, 1, 0.2));
    for (who, riff, data) in [
        ("ffmpeg", u32::MAX, u32::MAX),
        ("sox", 0x7FFF_FFFF, 0x7FFF_FFFF - 36),
        ("arecord", 0x8000_0024, 0x8000_0000),
        ("never finished", 0, 0),
        ("only begun", 36, 0),
    ] {
        let (samples, report) = play(with_lengths(bytes.clone(), riff, data));
        assert_tone(&samples, 0.2, 1e-4);
        assert!(report.warnings.is_empty(), "{who}: {report:?}");
    }
}

#[test]
fn rf64_takes_its_length_from_its_own_chunk() {
    let values = tone(16_000, 1, 0.1);
    let data = samples_of(Kind::I16, &values);
    let mut ds64 = Vec::new();
    ds64.extend(9_999_999u64.to_le_bytes());
    ds64.extend((data.len() as u64).to_le_bytes());
    ds64.extend([0; 12]);
    let mut bytes = b"RF64\xFF\xFF\xFF\xFFWAVE".to_vec();
    bytes.extend(chunk(b"ds64", &ds64));
    bytes.extend(chunk(b"fmt ", &fmt_chunk(Kind::I16, 1, 16_000, false)));
    bytes.extend(b"data\xFF\xFF\xFF\xFF");
    bytes.extend(data);
    bytes.extend(chunk(b"LIST", &[0x55; 300]));
    assert_tone(&play(bytes).0, 0.1, 1e-4);
}

#[test]
fn silence_is_sound_and_known_as_silence() {
    let (samples, report) = play(wav(Kind::I16, 2, 48_000, &vec![0.0; 96_000]));
    assert_eq!(samples.len(), 16_000);
    assert!(samples.iter().all(|x| *x == 0.0));
    assert_eq!(report.peak, 0.0);
}

#[test]
fn clipping_is_measured_and_loud_peaks_are_not_clipping() {
    let clipped: Vec<f64> = tone(16_000, 1, 1.0)
        .iter()
        .map(|x| (x * 8.0).clamp(-1.0, 1.0))
        .collect();
    for kind in KINDS {
        let (samples, report) = play(wav(kind, 1, 16_000, &clipped));
        // |2 sin| > 1 for two thirds of the time.
        assert!(
            (report.clipped_fraction - 2.0 / 3.0).abs() < 0.05,
            "{kind:?}: {report:?}"
        );
        assert!(samples.iter().all(|x| x.abs() <= 1.0));
    }
    let mut peaks = tone(16_000, 1, 1.0);
    peaks[5_000] = 1.0;
    peaks[9_000] = -1.0;
    assert_eq!(
        play(wav(Kind::I16, 1, 16_000, &peaks)).1.clipped_fraction,
        0.0
    );
}

#[test]
fn floating_point_beyond_full_scale_is_clamped_and_counted() {
    let loud: Vec<f64> = tone(16_000, 1, 0.5).iter().map(|x| x * 1e30).collect();
    let (samples, report) = play(wav(Kind::F32, 1, 16_000, &loud));
    assert!(samples.iter().all(|x| x.abs() <= 1.0));
    assert!(report.clipped_fraction > 0.9);
}

// ---- what does not ------------------------------------------------------------------------

#[test]
fn a_cut_off_recording_keeps_its_whole_frames_and_says_so() {
    let mut bytes = wav(Kind::I16, 2, 16_000, &tone(16_000, 2, 1.0));
    bytes.truncate(44 + 4 * 8_000 + 3);
    let (samples, report) = play(bytes);
    assert_tone(&samples, 0.5, 1e-4);
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    for part in ["clip: ", "after 0.500 s", "cut off"] {
        assert!(report.warnings[0].contains(part), "{}", report.warnings[0]);
    }
}

#[test]
fn a_last_odd_byte_is_left_out_and_told() {
    let fmt = fmt_chunk(Kind::I16, 1, 16_000, false);
    let mut data = samples_of(Kind::I16, &tone(16_000, 1, 0.1));
    data.push(9);
    let (samples, report) = play(riff(&[chunk(b"fmt ", &fmt), chunk(b"data", &data)]));
    assert_tone(&samples, 0.1, 1e-4);
    assert!(
        report.warnings[0].contains("last frame is incomplete"),
        "{report:?}"
    );
}

#[test]
fn no_sound_at_all_is_an_error() {
    let fmt = chunk(b"fmt ", &fmt_chunk(Kind::I16, 2, 16_000, false));
    for data in [vec![], vec![1], vec![1, 2, 3]] {
        let bytes = riff(&[fmt.clone(), chunk(b"data", &data)]);
        let cut = bytes[..44 + data.len()].to_vec();
        assert!(
            sentence(cut).contains("no complete sample"),
            "{} bytes",
            data.len()
        );
    }
    let empty_then_note = riff(&[fmt, chunk(b"data", &[]), chunk(b"LIST", &[9; 400])]);
    assert!(sentence(empty_then_note).contains("no complete sample"));
    assert!(sentence(Vec::new()).contains("no complete sample"));
}

#[test]
fn samples_that_are_no_numbers_are_refused_with_their_place() {
    for (kind, bad) in [
        (Kind::F32, f64::NAN),
        (Kind::F32, f64::INFINITY),
        (Kind::F64, f64::NEG_INFINITY),
        (Kind::F64, 1e300),
    ] {
        let mut values = tone(16_000, 2, 1.0);
        values[2 * 12_000 + 1] = bad;
        let (chunks, _, error) = hear(wav(kind, 2, 16_000, &values)).unwrap();
        assert!(
            chunks
                .iter()
                .all(|c| c.samples.iter().all(|x| x.is_finite()))
        );
        let error = error.unwrap().to_string();
        assert!(
            error.contains("at 0.750 s in channel 1 (the first is 0)"),
            "{error}"
        );
    }
}

#[test]
fn broken_and_foreign_headers_say_what_is_wrong() {
    let good = wav(Kind::I16, 1, 16_000, &tone(16_000, 1, 0.1));
    let patched = |at: usize, bytes: &[u8]| {
        let mut patched = good.clone();
        patched[at..at + bytes.len()].copy_from_slice(bytes);
        patched
    };
    for (bytes, words) in [
        (good[..30].to_vec(), "it ends before its format"),
        (
            good[..36].to_vec(),
            "it ends before the chunk with the sound",
        ),
        (patched(20, &[7, 0]), "µ-law"),
        (patched(20, &[6, 0]), "A-law"),
        (patched(20, &[0x11, 0]), "ADPCM"),
        (patched(20, &[0x34, 0x12]), "0x1234"),
        (patched(22, &[0, 0]), "0 channels"),
        (patched(22, &[33, 0]), "33 channels"),
        (patched(24, &[0; 4]), "sample rate 0 Hz"),
        (patched(24, &[0xFF; 4]), "between 4000 and 384000 Hz"),
        (patched(34, &[17, 0]), "17 bits per sample"),
        (patched(34, &[0, 0]), "0 bits per sample"),
        (patched(16, &[4, 0, 0, 0]), "shorter than 16 bytes"),
        (patched(16, &[0xFF, 0xFF, 0, 0]), "over 4 KiB"),
        (patched(36, b"date"), "it ends before"),
        (riff(&[chunk(b"data", &[0; 64])]), "before its format"),
        (
            riff(&[chunk(b"JUNK", &[0; 64])]),
            "it ends before the chunk with the sound",
        ),
        (b"RIFF\0\0\0\0AVI LIST".to_vec(), "RIFF file without sound"),
        (b"ID3\x03 an mp3 file".to_vec(), "MP3"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), "no sound file"),
        (b"R".to_vec(), "no sound file"),
    ] {
        let sentence = sentence(bytes);
        assert!(sentence.contains(words), "{sentence}");
        assert!(
            !sentence.ends_with('.') && !sentence.contains('\n'),
            "one sentence: {sentence}"
        );
    }
}

#[test]
fn a_promise_of_many_hours_is_not_believed_without_them() {
    let bytes = with_lengths(
        wav(Kind::I16, 1, 8_000, &tone(8_000, 1, 0.25)),
        1_000_000_036,
        1_000_000_000,
    );
    let (samples, report) = play(bytes.clone());
    assert_tone(&samples, 0.25, 1e-3);
    assert!(report.warnings[0].contains("cut off"), "{report:?}");
    // A file that is really as long is refused before it is decoded.
    let path = std::env::temp_dir().join(format!("demeanor-long-{}.wav", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1_000_000_044).unwrap();
    let error = open_audio(&path, Channel::Best).map(|_| ()).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(error, CaptureError::TooLong { .. }));
    assert!(
        error.to_string().contains("longer than 4.0 hours"),
        "{error}"
    );
}

// ---- headers that contradict themselves ----------------------------------------------------

#[test]
fn bits_are_believed_where_block_align_and_byte_rate_contradict_them() {
    for (kind, channels) in [
        (Kind::U8, 1),
        (Kind::I16, 1),
        (Kind::I16, 2),
        (Kind::I24, 2),
        (Kind::I32, 1),
        (Kind::F32, 2),
        (Kind::F64, 1),
    ] {
        let right = kind.bytes() * channels;
        let good = wav(kind, channels, 16_000, &tone(16_000, channels, 0.25));
        for align in [0, 1, right * 2, right * 8, kind.bytes(), 0xFFFF] {
            for byte_rate in [16_000 * u32::from(right), 16_000 * u32::from(align), 0, 1] {
                // 24 bits in four bytes exist.
                if kind == Kind::I24 && align == 4 * channels {
                    continue;
                }
                let mut bytes = good.clone();
                bytes[28..32].copy_from_slice(&byte_rate.to_le_bytes());
                bytes[32..34].copy_from_slice(&align.to_le_bytes());
                let (samples, report) = play(bytes);
                assert_tone(&samples, 0.25, kind.error() + 1e-6);
                let told = report
                    .warnings
                    .iter()
                    .any(|w| w.contains("bits are believed"));
                assert_eq!(told, align != right, "{kind:?} {align}: {report:?}");
            }
        }
    }
}

#[test]
fn twenty_four_bits_in_four_bytes_play_wherever_they_stand() {
    let values = tone(16_000, 1, 0.25);
    for shift in [0, 8] {
        let data: Vec<u8> = values
            .iter()
            .flat_map(|x| (((x * 8_388_608.0) as i32) << shift).to_le_bytes())
            .collect();
        let mut fmt = fmt_chunk(Kind::I32, 1, 16_000, false);
        fmt[14] = 24;
        let bytes = riff(&[chunk(b"fmt ", &fmt), chunk(b"data", &data)]);
        assert_tone(&play(bytes).0, 0.25, 1e-6);
    }
}

#[test]
fn extensible_headers_that_lack_their_extension_play_as_integers() {
    let values = tone(16_000, 1, 0.25);
    for keep in [16, 18, 24] {
        let mut fmt = fmt_chunk(Kind::I16, 1, 16_000, true);
        fmt.truncate(keep);
        let data = samples_of(Kind::I16, &values);
        let bytes = riff(&[chunk(b"fmt ", &fmt), chunk(b"data", &data)]);
        assert_tone(&play(bytes).0, 0.25, 1e-4);
    }
    let mut fmt = fmt_chunk(Kind::F32, 1, 16_000, true);
    fmt.truncate(18);
    let bytes = riff(&[chunk(b"fmt ", &fmt), chunk(b"data", &[0; 64])]);
    assert!(sentence(bytes).contains("does not say what its samples are"));
}

#[test]
fn chunks_of_odd_length_may_lack_their_padding_or_fill_it() {
    let data = chunk(b"data", &samples_of(Kind::I16, &tone(16_000, 1, 0.1)));
    let fmt = fmt_chunk(Kind::I16, 1, 16_000, false);
    let mut long_fmt = fmt.clone();
    long_fmt.push(0);
    for padding in [&[][..], &[0], b"x"] {
        let odd = |id: &[u8; 4], body: &[u8]| {
            let mut chunk = chunk(id, body);
            chunk.pop();
            chunk.extend(padding);
            chunk
        };
        let list = odd(b"LIST", b"INFOISFT\x05\0\0\0abcde");
        let bytes = riff(&[odd(b"fmt ", &long_fmt), list, data.clone()]);
        assert_tone(&play(bytes).0, 0.1, 1e-4);
        let own = odd(b"mine", b"abc");
        let bytes = riff(&[own, chunk(b"fmt ", &fmt), data.clone()]);
        assert_tone(&play(bytes).0, 0.1, 1e-4);
    }
}

#[test]
fn lengths_of_nothing_mean_that_nobody_knew_them() {
    let values = tone(16_000, 1, 0.1);
    let data = samples_of(Kind::I16, &values);
    let fmt = chunk(b"fmt ", &fmt_chunk(Kind::I16, 1, 16_000, false));
    for (id, short, long) in [
        (b"RF64", u32::MAX, 0),
        (b"RF64", u32::MAX, u64::MAX),
        (b"RF64", 0, 0),
        (b"BW64", u32::MAX, 0),
        (b"BW64", u32::MAX, i64::MAX as u64),
        (b"RIFF", u32::MAX, 0),
        (b"RF64", 0, data.len() as u64),
    ] {
        let mut ds64 = vec![0; 28];
        ds64[8..16].copy_from_slice(&long.to_le_bytes());
        let mut bytes = id.to_vec();
        bytes.extend(b"\xFF\xFF\xFF\xFFWAVE");
        bytes.extend(chunk(b"ds64", &ds64));
        bytes.extend(&fmt);
        bytes.extend(b"data");
        bytes.extend(short.to_le_bytes());
        bytes.extend(&data);
        let (samples, report) = play(bytes);
        assert_tone(&samples, 0.1, 1e-4);
        assert!(report.warnings.is_empty(), "{report:?}");
    }
    // The file's length was filled in and the sound's was not.
    let whole = wav(Kind::I16, 1, 16_000, &values);
    let length = whole.len() as u32 - 8;
    assert_tone(&play(with_lengths(whole, length, 0)).0, 0.1, 1e-4);
}

// ---- channels --------------------------------------------------------------------------------

#[test]
fn a_channel_can_be_chosen() {
    // A voice, its other wire, hum, and nothing.
    let voice = tone(16_000, 1, 2.0);
    let values: Vec<f64> = voice
        .iter()
        .enumerate()
        .flat_map(|(i, x)| {
            let hum = 0.05 * (i as f64 / 16_000.0 * 314.16).sin();
            [*x, -*x, hum, 0.0]
        })
        .collect();
    let bytes = wav(Kind::I16, 4, 16_000, &values);
    let play_as = |channel| {
        let (chunks, report, error) =
            hear_as(bytes.clone(), Some(limits::MAX_AUDIO), channel).unwrap();
        assert!(error.is_none(), "{error:?}");
        let samples: Vec<f32> = chunks.into_iter().flat_map(|c| c.samples).collect();
        (samples, report.warnings)
    };
    for channel in [Channel::Best, Channel::Number(0)] {
        let (samples, warnings) = play_as(channel);
        assert_tone(&samples, 2.0, 1e-4);
        assert!(warnings.is_empty(), "{warnings:?}");
    }
    let (samples, _) = play_as(Channel::Number(1));
    let inverted: Vec<f32> = samples.iter().map(|x| -x).collect();
    assert_tone(&inverted, 2.0, 1e-4);
    let (samples, _) = play_as(Channel::Number(3));
    assert!(samples.iter().all(|x| *x == 0.0));
    let error = hear_as(bytes, None, Channel::Number(4))
        .map(|_| ())
        .unwrap_err();
    let error = error.to_string();
    assert_eq!(
        error,
        "clip: it has 4 channels and no channel 4; name one of 0 to 3, or `best`"
    );
}

#[test]
fn channels_that_cancel_in_the_mean_are_told_once() {
    let values: Vec<f64> = tone(16_000, 1, 3.0)
        .iter()
        .flat_map(|x| [*x, -*x])
        .collect();
    let bytes = wav(Kind::I16, 2, 16_000, &values);
    let (chunks, report, _) = hear_as(bytes.clone(), None, Channel::Mix).unwrap();
    let loudest = chunks
        .iter()
        .flat_map(|c| &c.samples)
        .fold(0.0f32, |a, x| a.max(x.abs()));
    assert!(loudest < 1e-3, "{loudest}");
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    assert!(
        report.warnings[0].contains("cancel each other"),
        "{report:?}"
    );
    assert_tone(&play(bytes).0, 3.0, 1e-4);
}

// ---- live streams ----------------------------------------------------------------------------

#[test]
fn a_live_stream_takes_what_is_no_number_as_silence_and_goes_on() {
    let mut values = tone(16_000, 2, 10.0);
    let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
    for i in 0..10_000 {
        values[32 * i + 7] = bad[i % 4];
    }
    for kind in [Kind::F32, Kind::F64] {
        let bytes = wav(kind, 2, 16_000, &values);
        let (chunks, report, error) = hear_as(bytes.clone(), None, Channel::Number(0)).unwrap();
        assert!(error.is_none(), "{error:?}");
        assert_eq!(report.not_finite, 10_000);
        let samples: Vec<f32> = chunks.into_iter().flat_map(|c| c.samples).collect();
        // The good channel is untouched, the other has holes.
        assert_tone(&samples, 10.0, 1e-6);
        let (chunks, ..) = hear_as(bytes, None, Channel::Number(1)).unwrap();
        let samples: Vec<f32> = chunks.into_iter().flat_map(|c| c.samples).collect();
        assert!((0..10_000).all(|i| samples[16 * i + 3] == 0.0));
        assert_eq!(samples[16 * 500 + 4], values[2 * (16 * 500 + 4)] as f32);
    }
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    for (path, words) in [
        ("no/such/clip.wav", "check the path"),
        (".", "check the path"),
    ] {
        let error = open_audio(Path::new(path), Channel::Best)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(path) && error.contains(words), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_read_without_waiting_in_poll() {
    let folder = std::env::temp_dir().join(format!("demeanor-wav-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let mut source = open_audio(&path, Channel::Best).unwrap();
    let begun = Instant::now();
    assert!(
        matches!(source.poll(), Err(nb::Error::WouldBlock)),
        "nobody writes yet"
    );
    assert!(begun.elapsed() < Duration::from_millis(500));
    let header = with_lengths(
        wav(Kind::I16, 1, 16_000, &tone(16_000, 1, 0.5)),
        u32::MAX,
        u32::MAX,
    );
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, header).unwrap()
    });
    let mut heard = 0;
    while let Some(chunk) = nb::block!(source.poll()).unwrap() {
        heard += chunk.samples.len();
    }
    writer.join().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(heard, 8_000);
    assert_eq!(source.report().duration, Duration::from_millis(500));
}

#[test]
fn two_thousand_mutations_end_in_time_and_give_finite_sound() {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut played, mut refused) = (0, 0);
    for round in 0..2000 {
        let kind = KINDS[random(KINDS.len())];
        let values = tone(16_000, 2, 0.02);
        let fmt = fmt_chunk(kind, 2, 16_000, random(2) == 0);
        let mut bytes = riff(&[
            chunk(b"fmt ", &fmt),
            chunk(b"LIST", &[1; 21]),
            chunk(b"data", &samples_of(kind, &values)),
        ]);
        for _ in 0..1 + random(3) {
            // The header is where it hurts.
            let span = if random(3) == 0 {
                bytes.len()
            } else {
                bytes.len().min(100)
            };
            let at = random(span);
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = [0, 0xFF, 0x7F, 0x80][random(4)],
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let copy = bytes[at..(at + random(60)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        let one = Instant::now();
        match hear(bytes) {
            Ok((chunks, report, error)) => {
                played += usize::from(error.is_none());
                refused += usize::from(error.is_some());
                for chunk in &chunks {
                    assert!(
                        chunk
                            .samples
                            .iter()
                            .all(|x| x.is_finite() && x.abs() <= 1.0)
                    );
                }
                assert!((0.0..=1.0).contains(&report.clipped_fraction));
            }
            Err(_) => refused += 1,
        }
        assert!(
            one.elapsed() < Duration::from_secs(2),
            "round {round} took {:?}",
            one.elapsed()
        );
    }
    println!("{played} played, {refused} refused");
    assert!(played > 400 && refused > 200);
}

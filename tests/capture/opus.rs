//! Ogg/Opus: our own clip decodes to what libopus gives, and damage is told, not crashed on.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use demeanor::capture::{
    AudioChunk, AudioReport, AudioSource, CaptureError, Channel, Source, open_audio, open_reader,
};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn hello() -> Vec<u8> {
    std::fs::read(data("hello.opus")).unwrap()
}

type Heard = (Vec<AudioChunk>, AudioReport, Option<CaptureError>);

fn hear(bytes: Vec<u8>) -> Result<Heard, CaptureError> {
    hear_as(bytes, Some(Duration::from_secs(3600)))
}

/// As a live stream when there is no limit.
fn hear_as(bytes: Vec<u8>, limit: Option<Duration>) -> Result<Heard, CaptureError> {
    let mut source = open_reader(
        Box::new(Cursor::new(bytes)),
        "clip".to_owned(),
        limit,
        Channel::Best,
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

fn samples(chunks: &[AudioChunk]) -> Vec<f32> {
    chunks
        .iter()
        .flat_map(|chunk| chunk.samples.iter().copied())
        .collect()
}

fn rms(samples: &[f32]) -> f64 {
    let power: f64 = samples.iter().map(|x| f64::from(*x).powi(2)).sum();
    (power / samples.len() as f64).sqrt()
}

// ---- pages, to take the clip apart and put it together --------------------------------

/// Where each page begins and ends.
fn pages(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut pages, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        assert_eq!(&bytes[at..at + 4], b"OggS");
        let segments = usize::from(bytes[at + 26]);
        let table = &bytes[at + 27..at + 27 + segments];
        let end = at + 27 + segments + table.iter().map(|x| usize::from(*x)).sum::<usize>();
        pages.push(at..end);
        at = end;
    }
    pages
}

/// Bit by bit, unlike the table in the reader.
fn seal(page: &mut [u8]) {
    page[22..26].fill(0);
    let mut crc = 0u32;
    for byte in page.iter() {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 {
                crc << 1 ^ 0x04C1_1DB7
            } else {
                crc << 1
            };
        }
    }
    page[22..26].copy_from_slice(&crc.to_le_bytes());
}

/// One page holding whole packets of under 255 bytes.
fn page(sequence: u32, flags: u8, granule: u64, packets: &[&[u8]]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend(77u32.to_le_bytes());
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    page.push(packets.len() as u8);
    page.extend(packets.iter().map(|packet| packet.len() as u8));
    page.extend(packets.concat());
    seal(&mut page);
    page
}

/// The audio packets of the clip.
fn packets(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = vec![Vec::new()];
    for range in pages(bytes).into_iter().skip(2) {
        let page = &bytes[range];
        let segments = usize::from(page[26]);
        let mut body = &page[27 + segments..];
        for lace in &page[27..27 + segments] {
            let (piece, rest) = body.split_at(usize::from(*lace));
            packets.last_mut().unwrap().extend_from_slice(piece);
            body = rest;
            if *lace < 255 {
                packets.push(Vec::new());
            }
        }
    }
    packets.pop();
    packets
}

/// A clip of our own making: the packets, ten to a page of 20 ms packets.
fn remade(head: &[u8], packets: &[Vec<u8>], end: u64) -> Vec<Vec<u8>> {
    let mut out = vec![
        page(0, 2, 0, &[head]),
        page(1, 0, 0, &[b"OpusTags\0\0\0\0\0\0\0\0"]),
    ];
    let mut granule = 0;
    let groups: Vec<_> = packets.chunks(10).collect();
    for (i, group) in groups.iter().enumerate() {
        granule += 960 * group.len() as u64;
        let last = i + 1 == groups.len();
        let (flags, at) = if last {
            (4, end.min(granule))
        } else {
            (0, granule)
        };
        let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        out.push(page(2 + i as u32, flags, at, &group));
    }
    out
}

fn head(channels: u8, skip: u16, gain: i16) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend(skip.to_le_bytes());
    head.extend(16_000u32.to_le_bytes());
    head.extend(gain.to_le_bytes());
    head.push(0);
    head
}

// ---- what decodes -----------------------------------------------------------------------

#[test]
fn the_clip_is_what_libopus_makes_of_it() {
    let (chunks, report, error) = hear(hello()).unwrap();
    assert!(error.is_none());
    let samples = samples(&chunks);
    let text = std::fs::read_to_string(data("hello.json")).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(samples.len() as u64, reference["samples"].as_u64().unwrap());
    let expected = reference["rms"].as_array().unwrap();
    assert_eq!(samples.as_chunks::<1600>().0.len(), expected.len());
    for (i, (window, expected)) in samples
        .as_chunks::<1600>()
        .0
        .iter()
        .zip(expected)
        .enumerate()
    {
        let (ours, theirs) = (rms(window), expected.as_f64().unwrap());
        assert!(
            (ours - theirs).abs() < 2e-6,
            "100 ms number {i}: {ours} for {theirs}"
        );
    }
    assert_eq!((report.rate, report.channels), (16_000, 1));
    assert!(report.warnings.is_empty() && report.clipped_fraction == 0.0);
    let mut due = Duration::ZERO;
    for chunk in &chunks {
        assert!(chunk.start.abs_diff(due) < Duration::from_micros(1) && chunk.gap.is_none());
        due = chunk.start + Duration::from_secs_f64(chunk.samples.len() as f64 / 16_000.0);
    }
    assert!(report.duration.abs_diff(due) < Duration::from_micros(1));
}

#[test]
fn a_file_is_known_by_its_content_not_its_name() {
    let folder = std::env::temp_dir().join(format!("demeanor-opus-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("hello.wav");
    std::fs::write(&path, hello()).unwrap();
    let opened = open_audio(&path, Channel::Best)
        .map(|mut source| nb::block!(source.poll()).map(|c| c.is_some()));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(opened.unwrap().unwrap());
}

#[test]
fn the_header_counts_skip_end_and_gain() {
    let packets = packets(&hello());
    let all = hear(remade(&head(1, 0, 0), &packets, u64::MAX).concat()).unwrap();
    let all = samples(&all.0);
    assert_eq!(all.len(), packets.len() * 320);
    // 312 and 48,000 granules are 104 and 16,000 samples.
    let short = hear(remade(&head(1, 312, 0), &packets, 960 * packets.len() as u64 - 480).concat());
    let short = samples(&short.unwrap().0);
    assert_eq!(short, all[104..all.len() - 160]);
    let loud = hear(remade(&head(1, 0, 6 * 256), &packets, u64::MAX).concat()).unwrap();
    let ratio = rms(&samples(&loud.0)) / rms(&all);
    assert!(
        (ratio - 10f64.powf(6.0 / 20.0)).abs() < 1e-3,
        "6 dB of gain gave {ratio}"
    );
    let stereo = hear(remade(&head(2, 0, 0), &packets, u64::MAX).concat()).unwrap();
    assert_eq!(stereo.1.channels, 2);
    let error = samples(&stereo.0)
        .iter()
        .zip(&all)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(
        error < 1e-4,
        "a mono packet plays on both channels: {error}"
    );
}

#[test]
fn chained_streams_are_played_one_after_the_other() {
    let once = samples(&hear(hello()).unwrap().0);
    let (chunks, report, error) = hear([hello(), hello()].concat()).unwrap();
    assert!(
        error.is_none() && report.warnings.is_empty(),
        "{error:?} {report:?}"
    );
    assert_eq!(samples(&chunks), [once.clone(), once].concat());
}

/// The same pages under another serial number.
fn with_serial(bytes: &[u8], serial: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for range in pages(&bytes) {
        bytes[range.start + 14..range.start + 18].copy_from_slice(&[serial, 0, 0, 9]);
        seal(&mut bytes[range]);
    }
    bytes
}

#[test]
fn a_recording_that_was_killed_and_appended_is_heard_to_its_end() {
    let clip = hello();
    let once = samples(&hear(clip.clone()).unwrap().0);
    let ranges = pages(&clip);
    let middle = ranges.len() / 2;
    let whole_pages = clip[..ranges[middle].start].to_vec();
    let first = samples(&hear(whole_pages.clone()).unwrap().0);
    let half_a_page = clip[..ranges[middle].start + 200].to_vec();
    let half_a_header = clip[..ranges[middle].start + 9].to_vec();
    for killed in [whole_pages, half_a_page, half_a_header] {
        // Under the same serial number, and under another.
        for next in [clip.clone(), with_serial(&clip, 3)] {
            let (chunks, report, error) = hear([killed.clone(), next].concat()).unwrap();
            assert!(error.is_none(), "{error:?}");
            assert_eq!(samples(&chunks), [first.clone(), once.clone()].concat());
            let told = |words: &str| report.warnings.iter().any(|w| w.contains(words));
            assert!(told("recorder was stopped in between"), "{report:?}");
            assert!(!told("was cut off"), "{report:?}");
            let gaps: Vec<_> = chunks.iter().filter_map(|chunk| chunk.gap).collect();
            assert_eq!(gaps, [Duration::ZERO], "nobody knows for how long");
        }
    }
    // Again and again, as a radio that connects anew.
    let killed = &clip[..ranges[middle].start + 200];
    let parts: Vec<u8> = (0..20)
        .flat_map(|i| with_serial(killed_part(killed), i))
        .collect();
    let (chunks, ..) = hear_as([parts, clip].concat(), None).unwrap();
    assert_eq!(samples(&chunks).len(), 20 * first.len() + once.len());
}

/// Whole pages only.
fn killed_part(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(4).rposition(|w| w == b"OggS").unwrap();
    &bytes[..end]
}

#[test]
fn another_kind_of_stream_in_between_is_passed_over_and_told() {
    let clip = hello();
    let once = samples(&hear(clip.clone()).unwrap().0);
    let foreign = [
        page(0, 2, 0, &[b"\x01vorbis something"]),
        page(1, 0, 0, &[b"\x03vorbis comments"]),
        page(2, 4, 0, &[b"sound"]),
    ];
    let bytes = [clip.clone(), foreign.concat(), with_serial(&clip, 5)].concat();
    let (chunks, report, error) = hear(bytes).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(samples(&chunks), [once.clone(), once].concat());
    assert!(
        report.warnings[0].contains("another kind of stream"),
        "{report:?}"
    );
}

#[test]
fn of_streams_that_begin_together_the_first_of_opus_is_heard() {
    let clip = hello();
    let once = samples(&hear(clip.clone()).unwrap().0);
    let first_page = pages(&clip)[0].clone();
    let (begin, rest) = clip.split_at(first_page.end);
    let other = with_serial(&clip, 8);
    let (other_begin, other_rest) = other.split_at(first_page.end);
    let mut video = page(0, 2, 0, &[b"\x80theora something"]);
    video[14] = 99;
    seal(&mut video);
    // Behind a whole clip: a chain of a picture and two tracks, of which one is heard.
    let group = [&video[..], begin, other_begin, other_rest, rest].concat();
    let (chunks, _, error) = hear([clip.clone(), group].concat()).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(samples(&chunks), [once.clone(), once].concat());
}

#[test]
fn no_number_of_broken_pages_ends_a_live_stream() {
    let clip = hello();
    let once = samples(&hear(clip.clone()).unwrap().0);
    let mut bytes = clip.clone();
    for _ in 0..10_000 {
        bytes.extend(b"OggS\0\0no page at all, but as long as its header is");
    }
    bytes.extend(with_serial(&clip, 4));
    assert!(
        hear(bytes.clone()).unwrap().2.is_some(),
        "a file is given up"
    );
    let (chunks, _, error) = hear_as(bytes, None).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(samples(&chunks), [once.clone(), once].concat());
}

#[test]
fn other_streams_in_the_file_are_passed_over() {
    let mut bytes = hello();
    let ranges = pages(&bytes);
    let mut foreign = page(0, 2, 0, &[b"\x80theora something"]);
    foreign[14] = 99;
    seal(&mut foreign);
    bytes.splice(0..0, foreign.clone());
    let at = ranges[2].start + foreign.len();
    foreign[5] = 0;
    seal(&mut foreign);
    bytes.splice(at..at, foreign);
    let expected = samples(&hear(hello()).unwrap().0);
    assert_eq!(samples(&hear(bytes).unwrap().0), expected);
}

// ---- what is damaged --------------------------------------------------------------------

#[test]
fn a_cut_off_file_keeps_what_is_there_and_says_so() {
    let packets = packets(&hello());
    let pages = remade(&head(1, 0, 0), &packets, u64::MAX);
    let whole = samples(&hear(pages.concat()).unwrap().0);
    // In the middle of a page, and between two.
    for (cut, words) in [(pages[..7].concat(), "without a last page"), {
        let mut bytes = pages[..8].concat();
        bytes.truncate(bytes.len() - 30);
        (bytes, "in the middle of a page")
    }] {
        let (chunks, report, error) = hear(cut).unwrap();
        assert!(error.is_none());
        assert_eq!(samples(&chunks), whole[..5 * 3200]);
        assert!(
            report
                .warnings
                .iter()
                .any(|w| w.contains(words) && w.contains("1.000 s")),
            "{report:?}"
        );
    }
}

#[test]
fn a_lost_page_is_a_gap_of_its_length() {
    let packets = packets(&hello());
    let mut pages = remade(&head(1, 0, 0), &packets, u64::MAX);
    pages.remove(5);
    pages.remove(5);
    let (chunks, _, error) = hear(pages.concat()).unwrap();
    assert!(error.is_none());
    let gaps: Vec<_> = chunks
        .iter()
        .filter_map(|c| c.gap.map(|gap| (gap, c.start)))
        .collect();
    let expected = (
        Duration::from_millis(400),
        Duration::from_millis(3 * 200 + 400),
    );
    assert_eq!(gaps, [expected]);
}

#[test]
fn a_damaged_page_is_found_by_its_sum_and_passed_over() {
    let packets = packets(&hello());
    let mut pages = remade(&head(1, 0, 0), &packets, u64::MAX);
    let middle = pages[6].len() / 2;
    pages[6][middle] ^= 0x10;
    let (chunks, report, error) = hear(pages.concat()).unwrap();
    assert!(error.is_none());
    assert_eq!(
        chunks.iter().filter_map(|c| c.gap).sum::<Duration>(),
        Duration::from_millis(200)
    );
    assert!(
        report.warnings.iter().any(|w| w.contains("damaged pages")),
        "{report:?}"
    );
}

#[test]
fn damaged_packets_are_concealed_and_counted() {
    let mut packets = packets(&hello());
    let whole = packets.len() * 320;
    // A code-3 packet of no frames, and an empty one.
    packets[40] = vec![packets[40][0] | 3, 0];
    packets[41] = Vec::new();
    let (chunks, report, error) =
        hear(remade(&head(1, 0, 0), &packets, u64::MAX).concat()).unwrap();
    assert!(error.is_none());
    assert_eq!(samples(&chunks).len(), whole, "time goes on");
    assert!(
        report
            .warnings
            .iter()
            .any(|w| w.contains("2 damaged packets")),
        "{report:?}"
    );
}

#[test]
fn what_cannot_be_played_says_why() {
    let clip = hello();
    let headers = pages(&clip)[1].end;
    let sentence = |bytes: Vec<u8>| match hear(bytes) {
        Err(error) => error.to_string(),
        Ok((_, report, error)) => error.unwrap_or_else(|| panic!("{report:?}")).to_string(),
    };
    for (bytes, words) in [
        (clip[..headers].to_vec(), "no complete sample"),
        (clip[..20].to_vec(), "first Ogg page"),
        (page(0, 2, 0, &[b"\x01vorbis something"]), "holds Vorbis"),
        (page(0, 2, 0, &[b"\x7FFLAC something"]), "holds FLAC"),
        (page(0, 2, 0, &[b"OpusHead\x01\x01"]), "cut short"),
        (
            page(0, 2, 0, &[b"OpusHead\x21\x01\0\0\0\0\0\0\0\0\0"]),
            "version 33",
        ),
        (page(0, 2, 0, &[&head(6, 0, 0)]), "6 channels"),
        (page(0, 2, 0, &[&head(0, 0, 0)]), "0 channels"),
        (
            remade(&head(1, 0, 0), &vec![vec![0xFF, 0]; 30], u64::MAX).concat(),
            "not one of its Opus packets",
        ),
        (b"OggS".repeat(5000), "first Ogg page"),
    ] {
        let sentence = sentence(bytes);
        assert!(
            sentence.starts_with("clip: ") && sentence.contains(words),
            "{sentence}"
        );
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let limit = Some(Duration::from_secs(1));
    let mut source = open_reader(
        Box::new(Cursor::new(hello())),
        "clip".to_owned(),
        limit,
        Channel::Best,
    )
    .unwrap();
    let error = loop {
        match nb::block!(source.poll()) {
            Ok(chunk) => assert!(chunk.is_some(), "three seconds passed for one"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CaptureError::TooLong { .. }), "{error}");
}

#[test]
fn two_thousand_mutations_end_in_time_and_give_finite_sound() {
    // The first words are enough, and the headers are hit more often.
    let clip = remade(&head(1, 312, 0), &packets(&hello())[..50], u64::MAX).concat();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let begun = Instant::now();
    let (mut played, mut refused) = (0, 0);
    for round in 0..2000 {
        let mut bytes = clip.clone();
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            match random(5) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = random(256) as u8,
                2 => bytes.truncate(at.max(1)),
                3 => drop(bytes.drain(at..(at + 1 + random(200)).min(bytes.len()))),
                _ => {
                    let copy = bytes[at..(at + random(300)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        // Every other time the sums are set right, so that the damage reaches the decoder.
        if round % 2 == 0 {
            reseal(&mut bytes);
        }
        let one = Instant::now();
        match hear(bytes) {
            Ok((chunks, report, error)) => {
                played += usize::from(error.is_none());
                refused += usize::from(error.is_some());
                assert!(
                    samples(&chunks)
                        .iter()
                        .all(|x| x.is_finite() && x.abs() <= 1.0)
                );
                assert!(report.duration < Duration::from_secs(3700));
            }
            Err(_) => refused += 1,
        }
        assert!(
            one.elapsed() < Duration::from_secs(5),
            "round {round} took {:?}",
            one.elapsed()
        );
    }
    println!(
        "{played} played, {refused} refused in {:?}",
        begun.elapsed()
    );
    assert!(played > 200 && refused > 50);
}

/// Sets the sums of whatever still looks like pages.
fn reseal(bytes: &mut [u8]) {
    let mut at = 0;
    while at + 27 <= bytes.len() && &bytes[at..at + 4] == b"OggS" {
        let segments = usize::from(bytes[at + 26]);
        let Some(table) = bytes.get(at + 27..at + 27 + segments) else {
            return;
        };
        let end = at + 27 + segments + table.iter().map(|x| usize::from(*x)).sum::<usize>();
        let Some(page) = bytes.get_mut(at..end) else {
            return;
        };
        seal(page);
        at = end;
    }
}

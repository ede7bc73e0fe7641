//! Everything that reads sound and words of others: an answer or a sentence, never a panic,
//! a hang or more memory than there is. Ten minutes of each:
//! `DEMEANOR_FUZZ_SECONDS=600 cargo test --release --test fuzz sound:: -- --nocapture`

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::mutate;
use std::io::Cursor;
use std::time::Duration;

use demeanor::capture::text::{TextReader, TextSource, read_transcript};
use demeanor::capture::{AudioSource, CaptureError, Channel, Source, open_reader};

/// A sentence without its numbers, which differ from input to input.
fn kind(error: &CaptureError) -> String {
    let sentence = error.to_string();
    sentence.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// What came of hearing it: how much by orders of magnitude, how it was, and how it ended.
type Heard = (u32, u32, u16, usize, Option<String>);

fn hear(bytes: &[u8], limit: Option<Duration>, channel: Channel) -> Heard {
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    let mut source = match open_reader(reader, "clip".to_owned(), limit, channel) {
        Ok(source) => source,
        Err(error) => return (0, 0, 0, 0, Some(kind(&error))),
    };
    let (mut heard, mut end) = (0u64, Duration::ZERO);
    let error = loop {
        match source.poll() {
            Ok(Some(chunk)) => {
                assert!(chunk.start >= end, "time goes back");
                assert!(chunk.samples.iter().all(|x| x.abs() <= 1.0));
                heard += chunk.samples.len() as u64;
                end = chunk.start;
            }
            Ok(None) => break None,
            Err(nb::Error::WouldBlock) => {}
            Err(nb::Error::Other(error)) => break Some(kind(&error)),
        }
    };
    assert!(matches!(source.poll(), Ok(None)), "it stays ended");
    let report = source.report();
    assert!((0.0..=1.0).contains(&report.clipped_fraction));
    assert!(report.warnings.len() < 100);
    (
        heard.checked_ilog2().unwrap_or(0),
        report.rate.checked_ilog2().unwrap_or(0),
        report.channels,
        report.warnings.len(),
        error,
    )
}

/// As a file or as a live stream, through every kind of mixing; which, the input decides.
fn hear_somehow(bytes: &[u8]) -> Heard {
    match bytes.len() % 3 {
        0 => hear(bytes, Some(Duration::from_secs(600)), Channel::Best),
        1 => hear(bytes, None, Channel::Mix),
        _ => hear(bytes, None, Channel::Number(1)),
    }
}

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out.resize(out.len() + body.len() % 2, 0);
    out
}

fn wav(tag: u16, channels: u16, rate: u32, bits: u16, extensible: bool) -> Vec<u8> {
    let frame = channels * bits.div_ceil(8);
    let mut fmt = Vec::new();
    fmt.extend(if extensible { 0xFFFE } else { tag }.to_le_bytes());
    fmt.extend(channels.to_le_bytes());
    fmt.extend(rate.to_le_bytes());
    fmt.extend((rate * u32::from(frame)).to_le_bytes());
    fmt.extend(frame.to_le_bytes());
    fmt.extend(bits.to_le_bytes());
    if extensible {
        fmt.extend([22, 0, bits as u8, 0, 3, 0, 0, 0]);
        fmt.extend(tag.to_le_bytes());
        fmt.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let data: Vec<u8> = (0..u32::from(frame) * 400)
        .map(|i| (i * i / 7 % 251) as u8)
        .collect();
    let body = [
        chunk(b"ds64", &[0; 28]),
        chunk(b"fmt ", &fmt),
        chunk(b"LIST", b"INFOISFT\x05\0\0\0abcde"),
        chunk(b"data", &data),
    ]
    .concat();
    let mut out = if extensible { *b"RF64" } else { *b"RIFF" }.to_vec();
    out.extend((body.len() as u32 + 4).to_le_bytes());
    out.extend(b"WAVE");
    out.extend(body);
    out
}

#[test]
fn wav_files_and_streams() {
    let seeds = [
        wav(1, 1, 16_000, 8, false),
        wav(1, 2, 44_100, 16, false),
        wav(1, 6, 16_000, 16, true),
        wav(1, 2, 48_000, 24, true),
        wav(1, 1, 8_000, 32, false),
        wav(3, 2, 16_000, 32, true),
        wav(3, 1, 96_000, 64, false),
    ];
    mutate::run("wav", &seeds, hear_somehow);
}

fn clip() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hello.opus");
    std::fs::read(path).unwrap()
}

/// Where pages begin, as far as they can be followed.
fn pages(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut pages, mut at) = (Vec::new(), 0);
    while let Some(header) = bytes.get(at..at + 27).filter(|h| h.starts_with(b"OggS")) {
        let segments = usize::from(header[26]);
        let Some(table) = bytes.get(at + 27..at + 27 + segments) else {
            break;
        };
        let end = at + 27 + segments + table.iter().map(|x| usize::from(*x)).sum::<usize>();
        if end > bytes.len() {
            break;
        }
        pages.push(at..end);
        at = end;
    }
    pages
}

/// Sets the sums of whatever still looks like pages.
fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for range in pages(&bytes) {
        let page = &mut bytes[range];
        page[22..26].fill(0);
        let crc = page.iter().fold(0u32, |mut crc, byte| {
            crc ^= u32::from(*byte) << 24;
            for _ in 0..8 {
                crc = crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
            }
            crc
        });
        page[22..26].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

#[test]
fn ogg_pages_and_opus_packets() {
    let clip = clip();
    let ranges = pages(&clip);
    // The first pages are enough; and the same, killed and appended.
    let short = clip[..ranges[3].end].to_vec();
    let killed = clip[..ranges[2].end + 100].to_vec();
    let last = ranges.len() - 1;
    let ended = [&clip[..ranges[1].end], &clip[ranges[last].clone()]].concat();
    let seeds = [
        short.clone(),
        [killed, short.clone()].concat(),
        [ended, short].concat(),
    ];
    mutate::run("opus", &seeds, |bytes| {
        // Half of them with their sums set right, so that the damage goes deeper.
        match bytes.len() % 2 {
            0 => hear_somehow(&seal(bytes)),
            _ => hear_somehow(bytes),
        }
    });
}

fn transcripts() -> Vec<Vec<u8>> {
    let texts = [
        "one two three\nand more\n",
        "0.4 3.29 I told you\n4,29 9,02 I miss her\n",
        "[00:00:00.400 --> 00:00:03.290]   I told you\n[1.5-2] [SPEAKER_01]: no\n",
        "1\n00:00:00,400 --> 00:00:03,290\nI <i>told</i> you\ntwice\n\n2\n00:00:04,290 --> 00:00:09,020\n{\\an8}I miss her\n",
        "WEBVTT\n\nNOTE x\n\nid\n00:00.400 --> 00:03.290 align:start\n<v Ann>I told you &amp; her\n",
        "0:00:00.400,0:00:03.290\nI told you\n\n",
        "[Script Info]\n\n[Events]\nDialogue: 0,0:00:00.40,0:00:03.29,Default,,0,0,0,,I told\\Nyou\n",
        "start\tend\ttext\n400\t3290\tI told you\n",
        "start,end,speaker,text\n0.4,3.29,Ann,\"I told, \"\"you\"\"\"\n",
        "{\"start\": 0.4, \"end\": 3.29, \"text\": \"I told you\"}\n{\"partial\": \"x\"}\n",
        "{\n  \"result\" : [{\n    \"start\" : 1.0,\n    \"end\" : 2.0\n  }],\n  \"text\" : \"one\"\n}\n",
        "{\"segments\": [{\"start\": 0, \"end\": 5, \"text\": \"a\", \"words\": []}]}",
        "[{\"timestamp\": [0.4, 3.29], \"text\": \"a\"}, {\"offsets\": {\"from\": 1, \"to\": 2}, \"text\": \"b\"}]",
        "\u{1B}[2K\r\u{FEFF}words\r\n\r\n7\r\n",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let wide = texts[3].encode_utf16().flat_map(u16::to_be_bytes);
    seeds.push([0xFE, 0xFF].into_iter().chain(wide).collect());
    seeds
}

#[test]
fn transcripts_as_files() {
    mutate::run("transcript", &transcripts(), |bytes| {
        let read = read_transcript(bytes, "words");
        if let Ok(lines) = &read {
            let starts: Vec<_> = lines.iter().filter_map(|line| line.start).collect();
            assert!(starts.is_sorted());
            assert!(lines.iter().all(|line| !line.text.trim().is_empty()));
            assert!(
                lines
                    .iter()
                    .all(|line| line.end.is_none_or(|end| Some(end) >= line.start))
            );
        }
        read.map(|lines| lines.len()).map_err(|error| kind(&error))
    });
}

#[test]
fn words_as_they_come() {
    mutate::run("words", &transcripts(), |bytes| {
        // A good line at the end is heard whatever came before.
        let whole = [bytes, b"\n\nthe last words\n\n"].concat();
        let mut reader = TextReader::new(&whole[..], "words".to_owned());
        let (mut lines, mut last) = (0, String::new());
        loop {
            match reader.poll() {
                Ok(Some(line)) => {
                    lines += 1;
                    last = line.text;
                }
                Ok(None) => break,
                Err(nb::Error::WouldBlock) => {}
                Err(nb::Error::Other(error)) => panic!("{error}"),
            }
        }
        assert!(last.ends_with("the last words"), "{last:?}");
        let report = reader.report();
        let wrong: String = report
            .last
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect();
        (lines, report.skipped, report.partial, wrong)
    });
}

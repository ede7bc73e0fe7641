//! Pictures that people have, and pictures that are broken: right pixels or one sentence.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use std::fs;
use std::path::PathBuf;

use demeanor::capture::CaptureError;
use demeanor::vision::resize::{Crop, Resizer};
use demeanor::vision::{self, Picture};
use proptest::prelude::*;

/// Decoders may differ in the last bits of their transforms and in colour between samples.
const NEAR: u8 = 4;

fn folder() -> PathBuf {
    support::repo("tests/data/pictures")
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

fn four_by_four(picture: &Picture) -> Vec<u8> {
    let mut out = Vec::new();
    Resizer::new().rgb(picture, Crop::whole(picture), 4, 4, &mut out);
    out
}

fn hex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    let digits = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(|pair| digits(pair)).collect()
}

#[test]
fn every_kind_of_picture_is_read_as_pillow_reads_it() {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pictures = expected["pictures"].as_object().unwrap();
    assert!(pictures.len() >= 29);
    for (name, wanted) in pictures {
        let picture = vision::decode(&bytes(name), name).unwrap_or_else(|e| panic!("{e}"));
        let size = [picture.width(), picture.height()].map(u64::from);
        assert_eq!(
            size.map(serde_json::Value::from),
            wanted["size"].as_array().unwrap()[..]
        );
        let (got, wanted) = (
            four_by_four(&picture),
            hex(wanted["pixels"].as_str().unwrap()),
        );
        let most = got.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).max();
        println!("{name}: {most:?}");
        assert!(most.unwrap() <= NEAR, "{name}: {got:?}\n{wanted:?}");
    }
}

#[test]
fn what_is_broken_is_refused_in_a_sentence() {
    for (name, words) in [
        ("cut-header.jpg", &["cut", "again"][..]),
        ("cut-data.jpg", &["cut", "again"]),
        ("cut-end.jpg", &["cut", "again"]),
        ("cut.png", &["cut", "again"]),
        ("huge.jpg", &["20000 × 20000", "8192", "ffmpeg"]),
        ("many.jpg", &["8000 × 8000", "40 million", "ffmpeg"]),
        ("empty-size.jpg", &["0 × 32"]),
        ("broken.jpg", &["damaged"]),
        ("text.jpg", &["no picture", "JPEG and PNG", "ffmpeg"]),
    ] {
        let message = vision::decode(&bytes(name), name).unwrap_err().to_string();
        println!("{message}");
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
        for word in words {
            assert!(message.contains(word), "{message} does not say {word}");
        }
    }
}

#[test]
fn a_cut_is_told_wherever_it_is() {
    for name in ["plain.jpg", "progressive.jpg", "thumbnail.jpg"] {
        let whole = bytes(name);
        for length in 3..whole.len() {
            let error = vision::decode(&whole[..length], name).unwrap_err();
            assert!(
                matches!(error, CaptureError::PictureCut { .. }),
                "{length}: {error}"
            );
        }
    }
}

#[test]
fn a_huge_header_costs_nothing() {
    for name in ["huge.jpg", "many.jpg"] {
        let file = bytes(name);
        let counted = allocation_counter::measure(|| {
            assert!(vision::decode(&file, name).is_err());
        });
        assert!(counted.bytes_max < 4096, "{} bytes", counted.bytes_max);
    }
}

const SEEDS: [&str; 12] = [
    "plain.jpg",
    "sampled420.jpg",
    "progressive.jpg",
    "restarts.jpg",
    "grey.jpg",
    "cmyk.jpg",
    "ycck.jpg",
    "rgb-adobe.jpg",
    "no-tables.jpg",
    "turned6.jpg",
    "palette.png",
    "alpha.png",
];

/// Emulated machines are slow; they check that the outcome is the same, not the count.
const CASES: u32 = if cfg!(target_arch = "x86_64") {
    3000
} else {
    200
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// An error or a picture within the limits, never a panic.
    #[test]
    fn damage_is_survived(
        seed in prop::sample::select(&SEEDS[..]),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in prop::option::of(any::<prop::sample::Index>()),
        doubled in prop::option::of((any::<prop::sample::Index>(), 1usize..40)),
    ) {
        let mut file = bytes(seed);
        for (at, value) in hits {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some((at, length)) = doubled {
            let at = at.index(file.len());
            let part = file[at..(at + length).min(file.len())].to_vec();
            file.splice(at..at, part);
        }
        if let Some(end) = end {
            file.truncate(end.index(file.len()));
        }
        if let Ok(picture) = vision::decode(&file, seed) {
            let pixels = picture.width() as usize * picture.height() as usize;
            prop_assert_eq!(picture.rgb().len(), pixels * 3);
        }
    }
}

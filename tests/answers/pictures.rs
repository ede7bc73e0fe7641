//! Pictures that people have, and pictures that are broken: right pixels or one sentence.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::{chunks, is_emulated, jpeg};
use jpeg::Jpeg;
use std::fs;
use std::path::PathBuf;

use demeanor::vision::PictureError;
use demeanor::vision::resize::{Crop, Resizer};
use demeanor::vision::{self, Picture};
use proptest::prelude::*;

/// Decoders may differ in the last bits of their transforms and in colour between samples.
const NEAR: u8 = 4;

fn folder() -> PathBuf {
    crate::support::repo("tests/data/pictures")
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

/// A camera that never writes the two bytes of a picture's end has lost nothing.
#[test]
fn a_cut_is_told_wherever_pixels_are_missing() {
    for name in ["plain.jpg", "progressive.jpg", "thumbnail.jpg", "plain.png"] {
        let whole = bytes(name);
        let pixels = vision::decode(&whole, name).unwrap();
        let mut read = Vec::new();
        for length in 8..whole.len() {
            match vision::decode(&whole[..length], name) {
                Ok(picture) => {
                    assert_eq!(picture.rgb(), pixels.rgb(), "{name}, {length}");
                    read.push(whole.len() - length);
                }
                Err(PictureError::Cut { .. }) => {}
                Err(error) => panic!("{length}: {error}"),
            }
        }
        // JPEG: the end's marker. PNG: its last chunk, and the sums behind the last pixel.
        let most = if name.ends_with("jpg") { 4 } else { 24 };
        assert!(
            read.contains(&2) && read.iter().all(|n| *n <= most),
            "{name}: {read:?}"
        );
    }
}

/// The decoder makes wrong pixels of some samplings: these must be named, not shown.
#[test]
fn every_sampling_is_decoded_or_named() {
    let (mut read, mut named) = (0, 0);
    for (h, v) in (1..=4).flat_map(|h| (1..=4).map(move |v| (h, v))) {
        for chroma in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)] {
            for (interleaved, restart) in [(true, 0), (true, 3), (false, 0), (false, 5)] {
                let made = Jpeg {
                    interleaved,
                    restart,
                    ..Jpeg::new(150, 117, &[(h, v), chroma, chroma])
                };
                let what = format!("{h}x{v},{chroma:?} {interleaved} {restart}");
                let picture = match vision::decode(&made.bytes(), &what) {
                    Ok(picture) => picture,
                    Err(error) => {
                        assert!(matches!(error, PictureError::Unread { .. }), "{error}");
                        named += 1;
                        continue;
                    }
                };
                read += 1;
                let mut sum = 0.0;
                for (x, y) in (0..150).flat_map(|x| (0..117).map(move |y| (x, y))) {
                    let (got, wanted) = (picture.pixel(x, y).unwrap(), made.seen(x, y));
                    sum += (0..3)
                        .map(|c| (f64::from(got[c]) - wanted[c]).abs())
                        .sum::<f64>();
                }
                // blocks are flat, what is to be seen is not
                let mean = sum / (150.0 * 117.0 * 3.0);
                assert!(mean < 12.0, "{what}: off by {mean:.1}");
            }
        }
    }
    println!("{read} read, {named} named");
    assert!(read >= 40, "{read}");
    for common in [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2)] {
        let made = Jpeg::new(64, 64, &[common, (1, 1), (1, 1)]);
        vision::decode(&made.bytes(), "a").unwrap();
    }
}

/// Pixels that are the same as those of a file of ours.
fn same(file: &[u8], as_in: &str, what: &str) {
    let wanted = vision::decode(&bytes(as_in), as_in).unwrap();
    let picture = vision::decode(file, what).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(picture.rgb(), wanted.rgb(), "{what}");
}

#[test]
fn bytes_between_segments_change_nothing() {
    for name in [
        "plain.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "rgb-adobe.jpg",
        "no-tables.jpg",
    ] {
        let file = bytes(name);
        // where segments begin, the first scan's included
        let mut places = vec![2];
        while file[*places.last().unwrap() + 1] != 0xDA {
            let at = *places.last().unwrap();
            places.push(at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]])));
        }
        for litter in [
            &[0u8][..],
            &[0; 60],
            &[0xFF, 0x00],
            &[0xFF, 0xFF, 0xFF],
            &[0x20, 0xFF, 0x00, 0x13, 0xFF, 0xD3, 0x01],
            b"\r\n",
        ] {
            for at in &places {
                let littered = [&file[..*at], litter, &file[*at..]].concat();
                same(&littered, name, &format!("{name}: {litter:?} at {at}"));
            }
        }
        let fill = [
            &file[..file.len() - 2],
            &[0xFF; 9],
            &file[file.len() - 2..],
            b"trailer",
        ];
        same(&fill.concat(), name, name);
    }
    // a marker that means nothing is damage, as for libjpeg and Pillow
    let file = bytes("plain.jpg");
    let broken = [&file[..2], &[0xFF, 0x42], &file[2..]].concat();
    let error = vision::decode(&broken, "a").unwrap_err().to_string();
    assert!(error.contains("damaged at byte 4"), "{error}");
}

#[test]
fn what_is_not_read_is_not_called_damaged() {
    let plain = bytes("plain.jpg");
    let sof = jpeg::find(&plain, 0xC0).unwrap();
    let with = |at: usize, value: u8| {
        let mut file = plain.clone();
        file[sof + at] = value;
        file
    };
    let mut late = with(6, 0);
    late[sof + 5] = 0;
    let scan = late.iter().rposition(|byte| *byte == 0xFF).unwrap();
    late.splice(scan..scan, [0xFF, 0xDC, 0, 4, 0, 32]);
    let chunk = |name: &[u8; 4]| chunks::with(&bytes("plain.png"), 0, name, &[0; 4]);
    for (file, words) in [
        (
            Jpeg::new(48, 32, &[(3, 1), (1, 1), (1, 1)]).bytes(),
            "sampled 3x1,1x1,1x1",
        ),
        (
            Jpeg::new(48, 32, &[(1, 3), (1, 2), (1, 1)]).bytes(),
            "sampled 1x3,1x2,1x1",
        ),
        (Jpeg::new(48, 32, &[(1, 1), (1, 1)]).bytes(), "2 components"),
        (with(1, 0xC9), "arithmetic"),
        (with(1, 0xCA), "arithmetic"),
        (with(1, 0xC3), "lossless"),
        (with(1, 0xC5), "hierarchical"),
        (with(4, 12), "more than 8 bits"),
        (late, "height behind its pixels"),
        (chunk(b"CgBI"), "iPhone"),
        (chunk(b"ABCD"), "part ABCD"),
    ] {
        let error = vision::decode(&file, "a").unwrap_err();
        assert!(
            matches!(error, PictureError::Unread { .. }),
            "{words}: {error}"
        );
        let message = error.to_string();
        assert!(
            message.contains(words) && message.contains("save it again"),
            "{message}"
        );
    }
}

/// A TIFF structure of either byte order with an orientation of this type and count.
fn exif(little: bool, kind: u16, count: u32, orientation: u8) -> Vec<u8> {
    let short = |value: u16| match little {
        true => value.to_le_bytes(),
        false => value.to_be_bytes(),
    };
    let long = |value: u32| match little {
        true => value.to_le_bytes(),
        false => value.to_be_bytes(),
    };
    let size = match kind {
        1 => 1,
        3 => 2,
        _ => 4,
    };
    let mut value = match (kind, little) {
        (1, _) => vec![orientation],
        (3, _) => short(orientation.into()).to_vec(),
        _ => long(orientation.into()).to_vec(),
    };
    value.resize(size * count as usize, 0);
    let mut out = match little {
        true => b"II\x2A\0".to_vec(),
        false => b"MM\0\x2A".to_vec(),
    };
    out.extend(long(8));
    out.extend(short(2));
    // a name, then the orientation
    out.extend([&short(0x010F)[..], &short(2), &long(4), b"abc\0"].concat());
    out.extend([&short(0x0112)[..], &short(kind), &long(count)].concat());
    if value.len() <= 4 {
        value.resize(4, 0);
        out.extend(&value);
        out.extend(long(8));
    } else {
        out.extend(long(out.len() as u32 + 8));
        // the next directory is this one: nobody may go in circles
        out.extend(long(8));
        out.extend(&value);
    }
    out
}

#[test]
fn orientation_is_found_in_every_form_that_is_written() {
    let (plain, lossless) = (bytes("plain.jpg"), bytes("plain.png"));
    let thumbnail = [b"http://ns.adobe.com/xap/1.0/\0".as_slice(), b"<x/>"].concat();
    let xmp = b"<rdf:Description tiff:Orientation=\"6\"/>";
    let jpegs = |tiff: &[u8]| {
        let one = jpeg::with_segment(&plain, 0xE1, &[b"Exif\0\0", tiff].concat());
        // behind another APP1, and before a second Exif that has nothing to say
        let two = jpeg::with_segment(&one, 0xE1, &thumbnail);
        let three = jpeg::with_segment(&plain, 0xE1, b"Exif\0\0II\x2A\0\x08\0\0\0\0\0");
        let three = jpeg::with_segment(&three, 0xE1, &[b"Exif\0\0", tiff].concat());
        [one, two, three]
    };
    let pngs = |tiff: &[u8]| {
        let prefixed = [b"Exif\0\0", tiff].concat();
        [
            chunks::with(&lossless, 1, b"eXIf", tiff),
            chunks::with(&lossless, 2, b"eXIf", tiff),
            chunks::with(&lossless, 1, b"eXIf", &prefixed),
        ]
    };
    for little in [true, false] {
        for (kind, count) in [(3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (1, 1), (1, 9)] {
            let tiff = exif(little, kind, count, 6);
            for file in jpegs(&tiff) {
                same(&file, "turned6.jpg", &format!("type {kind} × {count}"));
            }
            for file in pngs(&tiff) {
                let picture = vision::decode(&file, "a").unwrap();
                assert_eq!(
                    (picture.width(), picture.height()),
                    (32, 48),
                    "type {kind} × {count}"
                );
            }
        }
    }
    // XMP where there is no Exif
    let packet = [b"http://ns.adobe.com/xap/1.0/\0".as_slice(), xmp].concat();
    same(
        &jpeg::with_segment(&plain, 0xE1, &packet),
        "turned6.jpg",
        "XMP",
    );
    let text = [b"XML:com.adobe.xmp\0\0\0\0\0".as_slice(), xmp].concat();
    let picture = vision::decode(&chunks::with(&lossless, 1, b"iTXt", &text), "a").unwrap();
    assert_eq!((picture.width(), picture.height()), (32, 48));
}

#[test]
fn what_nobody_reads_is_not_inflated() {
    let bomb = chunks::bomb(200_000_000);
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let plain = bytes("plain.png");
    let named = |head: &[u8]| [head, &bomb].concat();
    let all = [
        (*b"iCCP", named(b"icc\0\0")),
        (*b"zTXt", named(b"Comment\0\0")),
        (*b"iTXt", named(b"XML:com.adobe.xmp\0\x01\0\0\0")),
        (*b"tEXt", named(b"Comment\0")),
        (*b"eXIf", named(b"II\x2A\0")),
        (*b"prVt", bomb.clone()),
    ];
    let mut every = plain.clone();
    for (name, content) in &all {
        every = chunks::with(&every, 1, name, content);
    }
    // pixels behind the last one
    let mut chunks_of = chunks::chunks(&plain);
    let end = chunks_of.len() - 1;
    chunks_of.insert(end, (*b"IDAT", bomb.clone()));
    let behind = chunks::file(&chunks_of);
    for file in [every, behind] {
        let begun = std::time::Instant::now();
        let counted = allocation_counter::measure(|| same(&file, "plain.png", "bomb"));
        let most = 2 * file.len() as u64 + (1 << 20);
        assert!(counted.bytes_max < most, "{} bytes", counted.bytes_max);
        println!("{:?}", begun.elapsed());
    }
    // and in a JPEG, notes and profiles of any length are left where they are
    let note = vec![b'x'; 60_000];
    let mut long = bytes("plain.jpg");
    for marker in [0xE1, 0xE2, 0xED, 0xFE] {
        for head in [
            &b"ICC_PROFILE\0\x01\x01"[..],
            b"Photoshop 3.0\0",
            b"MPF\0",
            b"Exif\0\0",
        ] {
            long = jpeg::with_segment(&long, marker, &[head, &note].concat());
        }
    }
    same(&long, "plain.jpg", "long notes");
}

#[test]
fn every_colour_type_and_depth_is_read_interlaced_or_not() {
    let value = |x: u32, y: u32, channel: u32| (x * 11 + y * 17 + channel * 60) as u8;
    for (colour, depth, channels) in [
        (0, 8, 1),
        (0, 16, 1),
        (2, 8, 3),
        (2, 16, 3),
        (4, 8, 2),
        (4, 16, 2),
        (6, 8, 4),
        (6, 16, 4),
    ] {
        let pixel = |x, y| {
            let of = |c| [value(x, y, c), 0x5A];
            (0..channels)
                .flat_map(|c| of(c)[..usize::from(depth) / 8].to_vec())
                .collect()
        };
        for (width, height) in [(1, 1), (3, 2), (8, 8), (19, 13)] {
            for interlaced in [false, true] {
                let file = chunks::raw((width, height), (colour, depth), interlaced, pixel);
                let picture = vision::decode(&file, "a").unwrap();
                let grey = colour == 0 || colour == 4;
                for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
                    let wanted = [0, 1, 2].map(|c| value(x, y, if grey { 0 } else { c }));
                    assert_eq!(
                        picture.pixel(x, y),
                        Some(wanted),
                        "{colour} {depth} {interlaced}"
                    );
                }
            }
        }
    }
    // a colour that is to be seen through makes pixels four bytes long, and changes nothing
    let file = chunks::raw((19, 13), (2, 8), true, |x, y| vec![x as u8, y as u8, 7]);
    let plain = vision::decode(&file, "a").unwrap();
    let clear = chunks::with(&file, 1, b"tRNS", &[0, 3, 0, 3, 0, 7]);
    assert_eq!(vision::decode(&clear, "a").unwrap().rgb(), plain.rgb());
    // an animation is its first picture
    let mut moving = chunks::with(&file, 1, b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]);
    moving = chunks::with(&moving, 4, b"fcTL", &[0; 26]);
    moving = chunks::with(&moving, 5, b"fdAT", &[0; 40]);
    assert_eq!(vision::decode(&moving, "a").unwrap().rgb(), plain.rgb());
}

#[test]
fn pixels_are_all_that_a_png_needs() {
    let plain = bytes("plain.png");
    let all = chunks::chunks(&plain);
    let without_end = chunks::file(&all[..all.len() - 1]);
    same(&without_end, "plain.png", "no IEND");
    same(&without_end[..without_end.len() - 4], "plain.png", "no sum");
    same(&[&plain[..], b"trailer"].concat(), "plain.png", "trailer");
    let mut wrong = plain.clone();
    let data = wrong.len() - 20;
    wrong[data] ^= 0x55;
    let error = vision::decode(&wrong, "a").unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    let header = &plain[..8 + 25];
    let error = vision::decode(header, "a").unwrap_err().to_string();
    assert!(error.contains("cut"), "{error}");
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if is_emulated() { 200 } else { 3000 }))]

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

//! Mutated pictures, streams of them, tables, configs, manifests, vocabularies and models: an
//! answer or a sentence, never a panic, a hang or the machine's memory.
//!
//! `DEMEANOR_FUZZ_SECONDS=600 cargo test --release --test fuzz image::` takes ten minutes each.

use crate::support::{chunks, jpeg, mutate};
use demeanor::capture::Source;
use demeanor::capture::camera::FrameSource;
use demeanor::capture::images::ImageSource;
use demeanor::model::manifest::Manifest;
use demeanor::model::{OnnxFile, Runner};
use demeanor::testing::{Config, count_rows};
use demeanor::text::Tokenizer;
use demeanor::vision;
use jpeg::Jpeg;
use mutate::run;
use std::fs;
use std::path::Path;

fn picture(name: &str) -> Vec<u8> {
    fs::read(crate::support::repo("tests/data/pictures").join(name)).expect(name)
}

/// A sentence without the numbers in it, so that one fault is one outcome.
fn kind(error: impl ToString) -> String {
    let error = error.to_string();
    error.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn decoded(bytes: &[u8]) -> Result<(u32, u32), String> {
    let picture = vision::decode(bytes, "a").map_err(kind)?;
    let pixels = picture.width() as usize * picture.height() as usize;
    assert_eq!(picture.rgb().len(), 3 * pixels);
    Ok((picture.width().ilog2(), picture.height().ilog2()))
}

#[test]
fn jpeg_files() {
    let mut seeds: Vec<Vec<u8>> = [
        "plain.jpg",
        "sampled420.jpg",
        "sampled422.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "ycck.jpg",
        "rgb-adobe.jpg",
        "no-tables.jpg",
        "thumbnail.jpg",
    ]
    .map(picture)
    .to_vec();
    for sampling in [
        [(2, 2), (1, 1), (1, 1)],
        [(4, 1), (1, 1), (1, 1)],
        [(1, 2), (1, 1), (1, 1)],
    ] {
        let made = Jpeg {
            interleaved: sampling[0].0 != 2,
            restart: 2,
            ..Jpeg::new(40, 33, &sampling)
        };
        seeds.push(made.bytes());
    }
    // one that lacks its end
    let plain = picture("plain.jpg");
    seeds.push(plain[..plain.len() - 2].to_vec());
    run("jpeg", &seeds, decoded);
}

#[test]
fn exif_and_xmp_in_pictures() {
    let small = picture("one.jpg");
    let turned = picture("turned6.jpg");
    let at = jpeg::find(&turned, 0xE1).expect("Exif");
    let length = usize::from(u16::from_be_bytes([turned[at + 2], turned[at + 3]]));
    let exif = turned[at + 4..at + 2 + length].to_vec();
    let xmp = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation=\"6\"/>".to_vec();
    // the segment alone is mutated, and the picture around it stays whole
    run("exif", &[exif, xmp], |content| {
        let content = &content[..content.len().min(60_000)];
        decoded(&jpeg::with_segment(&small, 0xE1, content)).expect("notes spoil no picture");
        let tiff = content.get(6..).unwrap_or_default();
        let lossless = chunks::with(&picture("bit.png"), 1, b"eXIf", tiff);
        decoded(&lossless).expect("notes spoil no picture")
    });
}

#[test]
fn png_files() {
    let mut seeds: Vec<Vec<u8>> = [
        "plain.png",
        "grey.png",
        "palette.png",
        "alpha.png",
        "deep.png",
        "bit.png",
    ]
    .map(picture)
    .to_vec();
    let pixel = |x: u32, y: u32| vec![x as u8, y as u8, 3, 4, 5, 6, 7, 8];
    seeds.push(chunks::raw((19, 13), (6, 16), true, pixel));
    run("png", &seeds, decoded);
    // the same with sums that are right, so that more than the sums is tried
    let open: Vec<Vec<u8>> = seeds
        .iter()
        .map(|seed| {
            chunks::chunks(seed)
                .into_iter()
                .flat_map(|(n, c)| packed(n, &c))
                .collect()
        })
        .collect();
    run("png-chunks", &open, |bytes| {
        let mut rest = bytes;
        let mut all = Vec::new();
        while let Some((name, length, tail)) = unpacked(rest) {
            let (content, tail) = tail.split_at(length.min(tail.len()));
            all.push((name, content.to_vec()));
            rest = tail;
        }
        decoded(&chunks::file(&all))
    });
}

/// A chunk as name, length and content.
fn packed(name: [u8; 4], content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    [&name[..], &length, content].concat()
}

fn unpacked(bytes: &[u8]) -> Option<([u8; 4], usize, &[u8])> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    Some((*name, u16::from_be_bytes(*length).into(), rest))
}

#[test]
fn streams_of_pictures() {
    let (plain, lossless) = (picture("plain.jpg"), picture("plain.png"));
    let open = &plain[..plain.len() - 2];
    let header = b"\r\n--x\r\nContent-Type: image/jpeg\r\n\r\n";
    let seeds = [
        [&plain[..], &lossless, &plain].concat(),
        [open, open, &plain].concat(),
        [
            &header[..],
            &plain,
            header,
            open,
            header,
            &picture("thumbnail.jpg"),
        ]
        .concat(),
    ];
    let folder = crate::support::Folder::new();
    run("stream", &seeds, |bytes| {
        let path = folder.file("film.mjpg", bytes);
        let mut source = ImageSource::open(Path::new(&path)).expect("a file");
        let mut frames = 0u32;
        loop {
            match nb::block!(source.poll()) {
                Ok(Some(_)) => frames += 1,
                Ok(None) => break (frames, source.report().damaged.min(3), String::new()),
                Err(error) => {
                    break (
                        frames,
                        0,
                        kind(error)
                            .split(':')
                            .next_back()
                            .unwrap_or_default()
                            .to_owned(),
                    );
                }
            }
        }
    });
}

#[test]
fn tables() {
    let comma = "id,audio,text,label\n1,a.wav,\"so, what\",happy\n2,,x,sad\n";
    let wide: Vec<u8> = format!("\u{feff}{comma}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let seeds = [
        comma.as_bytes().to_vec(),
        comma.replace(',', ";").into_bytes(),
        format!("sep=|\n{}", comma.replace(',', "|")).into_bytes(),
        comma.replace(',', "\t").replace('\n', "\r\n").into_bytes(),
        wide,
        b"id,text,label\n1,\"a\nb\",x\n2,\"open,x\n".to_vec(),
    ];
    run("table", &seeds, |bytes| {
        count_rows(Path::new("a.csv"), bytes.to_vec())
            .map(|rows| rows.min(9))
            .map_err(kind)
    });
}

#[test]
fn configs() {
    let full = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
        [audio]\nsource = \"none\"\n[camera]\ncommand = [\"cat\"]\nformat = \"i420\"\nwidth = 64\n\
        every = 0.5\n[text]\nsource = \"stdin\"\nwait = 1.0\n[indicator]\n\
        led = { chip = \"a\", line = 17 }\n[button]\nmeans = \"consent\"\n[decision]\nsmooth = 2.0\n";
    run("config", &[full.as_bytes().to_vec()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let parsed = Config::parse(&text).map(|_| ());
        parsed.map_err(|error| {
            assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
            kind(error)
        })
    });
}

#[test]
fn manifests() {
    let seeds = ["emotion", "sentiment", "expression"].map(|task| {
        let path = crate::support::repo("models")
            .join(task)
            .join("manifest.toml");
        fs::read(path).expect("a manifest")
    });
    run("manifest", &seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        Manifest::parse(&text).map(|_| ()).map_err(kind)
    });
}

#[test]
fn vocabularies_and_words() {
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##b\n##c\nhello\n!\n\u{e9}\n\u{4e2d}\n";
    let known = Tokenizer::from_vocab(words).expect("a vocabulary");
    run("vocabulary", &[words.as_bytes().to_vec()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let tokenizer = Tokenizer::from_vocab(&text).map_err(kind)?;
        let ids = tokenizer.encode("hello abc \u{e9}!", &["a b"], 16).ids;
        Ok::<_, String>(ids.len())
    });
    let said =
        "Hello, abc! \u{e9}e\u{301} \u{4e2d}\u{6587} \u{1F600}\u{200D} a\u{0}b https://t.co/x";
    run("words", &[said.as_bytes().to_vec()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let ids = known.encode(&text, &[&text], 32).ids;
        assert!(ids.len() <= 32);
        ids.len()
    });
}

#[test]
fn models() {
    let path = crate::support::repo("tests/data/text_guided_unit.onnx");
    let seeds = [fs::read(path).expect("a model")];
    run("onnx", &seeds, |bytes| {
        let file = OnnxFile::of_bytes("a", bytes, Runner::Ours).map_err(kind)?;
        Ok::<_, String>((file.inputs().len(), file.outputs().len()))
    });
}

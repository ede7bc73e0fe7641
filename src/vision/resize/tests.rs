use super::*;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    picture: (u32, u32),
    crop: (f32, f32, f32, f32),
    size: (u32, u32),
    rgb: String,
    grey: Option<String>,
}

/// The formula of `models/recipes/references/resize.py`.
fn picture(width: u32, height: u32) -> Picture {
    let value = |x: u32, y: u32, c: u32| ((x * x * 3 + y * 29 + c * 85 + (x ^ y) * 11) / 2) as u8;
    Picture::from_fn(width, height, |x, y| [0, 1, 2].map(|c| value(x, y, c))).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    let digits = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(|pair| digits(pair)).collect()
}

/// Largest difference, and how many values differ.
fn compare(got: &[u8], wanted: &[u8]) -> (u8, usize) {
    assert_eq!(got.len(), wanted.len());
    let differences = || got.iter().zip(wanted).map(|(a, b)| a.abs_diff(*b));
    let most = differences().max().unwrap_or(0);
    (most, differences().filter(|d| *d > 0).count())
}

#[test]
fn every_crop_is_pillows_within_one() {
    let json = include_str!("../../../tests/data/resize_reference.json");
    let reference: Reference = serde_json::from_str(json).unwrap();
    assert!(reference.cases.len() >= 15);
    let (mut resizer, mut out) = (Resizer::new(), Vec::new());
    let (mut values, mut different) = (0, 0);
    for case in reference.cases {
        let (x, y, width, height) = case.crop;
        let source = picture(case.picture.0, case.picture.1);
        let crop = Crop::new(x, y, width, height).unwrap();
        resizer.rgb(&source, crop, case.size.0, case.size.1, &mut out);
        let (most, count) = compare(&out, &bytes(&case.rgb));
        assert!(most <= 1, "{crop:?} of {source:?}: {most} off");
        values += out.len();
        different += count;
        if let Some(grey) = case.grey {
            resizer.grey(&source, crop, case.size.0, case.size.1, &mut out);
            assert!(compare(&out, &bytes(&grey)).0 <= 1, "{crop:?} in grey");
        }
    }
    println!("{different} of {values} values are off by one");
    assert!(different * 10 < values, "{different} of {values}");
}

/// The module's equations in f64, columns and rows at once, not rounded.
fn exact(source: &Picture, crop: Crop, size: (u32, u32), at: (u32, u32)) -> [f64; 3] {
    let weights = |origin: f32, length: f32, side: u32, outputs: u32, output: u32| {
        let step = f64::from(length) / f64::from(outputs);
        let centre = f64::from(origin) + (f64::from(output) + 0.5) * step;
        let reach = step.max(1.0);
        let low = (f64::from(origin).floor() as i64).min(0);
        let high = ((f64::from(origin) + f64::from(length)).ceil() as i64).max(side.into());
        let all: Vec<(i64, f64)> = (low..high)
            .map(|j| (j, 1.0 - ((j as f64 + 0.5 - centre) / reach).abs()))
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        let total: f64 = all.iter().map(|(_, weight)| weight).sum();
        all.into_iter().map(move |(j, weight)| (j, weight / total))
    };
    let mut sums = [0.0; 3];
    for (y, down) in weights(crop.y, crop.height, source.height(), size.1, at.1) {
        for (x, across) in weights(crop.x, crop.width, source.width(), size.0, at.0) {
            let pixel = u32::try_from(x).ok().zip(u32::try_from(y).ok());
            let pixel = pixel.and_then(|(x, y)| source.pixel(x, y));
            for (sum, value) in sums.iter_mut().zip(pixel.unwrap_or_default()) {
                *sum += f64::from(value) * across * down;
            }
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_crop_is_the_equations(
        sides in (1u32..40, 1u32..40),
        crop in (-30f32..50.0, -30f32..50.0, 0.1f32..80.0, 0.1f32..80.0),
        size in (1u32..12, 1u32..12),
    ) {
        let source = picture(sides.0, sides.1);
        let crop = Crop::new(crop.0, crop.1, crop.2, crop.3).unwrap();
        let mut out = Vec::new();
        Resizer::new().rgb(&source, crop, size.0, size.1, &mut out);
        let (pixels, _) = out.as_chunks::<3>();
        for (number, pixel) in (0u32..).zip(pixels) {
            let at = (number % size.0, number / size.0);
            for (got, wanted) in pixel.iter().zip(exact(&source, crop, size, at)) {
                let off = (f64::from(*got) - wanted).abs();
                prop_assert!(off < 0.6, "{got} for {wanted} at {at:?}");
            }
        }
    }

    #[test]
    fn one_colour_stays_itself(
        colour in any::<[u8; 3]>(),
        sides in (1u32..300, 1u32..50),
        part in (0f32..0.5, 0f32..0.5, 0.1f32..0.5),
        size in (1u32..40, 1u32..40),
    ) {
        let source = Picture::from_fn(sides.0, sides.1, |_, _| colour).unwrap();
        let (w, h) = (sides.0 as f32, sides.1 as f32);
        let crop = Crop::new(part.0 * w, part.1 * h, part.2 * w, part.2 * h).unwrap();
        let mut out = Vec::new();
        Resizer::new().rgb(&source, crop, size.0, size.1, &mut out);
        prop_assert!(out.as_chunks::<3>().0.iter().all(|pixel| *pixel == colour));
    }
}

#[test]
fn the_whole_at_its_own_size_is_itself() {
    let source = picture(37, 23);
    let mut out = Vec::new();
    Resizer::new().rgb(&source, Crop::whole(&source), 37, 23, &mut out);
    assert_eq!(out, source.rgb());
}

#[test]
fn a_crop_elsewhere_is_black_and_no_size_is_nothing() {
    let source = picture(20, 20);
    let (mut resizer, mut out) = (Resizer::new(), vec![9; 7]);
    for (x, y) in [(-500.0, 0.0), (0.0, 30.0), (999_000.0, -999_000.0)] {
        let crop = Crop::new(x, y, 8.0, 8.0).unwrap();
        resizer.rgb(&source, crop, 4, 3, &mut out);
        assert_eq!(out, [0; 36]);
    }
    resizer.grey(&source, Crop::whole(&source), 0, 5, &mut out);
    assert!(out.is_empty());
}

#[test]
fn crops_without_sense_cannot_be_made() {
    for (x, y, width, height) in [
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 1.0, -1.0),
        (f32::NAN, 0.0, 1.0, 1.0),
        (0.0, 0.0, f32::INFINITY, 1.0),
        (2e6, 0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0, 3e38),
    ] {
        assert!(Crop::new(x, y, width, height).is_none());
    }
}

#[test]
fn nothing_is_allocated_once_warm() {
    let source = picture(320, 240);
    let crop = Crop::new(-3.5, 10.0, 200.0, 180.0).unwrap();
    let (mut resizer, mut out) = (Resizer::new(), Vec::new());
    let mut both = || {
        resizer.rgb(&source, crop, 96, 96, &mut out);
        resizer.grey(&source, Crop::whole(&source), 48, 48, &mut out);
    };
    both();
    let counted = allocation_counter::measure(both);
    assert_eq!(counted.count_total, 0);
}

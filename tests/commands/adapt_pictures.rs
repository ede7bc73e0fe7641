//! `demeanor adapt` on faces and pictures: classes of one's own, and pictures that nobody would judge.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A drawn picture as PNG.
pub(super) fn png(side: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let places = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let pixels: Vec<u8> = places.flat_map(|(x, y)| colour(x, y)).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&pixels).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

/// A drawn face that smiles or frowns.
fn face(i: u32, smiles: bool) -> Vec<u8> {
    let shift = (i % 4) as i32 - 2;
    png(64, |x, y| {
        let (x, y) = (x as i32 - 32 - shift, y as i32 - 32);
        let near = |cx: i32, cy: i32, r: i32| (x - cx).pow(2) + (y - cy).pow(2) < r * r;
        let bend = x * x / 24;
        let mouth = if smiles { 20 - bend } else { 10 + bend };
        let grain = ((x * 13 + y * 29 + i as i32 * 7).rem_euclid(12)) as u8;
        let ink = near(-11, -8, 4) || near(11, -8, 4) || x.abs() < 16 && (y - mouth).abs() < 2;
        let shade = match (ink, near(0, 0, 29)) {
            (true, _) => 35,
            (false, true) => 190,
            (false, false) => 90,
        };
        [shade + grain; 3]
    })
}

struct Adapted {
    report: Value,
    out: String,
}

fn adapt(task: &str, folder: &Folder, table: &str) -> Adapted {
    let out = folder.path("ours").display().to_string();
    let args = [
        "adapt",
        "--task",
        task,
        "--data",
        table,
        "--out",
        &out,
        "--json",
        "--threads",
        "2",
    ];
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let report = serde_json::from_str(ran.out.trim()).expect("one object");
    Adapted { report, out }
}

impl Adapted {
    fn ua(&self, task: &str, table: &str) -> Option<f64> {
        let args = [
            "eval", "--task", task, "--data", table, "--json", "--models", &self.out,
        ];
        let ran = demeanor(&args);
        let report: Value = serde_json::from_str(ran.out.trim()).expect(&ran.err);
        report["metrics"]["ua"]
            .as_f64()
            .or(report["metrics"]["macro_f1"].as_f64())
    }
}

#[test]
fn faces_teach_classes_of_ones_own() {
    let folder = Folder::new();
    let mut table = String::from("id,image,label,group\n");
    for i in 0..32 {
        let (name, smiles) = (format!("{i}.png"), i % 2 == 0);
        folder.file(&name, face(i, smiles));
        let label = if smiles { "content" } else { "cross" };
        table += &format!("{i},{name},{label},person {}\n", i / 2 % 8);
    }
    let table = folder.file("faces.csv", table);
    let adapted = adapt("expression", &folder, &table);
    assert_eq!(adapted.report["items"], 32);
    assert!(
        adapted.report["heads"][0]["after"]["ua"].as_f64() > Some(0.9),
        "{}",
        adapted.report
    );
    assert!(
        adapted.ua("expression", &table) > Some(0.9),
        "{}",
        adapted.report
    );
    // its labels are the new ones, and the gate of what is a face is there as it was
    let manifest = fs::read_to_string(Path::new(&adapted.out).join("manifest.toml")).expect("it");
    assert!(
        manifest.contains(r#"labels = ["content", "cross"]"#),
        "{manifest}"
    );
    assert!(manifest.contains(r#"kind = "gate""#), "{manifest}");
}

#[test]
fn pictures_of_one_colour_and_of_print_teach_nothing() {
    let folder = Folder::new();
    let mut table = String::from("id,image,label,group\n");
    for i in 0..24 {
        let name = format!("{i}.png");
        let shade = [40, 200][i as usize % 2];
        // lines of print on a plain ground, or nothing at all
        let lines = |x: u32, y: u32| {
            let is_ink = i / 2 % 2 == 0 && y % 8 == 3 && x % 16 < 14;
            if is_ink { [0; 3] } else { [shade; 3] }
        };
        folder.file(&name, png(96, lines));
        table += &format!(
            "{i},{name},{},{}\n",
            ["positive", "negative"][i as usize % 2],
            i / 2
        );
    }
    let table = folder.file("print.csv", table);
    let out = folder.path("ours");
    let args = ["adapt", "--task", "sentiment", "--data", &table, "--out"];
    let ran = demeanor(&[&args[..], &[out.to_str().expect("UTF-8")]].concat());
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("no row can be learnt from"), "{}", ran.err);
    assert!(!out.exists());
}

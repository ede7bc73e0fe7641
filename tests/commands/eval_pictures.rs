//! `demeanor eval` on pictures: absent modalities, broken files, votes, and items that the
//! training table already holds.

use crate::support::*;
use serde_json::{Value, json};
use std::fs;

/// A drawn picture: a bright bar below the middle of a ground of one colour.
fn picture(width: u32, height: u32, ground: [u8; 3], alpha: bool) -> Vec<u8> {
    let mut pixels = Vec::new();
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let bar = (height / 2..height * 3 / 5).contains(&y) && x > width / 4;
        pixels.extend(if bar { [250, 220, 90] } else { ground });
        pixels.extend(alpha.then_some(255));
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(if alpha {
        png::ColorType::Rgba
    } else {
        png::ColorType::Rgb
    });
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

fn eval(task: &str, args: &[&str]) -> Ran {
    let mut all = vec!["eval", "--task", task];
    all.extend(args);
    demeanor(&all)
}

fn report(task: &str, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let ran = eval(task, &all);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(ran.out.trim()).expect("one object")
}

/// Rows of every kind.
fn posts(folder: &Folder) -> String {
    folder.file("beach.png", picture(120, 80, [60, 130, 220], false));
    folder.file("night.png", picture(64, 96, [20, 20, 40], false));
    folder.file("broken.png", b"\x89PNG\r\n\x1a\n and then nothing");
    folder.file(
        "posts.csv",
        "id,image,text,label\n\
         both,beach.png,What a lovely day at the sea,positive\n\
         also,night.png,I lost my keys again http://t.co/x,Negative\n\
         picture,night.png,,neutral\n\
         words,,This is the worst,negative\n\
         links,beach.png,http://t.co/only,positive\n\
         broken,broken.png,So happy today,positive\n\
         lost,nowhere.png,So sad today,negative\n\
         nothing,,,neutral\n\
         other,beach.png,Hm,mixed\n",
    )
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("rows");
    let found = rows.iter().find(|r| r["name"] == name);
    found.unwrap_or_else(|| panic!("no row {name} in {report}"))
}

#[test]
fn what_is_missing_is_answered_by_the_head_that_can() {
    let folder = Folder::new();
    let table = posts(&folder);
    let report = report(
        "sentiment",
        &[
            "--data",
            &table,
            "--reference",
            repo("models").to_str().unwrap(),
        ],
    );
    let counts = ["n", "skipped", "failed"].map(|key| report[key].as_u64());
    assert_eq!(counts, [Some(5), Some(1), Some(3)], "{report}");
    assert_eq!(
        report["modalities"],
        json!({ "text": 1, "image": 2, "image+text": 2 })
    );
    assert_eq!(
        report["failed_reasons"],
        json!({ "unreadable": 2, "empty": 1 })
    );
    assert_eq!(report["skipped_labels"], json!({ "mixed": 1 }));
    for (name, n) in [
        ("text-only", 3),
        ("image-only", 4),
        ("late fusion", 2),
        ("equal fusion", 2),
        ("TGF", 2),
        ("MVCN (full)", 2),
    ] {
        assert_eq!(row(&report, name)["metrics"]["n"], n, "{name}");
        // the reference here is the shipped bundle itself, so it must say the same
        let beside = &row(&report, &format!("{name} (fp32)"))["metrics"];
        assert_eq!(beside, &row(&report, name)["metrics"], "{name}");
    }
    for figure in ["accuracy", "ua", "macro_f1", "weighted_f1"] {
        let ends = report["metrics"]["ci95"][figure]
            .as_array()
            .expect("interval");
        let value = report["metrics"][figure].as_f64();
        assert!(
            ends[0].as_f64() <= value && value <= ends[1].as_f64(),
            "{figure}"
        );
    }
    assert!(report["compute_ms"].as_f64().is_some_and(|ms| ms > 0.0));
}

#[test]
fn published_figures_stand_beside_ours_and_say_what_they_are() {
    let folder = Folder::new();
    let table = posts(&folder);
    let report = report("sentiment", &["--data", &table]);
    let published = &report["published"];
    assert_eq!(published["n"], 450);
    let mvcn = json!({ "name": "MVCN", "accuracy": 0.7606, "weighted_f1": 0.7455 });
    assert!(published["rows"].as_array().unwrap().contains(&mvcn));
    let ran = eval("sentiment", &["--data", &table]);
    for words in [
        "weighted F1 [95%]",
        "published, for orientation: MVSA-Single",
        "full-size models",
        "0.7606",
        "FAILED 3 rows (empty 1, unreadable 2)",
        "answers by what they rest on: image 2, text 1, image+text 2",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(ran.err.contains("broken.png") && ran.err.contains("nowhere.png"));
}

#[test]
fn items_of_the_training_table_are_counted_and_left_out() {
    let folder = Folder::new();
    let table = posts(&folder);
    // the same pixels in another file, and the same words but for link and case
    folder.file("copy.png", picture(120, 80, [60, 130, 220], true));
    let train = folder.file(
        "train.csv",
        "id,image,text,label\n\
         1,copy.png,Something else entirely,not a label\n\
         2,,i LOST my  keys again https://t.co/other,negative\n\
         3,nowhere.png,http://t.co/only,positive\n",
    );
    let report = report("sentiment", &["--data", &table, "--train", &train]);
    assert_eq!(
        report["duplicates"],
        json!({ "train": "train.csv", "text": 1, "picture": 2, "either": 3 })
    );
    assert_eq!(report["n"], 5);
    let rest = &report["without_duplicates"];
    assert_eq!((&rest["n"], &rest["metrics"]["n"]), (&json!(2), &json!(2)));
    assert_eq!(row(rest, "image-only")["metrics"]["n"], 1);
    let ran = eval("sentiment", &["--data", &table, "--train", &train]);
    let counted = "3 of 5 items recur in train.csv (1 by their words, 2 by their pixels)";
    for words in [counted, "without them"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let missing = folder.path("no.csv");
    let missing = missing.to_str().unwrap();
    eval("sentiment", &["--data", &table, "--train", missing]).is_error("no.csv");
}

#[test]
fn workers_do_not_change_the_figures() {
    let folder = Folder::new();
    let table = posts(&folder);
    let figures = |threads: &str| {
        let report = report("sentiment", &["--data", &table, "--threads", threads]);
        (report["metrics"].clone(), report["rows"].clone())
    };
    assert_eq!(figures("1"), figures("3"));
}

const VOTES: &str =
    "id,image,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF";

fn faces(folder: &Folder) -> String {
    let drawn = repo("tests/data/pictures/face.jpg");
    fs::copy(drawn, folder.path("face.jpg")).expect("a drawn face");
    folder.file("grey.png", picture(160, 120, [128; 3], false));
    folder.file(
        "faces.csv",
        format!(
            "{VOTES}\n\
             clear,face.jpg,1,8,1,0,0,0,0,0,0,0\n\
             close,face.jpg,4,5,0,0,0,1,0,0,0,0\n\
             fewer,face.jpg,4,3,3,0,0,0,0,0,0,0\n\
             tie,face.jpg,5,5,0,0,0,0,0,0,0,0\n\
             unknown,face.jpg,3,0,0,0,0,0,0,0,7,0\n\
             none,grey.png,0,0,0,0,0,0,0,0,0,10\n\
             scene,grey.png,10,0,0,0,0,0,0,0,0,0\n\
             lost,nowhere.jpg,0,10,0,0,0,0,0,0,0,0\n\
             empty,face.jpg,,,,,,,,,,\n"
        ),
    )
}

#[test]
fn worse_copies_are_lines_of_the_report() {
    let folder = Folder::new();
    let table = faces(&folder);
    let degrade = ["--data", &table, "--degrade", "dark:0.1,blur:3"];
    let degraded = report("expression", &degrade);
    for name in ["dark, x 0.1", "blurred, 3 px"] {
        assert_eq!(
            row(&degraded, name)["metrics"]["n"],
            degraded["n"],
            "{name}"
        );
    }
    // the items themselves are judged as ever
    let plain = report("expression", &["--data", &table]);
    assert_eq!(plain["metrics"], degraded["metrics"]);
    eval("expression", &["--data", &table, "--degrade", "snr:0"]).is_error("--noise");
    let sample = repo("tests/data/sample.wav");
    let sample = sample.to_str().unwrap();
    let noise = ["--data", &table, "--degrade", "snr:0", "--noise", sample];
    eval("expression", &noise).is_error("--degrade snr does nothing");
}

#[test]
fn the_majority_of_all_ten_votes_counts() {
    let folder = Folder::new();
    let table = faces(&folder);
    let report = report("expression", &["--data", &table]);
    let counts = ["n", "skipped", "failed"].map(|key| report[key].as_u64());
    assert_eq!(counts, [Some(4), Some(4), Some(1)], "{report}");
    assert_eq!(
        report["skipped_labels"],
        json!({ "NF": 1, "no label and no votes": 1, "no majority": 1, "unknown": 1 })
    );
    // clear, close (its single vote is dropped: 5 of 9) and scene
    let clear = row(&report, "over half of the taggers agree");
    assert_eq!(clear["metrics"]["n"], 3, "{report}");
    let (cross, own) = (
        report["metrics"]["cross_entropy"].as_f64(),
        report["metrics"]["vote_entropy"].as_f64(),
    );
    assert!(own > Some(0.1) && cross >= own, "{cross:?} {own:?}");
    assert_eq!(report["modalities"], json!({ "face": 4 }));
}

#[test]
fn pictures_without_a_face_are_counted_when_faces_are_looked_for() {
    let folder = Folder::new();
    let table = faces(&folder);
    let report = report("expression", &["--data", &table, "--detect"]);
    assert_eq!(report["n"], 3, "{report}");
    assert_eq!(
        report["failed_reasons"],
        json!({ "no face": 1, "unreadable": 1 })
    );
    let ran = eval("expression", &["--data", &table, "--detect"]);
    assert!(ran.out.contains("no face 1"), "{}", ran.out);
    assert!(ran.err.contains("scene: no face was found"), "{}", ran.err);
}

#[test]
fn labels_do_instead_of_votes_and_may_be_renamed() {
    let folder = Folder::new();
    faces(&folder);
    let table = folder.file(
        "named.csv",
        "id,image,label\n1,face.jpg,joy\n2,face.jpg,Neutral\n3,face.jpg,bored\n",
    );
    let report = report("expression", &["--data", &table, "--map", "joy=happiness"]);
    assert_eq!((&report["n"], &report["skipped"]), (&json!(2), &json!(1)));
    assert!(report["metrics"]["cross_entropy"].is_null());
    let truths: Vec<u64> = report["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            row.as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_u64)
                .sum()
        })
        .collect();
    assert_eq!(truths, [1, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn tables_and_options_that_do_not_fit_are_explained() {
    let folder = Folder::new();
    let no_input = folder.file("a.csv", "id,label\n1,positive\n");
    eval("sentiment", &["--data", &no_input]).is_error("`image` nor `text`");
    let no_label = folder.file("b.csv", "id,image,text\n1,a.png,hello\n");
    eval("sentiment", &["--data", &no_label]).is_error("`label`");
    let no_image = folder.file("c.csv", "id,label\n1,happiness\n");
    eval("expression", &["--data", &no_image]).is_error("`image`");
    let nine = folder.file("d.csv", VOTES.replace(",NF", ""));
    eval("expression", &["--data", &nine]).is_error("`NF` is missing");
    let words = folder.file("e.csv", "id,text,label\n1,hello,sad\n");
    eval("emotion", &["--data", &words, "--train", &words]).is_error("--train");
    eval("emotion", &["--data", &words, "--detect"]).is_error("--detect");
    eval("sentiment", &["--data", &words, "--no-history"]).is_error("--no-history");
    let emotion = repo("models/emotion");
    let other = ["--data", &words, "--models", emotion.to_str().unwrap()];
    eval("sentiment", &other).is_error("no bundle answers `sentiment`");
    let votes = format!("{VOTES}\n1,a.jpg,many,0,0,0,0,0,0,0,0,0\n");
    let ran = eval("expression", &["--data", &folder.file("f.csv", votes)]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.out.contains("votes that are no numbers"), "{}", ran.out);
}

//! `demeanor eval`: the documented object, honest counting, absent modalities.

use crate::support::*;
use serde_json::Value;
use std::fs;

/// A table beside the sample's two halves, with a row of every kind.
fn table(folder: &Folder) -> String {
    let samples = sample();
    let middle = samples.len() * 2 / 5;
    folder.file("first.wav", wav_i16(16_000, 1, &samples[..middle]));
    folder.file(
        "second.wav",
        wav_f32(16_000, 2, &stereo(&samples[middle..])),
    );
    folder.file(
        "table.csv",
        "id,audio,text,label,speaker,history\n\
         both,first.wav,\"I told you twice, stop it!\",Angry,one,\"[\"\"Hello.\"\", \"\"Stop it.\"\"]\"\n\
         voice,second.wav,,sad,one,\n\
         words,,This is wonderful,joy,two,I won | we won\n\
         calm,second.wav,The house is empty.,calm,two,\n\
         other,first.wav,What?,disgust,two,\n\
         lost,nowhere.wav,,sad,two,\n\
         nothing,,,sad,two,\n",
    )
}

fn eval(args: &[&str]) -> Ran {
    let mut all = vec!["eval", "--task", "emotion"];
    all.extend(args);
    demeanor(&all)
}

#[test]
fn the_object_is_as_documented() {
    let folder = Folder::new();
    let table = table(&folder);
    let ran = eval(&[
        "--data",
        &table,
        "--json",
        "--map",
        "calm=neutral,joy=happy",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(ran.out.trim()).expect("one object");
    assert_eq!(
        (report["task"].as_str(), report["data"].as_str()),
        (Some("emotion"), Some("table.csv"))
    );
    assert_eq!(
        (
            report["n"].as_u64(),
            report["skipped"].as_u64(),
            report["failed"].as_u64()
        ),
        (Some(4), Some(1), Some(2))
    );
    assert_eq!(
        report["labels"],
        serde_json::json!(["angry", "happy", "sad", "neutral"])
    );
    for figure in ["accuracy", "ua", "macro_f1", "weighted_f1", "ece"] {
        assert!(
            report["metrics"][figure]
                .as_f64()
                .is_some_and(|v| (0.0..=1.0).contains(&v)),
            "{figure}"
        );
    }
    for figure in ["accuracy", "ua", "macro_f1", "weighted_f1"] {
        let ends = report["metrics"]["ci95"][figure].as_array().expect(figure);
        let value = report["metrics"][figure].as_f64();
        assert!(
            ends[0].as_f64() <= value && value <= ends[1].as_f64(),
            "{figure}"
        );
    }
    let total: u64 = report["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r.as_array().unwrap())
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(total, 4);
    assert_eq!(
        report["modalities"],
        serde_json::json!({ "speech+text": 2, "speech": 1, "text": 1 })
    );
    assert_eq!(report["speakers"].as_object().map(|s| s.len()), Some(2));
}

#[test]
fn every_row_of_the_papers_tables_is_there() {
    let folder = Folder::new();
    let table = table(&folder);
    let ran = eval(&[
        "--data",
        &table,
        "--json",
        "--map",
        "calm=neutral,joy=happy",
        "--reference",
        repo("models").to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_str(ran.out.trim()).expect("one object");
    let rows = report["rows"].as_array().unwrap();
    let n = |name: &str| {
        rows.iter()
            .find(|r| r["name"] == name)
            .and_then(|r| r["metrics"]["n"].as_u64())
    };
    for (name, count) in [
        ("text-only", 3),
        ("speech-only", 3),
        ("score fusion", 2),
        ("A_r only", 2),
        ("A_l only", 2),
        ("attention constraint", 2),
    ] {
        assert_eq!(n(name), Some(count), "{name}: {}", ran.out);
        // the reference here is the shipped bundle itself, so it must say the same
        assert_eq!(n(&format!("{name} (fp32)")), Some(count), "{name}");
    }
}

#[test]
fn a_person_reads_a_table_with_what_was_left_out() {
    let folder = Folder::new();
    let table = table(&folder);
    let ran = eval(&["--data", &table]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for words in [
        "n = 2",
        "skipped 3 rows",
        "\"disgust\" 1",
        "FAILED 2 rows",
        "true \\ said",
        "UA by speaker",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(ran.err.contains("nowhere.wav"), "{}", ran.err);
}

#[test]
fn workers_do_not_change_the_figures() {
    let folder = Folder::new();
    let table = table(&folder);
    let figures = |threads: &str| {
        let ran = eval(&["--data", &table, "--json", "--threads", threads]);
        let report: Value = serde_json::from_str(ran.out.trim()).expect("one object");
        (report["metrics"].clone(), report["confusion"].clone())
    };
    assert_eq!(figures("1"), figures("3"));
}

#[test]
fn ogg_opus_is_read() {
    let folder = Folder::new();
    fs::copy(repo("tests/data/hello.opus"), folder.path("hello.opus")).unwrap();
    let table = folder.file("t.csv", "id,audio,text,label\n1,hello.opus,,neutral\n");
    let ran = eval(&["--data", &table, "--json"]);
    let report: Value = serde_json::from_str(ran.out.trim()).expect(&ran.err);
    assert_eq!(
        (
            report["n"].as_u64(),
            report["modalities"]["speech"].as_u64()
        ),
        (Some(1), Some(1))
    );
}

#[test]
fn tables_of_every_spreadsheet_are_read() {
    let folder = Folder::new();
    let table = "id,audio,text,label\n1,,\"I am happy, so happy\",happy\n2,,I am sad,sad\n";
    let semicolons = "\u{feff}id;audio;text;label\r\n1;;I am happy, so happy;happy\r\n2;;I am sad;sad\r\n;;;\r\n";
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let report = |name: &str, bytes: &[u8]| {
        let ran = eval(&["--data", &folder.file(name, bytes), "--json"]);
        let report: Value = serde_json::from_str(ran.out.trim()).expect(&ran.err);
        (report["n"].clone(), report["metrics"].clone(), ran.err)
    };
    let wanted = report("comma.csv", table.as_bytes());
    assert_eq!(wanted.0, 2);
    for (name, bytes) in [
        ("semicolons.csv", semicolons.as_bytes().to_vec()),
        (
            "said.csv",
            format!("sep=;\r\n{}", &semicolons[3..]).into_bytes(),
        ),
        ("tabs.tsv", semicolons.replace(';', "\t").into_bytes()),
        ("unicode.txt", wide(&semicolons.replace(';', "\t"))),
        ("unmarked.csv", wide(&semicolons[3..])),
    ] {
        assert_eq!(report(name, &bytes), wanted, "{name}");
    }
}

#[test]
fn no_row_of_a_table_is_lost_without_a_word() {
    let folder = Folder::new();
    let head = "id,text,label\n1,I am happy,happy\n";
    let surplus = folder.file("a.csv", format!("{head}2,so, so,sad\n3,short\n"));
    let ran = eval(&["--data", &surplus]);
    assert!(
        ran.out.contains("\"more cells than columns\" 1"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("line 4 has fewer cells"), "{}", ran.err);
    let swallowed = folder.file(
        "b.csv",
        format!("{head}2,\"so,sad\n3,well,sad\n4,\"no\",sad\n"),
    );
    let ran = eval(&["--data", &swallowed]);
    assert!(
        ran.err
            .contains("line 3 has a cell that holds what looks like rows"),
        "{}",
        ran.err
    );
    let open = folder.file("c.csv", format!("{head}2,\"so,sad\n3,well,sad\n"));
    eval(&["--data", &open]).is_error("line 3 is never closed");
    let workbook = folder.file("d.xlsx", b"PK\x03\x04\x14\0\x06\0\x08\0");
    eval(&["--data", &workbook]).is_error("workbook");
    let other = folder.file("e.csv", "id;words;mood\n1;a;b\n");
    eval(&["--data", &other]).is_error("it names `id`, `words`, `mood`, parted by semicolons");
}

#[test]
fn a_table_that_is_none_is_explained() {
    let folder = Folder::new();
    let missing = folder.path("no.csv");
    eval(&["--data", missing.to_str().unwrap()]).is_error("no.csv");
    let no_label = folder.file("a.csv", "id,audio,text\n1,a.wav,hello\n");
    eval(&["--data", &no_label]).is_error("`label`");
    let no_input = folder.file("b.csv", "id,label\n1,sad\n");
    eval(&["--data", &no_input]).is_error("`audio` nor `text`");
    let binary = folder.file("c.csv", b"id,text,label\n1,\xff\xfe,sad\n");
    eval(&["--data", &binary]).is_error("UTF-8");
    let none = folder.file("d.csv", "id,text,label\n1,hello,disgust\n");
    let ran = eval(&["--data", &none]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.out.contains("nothing to judge"), "{}", ran.out);
}

#[test]
fn noise_is_mixed_in_and_has_a_line() {
    let folder = Folder::new();
    let table = table(&folder);
    let hello = repo("tests/data/hello.opus");
    let noise = ["--noise", hello.to_str().expect("UTF-8")];
    let args = ["--data", &table, "--json", "--degrade", "snr:20,snr:-10"];
    let ran = eval(&[&args[..], &noise[..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(ran.out.trim()).expect("one object");
    let voices = |name: &str| {
        let rows = report["rows"].as_array().expect("rows").iter();
        let row = rows.clone().find(|r| r["name"] == name);
        row.map(|r| r["metrics"]["n"].as_u64().expect("a number"))
    };
    // items without a voice have no worse copy
    assert_eq!(voices("noise at 20 dB"), voices("speech-only"));
    assert_eq!(voices("noise at -10 dB"), voices("speech-only"));
    eval(&["--data", &table, "--degrade", "dark:0.5"]).is_error("does nothing");
    let silent = folder.file("silent.wav", wav_i16(16_000, 1, &[0.0; 32_000]));
    let args = ["--data", &table, "--degrade", "snr:0", "--noise", &silent];
    eval(&args).is_error("silent");
}

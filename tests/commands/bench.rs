//! `bench`: two files beside each other, and instruction counts that are called so.

use crate::support::*;
use serde_json::{Value, json};

/// An output of `bench --json` in which nothing but the medians matters.
fn saved(folder: &Folder, name: &str, unit: &str, medians: &[(&str, u64)]) -> String {
    let key = format!("median_{unit}");
    let of = |(name, median): &(&str, u64)| json!({"name": name, key.as_str(): median});
    let models: Vec<Value> = medians.iter().map(of).collect();
    let report = json!({"unit": unit, "level": "neon", "threads": 1, "models": models});
    folder.file(name, report.to_string())
}

#[test]
fn two_files_are_compared_without_measuring() {
    let folder = Folder::new();
    let before = [("text", 4_000_000), ("speech", 2_000_000), ("gone", 1)];
    let after = [
        ("speech", 3_000_000),
        ("text", 1_000_000),
        ("new", 5_000_000),
    ];
    let before = saved(&folder, "a.json", "ns", &before);
    let after = saved(&folder, "b.json", "ns", &after);
    let ran = demeanor(&["bench", "--compare", &before, &after, "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let models = &ran.reports()[0]["models"];
    let ratios: Vec<(&str, Option<f64>)> = (0..4)
        .map(|i| {
            (
                models[i]["name"].as_str().expect("a name"),
                models[i]["ratio"].as_f64(),
            )
        })
        .collect();
    let expected = [
        ("text", Some(0.25)),
        ("speech", Some(1.5)),
        ("gone", None),
        ("new", None),
    ];
    assert_eq!(ratios, expected);
    let ran = demeanor(&["bench", "--compare", &before, &after]);
    let line = ran
        .out
        .lines()
        .find(|l| l.starts_with("text"))
        .expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        ["text", "4.000", "1.000", "0.25x", "the", "time", "before"]
    );
}

#[test]
fn times_are_not_compared_with_instructions() {
    let folder = Folder::new();
    let times = saved(&folder, "a.json", "ns", &[("text", 4)]);
    let counts = saved(&folder, "b.json", "instructions", &[("text", 4)]);
    demeanor(&["bench", "--compare", &times, &counts]).is_error("it counts instructions");
    demeanor(&["bench", "--compare", &counts]).is_error("it counts instructions");
    demeanor(&["bench", "--compare", &times, "--instructions"]).is_error("it counts ns");
    let broken = folder.file("c.json", "{}");
    demeanor(&["bench", "--compare", &times, &broken]).is_error("holds no models");
    demeanor(&["bench", "--compare", &times, "/nowhere.json"]).is_error("/nowhere.json");
}

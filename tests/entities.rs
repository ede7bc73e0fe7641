//! Names in words, from the shape of a word to the event, the page and the evaluation.

mod support;

use demeanor::{Observation, Session, SessionOptions};
use serde_json::{Value, json};
use support::*;

/// The `models` option of a bundle that knows a few names.
fn models(folder: &Folder) -> String {
    let dir = entities::bundle(folder.path("toy"));
    dir.to_str().expect("UTF-8").to_owned()
}

fn analyze(models: &str, text: &str) -> Value {
    let args = [
        "analyze", "--text", text, "--task", "entities", "--json", "--models", models,
    ];
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.events()[0].clone()
}

/// `text` and `type` of what was found; offsets must point at the text.
fn found(event: &Value, words: &str) -> Vec<(String, String)> {
    let characters: Vec<char> = words.chars().collect();
    let entities = event["entities"].as_array().expect("a list").iter();
    let entity = |e: &Value| {
        let at = |name: &str| e[name].as_u64().expect("a number") as usize;
        let text: String = characters[at("start")..at("end")].iter().collect();
        assert_eq!(e["text"], json!(text));
        (text, e["type"].as_str().expect("a type").to_owned())
    };
    entities.map(entity).collect()
}

#[test]
fn names_are_found_with_their_characters_whatever_stands_before_them() {
    let folder = Folder::new();
    let models = models(&folder);
    let pair = |text: &str, kind: &str| (text.to_owned(), kind.to_owned());
    for before in [
        "",
        "😀👨‍👩‍👧‍👦 ",
        "שלום עולם ",
        "e\u{301}l\u{301} ",
        "http://t.co/abc ",
        "\u{3000}\t ",
    ] {
        let words = format!("{before}Kevin Durant's in Paris, @KD Oracle Arena");
        let event = analyze(&models, &words);
        let wanted = [
            pair("Kevin Durant", "PER"),
            pair("Paris", "LOC"),
            pair("@KD", "PER"),
            pair("Oracle Arena", "LOC"),
        ];
        assert_eq!(found(&event, &words), wanted, "{words:?}");
        assert_eq!(event["label"], "PER+LOC");
    }
}

#[test]
fn what_is_no_name_is_an_answer() {
    let folder = Folder::new();
    let models = models(&folder);
    // the same words without a capital
    let event = analyze(&models, "kevin durant in paris");
    assert_eq!(
        (&event["label"], &event["entities"]),
        (&json!("none"), &json!([]))
    );
    let event = analyze(&models, "in in in");
    assert_eq!(event["label"], "none");
}

#[test]
fn a_picture_may_tell_what_words_leave_open() {
    let folder = Folder::new();
    let models = models(&folder);
    let mut session = Session::open(SessionOptions {
        models: Some(models.into()),
        every_head: true,
        tasks: demeanor::Tasks::parse("entities").ok(),
        ..SessionOptions::default()
    })
    .expect("opened");
    let words = Observation::of_words("chat", "Sox in Paris");
    let alone = session.observe(&words).expect("answered").remove(0);
    assert_eq!(alone.label, "LOC");
    assert!(
        alone.notes.iter().any(|n| n.contains("no image")),
        "{:?}",
        alone.notes
    );
    let seen = ["ball".to_owned(), "unheard-of".to_owned()];
    let beside = session
        .observe(&words.with_seen(&seen))
        .expect("answered")
        .remove(0);
    assert_eq!(beside.label, "LOC+OTHER");
    assert_eq!(beside.modality.name(), "image+text");
    let heads: Vec<usize> = beside
        .evidence
        .entities
        .iter()
        .map(|(_, e)| e.len())
        .collect();
    assert_eq!(heads, [1, 2]);
    // nobody said that the words may be told
    let entities = beside.entities.unwrap_or_default();
    assert!(entities.iter().all(|e| e.text.is_none()), "{entities:?}");
    assert_eq!((entities[0].start, entities[0].end), (0, 3));
}

#[test]
fn people_see_the_names_and_the_page_underlines_them() {
    let folder = Folder::new();
    let models = models(&folder);
    let page = folder.path("page.html");
    let page = page.to_str().expect("UTF-8");
    let picture = repo("tests/data/pictures");
    let picture = std::fs::read_dir(picture).expect("pictures").flatten();
    let picture = picture
        .map(|f| f.path())
        .find(|p| p.extension().is_some_and(|e| e == "jpg" || e == "png"));
    let picture = picture.expect("a picture");
    let words = "Kevin Durant in <Paris>";
    let ran = demeanor(&[
        "analyze",
        picture.to_str().expect("UTF-8"),
        "--text",
        words,
        "--models",
        &models,
        "--annotate",
        page,
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for part in [
        "PER   Kevin Durant  (characters 0-12, 0.",
        "LOC   Paris  (characters 17-22, 0.",
    ] {
        assert!(ran.out.contains(part), "{}", ran.out);
    }
    let html = std::fs::read_to_string(page).expect("a page");
    for part in [
        "<mark style=\"--hue:",
        "title=\"PER 0.",
        ">Kevin Durant</mark> in &lt;<mark",
        ">Paris</mark>&gt;",
    ] {
        assert!(html.contains(part), "{part} is not in the page");
    }
}

const CONLL: &str = "\u{feff}IMGID:7\nKevin\tB-PER\nDurant\tI-PER\nin\tO\nParis\tB-LOC\n\n\
    IMGID:8\nSox\tB-MISC\nin\tO\nOracle\tI-LOC\nArena\tI-LOC\n\n\
    IMGID:9\nParis\tB-LOC\nNBA\n\n\
    IMGID:10\nParis\tB-planet\n\n\
    IMGID:11\n😀\tO\n😀😀\tO\n";

fn eval(models: &str, data: &str, more: &[&str]) -> Value {
    let mut args = vec![
        "eval", "--task", "entities", "--json", "--models", models, "--data",
    ];
    args.push(data);
    args.extend(more);
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.reports()[0].clone()
}

#[test]
fn conll_is_measured_and_what_is_wrong_with_it_is_told() {
    let folder = Folder::new();
    let models = models(&folder);
    let data = folder.file("test.txt", CONLL);
    let report = eval(&models, &data, &[]);
    // four names, of which all but Sox are found
    let metrics = &report["metrics"];
    assert_eq!(
        (&report["n"], &metrics["precision"]),
        (&json!(3), &json!(1.0))
    );
    assert_eq!(
        (&metrics["recall"], &metrics["f1"]),
        (&json!(0.75), &json!(0.8571))
    );
    assert_eq!(report["types"]["OTHER"]["recall"], 0.0);
    assert_eq!(report["skipped"], 2);
    let skipped = report["skipped_reasons"].to_string();
    for part in ["line 15 has no tag", "`planet`", "line 18"] {
        assert!(skipped.contains(part), "{skipped}");
    }
    assert!(
        report["notes"].to_string().contains("line 10"),
        "{}",
        report["notes"]
    );
    assert_eq!(report["published"]["rows"][0]["f1"], 0.6857);
    // a picture word for Sox, and one that the bundle does not know
    let words = folder.file(
        "words.csv",
        "set,imgid,caption_blip2\nx,8,a ball in the flurry\n",
    );
    let report = eval(&models, &data, &["--picture-words", &words]);
    assert_eq!(report["metrics"]["recall"], 1.0);
    assert_eq!(
        report["picture_words"],
        json!({"looked_up": 2, "unknown": 1, "tweets": 1})
    );
    let rows: Vec<&Value> = report["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(rows, ["text-only", "mner-qg"]);
}

#[test]
fn a_table_is_measured_and_bad_rows_are_counted() {
    let folder = Folder::new();
    let models = models(&folder);
    let table = "id,image,text,entities\n\
        1,,\" 😀 Kevin Durant, NBA\",\"[[3,15,\"\"PER\"\"],[17,20,\"\"ORG\"\"]]\"\n\
        2,,Paris,\"[[0,9,\"\"LOC\"\"]]\"\n\
        3,,Paris,\"[[0,5,\"\"LOC\"\",[9,9,3,3]]]\"\n\
        4,,Paris,no list\n\
        5,,Paris,\"[[0,5,\"\"city\"\"]]\"\n\
        6,gone.jpg,Paris,[]\n";
    let data = folder.file("t.csv", table);
    let report = eval(&models, &data, &["--map", "city=LOC"]);
    assert_eq!((&report["n"], &report["failed"]), (&json!(2), &json!(1)));
    assert_eq!(report["metrics"]["f1"], 1.0);
    assert_eq!(report["skipped"], 3);
    let lacking = folder.file("u.csv", "id,text\n1,Paris\n");
    let args = [
        "eval", "--task", "entities", "--models", &models, "--data", &lacking,
    ];
    demeanor(&args).is_error("no column `entities`");
}

#[test]
fn five_thousand_tokens_are_judged_at_their_beginning() {
    let folder = Folder::new();
    let models = models(&folder);
    let long: String = "Paris\tB-LOC\n".to_owned() + &"in\tO\n".repeat(5000);
    let report = eval(&models, &folder.file("long.txt", long), &[]);
    assert_eq!(report["metrics"]["f1"], 1.0);
    let empty = folder.file("empty.txt", "");
    let args = [
        "eval", "--task", "entities", "--models", &models, "--data", &empty,
    ];
    assert_eq!(demeanor(&args).code, Some(1));
}

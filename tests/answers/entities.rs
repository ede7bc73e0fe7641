//! Names in words, from the shape of a word to the event, the page and the evaluation.

use crate::support::*;
use demeanor::{Observation, Session, SessionOptions};
use serde_json::{Value, json};

/// The `models` option of a bundle that knows a few names.
fn models(folder: &Folder) -> String {
    let dir = entities::bundle(folder.path("toy"));
    dir.to_str().expect("UTF-8").to_owned()
}

fn analyze(models: &str, text: &str) -> Value {
    let args = [
        "analyze", "--text", text, "--tasks", "entities", "--json", "--models", models,
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
    assert_eq!(
        found(&ran.events()[0], words),
        [
            ("Kevin Durant".into(), "PER".into()),
            ("Paris".into(), "LOC".into())
        ]
    );
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

/// A picture of black, its quarters filled: top right red, bottom left green, 0..255 each.
fn quarters(folder: &Folder, name: &str, red: u8, green: u8) -> String {
    let (width, height) = (64u32, 48u32);
    let mut rgb = Vec::new();
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        rgb.extend(match (x >= width / 2, y >= height / 2) {
            (true, false) => [red, 0, 0],
            (false, true) => [0, green, 0],
            _ => [0, 0, 0],
        });
    }
    let bytes = chunks::png(width, height, png::ColorType::Rgb, Some(&rgb));
    folder.file(name, bytes)
}

fn analyze_beside(models: &str, picture: &str, text: &str, more: &[&str]) -> Ran {
    let mut args = vec![
        "analyze", picture, "--text", text, "--tasks", "entities", "--models", models,
    ];
    args.extend(more);
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran
}

#[test]
fn names_have_boxes_where_the_picture_shows_them() {
    let folder = Folder::new();
    let models = models(&folder);
    let picture = quarters(&folder, "p.png", 255, 255);
    let words = "Kevin Durant in Paris, NBA Sox";
    let ran = analyze_beside(&models, &picture, words, &["--json"]);
    let event = &ran.events()[0];
    let boxes: Vec<&Value> = event["entities"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| &e["box"])
        .collect();
    // red for a person, green for a place; nothing is blue, and nothing shows a team
    let (red, green) = (
        json!([32.0, 0.0, 32.0, 24.0]),
        json!([0.0, 24.0, 32.0, 24.0]),
    );
    assert_eq!(boxes, [&red, &green, &Value::Null, &Value::Null]);
    // a red that is too faint is none
    let picture = quarters(&folder, "q.png", 90, 255);
    let ran = analyze_beside(&models, &picture, words, &["--json"]);
    assert_eq!(ran.events()[0]["entities"][0]["box"], Value::Null);
    // a picture of one colour shows nothing, and without a picture there is nothing to show
    let picture = quarters(&folder, "r.png", 0, 0);
    let ran = analyze_beside(&models, &picture, words, &["--json"]);
    assert_eq!(ran.events()[0]["entities"][0].get("box"), None);
    assert_eq!(analyze(&models, words)["entities"][0].get("box"), None);
}

#[test]
fn boxes_are_told_and_drawn_in_the_colour_of_the_words() {
    let folder = Folder::new();
    let models = models(&folder);
    let picture = quarters(&folder, "p.png", 255, 255);
    let page = folder.path("page.html");
    let page = page.to_str().expect("UTF-8");
    let words = "Kevin Durant in Paris";
    let ran = analyze_beside(&models, &picture, words, &["--annotate", page]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let html = std::fs::read_to_string(page).expect("a page");
    let hue = |text: &str| {
        let before = html.split(text).next().expect("the words");
        let hue = before.rsplit("--hue:").next().expect("a colour");
        hue[..7].to_owned()
    };
    let (person, place) = (hue(">Kevin Durant</mark>"), hue(">Paris</mark>"));
    assert_ne!(person, place);
    for (colour, at, tag) in [
        (
            &person,
            "left:50.00%;top:0.00%;width:50.00%;height:50.00%",
            "PER Kevin Durant",
        ),
        (
            &place,
            "left:0.00%;top:50.00%;width:50.00%;height:50.00%",
            "LOC Paris",
        ),
    ] {
        let drawn = format!("style=\"{at};--hue:{colour};");
        assert!(html.contains(&drawn), "{drawn}");
        assert!(html.contains(&format!("<b>{tag}</b>")), "{tag}");
    }
    let sheet = folder.path("sheet.png");
    let sheet = sheet.to_str().expect("UTF-8");
    analyze_beside(&models, &picture, words, &["--annotate", sheet]);
    let bytes = std::fs::read(sheet).expect("a sheet");
    let drawn = demeanor::vision::decode(&bytes, "sheet").expect("a picture");
    let rgb =
        |hex: &str| [1, 3, 5].map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"));
    for colour in [rgb(&person), rgb(&place)] {
        let pixels = drawn.rgb().as_chunks::<3>().0;
        assert!(pixels.iter().filter(|p| **p == colour).count() > 400);
    }
}

/// A table of phrases beside `images/`.
fn phrases(folder: &Folder, rows: &str) -> String {
    std::fs::create_dir_all(folder.path("images")).expect("a folder");
    quarters(folder, "images/a.png", 255, 0);
    quarters(folder, "images/b.png", 255, 0);
    let table = format!("image,split,phrase,types,status,boxes_224\n{rows}");
    folder.file("phrases.csv", table)
}

fn ground(models: &str, data: &str) -> Ran {
    let args = [
        "eval",
        "--task",
        "grounding",
        "--models",
        models,
        "--data",
        data,
        "--json",
    ];
    demeanor(&args)
}

#[test]
fn grounding_is_measured_by_overlap() {
    let folder = Folder::new();
    let models = models(&folder);
    // the bundle points at the red quarter, whatever is named
    let data = phrases(
        &folder,
        "a.png,val,durant,people,box,\"112,0,224,112\"\n\
         a.png,val,paris,scene,box,\"0,0,224,224\"\n\
         a.png,val,arena,other,nobox,\n\
         b.png,val,ke,people,box,\"112,0,168,112;168,0,224,112\"\n\
         b.png,val,in,other,scene,\n",
    );
    let ran = ground(&models, &data);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = &ran.reports()[0];
    let metrics = &report["metrics"];
    assert_eq!((&report["n"], &report["skipped"]), (&json!(3), &json!(0)));
    assert_eq!(metrics["n"], 3);
    assert_eq!(
        (&metrics["a50"], &metrics["a75"]),
        (&json!(0.6667), &json!(0.6667))
    );
    assert_eq!(metrics["miou"], 0.75);
    assert_eq!(report["kinds"]["people"]["a50"], 1.0);
    assert_eq!(report["kinds"]["scene"]["miou"], 0.25);
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows[0]["metrics"]["miou"], 0.5);
    // every kind's boxes are alike here
    assert_eq!(rows[1]["metrics"]["a75"], 1.0);
    let absence = json!({"with_box": 3, "pointed_at": 3, "without_box": 2, "left_alone": 0});
    assert_eq!(report["absence"], absence);
    let args = [
        "eval",
        "--task",
        "grounding",
        "--models",
        &models,
        "--data",
        &data,
    ];
    let told = demeanor(&args).out;
    for part in [
        "A@0.5 [95%]",
        "the whole picture",
        "people",
        "pointed at: 3 of 3",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn faults_of_a_table_of_phrases_are_told_with_their_line() {
    let folder = Folder::new();
    let models = models(&folder);
    let data = phrases(
        &folder,
        "a.png,val,durant,people,box,\"112,0,224,112\"\n\
         gone.png,val,paris,scene,box,\"0,0,224,224\"\n\
         a.png,val,paris,scene,box,\"0,0,224,225\"\n\
         a.png,val,paris,scene,perhaps,\n\
         a.png,val,paris,scene,box,\n\
         a.png,val,paris,scene,box,\"1;2\"\n\
         a.png,val,paris,scene,none,\"0,0,9,9\"\n\
         a.png,val,,scene,none,\n\
         ../a.png,val,paris,scene,none,\n",
    );
    let ran = ground(&models, &data);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = &ran.reports()[0];
    assert_eq!((&report["n"], &report["skipped"]), (&json!(1), &json!(8)));
    let reasons = report["skipped_reasons"].to_string();
    for part in [
        "not in `images/` beside the table: 1 phrase, at line 3",
        "not within the picture, 0 to 224: 1 phrase, at line 4",
        "`perhaps` is none of box, nobox, none, scene: 1 phrase, at line 5",
        "there is none: 1 phrase, at line 6",
        "no LEFT,TOP,RIGHT,BOTTOM parted by semicolons: 1 phrase, at line 7",
        "the status is `none`, and there is a box: 1 phrase, at line 8",
        "there is no phrase: 1 phrase, at line 9",
        "no file name: 1 phrase, at line 10",
    ] {
        assert!(reasons.contains(part), "{part} is not in {reasons}");
    }
    // a picture that cannot be read, and nothing else
    folder.file("images/a.png", "no picture");
    let ran = ground(&models, &data);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(
        ran.reports()[0]["skipped_reasons"]
            .to_string()
            .contains("unreadable")
    );
    let lacking = folder.file("u.csv", "image,phrase\na.png,paris\n");
    ground(&models, &lacking).is_error("no column `status`");
    let args = [
        "eval",
        "--task",
        "grounding",
        "--models",
        &models,
        "--data",
        &data,
        "--detect",
    ];
    demeanor(&args).is_error("--task grounding takes");
}

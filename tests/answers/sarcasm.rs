//! Sarcasm's heads on a bundle made here: neighbours as evidence, picture words given or seen, and
//! a sentence for whatever is wrong with a memory bank.

use crate::support::*;
use onnx::Writer;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Width of rows: tokens, picture words and the vectors that are remembered.
const WIDTH: usize = 384;
const MODELS: &str = "models";

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// q is the mean of the picture words: what is remembered under a word is near to it.
fn reader() -> Vec<u8> {
    Writer::default()
        .rows("tokens", "tokens", WIDTH)
        .rows("picture", "picture", WIDTH)
        .longs("first", &[0])
        .node(
            "ReduceMean",
            &["picture"],
            "q",
            &[("axes", &[0]), ("keepdims", &[0])],
        )
        .node(
            "ReduceMean",
            &["tokens"],
            "mean",
            &[("axes", &[0]), ("keepdims", &[0])],
        )
        .finish_all(&["q", "mean"])
}

/// Logits of the tokens' mean; never sure where all `weights` are 0.
fn text_head(weights: &[f32; 2 * WIDTH]) -> Vec<u8> {
    Writer::default()
        .rows("tokens", "tokens", WIDTH)
        .floats("weights", &[WIDTH, 2], weights)
        .longs("flat", &[-1])
        .node(
            "ReduceMean",
            &["tokens"],
            "mean",
            &[("axes", &[0]), ("keepdims", &[1])],
        )
        .node("MatMul", &["mean", "weights"], "products", &[])
        .node("Reshape", &["products", "flat"], "logits", &[])
        .finish("logits")
}

/// A bank as the recipe writes it.
struct Bank {
    rows: Vec<Vec<i8>>,
    scale: Vec<f32>,
    labels: Vec<u8>,
    about: Vec<(String, String)>,
    /// The same rows in half floats.
    half: bool,
}

impl Bank {
    /// Three rows for each of `words`, at a growing distance, all of the word's class.
    fn of(words: &[(&str, u8)], reader: &[u8]) -> Bank {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for (word, class) in words {
            for blur in 0..3 {
                let mut row = row_of(word);
                row[..16 * blur].fill(0.0);
                let largest = row.iter().fold(0.0_f32, |top, v| top.max(v.abs()));
                rows.push(
                    row.iter()
                        .map(|v| (v / largest * 127.0).round() as i8)
                        .collect(),
                );
                labels.push(*class);
            }
        }
        let length = |row: &Vec<i8>| {
            row.iter()
                .map(|b| f32::from(*b).powi(2))
                .sum::<f32>()
                .sqrt()
        };
        let about = [
            ("k", "4".into()),
            ("tau", "0.1".into()),
            ("sha256:reader.onnx", hex(reader)),
        ];
        Bank {
            scale: rows.iter().map(|row| 1.0 / length(row)).collect(),
            about: about.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            rows,
            labels,
            half: false,
        }
    }

    fn with(mut self, key: &str, value: &str) -> Bank {
        self.about.retain(|(known, _)| known != key);
        self.about.push((key.into(), value.into()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let n = self.rows.len();
        let halves = |(row, scale): (&Vec<i8>, &f32)| -> Vec<u8> {
            let values: Vec<f32> = row.iter().map(|b| f32::from(*b) * scale).collect();
            let values = demeanor::kernels::float16::of_floats(&values);
            values.into_iter().flat_map(u16::to_le_bytes).collect()
        };
        let rows: Vec<u8> = if self.half {
            self.rows.iter().zip(&self.scale).flat_map(halves).collect()
        } else {
            let bytes = self.rows.iter().flatten();
            bytes.map(|b| b.cast_unsigned()).collect()
        };
        let dtype = if self.half { "F16" } else { "I8" };
        let scale: Vec<u8> = self.scale.iter().flat_map(|s| s.to_le_bytes()).collect();
        let ids: Vec<u8> = (0..n as u64)
            .flat_map(|id| (id + 700).to_le_bytes())
            .collect();
        let about: serde_json::Map<String, Value> = self
            .about
            .iter()
            .map(|(k, v)| (k.clone(), v.clone().into()))
            .collect();
        let mut header = serde_json::json!({ "__metadata__": about });
        let mut data = Vec::new();
        for (name, dtype, shape, bytes) in [
            ("rows", dtype, vec![n, WIDTH], rows),
            ("scale", "F32", vec![n], scale),
            ("labels", "U8", vec![n], self.labels.clone()),
            ("ids", "U64", vec![n], ids),
        ] {
            // half floats need none
            if self.half && name == "scale" {
                continue;
            }
            let start = data.len();
            data.extend(bytes);
            let span = [start, data.len()];
            header[name] =
                serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": span});
        }
        let header = header.to_string();
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &data,
        ]
        .concat()
    }
}

/// A picture word's row, as the file of the bundle `words` has it.
fn row_of(word: &str) -> Vec<f32> {
    use demeanor::model::{Array, OnnxFile, Runner};
    let words = fs::read_to_string(repo(MODELS).join("words/words.txt")).expect("words");
    let at = words
        .lines()
        .position(|w| w == word)
        .expect("a picture word");
    let rows = repo(MODELS).join("words/word-rows.onnx");
    let rows = OnnxFile::open(&rows, Runner::Ours).expect("rows");
    let made = rows.run(&[Array::Ints(vec![1], vec![at as i64])]);
    made.expect("a row").swap_remove(0).values
}

fn usual() -> Bank {
    Bank::of(&[("dog", 0), ("rain", 1)], &reader())
}

/// A bundle on the text trunk that emotion has and the words that `words` names.
fn bundle(folder: &Folder, bank: &Bank) -> String {
    let own = [
        ("reader.onnx", "f32", reader()),
        ("text-head.onnx", "f32", text_head(&[0.0; 2 * WIDTH])),
        ("bank.safetensors", "none", bank.bytes()),
    ];
    let mut files = String::new();
    for (name, precision, bytes) in &own {
        folder.file(name, bytes.clone());
        files += &format!(
            "[[file]]\nname = \"{name}\"\nprecision = \"{precision}\"\nsha256 = \"{}\"\n",
            hex(bytes)
        );
    }
    for (lender, from, name, precision) in [
        ("le-mer", "emotion", "text.onnx", "int8"),
        ("le-mer", "emotion", "vocab.txt", "none"),
        ("mvcn", "sentiment", "image.onnx", "int8"),
        ("words", "words", "words.onnx", "int8"),
        ("words", "words", "words.txt", "none"),
        ("words", "words", "word-rows.onnx", "f32"),
    ] {
        let bytes = fs::read(repo(MODELS).join(from).join(name)).expect("a bundle's file");
        files += &format!(
            "[[file]]\nname = \"{name}\"\nbundle = \"{lender}\"\nprecision = \"{precision}\"\nsha256 = \"{}\"\n",
            hex(&bytes)
        );
    }
    let manifest = format!(
        "schema = 2\nid = \"toy\"\ntask = \"sarcasm\"\nversion = \"1\"\nsummary = \"made by a test\"\n\
         licence = \"none\"\nlabels = [\"not sarcastic\", \"sarcastic\"]\n\
         [text]\nfile = \"text.onnx\"\nvocab = \"vocab.txt\"\nmax_tokens = 96\nhistory = 0\n\
         [image]\nfile = \"image.onnx\"\nside = 176\n\
         [seen]\nfile = \"words.onnx\"\nreads = \"image.patches\"\nlabels = \"words.txt\"\n\
         rows = \"word-rows.onnx\"\ntop = 5\n\
         [[head]]\nname = \"text-only\"\nkind = \"classes\"\nreads = [\"text.hidden\"]\nfile = \"text-head.onnx\"\n\
         [[head]]\nname = \"g2sam\"\nkind = \"neighbours\"\nreads = [\"text.hidden\", \"seen.rows\"]\n\
         file = \"reader.onnx\"\nbank = \"bank.safetensors\"\n\
         [decision]\nunsure_below = 0.5\n\
         [eval]\nfigures = [\"accuracy\", \"precision\", \"recall\", \"f1\", \"macro_f1\"]\n{files}"
    );
    let manifest = folder.file("manifest.toml", manifest);
    let folder = Path::new(&manifest).parent().expect("a folder");
    folder.to_str().expect("a path").to_owned()
}

fn analyze(models: &str, args: &[&str]) -> Ran {
    demeanor(
        &[
            &[
                "analyze", "--models", models, "--tasks", "sarcasm", "--json",
            ],
            args,
        ]
        .concat(),
    )
}

fn answer(models: &str, args: &[&str]) -> Value {
    let ran = analyze(models, args);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    ran.events().swap_remove(0)
}

const LOVELY: &str = "What lovely weather we have again";

#[test]
fn neighbours_decide_and_are_shown() {
    let folder = Folder::new();
    let models = bundle(&folder, &usual());
    folder.file(
        "evidence.jsonl",
        "{\"id\": \"703\", \"text\": \"so much for the picnic\"}\n",
    );
    for (word, label, first) in [
        ("rain", "sarcastic", "703"),
        ("dog", "not sarcastic", "700"),
    ] {
        let event = answer(&models, &["--text", LOVELY, "--seen", word]);
        assert_eq!(event["label"], label);
        assert_eq!(event["modality"], "image+text");
        assert_eq!(event["words"][0]["word"], word);
        let near = event["neighbours"].as_array().expect("neighbours");
        assert_eq!(near.len(), 4);
        assert_eq!(
            (&near[0]["id"], &near[0]["label"]),
            (&first.into(), &label.into())
        );
        assert!(near[0]["distance"].as_f64() < Some(0.001));
        let shares = near.iter().map(|n| n["share"].as_f64().expect("a share"));
        let class = near.iter().filter(|n| n["label"] == label);
        let of_class: f64 = class.map(|n| n["share"].as_f64().expect("a share")).sum();
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-3);
        // four neighbours, each with half a vote of doubt for either class
        let score = event["scores"][label].as_f64().expect("a score");
        assert!((score - (of_class + 0.125) / 1.25).abs() < 1e-3);
        let text = near[0].get("text").and_then(Value::as_str);
        assert_eq!(text, (word == "rain").then_some("so much for the picnic"));
    }
}

#[test]
fn a_picture_is_named_and_a_missing_one_is_told() {
    let folder = Folder::new();
    let models = bundle(&folder, &usual());
    let picture = repo("tests/data/pictures/alpha.png");
    let picture = picture.to_str().expect("a path");
    let event = answer(&models, &[picture, "--text", LOVELY]);
    assert_eq!(event["words"].as_array().map(Vec::len), Some(5));
    assert_eq!(event["modality"], "image+text");
    let alone = answer(&models, &["--text", LOVELY]);
    assert_eq!(alone["notes"][0], "no image: text-only head");
    assert!(alone.get("neighbours").is_none() && alone.get("words").is_none());
    // words that the closed list lacks are no picture
    let strange = answer(
        &models,
        &["--text", LOVELY, "--seen", "flibbertigibbet, Zyx"],
    );
    let notes = strange["notes"].to_string();
    assert!(
        notes.contains("`flibbertigibbet`, `zyx`") && notes.contains("text-only head"),
        "{notes}"
    );
    let some = answer(&models, &["--text", LOVELY, "--seen", "zyx, Rain"]);
    assert_eq!(some["label"], "sarcastic");
    assert!(
        some["notes"][0]
            .as_str()
            .is_some_and(|n| n.contains("`zyx`"))
    );
}

/// A head of `beside` hears of the picture through the words alone: they are read beside its words.
#[test]
fn words_are_read_beside_what_the_picture_shows() {
    let folder = Folder::new();
    let models = bundle(&folder, &usual());
    let head = text_head(&std::array::from_fn(|at| (at % 7) as f32 / 7.0 - 0.4));
    folder.file("beside-head.onnx", head.clone());
    let manifest = Path::new(&models).join("manifest.toml");
    let made = fs::read_to_string(&manifest).expect("a manifest");
    let (before, after) = made
        .split_once("[[head]]\nname = \"g2sam\"")
        .expect("heads");
    let (_, after) = after.split_once("[decision]").expect("a decision");
    let made = format!(
        "{before}[[head]]\nname = \"both\"\nkind = \"classes\"\nreads = [\"beside.hidden\"]\n\
         file = \"beside-head.onnx\"\n[decision]{after}[[file]]\nname = \"beside-head.onnx\"\n\
         precision = \"f32\"\nsha256 = \"{}\"\n",
        hex(&head)
    );
    fs::write(&manifest, &made).expect("written");
    let score = |args: &[&str]| {
        let event = answer(&models, args);
        (
            event["modality"].clone(),
            event["scores"]["sarcastic"].as_f64(),
        )
    };
    let rain = score(&["--text", LOVELY, "--seen", "rain"]);
    let dog = score(&["--text", LOVELY, "--seen", "dog"]);
    assert_eq!(
        (&rain.0, &dog.0),
        (&"image+text".into(), &"image+text".into())
    );
    assert!(rain.1 != dog.1 && rain.1 != Some(0.5), "{rain:?} {dog:?}");
    assert_eq!(score(&["--text", LOVELY]), ("text".into(), Some(0.5)));
    let blind = made.replace("[seen]", "[unseen]");
    fs::write(&manifest, blind).expect("written");
    analyze(&models, &["--text", LOVELY]).is_error("unseen");
}

#[test]
fn words_that_say_nothing_and_words_without_end() {
    let folder = Folder::new();
    let models = bundle(&folder, &usual());
    let ran = analyze(&models, &["--text", "   ", "--seen", "rain"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    let long = "again ".repeat(10_000);
    let event = answer(&models, &["--text", &long, "--seen", "rain"]);
    assert!(
        event["notes"]
            .to_string()
            .contains("longer than the model takes")
    );
    analyze(&models, &["--text", LOVELY, "--seen", " , "]).is_error("--seen names no word");
}

#[test]
fn a_bank_that_is_none_is_refused_in_a_sentence() {
    let cut = usual().bytes();
    let wild = Bank {
        scale: vec![f32::NAN; 6],
        ..usual()
    };
    let strange = Bank {
        labels: vec![7; 6],
        ..usual()
    };
    let empty = Bank::of(&[], &reader());
    let wild_half = Bank {
        scale: vec![f32::INFINITY; 6],
        half: true,
        ..usual()
    };
    for (bank, sentence) in [
        (wild_half.bytes(), "holds an infinite or undefined value"),
        (empty.bytes(), "remembers nothing: it has no rows"),
        (
            usual().with("k", "7").bytes(),
            "asks for the 7 nearest of 6 rows",
        ),
        (
            usual().with("k", "some").bytes(),
            "a `k` that is no whole number",
        ),
        (
            usual().with("tau", "NaN").bytes(),
            "a `tau` that is no positive number",
        ),
        (
            usual().with("sha256:reader.onnx", &hex(b"other")).bytes(),
            "was made by another reader.onnx",
        ),
        (wild.bytes(), "a scale that is no positive number"),
        (
            strange.bytes(),
            "holds class 7, and the manifest names 2 classes",
        ),
        (
            cut[..cut.len() - 9].to_vec(),
            "no memory bank in safetensors, or was cut",
        ),
        (
            b"no bank".to_vec(),
            "no memory bank in safetensors, or was cut",
        ),
    ] {
        let (folder, other) = (Folder::new(), Folder::new());
        let models = bundle(&folder, &usual());
        let path = other.file("bank.safetensors", bank);
        let beside = Path::new(&path)
            .parent()
            .and_then(Path::to_str)
            .expect("a folder");
        let args = ["--text", LOVELY, "--seen", "rain", "--bank", beside];
        let ran = analyze(&models, &args);
        ran.is_error(sentence);
        assert_eq!(ran.err.trim().lines().count(), 1, "{}", ran.err);
    }
}

#[test]
fn a_bank_in_half_floats_answers_as_one_in_bytes_does() {
    let (folder, other) = (Folder::new(), Folder::new());
    let args = ["--text", LOVELY, "--seen", "rain"];
    let bytes = answer(&bundle(&folder, &usual()), &args);
    let half = Bank {
        half: true,
        ..usual()
    };
    let half = answer(&bundle(&other, &half), &args);
    let told = |event: &Value| -> Vec<(Value, f64)> {
        let all = event["neighbours"].as_array().expect("neighbours").iter();
        all.map(|n| (n["id"].clone(), n["share"].as_f64().expect("a share")))
            .collect()
    };
    assert_eq!(bytes["label"], half["label"]);
    for ((id, share), (id_half, share_half)) in told(&bytes).iter().zip(told(&half)) {
        assert_eq!(*id, id_half);
        assert!((share - share_half).abs() < 2e-3, "{share} {share_half}");
    }
}

#[test]
fn another_bank_answers_instead() {
    let (folder, other) = (Folder::new(), Folder::new());
    let models = bundle(&folder, &usual());
    let turned = Bank::of(&[("dog", 1), ("rain", 0)], &reader());
    let path = other.file("bank.safetensors", turned.bytes());
    let beside = Path::new(&path)
        .parent()
        .and_then(Path::to_str)
        .expect("a folder");
    let event = answer(
        &models,
        &["--text", LOVELY, "--seen", "rain", "--bank", beside],
    );
    assert_eq!(event["label"], "not sarcastic");
    let nowhere = Folder::new();
    let empty = Path::new(&nowhere.file("x", ""))
        .parent()
        .and_then(Path::to_str)
        .map(String::from);
    let args = ["--text", LOVELY, "--bank", &empty.expect("a folder")];
    analyze(&models, &args).is_error("bank.safetensors");
}

#[test]
fn eval_knows_the_columns_and_the_figures() {
    let folder = Folder::new();
    let models = bundle(&folder, &usual());
    let table = folder.file(
        "table.csv",
        "id,text,label,attributes\n\
         1,What lovely weather,sarcastic,rain\n\
         2,What a lovely dog,not sarcastic,\"dog, zyx\"\n\
         3,What a lovely dog,sarcastic,dog\n\
         4,What lovely weather,sarcastic,rain rain\n\
         5,No picture at all,not sarcastic,\n\
         6,?,neither,dog\n",
    );
    let ran = demeanor(&[
        "eval", "--task", "sarcasm", "--models", &models, "--data", &table, "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = &ran.reports()[0];
    assert_eq!(
        (report["n"].as_u64(), report["skipped"].as_u64()),
        (Some(5), Some(1))
    );
    let metrics = &report["metrics"];
    for (name, wanted) in [
        ("accuracy", 0.8),
        ("precision", 1.0),
        ("recall", 0.6667),
        ("f1", 0.8),
        ("macro_f1", 0.8),
    ] {
        assert_eq!(metrics[name].as_f64(), Some(wanted), "{name}");
        assert!(metrics["ci95"][name].is_array(), "{name}");
    }
    let rows = report["rows"].as_array().expect("rows").iter();
    let rows: Vec<_> = rows
        .map(|row| (row["name"].as_str(), row["metrics"]["n"].as_u64()))
        .collect();
    assert_eq!(
        rows,
        [(Some("text-only"), Some(5)), (Some("g2sam"), Some(4))]
    );
    let printed = demeanor(&[
        "eval", "--task", "sarcasm", "--models", &models, "--data", &table,
    ]);
    assert!(
        printed.out.contains("precision [95%]") && printed.out.contains("true \\ said"),
        "{}",
        printed.out
    );
    let args = ["eval", "--task", "emotion", "--data", &table, "--bank", "x"];
    demeanor(&args).is_error("--bank does nothing for --task emotion");
}

/// What the shipped bundle says of sentences that nobody labelled for it.
#[test]
fn what_is_meant_the_other_way_round_is_told_from_what_is_not() {
    let meant_otherwise = [
        "Oh great, another delay. I just love waiting.",
        "Wow, my flight got cancelled again. Best day ever.",
        "Nothing says relaxing like a screaming toddler on a ten hour flight",
        "I just love it when my phone dies at 2 percent",
        "Yeah, because working on Christmas is so much fun",
        "So glad I washed my car right before the rain",
        "What a lovely queue, only two hours to go",
        "Thanks for parking across two spaces, very kind of you",
        "Great, the printer is broken again, how wonderful",
        "Sure, wake me at five on a Sunday, I adore that",
        "Brilliant idea to dig up every road at once",
    ];
    let sincere = [
        "We had a wonderful time at the lake today",
        "Thank you all for the birthday wishes",
        "The new library opens on Monday at nine",
        "My sister just got her degree and we are so proud",
        "Fresh bread from the bakery this morning",
        "Looking forward to the concert with my best friend",
        "The team played well and won three to one",
        "Our dog learned to give his paw today",
        "A quiet evening with a good book and tea",
        "Snow is falling over the old town, it looks beautiful",
    ];
    let right = |texts: &[&str], label: &str| {
        let said = texts.iter().map(|text| {
            let ran = demeanor(&["analyze", "--tasks", "sarcasm", "--text", text]);
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            let event = ran.events().remove(0);
            println!("{}: {text}", event["label"]);
            event["label"] == label
        });
        said.filter(|right| *right).count()
    };
    assert!(right(&meant_otherwise, "sarcastic") >= 9);
    assert!(right(&sincere, "not sarcastic") >= 8);
}

//! The tokenizer gives the teacher's own ids, and survives any text.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;
use std::time::{Duration, Instant};

use demeanor::text::{Encoded, Tokenizer, VocabError};
use proptest::prelude::*;
use serde_json::Value;

/// Tokens of the longest input, special ones included, as in the shipped manifests.
const MAX_TOKENS: usize = 128;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_vocab(&read("models/emotion/vocab.txt")).unwrap()
}

fn numbers(value: &Value) -> Vec<i64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_i64().unwrap())
        .collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map_or(Vec::new(), |all| {
        all.iter().map(|v| v.as_str().unwrap()).collect()
    })
}

#[test]
fn every_reference_vector_is_exact() {
    let tokenizer = tokenizer();
    let reference: Value =
        serde_json::from_str(&read("tests/data/wordpiece_reference.json")).unwrap();
    let vectors = reference.as_array().unwrap();
    assert!(
        vectors.len() >= 100,
        "only {} reference vectors",
        vectors.len()
    );
    for vector in vectors {
        let text = vector["text"].as_str().unwrap();
        // the reference is of the text alone, without [CLS] and [SEP]
        let encoded = tokenizer.encode(text, &[], usize::MAX);
        let ids = &encoded.ids[1..encoded.text_len - 1];
        assert_eq!(ids, numbers(&vector["ids"]), "{text:?}");
    }
}

#[test]
fn pieces_have_the_shape_and_the_place_of_their_word() {
    let tokenizer = tokenizer();
    let reference: Value = serde_json::from_str(&read("tests/data/word_shapes.json")).unwrap();
    let vectors = reference.as_array().unwrap();
    assert!(vectors.len() > 200, "{} vectors", vectors.len());
    for vector in vectors {
        let text = vector["text"].as_str().unwrap();
        let encoded = tokenizer.encode(text, &[], MAX_TOKENS).with_shapes(text);
        let inner = 1..encoded.text_len - 1;
        assert_eq!(
            encoded.ids[inner.clone()],
            numbers(&vector["ids"]),
            "{text:?}"
        );
        assert_eq!(
            encoded.types[inner.clone()],
            numbers(&vector["types"]),
            "{text:?}"
        );
        let starts = encoded.spans[inner].iter().flatten();
        let starts: Vec<i64> = starts
            .map(|span| text[..span.start].chars().count() as i64)
            .collect();
        assert_eq!(starts, numbers(&vector["starts"]), "{text:?}");
    }
}

#[test]
fn shapes_leave_marks_and_history_as_they_are() {
    let encoded = tokenizer()
        .encode("Kevin\u{3000}DURANT", &["Who IS that"], MAX_TOKENS)
        .with_shapes("Kevin\u{3000}DURANT");
    assert_eq!(encoded.text_len, 5);
    assert_eq!(encoded.types, [0, 2, 3, 3, 0, 1, 1, 1, 1]);
}

/// 64-bit FNV-1a of little-endian words, as models/recipes/references/wordpiece_sweep.py.
fn fnv(words: impl Iterator<Item = u32>, mut state: u64) -> u64 {
    for byte in words.flat_map(u32::to_le_bytes) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    state
}

fn block_hash(tokenizer: &Tokenizer, first: u32, block: u32) -> String {
    let mut state = 0xcbf2_9ce4_8422_2325;
    for ch in (first..first + block).filter_map(char::from_u32) {
        let encoded = tokenizer.encode(&format!("a{ch}b {ch}"), &[], MAX_TOKENS);
        let ids = &encoded.ids[1..encoded.text_len - 1];
        let ids = ids.iter().map(|id| u32::try_from(*id).unwrap());
        state = fnv(ids.chain([u32::MAX]), state);
    }
    format!("{state:016x}")
}

#[test]
fn every_unicode_character_is_treated_as_the_teacher_treats_it() {
    let tokenizer = tokenizer();
    let sweep: Value = serde_json::from_str(&read("tests/data/wordpiece_sweep.json")).unwrap();
    let block = u32::try_from(sweep["block"].as_u64().unwrap()).unwrap();
    let hashes = strings(&sweep["hashes"]);
    assert_eq!(hashes.len() as u32 * block, 0x11_0000);
    let differ: Vec<String> = (0..)
        .zip(hashes)
        .filter(|(at, hash)| block_hash(&tokenizer, at * block, block) != *hash)
        .map(|(at, _)| format!("U+{:04X}…", at * block))
        .collect();
    assert!(differ.is_empty(), "blocks that differ: {differ:?}");
}

fn pieces<'t>(tokenizer: &'t Tokenizer, encoded: &Encoded) -> Vec<&'t str> {
    encoded
        .ids
        .iter()
        .map(|id| tokenizer.piece(*id).unwrap())
        .collect()
}

#[test]
fn layout_of_text_and_history() {
    let tokenizer = tokenizer();
    let encoded = tokenizer.encode("Fine!", &["How are you?", "ok"], MAX_TOKENS);
    let wanted = "[CLS] fine ! [SEP] how are you ? [SEP] ok [SEP]";
    assert_eq!(pieces(&tokenizer, &encoded).join(" "), wanted);
    assert_eq!(encoded.types, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!((encoded.text_len, encoded.truncated), (4, false));
}

#[test]
fn history_is_cut_from_the_left_and_left_out_below_two_places() {
    let tokenizer = tokenizer();
    let cut = |max_len| {
        let encoded = tokenizer.encode("fine", &["who are you", "ok"], max_len);
        pieces(&tokenizer, &encoded).join(" ")
    };
    assert_eq!(cut(8), "[CLS] fine [SEP] are you [SEP] ok [SEP]");
    assert_eq!(cut(5), "[CLS] fine [SEP] ok [SEP]");
    assert_eq!(cut(4), "[CLS] fine [SEP]");
    assert_eq!(cut(3), "[CLS] fine [SEP]");
}

#[test]
fn the_history_follows_oldest_first() {
    let tokenizer = tokenizer();
    let encoded = tokenizer.encode("fine", &["c", "d", "e", "f", "g"], MAX_TOKENS);
    let wanted = "[CLS] fine [SEP] c [SEP] d [SEP] e [SEP] f [SEP] g [SEP]";
    assert_eq!(pieces(&tokenizer, &encoded).join(" "), wanted);
}

#[test]
fn a_text_that_just_fits_is_not_truncated() {
    let tokenizer = tokenizer();
    for (words, truncated) in [(126, false), (127, true)] {
        let encoded = tokenizer.encode(&"ok ".repeat(words), &["hi"], MAX_TOKENS);
        assert_eq!(
            (encoded.ids.len(), encoded.truncated),
            (128, truncated),
            "{words} words"
        );
    }
}

#[test]
fn tiny_limits_keep_the_frame() {
    let tokenizer = tokenizer();
    for max_len in [0, 1, 2] {
        let encoded = tokenizer.encode("fine", &["ok"], max_len);
        assert_eq!(pieces(&tokenizer, &encoded), ["[CLS]", "[SEP]"]);
        assert!(encoded.truncated);
    }
}

#[test]
fn spoken_markers_are_plain_words() {
    let tokenizer = tokenizer();
    let encoded = tokenizer.encode("[SEP]", &["[CLS]"], MAX_TOKENS);
    let markers = encoded
        .ids
        .iter()
        .filter(|id| matches!(tokenizer.piece(**id), Some("[SEP]" | "[CLS]")));
    assert_eq!(markers.count(), 3, "{:?}", pieces(&tokenizer, &encoded));
}

#[test]
fn spans_point_into_the_original() {
    let tokenizer = tokenizer();
    let text = "Ünhappiest, né?  野";
    let encoded = tokenizer.encode(text, &[], MAX_TOKENS);
    let found: Vec<_> = encoded
        .spans
        .iter()
        .map(|s| s.clone().map(|s| &text[s]))
        .collect();
    assert_eq!(found.first(), Some(&None));
    assert_eq!(found.last(), Some(&None));
    let words: Vec<&str> = found.into_iter().flatten().collect();
    assert_eq!(words.concat(), "Ünhappiest,né?野", "{words:?}");
    assert_eq!(encoded.pieces.last().map(String::as_str), Some("[SEP]"));
    assert!(words.len() > 5, "{words:?}");
}

#[test]
fn hostile_texts_take_linear_time() {
    let tokenizer = tokenizer();
    let one_word = "ab".repeat(1 << 19);
    let marks = format!("a{}", "\u{301}\u{302e}\u{323}\u{302f}".repeat(1 << 17));
    let words = "unaffable ".repeat(10_000);
    let start = Instant::now();
    for text in [&one_word, &marks, &words] {
        let encoded = tokenizer.encode(text, &[text, text], MAX_TOKENS);
        assert!(encoded.ids.len() <= MAX_TOKENS);
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_word_beyond_one_hundred_characters_is_unknown_as_a_whole() {
    let tokenizer = tokenizer();
    let ids = |n: usize| tokenizer.encode(&"a".repeat(n), &[], MAX_TOKENS);
    assert!(!pieces(&tokenizer, &ids(100)).contains(&"[UNK]"));
    assert_eq!(pieces(&tokenizer, &ids(101)), ["[CLS]", "[UNK]", "[SEP]"]);
    assert_eq!(ids(1000).spans[1], Some(0..1000));
}

#[test]
fn vocabularies_that_cannot_work_are_refused_with_a_sentence() {
    let error = |text: &str| Tokenizer::from_vocab(text).unwrap_err();
    assert_eq!(error(""), VocabError::MissingSpecial { token: "[UNK]" });
    assert_eq!(error("[UNK]\n\n[CLS]"), VocabError::EmptyLine { line: 2 });
    assert_eq!(
        error("[UNK]\na\na"),
        VocabError::Duplicate { piece: "a".into() }
    );
    assert_eq!(
        error("[UNK]\n##a\n##a"),
        VocabError::Duplicate { piece: "a".into() }
    );
    let bytes = (16 << 20) + 1;
    assert_eq!(error(&"x".repeat(bytes)), VocabError::TooLarge { bytes });
    assert!(error("[UNK]\n[CLS]").to_string().contains("no line [SEP]"));
}

proptest! {
    #[test]
    fn any_text_gives_a_well_formed_input(
        text in any::<String>(),
        history in proptest::collection::vec(any::<String>(), 0..7),
        max_len in 0_usize..160,
    ) {
        let tokenizer = shared();
        let history: Vec<&str> = history.iter().map(String::as_str).collect();
        let encoded = tokenizer.encode(&text, &history, max_len);
        let n = encoded.text_len;
        prop_assert!(encoded.ids.len() <= max_len.max(2));
        prop_assert_eq!(encoded.ids.len(), encoded.types.len());
        prop_assert_eq!((encoded.spans.len(), encoded.pieces.len()), (n, n));
        prop_assert!(encoded.ids.iter().all(|id| tokenizer.piece(*id).is_some()));
        prop_assert!(encoded.types[..n].iter().all(|t| *t == 0));
        prop_assert!(encoded.types[n..].iter().all(|t| *t == 1));
        prop_assert!(encoded.spans.iter().flatten().all(|s| !s.is_empty() && text.get(s.clone()).is_some()));
    }

    #[test]
    fn any_vocabulary_is_read_or_refused(lines in proptest::collection::vec(".{0,6}", 0..40)) {
        let vocab = format!("[UNK]\n[CLS]\n[SEP]\n{}", lines.join("\n"));
        if let Ok(tokenizer) = Tokenizer::from_vocab(&vocab) {
            let encoded = tokenizer.encode(&lines.concat(), &[], MAX_TOKENS);
            prop_assert!(encoded.ids.iter().all(|id| tokenizer.piece(*id).is_some()));
        }
    }
}

fn shared() -> &'static Tokenizer {
    static TOKENIZER: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
    TOKENIZER.get_or_init(tokenizer)
}

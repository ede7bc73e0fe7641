//! Every form that words may come in, as a line, a file and a live stream.

use super::*;

fn line(start: f64, end: f64, text: &str) -> TextLine {
    let time = |s| Some(Duration::from_secs_f64(s));
    TextLine {
        start: time(start),
        end: time(end),
        text: text.to_owned(),
    }
}

fn plain(text: &str) -> TextLine {
    TextLine {
        text: text.to_owned(),
        ..TextLine::default()
    }
}

#[test]
fn four_forms() {
    let expected = Ok(Some(line(12.5, 14.25, "I told you")));
    for form in [
        "12.5 14.25 I told you",
        "12.5\t14.25\tI told you\r\n",
        "[12.5-14.25] I told you",
        "[12.5 - 14.25]I told you",
        r#"{"start": 12.5, "end": 14.25, "text": " I told you "}"#,
    ] {
        assert_eq!(parse_line(form), expected, "{form}");
    }
    assert_eq!(parse_line(" I told you "), Ok(Some(plain("I told you"))));
    assert_eq!(parse_line("0\t2\tI"), Ok(Some(line(0.0, 2.0, "I"))));
    assert_eq!(parse_line("0 2.5 I"), Ok(Some(line(0.0, 2.5, "I"))));
}

#[test]
fn numbers_and_brackets_in_speech_stay_speech() {
    for words in [
        "2 3 times I told you",
        "7 people",
        "3.5 stars",
        "[laughs] no",
        "[1] see there",
        "nan inf are words",
        "1-2 3.4.5 go",
    ] {
        assert_eq!(parse_line(words), Ok(Some(plain(words))), "{words}");
    }
}

#[test]
fn nothing_said_is_nothing() {
    for empty in ["", "  \t ", "1.0 2.0", "[1.0-2.0]  ", r#"{"text": ""}"#] {
        assert_eq!(parse_line(empty), Ok(None), "{empty}");
    }
}

#[test]
fn broken_lines_say_what_to_do() {
    for (broken, part) in [
        (r#"{"text": "no"#, "JSON"),
        (r#"{"start": 1}"#, "no \"text\""),
        (r#"{"start": "one", "text": "a"}"#, "\"start\" is no number"),
        (r#"{"start": -1, "text": "a"}"#, "no time"),
        ("[5.0-2.0] a", "ends before"),
        ("1.0 99999999 a", "no time"),
        ("-1.0 2.0 a", "no time"),
    ] {
        let message = parse_line(broken).map_err(|e| e.to_string());
        assert!(
            message.as_ref().is_err_and(|m| m.contains(part)),
            "{broken}: {message:?}"
        );
    }
}

/// A file: its lines, or the sentence of the first that is wrong.
fn file(bytes: impl AsRef<[u8]>) -> Result<Vec<TextLine>, String> {
    read_transcript(bytes.as_ref(), "words").map_err(|error| error.to_string())
}

/// A live stream: its lines, and what was passed over.
fn live(bytes: impl AsRef<[u8]>) -> (Vec<String>, TextReport) {
    let mut reader = TextReader::new(bytes.as_ref(), "words".to_owned());
    let mut lines = Vec::new();
    loop {
        match reader.poll() {
            Ok(Some(line)) => lines.push(line.text),
            Ok(None) => return (lines, reader.report()),
            Err(nb::Error::WouldBlock) => {}
            Err(nb::Error::Other(error)) => panic!("{error}"),
        }
    }
}

/// What the forms below all say.
fn angry_then_sad() -> Vec<TextLine> {
    vec![
        line(0.4, 3.29, "I told you twice, stop it!"),
        line(4.29, 9.02, "I miss her so much."),
    ]
}

#[test]
fn transcripts_of_every_form_say_the_same() {
    let forms = [
        (
            "ours",
            "0.4 3.29 I told you twice, stop it!\n4.29 9.02 I miss her so much.\n",
        ),
        (
            "decimal commas",
            "0,4 3,29 I told you twice, stop it!\n4,29 9,02 I miss her so much.\n",
        ),
        (
            "commas that look like thousands",
            "0,400 3,290 I told you twice, stop it!\n4,290 9,020 I miss her so much.\n",
        ),
        (
            "tabs and commas",
            "0,4\t3,29\tI told you twice, stop it!\n4,29\t9,02\tI miss her so much.\n",
        ),
        (
            "Audacity's labels",
            "0.400000\t3.290000\tI told you twice, stop it!\n4.290000\t9.020000\tI miss her so much.\n",
        ),
        (
            "whisper",
            "[00:00.400 --> 00:03.290]  I told you twice, stop it!\n[00:04.290 --> 00:09.020]  I miss her so much.\n",
        ),
        (
            "whisper with what it says before",
            "Detecting language using up to the first 30 seconds. Use `--language` to specify the language\nDetected language: English\n[00:00.400 --> 00:03.290]  I told you twice, stop it!\n[00:04.290 --> 00:09.020]  I miss her so much.\n",
        ),
        (
            "whisper.cpp",
            "\n[00:00:00.400 --> 00:00:03.290]   I told you twice, stop it!\n[00:00:03.290 --> 00:00:04.290]   [BLANK_AUDIO]\n[00:00:04.290 --> 00:00:09.020]   I miss her so much.\n\n",
        ),
        (
            "faster-whisper's example",
            "[0.40s -> 3.29s] I told you twice, stop it!\n[4.29s -> 9.02s] I miss her so much.\n",
        ),
        (
            "speakers one after the other",
            "[4.29-9.02] SPEAKER_00: I miss her so much.\n[0.4-3.29] [SPEAKER_01]: I told you twice, stop it!\n",
        ),
        (
            "SRT",
            "1\n00:00:00,400 --> 00:00:03,290\nI told you twice, stop it!\n\n2\n00:00:04,290 --> 00:00:09,020\nI miss her so much.\n",
        ),
        (
            "SRT of Windows",
            "\u{FEFF}1\r\n00:00:00,400 --> 00:00:03,290\r\nI told you twice,\r\nstop it!\r\n\r\n2\r\n00:00:04,290 --> 00:00:09,020\r\n<i>I miss her</i> so much.\r\n",
        ),
        (
            "SRT without empty lines or numbers",
            "00:00:00.400 --> 00:00:03.290\nI told you twice, stop it!\n00:00:04.290 --> 00:00:09.020\n{\\an8}I miss her so much.",
        ),
        (
            "SRT without empty lines",
            "1\n00:00:00,400-->00:00:03,290\nI told you twice, stop it!\n2\n00:00:04,290 --> 00:00:09,020 X1:1 X2:2 Y1:3 Y2:4\nI miss her so much.",
        ),
        (
            "SRT out of order",
            "2\n00:00:04,290 --> 00:00:09,020\nI miss her so much.\n\n1\n00:00:00,400 --> 00:00:03,290\nI told you twice, stop it!\n",
        ),
        (
            "SRT with an empty line in a cue",
            "1\n00:00:00,400 --> 00:00:03,290\nI told you twice, stop it!\n\n2\n00:00:04,290 --> 00:00:09,020\n\nI miss her so much.\n",
        ),
        (
            "WebVTT",
            "WEBVTT - talk\nKind: captions\n\nNOTE made by hand\nof somebody\n\nSTYLE\n::cue { color: red }\n\nfirst\n00:00.400 --> 00:03.290 align:start position:0%\n<v Ann>I told you <c.loud>twice</c>, stop it!\n\n00:00:04.290 --> 00:00:09.020\nI miss her so much.\n",
        ),
        (
            "SubStation Alpha",
            "[Script Info]\nTitle: talk\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\nDialogue: 0,0:00:00.40,0:00:03.29,Default,,0,0,0,,I told you twice,\\Nstop it!\nDialogue: 0,0:00:04.29,0:00:09.02,Default,,0,0,0,,{\\i1}I miss her{\\i0} so much.\n",
        ),
        (
            "a service's JSON",
            r#"{"text": "x", "utterances": [{"start": 400, "end": 3290, "text": "I told you twice, stop it!"}, {"start": 4290, "end": 9020, "text": "I miss her so much."}]}"#,
        ),
        (
            "SubViewer",
            "0:00:00.400,0:00:03.290\nI told you twice, stop it!\n\n0:00:04.290,0:00:09.020\nI miss her so much.\n",
        ),
        (
            "whisper's TSV",
            "start\tend\ttext\n400\t3290\tI told you twice, stop it!\n4290\t9020\tI miss her so much.\n",
        ),
        (
            "whisper.cpp's CSV",
            "start,end,text\n400,3290,\"I told you twice, stop it!\"\n4290,9020,\"I miss her so much.\"\n",
        ),
        (
            "a table in seconds",
            "speaker;start;end;text\nAnn;0,4;3,29;I told you twice, stop it!\nAnn;4,29;9,02;I miss her so much.\n",
        ),
        (
            "milliseconds in columns",
            "400 3290 I told you twice, stop it!\n4290 9020 I miss her so much.\n",
        ),
        (
            "JSON lines",
            "{\"start\": 0.4, \"end\": 3.29, \"text\": \"I told you twice, stop it!\"}\n{\"start\": 4.29, \"end\": 9.02, \"text\": \"I miss her so much.\"}\n",
        ),
        (
            "whisper's JSON",
            r#"{"text": " all of it", "segments": [{"id": 0, "start": 0.4, "end": 3.29, "text": " I told you twice, stop it!", "tokens": [1]}, {"id": 1, "start": 4.29, "end": 9.02, "text": " I miss her so much."}], "language": "en"}"#,
        ),
        (
            "whisper.cpp's JSON",
            "{\n\t\"systeminfo\": \"x\",\n\t\"transcription\": [\n\t\t{\"timestamps\": {\"from\": \"00:00:00,400\", \"to\": \"00:00:03,290\"}, \"offsets\": {\"from\": 400, \"to\": 3290}, \"text\": \" I told you twice, stop it!\"},\n\t\t{\"offsets\": {\"from\": 4290, \"to\": 9020}, \"text\": \" I miss her so much.\"}\n\t]\n}\n",
        ),
        (
            "Transformers",
            r#"{"text": "x", "chunks": [{"timestamp": [0.4, 3.29], "text": " I told you twice, stop it!"}, {"timestamp": [4.29, 9.02], "text": " I miss her so much."}]}"#,
        ),
        (
            "a JSON list",
            r#"[{"start": "00:00:00.400", "end": "00:00:03.290", "text": "I told you twice, stop it!"}, {"start": "00:00:04.290", "end": "00:00:09.020", "text": "I miss her so much."}]"#,
        ),
        (
            "vosk",
            "{\n  \"partial\" : \"i told\"\n}\n{\n  \"result\" : [{\n      \"conf\" : 1.0,\n      \"end\" : 1.0,\n      \"start\" : 0.4,\n      \"word\" : \"i\"\n    }, {\n      \"end\" : 3.29,\n      \"start\" : 3.0,\n      \"word\" : \"it\"\n    }],\n  \"text\" : \"I told you twice, stop it!\"\n}\n{\"result\": [{\"start\": 4.29, \"end\": 9.02, \"word\": \"i\"}], \"text\": \"I miss her so much.\"}\n",
        ),
    ];
    for (who, text) in forms {
        assert_eq!(file(text), Ok(angry_then_sad()), "{who}");
        let bytes: Vec<u8> = "\u{FEFF}"
            .encode_utf16()
            .chain(text.trim_start_matches('\u{FEFF}').encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(file(bytes), Ok(angry_then_sad()), "{who} in UTF-16");
    }
}

#[test]
fn live_streams_of_recognisers_give_their_sentences() {
    for (who, text, partial) in [
        (
            "whisper.cpp",
            "\u{1B}[2K\r \r\u{1B}[2K\r[00:00:00.400 --> 00:00:03.290]  one\n[00:00:04.290 --> 00:00:09.020]  two\n",
            0,
        ),
        (
            "vosk's server",
            "{\"partial\" : \"o\"}\n{\"text\" : \"one\"}\n{\"partial\" : \"\"}\n{\"text\": \"\"}\n{\"text\" : \"two\"}\n",
            2,
        ),
        (
            "vosk's library",
            "{\n  \"partial\" : \"o\"\n}\n{\n  \"text\" : \"one\"\n}\n{\n  \"text\" : \"two\"\n}\n",
            1,
        ),
        (
            "final or not",
            "{\"text\": \"o\", \"is_final\": false}\n{\"text\": \"one\", \"is_final\": true}\n{\"text\": \"two\", \"final\": true}\n",
            1,
        ),
        (
            "subtitles",
            "1\n00:00:00,400 --> 00:00:03,290\none\n\n2\n00:00:04,290 --> 00:00:09,020\ntwo\n",
            0,
        ),
    ] {
        let (lines, report) = live(text);
        assert_eq!(lines, ["one", "two"], "{who}");
        assert_eq!((report.skipped, report.partial), (0, partial), "{who}");
    }
}

#[test]
fn numbers_alone_are_words_too() {
    assert_eq!(live("1\n2\n3").0, ["1", "2", "3"]);
    assert_eq!(live("7\nseven").0, ["7", "seven"]);
    let texts = |text: &str| -> Vec<String> {
        file(text)
            .unwrap_or_default()
            .into_iter()
            .map(|l| l.text)
            .collect()
    };
    assert_eq!(texts("1\n2\n3"), ["1", "2", "3"]);
    assert_eq!(
        texts("1,000 2,000 people came"),
        ["1,000 2,000 people came"]
    );
    assert_eq!(texts("2 3 times I told you"), ["2 3 times I told you"]);
    assert_eq!(texts("a <3 b & {c} --> d"), ["a <3 b & {c} --> d"]);
}

#[test]
fn a_file_that_breaks_its_form_is_refused_by_the_line() {
    for (text, words) in [
        (
            "1\n00:00:00,400 --> 00:00:03,290\none\n\n2\n00:00:xx,290 --> 00:00:09,020\ntwo\n",
            "line 6: `00:00:xx,290 --> 00:00:09,020` are no two times",
        ),
        ("1\n00:75:00,400 --> 00:76:03,290\none\n", "line 2: "),
        (
            "WEBVTT\n\n00:04.000 --> 00:03.000\none\n",
            "line 3: it ends before it begins",
        ),
        (
            "WEBVTT\n\nhello there\nyou\n",
            "line 3: its words stand before the first times",
        ),
        (
            "one\n[00:00:05.000 --> 00:00:02.000] two",
            "line 2: it ends before",
        ),
        (
            "start\tend\ttext\n0\t1\ta\n2\t3\n",
            "line 3: it has 2 columns of 3",
        ),
        (
            "start,end,text\nlater,1,a\n",
            "line 2: `later` and `1` are no times",
        ),
        (
            "{\n  \"text\" : \n}\nwords\n",
            "line 1: a JSON object begins here that is none",
        ),
        (
            "one\n{\"words\": 1}\n",
            "line 2: it has no \"text\" of words",
        ),
        ("<?xml version='1.0'?><tt/>", "line 1: it begins as XML"),
        (
            "[Script Info]\nDialogue: 0,soon,0:00:03.29,,,0,0,0,,a",
            "line 2: its dialogue has",
        ),
        ("[{\"start\": 1}]", "line 1: it has no \"text\""),
        ("one\n0.0 99999999.0 two", "line 2: 99999999 is no time"),
    ] {
        let sentence = file(text).err().unwrap_or_default();
        assert!(sentence.contains(words), "{text:?}: {sentence}");
    }
}

#[test]
fn the_same_in_a_live_stream_is_passed_over_and_counted() {
    let bad: [&[u8]; 12] = [
        b"{\"text\": \"no",
        b"{\"start\": 1}",
        b"[5.0-2.0] a",
        b"10.5 9 it was so close",
        b"1.0 99999999 a",
        b"th\xFFree",
        b"00:00:xx,400 --> 00:00:03,290",
        b"{",
        b"{]",
        b"[00:00:05.000 --> 00:00:02.000] two",
        b"\xFF\xFE",
        b"{\"text\": 5}",
    ];
    let (mut bytes, mut good) = (Vec::new(), Vec::new());
    for i in 0..10_000 {
        bytes.extend(bad[i % bad.len()]);
        let words = format!("good number {i}");
        bytes.extend(format!("\n{words}\n").bytes());
        good.push(words);
    }
    let (lines, report) = live(bytes);
    // Words of bad times belong to them; every sentence of its own is there.
    assert_eq!(lines.len(), good.len());
    assert_eq!(lines, good);
    assert_eq!(report.skipped, 10_000);
    assert!(report.last.starts_with("words, line 19999: "), "{report:?}");
}

#[test]
fn stray_times_do_not_swallow_a_live_stream() {
    let stray = "0:10.0 --> 0:12.0\n";
    let text = format!("one\n{stray}two\nthree\nfour\nfive\nsix\n{stray}\nseven\neight\n");
    let (lines, _) = live(text);
    assert_eq!(lines.join(" "), "one two three four five six seven eight");
}

#[test]
fn a_file_with_mark_empty_lines_and_no_last_newline() {
    let lines = file("\u{FEFF}one\r\n\n  \ntwo\n1.0 2.0 three").unwrap_or_default();
    let texts: Vec<_> = lines.iter().map(|l| l.text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[test]
fn the_line_that_is_not_utf8_is_named() {
    let error = file(b"one\ntwo\nth\xFFree\nfour\n")
        .err()
        .unwrap_or_default();
    assert!(
        error.contains("words, line 3") && error.contains("byte 3"),
        "{error}"
    );
}

#[test]
fn ten_thousand_words_are_read_and_two_million_bytes_are_not() {
    let long = "word ".repeat(10_000);
    let lines = file(&long).unwrap_or_default();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].text.split(' ').count(), 10_000);
    let too_long = "ab".repeat(1 << 20);
    let error = file(&too_long).err().unwrap_or_default();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
    let (lines, report) = live(format!("one\n{too_long}\ntwo"));
    assert_eq!((lines.len(), report.skipped), (2, 1));
    assert!(report.last.contains("line 2: it is longer"), "{report:?}");
    let exact = format!("{}\nb", "a".repeat(limits::MAX_LINE));
    assert_eq!(file(&exact).map(|lines| lines.len()), Ok(2));
    assert_eq!(live(&exact).0.len(), 2, "exactly the limit is allowed");
}

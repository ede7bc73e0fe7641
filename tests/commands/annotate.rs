//! `--annotate`: pages and pictures that hold what was seen, and nothing but that.

use crate::support::*;
use demeanor::Error;
use demeanor::event::{Attention, Event, Evidence, Face, Modality};
use demeanor::testing::{Page, annotate, check};
use demeanor::vision::{self, Picture};
use std::fs;
use std::path::Path;

const EXPRESSIONS: [&str; 8] = [
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
];

fn event(task: &str, scores: &[(&str, f32)], face: Option<Face>) -> Event {
    let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    Event {
        task: task.into(),
        source: "a <b> & c.jpg".into(),
        label: best.0.into(),
        scores: scores.iter().map(|(l, p)| (l.to_string(), *p)).collect(),
        modality: Modality {
            text: face.is_none(),
            image: face.is_none(),
            face: face.is_some(),
            ..Modality::default()
        },
        bundle: format!("{task}-bundle@1.0.0"),
        face,
        notes: vec!["a note about it".into()],
        ..Event::default()
    }
}

fn felt() -> Event {
    let scores = [("positive", 0.812), ("neutral", 0.125), ("negative", 0.063)];
    event("sentiment", &scores, None)
}

/// The same with what its tokens looked at.
fn felt_by(tokens: Vec<String>, attention: Attention) -> Event {
    Event {
        evidence: Evidence {
            tokens,
            attention: Some(attention),
            ..Evidence::default()
        },
        ..felt()
    }
}

fn face(id: u32, place: [f32; 4]) -> Event {
    let scores: Vec<(&str, f32)> = EXPRESSIONS
        .iter()
        .enumerate()
        .map(|(at, label)| (*label, if at == 1 { 0.762 } else { 0.034 }))
        .collect();
    let face = Face {
        id,
        place,
        picture: [640.0, 480.0],
        score: 0.9,
    };
    event("expression", &scores, Some(face))
}

fn drawn(width: u32, height: u32) -> Picture {
    Picture::from_fn(width, height, |x, y| [x as u8, y as u8, 90]).unwrap()
}

fn tokens() -> Vec<String> {
    ["[CLS]", "good", "##ness", "<script>", "[SEP]"]
        .map(String::from)
        .to_vec()
}

/// 3 × 3 patches: "good" looks at one patch, "<script>" at all alike.
fn attention() -> Attention {
    let one = |at: usize| (0..9).map(move |i| f32::from(u8::from(i == at)));
    let weights = (one(0).chain(one(4)).chain(one(8)))
        .chain([1.0 / 9.0; 9])
        .chain(one(2))
        .collect();
    Attention { weights, side: 3 }
}

/// Writes the page of two faces and words, and returns it.
fn written(folder: &Folder, name: &str, picture: &Picture) -> Vec<u8> {
    let path = folder.path(name);
    let page = Page {
        picture,
        words: "goodness <script>alert('x')</script> é ☺",
        events: &[
            felt_by(tokens(), attention()),
            face(1, [80.0, 60.0, 160.0, 120.0]),
            face(2, [-20.0, 200.0, 60.0, 900.0]),
        ],
    };
    annotate(&path, &page).expect("written");
    fs::read(path).expect("a file")
}

/// Tags of a page, each as it stands between `<` and `>`, style sheet left out.
fn tags(page: &str) -> Vec<&str> {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let tags = head.split('<').skip(1).chain(body.split('<').skip(1));
    tags.map(|tag| tag.split_once('>').expect("a tag that ends").0)
        .collect()
}

/// Every element ends, in the right order.
fn assert_nested(page: &str) {
    let mut open = Vec::new();
    for tag in tags(page) {
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(ended) => assert_eq!(open.pop(), Some(ended), "{tag}"),
            None if name.starts_with('!') || tag.ends_with('/') => {}
            None if ["meta", "img", "input", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The content of the picture in a page.
fn inline_picture(page: &str) -> Picture {
    let (_, rest) = page.split_once("src=\"data:image/png;base64,").unwrap();
    let (text, _) = rest.split_once('"').unwrap();
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no digit"),
    };
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group
            .iter()
            .fold(0u32, |b, c| b << 6 | u32::from(digit(*c)));
        let bits = bits << (6 * (4 - group.len()) + 8);
        bytes.extend(&bits.to_be_bytes()[..group.len() * 3 / 4]);
    }
    vision::decode(&bytes, "inline").expect("a picture")
}

#[test]
fn a_page_holds_boxes_scores_and_patches() {
    let folder = Folder::new();
    let page = String::from_utf8(written(&folder, "p.html", &drawn(640, 480))).unwrap();
    assert_nested(&page);
    for part in [
        // the first face's box as shares of the picture, and the second one's, cut
        "left:12.50%;top:12.50%;width:25.00%;height:25.00%",
        "left:0.00%;top:41.67%;width:6.25%;height:58.33%",
        ">1 happiness 0.76<",
        "Face 2",
        "0.812",
        "0.125",
        "width:81.2%",
        "from image+text",
        "a note about it",
        "sentiment-bundle@1.0.0, expression-bundle@1.0.0",
        "nothing is stored",
        "prefers-color-scheme:dark",
        // pieces are joined to their words, the mark of a piece is not shown
        "<span>ness</span>",
        // one patch of nine, whose strength is all
        "<u style=\"width:100%\">",
        // nine patches of nine
        "<u style=\"width:0%\">",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("class=\"face").count(), 2);
    // the mean, the whole text, and three tokens; not [SEP]
    assert_eq!(page.matches("<svg class=\"heat").count(), 5);
    let shown = inline_picture(&page);
    assert_eq!((shown.width(), shown.height()), (640, 480));
    assert_eq!(shown.pixel(200, 100), Some([200, 100, 90]));
}

#[test]
fn a_page_fetches_nothing_runs_nothing_and_believes_nothing() {
    let folder = Folder::new();
    let page = String::from_utf8(written(&folder, "p.HTM", &drawn(640, 480))).unwrap();
    for tag in tags(&page) {
        let name = tag.split(' ').next().unwrap().to_lowercase();
        assert!(
            !["script", "link", "iframe", "object", "base", "form"].contains(&name.as_str()),
            "{tag}"
        );
        assert!(!tag.contains(" on") && !tag.contains("href"), "{tag}");
        if let Some((_, source)) = tag.split_once("src=\"") {
            assert!(source.starts_with("data:"), "{tag}");
        }
    }
    assert!(!page.contains("http:") && !page.contains("https:"));
    assert!(!page.contains("url(") && !page.contains("@import"));
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; é ☺"));
    assert!(page.contains("<h1>a &lt;b&gt; &amp; c.jpg</h1>"));
}

#[test]
fn a_drawing_shows_boxes_patches_and_scores() {
    let folder = Folder::new();
    let sheet = vision::decode(&written(&folder, "s.png", &drawn(640, 480)), "s").unwrap();
    // the picture with its margin on the left, the scores on the right, tokens below
    assert_eq!(sheet.width(), 640 + 360 + 3 * 24);
    assert!(sheet.height() > 480 + 2 * 24 + 52, "{sheet:?}");
    let at = |x: u32, y: u32| sheet.pixel(24 + x, 24 + y).unwrap();
    // the first face's box: its left edge, half way down
    assert_eq!(at(80, 120), [230, 159, 0]);
    // no word's patch is darker than what the mean looked at most (the middle one)
    let (middle, corner) = (at(320, 300), at(600, 40));
    let brightness = |pixel: [u8; 3], was: [u8; 3]| {
        let sum = |p: [u8; 3]| p.iter().map(|v| f32::from(*v)).sum::<f32>();
        sum(pixel) / sum(was)
    };
    assert!(brightness(middle, [64, 44, 90]) > 1.2, "{middle:?}");
    assert!(brightness(corner, [88, 40, 90]) < 0.9, "{corner:?}");
    // bars: the highest score's colour covers more of the panel than the others'
    let panel = |colour: [u8; 3]| {
        let right = 640 + 2 * 24;
        let pixels = (0..sheet.height()).flat_map(|y| (right..sheet.width()).map(move |x| (x, y)));
        pixels
            .filter(|(x, y)| sheet.pixel(*x, *y) == Some(colour))
            .count()
    };
    assert!(panel([91, 127, 149]) > 2 * panel([185, 197, 205]));
    assert!(panel([35, 33, 31]) > 200, "letters");
}

#[test]
fn whatever_there_is_to_show_is_shown() {
    let folder = Folder::new();
    let many: Vec<Event> = (0..40)
        .map(|i| face(i + 1, [i as f32 * 9.0, i as f32 * 5.0, 40.0, 40.0]))
        .collect();
    let strange = [
        face(1, [f32::NAN, f32::INFINITY, -5.0, 1e30]),
        face(2, [5000.0, 5000.0, 10.0, 10.0]),
    ];
    let short = Attention {
        weights: vec![0.5; 7],
        side: 3,
    };
    let broken = Attention {
        weights: vec![f32::NAN; 45],
        side: 3,
    };
    let long = vec!["pneumonoultramicroscopic".repeat(9); 5];
    for (at, (picture, events)) in [
        (drawn(1, 1), &[][..]),
        (drawn(48, 48), &many[..1]),
        (drawn(3000, 20), &many[..]),
        (drawn(20, 3000), &strange[..]),
        (drawn(400, 300), &[felt_by(tokens(), short)][..]),
        (drawn(400, 300), &[felt_by(tokens(), broken)][..]),
        (drawn(400, 300), &[felt_by(long, attention())][..]),
    ]
    .into_iter()
    .enumerate()
    {
        let page = Page {
            picture: &picture,
            words: &"word ".repeat(200 * at),
            events,
        };
        for name in ["p.html", "p.png"] {
            let path = folder.path(name);
            annotate(&path, &page).expect("written");
            let bytes = fs::read(&path).unwrap();
            match name {
                "p.html" => assert_nested(std::str::from_utf8(&bytes).unwrap()),
                _ => drop(vision::decode(&bytes, name).expect("a picture")),
            }
        }
    }
}

#[test]
fn other_files_and_folders_that_are_not_there_are_refused() {
    let picture = drawn(8, 8);
    let page = Page {
        picture: &picture,
        words: "",
        events: &[],
    };
    for name in ["out.jpg", "out", "html", "out.html.txt"] {
        let error = check(Path::new(name)).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
        let sentence = error.to_string();
        assert!(
            sentence.contains(name) && sentence.contains(".html"),
            "{sentence}"
        );
        assert!(annotate(Path::new(name), &page).is_err());
    }
    assert!(check(Path::new("A.PNG")).is_ok());
    let folder = Folder::new();
    for name in ["no/such/folder/p.png", "no/such/folder/p.html"] {
        let error = annotate(&folder.path(name), &page).unwrap_err();
        assert!(
            matches!(
                error,
                Error::File {
                    doing: "written",
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let folder = Folder::new();
    let path = folder.path("full.png");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let picture = drawn(64, 64);
    let page = Page {
        picture: &picture,
        words: "",
        events: &[felt()],
    };
    let error = annotate(&path, &page).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert!(error.to_string().contains("full.png"), "{error}");
}

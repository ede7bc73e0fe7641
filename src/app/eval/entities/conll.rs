//! CoNLL: a token and its tag a line, an empty line behind a sentence, and perhaps a line
//! `IMGID:` before it.

use super::{Kinds, Marked, Name, Tweet, text_of};
use crate::Error;
use std::path::Path;

/// A sentence while it is read.
#[derive(Default)]
struct Sentence {
    tweet: Tweet,
    length: usize,
    /// Tag of each token: none, or whether it begins a name, and of which type.
    tags: Vec<Option<(bool, usize)>>,
    /// Why it cannot be judged.
    fault: Option<(String, u64)>,
}

/// Reads a file; a sentence with a fault is counted, not kept.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn read(path: &Path, kinds: &Kinds<'_>) -> Result<Marked, Error> {
    Ok(parse(&text_of(path)?, kinds))
}

fn parse(text: &str, kinds: &Kinds<'_>) -> Marked {
    let mut marked = Marked::default();
    let mut sentence = Sentence::default();
    let mut image = String::new();
    for (line, content) in (1..).zip(text.split('\n')) {
        let content = content.trim_matches(['\u{feff}', '\r']);
        if let Some(id) = content.strip_prefix("IMGID:") {
            sentence.end(&image, &mut marked);
            image = id.trim().to_owned();
        } else if content.trim().is_empty() {
            sentence.end(&image, &mut marked);
        } else {
            sentence.add(content, line, kinds, &mut marked);
        }
    }
    sentence.end(&image, &mut marked);
    marked
}

impl Sentence {
    fn add(&mut self, content: &str, line: u64, kinds: &Kinds<'_>, marked: &mut Marked) {
        if self.tweet.line == 0 {
            self.tweet.line = line;
        }
        let Some((token, tag)) = content.rsplit_once('\t') else {
            self.blame(format!("line {line} has no tag behind a tab"), line);
            return;
        };
        // a sign that somebody's tokenizer lost
        let token = match token.trim() {
            "" => "?",
            token => token,
        };
        if !self.tweet.tokens.is_empty() {
            self.tweet.text.push(' ');
            self.length += 1;
        }
        let start = self.length;
        self.length += token.chars().count();
        self.tweet.text.push_str(token);
        self.tweet.tokens.push(start..self.length);
        let tag = tag.trim();
        let parts = match tag.split_once('-') {
            Some(("B", kind)) => Some((true, kind)),
            Some(("I", kind)) => Some((false, kind)),
            _ if tag == "O" => None,
            _ => {
                self.blame(
                    format!("the tag `{tag}` is none of O, B-TYPE and I-TYPE"),
                    line,
                );
                None
            }
        };
        let tag = parts.and_then(|(begins, kind)| match kinds.find(kind) {
            Ok(kind) => Some((begins, kind)),
            Err(what) => {
                self.blame(what, line);
                None
            }
        });
        if let Some((false, kind)) = tag
            && self.tags.last().copied().flatten().map(|(_, k)| k) != Some(kind)
            && self.fault.is_none()
        {
            marked
                .odd
                .add("I- without B- before it was taken to begin a name", line);
        }
        self.tags.push(tag);
    }

    fn blame(&mut self, what: String, line: u64) {
        self.fault.get_or_insert((what, line));
    }

    fn end(&mut self, image: &str, marked: &mut Marked) {
        let done = std::mem::take(self);
        if let Some((what, line)) = done.fault {
            marked.skipped.add(what, line);
            return;
        }
        if done.tags.is_empty() {
            return;
        }
        let mut tweet = done.tweet;
        tweet.id = match image {
            "" => format!("line {}", tweet.line),
            id => id.to_owned(),
        };
        let mut before = None;
        for (tag, token) in done.tags.iter().zip(&tweet.tokens) {
            match (tag, tweet.marked.last_mut()) {
                (Some((false, kind)), Some(name)) if before == Some(*kind) => {
                    name.place.1 = token.end;
                }
                (Some((_, kind)), _) => tweet.marked.push(Name {
                    kind: *kind,
                    place: (token.start, token.end),
                }),
                (None, _) => {}
            }
            before = tag.map(|(_, kind)| kind);
        }
        marked.tweets.push(tweet);
    }
}

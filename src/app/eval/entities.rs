//! Names in words against those that people marked: precision, recall and F1 of whole names.

mod conll;
mod report;
mod table;

use super::counts::Counts;
use super::judge::Unjudged;
use super::metrics::Tallied;
use super::{Options, file_name, found, image, workers};
use crate::Error;
use crate::event::Entity;
use crate::model::Bundle;
use crate::session::{self, Observation, Scene, Session, Tasks};
use report::Report;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most words of a caption that count.
const MOST_WORDS: usize = 8;
/// What a caption says that no picture shows, as the recipe has it (trunk/data.py).
const STOP: &str = "a an the of on in at to and with is are for by it its that this his her their there \
    as from up out into over next front some two three has have be being who while very";

/// A marked text.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tweet {
    id: String,
    /// Where it begins in the file.
    line: u64,
    text: String,
    /// Characters of the tokens, where the file has some.
    tokens: Vec<Range<usize>>,
    marked: Vec<Name>,
    image: Option<PathBuf>,
}

/// A name: characters and type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    kind: usize,
    place: Range0,
}

/// Start and end.
type Range0 = (usize, usize);

/// What a file of marked texts holds.
#[derive(Debug, Default)]
struct Marked {
    tweets: Vec<Tweet>,
    /// Why texts were left out: how many, and the first one's line.
    skipped: Counts,
    /// What was odd and judged all the same.
    odd: Counts,
}

/// The types of a bundle, and other names for them.
struct Kinds<'a> {
    labels: &'a [String],
    options: &'a Options,
}

impl Kinds<'_> {
    /// A type of the file as one of the bundle's.
    fn find(&self, name: &str) -> Result<usize, String> {
        let mut wanted = self.options.map.apply(name);
        if wanted == "misc" {
            wanted = "other".into();
        }
        let found = self.labels.iter().position(|l| l.to_lowercase() == wanted);
        found.ok_or_else(|| format!("the type `{}` is none of the bundle's", name.trim()))
    }
}

/// What a run found in a text: what ships, and every head that could answer.
struct Prediction {
    shipped: Vec<Name>,
    heads: Vec<(String, Vec<Name>)>,
    beside_picture: bool,
    millis: f64,
}

/// Evaluates and prints. `Ok(false)` when the file held nothing that could be judged.
///
/// # Errors
/// A file, bundle or output that cannot be used.
pub(super) fn eval(
    options: &Options,
    bundles: &[Bundle],
    bundle: &Bundle,
    out: &mut impl Write,
) -> Result<bool, Error> {
    let kinds = Kinds {
        labels: &bundle.manifest.labels,
        options,
    };
    let mut marked = read(options, &kinds)?;
    let words = Words::read(options, bundle, &marked.tweets)?;
    let reference = match &options.reference {
        Some(dir) => Some(found(&options.task, Some(dir))?),
        None => None,
    };
    let tweets = std::mem::take(&mut marked.tweets);
    let judged = judge(options, bundles, &kinds, &tweets, &words)?;
    let beside = match &reference {
        Some(found) => Some(judge(options, found, &kinds, &tweets, &words)?),
        None => None,
    };
    let mut failures = BTreeMap::new();
    let mut items = Vec::new();
    for (at, (tweet, verdict)) in tweets.iter().zip(judged).enumerate() {
        match verdict {
            Ok(verdict) => {
                let fp32 = beside.as_ref().and_then(|b| b[at].as_ref().ok());
                let fp32 = fp32.map(|v| v.shipped.clone());
                items.push((tweet, verdict, fp32));
            }
            Err(reason) => {
                log::warn!("{} (line {}): {reason}", tweet.id, tweet.line);
                *failures.entry(reason.reason()).or_insert(0) += 1;
            }
        }
    }
    let report = Report {
        bundle,
        data: file_name(&options.data),
        marked: &marked,
        failures: &failures,
        words: &words,
        items: &items,
    };
    let printed = match options.json {
        true => report.write_json(out),
        false => report.write_table(out),
    };
    printed.map_err(Error::Output)?;
    Ok(!items.is_empty())
}

/// A table where the name ends like one, CoNLL otherwise.
fn read(options: &Options, kinds: &Kinds<'_>) -> Result<Marked, Error> {
    let ending = options.data.extension().unwrap_or_default();
    let is_table = ["csv", "tsv"]
        .iter()
        .any(|e| ending.eq_ignore_ascii_case(e));
    let mut marked = match is_table {
        true => table::read(&options.data, kinds)?,
        false => conll::read(&options.data, kinds)?,
    };
    if let Some(folder) = &options.images {
        for tweet in marked.tweets.iter_mut().filter(|t| t.image.is_none()) {
            tweet.image = Some(folder.join(format!("{}.jpg", tweet.id)));
        }
    }
    Ok(marked)
}

/// What others saw in the pictures.
#[derive(Debug, Default)]
struct Words {
    by_id: HashMap<String, Vec<String>>,
    /// Words of these tweets that the bundle has a row for, and those that it has none for.
    looked_up: usize,
    unknown: usize,
    /// How many of the tweets have any.
    tweets: usize,
}

impl Words {
    fn read(options: &Options, bundle: &Bundle, tweets: &[Tweet]) -> Result<Words, Error> {
        let mut words = Words::default();
        let Some(path) = &options.picture_words else {
            return Ok(words);
        };
        let Some(seen) = &bundle.manifest.seen else {
            return Err(Error::Usage(format!(
                "--picture-words does nothing for --task {}",
                options.task
            )));
        };
        let known = bundle.bytes(&seen.labels).unwrap_or_default();
        let known = String::from_utf8_lossy(known);
        let known: BTreeSet<&str> = known.lines().map(str::trim).collect();
        words.by_id = table::captions(path)?;
        words
            .by_id
            .retain(|id, _| tweets.iter().any(|t| t.id == *id));
        for found in words.by_id.values_mut() {
            let all = found.len();
            found.retain(|word| known.contains(word.as_str()));
            words.looked_up += all;
            words.unknown += all - found.len();
        }
        words.tweets = words.by_id.len();
        Ok(words)
    }

    fn of(&self, tweet: &Tweet) -> &[String] {
        self.by_id.get(&tweet.id).map_or(&[], Vec::as_slice)
    }
}

/// A caption's words, each once.
fn content(caption: &str) -> Vec<String> {
    let stop: Vec<&str> = STOP.split_whitespace().collect();
    let lower = caption.to_lowercase();
    let mut words: Vec<String> = Vec::new();
    for word in lower.split(|c: char| !c.is_ascii_lowercase()) {
        let counts = !word.is_empty() && !stop.contains(&word);
        if counts && !words.iter().any(|w| w == word) {
            words.push(word.to_owned());
        }
    }
    words.truncate(MOST_WORDS);
    words
}

fn judge(
    options: &Options,
    bundles: &[Bundle],
    kinds: &Kinds<'_>,
    tweets: &[Tweet],
    words: &Words,
) -> Result<Vec<Result<Prediction, Unjudged>>, Error> {
    let load = || {
        let wanted = session::Options {
            tasks: Some(Tasks::parse(&options.task).map_err(Error::Usage)?),
            every_head: true,
            ..session::Options::default()
        };
        let mut session = Session::of(bundles.to_vec(), wanted)?;
        session.warm_up(true)?;
        Ok(session)
    };
    let judge = |session: &mut Session, at: usize| {
        let tweet = &tweets[at];
        let seen = words.of(tweet);
        // words that are given stand for the picture
        let picture = match &tweet.image {
            Some(path) if seen.is_empty() => Some(image(path)?),
            _ => None,
        };
        let observed = Observation {
            words: Some(&tweet.text),
            seen,
            scene: picture.as_ref().map(|image| Scene {
                source: "",
                image,
                decode: None,
            }),
            ..Observation::default()
        };
        session.restart();
        let events = session.observe(&observed).map_err(Unjudged::Model)?;
        let names = |found: &[Entity]| {
            let name = |e: &Entity| {
                let kind = kinds.labels.iter().position(|l| *l == e.kind)?;
                let place = widened((e.start, e.end), &tweet.tokens);
                Some(Name { kind, place })
            };
            let mut names: Vec<Name> = found.iter().filter_map(name).collect();
            names.sort();
            names.dedup();
            names
        };
        // a text without a word that the model knows names nothing
        let event = events.into_iter().next().unwrap_or_default();
        let heads = event.evidence.entities.iter();
        Ok(Prediction {
            shipped: names(event.entities.as_deref().unwrap_or_default()),
            heads: heads
                .map(|(head, found)| (head.clone(), names(found)))
                .collect(),
            beside_picture: event.modality.image,
            millis: event.latency.total(),
        })
    };
    workers::spread(tweets.len(), options.threads, load, judge)
}

/// A place as far as the tokens go that it touches.
fn widened(place: Range0, tokens: &[Range<usize>]) -> Range0 {
    let mut touched = tokens
        .iter()
        .filter(|t| t.start < place.1 && place.0 < t.end);
    let Some(first) = touched.next() else {
        return place;
    };
    let last = touched.next_back().unwrap_or(first);
    (first.start, last.end)
}

/// Names of one type in one text or in all: marked, found, and found rightly.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    marked: usize,
    found: usize,
    right: usize,
}

/// Precision, recall, F1.
type Figures = [f64; 3];

impl Tallied for Tally {
    fn add(&mut self, other: Tally) {
        self.marked += other.marked;
        self.found += other.found;
        self.right += other.right;
    }

    fn figures(self) -> Figures {
        let share = |of: usize| match of {
            0 => 0.0,
            of => self.right as f64 / of as f64,
        };
        let both = self.marked + self.found;
        let f1 = match both {
            0 => 0.0,
            both => 2.0 * self.right as f64 / both as f64,
        };
        [share(self.found), share(self.marked), f1]
    }
}

/// A text's tallies by type.
fn tallies(marked: &[Name], found: &[Name], kinds: usize) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); kinds];
    for name in marked {
        tallies[name.kind].marked += 1;
        tallies[name.kind].right += usize::from(found.contains(name));
    }
    for name in found {
        tallies[name.kind].found += 1;
    }
    tallies
}

/// The bytes of a file of marked texts as words.
fn text_of(path: &Path) -> Result<String, Error> {
    let bytes = super::table::bytes(path)?;
    String::from_utf8(bytes).map_err(|e| Error::Table {
        path: path.into(),
        what: format!(
            "is no UTF-8 from byte {}; convert it",
            e.utf8_error().valid_up_to()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::metrics::resampled;
    use super::*;

    #[test]
    fn figures_agree_with_pencil_and_paper() {
        let name = |kind, start, end| Name {
            kind,
            place: (start, end),
        };
        let marked = [name(0, 0, 5), name(1, 9, 12)];
        // one right, one of a wrong type, one too many
        let found = [name(0, 0, 5), name(0, 9, 12), name(1, 20, 22)];
        let by = tallies(&marked, &found, 2);
        let tally = |marked, found, right| Tally {
            marked,
            found,
            right,
        };
        assert_eq!(by, [tally(1, 2, 1), tally(1, 1, 0)]);
        let mut sum = by[0];
        sum.add(by[1]);
        assert_eq!(sum.figures(), [1.0 / 3.0, 0.5, 0.4]);
        let (all, ends) = resampled(&[sum, tally(1, 1, 1), tally(0, 0, 0)]);
        assert_eq!(all.figures()[0], 0.5);
        assert!(
            ends.iter()
                .zip(all.figures())
                .all(|([low, high], x)| *low <= x && x <= *high)
        );
        assert_eq!(resampled::<Tally>(&[]).0.figures(), [0.0; 3]);
    }

    #[test]
    fn places_grow_to_whole_tokens() {
        let tokens = [0..4, 5..9, 10..12];
        assert_eq!(widened((1, 3), &tokens), (0, 4));
        assert_eq!(widened((3, 11), &tokens), (0, 12));
        assert_eq!(widened((4, 5), &tokens), (4, 5));
        assert_eq!(widened((4, 5), &[]), (4, 5));
    }

    #[test]
    fn a_caption_is_its_content() {
        let words = content("A man's dog and a man on the Red-Sofa, 3 cats");
        assert_eq!(words, ["man", "s", "dog", "red", "sofa", "cats"]);
    }
}

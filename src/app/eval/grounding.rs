//! Boxes for phrases against those that people drew: A@0.5, A@0.75 and mean IoU.

mod report;
mod table;

use super::counts::Counts;
use super::judge::Unjudged;
use super::metrics::Tallied;
use super::{Options, file_name, image, workers};
use crate::Error;
use crate::event::Latency;
use crate::model::{Bundle, ModelError, bundles};
use crate::session::{self, Place, Scene, Session, Tasks};
use report::Report;
use std::io::Write;
use std::path::PathBuf;

/// What `--task` says; no bundle answers it by itself.
pub(super) const TASK: &str = "grounding";

/// Left, top, right and bottom as shares of the picture's sides.
type Sides = [f32; 4];

/// A phrase about a picture.
#[derive(Debug, Clone, PartialEq)]
struct Phrase {
    line: u64,
    words: String,
    /// Of what kind the table says that it is; empty if it does not say.
    kind: String,
    /// The box around everything that it names; `None` of what has none.
    truth: Option<Sides>,
}

/// A picture with its phrases.
#[derive(Debug, Clone, PartialEq)]
struct Pointed {
    picture: PathBuf,
    phrases: Vec<Phrase>,
}

/// What a table of phrases holds.
#[derive(Debug, Default)]
struct Phrases {
    pictures: Vec<Pointed>,
    /// Why phrases were left out.
    skipped: Counts,
}

/// What was found of a picture's phrases: a box each and the probability that there is something
/// to point at; `None` of a phrase without a word that could be read, and of a blank picture.
struct Prediction {
    found: Vec<Option<Place>>,
    millis: f64,
}

/// Evaluates and prints. `Ok(false)` when the table held nothing that could be judged.
///
/// # Errors
/// A table, bundle or output that cannot be used.
pub(super) fn eval(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    fits(options)?;
    let bundles = bundles(options.models.as_deref())?;
    let bundle = bundles.iter().find(|b| b.manifest.points());
    let bundle = bundle.ok_or_else(|| ModelError::missing(TASK, options.models.as_deref()))?;
    let mut phrases = table::read(&options.data)?;
    let pictures = std::mem::take(&mut phrases.pictures);
    let judged = judge(options, &bundles, bundle, &pictures)?;
    let mut items = Vec::new();
    for (pointed, verdict) in pictures.into_iter().zip(judged) {
        match verdict {
            Ok(verdict) => items.push((pointed, verdict)),
            Err(reason) => {
                log::warn!("{}: {reason}", pointed.picture.display());
                let what = format!("the picture could not be judged ({})", reason.reason());
                for phrase in &pointed.phrases {
                    phrases.skipped.add(what.as_str(), phrase.line);
                }
            }
        }
    }
    let report = Report {
        bundle,
        data: file_name(&options.data),
        phrases: &phrases,
        items: &items,
    };
    let printed = match options.json {
        true => report.write_json(out),
        false => report.write_table(out),
    };
    printed.map_err(Error::Output)?;
    Ok(report.judges())
}

/// Refuses an option that would be passed over.
fn fits(options: &Options) -> Result<(), Error> {
    let plain = Options {
        models: options.models.clone(),
        json: options.json,
        threads: options.threads,
        ..Options::new(TASK, options.data.clone())
    };
    match *options == plain {
        true => Ok(()),
        false => Err(Error::Usage(
            "--task grounding takes --data, --models, --threads and --json alone".into(),
        )),
    }
}

fn judge(
    options: &Options,
    bundles: &[Bundle],
    bundle: &Bundle,
    pictures: &[Pointed],
) -> Result<Vec<Result<Prediction, Unjudged>>, Error> {
    let load = || {
        let wanted = session::Options {
            tasks: Some(Tasks::parse(&bundle.manifest.task).map_err(Error::Usage)?),
            ..session::Options::default()
        };
        Session::of(bundles.to_vec(), wanted)
    };
    let judge = |session: &mut Session, at: usize| {
        let Pointed { picture, phrases } = &pictures[at];
        let image = image(picture)?;
        let scene = Scene {
            source: "",
            image: &image,
            decode: None,
        };
        let words: Vec<&str> = phrases.iter().map(|p| p.words.as_str()).collect();
        let mut latency = Latency::default();
        let found = session.find(&words, scene, &mut latency);
        Ok(Prediction {
            found: found.map_err(Unjudged::Model)?,
            millis: latency.total(),
        })
    };
    workers::spread(pictures.len(), options.threads, load, judge)
}

/// The overlap of two boxes over what both cover, 0..1.
fn iou(a: Sides, b: Sides) -> f64 {
    let area = |[left, top, right, bottom]: Sides| {
        f64::from((right - left).max(0.0)) * f64::from((bottom - top).max(0.0))
    };
    let shared = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let both = area(a) + area(b) - shared;
    if both > 0.0 { shared / both } else { 0.0 }
}

/// A@0.5, A@0.75, mean IoU.
type Figures = [f64; 3];

/// Sums over the phrases of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    n: usize,
    sums: Figures,
}

impl Tally {
    fn push(&mut self, iou: f64) {
        let right = |least: f64| f64::from(u8::from(iou >= least));
        self.add(Tally {
            n: 1,
            sums: [right(0.5), right(0.75), iou],
        });
    }
}

impl Tallied for Tally {
    fn add(&mut self, other: Tally) {
        self.n += other.n;
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
    }

    fn figures(self) -> Figures {
        self.sums.map(|sum| sum / self.n.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::resampled;
    use super::*;

    #[test]
    fn overlaps_agree_with_pencil_and_paper() {
        let whole = [0.0, 0.0, 1.0, 1.0];
        assert_eq!(iou(whole, whole), 1.0);
        assert_eq!(iou(whole, [0.0, 0.0, 0.5, 0.5]), 0.25);
        assert_eq!(iou([0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.75, 1.0]), 1.0 / 3.0);
        assert_eq!(iou([0.0, 0.0, 0.25, 1.0], [0.5, 0.0, 1.0, 1.0]), 0.0);
        assert_eq!(iou([0.5; 4], [0.5; 4]), 0.0);
    }

    #[test]
    fn figures_are_means_over_phrases_not_pictures() {
        let mut one = Tally::default();
        for iou in [0.5, 0.8, 0.2] {
            one.push(iou);
        }
        let mut other = Tally::default();
        other.push(0.0);
        let (sum, ends) = resampled(&[one, other]);
        assert_eq!(sum.n, 4);
        let [a50, a75, mean] = sum.figures();
        assert_eq!((a50, a75), (0.5, 0.25));
        assert!((mean - 0.375).abs() < 1e-9);
        assert!(ends[0][0] <= a50 && a50 <= ends[0][1]);
        assert_eq!(resampled::<Tally>(&[]).0.figures(), [0.0; 3]);
    }
}

//! What both forms show, sorted out.

use super::Page;
use super::palette::{self, Colour};
use crate::decision::top;
use crate::event::{Entity, Event, Face};
use crate::vision::Picture;
use crate::vision::resize::{Crop, Resizer};

/// Longest side of the picture as it is shown: more is not seen and makes large files.
const LONGEST: f32 = 1280.0;
/// A picture that is shorter is enlarged, so that boxes and patches can be seen.
const SHORTEST: f32 = 480.0;

/// What there is to show.
pub struct View<'a> {
    /// The file or device.
    pub source: &'a str,
    /// The words, if there are any.
    pub words: Option<&'a str>,
    /// The picture at the size at which it is shown.
    pub picture: Picture,
    /// Faces with their answers.
    pub faces: Vec<FaceView<'a>>,
    /// Answers about the whole.
    pub answers: Vec<AnswerView<'a>>,
    /// Names in the words.
    pub names: Vec<NameView<'a>>,
    /// What the words looked at.
    pub gaze: Option<Gaze<'a>>,
    /// `id@version` of every bundle that answered, once.
    pub bundles: Vec<&'a str>,
}

/// A face with its answers.
pub struct FaceView<'a> {
    /// Its number.
    pub id: u32,
    /// Left, top, width and height as shares of the picture, within 0..=1.
    pub place: [f32; 4],
    /// Of its box and bars.
    pub colour: Colour,
    /// What it shows.
    pub answers: Vec<AnswerView<'a>>,
}

/// A name in the words.
pub struct NameView<'a> {
    /// What was found.
    pub entity: &'a Entity,
    /// Of its type: it underlines the words and draws the box.
    pub colour: Colour,
    /// Where the picture shows it: left, top, width and height as shares, within 0..=1.
    pub place: Option<[f32; 4]>,
}

impl NameView<'_> {
    /// What its box says: `PER Kevin Durant`.
    pub fn tag(&self) -> String {
        let text = self.entity.text.as_deref().unwrap_or_default();
        format!("{} {text}", self.entity.kind).trim_end().to_owned()
    }
}

/// The decision of a task.
pub struct AnswerView<'a> {
    /// The event it comes from.
    pub event: &'a Event,
    /// The scores that the label rests on: smoothed ones if there are.
    pub scores: &'a [(String, f32)],
    /// Index of the highest score.
    pub top: Option<usize>,
}

/// Where the words looked.
pub struct Gaze<'a> {
    /// Patches on a side.
    pub side: usize,
    /// Mean over the words, `side²` shares that sum to 1.
    pub mean: Vec<f32>,
    /// The tokens, the whole text's `[CLS]` first.
    pub tokens: Vec<Token<'a>>,
}

/// A token with where it looked.
pub struct Token<'a> {
    /// The piece of text; `None` for the whole.
    pub piece: Option<&'a str>,
    /// Shares of the patches, `side²`.
    pub patches: &'a [f32],
    /// Over how many patches its look is spread, `1 / Σ w²`: from 1 to `side²`.
    pub spread: f32,
}

impl Token<'_> {
    /// How narrow its look is: 1 at one patch, 0 at all alike.
    pub fn strength(&self) -> f32 {
        let all = self.patches.len() as f32;
        if all <= 1.0 {
            return 1.0;
        }
        ((all / self.spread - 1.0) / (all - 1.0)).clamp(0.0, 1.0)
    }
}

impl<'a> View<'a> {
    /// Sorts out a page.
    pub fn of(page: &Page<'a>) -> View<'a> {
        let picture = page.picture;
        let mut view = View {
            source: page.events.first().map_or("picture", |e| &e.source),
            words: Some(page.words).filter(|w| !w.trim().is_empty()),
            picture: shown(picture),
            faces: Vec::new(),
            answers: Vec::new(),
            names: names(page),
            gaze: Gaze::of(page),
            bundles: Vec::new(),
        };
        for event in page.events {
            if !view.bundles.contains(&event.bundle.as_str()) {
                view.bundles.push(&event.bundle);
            }
            // a face may take part in another task's answer, which is not about the face
            let of_face = event.face.filter(|_| event.modality.name() == "face");
            match of_face {
                Some(face) => view.add_face(face, event, picture),
                None => view.answers.push(AnswerView::of(event)),
            }
        }
        view
    }

    fn add_face(&mut self, face: Face, event: &'a Event, picture: &Picture) {
        let answer = AnswerView::of(event);
        if let Some(known) = self.faces.iter_mut().find(|f| f.id == face.id) {
            known.answers.push(answer);
            return;
        }
        self.faces.push(FaceView {
            id: face.id,
            place: shares(face.place, picture),
            colour: palette::face(self.faces.len()),
            answers: vec![answer],
        });
    }
}

impl<'a> AnswerView<'a> {
    fn of(event: &'a Event) -> AnswerView<'a> {
        let scores = event.smoothed.as_deref().unwrap_or(&event.scores);
        let numbers: Vec<f32> = scores.iter().map(|s| s.1).collect();
        AnswerView {
            event,
            scores,
            top: top(&numbers),
        }
    }

    /// At most `count` scores with whether each is the highest: all of them in the bundle's
    /// order if they fit, otherwise the highest ones, falling.
    pub fn shortlist(&self, count: usize) -> Vec<(&str, f32, bool)> {
        let named = self.scores.iter().enumerate();
        let mut list: Vec<_> = named
            .map(|(at, (label, p))| (label.as_str(), *p, Some(at) == self.top))
            .collect();
        if list.len() > count {
            list.sort_by(|a, b| b.1.total_cmp(&a.1));
            list.truncate(count);
        }
        list
    }
}

impl<'a> Gaze<'a> {
    /// `None` unless there is a row of `side²` finite numbers for every token.
    fn of(page: &Page<'a>) -> Option<Gaze<'a>> {
        let evidence = page.events.iter().map(|event| &event.evidence);
        let (tokens, attention) = evidence
            .filter_map(|e| Some((&e.tokens, e.attention.as_ref()?)))
            .next()?;
        let patches = attention.side.checked_mul(attention.side)?;
        let whole = patches > 0 && attention.weights.len() == tokens.len() * patches;
        if !whole || attention.weights.iter().any(|w| !w.is_finite()) {
            return None;
        }
        let rows = attention.weights.chunks_exact(patches);
        let tokens: Vec<Token> = tokens
            .iter()
            .zip(rows)
            .enumerate()
            .filter(|(_, (piece, _))| *piece != "[SEP]")
            .map(|(at, (piece, patches))| Token {
                piece: (at > 0).then_some(piece.as_str()),
                patches,
                spread: spread(patches),
            })
            .collect();
        let words: Vec<&Token> = tokens.iter().filter(|t| t.piece.is_some()).collect();
        if words.is_empty() {
            return None;
        }
        let mean = |at: usize| {
            let sum: f32 = words.iter().map(|t| t.patches[at]).sum();
            sum / words.len() as f32
        };
        Some(Gaze {
            side: attention.side,
            mean: (0..patches).map(mean).collect(),
            tokens,
        })
    }
}

fn spread(patches: &[f32]) -> f32 {
    let squares: f32 = patches.iter().map(|w| w * w).sum();
    let all = patches.len() as f32;
    (1.0 / squares.max(f32::MIN_POSITIVE)).clamp(1.0, all)
}

/// The names of the first answer that looks for some; a colour a type.
fn names<'a>(page: &Page<'a>) -> Vec<NameView<'a>> {
    let mut told = page
        .events
        .iter()
        .filter_map(|e| Some((e, e.entities.as_ref()?)));
    let Some((event, entities)) = told.next() else {
        return Vec::new();
    };
    let colour = |entity: &Entity| {
        let kind = event
            .scores
            .iter()
            .position(|(label, _)| *label == entity.kind);
        palette::face(kind.unwrap_or_default())
    };
    let name = |entity| NameView {
        entity,
        colour: colour(entity),
        place: entity.place.map(|place| shares(place, page.picture)),
    };
    entities.iter().map(name).collect()
}

/// How a patch is shaded against the even share, 1 / number of patches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shade {
    /// How much less it was looked at: 1 is not at all, 0 evenly or more.
    pub less: f32,
    /// How much more it was looked at: 1 is the most of all, 0 evenly or less.
    pub more: f32,
}

/// Every patch's shade. A look without a preference, or with next to none, shows none: only
/// half an even share more than evenly is "the most".
pub fn shades(patches: &[f32]) -> impl Iterator<Item = Shade> {
    let even = 1.0 / patches.len().max(1) as f32;
    let most = patches.iter().copied().fold(1.5 * even, f32::max);
    patches.iter().map(move |weight| Shade {
        less: (1.0 - weight / even).clamp(0.0, 1.0),
        more: ((weight - even) / (most - even)).clamp(0.0, 1.0),
    })
}

/// The picture at the size at which it is shown.
fn shown(picture: &Picture) -> Picture {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let longest = width.max(height);
    let scale = longest.clamp(SHORTEST, LONGEST) / longest;
    if scale == 1.0 {
        return picture.clone();
    }
    let side = |length: f32| (length * scale).round().max(1.0) as u32;
    let (across, down) = (side(width), side(height));
    let mut rgb = Vec::new();
    Resizer::new().rgb(picture, Crop::whole(picture), across, down, &mut rgb);
    Picture::new(across, down, rgb).unwrap_or_else(|| picture.clone())
}

/// A box in pixels of `picture` as shares of it, cut at its borders. What is no number is 0.
fn shares(place: [f32; 4], picture: &Picture) -> [f32; 4] {
    let [x, y, w, h] = place.map(|p| if p.is_finite() { p } else { 0.0 });
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let (left, top) = ((x / width).clamp(0.0, 1.0), (y / height).clamp(0.0, 1.0));
    let right = ((x + w) / width).clamp(left, 1.0);
    let bottom = ((y + h) / height).clamp(top, 1.0);
    [left, top, right - left, bottom - top]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_show_preferences_and_nothing_else() {
        let nothing = Shade {
            less: 0.0,
            more: 0.0,
        };
        assert!(shades(&[0.25; 4]).all(|shade| shade == nothing));
        let slight: Vec<Shade> = shades(&[0.26, 0.24, 0.25, 0.25]).collect();
        assert!(
            slight.iter().all(|s| s.more < 0.1 && s.less < 0.1),
            "{slight:?}"
        );
        let one: Vec<Shade> = shades(&[1.0, 0.0, 0.0, 0.0]).collect();
        assert_eq!((one[0].more, one[0].less), (1.0, 0.0));
        assert_eq!((one[1].more, one[1].less), (0.0, 1.0));
        assert_eq!(shades(&[1.0]).next(), Some(nothing));
        assert_eq!(shades(&[]).count(), 0);
    }
}

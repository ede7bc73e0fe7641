//! Faces out of what the detector says: decoding, overlap, blending.

use super::Picture;
use super::resize::Crop;

/// Rows and columns of anchors, from fine to coarse: stride in pixels, anchors a cell.
const GRIDS: [(usize, usize); 2] = [(8, 2), (16, 6)];
/// Boxes of one face overlap by more than this; they are blended.
const OVERLAP: f32 = 0.3;
/// More faces than this are not looked for in one picture.
pub const MAX_FACES: usize = 64;

/// A rectangle in pixels of a picture, whose top left corner is (0, 0).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Columns.
    pub width: f32,
    /// Rows.
    pub height: f32,
}

impl Rect {
    /// Area in pixels; 0 of a rectangle without extent.
    #[must_use]
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Intersection over union, 0..=1.
    #[must_use]
    pub fn overlap(&self, other: &Rect) -> f32 {
        let along = |a: f32, a_len: f32, b: f32, b_len: f32| {
            ((a + a_len).min(b + b_len) - a.max(b)).max(0.0)
        };
        let shared = along(self.x, self.width, other.x, other.width)
            * along(self.y, self.height, other.y, other.height);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}

/// A face that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Where, in pixels of the picture.
    pub place: Rect,
    /// Probability that it is a face, 0..=1.
    pub score: f32,
}

/// The centred square around the whole picture: what the detector sees.
#[must_use]
pub fn square(picture: &Picture) -> Option<Crop> {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let side = width.max(height);
    Crop::new((width - side) / 2.0, (height - side) / 2.0, side, side)
}

/// The square that the expression student sees of a face: its side is `scale` times the box's
/// longer one, its centre lies `shift` sides below the box's.
#[must_use]
pub fn close_up(place: &Rect, scale: f32, shift: f32) -> Option<Crop> {
    let side = place.width.max(place.height) * scale;
    let x = place.x + place.width / 2.0 - side / 2.0;
    let y = place.y + place.height / 2.0 - side / 2.0 + shift * side;
    Crop::new(x, y, side, side)
}

/// Anchors of a detector that sees `side` × `side` pixels.
#[must_use]
pub fn anchors(side: usize) -> usize {
    let cells = GRIDS.iter().map(|(stride, each)| {
        let along = side / stride;
        along * along * each
    });
    cells.sum()
}

/// Faces among the detector's `boxes` (anchors × (dx, dy, w, h), pixels of its input) and
/// `scores` (logits), best first; `seen` is what it saw of the picture.
///
/// Best first, a box takes in all that overlap it: place and size are their mean, weighted by
/// their probabilities; the probability is the best one's. Boxes of another number of anchors
/// are no faces.
#[must_use]
pub fn faces(boxes: &[f32], scores: &[f32], side: usize, seen: Crop, least: f32) -> Vec<Found> {
    let count = anchors(side);
    if boxes.len() != 4 * count || scores.len() != count {
        return Vec::new();
    }
    let mut left: Vec<Found> = centres(side)
        .zip(boxes.as_chunks::<4>().0.iter().zip(scores))
        .filter_map(|(centre, (numbers, logit))| {
            let score = 1.0 / (1.0 + (-logit).exp());
            (score >= least).then(|| Found {
                place: decode(centre, *numbers, seen, side),
                score,
            })
        })
        .filter(|f| f.place.area() > 0.0)
        .collect();
    left.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut found = Vec::new();
    while let Some(best) = left.first().copied().filter(|_| found.len() < MAX_FACES) {
        let same = |f: &Found| f.place.overlap(&best.place) > OVERLAP;
        let (group, rest): (Vec<Found>, Vec<Found>) = left.iter().partition(|f| same(f));
        found.push(blend(&group, best));
        left = rest;
    }
    found
}

/// Centres of the anchors in the order of the outputs, in pixels of the input.
fn centres(side: usize) -> impl Iterator<Item = (f32, f32)> {
    GRIDS.into_iter().flat_map(move |(stride, each)| {
        let along = side / stride;
        let at = move |i: usize| (i as f32 + 0.5) * stride as f32;
        (0..along * along * each).map(move |i| {
            let cell = i / each;
            (at(cell % along), at(cell / along))
        })
    })
}

fn decode(centre: (f32, f32), numbers: [f32; 4], seen: Crop, side: usize) -> Rect {
    let [dx, dy, w, h] = numbers;
    let (across, down) = (seen.width() / side as f32, seen.height() / side as f32);
    Rect {
        x: seen.x() + (centre.0 + dx - w / 2.0) * across,
        y: seen.y() + (centre.1 + dy - h / 2.0) * down,
        width: w * across,
        height: h * down,
    }
}

/// The mean of a group; never empty, as the best one is in it.
fn blend(group: &[Found], best: Found) -> Found {
    let total: f32 = group.iter().map(|f| f.score).sum();
    let mean = |of: fn(&Rect) -> f32| {
        let sum: f32 = group.iter().map(|f| of(&f.place) * f.score).sum();
        sum / total
    };
    // probabilities are at least `least`, and may all be 0 when that is
    if total <= 0.0 {
        return best;
    }
    Found {
        place: Rect {
            x: mean(|r| r.x),
            y: mean(|r| r.y),
            width: mean(|r| r.width),
            height: mean(|r| r.height),
        },
        score: best.score,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    fn rect(x: f32, y: f32, width: f32, height: f32) -> Rect {
        Rect {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn overlap_is_symmetric_and_bounded() {
        let (a, b) = (rect(0.0, 0.0, 2.0, 2.0), rect(1.0, 0.0, 2.0, 2.0));
        assert!((a.overlap(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.overlap(&b), b.overlap(&a));
        assert_eq!(a.overlap(&a), 1.0);
        assert_eq!(a.overlap(&rect(5.0, 5.0, 1.0, 1.0)), 0.0);
        assert_eq!(a.overlap(&rect(1.0, 1.0, 0.0, 0.0)), 0.0);
    }

    /// One anchor speaks, and a neighbour that sees the same face.
    #[test]
    fn boxes_come_back_in_pixels_of_the_picture() {
        let picture = Picture::from_fn(320, 240, |_, _| [0; 3]).unwrap();
        let seen = square(&picture).unwrap();
        let count = anchors(128);
        assert_eq!(count, 896);
        let (mut boxes, mut scores) = (vec![0.0; 4 * count], vec![-20.0; count]);
        // cell (8, 8) of the fine grid: its centre is pixel 68 of 128
        for (anchor, logit) in [(2 * (8 * 16 + 8), 3.0), (2 * (8 * 16 + 8) + 1, 1.0)] {
            boxes[4 * anchor..][..4].copy_from_slice(&[0.0, 0.0, 32.0, 32.0]);
            scores[anchor] = logit;
        }
        let found = faces(&boxes, &scores, 128, seen, 0.5);
        assert_eq!(found.len(), 1);
        // 320 pixels on 128: 2.5 each, and the square begins 40 pixels above the picture
        let expected = rect((68.0 - 16.0) * 2.5, (68.0 - 16.0) * 2.5 - 40.0, 80.0, 80.0);
        assert!(found[0].place.overlap(&expected) > 0.999, "{found:?}");
        assert!((found[0].score - 0.9526).abs() < 1e-3);
        assert!(faces(&boxes, &scores, 128, seen, 0.99).is_empty());
        assert!(faces(&boxes[4..], &scores, 128, seen, 0.1).is_empty());
    }

    #[test]
    fn many_faces_are_limited_and_boxes_without_extent_are_none() {
        let picture = Picture::from_fn(128, 128, |_, _| [0; 3]).unwrap();
        let seen = square(&picture).unwrap();
        let count = anchors(128);
        let all: Vec<f32> = (0..count).flat_map(|_| [0.0, 0.0, 4.0, 4.0]).collect();
        let found = faces(&all, &vec![5.0; count], 128, seen, 0.5);
        assert_eq!(found.len(), MAX_FACES);
        let none = faces(&vec![0.0; 4 * count], &vec![5.0; count], 128, seen, 0.5);
        assert!(none.is_empty());
    }

    #[test]
    fn a_close_up_is_a_square_about_the_face() {
        let crop = close_up(&rect(10.0, 20.0, 40.0, 30.0), 1.5, 0.1).unwrap();
        assert_eq!((crop.width(), crop.height()), (60.0, 60.0));
        assert_eq!((crop.x(), crop.y()), (0.0, 11.0));
        assert!(close_up(&rect(0.0, 0.0, 0.0, 0.0), 1.0, 0.0).is_none());
    }
}

//! Images that show nothing but a plain ground, or print upon one.

use super::resize::grey;

/// Grey levels between which nine tenths of a blank image's pixels lie.
const BLANK: u8 = 8;
/// Print on a plain ground, in parts of a hundred of the image's pixels: at least as much is
/// ground, and at most as much is the inside of something broader than strokes are. Held
/// against the photographs of posts, 1 in 200 is such a page, a drawing in lines, or black.
const GROUND: usize = 75;
const SOLID: usize = 2;
/// Grey levels from its middle that the ground spans, and from which on a pixel is none of it.
const OF_GROUND: u8 = 4;
const OFF_GROUND: u8 = 24;
/// A pixel is inside something when as many around it on each side are off the ground too.
const INSIDE: usize = 2;

/// Whether a square image is print or a drawing in lines on a plain ground, and no view of
/// anything: most of it one grey, and next to nothing of the rest broader than a stroke.
pub fn is_print(rgb: &[u8], side: usize) -> bool {
    let greys: Vec<u8> = rgb
        .as_chunks::<3>()
        .0
        .iter()
        .map(|pixel| grey(*pixel))
        .collect();
    let near = |middle: u8| {
        greys
            .iter()
            .filter(move |g| g.abs_diff(middle) <= OF_GROUND)
    };
    let ground = (0..=u8::MAX).map(|middle| (near(middle).count(), middle));
    let Some((share, middle)) = ground.max() else {
        return false;
    };
    if greys.is_empty() || share * 100 < greys.len() * GROUND {
        return false;
    }
    let is_off = |x: usize, y: usize| {
        let grey = greys.get(y * side + x);
        grey.is_some_and(|g| g.abs_diff(middle) > OFF_GROUND)
    };
    let around = |at: usize| at - INSIDE..=at + INSIDE;
    let inner = INSIDE..side.saturating_sub(INSIDE);
    let places = inner
        .clone()
        .flat_map(|y| inner.clone().map(move |x| (x, y)));
    let solid = places.filter(|(x, y)| around(*y).all(|y| around(*x).all(|x| is_off(x, y))));
    solid.count() * 100 <= greys.len() * SOLID
}

/// Whether nine tenths of the pixels are as good as one grey.
pub fn is_blank(rgb: &[u8]) -> bool {
    let mut counts = [0usize; 256];
    for pixel in rgb.as_chunks::<3>().0 {
        counts[usize::from(grey(*pixel))] += 1;
    }
    let total: usize = counts.iter().sum();
    let level = |share: usize| {
        let mut below = 0;
        counts.iter().position(|n| {
            below += n;
            below * 100 >= total * share
        })
    };
    match (level(5), level(95)) {
        (Some(dark), Some(bright)) => bright - dark < usize::from(BLANK),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_lens_is_blank_and_a_dim_room_is_not() {
        let noise = |i: usize| (i * 7 % 5) as u8;
        let covered: Vec<u8> = (0..3 * 400).map(noise).collect();
        assert!(is_blank(&covered));
        let dim: Vec<u8> = (0..3 * 400).map(|i| (i / 60) as u8).collect();
        assert!(!is_blank(&dim));
        assert!(is_blank(&[]));
    }

    #[test]
    fn print_and_lines_are_told_from_what_has_a_body() {
        let side = 96;
        let made = |ink: &dyn Fn(usize, usize) -> bool, ground: u8| -> Vec<u8> {
            let places = (0..side * side).map(|at| (at % side, at / side));
            let grey = |(x, y)| if ink(x, y) { 255 - ground } else { ground };
            places.flat_map(|place| [grey(place); 3]).collect()
        };
        let strokes = |x: usize, y: usize| (y / 12).is_multiple_of(2) && x % 8 < 2;
        let body = |x: usize, y: usize| x.abs_diff(48) < 16 && y.abs_diff(48) < 16;
        for ground in [0, 30, 255] {
            assert!(is_print(&made(&strokes, ground), side), "{ground}");
            assert!(!is_print(&made(&body, ground), side), "{ground}");
        }
        // a view has no ground of one grey
        let view: Vec<u8> = (0..3 * side * side).map(|i| (i / 3 % 251) as u8).collect();
        assert!(!is_print(&view, side));
        assert!(!is_print(&[], side));
    }
}

//! Drawing upon a picture, with smooth edges.

use super::lettering::{self, CAPITAL, DESCENDER, Point};
use super::palette::Colour;
use crate::vision::Picture;

/// Half a stroke of a letter, in units of the lettering.
const PEN: f32 = 0.42;

/// A rectangle in pixels: left, top, width, height.
pub type Area = [f32; 4];

/// A picture that is being drawn.
pub struct Canvas(Picture);

/// How a text is to look.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    /// Height of a capital in pixels.
    pub size: f32,
    /// Of the strokes.
    pub colour: Colour,
    /// Thicker strokes.
    pub bold: bool,
}

impl Hand {
    /// Pixels of a unit of the lettering.
    fn unit(self) -> f32 {
        self.size / CAPITAL
    }

    /// Width of `text` in pixels.
    pub fn width(self, text: &str) -> f32 {
        lettering::width(text) * self.unit()
    }

    /// From one line's top to the next one's.
    pub fn line(self) -> f32 {
        (self.size * (CAPITAL + DESCENDER) / CAPITAL + self.size * 0.5).round()
    }

    /// `text` in lines of at most `width` pixels.
    pub fn wrap(self, text: &str, width: f32, rows: usize) -> Vec<String> {
        lettering::wrap(text, width / self.unit(), rows)
    }

    /// `text` cut to `width` pixels.
    pub fn fit(self, text: &str, width: f32) -> String {
        lettering::fit(text, width / self.unit())
    }
}

impl Canvas {
    /// A sheet of one colour; `None` without a pixel.
    pub fn new(width: u32, height: u32, colour: Colour) -> Option<Canvas> {
        Picture::from_fn(width, height, |_, _| colour).map(Canvas)
    }

    /// The drawing.
    pub fn into_picture(self) -> Picture {
        self.0
    }

    /// Puts `picture` with its top left corner at (`left`, `top`); what leaves the sheet is
    /// cut.
    pub fn paste(&mut self, picture: &Picture, left: u32, top: u32) {
        for (y, row) in picture.rows().enumerate() {
            let (pixels, _) = row.as_chunks::<3>();
            for (x, pixel) in pixels.iter().enumerate() {
                self.blend(left as usize + x, top as usize + y, *pixel, 1.0);
            }
        }
    }

    /// Mixes `colour` into a pixel; one outside of the sheet is passed over.
    fn blend(&mut self, x: usize, y: usize, colour: Colour, opacity: f32) {
        let (width, height) = (self.0.width() as usize, self.0.height() as usize);
        if x >= width || y >= height {
            return;
        }
        let Some(pixel) = self.0.rgb_mut().get_mut((y * width + x) * 3..) else {
            return;
        };
        for (old, new) in pixel.iter_mut().zip(colour) {
            let mixed = f32::from(*old) + opacity * (f32::from(new) - f32::from(*old));
            *old = mixed.round().clamp(0.0, 255.0) as u8;
        }
    }

    /// Fills an area; a pixel that it covers in part takes on a part of the colour.
    pub fn fill(&mut self, [x, y, w, h]: Area, colour: Colour, opacity: f32) {
        let covered = |at: usize, from: f32, to: f32| {
            ((at as f32 + 1.0).min(to) - (at as f32).max(from)).clamp(0.0, 1.0)
        };
        let (columns, rows) = (self.columns(x, x + w), self.rows(y, y + h));
        for row in rows {
            let down = covered(row, y, y + h);
            for column in columns.clone() {
                let share = down * covered(column, x, x + w);
                self.blend(column, row, colour, opacity * share);
            }
        }
    }

    /// The border of an area, `thick` pixels, half of them inside.
    pub fn frame(&mut self, [x, y, w, h]: Area, thick: f32, colour: Colour) {
        let half = thick / 2.0;
        let (left, top, right, bottom) = (x - half, y - half, x + w - half, y + h - half);
        self.fill([left, top, w + thick, thick], colour, 1.0);
        self.fill([left, bottom, w + thick, thick], colour, 1.0);
        self.fill([left, top + thick, thick, h - thick], colour, 1.0);
        self.fill([right, top + thick, thick, h - thick], colour, 1.0);
    }

    /// Writes one line whose top left corner is (`x`, `y`).
    pub fn write(&mut self, text: &str, (x, y): Point, hand: Hand) {
        let unit = hand.unit();
        let radius = PEN * unit * if hand.bold { 1.45 } else { 1.0 };
        let place = |(px, py): Point| (x + px * unit, y + py * unit);
        for [from, to] in lettering::lines(text) {
            self.stroke([place(from), place(to)], radius.max(0.55), hand.colour);
        }
    }

    /// A line with round ends. Strokes of one letter meet in pixels that both darken, which
    /// at this size is not seen.
    fn stroke(&mut self, ends: [Point; 2], radius: f32, colour: Colour) {
        let [(ax, ay), (bx, by)] = ends;
        let edge = radius + 1.0;
        for row in self.rows(ay.min(by) - edge, ay.max(by) + edge) {
            for column in self.columns(ax.min(bx) - edge, ax.max(bx) + edge) {
                let centre = (column as f32 + 0.5, row as f32 + 0.5);
                let inside = radius + 0.5 - distance(centre, ends);
                if inside > 0.0 {
                    self.blend(column, row, colour, inside.min(1.0));
                }
            }
        }
    }

    fn columns(&self, from: f32, to: f32) -> std::ops::Range<usize> {
        pixels(from, to, self.0.width())
    }

    fn rows(&self, from: f32, to: f32) -> std::ops::Range<usize> {
        pixels(from, to, self.0.height())
    }
}

/// The pixels of a side that lie between two places, none outside of the sheet.
fn pixels(from: f32, to: f32, side: u32) -> std::ops::Range<usize> {
    let side = side as f32;
    from.floor().clamp(0.0, side) as usize..to.ceil().clamp(0.0, side) as usize
}

/// From a point to the nearest one of a line.
fn distance((x, y): Point, [(ax, ay), (bx, by)]: [Point; 2]) -> f32 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 {
        (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (x - ax - along * dx).hypot(y - ay - along * dy)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_sheet_is_cut_and_halves_are_half() {
        let mut canvas = Canvas::new(4, 4, [0; 3]).unwrap();
        canvas.fill([-10.0, -10.0, 11.5, 11.0], [200, 100, 50], 1.0);
        canvas.frame([-5.0, -5.0, 90.0, 90.0], 3.0, [255; 3]);
        let hand = Hand {
            size: 40.0,
            colour: [255; 3],
            bold: false,
        };
        canvas.write("", (1e9, -1e9), hand);
        let picture = canvas.into_picture();
        assert_eq!(picture.pixel(0, 0), Some([200, 100, 50]));
        assert_eq!(picture.pixel(1, 0), Some([100, 50, 25]));
        assert_eq!(picture.pixel(2, 0), Some([0; 3]));
        assert!(Canvas::new(0, 4, [0; 3]).is_none());
    }

    #[test]
    fn a_letter_leaves_ink_where_it_is_and_nowhere_else() {
        let mut canvas = Canvas::new(40, 40, [255; 3]).unwrap();
        let hand = Hand {
            size: 18.0,
            colour: [0; 3],
            bold: false,
        };
        canvas.write("L", (10.0, 10.0), hand);
        let picture = canvas.into_picture();
        // the upright at x = 10, the foot at y = 28
        assert!(picture.pixel(10, 18).unwrap()[0] < 60);
        assert!(picture.pixel(18, 27).unwrap()[0] < 60);
        assert_eq!(picture.pixel(20, 18), Some([255; 3]));
        assert_eq!(picture.pixel(30, 30), Some([255; 3]));
    }
}

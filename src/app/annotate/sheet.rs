//! The same as a picture: what was seen on the left, the scores on the right.

use super::canvas::{Area, Canvas, Hand};
use super::html::{credit, edges, headline, shows};
use super::palette::{self, Colour, DIMMED, LOOKED, TINTED};
use super::view::{AnswerView, FaceView, Gaze, NameView, View, shades};
use crate::vision::Picture;

const PAPER: Colour = [251, 250, 248];
const INK: Colour = [35, 33, 31];
const SOFT: Colour = [109, 104, 99];
const LINE: Colour = [214, 209, 202];
const CELL: Colour = [239, 236, 231];
const BAR: Colour = [91, 127, 149];
const REST: Colour = [185, 197, 205];
const AMBER: Colour = [227, 154, 22];

/// Around everything.
const MARGIN: f32 = 24.0;
/// Width of the scores.
const PANEL: f32 = 360.0;
/// Side of a token's grid.
const GRID: f32 = 52.0;
/// A token's grid with the space to the next one.
const STEP: f32 = 76.0;
/// Most rows of tokens.
const TOKEN_ROWS: usize = 3;
/// More faces than this carry their number alone.
const TAGGED: usize = 6;
/// More faces than this have a line each instead of all their scores.
const FULL_LISTS: usize = 2;
/// Faces that have a line; boxes are drawn for all.
const LISTED: usize = 24;

const TITLE: Hand = hand(15.0, INK, true);
const HEAD: Hand = hand(12.0, INK, true);
const BODY: Hand = hand(10.5, INK, false);
const SMALL: Hand = hand(9.0, SOFT, false);

const fn hand(size: f32, colour: Colour, bold: bool) -> Hand {
    Hand { size, colour, bold }
}

/// The finished sheet.
pub fn draw(view: &View) -> Picture {
    let picture = &view.picture;
    let left = picture.width() as f32;
    // measured first on a sheet that keeps nothing, so that the two never disagree
    let mut measure = Pen {
        canvas: None,
        y: MARGIN,
        right: PANEL,
    };
    measure.panel(view, 0.0);
    let tokens = view.gaze.as_ref().map_or(0.0, |g| tokens_height(g, left));
    let height = measure.y.max(MARGIN + picture.height() as f32 + tokens) + MARGIN;
    let width = 3.0 * MARGIN + left + PANEL;
    let Some(mut canvas) = Canvas::new(width as u32, height.ceil() as u32, PAPER) else {
        return picture.clone();
    };
    let area = [MARGIN, MARGIN, left, picture.height() as f32];
    canvas.paste(picture, MARGIN as u32, MARGIN as u32);
    if let Some(gaze) = &view.gaze {
        shade(&mut canvas, area, &gaze.mean, gaze.side);
        let below = MARGIN + picture.height() as f32 + 18.0;
        draw_tokens(&mut canvas, gaze, (MARGIN, below), left);
    }
    let places = view.names.iter().filter_map(|n| Some((n, n.place?)));
    for (name, place) in places.clone() {
        draw_box(&mut canvas, place_in(area, place), name.colour);
    }
    for face in &view.faces {
        draw_box(&mut canvas, place_in(area, face.place), face.colour);
    }
    // above every box, the most certain face's on top
    for (name, place) in places {
        let place = place_in(area, place);
        draw_tag(&mut canvas, area, place, name.colour, &name.tag());
    }
    for face in view.faces.iter().rev() {
        let tag = match face.answers.first() {
            Some(answer) if view.faces.len() <= TAGGED => {
                format!("{} {}", face.id, headline(answer))
            }
            _ => face.id.to_string(),
        };
        let place = place_in(area, face.place);
        draw_tag(&mut canvas, area, place, face.colour, &tag);
    }
    let mut pen = Pen {
        canvas: Some(canvas),
        y: MARGIN,
        right: 2.0 * MARGIN + left + PANEL,
    };
    pen.panel(view, 2.0 * MARGIN + left);
    pen.canvas
        .map_or_else(|| picture.clone(), Canvas::into_picture)
}

/// Dims what was looked at less than evenly and tints what was looked at more.
fn shade(canvas: &mut Canvas, area: Area, patches: &[f32], side: usize) {
    for (at, shade) in shades(patches).enumerate() {
        let patch = patch(area, at, side);
        canvas.fill(patch, [0; 3], DIMMED * shade.less);
        canvas.fill(patch, LOOKED, TINTED * shade.more);
    }
}

fn patch([x, y, w, h]: Area, at: usize, side: usize) -> Area {
    let (w, h) = (w / side as f32, h / side as f32);
    [x + (at % side) as f32 * w, y + (at / side) as f32 * h, w, h]
}

/// A place in the picture on the sheet.
fn place_in([x, y, w, h]: Area, [left, top, width, height]: [f32; 4]) -> Area {
    [x + left * w, y + top * h, width * w, height * h]
}

fn draw_box(canvas: &mut Canvas, place: Area, colour: Colour) {
    canvas.frame(place, 6.0, [20, 18, 16]);
    canvas.frame(place, 3.0, colour);
}

fn draw_tag(canvas: &mut Canvas, area: Area, place: Area, colour: Colour, tag: &str) {
    let [x, y, w, _] = area;
    let hand = hand(11.0, palette::ink_on(colour), true);
    let tag = hand.fit(tag, w - 12.0);
    let (width, height) = (hand.width(&tag) + 12.0, 21.0);
    // above the box, or inside where there is no room; never beyond the picture's right edge
    let left = (place[0] - 1.5).min(x + w - width).max(x);
    let above = place[1] - height - 1.0;
    let top = if above < y { place[1] } else { above };
    canvas.fill([left, top, width, height], colour, 1.0);
    canvas.write(&tag, (left + 6.0, top + 5.0), hand);
}

/// How many tokens are drawn, and how many rows they take.
fn token_room(gaze: &Gaze, width: f32) -> (usize, usize) {
    let across = ((width / STEP) as usize).max(1);
    let count = gaze.tokens.len().min(across * TOKEN_ROWS);
    (count, count.div_ceil(across))
}

fn tokens_height(gaze: &Gaze, width: f32) -> f32 {
    let (_, rows) = token_room(gaze, width);
    18.0 + HEAD.line() + rows as f32 * (GRID + 36.0)
}

fn draw_tokens(canvas: &mut Canvas, gaze: &Gaze, (left, top): (f32, f32), width: f32) {
    let (count, _) = token_room(gaze, width);
    let title = match gaze.tokens.len() - count {
        0 => "Where the words looked".to_owned(),
        more => format!("Where the words looked, and {more} more"),
    };
    canvas.write(&title, (left, top), HEAD);
    let across = ((width / STEP) as usize).max(1);
    for (at, token) in gaze.tokens.iter().take(count).enumerate() {
        let x = left + (at % across) as f32 * STEP;
        let y = top + HEAD.line() + 4.0 + (at / across) as f32 * (GRID + 36.0);
        let area = [x, y, GRID, GRID];
        canvas.fill(area, CELL, 1.0);
        for (at, shade) in shades(token.patches).enumerate() {
            canvas.fill(patch(area, at, gaze.side), AMBER, shade.more);
        }
        let bar = [x, y + GRID + 3.0, GRID, 3.0];
        canvas.fill(bar, CELL, 1.0);
        canvas.fill([bar[0], bar[1], GRID * token.strength(), 3.0], AMBER, 1.0);
        let piece = token.piece.unwrap_or("all text");
        let piece = piece
            .strip_prefix("##")
            .filter(|r| !r.is_empty())
            .unwrap_or(piece);
        let hand = hand(9.0, INK, false);
        canvas.write(&hand.fit(piece, STEP - 8.0), (x, y + GRID + 11.0), hand);
    }
}

/// Writes downwards; without a canvas it only measures.
struct Pen {
    canvas: Option<Canvas>,
    y: f32,
    /// Where lines end.
    right: f32,
}

impl Pen {
    fn line(&mut self, text: &str, x: f32, hand: Hand) {
        if let Some(canvas) = &mut self.canvas {
            canvas.write(text, (x, self.y), hand);
        }
        self.y += hand.line();
    }

    fn fill(&mut self, area: Area, colour: Colour) {
        if let Some(canvas) = &mut self.canvas {
            canvas.fill(area, colour, 1.0);
        }
    }

    fn panel(&mut self, view: &View, x: f32) {
        self.line(&TITLE.fit(view.source, PANEL), x, TITLE);
        let words = view.words.unwrap_or_default();
        for line in BODY.wrap(words, PANEL, 6) {
            self.line(&line, x, BODY);
        }
        self.y += 10.0;
        for answer in &view.answers {
            let title = format!("{}: {}", answer.event.task, answer.event.label);
            self.answer(answer, &title, x, None);
            if answer.event.entities.is_some() {
                self.names(&view.names, x);
            }
        }
        if view.faces.len() > FULL_LISTS {
            self.crowd(view, x);
        } else {
            for (face, answer) in of_faces(&view.faces) {
                let title = format!("face {}: {}", face.id, answer.event.label);
                self.answer(answer, &title, x, Some(face.colour));
            }
        }
        if view.answers.is_empty() && view.faces.is_empty() {
            self.line("no face was found", x, BODY);
        }
        self.y += 6.0;
        for line in SMALL.wrap(&credit(view), PANEL, 3) {
            self.line(&line, x, SMALL);
        }
        self.line("Made from files you named; nothing is stored.", x, SMALL);
    }

    fn answer(&mut self, answer: &AnswerView, title: &str, x: f32, hue: Option<Colour>) {
        self.fill([x, self.y, PANEL, 1.0], LINE);
        self.y += 12.0;
        let indent = if hue.is_some() { 20.0 } else { 0.0 };
        if let Some(hue) = hue {
            self.fill([x, self.y, 12.0, 12.0], hue);
        }
        self.line(&HEAD.fit(title, PANEL - indent), x + indent, HEAD);
        let event = answer.event;
        if event.face.is_none() {
            self.line(&format!("from {}", event.modality.name()), x, SMALL);
        }
        self.y += 2.0;
        let list = answer.shortlist(usize::MAX);
        let column = column(list.iter().map(|(label, ..)| *label));
        for (label, p, top) in list {
            self.score((label, x), p, top, x + column);
        }
        if !event.words.is_empty() {
            for line in SMALL.wrap(&shows(event), PANEL, 3) {
                self.line(&line, x, SMALL);
            }
        }
        if !event.evidence.edges.is_empty() {
            for line in SMALL.wrap(&edges(event), PANEL, 3) {
                self.line(&line, x, SMALL);
            }
        }
        for near in &event.neighbours {
            let (share, distance) = (100.0 * near.share, near.distance);
            let text = near.text.as_deref().unwrap_or_default();
            let line = format!(
                "{share:.0}%  {distance:.3}  {}  {}  {text}",
                near.label, near.id
            );
            self.line(&SMALL.fit(line.trim_end(), PANEL), x, SMALL);
        }
        for note in &event.notes {
            for line in SMALL.wrap(note, PANEL, 3) {
                self.line(&line, x, SMALL);
            }
        }
        self.y += 10.0;
    }

    /// A line a name, behind the colour of its box.
    fn names(&mut self, names: &[NameView], x: f32) {
        for name in names {
            self.fill([x, self.y, 11.0, 11.0], name.colour);
            let line = format!("{}, {:.2}", name.tag(), name.entity.score);
            self.line(&BODY.fit(&line, PANEL - 20.0), x + 20.0, BODY);
        }
        self.y += 8.0;
    }

    /// A line a face: what it shows, and how sure that is.
    fn crowd(&mut self, view: &View, x: f32) {
        const INDENT: f32 = 44.0;
        self.fill([x, self.y, PANEL, 1.0], LINE);
        self.y += 12.0;
        let lines: Vec<_> = of_faces(&view.faces).take(LISTED).collect();
        let column = INDENT + column(lines.iter().map(|(_, a)| a.event.label.as_str()));
        for (face, answer) in &lines {
            let top = answer.top.and_then(|at| answer.scores.get(at));
            self.fill([x, self.y, 11.0, 11.0], face.colour);
            if let Some(canvas) = &mut self.canvas {
                canvas.write(&face.id.to_string(), (x + 18.0, self.y), BODY);
            }
            let label = (answer.event.label.as_str(), x + INDENT);
            self.score(label, top.map_or(0.0, |s| s.1), true, x + column);
        }
        let left = of_faces(&view.faces).count() - lines.len();
        if left > 0 {
            self.line(&format!("and {left} more"), x, SMALL);
        }
        self.y += 8.0;
    }

    /// Label, bar and number, side by side.
    fn score(&mut self, (label, x): (&str, f32), p: f32, top: bool, column: f32) {
        let hand = Hand { bold: top, ..BODY };
        let (left, end) = (column + 14.0, self.right - 46.0);
        let bar = [left, self.y + 0.5, end - 12.0 - left, 10.0];
        self.fill(bar, CELL);
        let filled = [bar[0], bar[1], bar[2] * p.clamp(0.0, 1.0), bar[3]];
        self.fill(filled, if top { BAR } else { REST });
        if let Some(canvas) = &mut self.canvas {
            canvas.write(&format!("{p:.3}"), (end, self.y), hand);
        }
        self.line(&hand.fit(label, column - x), x, hand);
    }
}

/// Every answer about a face, with the face.
fn of_faces<'a>(
    faces: &'a [FaceView<'a>],
) -> impl Iterator<Item = (&'a FaceView<'a>, &'a AnswerView<'a>)> {
    let answers = |face: &'a FaceView<'a>| face.answers.iter().map(move |answer| (face, answer));
    faces.iter().flat_map(answers)
}

/// Room for the widest of these labels.
fn column<'a>(labels: impl Iterator<Item = &'a str>) -> f32 {
    let bold = Hand { bold: true, ..BODY };
    let widest = labels.map(|l| bold.width(l)).fold(60.0, f32::max);
    // and a pixel, that rounding cuts none of them
    widest.ceil().min(150.0) + 1.0
}

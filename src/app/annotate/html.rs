//! The page: one file, no script, nothing fetched.

use super::palette::{self, Colour, DIMMED, LOOKED, TINTED};
use super::png_bytes;
use super::view::{AnswerView, Gaze, NameView, View, shades};
use crate::event::Event;
use std::fmt::{self, Write};
use std::io;

const STYLE: &str = include_str!("style.css");
/// More faces than this carry their number alone, or their tags would hide the picture.
const TAGGED: usize = 6;
/// Of more faces than this only the highest scores are listed.
const FULL_LISTS: usize = 2;
/// How many those are.
const SHORT_LIST: usize = 3;
/// A fainter patch is left out of a drawing.
const FAINT: f32 = 0.02;

/// The page as text.
pub fn page(view: &View) -> io::Result<String> {
    let picture = base64(&png_bytes(&view.picture)?);
    let mut out = String::with_capacity(picture.len() + (64 << 10));
    write_page(&mut out, view, &picture).map_err(io::Error::other)?;
    Ok(out)
}

fn write_page(out: &mut String, view: &View, picture: &str) -> fmt::Result {
    let source = escaped(view.source);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src 'unsafe-inline'\">\n\
         <title>{source} – what demeanor saw</title>\n<style>\n{STYLE}"
    )?;
    if let Some(gaze) = &view.gaze {
        write_choices(out, gaze)?;
    }
    write!(
        out,
        "</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{source}</h1>\n"
    )?;
    if let Some(words) = view.words {
        out.write_str("<blockquote>")?;
        write_words(out, words, &view.names)?;
        out.write_str("</blockquote>\n")?;
    }
    out.write_str("</header>\n<div class=\"sides\">\n<section class=\"seen look\">\n")?;
    write_seen(out, view, picture)?;
    out.write_str("</section>\n<section class=\"answers\">\n")?;
    write_cards(out, view)?;
    out.write_str("</section>\n</div>\n")?;
    write_footer(out, view)?;
    out.write_str("</main>\n</body>\n</html>\n")
}

/// The words, names among them underlined in the colour of their type.
fn write_words(out: &mut String, words: &str, names: &[NameView]) -> fmt::Result {
    let mut characters = words.chars();
    let mut at = 0;
    // names are in the order of the words and do not overlap
    for NameView {
        entity: name,
        colour,
        ..
    } in names
    {
        let before: String = characters
            .by_ref()
            .take(name.start.saturating_sub(at))
            .collect();
        let own: String = characters.by_ref().take(name.end - name.start).collect();
        at = name.end;
        let (hue, kind, score) = (palette::hex(*colour), escaped(&name.kind), name.score);
        write!(
            out,
            "{}<mark style=\"--hue:{hue}\" title=\"{kind} {score:.2}\">{}</mark>",
            escaped(&before),
            escaped(&own)
        )?;
    }
    let rest: String = characters.collect();
    out.write_str(&escaped(rest.trim_end()))
}

/// Which map of patches is shown: the chosen one, or the one under the pointer.
fn write_choices(out: &mut String, gaze: &Gaze) -> fmt::Result {
    out.write_str(".look:has(.tok:hover) .heat.heat{opacity:0}\n")?;
    for choice in choices(gaze) {
        writeln!(
            out,
            "#{choice}:checked~.stage .{choice},.look:has([for={choice}]:hover) .heat.heat.{choice}\
             {{opacity:1}}\n#{choice}:checked~.looks [for={choice}]{{border-color:#e39a16;\
             box-shadow:0 0 0 1px #e39a16}}\n#{choice}:focus-visible~.looks [for={choice}]\
             {{outline:2px solid var(--bar)}}"
        )?;
    }
    Ok(())
}

/// Names of the maps: none, the mean, every token.
fn choices(gaze: &Gaze) -> impl Iterator<Item = String> {
    let tokens = (0..gaze.tokens.len()).map(|at| format!("t{at}"));
    ["bare", "mean"].map(String::from).into_iter().chain(tokens)
}

fn write_seen(out: &mut String, view: &View, picture: &str) -> fmt::Result {
    if let Some(gaze) = &view.gaze {
        for choice in choices(gaze) {
            let checked = if choice == "mean" { " checked" } else { "" };
            writeln!(
                out,
                "<input type=\"radio\" name=\"look\" id=\"{choice}\"{checked}>"
            )?;
        }
    }
    let (width, height) = (view.picture.width(), view.picture.height());
    writeln!(
        out,
        "<div class=\"stage\">\n<img alt=\"the picture that was judged\" width=\"{width}\" \
         height=\"{height}\" src=\"data:image/png;base64,{picture}\">"
    )?;
    if let Some(gaze) = &view.gaze {
        let tokens = gaze.tokens.iter().map(|t| t.patches);
        let maps = [gaze.mean.as_slice()].into_iter().chain(tokens);
        for (choice, patches) in choices(gaze).skip(1).zip(maps) {
            write_heat(out, &choice, patches, gaze.side)?;
        }
    }
    for (face, tagged) in view.faces.iter().zip(tags(view)) {
        write_box(out, face.place, face.colour, &tagged)?;
    }
    for name in &view.names {
        if let Some(place) = name.place {
            write_box(out, place, name.colour, &name.tag())?;
        }
    }
    out.write_str("</div>\n")?;
    if let Some(gaze) = &view.gaze {
        write_tokens(out, gaze)?;
    }
    if crowd(view) {
        out.write_str("<div class=\"crowd\">\n")?;
        write_faces(out, view, SHORT_LIST)?;
        out.write_str("</div>\n")?;
    }
    Ok(())
}

/// Are there too many faces for the side of the picture? Then they stand below it.
fn crowd(view: &View) -> bool {
    view.faces.len() > FULL_LISTS
}

/// What was looked at more than evenly takes on a tint; what was looked at less is dimmed.
fn write_heat(out: &mut String, class: &str, patches: &[f32], side: usize) -> fmt::Result {
    write!(
        out,
        "<svg class=\"heat {class}\" viewBox=\"0 0 {side} {side}\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\">"
    )?;
    for (at, shade) in shades(patches).enumerate() {
        let (x, y) = (at % side, at / side);
        write_patch(out, (x, y), "#000", DIMMED * shade.less)?;
        write_patch(out, (x, y), &palette::hex(LOOKED), TINTED * shade.more)?;
    }
    out.write_str("</svg>\n")
}

fn write_patch(out: &mut String, (x, y): (usize, usize), fill: &str, opacity: f32) -> fmt::Result {
    if opacity < FAINT {
        return Ok(());
    }
    write!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" fill=\"{fill}\" \
         fill-opacity=\"{opacity:.2}\"/>"
    )
}

/// What the tag of each face says.
fn tags<'a>(view: &'a View) -> impl Iterator<Item = String> + 'a {
    let short = view.faces.len() > TAGGED;
    view.faces
        .iter()
        .map(move |face| match face.answers.first() {
            Some(answer) if !short => format!("{} {}", face.id, headline(answer)),
            _ => face.id.to_string(),
        })
}

fn write_box(out: &mut String, place: [f32; 4], colour: Colour, tag: &str) -> fmt::Result {
    let [x, y, w, h] = place.map(|share| 100.0 * share);
    // a tag above the picture's edge would be cut, and one at its right end would leave it
    let inside = if y < 8.0 { " in" } else { "" };
    let end = if x > 65.0 { " end" } else { "" };
    writeln!(
        out,
        "<div class=\"face{inside}{end}\" style=\"left:{x:.2}%;top:{y:.2}%;width:{w:.2}%;\
         height:{h:.2}%;{}\"><b>{}</b></div>",
        hue(colour),
        escaped(tag)
    )
}

fn hue(colour: Colour) -> String {
    let (hue, on) = (colour, palette::ink_on(colour));
    format!("--hue:{};--on:{}", palette::hex(hue), palette::hex(on))
}

fn write_tokens(out: &mut String, gaze: &Gaze) -> fmt::Result {
    out.write_str(
        "<div class=\"looks\">\n<h2>Where the words looked</h2>\n\
         <p>Amber patches were looked at more than evenly, dark ones less. Point at a token or \
         choose it to see its own in the picture. The bar below it says how narrowly it looks: \
         full at one patch, empty at all patches alike. The answer is read from the whole \
         text.</p>\n<div class=\"tokens\">\n\
         <label class=\"tok plain\" for=\"bare\"><span>picture<br>alone</span></label>\n",
    )?;
    write_token(out, "mean", "all words", &gaze.mean, gaze.side, None)?;
    for (at, token) in gaze.tokens.iter().enumerate() {
        let name = token.piece.map_or("whole text", |p| {
            p.strip_prefix("##")
                .filter(|rest| !rest.is_empty())
                .unwrap_or(p)
        });
        let (choice, strength) = (format!("t{at}"), Some(token.strength()));
        write_token(out, &choice, name, token.patches, gaze.side, strength)?;
    }
    out.write_str("</div>\n</div>\n")
}

fn write_token(
    out: &mut String,
    choice: &str,
    name: &str,
    patches: &[f32],
    side: usize,
    strength: Option<f32>,
) -> fmt::Result {
    write!(
        out,
        "<label class=\"tok\" for=\"{choice}\"><svg viewBox=\"0 0 {side} {side}\" \
         aria-hidden=\"true\">"
    )?;
    for (at, shade) in shades(patches).enumerate() {
        write_patch(out, (at % side, at / side), "#e39a16", shade.more)?;
    }
    write!(out, "</svg><span>{}</span>", escaped(name))?;
    if let Some(strength) = strength {
        let percent = 100.0 * strength;
        write!(out, "<em><u style=\"width:{percent:.0}%\"></u></em>")?;
    }
    out.write_str("</label>\n")
}

fn write_cards(out: &mut String, view: &View) -> fmt::Result {
    for answer in &view.answers {
        out.write_str("<article class=\"card\">\n")?;
        write!(out, "<h2><span>{}</span> ", capital(&answer.event.task))?;
        write_answer(out, answer, usize::MAX)?;
    }
    if !crowd(view) {
        write_faces(out, view, usize::MAX)?;
    }
    if view.answers.is_empty() && view.faces.is_empty() {
        out.write_str(
            "<article class=\"card\"><h2>No answer</h2><p class=\"note\">No face was found, and \
             nothing else was asked for.</p></article>\n",
        )?;
    }
    Ok(())
}

fn write_faces(out: &mut String, view: &View, most: usize) -> fmt::Result {
    for face in &view.faces {
        for answer in &face.answers {
            let (hue, id) = (hue(face.colour), face.id);
            writeln!(out, "<article class=\"card\" style=\"{hue}\">")?;
            write!(out, "<h2><i></i><span>Face {id}</span> ")?;
            write_answer(out, answer, most)?;
        }
    }
    Ok(())
}

/// The rest of a card, from inside its heading on.
fn write_answer(out: &mut String, answer: &AnswerView, most: usize) -> fmt::Result {
    let event = answer.event;
    let basis = match &event.face {
        Some(face) => format!("{}, found with {:.2}", event.task, face.score),
        None => format!("from {}", event.modality.name()),
    };
    write!(
        out,
        "{}</h2>\n<p class=\"basis\">{}</p>\n<dl class=\"bars\">\n",
        escaped(&event.label),
        escaped(&basis)
    )?;
    for (label, p, top) in answer.shortlist(most) {
        let (class, percent) = (if top { " top" } else { "" }, 100.0 * p);
        writeln!(
            out,
            "<dt class=\"{class}\">{}</dt><dd class=\"t{class}\"><div style=\"width:{percent:.1}%\">\
             </div></dd><dd class=\"{class}\">{p:.3}</dd>",
            escaped(label)
        )?;
    }
    out.write_str("</dl>\n")?;
    if !event.words.is_empty() {
        let shows = escaped(&shows(event));
        writeln!(out, "<p class=\"note\">{shows}</p>")?;
    }
    if !event.evidence.edges.is_empty() {
        writeln!(out, "<p class=\"note\">{}</p>", escaped(&edges(event)))?;
    }
    write_neighbours(out, event)?;
    for name in event.entities.iter().flatten() {
        let (text, kind) = (name.text.as_deref().unwrap_or_default(), &name.kind);
        writeln!(
            out,
            "<p class=\"note\">{} {}: characters {}-{}, {:.2}</p>",
            escaped(kind),
            escaped(text),
            name.start,
            name.end,
            name.score
        )?;
    }
    for note in &event.notes {
        writeln!(out, "<p class=\"note\">{}</p>", escaped(note))?;
    }
    out.write_str("</article>\n")
}

/// `The picture shows: dog 0.91, grass 0.70`
pub fn shows(event: &Event) -> String {
    let words = event.words.iter();
    let words: Vec<String> = words
        .map(|w| format!("{} {:.2}", w.word, w.score))
        .collect();
    format!("The picture shows: {}", words.join(", "))
}

/// `Weighed most together: delay - airport 24%, love - crowd 12%`
pub fn edges(event: &Event) -> String {
    let edges = event.evidence.edges.iter();
    let edges: Vec<String> = edges
        .map(|e| format!("{} - {} {:.0}%", e.word, e.shown, 100.0 * e.share))
        .collect();
    format!("Weighed most together: {}", edges.join(", "))
}

/// What is remembered that decided, a line each.
fn write_neighbours(out: &mut String, event: &Event) -> fmt::Result {
    if event.neighbours.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<table class=\"near\">\n<caption>Remembered posts that decided</caption>\n\
         <tr><th>share</th><th>distance</th><th>label</th><th>post</th></tr>\n",
    )?;
    for near in &event.neighbours {
        let text = near.text.as_deref().unwrap_or_default();
        writeln!(
            out,
            "<tr><td>{:.0}%</td><td>{:.3}</td><td>{}</td><td>{} {}</td></tr>",
            100.0 * near.share,
            near.distance,
            escaped(&near.label),
            near.id,
            escaped(text)
        )?;
    }
    out.write_str("</table>\n")
}

/// `happiness 0.93`
pub fn headline(answer: &AnswerView) -> String {
    let top = answer.top.and_then(|at| answer.scores.get(at));
    let p = top.map_or(0.0, |(_, p)| *p);
    format!("{} {p:.2}", answer.event.label)
}

fn write_footer(out: &mut String, view: &View) -> fmt::Result {
    writeln!(
        out,
        "<footer>{} Made from files you named; nothing is stored.</footer>",
        escaped(&credit(view))
    )
}

/// Who answered.
pub fn credit(view: &View) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match view.bundles.is_empty() {
        true => format!("demeanor {version}."),
        false => format!("demeanor {version}, bundles {}.", view.bundles.join(", ")),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Text that means nothing to a browser, whatever is in it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            letter if letter.is_control() => out.push('\u{FFFD}'),
            letter => out.push(letter),
        }
    }
    out
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            out.push(if digit <= group.len() {
                char::from(DIGITS[value as usize])
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_the_rfc() {
        for (bytes, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), wanted);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBE]), "+/++");
    }

    #[test]
    fn text_cannot_become_markup() {
        let wanted = "&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt; &amp;amp; \u{FFFD}";
        assert_eq!(escaped("<img src=\"x\" onerror='y'>\n&amp;\t\u{7}"), wanted);
    }
}

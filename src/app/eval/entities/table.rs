//! Tables: texts with their names as JSON, and what others saw in pictures.

use super::super::table::{Cells, Header, each_row};
use super::{Kinds, Marked, Name, Tweet, content};
use crate::Error;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Reads `id,image,text,entities`; a row with a fault is counted, not kept.
///
/// # Errors
/// A file that cannot be read, is no CSV, or lacks a column.
pub(super) fn read(path: &Path, kinds: &Kinds<'_>) -> Result<Marked, Error> {
    let mut marked = Marked::default();
    let check = |header: &Header| {
        let lacking = ["text", "entities"].into_iter().find(|c| !header.has(c));
        lacking.map_or(Ok(()), |column| {
            Err(format!(
                "has no column `{column}`; the first line must name id,image,text,entities"
            ))
        })
    };
    each_row(path, check, |cells, line| {
        match cells
            .map_err(str::to_owned)
            .and_then(|c| row(c, line, kinds))
        {
            Ok(tweet) => marked.tweets.push(tweet),
            Err(reason) => marked.skipped.add(reason, line),
        }
    })?;
    Ok(marked)
}

fn row(cells: &Cells<'_>, line: u64, kinds: &Kinds<'_>) -> Result<Tweet, String> {
    // space at the ends counts: characters are counted from the first
    let text = cells.whole("text").unwrap_or_default();
    if text.trim().is_empty() {
        return Err("there is no text".into());
    }
    let listed = cells.text("entities").unwrap_or_else(|| "[]".into());
    let listed: Vec<Value> = serde_json::from_str(&listed).map_err(|_| {
        "`entities` is no JSON list of [start, end, type] with perhaps a box behind".to_owned()
    })?;
    let length = text.chars().count();
    let mut names = Vec::new();
    for entry in &listed {
        names.push(name(entry, length, kinds)?);
    }
    names.sort();
    names.dedup();
    Ok(Tweet {
        id: cells.text("id").unwrap_or_else(|| format!("line {line}")),
        line,
        text,
        tokens: Vec::new(),
        marked: names,
        image: cells.path("image"),
    })
}

fn name(entry: &Value, length: usize, kinds: &Kinds<'_>) -> Result<Name, String> {
    let wrong = || "an entity is no [start, end, type, [left, top, right, bottom]?]".to_owned();
    let parts = entry.as_array().ok_or_else(wrong)?;
    let (start, end, kind, place) = match parts.as_slice() {
        [start, end, kind] => (start, end, kind, None),
        [start, end, kind, place] => (start, end, kind, Some(place)),
        _ => return Err(wrong()),
    };
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let (start, end) = number(start).zip(number(end)).ok_or_else(wrong)?;
    if start >= end || end > length {
        return Err("an entity's characters are not within the text".into());
    }
    let kind = kinds.find(kind.as_str().ok_or_else(wrong)?)?;
    if let Some(place) = place.filter(|p| !p.is_null()) {
        let sides = place.as_array().ok_or_else(wrong)?.iter();
        let sides: Option<Vec<f64>> = sides.map(Value::as_f64).collect();
        let fits = sides.is_some_and(
            |s| matches!(s[..], [x0, y0, x1, y1] if 0.0 <= x0 && x0 < x1 && 0.0 <= y0 && y0 < y1),
        );
        if !fits {
            return Err("an entity's box is not within a picture".into());
        }
    }
    Ok(Name {
        kind,
        place: (start, end),
    })
}

/// Columns that hold words for a picture, in the order of preference.
const CAPTIONS: [&str; 3] = ["caption_blip2", "words", "caption"];

/// Content words of each picture, by the tweet's id; of an id that recurs the first row counts.
///
/// # Errors
/// As [`read`].
pub(super) fn captions(path: &Path) -> Result<HashMap<String, Vec<String>>, Error> {
    let mut found = HashMap::new();
    let mut repeated = 0;
    let check = |header: &Header| {
        let id = header.has("imgid") || header.has("id");
        match id && CAPTIONS.iter().any(|c| header.has(c)) {
            true => Ok(()),
            false => Err(format!(
                "needs a column `imgid` or `id`, and one of `{}`",
                CAPTIONS.join("`, `")
            )),
        }
    };
    each_row(path, check, |cells, _| {
        let Ok(cells) = cells else {
            return;
        };
        let id = cells.text("imgid").or_else(|| cells.text("id"));
        let caption = CAPTIONS.into_iter().find_map(|c| cells.text(c));
        if let (Some(id), Some(caption)) = (id, caption) {
            let words = content(&caption);
            let entry = found.entry(id).or_insert_with(|| words.clone());
            repeated += usize::from(*entry != words);
        }
    })?;
    if repeated > 0 {
        let path = path.display();
        log::warn!(
            "{path}: {repeated} rows have the id of an earlier one and other words; the first counts"
        );
    }
    Ok(found)
}

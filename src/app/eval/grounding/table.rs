//! The table of phrases: `image,phrase,status,boxes_224` and perhaps `types`; pictures lie in
//! `images/` beside it.

use super::super::table::{Cells, Header, each_row};
use super::{Phrase, Phrases, Pointed, Sides};
use crate::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// Side of the square in which the boxes are given, whatever the picture's own size.
const SIDE: f32 = 224.0;
/// Columns that must be there.
const COLUMNS: [&str; 4] = ["image", "phrase", "status", "boxes_224"];
/// What a phrase is said to have; all but the first name nothing that could be pointed at.
const STATUS: [&str; 4] = ["box", "nobox", "none", "scene"];

/// Reads a table; a row with a fault, or without its picture, is counted, not kept.
///
/// # Errors
/// A file that cannot be read, is no CSV, or lacks a column.
pub(super) fn read(path: &Path) -> Result<Phrases, Error> {
    let mut phrases = Phrases::default();
    let folder = path.parent().unwrap_or(Path::new(".")).join("images");
    // by name: whether it is there, and where its phrases are
    let mut known: BTreeMap<String, Option<usize>> = BTreeMap::new();
    let check = |header: &Header| {
        let lacking = COLUMNS.into_iter().find(|c| !header.has(c));
        lacking.map_or(Ok(()), |column| {
            let names = COLUMNS.join(",");
            Err(format!(
                "has no column `{column}`; the first line must name {names}"
            ))
        })
    };
    each_row(path, check, |cells, line| {
        let read = cells
            .map_err(str::to_owned)
            .and_then(|cells| Ok((row(cells, line)?, name(cells)?)));
        let (phrase, name) = match read {
            Ok(read) => read,
            Err(reason) => return phrases.skipped.add(reason, line),
        };
        let pictures = &mut phrases.pictures;
        let place = *known.entry(name).or_insert_with_key(|name| {
            let picture = folder.join(name);
            picture.is_file().then(|| {
                let phrases = Vec::new();
                pictures.push(Pointed { picture, phrases });
                pictures.len() - 1
            })
        });
        match place {
            Some(at) => pictures[at].phrases.push(phrase),
            None => phrases
                .skipped
                .add("the picture is not in `images/` beside the table", line),
        }
    })?;
    Ok(phrases)
}

/// The picture's file name; no path, which could lead out of the folder.
fn name(cells: &Cells<'_>) -> Result<String, String> {
    let name = cells.text("image").ok_or("there is no picture")?;
    match Path::new(&name).file_name() == Some(name.as_ref()) {
        true => Ok(name),
        false => Err("`image` is no file name".into()),
    }
}

fn row(cells: &Cells<'_>, line: u64) -> Result<Phrase, String> {
    let words = cells.text("phrase").ok_or("there is no phrase")?;
    let status = cells.text("status").unwrap_or_default();
    if !STATUS.contains(&status.as_str()) {
        let known = STATUS.join(", ");
        return Err(format!("the status `{status}` is none of {known}"));
    }
    let truth = match (status.as_str(), cells.text("boxes_224")) {
        ("box", None) => return Err("the status is `box`, and there is none".into()),
        ("box", Some(boxes)) => Some(around(&boxes)?),
        (_, None) => None,
        (_, Some(_)) => return Err(format!("the status is `{status}`, and there is a box")),
    };
    Ok(Phrase {
        line,
        words,
        kind: cells.text("types").unwrap_or_default(),
        truth,
    })
}

/// The box around all of a phrase's boxes, `LEFT,TOP,RIGHT,BOTTOM` parted by semicolons.
fn around(boxes: &str) -> Result<Sides, String> {
    let mut all = [1.0, 1.0, 0.0, 0.0];
    for text in boxes.split(';') {
        let sides: Result<Vec<f32>, _> = text.split(',').map(|x| x.trim().parse()).collect();
        let Ok([left, top, right, bottom]) = sides.as_deref() else {
            return Err("`boxes_224` is no LEFT,TOP,RIGHT,BOTTOM parted by semicolons".into());
        };
        let within = |low: f32, high: f32| 0.0 <= low && low < high && high <= SIDE;
        if !within(*left, *right) || !within(*top, *bottom) {
            return Err(format!("a box is not within the picture, 0 to {SIDE}"));
        }
        let [left, top, right, bottom] = [left, top, right, bottom].map(|x| x / SIDE);
        all = [
            left.min(all[0]),
            top.min(all[1]),
            right.max(all[2]),
            bottom.max(all[3]),
        ];
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_of_several_things_has_the_box_around_them() {
        let two = around("0,56,112,112; 56,112,224,168.0");
        assert_eq!(two, Ok([0.0, 0.25, 1.0, 0.75]));
        for wrong in [
            "0,0,10",
            "0,0,10,10;",
            "a,0,1,1",
            "10,0,10,5",
            "-1,0,5,5",
            "0,0,225,9",
        ] {
            assert!(around(wrong).is_err(), "{wrong}");
        }
        assert!(around("NaN,0,5,5").is_err());
    }
}

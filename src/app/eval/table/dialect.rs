//! The forms that tables come in: what spreadsheets write in other countries than ours.
//!
//! Read are UTF-8 and UTF-16 with or without a byte order mark, and cells parted by commas,
//! semicolons, tabs or bars, whichever parts the first line most; a line `sep=;` before it, as
//! Excel wants it, has the last word. Bytes that are neither (Windows-1252, say) are refused:
//! to guess wrong would be to judge other words than were said.

use std::ops::Range;

/// What may part cells, the likeliest first.
const SEPARATORS: [(u8, &str); 4] = [
    (b',', "commas"),
    (b';', "semicolons"),
    (b'\t', "tabs"),
    (b'|', "bars"),
];
/// What to do about a table that is not understood.
const ADVICE: &str = "save it as CSV in UTF-8";

/// A table's text, and what parts its cells.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    /// The rows, without the line that names the separator but with that line's end, so that
    /// lines are counted right.
    rows: Range<usize>,
    separator: u8,
}

impl Text {
    /// Understands the bytes of a file.
    ///
    /// # Errors
    /// A sentence that says why it is not a text table, and what to do.
    pub(super) fn of(bytes: Vec<u8>) -> Result<Text, String> {
        if let Some(what) = foreign(&bytes) {
            return Err(format!("is {what} and no table of text; {ADVICE}"));
        }
        let text = decoded(bytes)?;
        let start = text.len() - text.trim_start_matches('\u{feff}').len();
        let (said, first) = said(&text[start..]);
        let rows = start + first..text.len();
        let separator = said.unwrap_or_else(|| likely(first_line(&text[rows.clone()])));
        Ok(Text {
            text,
            rows,
            separator,
        })
    }

    /// The rows, the one with the names of the columns first.
    pub(super) fn rows(&self) -> &str {
        &self.text[self.rows.clone()]
    }

    /// What parts the cells.
    pub(super) fn separator(&self) -> u8 {
        self.separator
    }

    /// Its name, as in "parted by commas".
    pub(super) fn parted_by(&self) -> String {
        let known = SEPARATORS.iter().find(|(byte, _)| *byte == self.separator);
        known.map_or_else(
            || format!("`{}`", self.separator.escape_ascii()),
            |(_, name)| (*name).to_owned(),
        )
    }
}

/// Files that people take for tables.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [b'P', b'K', 3, 4, ..] => "a workbook or an archive",
        [0xD0, 0xCF, 0x11, 0xE0, ..] => "an old Excel workbook",
        [0x1F, 0x8B, ..] => "a gzip archive",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        _ => return None,
    })
}

fn decoded(bytes: Vec<u8>) -> Result<String, String> {
    if let Some(order) = wide(&bytes) {
        let (units, rest) = bytes.as_chunks::<2>();
        let units = units.iter().map(|unit| match order {
            Order::Little => u16::from_le_bytes(*unit),
            Order::Big => u16::from_be_bytes(*unit),
        });
        let text: Result<String, _> = char::decode_utf16(units).collect();
        return match text {
            Ok(text) if rest.is_empty() => Ok(text),
            _ => Err(format!("looks like UTF-16 and is damaged; {ADVICE}")),
        };
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to());
        let line = line_of(good.unwrap_or_default());
        format!("line {line} is no UTF-8: the table is in another encoding; {ADVICE}")
    })?;
    match text.find('\0') {
        Some(at) => Err(format!(
            "line {} has a zero byte in it; {ADVICE}",
            line_of(&text.as_bytes()[..at])
        )),
        None => Ok(text),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// The byte order of UTF-16, by its mark or else by the zeros in its first characters, of
/// which the names of columns have one each.
fn wide(bytes: &[u8]) -> Option<Order> {
    match bytes {
        [0xFF, 0xFE, ..] => Some(Order::Little),
        [0xFE, 0xFF, ..] => Some(Order::Big),
        [first, 0, second, 0, ..] if *first > 0 && *second > 0 => Some(Order::Little),
        [0, first, 0, second, ..] if *first > 0 && *second > 0 => Some(Order::Big),
        _ => None,
    }
}

/// The line, counted from 1, that so many bytes end in.
fn line_of(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn first_line(text: &str) -> &str {
    text.split(['\r', '\n'])
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
}

/// What a line `sep=;` says, and where the line after it begins.
fn said(text: &str) -> (Option<u8>, usize) {
    let line = text.split(['\r', '\n']).next().unwrap_or_default();
    let word = line.trim_matches('"');
    match (word.get(..4), word.as_bytes().get(4..)) {
        // a tab at the end of a line is easily lost
        (Some(name), Some(&[])) if name.eq_ignore_ascii_case("sep=") => (Some(b'\t'), line.len()),
        (Some(name), Some(&[separator])) if name.eq_ignore_ascii_case("sep=") => {
            (Some(separator), line.len())
        }
        _ => (None, 0),
    }
}

/// What parts the names of the columns most often, outside of quotation marks.
fn likely(line: &str) -> u8 {
    let mut counts = SEPARATORS.map(|(separator, _)| (separator, 0));
    let mut quoted = false;
    for byte in line.bytes() {
        quoted ^= byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(s, _)| *s == byte && !quoted) {
            *count += 1;
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts
        .iter()
        .find(|(_, count)| *count == most)
        .map_or(b',', |(separator, _)| *separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Text {
        Text::of(bytes.to_vec()).unwrap()
    }

    #[test]
    fn separators_are_recognised() {
        for (table, separator) in [
            ("id,text,label\n1,a;b;c;d,x\n", b','),
            ("id;text;label\n1;a,b;x\n", b';'),
            ("id\ttext\tlabel\r\n", b'\t'),
            ("id|text|label\r", b'|'),
            ("\"id, number\";\"text\";label\n", b';'),
            ("label\n", b','),
            ("", b','),
        ] {
            assert_eq!(text(table.as_bytes()).separator(), separator, "{table:?}");
        }
        for (table, separator) in [
            ("sep=;\nid,a;label\n", b';'),
            ("\u{feff}SEP=|\r\nid|label\r\n", b'|'),
            ("\"sep=,\"\nid,label", b','),
            ("sep=\nid\tlabel", b'\t'),
        ] {
            let text = text(table.as_bytes());
            assert_eq!(text.separator(), separator, "{table:?}");
            assert!(text.rows().trim_start().starts_with("id"), "{table:?}");
        }
        // a column may be called so
        assert!(text(b"sep=x;id;label\n").rows().starts_with("sep=x"));
    }

    #[test]
    fn encodings_are_recognised_or_named() {
        let table = "\u{feff}id;text;label\r\n1;schön;happy\r\n";
        let little: Vec<u8> = table.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = table.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [&little[..], &little[2..], &big, &big[2..], table.as_bytes()] {
            assert_eq!(text(bytes).rows(), &table[3..]);
        }
        for (bytes, word) in [
            (&little[..little.len() - 1], "damaged"),
            (b"\xFF\xFE\x00\xD8", "damaged"),
            (b"id,text\n1,sch\xF6n\n", "line 2 is no UTF-8"),
            (b"id,text\n1,a\n2,\0\n", "line 3 has a zero byte"),
            (b"PK\x03\x04....", "workbook"),
            (b"\xD0\xCF\x11\xE0....", "Excel"),
            (b"\x1F\x8B\x08.....", "gzip"),
        ] {
            let error = Text::of(bytes.to_vec()).unwrap_err();
            assert!(error.contains(word) && error.contains("UTF-8"), "{error}");
        }
    }
}

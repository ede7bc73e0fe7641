//! The labelled table: `id,audio,text,label` and optionally `speaker,history`.

use crate::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of a table, sorted out.
#[derive(Debug)]
pub struct Table {
    /// Rows whose label the head knows.
    pub rows: Vec<Row>,
    /// How often each other label occurred.
    pub skipped: BTreeMap<String, usize>,
}

/// One labelled item. An absent modality is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Column `id`, or the line number.
    pub id: String,
    /// Sound file; relative paths start at the table's folder.
    pub audio: Option<PathBuf>,
    /// The words.
    pub text: Option<String>,
    /// Earlier utterances, oldest first.
    pub history: Vec<String>,
    /// Index of the true class.
    pub truth: usize,
    /// Who speaks, if the table says so.
    pub speaker: Option<String>,
}

/// Renames labels: `calm=neutral,joy=happy`.
#[derive(Debug, Clone, Default)]
pub struct LabelMap(BTreeMap<String, String>);

impl LabelMap {
    /// Parses `from=to,from=to`.
    ///
    /// # Errors
    /// A part without `=`.
    pub fn parse(text: &str) -> Result<LabelMap, Error> {
        let pair = |part: &str| {
            let (from, to) = part.split_once('=').ok_or_else(|| {
                Error::Usage(format!(
                    "--map: `{part}` is not FROM=TO, as in calm=neutral"
                ))
            })?;
            Ok((normal(from), normal(to)))
        };
        text.split(',')
            .filter(|p| !p.trim().is_empty())
            .map(pair)
            .collect::<Result<_, _>>()
            .map(LabelMap)
    }

    fn apply(&self, label: &str) -> String {
        let label = normal(label);
        self.0.get(&label).cloned().unwrap_or(label)
    }
}

fn normal(label: &str) -> String {
    label.trim().to_lowercase()
}

/// Where each known column stands.
struct Columns {
    id: Option<usize>,
    audio: Option<usize>,
    text: Option<usize>,
    label: usize,
    speaker: Option<usize>,
    history: Option<usize>,
}

impl Columns {
    fn find(headers: &csv::StringRecord) -> Result<Columns, String> {
        let at = |name: &str| {
            headers
                .iter()
                .position(|h| normal(h.trim_start_matches('\u{feff}')) == name)
        };
        let label = at("label")
            .ok_or("has no column `label`; the first line must name id,audio,text,label")?;
        let (audio, text) = (at("audio"), at("text"));
        if audio.is_none() && text.is_none() {
            return Err("has neither a column `audio` nor `text`; one is needed".into());
        }
        Ok(Columns {
            id: at("id"),
            audio,
            text,
            label,
            speaker: at("speaker"),
            history: at("history"),
        })
    }
}

impl Table {
    /// Reads `path`; rows with a label outside `labels` (after `map`) are counted, not kept.
    ///
    /// # Errors
    /// A file that cannot be read, is no CSV, or lacks a column.
    pub fn read(path: &Path, labels: &[String], map: &LabelMap) -> Result<Table, Error> {
        let wrong = |what: String| Error::Table {
            path: path.to_path_buf(),
            what,
        };
        let file = std::fs::File::open(path).map_err(|source| Error::File {
            path: path.into(),
            doing: "read",
            source,
        })?;
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let headers = reader.headers().map_err(|e| wrong(e.to_string()))?;
        let columns = Columns::find(headers).map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut table = Table {
            rows: Vec::new(),
            skipped: BTreeMap::new(),
        };
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|e| wrong(format!("{e}; save it as UTF-8 CSV")))?;
            let label = map.apply(record.get(columns.label).unwrap_or(""));
            match labels.iter().position(|l| *l == label) {
                Some(truth) => table
                    .rows
                    .push(row(&record, &columns, folder, truth, index)),
                None => *table.skipped.entry(label).or_insert(0) += 1,
            }
        }
        Ok(table)
    }
}

fn row(
    record: &csv::StringRecord,
    columns: &Columns,
    folder: &Path,
    truth: usize,
    index: usize,
) -> Row {
    let cell = |column: Option<usize>| {
        column
            .and_then(|c| record.get(c))
            .map(str::trim)
            .filter(|v| !v.is_empty())
            .map(str::to_string)
    };
    Row {
        id: cell(columns.id).unwrap_or_else(|| format!("line {}", index + 2)),
        audio: cell(columns.audio).map(|a| folder.join(a)),
        text: cell(columns.text),
        history: cell(columns.history)
            .map(|h| history(&h))
            .unwrap_or_default(),
        truth,
        speaker: cell(columns.speaker),
    }
}

/// A JSON list of strings, or utterances parted by a line break, a tab, `[SEP]` or ` | `.
fn history(cell: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(cell) {
        return list;
    }
    let separator = ["\n", "\t", "[SEP]", "</s>", "|||", " || ", " | "]
        .into_iter()
        .find(|s| cell.contains(s));
    let parts: Vec<&str> = match separator {
        Some(separator) => cell.split(separator).collect(),
        None => vec![cell],
    };
    parts
        .into_iter()
        .map(str::trim)
        .filter(|u| !u.is_empty())
        .map(str::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_comes_as_json_or_parted() {
        assert_eq!(history(r#"["a, b", "c"]"#), ["a, b", "c"]);
        assert_eq!(history("one | two | three"), ["one", "two", "three"]);
        assert_eq!(history("one\ntwo"), ["one", "two"]);
        assert_eq!(history("just one"), ["just one"]);
    }

    #[test]
    fn a_map_renames_and_a_wrong_one_says_so() {
        let map = LabelMap::parse("calm=neutral, Joy=happy").unwrap_or_default();
        assert_eq!(map.apply(" JOY "), "happy");
        assert_eq!(map.apply("sad"), "sad");
        assert!(
            LabelMap::parse("calm").is_err_and(|e| e.to_string().contains("`calm` is not FROM=TO"))
        );
    }
}

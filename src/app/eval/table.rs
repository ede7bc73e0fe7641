//! The labelled table: a CSV file whose columns are found by name.

use super::item::{Columns, Item};
use crate::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of a table, sorted out.
#[derive(Debug)]
pub(super) struct Table {
    /// Rows whose label the head knows.
    pub rows: Vec<Row>,
    /// How many rows were left out, by label or reason.
    pub skipped: BTreeMap<String, usize>,
}

/// One labelled item.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Column `id`, or the line number.
    pub id: String,
    /// What is right.
    pub truth: Truth,
    /// Who speaks, if the table says so.
    pub speaker: Option<String>,
    /// What is asked.
    pub item: Item,
}

/// The right answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Truth {
    /// Index of the true class.
    pub class: usize,
    /// Shares of the classes among the annotators' votes, summing to 1, if there are votes.
    pub votes: Option<Vec<f32>>,
}

impl Truth {
    /// A class that nobody voted on.
    pub fn certain(class: usize) -> Truth {
        Truth { class, votes: None }
    }
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

/// The labels that a head knows, and other names for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<'a> {
    /// In the order of the logits.
    pub names: &'a [String],
    /// The user's renaming.
    pub map: &'a LabelMap,
}

impl Labels<'_> {
    /// Index of the class in a row's column `label`.
    ///
    /// # Errors
    /// The label (renamed, in small letters) if the head does not know it.
    pub fn find(&self, cells: &Cells) -> Result<usize, String> {
        let label = self.map.apply(&cells.text("label").unwrap_or_default());
        let class = self.names.iter().position(|l| *l == label);
        class.ok_or(label)
    }
}

/// Which column stands where.
#[derive(Debug)]
pub(super) struct Header(BTreeMap<String, usize>);

impl Header {
    fn of(record: &csv::StringRecord) -> Header {
        let mut columns = BTreeMap::new();
        for (at, name) in record.iter().enumerate() {
            // a byte order mark is no part of a name; of equal names the first counts
            let name = normal(name.trim_start_matches('\u{feff}'));
            columns.entry(name).or_insert(at);
        }
        Header(columns)
    }

    /// Does the table have this column?
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// The cells of a row.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    record: &'a csv::StringRecord,
    header: &'a Header,
    folder: &'a Path,
}

impl Cells<'_> {
    /// A cell with something in it, without the space around it.
    pub fn text(&self, column: &str) -> Option<String> {
        let cell = self.record.get(*self.header.0.get(column)?)?.trim();
        (!cell.is_empty()).then(|| cell.to_owned())
    }

    /// A file; relative paths start at the table's folder.
    pub fn path(&self, column: &str) -> Option<PathBuf> {
        self.text(column).map(|file| self.folder.join(file))
    }
}

impl Table {
    /// Reads `path`; rows without a class of the head are counted, not kept.
    ///
    /// # Errors
    /// A file that cannot be read, is no CSV, or lacks a column.
    pub fn read(path: &Path, columns: &Columns, labels: Labels) -> Result<Table, Error> {
        let mut table = Table {
            rows: Vec::new(),
            skipped: BTreeMap::new(),
        };
        each_row(path, columns, |cells, line| {
            match columns.truth(cells, &labels) {
                Ok(truth) => table.rows.push(Row {
                    id: cells.text("id").unwrap_or_else(|| format!("line {line}")),
                    truth,
                    speaker: cells.text("speaker"),
                    item: columns.item(cells),
                }),
                Err(reason) => *table.skipped.entry(reason).or_insert(0) += 1,
            }
        })?;
        Ok(table)
    }
}

/// What every row of `path` asks, whatever its label.
///
/// # Errors
/// As [`Table::read`].
pub(super) fn items(path: &Path, columns: &Columns) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    each_row(path, columns, |cells, _| items.push(columns.item(cells)))?;
    Ok(items)
}

fn each_row(
    path: &Path,
    columns: &Columns,
    mut take: impl FnMut(&Cells, usize),
) -> Result<(), Error> {
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
    let header = Header::of(reader.headers().map_err(|e| wrong(e.to_string()))?);
    columns.check(&header).map_err(wrong)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    for (index, record) in reader.records().enumerate() {
        let record = &record.map_err(|e| wrong(format!("{e}; save it as UTF-8 CSV")))?;
        let cells = Cells {
            record,
            header: &header,
            folder,
        };
        take(&cells, index + 2);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_renames_and_a_wrong_one_says_so() {
        let map = LabelMap::parse("calm=neutral, Joy=happy").unwrap_or_default();
        assert_eq!(map.apply(" JOY "), "happy");
        assert_eq!(map.apply("sad"), "sad");
        assert!(
            LabelMap::parse("calm").is_err_and(|e| e.to_string().contains("`calm` is not FROM=TO"))
        );
    }

    #[test]
    fn columns_are_found_by_name_and_empty_cells_are_none() {
        let header = csv::StringRecord::from(vec!["\u{feff}ID", " Text ", "image", "text"]);
        let record = csv::StringRecord::from(vec!["7", " so be it ", "a.png"]);
        let cells = Cells {
            record: &record,
            header: &Header::of(&header),
            folder: Path::new("there"),
        };
        assert_eq!(cells.text("id").as_deref(), Some("7"));
        assert_eq!(cells.text("text").as_deref(), Some("so be it"));
        assert_eq!(cells.path("image"), Some(PathBuf::from("there/a.png")));
        assert_eq!((cells.text("label"), cells.path("sound")), (None, None));
    }
}

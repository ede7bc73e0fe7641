//! The labelled table: a CSV file whose columns are found by name.
//!
//! No row is lost without a word: rows with more cells than columns are skipped and counted by
//! that reason, rows with fewer are read and told, and quotation marks that swallow rows are
//! told, or refused where nothing closes them.

mod dialect;

use super::item::{Columns, Item};
use crate::Error;
use crate::capture::limits;
use dialect::Text;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Rows of a table, sorted out.
#[derive(Debug)]
pub(in crate::app) struct Table {
    /// Rows whose label the head knows.
    pub rows: Vec<Row>,
    /// How many rows were left out, by label or reason.
    pub skipped: BTreeMap<String, usize>,
}

/// One labelled item.
#[derive(Debug, Clone)]
pub(in crate::app) struct Row {
    /// Column `id`, or the line number.
    pub id: String,
    /// What is right.
    pub truth: Truth,
    /// Who speaks, if the table says so.
    pub speaker: Option<String>,
    /// What belongs together beyond that, if the table says so: a place, a day.
    pub group: Option<String>,
    /// What is asked.
    pub item: Item,
}

/// The right answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) struct Truth {
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
#[derive(Debug, Clone, Default, PartialEq)]
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

    /// A label in small letters, renamed.
    pub(in crate::app) fn apply(&self, label: &str) -> String {
        let label = normal(label);
        self.0.get(&label).cloned().unwrap_or(label)
    }
}

fn normal(label: &str) -> String {
    label.trim().to_lowercase()
}

/// The labels that a head knows, and other names for them.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Labels<'a> {
    /// In the order of the logits.
    pub names: &'a [String],
    /// The user's renaming.
    pub map: &'a LabelMap,
}

impl Labels<'_> {
    /// Index of the class in a row's column `label`.
    ///
    /// # Errors
    /// The label itself (renamed, in small letters), if the head does not know it.
    pub fn find(&self, cells: &Cells) -> Result<usize, String> {
        let label = self.map.apply(&cells.text("label").unwrap_or_default());
        let class = self.names.iter().position(|l| *l == label);
        class.ok_or(label)
    }
}

/// Which column stands where.
#[derive(Debug)]
pub(in crate::app) struct Header(BTreeMap<String, usize>);

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

    /// The names, in the order of the columns.
    fn names(&self) -> String {
        let mut columns: Vec<(&usize, &String)> = self.0.iter().map(|(n, at)| (at, n)).collect();
        columns.sort_unstable();
        let names: Vec<String> = columns
            .iter()
            .map(|(_, name)| format!("`{name}`"))
            .collect();
        names.join(", ")
    }

    /// Does the table have this column?
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// The cells of a row.
#[derive(Debug)]
pub(in crate::app) struct Cells<'a> {
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

    /// A cell as it is, space and all.
    pub fn whole(&self, column: &str) -> Option<String> {
        let cell = self.record.get(*self.header.0.get(column)?)?;
        Some(cell.to_owned())
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
        let check = |header: &Header| columns.check(header);
        each_row(path, check, |cells, line| {
            let truth = match cells {
                Ok(cells) => columns.truth(cells, &labels).map(|truth| (truth, cells)),
                Err(reason) => Err(reason.to_owned()),
            };
            match truth {
                Ok((truth, cells)) => table.rows.push(Row {
                    id: cells.text("id").unwrap_or_else(|| format!("line {line}")),
                    truth,
                    speaker: cells.text("speaker"),
                    group: cells.text("group"),
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
    let check = |header: &Header| columns.check(header);
    each_row(path, check, |cells, _| {
        items.extend(cells.ok().map(|cells| columns.item(cells)));
    })?;
    Ok(items)
}

/// Hands on every row with its line, or why it cannot be one.
///
/// # Errors
/// As [`Table::read`].
pub(in crate::app) fn each_row(
    path: &Path,
    check: impl Fn(&Header) -> Result<(), String>,
    take: impl FnMut(Result<&Cells, &str>, u64),
) -> Result<(), Error> {
    each_row_of(path, bytes(path)?, check, take)
}

/// How many rows a table in memory has that are whole; `path` is what messages call it.
///
/// # Errors
/// As [`Table::read`], but for the columns.
#[doc(hidden)]
pub fn count_rows(path: &Path, bytes: Vec<u8>) -> Result<usize, Error> {
    let mut count = 0;
    each_row_of(
        path,
        bytes,
        |_| Ok(()),
        |cells, _| count += usize::from(cells.is_ok()),
    )?;
    Ok(count)
}

fn each_row_of(
    path: &Path,
    bytes: Vec<u8>,
    check: impl Fn(&Header) -> Result<(), String>,
    mut take: impl FnMut(Result<&Cells, &str>, u64),
) -> Result<(), Error> {
    let wrong = |what: String| Error::Table {
        path: path.to_path_buf(),
        what,
    };
    let text = Text::of(bytes).map_err(wrong)?;
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .delimiter(text.separator())
        .from_reader(text.rows().as_bytes());
    let header = Header::of(reader.headers().map_err(|e| wrong(e.to_string()))?);
    check(&header).map_err(|what| {
        let (names, parted) = (header.names(), text.parted_by());
        wrong(format!("{what}; it names {names}, parted by {parted}"))
    })?;
    let columns = reader.headers().map_or(0, csv::StringRecord::len);
    let folder = path.parent().unwrap_or(Path::new("."));
    let (mut short, mut swallowed) = (Rows::default(), Rows::default());
    let record = &mut csv::StringRecord::new();
    while reader
        .read_record(record)
        .map_err(|e| wrong(e.to_string()))?
    {
        let is_last = reader.position().byte() >= text.rows().len() as u64;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let line = line(record, text.rows());
        match swallow(record, &text, columns, is_last) {
            Swallow::None => {}
            Swallow::Some => swallowed.note(line),
            Swallow::Rest => {
                return Err(wrong(format!(
                    "the quotation mark that opens a cell in the row at line {line} is never \
                     closed, and all rows behind it are lost in that cell; close it, or double \
                     it if it belongs to the text"
                )));
            }
        }
        if record.len() < columns {
            short.note(line);
        }
        let surplus = record
            .iter()
            .skip(columns)
            .any(|cell| !cell.trim().is_empty());
        let cells = Cells {
            record: &*record,
            header: &header,
            folder,
        };
        take(if surplus { Err(SURPLUS) } else { Ok(&cells) }, line);
    }
    short.tell(
        path,
        "fewer cells than columns; what is missing was taken for empty",
    );
    swallowed.tell(
        path,
        "a cell that holds what looks like rows; a quotation mark may be missing or too many",
    );
    Ok(())
}

/// Why a row is skipped that has cells without a column.
const SURPLUS: &str = "more cells than columns";

/// The bytes of a table.
///
/// # Errors
/// A file that cannot be read, or is too long.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File {
        path: path.into(),
        doing: "read",
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let most = limits::MAX_TABLE as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limits::MAX_TABLE {
        return Err(Error::Table {
            path: path.into(),
            what: format!("is longer than {} MiB; split it", limits::MAX_TABLE >> 20),
        });
    }
    Ok(bytes)
}

/// Rows with something odd about them.
#[derive(Debug, Default)]
struct Rows {
    count: usize,
    first: u64,
}

impl Rows {
    fn note(&mut self, line: u64) {
        if self.count == 0 {
            self.first = line;
        }
        self.count += 1;
    }

    fn tell(&self, path: &Path, what: &str) {
        let (path, first) = (path.display(), self.first);
        match self.count {
            0 => {}
            1 => log::warn!("{path}: the row at line {first} has {what}"),
            count => log::warn!("{path}: {count} rows, the first at line {first}, have {what}"),
        }
    }
}

/// What a row's quotation marks have swallowed.
#[derive(Debug, PartialEq, Eq)]
enum Swallow {
    None,
    /// Lines that look like rows.
    Some,
    /// Everything up to the end of the table.
    Rest,
}

/// The line at which a row begins: its position is that of the empty lines before it.
fn line(record: &csv::StringRecord, rows: &str) -> u64 {
    let Some(position) = record.position() else {
        return 0;
    };
    let rest = rows.get(position.byte() as usize..).unwrap_or_default();
    let empty = rest
        .bytes()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + empty.filter(|byte| *byte == b'\n').count() as u64
}

fn swallow(record: &csv::StringRecord, text: &Text, columns: usize, is_last: bool) -> Swallow {
    let lines = |cell: &str| cell.contains(['\n', '\r']);
    if !record.iter().any(lines) {
        return Swallow::None;
    }
    // a cell that a quotation mark closes ends with one in the file
    let unclosed = |cell: &str| {
        let last = cell
            .trim_end()
            .rsplit(['\r', '\n'])
            .next()
            .unwrap_or_default();
        lines(cell) && text.rows().trim_end().ends_with(last)
    };
    if is_last && record.iter().next_back().is_some_and(unclosed) {
        return Swallow::Rest;
    }
    let separator = char::from(text.separator());
    let is_row = |line: &str| columns > 1 && line.matches(separator).count() + 1 >= columns;
    // the first and the last line of a cell are parts of its own row
    let inner = |cell: &str| {
        let lines: Vec<&str> = cell.split(['\r', '\n']).collect();
        let inner = lines.get(1..lines.len() - 1).unwrap_or_default();
        inner.iter().copied().any(is_row)
    };
    match record.iter().any(inner) {
        true => Swallow::Some,
        false => Swallow::None,
    }
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

    /// Lines and first cells of a table's rows, or what is wrong with it.
    fn rows(table: &str) -> Result<Vec<(u64, String)>, String> {
        let mut rows = Vec::new();
        let path = Path::new("table.csv");
        let done = each_row_of(
            path,
            table.into(),
            |_| Ok(()),
            |cells, line| {
                let first = match cells {
                    Ok(cells) => cells.text("id").unwrap_or_default(),
                    Err(reason) => reason.to_owned(),
                };
                rows.push((line, first));
            },
        );
        done.map(|()| rows).map_err(|e| e.to_string())
    }

    #[test]
    fn rows_keep_their_lines_and_odd_ones_are_counted() {
        let table = "sep=;\nid;text;label\n1;\"a\nb\";x\n\n;;\n2;short\n3;a;b;c\n4;a;x;;\n";
        let wanted = [(3, "1"), (7, "2"), (8, SURPLUS), (9, "4")];
        let wanted = wanted.map(|(line, first)| (line, first.to_owned()));
        assert_eq!(rows(table), Ok(wanted.to_vec()));
    }

    #[test]
    fn a_quotation_mark_that_nothing_closes_is_refused() {
        let error = rows("id,text,label\n1,a,x\n2,\"b,x\n3,c,x\n4,d,x\n").unwrap_err();
        assert!(
            error.contains("line 3") && error.contains("never closed"),
            "{error}"
        );
        // one that another row's closes is told, for it may be meant
        assert_eq!(
            rows("id,text,label\n1,\"b\",x\n2,\"c\nd\",x\n").map(|r| r.len()),
            Ok(2)
        );
        let table = "id,text,label\n1,\"b,x\n2,c,x\n3,\"d\",x\n";
        let text = Text::of(table.into()).unwrap();
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(text.rows().as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(
            swallow(&record, &text, 3, false),
            Swallow::Some,
            "{record:?}"
        );
    }
}

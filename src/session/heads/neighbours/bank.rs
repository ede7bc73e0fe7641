//! The file of a memory bank: safetensors with `rows` `[n, width]`, in int8 with a `scale` for each or
//! in half floats, the class (`labels`, u8) and the number (`ids`, u64) of what each row remembers.
//! Its metadata hold `k`, `tau`, and the hash of each file that made it, as `sha256:NAME`.

use crate::fusion::{Data, MemoryBank, Tensor};
use crate::kernels;
use crate::model::manifest::Manifest;
use crate::model::{Bundle, ModelError, Origin};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// What an operator may put beside a bank: the text of its items, one `{"id": "…", "text": "…"}` a
/// line, with ids as events show them or as numbers.
const EVIDENCE: &str = "evidence.jsonl";
/// A longer header is none.
const MOST_HEADER: usize = 1 << 20;
const HASH: &str = "sha256:";

/// What the search goes through.
enum Stored {
    /// `[width, rows]`, and the scale of each row.
    Int8 { columns: Vec<i8>, scale: Vec<f32> },
    /// `[rows, width]`.
    Half(Vec<u16>),
}

/// A bank, checked.
pub(super) struct Bank {
    name: String,
    /// Rows and their width.
    pub dims: (usize, usize),
    stored: Stored,
    pub labels: Vec<u8>,
    pub ids: Vec<u64>,
    pub k: usize,
    pub tau: f32,
    /// Texts that the operator supplies, by the number of the item.
    pub evidence: HashMap<u64, String>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

#[derive(Deserialize)]
struct Line {
    id: Id,
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Text(String),
}

impl Bank {
    /// The bank that a manifest lists as `file`, or the one of that name in `folder`.
    ///
    /// # Errors
    /// One that cannot be read, was made by other files, is empty, holds what is no number, or
    /// has fewer rows than are asked.
    pub fn find(bundle: &Bundle, file: &str, folder: Option<&Path>) -> Result<Bank, ModelError> {
        let beside = folder.or(match &bundle.origin {
            Origin::Folder(own) => Some(own.as_path()),
            Origin::Embedded => None,
        });
        let (name, read);
        let bytes = match folder {
            Some(folder) => {
                let path = folder.join(file);
                name = path.display().to_string();
                read = fs::read(&path).map_err(|source| ModelError::Unreadable { path, source })?;
                Some(read.as_slice())
            }
            None => {
                name = file.to_owned();
                bundle.bytes(file)
            }
        };
        let refused = |what: String| ModelError::Refused {
            name: name.clone(),
            what,
        };
        let bytes = bytes.ok_or_else(|| refused("is not in the bundle".into()))?;
        let mut bank = Bank::parse(bytes, &bundle.manifest, &name).map_err(refused)?;
        if let Some(path) = beside.map(|b| b.join(EVIDENCE)).filter(|p| p.is_file()) {
            let text = fs::read_to_string(&path).map_err(|source| ModelError::Unreadable {
                path: path.clone(),
                source,
            })?;
            bank.evidence = evidence(&text).map_err(|what| ModelError::Refused {
                name: path.display().to_string(),
                what,
            })?;
        }
        Ok(bank)
    }

    /// What finds the nearest.
    ///
    /// # Errors
    /// Rows that hold what is no number.
    pub fn memory(&self) -> Result<MemoryBank, ModelError> {
        let (rows, width) = self.dims;
        let tensor = |dims: &[usize], data| Tensor {
            dims: dims.to_vec(),
            data,
        };
        let answers = vec![0.0; rows];
        let answers = tensor(&[rows, 1], Data::F32(&answers));
        let (function, weights) = match &self.stored {
            Stored::Int8 { columns, scale } => {
                let bank = tensor(&[width, rows], Data::I8(columns));
                let scale = tensor(&[rows], Data::F32(scale));
                ("MemoryBankFusionInt8", vec![bank, scale, answers])
            }
            Stored::Half(values) => {
                let bank = tensor(&[rows, width], Data::F16(values));
                ("MemoryBankFusion", vec![bank, answers])
            }
        };
        let settings = [("k", self.k as f64), ("tau", f64::from(self.tau))];
        let memory = MemoryBank::new(function, weights, &settings, *kernels::active());
        memory.map_err(|e| self.refused(e))
    }

    /// The bank as refused for what it turned out to be.
    pub fn refused(&self, what: impl ToString) -> ModelError {
        ModelError::Refused {
            name: self.name.clone(),
            what: what.to_string(),
        }
    }

    fn parse(bytes: &[u8], manifest: &Manifest, name: &str) -> Result<Bank, String> {
        let broken = || "is no memory bank in safetensors, or was cut".to_owned();
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MOST_HEADER || length > rest.len() {
            return Err(broken());
        }
        let (header, data) = rest.split_at(length);
        let mut header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|_| broken())?;
        let about = header.remove("__metadata__").unwrap_or_default();
        let about: BTreeMap<String, String> =
            serde_json::from_value(about).map_err(|_| "has no metadata".to_owned())?;
        check_makers(&about, manifest)?;
        let mut tensor = |name: &str, dtypes: &[&str]| {
            let entry = header.remove(name);
            let entry: Entry = entry
                .and_then(|e| serde_json::from_value(e).ok())
                .filter(|e: &Entry| dtypes.contains(&e.dtype.as_str()))
                .ok_or_else(|| format!("has no tensor `{name}` of {}", dtypes.join(" or ")))?;
            let [start, end] = entry.data_offsets;
            let bytes = data.get(start..end).ok_or_else(broken)?;
            Ok::<_, String>((entry, bytes))
        };
        let (of_rows, rows) = tensor("rows", &["I8", "F16"])?;
        let is_half = of_rows.dtype == "F16";
        let scale = if is_half {
            None
        } else {
            Some(floats(tensor("scale", &["F32"])?.1))
        };
        let (_, labels) = tensor("labels", &["U8"])?;
        let (_, ids) = tensor("ids", &["U64"])?;
        let [n, width] = of_rows.shape[..] else {
            return Err("its tensor `rows` has not two axes".into());
        };
        if n == 0 || width == 0 {
            return Err("remembers nothing: it has no rows".into());
        }
        let size = if is_half { 2 } else { 1 };
        let whole = n
            .checked_mul(width)
            .and_then(|values| values.checked_mul(size))
            == Some(rows.len())
            && [labels.len(), ids.len() / 8] == [n; 2]
            && scale.as_ref().is_none_or(|scale| scale.len() == n);
        if !whole {
            return Err("its tensors do not have one entry for each row".into());
        }
        let number = |name: &str| {
            let text = about.get(name);
            text.ok_or_else(|| format!("its metadata do not give `{name}`"))
        };
        let k = number("k")?.parse().ok().filter(|k| *k > 0);
        let k: usize = k.ok_or("its metadata give a `k` that is no whole number from 1")?;
        if k > n {
            return Err(format!("asks for the {k} nearest of {n} rows"));
        }
        let tau = number("tau")?.parse().ok();
        let tau: f32 = tau
            .filter(|tau: &f32| (1e-6..=1e6).contains(tau))
            .ok_or("its metadata give a `tau` that is no positive number")?;
        let stored = match scale {
            None => Stored::Half(halves(rows)),
            Some(scale) if scale.iter().all(|s| s.is_finite() && *s > 0.0) => {
                let columns = (0..width).flat_map(|c| rows[c..].iter().step_by(width));
                let columns = columns.map(|b| b.cast_signed()).collect();
                Stored::Int8 { columns, scale }
            }
            Some(_) => return Err("holds a scale that is no positive number".into()),
        };
        Ok(Bank {
            name: name.to_owned(),
            dims: (n, width),
            stored,
            labels: labels.to_vec(),
            ids: ids
                .as_chunks()
                .0
                .iter()
                .map(|b| u64::from_le_bytes(*b))
                .collect(),
            k,
            tau,
            evidence: HashMap::new(),
        })
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let four = bytes.as_chunks().0.iter();
    four.map(|b| f32::from_le_bytes(*b)).collect()
}

fn halves(bytes: &[u8]) -> Vec<u16> {
    let two = bytes.as_chunks().0.iter();
    two.map(|b| u16::from_le_bytes(*b)).collect()
}

/// Rows mean something only to the files that made them.
fn check_makers(about: &BTreeMap<String, String>, manifest: &Manifest) -> Result<(), String> {
    let mut makers = about
        .iter()
        .filter_map(|(k, hash)| Some((k.strip_prefix(HASH)?, hash)));
    let mut count = 0;
    let other = makers.find(|(file, hash)| {
        count += 1;
        manifest.file(file).is_none_or(|f| f.sha256 != **hash)
    });
    match other {
        Some((file, _)) => Err(format!(
            "was made by another {file} than this bundle has, so its rows mean nothing here"
        )),
        None if count == 0 => Err("does not say which files made it".into()),
        None => Ok(()),
    }
}

fn evidence(text: &str) -> Result<HashMap<u64, String>, String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty());
    let read = lines.map(|(at, line)| {
        let read = serde_json::from_str::<Line>(line).ok().and_then(|line| {
            let id = match line.id {
                Id::Number(id) => id,
                Id::Text(id) => id.parse().ok()?,
            };
            Some((id, line.text))
        });
        read.ok_or_else(|| {
            format!(
                "line {} is not {{\"id\": \"NUMBER\", \"text\": \"TEXT\"}}",
                at + 1
            )
        })
    });
    read.collect()
}

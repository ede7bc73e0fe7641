//! NumPy's `.npy`, version 1: f32, i64 and u8, row-major.

use crate::Error;
use crate::model::{Content, Output};
use std::fs;
use std::path::Path;

fn broken(path: &Path, what: &str) -> Error {
    Error::Table {
        path: path.to_path_buf(),
        what: format!("{what}; write it with numpy.save as float32, int64 or uint8"),
    }
}

/// Reads an array.
pub(super) fn read(path: &Path) -> Result<Content, Error> {
    let bytes = fs::read(path).map_err(|source| Error::File {
        path: path.to_path_buf(),
        doing: "read",
        source,
    })?;
    parse(&bytes).ok_or_else(|| broken(path, "is no row-major .npy of a known type"))
}

fn parse(bytes: &[u8]) -> Option<Content> {
    let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00")?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (header, data) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let header = std::str::from_utf8(header).ok()?;
    let shape = header.split("'shape': (").nth(1)?.split(')').next()?;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
    let dims: Vec<usize> = sizes.map(str::parse).collect::<Result<_, _>>().ok()?;
    let count = dims.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))?;
    if !header.contains("'fortran_order': False") {
        return None;
    }
    if header.contains("'<f4'") && data.len() == count.checked_mul(4)? {
        let values = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        return Some(Content::Floats(dims, values.collect()));
    }
    if header.contains("'|u1'") && data.len() == count {
        return Some(Content::Bytes(dims, data.to_vec()));
    }
    if header.contains("'<i8'") && data.len() == count.checked_mul(8)? {
        let values = data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
        return Some(Content::Ints(dims, values.collect()));
    }
    None
}

/// Writes an output.
pub(super) fn write(path: &Path, output: &Output) -> Result<(), Error> {
    let sizes: String = output.dims.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
        sizes.trim_end()
    );
    let padding = 64 - (10 + header.len() + 1) % 64;
    header.extend(std::iter::repeat_n(' ', padding % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(output.values.iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).map_err(|source| Error::File {
        path: path.to_path_buf(),
        doing: "written",
        source,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("demeanor-npy-{}.npy", std::process::id()));
        let output = Output {
            dims: vec![2, 3],
            values: vec![1.0, -2.0, 3.5, 0.0, 1e-9, 7.0],
        };
        write(&path, &output).unwrap();
        let Content::Floats(dims, values) = read(&path).unwrap() else {
            panic!("no floats");
        };
        fs::remove_file(&path).unwrap();
        assert_eq!((dims, values), (output.dims, output.values));
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for bytes in [
            &b""[..],
            b"\x93NUMPY\x01\x00\xff\xff",
            b"\x93NUMPY\x02\x00aaaa",
        ] {
            assert!(parse(bytes).is_none());
        }
    }
}

//! NumPy's `.npy`, version 1, row-major: numbers and booleans.

use crate::Error;
use crate::model::Array;
use std::fs;
use std::path::Path;

fn broken(path: &Path, what: &str) -> Error {
    Error::Table {
        path: path.to_path_buf(),
        what: format!("{what}; write it with numpy.save as float32, float64, bool or integers"),
    }
}

/// Reads an array.
pub(super) fn read(path: &Path) -> Result<Array, Error> {
    let bytes = fs::read(path).map_err(|source| Error::File {
        path: path.to_path_buf(),
        doing: "read",
        source,
    })?;
    parse(&bytes).ok_or_else(|| broken(path, "is no row-major .npy of a known type"))
}

fn parse(bytes: &[u8]) -> Option<Array> {
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
    let kind = header.split("'descr': '").nth(1)?.split('\'').next()?;
    let size = kind.get(2..)?.parse::<usize>().ok()?;
    if data.len() != count.checked_mul(size)? {
        return None;
    }
    Some(match kind {
        "<f4" => Array::Floats(dims, numbers(data, f32::from_le_bytes)),
        "<f8" => Array::Doubles(dims, numbers(data, f64::from_le_bytes)),
        "|u1" => Array::Bytes(dims, data.to_vec()),
        "|b1" => Array::Ints(dims, numbers(data, |[b]| i64::from(b != 0))),
        "|i1" => Array::Ints(dims, numbers(data, |b| i8::from_le_bytes(b).into())),
        "<i2" => Array::Ints(dims, numbers(data, |b| i16::from_le_bytes(b).into())),
        "<u2" => Array::Ints(dims, numbers(data, |b| u16::from_le_bytes(b).into())),
        "<i4" => Array::Ints(dims, numbers(data, |b| i32::from_le_bytes(b).into())),
        "<u4" => Array::Ints(dims, numbers(data, |b| u32::from_le_bytes(b).into())),
        "<i8" => Array::Ints(dims, numbers(data, i64::from_le_bytes)),
        _ => return None,
    })
}

fn numbers<T, const N: usize>(data: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|b| of(*b)).collect()
}

/// Writes an output.
pub(super) fn write(path: &Path, output: &Array) -> Result<(), Error> {
    let (dims, kind, data): (_, _, Vec<u8>) = match output {
        Array::Floats(dims, x) => (
            dims,
            "<f4",
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Array::Doubles(dims, x) => (
            dims,
            "<f8",
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Array::Ints(dims, x) => (
            dims,
            "<i8",
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Array::Bytes(dims, x) => (dims, "|u1", x.clone()),
    };
    let sizes: String = dims.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!(
        "{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}",
        sizes.trim_end()
    );
    let padding = 64 - (10 + header.len() + 1) % 64;
    header.extend(std::iter::repeat_n(' ', padding % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
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
        for output in [
            Array::Floats(vec![2, 3], vec![1.0, -2.0, 3.5, 0.0, 1e-9, 7.0]),
            Array::Doubles(vec![2], vec![1e-300, -0.5]),
            Array::Ints(vec![], vec![i64::MIN]),
            Array::Bytes(vec![3, 1], vec![0, 128, 255]),
        ] {
            write(&path, &output).unwrap();
            assert_eq!(read(&path).unwrap(), output);
        }
        fs::remove_file(&path).unwrap();
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

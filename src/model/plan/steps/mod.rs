//! The operations of a plan, one file per family.

mod attention;
mod call;
mod columns;
mod conv;
mod embed;
mod float;
mod linear;
mod picture;
mod product;
mod select;
mod shape;

pub(super) use attention::Attend;
pub(super) use call::Call;
pub(super) use columns::EmbedColumns;
pub(super) use conv::{After, Conv, Conv1d, DepthwiseConv, MAX_TAPS, Window};
pub(super) use embed::{CastInts, Embed, GatherInts, GatherRows, Positions, Written};
pub(super) use float::{
    AveragePool1d, Binary, BinaryOp, DynamicProduct, Reduce, Softmax, Transpose, Unary,
};
pub(super) use linear::{LayerNorm, LinearStep, Quantise};
pub(super) use picture::{
    AddCodes, DequantiseImage, MaxCodes, Pixels, PoolCodes, QuantiseImage, Rounded,
};
pub(super) use product::Product32;
pub(super) use select::{Concat, Select};
pub(super) use shape::{ShapeOf, SliceInts, View};

use super::step::{Fact, Io, Kind};
use crate::kernels;
use crate::kernels::int8::{COLUMNS, Codes, ProductScratch, Quant, padded_depth};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// Most inputs or outputs of a step.
pub(super) const MOST: usize = 8;

/// Bytes from one pixel of an image of codes to the next.
///
/// Few channels (a picture's three) stay as they are; what reads them gathers windows.
pub(super) fn pixel(channels: usize) -> usize {
    if channels <= 4 {
        channels
    } else {
        padded_depth(channels)
    }
}

/// Channels, height and width of `[1, c, h, w]`.
pub(super) fn image(fact: &Fact) -> Result<(usize, usize, usize), String> {
    match fact.dims.as_slice() {
        [1, c, h, w] if *c > 0 && *h > 0 && *w > 0 => Ok((*c, *h, *w)),
        dims => Err(format!("needs one picture [1, c, h, w], not {dims:?}")),
    }
}

/// Bytes of a value of codes.
pub(super) fn codes_len(fact: &Fact) -> usize {
    match (fact.kind, &fact.dims[..]) {
        (Kind::Image, [1, c, h, w]) => (h * w + w).saturating_mul(pixel(*c)),
        _ => fact.rows().saturating_mul(padded_depth(fact.width())),
    }
}

impl<'a> Io<'a> {
    /// Codes of input `i`, as rows.
    pub fn rows(&self, i: usize) -> Result<(Codes<'a>, Quant), String> {
        let (buffer, fact): (&'a _, &'a _) = (self.inputs[i], self.facts[i]);
        let codes = Codes {
            bytes: &buffer.codes[..codes_len(fact)],
            rows: fact.rows(),
            stride: padded_depth(fact.width()),
        };
        Ok((codes, buffer.quant.ok_or("an input was not quantised")?))
    }

    /// Whole numbers of input `i`.
    pub fn ints(&self, i: usize) -> &'a [i64] {
        match &self.facts[i].known {
            Some(known) => known,
            None => &self.inputs[i].ints[..self.facts[i].count()],
        }
    }
}

/// `values` in panels of sixteen columns, filled up with `fill`.
pub(super) fn panels<T: Copy>(values: &[T], fill: T) -> Vec<[T; COLUMNS]> {
    let panel = |chunk: &[T]| {
        let mut panel = [fill; COLUMNS];
        panel[..chunk.len()].copy_from_slice(chunk);
        panel
    };
    values.chunks(COLUMNS).map(panel).collect()
}

/// Fewer multiply-accumulates than this are not worth waking a worker.
pub(super) const WORTH_SHARING: usize = 1 << 20;

/// Fewer values than this, of a step that only passes over them, are not either.
const WORTH_PASSING: usize = 1 << 14;

/// Runs `work(first unit, their part of out)` over all of `out`, shared among the workers in
/// whole blocks of units; a unit is `width` values.
pub(super) fn in_parts<T: Send>(
    out: &mut [T],
    (width, block): (usize, usize),
    threads: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let blocks = (out.len() / width.max(1)).div_ceil(block);
    let parts = threads.clamp(1, blocks.max(1)).min(kernels::MAX_THREADS);
    let each = blocks.div_ceil(parts) * block;
    if parts < 2 {
        return work(0, out);
    }
    let mut chunks = out.chunks_mut(each * width);
    let shares: [Mutex<Option<&mut [T]>>; kernels::MAX_THREADS] =
        std::array::from_fn(|_| Mutex::new(chunks.next()));
    kernels::share(blocks.div_ceil(each / block), &|part| {
        let chunk = shares[part].lock().map_or(None, |mut share| share.take());
        if let Some(chunk) = chunk {
            work(part * each, chunk);
        }
    });
}

/// As [`in_parts`], for a step that passes over floats in rows and tells their range.
pub(super) fn passing(
    out: &mut [f32],
    width: usize,
    threads: usize,
    work: impl Fn(usize, &mut [f32]) -> (f32, f32) + Sync,
) -> (f32, f32) {
    let threads = passers(out.len(), threads);
    let ends = Mutex::new((f32::INFINITY, f32::NEG_INFINITY));
    in_parts(out, (width, 1), threads, |first, out| {
        let (low, high) = work(first, out);
        if let Ok(mut ends) = ends.lock() {
            *ends = (ends.0.min(low), ends.1.max(high));
        }
    });
    ends.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Threads for a pass over `values`.
pub(super) fn passers(values: usize, threads: usize) -> usize {
    if values < WORTH_PASSING { 1 } else { threads }
}

/// Runs `work(first row, rows, their part of out)` over all of `rows`, shared among the
/// workers in whole blocks of 8 rows if there is enough to do.
pub(super) fn by_rows<T: Send>(
    rows: usize,
    macs_per_row: usize,
    threads: usize,
    out: &mut [T],
    work: impl Fn(usize, usize, &mut [T], &mut ProductScratch) + Sync,
    scratch: &mut ProductScratch,
) {
    if threads < 2 || rows < 9 || rows * macs_per_row < WORTH_SHARING {
        return work(0, rows, out, scratch);
    }
    let width = out.len() / rows;
    in_parts(out, (width, 8), threads, |first, out| {
        own(|scratch, _| work(first, out.len() / width, out, scratch));
    });
}

/// Lends a worker's own memory: for a product, and for the codes that it gathers.
pub(super) fn own<R>(work: impl FnOnce(&mut ProductScratch, &mut Vec<u8>) -> R) -> R {
    SCRATCH.with_borrow_mut(|(product, codes)| work(product, codes))
}

thread_local! {
    /// A worker's own memory.
    static SCRATCH: RefCell<(ProductScratch, Vec<u8>)> = RefCell::default();
}

//! Weights in the order in which a level's products read them.

use super::super::Level;
use std::sync::Arc;

/// Columns of a panel, the least that a tile computes.
pub const COLUMNS: usize = 16;

/// Rows of codes and columns of weights are padded to a multiple of this many bytes.
pub const DEPTH: usize = 16;

/// `k` rounded up to whole [`DEPTH`]s.
#[must_use]
pub const fn padded_depth(k: usize) -> usize {
    k.next_multiple_of(DEPTH)
}

/// 64 bytes of weights: 16 columns by 4 values, or 8 columns by 8.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(in crate::kernels) struct Line(pub(in crate::kernels) [i8; 64]);

impl Line {
    pub(in crate::kernels) const ZERO: Line = Line([0; 64]);
}

/// How many values of one column lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernels) enum Packing {
    /// Four: `vpdpbusd`, `sdot`, and what imitates them.
    Fours,
    /// Eight: `smmla`.
    Eights,
    /// Two, in each half of a line: `vpmaddwd`, which takes pairs of words.
    Pairs,
}

impl Packing {
    pub(in crate::kernels) fn of(level: Level) -> Packing {
        match level {
            Level::NeonI8mm => Packing::Eights,
            Level::Avx2 => Packing::Pairs,
            _ => Packing::Fours,
        }
    }

    #[inline(always)]
    pub(in crate::kernels) fn group(self) -> usize {
        match self {
            Packing::Pairs => 2,
            Packing::Fours => 4,
            Packing::Eights => 8,
        }
    }

    /// Bytes from one column to the next, and columns of a line.
    #[inline(always)]
    fn steps(self) -> (usize, usize) {
        match self {
            Packing::Pairs => (2, 16),
            Packing::Fours => (4, 16),
            Packing::Eights => (8, 8),
        }
    }

    /// Line within the panel, and byte within the line, of value `k` of column `c`.
    #[inline(always)]
    pub(in crate::kernels) fn place(self, k: usize, c: usize) -> (usize, usize) {
        match self {
            Packing::Pairs => (k / 4, k % 4 / 2 * 32 + c * 2 + k % 2),
            Packing::Fours => (k / 4, c * 4 + k % 4),
            Packing::Eights => (k / 8 * 2 + c / 8, c % 8 * 8 + k % 8),
        }
    }
}

/// One row's share of a panel: at most sixteen values, to `byte` of the first line on.
#[inline]
fn pack_row(
    row: &[i8],
    packing: Packing,
    lines: &mut [Line],
    byte: usize,
    sums: &mut [i32; COLUMNS],
) {
    let (step, half) = packing.steps();
    if let Some(row) = row.first_chunk::<COLUMNS>() {
        // the common cases, with sizes that the compiler knows
        match packing {
            Packing::Fours => return spread::<4>(row, &mut lines[0].0[byte..], sums),
            Packing::Pairs => return spread::<2>(row, &mut lines[0].0[byte..], sums),
            Packing::Eights => {}
        }
    }
    for (c, w) in row.iter().enumerate() {
        lines[c / half].0[byte + c % half * step] = *w;
        sums[c] += i32::from(*w);
    }
}

/// A row of a panel, `STEP` bytes apart.
#[inline]
fn spread<const STEP: usize>(row: &[i8; COLUMNS], bytes: &mut [i8], sums: &mut [i32; COLUMNS]) {
    let bytes = &mut bytes[..(COLUMNS - 1) * STEP + 1];
    for c in 0..COLUMNS {
        bytes[c * STEP] = row[c];
        sums[c] += i32::from(row[c]);
    }
}

/// A `[k, n]` matrix of signed bytes, packed for one level.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    level: Level,
    k: usize,
    n: usize,
    packed: Arc<Packed>,
    /// The first of its panels in what is packed.
    first: usize,
}

#[derive(Debug)]
struct Packed {
    lines: Vec<Line>,
    /// Σ of each column, padded to whole panels.
    sums: Vec<[i32; COLUMNS]>,
}

impl PackedWeights {
    /// Packs `weights` `[k, n]`, row-major; `None` if the size is another.
    #[must_use]
    pub fn new(level: Level, weights: &[i8], k: usize, n: usize) -> Option<PackedWeights> {
        if k == 0 || n == 0 || weights.len() != k.checked_mul(n)? {
            return None;
        }
        let packing = Packing::of(level);
        let (depth, panels) = (padded_depth(k) / 4, n.div_ceil(COLUMNS));
        let mut lines = vec![Line::ZERO; depth * panels];
        let mut sums = vec![[0; COLUMNS]; panels];
        for panel in 0..panels {
            let lines = &mut lines[panel * depth..][..depth];
            let (first, sums) = (panel * COLUMNS, &mut sums[panel]);
            let wide = COLUMNS.min(n - first);
            for (at, row) in weights.chunks_exact(n).enumerate() {
                let (line, byte) = packing.place(at, 0);
                pack_row(
                    &row[first..first + wide],
                    packing,
                    &mut lines[line..],
                    byte,
                    sums,
                );
            }
        }
        Some(PackedWeights {
            level,
            k,
            n,
            packed: Arc::new(Packed { lines, sums }),
            first: 0,
        })
    }

    /// The columns of `panels` panels from `first` on: the same memory, nothing is copied.
    ///
    /// # Panics
    /// If there are not as many.
    #[must_use]
    pub fn part(&self, first: usize, panels: usize) -> PackedWeights {
        assert!(
            panels > 0 && first + panels <= self.panels(),
            "{panels} panels from {first}"
        );
        PackedWeights {
            n: (self.n - first * COLUMNS).min(panels * COLUMNS),
            packed: Arc::clone(&self.packed),
            first: self.first + first,
            ..*self
        }
    }

    /// The level it is packed for.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Rows: values of an input row.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns: values of an output row.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// The weights of column `c`, from row 0 on.
    ///
    /// # Panics
    /// If `c ≥ n`.
    pub fn column(&self, c: usize) -> impl Iterator<Item = i8> + '_ {
        assert!(c < self.n, "column {c} of {}", self.n);
        (0..self.k).map(move |k| self.at(k, c))
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let (lines, sums) = (self.packed.lines.as_slice(), self.packed.sums.as_slice());
        size_of_val(lines) + size_of_val(sums)
    }

    /// Lines of a panel: 4 values of each of 16 columns to a line.
    #[inline(always)]
    pub(in crate::kernels) fn depth(&self) -> usize {
        padded_depth(self.k) / 4
    }

    #[inline(always)]
    pub(in crate::kernels) fn panels(&self) -> usize {
        self.n.div_ceil(COLUMNS)
    }

    /// The lines from `panel` on.
    #[inline(always)]
    #[allow(clippy::wrong_self_convention)] // "from this panel on", no conversion
    pub(in crate::kernels) fn from_panel(&self, panel: usize) -> &[Line] {
        &self.packed.lines[(self.first + panel) * self.depth()..]
    }

    #[inline(always)]
    pub(in crate::kernels) fn sums(&self) -> &[[i32; COLUMNS]] {
        &self.packed.sums[self.first..][..self.panels()]
    }

    /// The weight of row `k` in column `c`.
    pub(in crate::kernels) fn at(&self, k: usize, c: usize) -> i8 {
        let (line, byte) = Packing::of(self.level).place(k, c % COLUMNS);
        self.from_panel(c / COLUMNS)[line].0[byte]
    }
}

//! Float weights in panels of 32 outputs: read once, in order, without sums across a register.
//!
//! A single row meets each weight once, so its time is that of reading them; panels make that
//! one stream. Several rows share a panel, which then comes from the first cache.

// An index runs over several small arrays at once, and closures would not be compiled for
// the level.
#![allow(clippy::needless_range_loop)]

use super::Rows;
use super::lanes::Lanes;

/// Outputs of a panel.
pub const PANEL: usize = 32;

/// One input's weights for the outputs of a panel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Step([f32; PANEL]);

/// Weights `[n, k]` and a bias `[n]`, packed.
#[derive(Clone, Debug)]
pub struct PackedFloats {
    k: usize,
    n: usize,
    /// `k` steps of one panel, then those of the next.
    steps: Vec<Step>,
    bias: Vec<Step>,
}

impl PackedFloats {
    /// Packs `weights` `[n, k]`, row-major, and a bias `[n]` or none; `None` if the sizes
    /// disagree.
    #[must_use]
    pub fn new(weights: &[f32], k: usize, bias: Option<&[f32]>) -> Option<PackedFloats> {
        if k == 0 || weights.is_empty() || !weights.len().is_multiple_of(k) {
            return None;
        }
        let n = weights.len() / k;
        let panels = n.div_ceil(PANEL);
        let zero = Step([0.0; PANEL]);
        let (mut steps, mut biases) = (vec![zero; panels * k], vec![zero; panels]);
        for (o, row) in weights.chunks_exact(k).enumerate() {
            let panel = &mut steps[o / PANEL * k..][..k];
            for (step, w) in panel.iter_mut().zip(row) {
                step.0[o % PANEL] = *w;
            }
        }
        if let Some(bias) = bias {
            if bias.len() != n {
                return None;
            }
            for (o, b) in bias.iter().enumerate() {
                biases[o / PANEL].0[o % PANEL] = *b;
            }
        }
        let bias = biases;
        Some(PackedFloats { k, n, steps, bias })
    }

    /// Inputs.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Outputs.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.steps.as_slice()) + size_of_val(self.bias.as_slice())
    }

    /// The weights of output `o`.
    ///
    /// # Panics
    /// If `o ≥ n`.
    pub fn row(&self, o: usize) -> impl Iterator<Item = f32> + '_ {
        assert!(o < self.n, "row {o} of {}", self.n);
        let steps = self.panel(o / PANEL).iter();
        steps.map(move |step| step.0[o % PANEL])
    }

    #[inline(always)]
    fn panel(&self, panel: usize) -> &[Step] {
        &self.steps[panel * self.k..][..self.k]
    }
}

/// Most registers of a panel: those of four lanes.
const MOST_PARTS: usize = 8;

/// One row by `P` panels from `panel` on; every register of them is summed at once.
#[inline(always)]
fn row_by_panels<L: Lanes, const P: usize>(
    lanes: L,
    x: &[f32],
    w: &PackedFloats,
    panel: usize,
    out: &mut [f32],
) {
    let parts = PANEL / L::LANES;
    let mut sums = [[lanes.splat(0.0); MOST_PARTS]; P];
    let mut panels = [w.panel(panel); P];
    for p in 0..P {
        panels[p] = w.panel(panel + p);
        let bias = L::chunks(&w.bias[panel + p].0).0;
        for part in 0..parts {
            sums[p][part] = lanes.load(&bias[part]);
        }
    }
    for (k, x) in x.iter().enumerate() {
        let x = lanes.splat(*x);
        for p in 0..P {
            let chunks = L::chunks(&panels[p][k].0).0;
            for part in 0..parts {
                sums[p][part] = lanes.mul_add(x, lanes.load(&chunks[part]), sums[p][part]);
            }
        }
    }
    for p in 0..P {
        let mut panel_out = Step([0.0; PANEL]);
        let chunks = L::chunks_mut(&mut panel_out.0).0;
        for part in 0..parts {
            lanes.store(sums[p][part], &mut chunks[part]);
        }
        let first = (panel + p) * PANEL;
        let many = PANEL.min(w.n - first);
        out[first..first + many].copy_from_slice(&panel_out.0[..many]);
    }
}

/// `R` rows by `C` registers of a panel, from register `first` on.
#[inline(always)]
fn tile<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    x: [&[f32]; R],
    (steps, bias): (&[Step], &Step),
    first: usize,
) -> [[L::V; C]; R] {
    let start = &L::chunks(&bias.0).0[first..first + C];
    let mut sums = [[lanes.splat(0.0); C]; R];
    for r in 0..R {
        for c in 0..C {
            sums[r][c] = lanes.load(&start[c]);
        }
    }
    for (k, step) in steps.iter().enumerate() {
        let chunks = &L::chunks(&step.0).0[first..first + C];
        let mut columns = [lanes.splat(0.0); C];
        for c in 0..C {
            columns[c] = lanes.load(&chunks[c]);
        }
        for r in 0..R {
            let x = lanes.splat(x[r][k]);
            for c in 0..C {
                sums[r][c] = lanes.mul_add(x, columns[c], sums[r][c]);
            }
        }
    }
    sums
}

/// `R` rows of the product, from `row` on, for one panel.
#[inline(always)]
fn rows_by_panel<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    x: Rows<'_>,
    row: usize,
    w: &PackedFloats,
    panel: usize,
    out: &mut [f32],
) {
    let mut rows = [&x.row(row)[..w.k]; R];
    for r in 1..R {
        rows[r] = &x.row(row + r)[..w.k];
    }
    let (first, many) = (panel * PANEL, PANEL.min(w.n - panel * PANEL));
    let mut panel_out = [Step([0.0; PANEL]); R];
    for group in (0..PANEL / L::LANES).step_by(C) {
        let sums = tile::<L, R, C>(lanes, rows, (w.panel(panel), &w.bias[panel]), group);
        for r in 0..R {
            let chunks = &mut L::chunks_mut(&mut panel_out[r].0).0[group..group + C];
            for c in 0..C {
                lanes.store(sums[r][c], &mut chunks[c]);
            }
        }
    }
    for r in 0..R {
        let at = (row + r) * w.n + first;
        out[at..at + many].copy_from_slice(&panel_out[r].0[..many]);
    }
}

#[inline(always)]
fn all_rows<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    x: Rows<'_>,
    w: &PackedFloats,
    out: &mut [f32],
) {
    for panel in 0..w.bias.len() {
        let mut row = 0;
        while row + R <= x.rows() {
            rows_by_panel::<L, R, C>(lanes, x, row, w, panel, out);
            row += R;
        }
        if row + 4 <= x.rows() {
            rows_by_panel::<L, 4, C>(lanes, x, row, w, panel, out);
            row += 4;
        }
        if row + 2 <= x.rows() {
            rows_by_panel::<L, 2, C>(lanes, x, row, w, panel, out);
            row += 2;
        }
        if row < x.rows() {
            rows_by_panel::<L, 1, C>(lanes, x, row, w, panel, out);
        }
    }
}

#[inline(always)]
pub(super) fn project<L: Lanes>(lanes: L, x: Rows<'_>, w: &PackedFloats, out: &mut [f32]) {
    if x.rows() == 1 {
        let panels = w.bias.len();
        for panel in (0..panels - panels % 2).step_by(2) {
            row_by_panels::<L, 2>(lanes, x.row(0), w, panel, out);
        }
        if panels % 2 == 1 {
            row_by_panels::<L, 1>(lanes, x.row(0), w, panels - 1, out);
        }
        return;
    }
    // as many sums as the level's registers hold beside the operands
    match L::LANES {
        16 => all_rows::<L, 8, 2>(lanes, x, w, out),
        8 => all_rows::<L, 4, 2>(lanes, x, w, out),
        _ => all_rows::<L, 4, 4>(lanes, x, w, out),
    }
}

/// Scalar reference.
pub(super) mod scalar {
    use super::{PackedFloats, Rows};

    pub(in crate::kernels) fn project(x: Rows<'_>, w: &PackedFloats, out: &mut [f32]) {
        for (at, out) in out.iter_mut().enumerate() {
            let (row, o) = (x.row(at / w.n), at % w.n);
            let products = row.iter().zip(w.row(o));
            let sum: f64 = products.map(|(x, w)| f64::from(*x) * f64::from(w)).sum();
            *out = (sum + f64::from(w.bias[o / super::PANEL].0[o % super::PANEL])) as f32;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
pub(super) mod properties {
    use super::super::Kernels;
    use super::super::properties::{close, exact, few, matrix, run};
    use super::*;
    use proptest::prelude::*;

    pub(in crate::kernels) fn project(k: &Kernels) {
        let shapes = (few(), 1_usize..40, 1_usize..140);
        let shapes = shapes
            .prop_flat_map(|(r, d, n)| (matrix(r, d), matrix(n, d), matrix(1, n), any::<bool>()));
        run(shapes, |(x, w, bias, biased)| {
            let given = biased.then_some(bias.data.as_slice());
            let packed = PackedFloats::new(&w.data, w.cols, given).unwrap();
            let mut out = vec![f32::NAN; x.rows * w.rows];
            k.project(x.view(), &packed, &mut out);
            for (at, y) in out.into_iter().enumerate() {
                let (row, o) = (at / w.rows, at % w.rows);
                let (x, w) = (x.view().row(row).iter(), w.view().row(o).iter());
                let b = if biased { bias.data[o] } else { 0.0 };
                let x = x.copied().chain([b]);
                close(y, exact(x, w.copied().chain([1.0])), 1 + packed.k())?;
            }
            Ok(())
        });
    }

    #[test]
    fn sizes_that_disagree_are_refused() {
        assert!(PackedFloats::new(&[1.0; 6], 4, None).is_none());
        assert!(PackedFloats::new(&[1.0; 6], 0, None).is_none());
        assert!(PackedFloats::new(&[], 3, None).is_none());
        assert!(PackedFloats::new(&[1.0; 6], 3, Some(&[1.0])).is_none());
        let packed = PackedFloats::new(&[1.0, 2.0, 3.0, 4.0], 2, None).unwrap();
        assert_eq!(packed.row(1).collect::<Vec<f32>>(), [3.0, 4.0]);
    }
}

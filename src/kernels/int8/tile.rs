//! What a level must offer for byte products: a tile of sums, and no more.

use super::super::lanes::Lanes;
use super::conv::Depthwise;
use super::linear::flip;
use super::pack::{COLUMNS, Line, Packing};
use super::{reach, widen};

/// Most rows and panels of a tile at any level.
pub(in crate::kernels) const MAX_ROWS: usize = 8;
pub(in crate::kernels) const MAX_PANELS: usize = 3;

/// What the operands of a tile are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernels) enum Operands {
    /// Bytes on both sides.
    Bytes,
    /// Rows of words of 16 bits, weights in bytes.
    WordRows,
    /// Words on both sides: a line holds half as many values.
    Words,
}

impl Operands {
    /// For `rows` rows: a level with [`WORDS`](Tile::WORDS) widens panels that more than one
    /// tile reads.
    #[inline(always)]
    pub(in crate::kernels) fn of<L: Tile>(rows: usize) -> Operands {
        match (L::WORDS, rows > L::ROWS) {
            (false, _) => Operands::Bytes,
            (true, false) => Operands::WordRows,
            (true, true) => Operands::Words,
        }
    }

    /// Bytes of a row that meet one line of a panel.
    #[inline(always)]
    pub(in crate::kernels) fn row_bytes(self) -> usize {
        match self {
            Operands::Bytes | Operands::Words => 4,
            Operands::WordRows => 8,
        }
    }

    /// Lines that become of one line of packed weights.
    #[inline(always)]
    pub(in crate::kernels) fn lines(self) -> usize {
        match self {
            Operands::Bytes | Operands::WordRows => 1,
            Operands::Words => 2,
        }
    }
}

/// The sums of a tile: by row, by panel, by column.
pub(in crate::kernels) type Sums = [[[i32; COLUMNS]; MAX_PANELS]; MAX_ROWS];

/// Panels, or parts of them, that a tile multiplies by; sizes checked.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Panels<'a> {
    lines: &'a [Line],
    pitch: usize,
    depth: usize,
    panels: usize,
    operands: Operands,
}

impl<'a> Panels<'a> {
    /// `panels` panels from the start of `lines`, `pitch` lines apart, of which `depth` lines are
    /// taken.
    #[inline(always)]
    pub(in crate::kernels) fn new(
        lines: &'a [Line],
        (panels, pitch, depth): (usize, usize, usize),
        operands: Operands,
    ) -> Self {
        assert!((1..=MAX_PANELS).contains(&panels));
        assert!(reach(panels, pitch, depth).is_some_and(|end| end <= lines.len()));
        Panels {
            lines,
            pitch,
            depth,
            panels,
            operands,
        }
    }
}

/// The operands of a tile, sizes checked.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Block<'a> {
    a: &'a [u8],
    stride: usize,
    rows: usize,
    by: &'a Panels<'a>,
    starts: Starts<'a>,
}

/// What the sums of a tile start at: a place for each panel.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Starts<'a> {
    pub places: &'a [[i32; COLUMNS]],
    /// From one row's places to the next's; 0 if all rows start alike.
    pub step: usize,
}

impl<'a> Starts<'a> {
    /// The same in every row.
    #[inline(always)]
    pub(in crate::kernels) fn alike(places: &'a [[i32; COLUMNS]]) -> Self {
        Starts { places, step: 0 }
    }
}

impl<'a> Block<'a> {
    /// `rows` rows of codes from the start of `a`, `stride` apart, by `by`.
    #[inline(always)]
    pub(in crate::kernels) fn new(
        (a, stride, rows): (&'a [u8], usize, usize),
        by: &'a Panels<'a>,
        starts: Starts<'a>,
    ) -> Self {
        assert!((1..=MAX_ROWS).contains(&rows));
        let row = by.depth * by.operands.row_bytes();
        assert!(reach(rows, stride, row).is_some_and(|end| end <= a.len()));
        assert!(reach(rows, starts.step, by.panels).is_some_and(|end| end <= starts.places.len()));
        Block {
            a,
            stride,
            rows,
            by,
            starts,
        }
    }

    /// What rows and panels are made of.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(in crate::kernels) fn operands(&self) -> Operands {
        self.by.operands
    }

    /// Rows, 1..=8.
    #[inline(always)]
    pub(in crate::kernels) fn rows(&self) -> usize {
        self.rows
    }

    /// Panels, 1..=3.
    #[inline(always)]
    pub(in crate::kernels) fn panels(&self) -> usize {
        self.by.panels
    }

    /// Lines of a panel.
    #[inline(always)]
    pub(in crate::kernels) fn depth(&self) -> usize {
        self.by.depth
    }

    /// Start of row `r`: as many bytes are there as meet `depth` lines.
    #[inline(always)]
    pub(in crate::kernels) fn row(&self, r: usize) -> *const u8 {
        self.a[r * self.stride..].as_ptr()
    }

    /// Start of panel `p`: at least `depth` lines are there.
    #[inline(always)]
    pub(in crate::kernels) fn panel(&self, p: usize) -> *const Line {
        self.by.lines[p * self.by.pitch..].as_ptr()
    }

    /// Whether the sums of all rows start alike.
    #[inline(always)]
    pub(in crate::kernels) fn starts_alike(&self) -> bool {
        self.starts.step == 0
    }

    /// What the sums of row `r` and panel `p` start at: sixteen are there.
    #[inline(always)]
    pub(in crate::kernels) fn start(&self, r: usize, p: usize) -> *const i32 {
        let at = r * self.starts.step + p;
        self.starts.places.as_ptr().wrapping_add(at).cast()
    }
}

/// What turns the sums of a tile into codes: `clamp(round(sum·multiplier) + zero, low, high)`.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Recode<'a> {
    /// By panel, by column.
    pub multipliers: &'a [[f32; COLUMNS]],
    pub zero: u8,
    pub clamp: (u8, u8),
    /// Bytes from one row of codes to the next.
    pub stride: usize,
}

/// A level's byte products.
pub(in crate::kernels) trait Tile: Lanes {
    /// Rows and panels of the widest tile.
    const ROWS: usize;
    const PANELS: usize;

    /// Whether products take codes as signed bytes, their top bit flipped.
    const SIGNED: bool;

    /// How weights are packed.
    const PACKING: Packing = Packing::Fours;

    /// Whether operands are [widened](super::widen) to 16 bits.
    const WORDS: bool = false;

    /// `out[r][p][c] = start[r][p][c] + Σₖ a[r][k]·b[p][k][c]`, exactly.
    ///
    /// `block` has at most `ROWS` rows and `PANELS` panels, and [operands](Operands) of bytes only
    /// at a level without [`WORDS`](Tile::WORDS).
    fn tile(self, block: &Block<'_>, out: &mut Sums);

    /// A tile and its codes: row `r` of panel `p` goes to `out[r·stride + 16·p..]`. `sums` is a
    /// place for the sums, should the level want one.
    #[inline(always)]
    fn recode_tile(self, block: &Block<'_>, to: &Recode<'_>, sums: &mut Sums, out: &mut [u8]) {
        self.tile(block, sums);
        for p in 0..block.panels() {
            let multipliers = Self::chunks(&to.multipliers[p]).0;
            for (r, sums) in sums[..block.rows()].iter().enumerate() {
                let out = &mut out[r * to.stride + p * COLUMNS..][..COLUMNS];
                for (part, out) in out.chunks_exact_mut(Self::LANES).enumerate() {
                    let v = self.mul(
                        self.from_sums(&sums[p], part),
                        self.load(&multipliers[part]),
                    );
                    self.store_rounded(v, to.zero, to.clamp, flip::<Self>(), out);
                }
            }
        }
    }

    /// `clamp(round(v) + zero, low, high)` as bytes, each XOR `flip`; ties to even, and what is
    /// no number becomes some code. `dst` has `LANES` bytes.
    #[inline(always)]
    fn store_rounded(self, v: Self::V, zero: u8, (low, high): (u8, u8), flip: u8, dst: &mut [u8]) {
        let v = self.add(self.round(v), self.splat(f32::from(zero)));
        let v = self.max(v, self.splat(f32::from(low)));
        self.store_codes(self.min(v, self.splat(f32::from(high))), flip, dst);
    }

    /// `255·2ˣ` for `x ≤ 0`, within 8e-5 of it; 0 below −20, which no code can show.
    #[inline(always)]
    fn exp2_code(self, x: Self::V) -> Self::V {
        const P: [f32; 4] = [
            0.055_171_265 * 255.0,
            0.242_611_29 * 255.0,
            0.693_261_1 * 255.0,
            0.999_928_06 * 255.0,
        ];
        let x = self.max(x, self.splat(-20.0));
        let n = self.round(x);
        let r = self.sub(x, n);
        let mut p = self.splat(P[0]);
        for c in &P[1..] {
            p = self.mul_add(p, r, self.splat(*c));
        }
        self.mul(p, self.exp2_whole(n))
    }

    /// A row of a depthwise convolution; see [`depthwise`](super::conv::depthwise).
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]);

    /// A line of bytes to two of words, in order.
    #[inline(always)]
    fn widen(self, bytes: &Line, words: &mut [Line; 2]) {
        widen::line(bytes, words);
    }

    /// 64 bytes of weights `[4, 16]`: four rows of codes, each byte XOR `flip`, as the level packs
    /// them; never asked of one that packs eights.
    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        for c in 0..COLUMNS {
            for (k, row) in rows.iter().enumerate() {
                line.0[c * 4 + k] = (row[c] ^ flip) as i8;
            }
        }
    }
}

//! Multi-head attention of codes, without a score matrix in memory.

use super::linear::{flip, next_panels, stored_zero};
use super::pack::{COLUMNS, Line, Packing, padded_depth};
use super::tile::{Block, MAX_ROWS, Operands, Panels, Starts, Sums, Tile};
use super::{Codes, Quant, widen};

/// `softmax(scale·Q_h·K_hᵀ)·V_h` of every head `h`, side by side.
///
/// A row's weights are taken as `round(255·exp(s − max s))` and divided by their own sum, so
/// every row uses the whole range of a byte, and rows still sum to 1.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Heads.
    pub heads: usize,
    /// Columns of a head; at most 256.
    pub width: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// `[n, heads·width]`.
    pub q: (Codes<'a>, Quant),
    /// `[m, heads·width]`, `m > 0`.
    pub k: (Codes<'a>, Quant),
    /// `[m, heads·width]`.
    pub v: (Codes<'a>, Quant),
}

impl Attention<'_> {
    /// Whether the shapes agree with each other and with the output.
    pub(in crate::kernels) fn fits(&self, out: usize) -> bool {
        let columns = self.heads * self.width;
        let whole = |codes: &Codes<'_>| codes.hold(columns);
        self.width > 0
            && self.width <= 256
            && self.scale > 0.0
            && self.k.0.rows > 0
            && self.k.0.rows == self.v.0.rows
            && out == self.q.0.rows * columns
            && [self.q.0, self.k.0, self.v.0].iter().all(whole)
    }
}

/// Memory that attention works in; grows to the longest input, then stays.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    keys: Packed,
    values: Packed,
    queries: Vec<u8>,
    scores: Vec<f32>,
    codes: Vec<u8>,
    /// Queries or codes as words, where the level wants words.
    words: Vec<u8>,
    ones: Vec<u8>,
}

/// Rows of codes packed as weights, with the start of their sums.
#[derive(Debug, Default)]
struct Packed {
    lines: Vec<Line>,
    init: Vec<[i32; COLUMNS]>,
    depth: usize,
    /// The lines as words, where the level wants words.
    words: Vec<Line>,
}

impl Packed {
    #[inline(always)]
    fn reset(&mut self, k: usize, n: usize) {
        self.depth = padded_depth(k) / 4;
        let panels = n.div_ceil(COLUMNS);
        self.lines.clear();
        self.lines.resize(panels * self.depth, Line::ZERO);
        self.init.clear();
        self.init.resize(panels, [0; COLUMNS]);
    }

    /// Column `c` of the weights is row `c` of `codes`, columns `first..first + width`.
    #[inline(always)]
    fn pack_keys<L: Tile>(&mut self, codes: Codes<'_>, first: usize, width: usize) {
        self.reset(width, codes.rows);
        let group = L::PACKING.group();
        for c in 0..codes.rows {
            let row = &codes.from_row(c)[first..first + width];
            let panel = &mut self.lines[c / COLUMNS * self.depth..][..self.depth];
            let (whole, rest) = row.split_at(width - width % group);
            for (k, values) in whole.chunks_exact(group).enumerate() {
                let (line, byte) = L::PACKING.place(k * group, c % COLUMNS);
                let place = &mut panel[line].0[byte..byte + group];
                for (w, code) in place.iter_mut().zip(values) {
                    *w = signed::<L>(*code);
                }
            }
            for (k, code) in rest.iter().enumerate() {
                let (line, byte) = L::PACKING.place(whole.len() + k, c % COLUMNS);
                panel[line].0[byte] = signed::<L>(*code);
            }
        }
    }

    /// Row `k` of the weights is row `k` of `codes`, columns `first..first + width`.
    #[inline(always)]
    fn pack_values<L: Tile>(&mut self, lanes: L, codes: Codes<'_>, first: usize, width: usize) {
        self.reset(codes.rows, width);
        let fours = if L::PACKING != Packing::Eights && width.is_multiple_of(COLUMNS) {
            codes.rows / 4
        } else {
            0
        };
        for four in 0..fours {
            let row = |k: usize| &codes.from_row(four * 4 + k)[first..first + width];
            let rows = [row(0), row(1), row(2), row(3)].map(|r| r.as_chunks::<COLUMNS>().0);
            for panel in 0..width / COLUMNS {
                let block = [
                    &rows[0][panel],
                    &rows[1][panel],
                    &rows[2][panel],
                    &rows[3][panel],
                ];
                let line = &mut self.lines[panel * self.depth + four];
                lanes.interleave(block, flip::<L>() ^ 0x80, line);
            }
        }
        for k in fours * 4..codes.rows {
            let row = &codes.from_row(k)[first..first + width];
            for (c, code) in row.iter().enumerate() {
                let (line, byte) = L::PACKING.place(k, c % COLUMNS);
                self.lines[c / COLUMNS * self.depth + line].0[byte] = signed::<L>(*code);
            }
        }
    }

    /// The tile of rows `a` by `wide` panels from `panel` on.
    #[inline(always)]
    fn tile<L: Tile>(
        &self,
        lanes: L,
        (a, operands): (Side<'_>, Operands),
        (panel, wide): (usize, usize),
        sums: &mut Sums,
    ) {
        let lines = match operands {
            Operands::Words => &self.words,
            _ => &self.lines,
        };
        let depth = self.depth * operands.lines();
        let by = Panels::new(&lines[panel * depth..], (wide, depth, depth), operands);
        let starts = Starts::alike(&self.init[panel..]);
        lanes.tile(&Block::new(a, &by, starts), sums);
    }

    /// Sums start at `−zero·Σ`; a row of ones tells the sums.
    #[inline(always)]
    fn start<L: Tile>(&mut self, lanes: L, zero: i32, ones: &mut Vec<u8>) {
        let operands = Operands::of::<L>(1);
        ones.clear();
        let one: &[u8] = if L::WORDS { &[1, 0] } else { &[1] };
        ones.extend(one.iter().cycle().take(self.depth * operands.row_bytes()));
        let mut sums: Sums = [[[0; COLUMNS]; 3]; 8];
        let panels = self.init.len();
        let mut panel = 0;
        while panel < panels {
            let wide = next_panels::<L>(panels - panel);
            self.tile(lanes, ((ones, 0, 1), operands), (panel, wide), &mut sums);
            for p in 0..wide {
                self.init[panel + p] = sums[0][p].map(|sum| -zero * sum);
            }
            panel += wide;
        }
    }
}

/// A stored code as a signed weight: `q − 128`.
#[inline(always)]
fn signed<L: Tile>(code: u8) -> i8 {
    (code ^ flip::<L>() ^ 0x80) as i8
}

#[inline(always)]
pub(in crate::kernels) fn attend<L: Tile>(
    lanes: L,
    job: &Attention<'_>,
    scratch: &mut AttentionScratch,
    out: &mut [f32],
) {
    let (n, m) = (job.q.0.rows, job.k.0.rows);
    if n <= QUERIES_OF_FEW && m <= MOST_KEYS_OF_FEW && job.width.is_multiple_of(L::LANES) {
        return attend_few(lanes, job, scratch, out);
    }
    let depth = padded_depth(job.width);
    let (padded_m, columns) = (padded_depth(m), job.heads * job.width);
    scratch.scores.resize(MAX_ROWS * padded_m, 0.0);
    scratch.codes.resize(MAX_ROWS * padded_m, 0);
    scratch.queries.resize(MAX_ROWS * depth, 0);
    let operands = Operands::of::<L>(n);
    let score_scale = job.scale * job.q.1.scale * job.k.1.scale * std::f32::consts::LOG2_E;
    for head in 0..job.heads {
        let first = head * job.width;
        scratch.keys.pack_keys::<L>(job.k.0, first, job.width);
        let zero = stored_zero::<L>(job.q.1.zero);
        scratch.keys.start(lanes, zero, &mut scratch.ones);
        scratch.values.pack_values(lanes, job.v.0, first, job.width);
        // the weights' zero point is 0
        let zero = stored_zero::<L>(0);
        scratch.values.start(lanes, zero, &mut scratch.ones);
        if operands == Operands::Words {
            for panels in [&mut scratch.keys, &mut scratch.values] {
                widen::lines(lanes, &panels.lines, &mut panels.words);
            }
        }
        let mut row = 0;
        while row < n {
            let high = L::ROWS.min(n - row);
            for r in 0..high {
                let query = &job.q.0.from_row(row + r)[first..first + job.width];
                scratch.queries[r * depth..][..job.width].copy_from_slice(query);
            }
            let queries = (scratch.queries.as_slice(), depth, high);
            let queries = (
                as_the_level_wants::<L>(queries, &mut scratch.words),
                operands,
            );
            scores(lanes, queries, &scratch.keys, &mut scratch.scores, padded_m);
            let mut totals = [0.0; MAX_ROWS];
            for r in 0..high {
                let scores = &scratch.scores[r * padded_m..][..padded_m];
                let codes = &mut scratch.codes[r * padded_m..][..padded_m];
                totals[r] = weigh(lanes, &scores[..m], score_scale, codes);
            }
            let weights = (scratch.codes.as_slice(), padded_m, high);
            let weights = (
                as_the_level_wants::<L>(weights, &mut scratch.words),
                operands,
            );
            let values = (job.v.1.scale, f32::from(job.v.1.zero) - 128.0);
            let place = &mut out[row * columns + first..];
            mix(
                lanes,
                weights,
                &scratch.values,
                values,
                &totals,
                (place, columns, job.width),
            );
            row += high;
        }
    }
}

/// Most queries that are few.
const QUERIES_OF_FEW: usize = 2;

/// Most keys that a few queries meet unpacked: the sum of as many products of a weight and a
/// value, 255·128 at most, is exact in f32.
const MOST_KEYS_OF_FEW: usize = (1 << 24) / (255 * 128);

/// Registers of values that are summed side by side.
const SIDE_BY_SIDE: usize = 4;

/// [`attend`] of a query or two, as a decoder asks them: keys and values are read where they lie,
/// since packing them would take longer than their products. Whole numbers below 2²⁴ are exact in
/// f32, so the answer is the same to the bit.
#[inline(always)]
fn attend_few<L: Tile>(
    lanes: L,
    job: &Attention<'_>,
    scratch: &mut AttentionScratch,
    out: &mut [f32],
) {
    let (m, columns) = (job.k.0.rows, job.heads * job.width);
    let score_scale = job.scale * job.q.1.scale * job.k.1.scale * std::f32::consts::LOG2_E;
    scratch.scores.resize(m, 0.0);
    scratch.codes.resize(padded_depth(m), 0);
    for row in 0..job.q.0.rows {
        for head in 0..job.heads {
            let first = head * job.width;
            let query = &job.q.0.from_row(row)[first..first + job.width];
            query_by_keys(
                lanes,
                query,
                f32::from(job.q.1.zero),
                (job.k.0, first),
                &mut scratch.scores[..m],
            );
            let codes = &mut scratch.codes[..padded_depth(m)];
            let total = weigh(lanes, &scratch.scores[..m], score_scale, codes);
            // as in `mix`: values are taken as `code − 128`
            let factor = lanes.splat(job.v.1.scale / total);
            let offset = (128.0 - f32::from(job.v.1.zero)) * job.v.1.scale;
            let out = &mut out[row * columns + first..][..job.width];
            let mut part = 0;
            for out in out.chunks_mut(SIDE_BY_SIDE * L::LANES) {
                let sums = codes_by_values::<L>(
                    lanes,
                    &codes[..m],
                    (job.v.0, first + part),
                    out.len() / L::LANES,
                );
                for (chunk, sum) in L::chunks_mut(out).0.iter_mut().zip(sums) {
                    lanes.store(lanes.mul_add(sum, factor, lanes.splat(offset)), chunk);
                }
                part += SIDE_BY_SIDE * L::LANES;
            }
        }
    }
}

/// `Σ (q − zero)·(k − 128)` of a query and every key, whose columns begin at `first`.
#[inline(always)]
fn query_by_keys<L: Tile>(
    lanes: L,
    query: &[u8],
    zero: f32,
    (keys, first): (Codes<'_>, usize),
    scores: &mut [f32],
) {
    let (zero, middle) = (lanes.splat(zero), lanes.splat(128.0));
    for (key, score) in scores.iter_mut().enumerate() {
        let key = &keys.from_row(key)[first..first + query.len()];
        let mut sum = lanes.splat(0.0);
        for (q, k) in query.chunks_exact(L::LANES).zip(key.chunks_exact(L::LANES)) {
            let q = lanes.sub(lanes.load_codes(q, flip::<L>()), zero);
            let k = lanes.sub(lanes.load_codes(k, flip::<L>()), middle);
            sum = lanes.mul_add(q, k, sum);
        }
        *score = lanes.sum(sum);
    }
}

/// `Σ w·(v − 128)` of as many registers (at most [`SIDE_BY_SIDE`]) of the values' columns from
/// `first` on.
#[inline(always)]
fn codes_by_values<L: Tile>(
    lanes: L,
    weights: &[u8],
    (values, first): (Codes<'_>, usize),
    registers: usize,
) -> [L::V; SIDE_BY_SIDE] {
    let middle = lanes.splat(128.0);
    let mut sums = [lanes.splat(0.0); SIDE_BY_SIDE];
    for (row, weight) in weights.iter().enumerate() {
        let weight = lanes.splat(f32::from(*weight ^ flip::<L>()));
        let values = &values.from_row(row)[first..first + registers * L::LANES];
        for (sum, v) in sums.iter_mut().zip(values.chunks_exact(L::LANES)) {
            let v = lanes.sub(lanes.load_codes(v, flip::<L>()), middle);
            *sum = lanes.mul_add(v, weight, *sum);
        }
    }
    sums
}

/// Rows of codes, the bytes from one to the next, and their number.
type Side<'a> = (&'a [u8], usize, usize);

/// The same rows in words, where the level wants words.
#[inline(always)]
fn as_the_level_wants<'a, L: Tile>(
    (bytes, stride, rows): Side<'a>,
    words: &'a mut Vec<u8>,
) -> Side<'a> {
    if !L::WORDS {
        return (bytes, stride, rows);
    }
    let codes = Codes {
        bytes,
        rows,
        stride,
    };
    let wide = widen::rows(codes, stride, words);
    (wide.bytes, wide.stride, wide.rows)
}

/// Sums of a block of queries over all keys, as f32, unscaled.
#[inline(always)]
fn scores<L: Tile>(
    lanes: L,
    queries: (Side<'_>, Operands),
    keys: &Packed,
    out: &mut [f32],
    stride: usize,
) {
    let mut sums: Sums = [[[0; COLUMNS]; 3]; 8];
    let panels = keys.init.len();
    let mut panel = 0;
    while panel < panels {
        let wide = next_panels::<L>(panels - panel);
        keys.tile(lanes, queries, (panel, wide), &mut sums);
        for r in 0..queries.0.2 {
            for p in 0..wide {
                let at = r * stride + (panel + p) * COLUMNS;
                let chunks = L::chunks_mut(&mut out[at..at + COLUMNS]).0;
                for (part, chunk) in chunks.iter_mut().enumerate() {
                    lanes.store(lanes.from_sums(&sums[r][p], part), chunk);
                }
            }
        }
        panel += wide;
    }
}

/// Sums of scores to codes of `exp(s − max s)`, `factor` (positive) taking them to powers of
/// two; returns the sum of the codes.
#[inline(always)]
fn weigh<L: Tile>(lanes: L, scores: &[f32], factor: f32, codes: &mut [u8]) -> f32 {
    let top = super::super::generic::largest(lanes, scores);
    let (factor, shift) = (lanes.splat(factor), lanes.splat(-top * factor));
    let mut total = lanes.splat(0.0);
    let (chunks, rest) = L::chunks(scores);
    let (whole, tail) = codes.split_at_mut(chunks.len() * L::LANES);
    for (chunk, codes) in chunks.iter().zip(whole.chunks_exact_mut(L::LANES)) {
        let e = lanes.exp2_code(lanes.mul_add(lanes.load(chunk), factor, shift));
        let v = lanes.round(e);
        total = lanes.add(total, v);
        lanes.store_codes(v, flip::<L>(), codes);
    }
    tail.fill(flip::<L>());
    if !rest.is_empty() {
        let padded = lanes.load_padded(rest, f32::MIN);
        let e = lanes.exp2_code(lanes.mul_add(padded, factor, shift));
        let v = lanes.round(e);
        total = lanes.add(total, v);
        lanes.store_codes(v, flip::<L>(), &mut tail[..L::LANES]);
    }
    lanes.sum(total)
}

/// Weights times values, divided by the weights' sum, into one head's columns.
#[inline(always)]
fn mix<L: Tile>(
    lanes: L,
    weights: (Side<'_>, Operands),
    values: &Packed,
    (scale, zero): (f32, f32),
    totals: &[f32; MAX_ROWS],
    (out, stride, width): (&mut [f32], usize, usize),
) {
    let mut sums: Sums = [[[0; COLUMNS]; 3]; 8];
    let panels = values.init.len();
    let offset = lanes.splat(-zero * scale);
    let mut panel = 0;
    while panel < panels {
        let wide = next_panels::<L>(panels - panel);
        values.tile(lanes, weights, (panel, wide), &mut sums);
        for r in 0..weights.0.2 {
            let factor = lanes.splat(scale / totals[r]);
            for p in 0..wide {
                let first = (panel + p) * COLUMNS;
                let many = COLUMNS.min(width - first);
                let out = &mut out[r * stride + first..][..many];
                let (chunks, rest) = L::chunks_mut(out);
                let whole = chunks.len();
                for (part, chunk) in chunks.iter_mut().enumerate() {
                    let v = lanes.from_sums(&sums[r][p], part);
                    lanes.store(lanes.mul_add(v, factor, offset), chunk);
                }
                if !rest.is_empty() {
                    let v = lanes.from_sums(&sums[r][p], whole);
                    lanes.store_partial(lanes.mul_add(v, factor, offset), rest);
                }
            }
        }
        panel += wide;
    }
}

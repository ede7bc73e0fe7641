//! Depthwise convolution of codes, channels last.

use super::pack::{COLUMNS, Line};
use super::reach;
use super::tile::Tile;

/// Weights of a depthwise convolution, in panels of sixteen channels.
#[derive(Clone, Debug)]
pub struct DepthwiseWeights {
    /// `[panels][taps]`, sixteen channels each; channels beyond the last are 0.
    pub(in crate::kernels) panels: Vec<Vec<[i16; COLUMNS]>>,
    /// Σ over the taps.
    pub(in crate::kernels) sums: Vec<[i32; COLUMNS]>,
    /// `[blocks of 64 channels][quads of taps][4]`: line `i` holds channels `4i..4i + 4` of each
    /// sixteen, four taps of each side by side; taps and channels beyond the last are 0.
    pub(in crate::kernels) quads: Vec<Vec<[Line; 4]>>,
    /// `[blocks of 64 channels]` of nine taps, by threes: the quads of taps 0, 3, 6, then of 1, 4,
    /// 7, then of 2, 5, 8 — the columns of a 3x3 window, their fourth weight 0. Empty where there
    /// are not nine taps.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::kernels) columns: Vec<[[Line; 4]; 3]>,
    /// `[panels][pairs of taps]`, a pair of each of sixteen channels.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::kernels) pairs: Vec<Vec<[[i16; 2]; COLUMNS]>>,
    /// `[panels][columns]` of nine taps: the pair of top and middle, and that of bottom and 0.
    /// Empty where there are not nine taps.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::kernels) words: Vec<[[[[i16; 2]; COLUMNS]; 2]; 3]>,
}

impl DepthwiseWeights {
    /// Packs `weights` `[channels, taps]`; `None` if the size is another.
    #[must_use]
    pub fn new(weights: &[i8], channels: usize, taps: usize) -> Option<DepthwiseWeights> {
        if channels == 0 || taps == 0 || weights.len() != channels.checked_mul(taps)? {
            return None;
        }
        let mut panels = vec![vec![[0; COLUMNS]; taps]; channels.div_ceil(COLUMNS)];
        let mut sums = vec![[0; COLUMNS]; panels.len()];
        let mut quads =
            vec![vec![[Line::ZERO; 4]; taps.div_ceil(4)]; channels.div_ceil(4 * COLUMNS)];
        #[cfg(target_arch = "x86_64")]
        let nines = if taps == 9 { quads.len() } else { 0 };
        #[cfg(target_arch = "x86_64")]
        let mut columns = vec![[[Line::ZERO; 4]; 3]; nines];
        #[cfg(target_arch = "x86_64")]
        let mut pairs = vec![vec![[[0; 2]; COLUMNS]; taps.div_ceil(2)]; panels.len()];
        #[cfg(target_arch = "x86_64")]
        let mut words = vec![[[[[0; 2]; COLUMNS]; 2]; 3]; if taps == 9 { panels.len() } else { 0 }];
        for (at, weights) in weights.chunks(COLUMNS * taps).enumerate() {
            for t in 0..taps {
                let mut of_tap = [0; COLUMNS];
                let values = weights[t..].iter().step_by(taps);
                of_tap.iter_mut().zip(values).for_each(|(to, w)| *to = *w);
                let wide = of_tap.map(i16::from);
                panels[at][t] = wide;
                let sums = sums[at].iter_mut().zip(wide);
                sums.for_each(|(sum, w)| *sum += i32::from(w));
                let (block, lane) = (at / 4, at % 4 * 16);
                let quad = &mut quads[block][t / 4];
                for (c, w) in of_tap.iter().enumerate() {
                    quad[c / 4].0[lane + c % 4 * 4 + t % 4] = *w;
                }
                #[cfg(target_arch = "x86_64")]
                {
                    let pair = pairs[at][t / 2].iter_mut().zip(wide);
                    pair.for_each(|(pair, w)| pair[t % 2] = w);
                    if let Some(words) = words.get_mut(at) {
                        let word = words[t % 3][t / 6].iter_mut().zip(wide);
                        word.for_each(|(word, w)| word[t / 3 % 2] = w);
                        for (c, w) in of_tap.iter().enumerate() {
                            columns[block][t % 3][c / 4].0[lane + c % 4 * 4 + t / 3] = *w;
                        }
                    }
                }
            }
        }
        Some(DepthwiseWeights {
            panels,
            sums,
            quads,
            #[cfg(target_arch = "x86_64")]
            columns,
            #[cfg(target_arch = "x86_64")]
            pairs,
            #[cfg(target_arch = "x86_64")]
            words,
        })
    }
}

/// One output pixel after another of a row: `y = clamp(round((Σₜ x·w + bias)·multiplier) +
/// zero, low, high)` for each channel.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    /// Weights.
    pub weights: &'a DepthwiseWeights,
    /// Input scale · weight scale / output scale of each channel.
    pub multipliers: &'a [[f32; COLUMNS]],
    /// Bias of each channel, in units of the sums.
    pub bias: &'a [[i32; COLUMNS]],
    /// Zero points of input and output.
    pub zeros: (u8, u8),
    /// Least and greatest output code.
    pub clamp: (u8, u8),
    /// Bytes from a tap of one output pixel to the same tap of the next.
    pub step: usize,
}

impl Depthwise<'_> {
    /// How many columns of a 3×3 window a step goes on, if they are neighbours all the same way
    /// apart: then what was made of a column for one pixel serves the next.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::kernels) fn apart(
        &self,
        [left, middle, right]: &[[usize; 3]; 3],
    ) -> Option<usize> {
        let apart = middle[0].checked_sub(left[0])?;
        let even = (0..3).all(|r| left[r] + apart == middle[r] && middle[r] + apart == right[r]);
        let step = self.step.checked_div(apart)?;
        (even && step * apart == self.step).then_some(step)
    }

    /// Whether the parts fit each other and every tap of every pixel is within `codes`.
    pub(in crate::kernels) fn fits(&self, codes: usize, taps: &[usize], out: usize) -> bool {
        let panels = self.weights.sums.len();
        let channels = panels * COLUMNS;
        let furthest = taps.iter().copied().max().unwrap_or(0);
        let pixels = out / channels;
        let end = furthest
            .checked_add(channels)
            .and_then(|depth| reach(pixels.max(1), self.step, depth));
        self.multipliers.len() == panels
            && self.bias.len() == panels
            && self.weights.panels.iter().all(|p| p.len() == taps.len())
            && out.is_multiple_of(channels)
            && (pixels == 0 || end.is_some_and(|end| end <= codes))
    }
}

/// `pixels` outputs of one row; `taps` are offsets of the first pixel's taps in `codes`.
#[inline(always)]
pub(in crate::kernels) fn depthwise<L: Tile>(
    lanes: L,
    codes: &[u8],
    taps: &[usize],
    job: &Depthwise<'_>,
    out: &mut [u8],
) {
    lanes.depthwise_row(codes, taps, job, out);
}

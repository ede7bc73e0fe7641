//! A memory bank: the k nearest stored rows answer for a query.
//!
//! ```text
//! q = x/‖x‖,  d_i² = ‖q − b_i‖²,  a_i = e^{−d_i²/τ} / Σ_{j among the k} e^{−d_j²/τ}
//! y = Σ_i a_i·answer_i                                     over the k nearest
//! ```
//!
//! The search is exact over the rows as they are stored, in half floats or in bytes with a
//! scale per row; equally near rows are taken in their order. Bytes are scanned with the query
//! in bytes as well. What that rounds away is bounded, `|q·b − q̂·b| ≤ ‖q − q̂‖·‖b‖`, so every
//! row that could be among the k is looked at once more with the query in f32. A query of zeros
//! has no direction and is as far from every unit row.

use crate::fusion::catalogue::find;
use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::{Data, Parameters, Tensor};
use crate::fusion::projection::{Projection, ProjectionScratch};
use crate::fusion::{FusionError, Rows};
use crate::kernels::{Kernels, float16, unit_rows};

/// A stored row that is near a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its place in the bank.
    pub index: usize,
    /// `‖q − b‖²`.
    pub distance: f32,
}

/// How the rows are stored.
#[derive(Debug)]
enum Bank {
    /// `[rows, width]`.
    Half(Vec<u16>),
    /// Packed for the scan, `−‖b‖²/2` as the bias; and the scales once more.
    Int8 { scan: Projection, scale: Vec<f32> },
}

/// Stored rows, an answer to each, and how many are asked.
#[derive(Debug)]
pub struct MemoryBank {
    bank: Bank,
    width: usize,
    /// `‖b‖²/2` of each row.
    half_squares: Vec<f32>,
    /// The longest row.
    longest: f32,
    /// `[rows, classes]`.
    answers: Vec<f32>,
    k: usize,
    tau: f32,
}

/// Rounding of scores computed in f32: rows that near are compared again.
const ROUNDING: f32 = 1e-5;

fn half_square(row: &[f32]) -> f32 {
    let square: f64 = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    (square / 2.0) as f32
}

impl MemoryBank {
    /// A bank alone, to ask for neighbours: `function`, weights and settings as for
    /// [`Fusion::with_kernels`](crate::fusion::Fusion::with_kernels).
    ///
    /// # Errors
    /// As for an operator; a function that is not a memory bank.
    pub fn new(
        function: &str,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
        kernels: Kernels,
    ) -> Result<MemoryBank, FusionError> {
        let found = find(function).filter(|(entry, _)| entry.family == "memory");
        let (entry, precision) = found.ok_or(FusionError::Unknown)?;
        MemoryBank::of(&Parameters::new(
            entry, precision, weights, settings, kernels,
        )?)
    }

    /// The bank of an entry: `bank`, `answers`, and the settings `k` and `tau`.
    pub(in crate::fusion) fn of(given: &Parameters<'_>) -> Result<MemoryBank, FusionError> {
        let (rows, width, k) = (
            given.size('b'),
            given.size('d'),
            given.setting("k") as usize,
        );
        if k > rows {
            return Err(FusionError::Setting {
                name: "k",
                value: k as f32,
            });
        }
        let wrong = FusionError::Element {
            name: "bank",
            wanted: "float16 or int8",
        };
        let (bank, half_squares) = match given.tensor("bank")?.data {
            Data::F16(x) => {
                let squares = x
                    .chunks_exact(width)
                    .map(|row| half_square(&float16::to_floats(row)));
                (Bank::Half(x.to_vec()), squares.collect::<Vec<f32>>())
            }
            Data::I8(w) => int8(given, w, width).ok_or(wrong)?,
            _ => return Err(wrong),
        };
        let longest = half_squares.iter().fold(0.0_f32, |a, b| a.max(*b));
        Ok(MemoryBank {
            bank,
            width,
            half_squares,
            longest: (longest * 2.0).sqrt(),
            answers: given.plain("answers")?.to_vec(),
            k,
            tau: given.setting("tau") as f32,
        })
    }

    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Ok(Box::new(MemoryBank::of(given)?))
    }

    /// The k nearest rows to a unit `query`, the nearest first.
    fn neighbours(
        &self,
        kernels: &Kernels,
        query: &[f32],
        work: &mut Scratch,
        found: &mut Vec<Neighbour>,
    ) {
        let [scores, spare, row, ..] = &mut work.floats;
        let slack = self.scan(kernels, query, &mut work.projection, scores, spare);
        candidates(scores, self.k, slack, spare, &mut work.places);
        let square = kernels.dot(query, query);
        found.clear();
        for index in &work.places {
            let score = match &self.bank {
                Bank::Half(_) => scores[*index],
                Bank::Int8 { scan, scale } => {
                    scan.column(*index, row);
                    let product = kernels.dot(row, query) * scale[*index];
                    product - self.half_squares[*index]
                }
            };
            let distance = (square - 2.0 * score).max(0.0);
            found.push(Neighbour {
                index: *index,
                distance,
            });
        }
        found.sort_by(|a, b| {
            a.distance
                .total_cmp(&b.distance)
                .then(a.index.cmp(&b.index))
        });
        found.truncate(self.k);
    }

    /// `q·b − ‖b‖²/2` of every row, and how far off that may be.
    fn scan(
        &self,
        kernels: &Kernels,
        query: &[f32],
        work: &mut ProjectionScratch,
        scores: &mut Vec<f32>,
        rounded: &mut Vec<f32>,
    ) -> f32 {
        match &self.bank {
            Bank::Half(bank) => {
                scores.resize(self.half_squares.len(), 0.0);
                kernels.half_gemv(bank, query, rounded, scores);
                let pairs = scores.iter_mut().zip(&self.half_squares);
                pairs.for_each(|(score, half)| *score -= half);
                0.0
            }
            Bank::Int8 { scan, .. } => {
                scan.run(kernels, Rows::of_whole(query, self.width), work, scores);
                work.rounded(kernels, self.width, rounded);
                let off = query
                    .iter()
                    .zip(rounded.iter())
                    .map(|(a, b)| (a - b) * (a - b));
                off.sum::<f32>().sqrt() * self.longest + ROUNDING
            }
        }
    }

    /// The k nearest rows to each row of `x`, which is brought to unit length first.
    pub fn search(
        &self,
        kernels: &Kernels,
        x: Rows<'_>,
        work: &mut Scratch,
    ) -> Vec<Vec<Neighbour>> {
        let unit = unit_rows(x);
        let of = |query: &[f32]| {
            let mut found = Vec::new();
            self.neighbours(kernels, query, work, &mut found);
            found
        };
        unit.chunks_exact(self.width).map(of).collect()
    }
}

/// The packed bank and `‖b‖²/2` of its rows, from bytes `[width, rows]`.
fn int8(given: &Parameters<'_>, w: &[i8], width: usize) -> Option<(Bank, Vec<f32>)> {
    let scale = given.plain("bank_scale").ok()?;
    let rows = scale.len();
    let mut squares = vec![0_i64; rows];
    for line in w.chunks_exact(rows) {
        squares
            .iter_mut()
            .zip(line)
            .for_each(|(sum, w)| *sum += i64::from(*w).pow(2));
    }
    let halves = squares.iter().zip(scale);
    let halves = halves.map(|(sum, s)| (*sum as f64 * f64::from(*s).powi(2) / 2.0) as f32);
    let halves: Vec<f32> = halves.collect();
    let bias: Vec<f32> = halves.iter().map(|half| -half).collect();
    let scan = Projection::int8(given.kernels.level(), w, width, scale, Some(&bias))?;
    let scale = scale.to_vec();
    Some((Bank::Int8 { scan, scale }, halves))
}

/// Scores looked at together: most blocks hold none that is large enough.
const BLOCK: usize = 32;

/// Places of every score that could be among the `k` largest, were each off by `slack`.
fn candidates(scores: &[f32], k: usize, slack: f32, best: &mut Vec<f32>, places: &mut Vec<usize>) {
    // the k largest so far, descending
    best.clear();
    best.resize(k, f32::NEG_INFINITY);
    places.clear();
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        let least = best[k - 1] - 2.0 * slack;
        if !scores
            .iter()
            .fold(false, |any, score| any | (*score >= least))
        {
            continue;
        }
        for (i, score) in scores.iter().enumerate() {
            if *score < best[k - 1] - 2.0 * slack {
                continue;
            }
            places.push(block * BLOCK + i);
            if *score > best[k - 1] {
                let at = best.partition_point(|b| *b >= *score);
                best[at..].rotate_right(1);
                best[at] = *score;
            }
        }
    }
    let least = best[k - 1] - 2.0 * slack;
    places.retain(|place| scores[*place] >= least);
}

impl Operator for MemoryBank {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let classes = self.answers.len() / self.half_squares.len();
        let y = &mut out[0];
        y.clear();
        y.resize(inputs[0].rows() * classes, 0.0);
        let found = self.search(kernels, inputs[0], work);
        for (y, found) in y.chunks_exact_mut(classes).zip(found) {
            // less the nearest: the largest exponent is 0
            let nearest = found.first().map_or(0.0, |n| n.distance);
            let mut total = 0.0;
            for neighbour in found {
                let weight = ((nearest - neighbour.distance) / self.tau).exp();
                total += weight;
                let answer = &self.answers[neighbour.index * classes..][..classes];
                y.iter_mut().zip(answer).for_each(|(y, a)| *y += weight * a);
            }
            y.iter_mut().for_each(|y| *y /= total);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        match &self.bank {
            Bank::Half(bank) => size_of_val(bank.as_slice()),
            Bank::Int8 { scan, .. } => scan.bytes(),
        }
    }
}

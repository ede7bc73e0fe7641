//! The list of kernels and what is made of it: the table, its entry points per
//! level, and the tests. A kernel is added here and nowhere else.

/// The list of kernels: documentation, signature, shape rule and test of each.
macro_rules! for_each_kernel {
    ($callback:ident $with:tt) => {
        $callback! { $with
            /// Inner product `Σ aᵢ·bᵢ` of two vectors of equal length.
            ///
            /// Error at most `len·2⁻²³·Σ|aᵢ·bᵢ|`.
            fn dot(a: &[f32], b: &[f32]) -> f32
                where a.len() == b.len(), tested by dot;

            /// `y = A·x` for `A` `[r, c]`, `x` `[c]`, `y` `[r]`.
            fn gemv(a: Rows<'_>, x: &[f32], y: &mut [f32]) -> ()
                where a.cols() == x.len() && a.rows() == y.len(), tested by gemv;

            /// `C = A·B` for `A` `[r, k]`, `B` `[k, c]`, `C` `[r, c]`.
            ///
            /// Each element has the error bound of [`dot`](Kernels::dot).
            fn gemm(a: Rows<'_>, b: Rows<'_>, c: &mut [f32]) -> ()
                where a.cols() == b.rows() && c.len() == a.rows() * b.cols(), tested by gemm;

            /// `C = A·Bᵀ` for `A` `[r, k]`, `B` `[c, k]`, `C` `[r, c]`.
            ///
            /// Each element has the error bound of [`dot`](Kernels::dot).
            fn gemm_bt(a: Rows<'_>, b: Rows<'_>, c: &mut [f32]) -> ()
                where a.cols() == b.cols() && c.len() == a.rows() * b.rows(), tested by gemm_bt;

            /// Mean of the rows of `x` `[r, c]` into `mean` `[c]`; zero if `r = 0`.
            fn column_mean(x: Rows<'_>, mean: &mut [f32]) -> ()
                where mean.len() == x.cols(), tested by column_mean;

            /// Softmax of each row of `x` `[r, cols]` in place.
            ///
            /// Every weight is in `[0, 1]` and a row sums to 1 within 1e-6,
            /// for any finite scores; each weight is within 8 ULP. Weights below
            /// `e⁻⁸⁷` of the largest are 0. The exponential is within 1 ULP.
            fn row_softmax(x: &mut [f32], cols: usize) -> ()
                where x.len() == 0 || (cols > 0 && x.len() % cols == 0), tested by row_softmax;

            /// Sparsemax of each row of `x` `[r, cols]` in place: the nearest point of the
            /// simplex, `max(z − τ, 0)`, within 2e-6. A score of −∞ gives 0; a row needs
            /// one finite score.
            fn row_sparsemax(x: &mut [f32], cols: usize) -> ()
                where x.len() == 0 || (cols > 0 && x.len() % cols == 0),
                tested by simplex::row_sparsemax;

            /// 1.5-entmax of each row of `x` `[r, cols]` in place: `max(z/2 − τ, 0)²`,
            /// within 2e-6. A score of −∞ gives 0; a row needs one finite score.
            fn row_entmax15(x: &mut [f32], cols: usize) -> ()
                where x.len() == 0 || (cols > 0 && x.len() % cols == 0),
                tested by simplex::row_entmax15;

            /// `1/(1 + e⁻ˣ)` in place, within 2e-7; every value is in `[0, 1]`.
            fn sigmoid(x: &mut [f32]) -> ()
                where true, tested by activations::sigmoid;

            /// `tanh(x)` in place, within 3e-7; every value is in `[−1, 1]`.
            fn tanh(x: &mut [f32]) -> ()
                where true, tested by activations::tanh;

            /// `Y = X·Wᵀ + b` for packed `W` `[n, k]` and `b` `[n]`, `X` `[r, k]`, `Y` `[r, n]`.
            ///
            /// Each element has the error bound of [`dot`](Kernels::dot), of one term more.
            fn project(x: Rows<'_>, w: &PackedFloats, out: &mut [f32]) -> ()
                where x.cols() == w.k() && out.len() == x.rows() * w.n(),
                tested by panels::project;

            /// `y = A·x` for half floats `A` `[y.len(), x.len()]`, given as their bits; none
            /// may be infinite or undefined, and no value of `x` beyond ±32768. `scaled` is
            /// memory to work in.
            ///
            /// Each element has the error bound of [`dot`](Kernels::dot).
            fn half_gemv(a: &[u16], x: &[f32], scaled: &mut Vec<f32>, y: &mut [f32]) -> ()
                where a.len() == x.len() * y.len() && largest_magnitude(x) <= 32768.0,
                tested by float16::half_gemv;

            /// `out[i, k] = ⟨xᵢ, labelₖ⟩ / ‖xᵢ‖` for `x` `[n, d]`, unit rows
            /// `labels` `[K, d]` (see [`unit_rows`]), `out` `[n, K]`.
            ///
            /// Every value is in `[-1, 1]`, whatever the size of the row: huge
            /// and denormal rows keep their direction, a zero row gives 0. The
            /// error is at most 4e-6 for `d` up to 193.
            fn row_cosine(x: Rows<'_>, labels: Rows<'_>, out: &mut [f32]) -> ()
                where x.cols() == labels.cols() && out.len() == x.rows() * labels.rows(),
                tested by row_cosine;

            /// Mean of cross attention: `mean = (1/n)·Σᵢ softmax(qᵢ·Kᵀ)·K` for
            /// `q` `[n, d]`, `K = kv` `[m, d]`, `mean` `[d]`.
            ///
            /// The `[n, m]` score matrix is never held: as the mean over
            /// queries commutes with the product by `K`, only four rows of
            /// scores and the `m` column sums of the weights are, which also
            /// halves the arithmetic of the usual online softmax. With
            /// `weights` `[n, m]` the attention is written out as well.
            /// No queries or no keys give a zero mean.
            fn attend_mean(
                q: Rows<'_>,
                kv: Rows<'_>,
                mean: &mut [f32],
                scratch: &mut AttendScratch,
                weights: Option<&mut [f32]>
            ) -> ()
                where q.cols() == kv.cols()
                    && mean.len() == kv.cols()
                    && weights.as_ref().is_none_or(|w| w.len() == q.rows() * kv.rows()),
                tested by attend_mean;

            /// Mean of attention by labels: `mean = (1/n)·Σᵢ softmax(qᵢ·Kᵀ)·V`
            /// for `q` `[n, K]` (already divided by the temperature), `Kᵀ =
            /// keys_t` `[K, m]`, `V = values` `[m, d]`, `mean` `[d]`.
            ///
            /// As [`attend_mean`](Kernels::attend_mean), with keys of a few
            /// columns given transposed, so that the lanes run along `m`.
            fn label_attend_mean(
                q: Rows<'_>,
                keys_t: Rows<'_>,
                values: Rows<'_>,
                mean: &mut [f32],
                scratch: &mut AttendScratch,
                weights: Option<&mut [f32]>
            ) -> ()
                where q.cols() == keys_t.rows()
                    && keys_t.cols() == values.rows()
                    && mean.len() == values.cols()
                    && weights.as_ref().is_none_or(|w| w.len() == q.rows() * values.rows()),
                tested by label_attend_mean;

            /// Least and greatest value of `x`; `(∞, −∞)` of none.
            fn range(x: &[f32]) -> (f32, f32)
                where true, tested by int8::range;

            /// `x` `[r, k]` as codes, rows padded to whole [`DEPTH`](crate::kernels::int8::DEPTH)s
            /// with the code of 0: `clamp(round(x/scale) + zero, 0, 255)`, ties to even,
            /// the division as a product by `1/scale`.
            fn quantise(x: Rows<'_>, q: Quant, out: &mut [u8]) -> ()
                where out.len() == x.rows() * padded_depth(x.cols()), tested by int8::quantise;

            /// Codes to floats: `scale·(q − zero)`.
            fn dequantise(codes: &[u8], q: Quant, out: &mut [f32]) -> ()
                where codes.len() == out.len(), tested by int8::dequantise;

            /// Sum of two tensors of codes, as codes; whole
            /// [`DEPTH`](crate::kernels::int8::DEPTH)s of them.
            fn add_codes(a: (&[u8], Quant), b: (&[u8], Quant), q: Quant, out: &mut [u8]) -> ()
                where a.0.len() == out.len() && b.0.len() == out.len() && out.len() % DEPTH == 0,
                tested by int8::add_codes;

            /// Codes times packed weights, to floats; returns the range of what it wrote.
            ///
            /// The sums are exact; bias and scale are one fused multiply-add.
            fn linear(
                a: Codes<'_>,
                q: Quant,
                job: &Linear<'_>,
                scratch: &mut ProductScratch,
                out: &mut [f32]
            ) -> (f32, f32)
                where a.hold(padded_depth(job.weights.k()))
                    && job.fits(a.rows)
                    && out.len() == a.rows * job.weights.n(),
                tested by int8::linear;

            /// Codes times packed weights, to codes, rows padded to whole panels.
            fn requantise(
                a: Codes<'_>,
                zero: u8,
                job: &Requantise<'_>,
                scratch: &mut ProductScratch,
                out: &mut [u8]
            ) -> ()
                where a.hold(padded_depth(job.weights.k()))
                    && job.fits()
                    && out.len() == a.rows * job.weights.n().next_multiple_of(COLUMNS),
                tested by int8::requantise;

            /// `x/2·(1 + erf(x/√2))` in place, within 5e-5·max(1, |x|).
            fn gelu(x: &mut [f32]) -> ()
                where true, tested by int8::gelu;

            /// `(x − mean)/√(variance + ε)·γ + β` of each row; returns the range of it.
            fn layer_norm(
                x: Rows<'_>,
                affine: (&[f32], &[f32]),
                epsilon: f32,
                out: &mut [f32]
            ) -> (f32, f32)
                where affine.0.len() == x.cols()
                    && affine.1.len() == x.cols()
                    && out.len() == x.data().len(),
                tested by int8::layer_norm;

            /// Multi-head attention of codes, `[n, heads·width]`; see [`Attention`].
            fn attend(job: &Attention<'_>, scratch: &mut AttentionScratch, out: &mut [f32]) -> ()
                where job.fits(out.len()), tested by int8::attend;

            /// One row of a depthwise convolution of codes, channels last; `taps` are the
            /// offsets in `codes` of what the first pixel reads.
            fn depthwise(codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) -> ()
                where job.fits(codes.len(), taps, out.len()), tested by int8::depthwise;
        }
    };
}

/// Declares the table and its checked methods.
macro_rules! declare_table {
    ([] $(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty
            where $rule:expr, tested by $($test:ident)::+;
    )*) => {
        /// The kernels of one instruction-set level.
        #[derive(Clone, Copy, Debug)]
        pub struct Kernels {
            level: Level,
            $($name: unsafe fn($($type),*) -> $out,)*
        }

        impl Kernels {
            $(
                $(#[$doc])*
                ///
                /// # Panics
                /// If the shapes disagree.
                #[inline]
                pub fn $name(&self, $($arg: $type),*) -> $out {
                    assert!($rule, concat!(stringify!($name), ": shapes disagree"));
                    // SAFETY: a table is only made with a token of its level,
                    // so the CPU has the features the function is compiled for.
                    unsafe { (self.$name)($($arg),*) }
                }
            )*
        }

        impl Kernels {
            const SCALAR: Kernels = Kernels { level: Level::Scalar, $($name: scalar::$name,)* };
        }
    };
}

/// Declares, in a level's module, the functions compiled for the level and the
/// table of them, which only its token gives access to.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
macro_rules! declare_entries {
    ([$token:ident $features:literal] $(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty
            where $rule:expr, tested by $($test:ident)::+;
    )*) => {
        mod entry {
            use crate::kernels::int8::*;
            use crate::kernels::{AttendScratch, PackedFloats, Rows, generic};
            use super::$token;

            $(
                #[target_feature(enable = $features)]
                pub(super) fn $name($($arg: $type),*) -> $out {
                    // SAFETY: this function is compiled for the features, so
                    // whoever could call it has made sure of them.
                    let lanes = unsafe { $token::new_unchecked() };
                    generic::$name(lanes, $($arg),*)
                }
            )*
        }

        impl $token {
            /// The kernels of this level.
            pub(in crate::kernels) fn kernels(self) -> crate::kernels::Kernels {
                crate::kernels::Kernels { level: crate::kernels::Level::$token, $($name: entry::$name,)* }
            }
        }
    };
}

#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
macro_rules! entry_points {
    ($token:ident, $features:literal) => {
        for_each_kernel!(declare_entries [$token $features]);
    };
}

/// One test per kernel and level. A level this CPU lacks is skipped aloud.
#[cfg(test)]
macro_rules! declare_tests {
    ([] $(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty
            where $rule:expr, tested by $($test:ident)::+;
    )*) => {
        mod kernel {
            $(
                mod $name {
                    use crate::kernels::{Level, properties};

                    at_every_level!(properties::$($test)::+);
                }
            )*
        }
    };
}

/// One test per level. A level this CPU lacks is skipped aloud.
#[cfg(test)]
macro_rules! at_every_level {
    ($property:expr) => {
        at_every_level!(@each $property, scalar Scalar);
        #[cfg(target_arch = "aarch64")]
        at_every_level!(@each $property, neon Neon, neon_dot NeonDot, neon_i8mm NeonI8mm);
        #[cfg(target_arch = "x86_64")]
        at_every_level!(@each $property, avx2 Avx2, avx_vnni AvxVnni, avx512 Avx512);
    };
    (@each $property:expr, $($name:ident $level:ident),*) => {$(
        #[test]
        fn $name() {
            properties::at_level(Level::$level, $property);
        }
    )*};
}

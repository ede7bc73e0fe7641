//! What a SIMD level must offer, and nothing more: a few operations on a
//! register of f32 lanes. The algorithms in [`generic`](super::generic) are
//! written once against this trait, in safe code.

/// A level's token together with its register operations.
///
/// An implementor is a zero-sized type whose existence proves that the CPU has
/// the instructions, which is what makes the methods safe to call.
///
/// Everything here and in `generic` is `#[inline(always)]` and free of closures:
/// only code inlined into an entry point is compiled for the level.
pub(super) trait Lanes: Copy {
    /// A register.
    type V: Copy;

    /// f32 lanes in a register.
    const LANES: usize;

    /// `[f32; LANES]`: a load or store through it needs no length check.
    type Chunk;

    /// `src` in whole registers, and the rest.
    fn chunks(src: &[f32]) -> (&[Self::Chunk], &[f32]);

    /// `dst` in whole registers, and the rest.
    fn chunks_mut(dst: &mut [f32]) -> (&mut [Self::Chunk], &mut [f32]);

    fn splat(self, x: f32) -> Self::V;

    fn load(self, src: &Self::Chunk) -> Self::V;
    fn store(self, v: Self::V, dst: &mut Self::Chunk);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a·b + c`, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// Nearest whole number, ties to even.
    fn round(self, v: Self::V) -> Self::V;

    /// `2ⁿ` for whole `n` in -126..=127.
    fn exp2_whole(self, n: Self::V) -> Self::V;

    /// `v` in the lanes where `x ≥ limit`, zero in the others.
    fn keep_where_ge(self, v: Self::V, x: Self::V, limit: Self::V) -> Self::V;

    /// Sum of the lanes.
    fn sum(self, v: Self::V) -> f32;

    /// Largest lane.
    fn largest(self, v: Self::V) -> f32;

    /// Lanes `part·LANES..` of sixteen sums, as f32 (rounded to nearest).
    #[allow(clippy::wrong_self_convention)] // `self` is the token, not what is converted
    fn from_sums(self, sums: &[i32; 16], part: usize) -> Self::V;

    /// Bytes, each XOR `flip`, to f32; `src` has [`LANES`](Lanes::LANES) bytes.
    fn load_codes(self, src: &[u8], flip: u8) -> Self::V;

    /// Whole numbers in 0..=255 to bytes, each XOR `flip`.
    ///
    /// `dst` has [`LANES`](Lanes::LANES) bytes.
    fn store_codes(self, v: Self::V, flip: u8, dst: &mut [u8]);

    /// `src` (shorter than a register) followed by lanes of `fill`.
    #[inline(always)]
    fn load_padded(self, src: &[f32], fill: f32) -> Self::V {
        let mut padded = [fill; MAX_LANES];
        padded[..src.len()].copy_from_slice(src);
        self.load(&Self::chunks(&padded).0[0])
    }

    /// Writes as many leading lanes as `dst` (shorter than a register) holds.
    #[inline(always)]
    fn store_partial(self, v: Self::V, dst: &mut [f32]) {
        let mut padded = [0.0; MAX_LANES];
        self.store(v, &mut Self::chunks_mut(&mut padded).0[0]);
        dst.copy_from_slice(&padded[..dst.len()]);
    }
}

/// Lanes of the widest level.
const MAX_LANES: usize = 16;

/// Gives `$token`, a level that adds byte products to another, the lanes of that other.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
macro_rules! same_lanes {
    ($token:ident as $base:ident) => {
        same_lanes!(@methods $token $base
            splat(x: f32) -> Self::V;
            load(src: &Self::Chunk) -> Self::V;
            store(v: Self::V, dst: &mut Self::Chunk) -> ();
            add(a: Self::V, b: Self::V) -> Self::V;
            sub(a: Self::V, b: Self::V) -> Self::V;
            mul(a: Self::V, b: Self::V) -> Self::V;
            max(a: Self::V, b: Self::V) -> Self::V;
            min(a: Self::V, b: Self::V) -> Self::V;
            mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
            round(v: Self::V) -> Self::V;
            exp2_whole(n: Self::V) -> Self::V;
            keep_where_ge(v: Self::V, x: Self::V, limit: Self::V) -> Self::V;
            sum(v: Self::V) -> f32;
            largest(v: Self::V) -> f32;
            from_sums(sums: &[i32; 16], part: usize) -> Self::V;
            load_codes(src: &[u8], flip: u8) -> Self::V;
            store_codes(v: Self::V, flip: u8, dst: &mut [u8]) -> ();
        );
    };
    (@methods $token:ident $base:ident
        $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl Lanes for $token {
            type V = <$base as Lanes>::V;
            const LANES: usize = <$base as Lanes>::LANES;
            type Chunk = <$base as Lanes>::Chunk;

            #[inline(always)]
            fn chunks(src: &[f32]) -> (&[Self::Chunk], &[f32]) {
                <$base as Lanes>::chunks(src)
            }

            #[inline(always)]
            fn chunks_mut(dst: &mut [f32]) -> (&mut [Self::Chunk], &mut [f32]) {
                <$base as Lanes>::chunks_mut(dst)
            }

            $(
                #[inline(always)]
                fn $name(self, $($arg: $type),*) -> $out {
                    self.0.$name($($arg),*)
                }
            )*
        }
    };
}

//! The arithmetic of the models and fusion heads, per instruction set.
//!
//! [`active`] chooses a table of function pointers once, by asking the CPU;
//! every later call is one indirect jump. A kernel is declared in one place,
//! `table`, together with its shape rule and the property test that holds it to
//! the plain `scalar` code at every level; without the test it does not
//! compile. Byte products are in [`int8`].
//!
//! This is the only module of the crate with `unsafe` code, and it has four
//! kinds: intrinsics and inline assembly behind a token (`neon`, `x86`), making
//! a token inside a function compiled for it, calling such a function from the
//! table, and lending a closure to the workers of `pool`.
//!
//! Shapes: matrices are row-major f32, `[rows, columns]`. Values must be
//! finite; [`all_finite`] tells. Nothing here allocates except scratch memory,
//! when it first meets a longer input.

#![allow(unsafe_code)] // denied everywhere else

#[macro_use]
mod table;

mod cache;
pub mod float16;
mod generic;
pub mod int8;
mod isa;
#[macro_use]
mod lanes;
mod activations;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panels;
mod pool;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
mod properties;
mod rows;
mod scalar;
mod simplex;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use int8::*;
pub use isa::{ISA_VARIABLE, IsaError, Level};
pub use panels::{PANEL, PackedFloats};
pub use pool::{MAX_THREADS, share};
pub use rows::{Rows, ShapeError, all_finite, largest_magnitude, unit_rows};

/// Query rows that share one pass over the keys.
const BLOCK: usize = 4;

/// Memory an attention kernel works in; grows to the longest input, then stays.
#[derive(Debug, Default)]
pub struct AttendScratch {
    values: Vec<f32>,
}

impl AttendScratch {
    /// Room for the scores of `block` query rows over `m` keys, and `m` zeroed
    /// column sums.
    fn split(&mut self, block: usize, m: usize) -> (&mut [f32], &mut [f32]) {
        let needed = (block + 1) * m;
        if self.values.len() < needed {
            self.values.resize(needed, 0.0);
        }
        let (scores, column) = self.values[..needed].split_at_mut(block * m);
        column.fill(0.0);
        (scores, column)
    }
}

for_each_kernel!(declare_table []);
#[cfg(test)]
for_each_kernel!(declare_tests []);

impl Kernels {
    /// The kernels of a level, if this CPU has it.
    #[must_use]
    pub fn for_level(level: Level) -> Option<Kernels> {
        match level {
            Level::Scalar => Some(Kernels::SCALAR),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => neon::Neon::new().map(neon::Neon::kernels),
            #[cfg(target_arch = "aarch64")]
            Level::NeonDot => neon::NeonDot::new().map(neon::NeonDot::kernels),
            #[cfg(target_arch = "aarch64")]
            Level::NeonI8mm => neon::NeonI8mm::new().map(neon::NeonI8mm::kernels),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::Avx2::new().map(x86::Avx2::kernels),
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => x86::AvxVnni::new().map(x86::AvxVnni::kernels),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::Avx512::new().map(x86::Avx512::kernels),
            _ => None,
        }
    }

    /// The level these kernels are of.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }
}

/// The level that `DEMEANOR_ISA` asks for, or else the best of this CPU.
///
/// # Errors
/// If the variable names no level or one the CPU lacks; a program should
/// refuse to start then, as [`active`] quietly takes the best level.
pub fn chosen_level() -> Result<Level, IsaError> {
    let forced = std::env::var_os(ISA_VARIABLE);
    let forced = forced.as_ref().map(|name| name.to_string_lossy());
    Level::select(forced.as_deref())
}

/// The kernels of this process, chosen at the first call.
#[must_use]
pub fn active() -> &'static Kernels {
    static ACTIVE: OnceLock<Kernels> = OnceLock::new();
    ACTIVE.get_or_init(|| {
        let level = chosen_level().unwrap_or(Level::best());
        Kernels::for_level(level).unwrap_or(Kernels::SCALAR)
    })
}

#[cfg(test)]
mod product_in_pieces {
    use super::{Level, properties};

    at_every_level!(super::int8::properties::product_in_pieces);
}

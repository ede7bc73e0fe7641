//! x86-64: developer machines and kiosks.

// An index runs over several small arrays of registers at once.
#![allow(clippy::needless_range_loop)]

mod avx2;
mod avx512;
mod depthwise;
mod depthwise_words;

pub(super) use avx2::{Avx2, AvxVnni};
pub(super) use avx512::Avx512;

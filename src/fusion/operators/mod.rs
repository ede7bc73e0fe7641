//! The operators of the catalogue, one file a family.

pub(super) mod additive;
pub(super) mod bilinear;
pub(super) mod compact;
pub(super) mod cross;
pub(super) mod gated;
pub(super) mod inner;
pub(super) mod memory;
pub(super) mod mixing;
pub(super) mod stages;

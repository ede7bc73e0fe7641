//! The heads that ship: LE-MER's and MVCN's.

pub mod label_guided;
pub mod text_guided;

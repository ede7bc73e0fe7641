//! The heads that ship: LE-MER's, MVCN's and MNER-QG's.

pub mod label_guided;
pub mod queried_spans;
pub mod text_guided;

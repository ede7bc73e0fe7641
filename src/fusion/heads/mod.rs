//! The heads that ship: those of LE-MER, MVCN, G2SAM and MNER-QG.

pub mod graph_matching;
pub mod label_guided;
pub mod queried_spans;
pub mod text_guided;

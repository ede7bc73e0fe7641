//! The heads that ship: LE-MER's, MVCN's and G2SAM's.

pub mod graph_matching;
pub mod label_guided;
pub mod text_guided;

//! What only a study of the catalogue needs: its page, drawn weights and inputs, and every
//! equation once more in f64. Boards leave it out.

pub mod draw;
pub mod page;
pub mod reference;

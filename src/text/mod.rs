//! Words to model input: the BERT-uncased tokenizer and the dialogue history.
//!
//! One utterance and what was said before it become two `i64` rows, `ids`
//! and `types`, of the same length `N ≤ 128`:
//!
//! ```text
//! ids    [CLS] text … [SEP]   u₁ … [SEP] u₂ … [SEP] …
//! types    0    0   …   0     1  …   1   1  …   1   …
//! ```
//!
//! Only the type-0 rows are the utterance being judged; the history is
//! context for the encoder and counts in no mean and in no fusion. Where an
//! encoder reads shapes, the utterance's types say how each word is written
//! ([`Shape`]), which an uncased vocabulary does not.

mod bytes;
mod history;
mod links;
mod normalize;
mod tokenizer;
mod words;

pub use bytes::{ByteTokens, NotBytes};
pub use history::{History, HistoryLimits};
pub use links::without_links;
pub use tokenizer::{Encoded, Tokenizer, VocabError};
pub use words::{Shape, words};

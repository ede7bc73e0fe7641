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
//! context for the encoder and counts in no mean and in no fusion.

mod history;
mod links;
mod normalize;
mod tokenizer;

pub use history::{History, HistoryLimits};
pub use links::without_links;
pub use tokenizer::{Encoded, Tokenizer, VocabError};

/// Longest model input, in tokens, special tokens included.
pub const MAX_TOKENS: usize = 128;

//! WordPiece, exact to the BERT-uncased tokenizer the teacher was trained with.
//!
//! Literal `[CLS]`, `[SEP]` or `[MASK]` in a spoken or typed text are words
//! like any other here (`[`, `sep`, `]`): what a person says can never change
//! the layout of the model's input.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{ControlFlow, Range};

use super::normalize::{Cleaned, Cleaner, is_punctuation};
use super::words::{Shape, spaced};

/// A longer word is `[UNK]` as a whole, in cleaned characters.
const MAX_WORD_CHARS: usize = 100;

/// Largest vocabulary accepted, in bytes; BERT's own is 0.23 MB.
const MAX_VOCAB_BYTES: usize = 16 << 20;

const CONTINUATION: &str = "##";

/// Why a vocabulary file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabError {
    /// The file is larger than a vocabulary can be.
    TooLarge {
        /// Size of the file in bytes.
        bytes: usize,
    },
    /// A line holds no piece.
    EmptyLine {
        /// Line number, counted from 1.
        line: usize,
    },
    /// A piece stands on two lines, so its id is ambiguous.
    Duplicate {
        /// The piece.
        piece: String,
    },
    /// A special token the input layout needs is absent.
    MissingSpecial {
        /// The token, e.g. `[SEP]`.
        token: &'static str,
    },
}

impl fmt::Display for VocabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VocabError::TooLarge { bytes } => write!(
                f,
                "vocab.txt has {bytes} bytes, more than the limit of {MAX_VOCAB_BYTES}; \
                 use the vocabulary of the text model's own bundle"
            ),
            VocabError::EmptyLine { line } => write!(
                f,
                "vocab.txt line {line} is empty, so the ids after it would shift; \
                 restore the file from the bundle"
            ),
            VocabError::Duplicate { piece } => write!(
                f,
                "vocab.txt lists the piece {piece:?} twice, so its id is ambiguous; \
                 restore the file from the bundle"
            ),
            VocabError::MissingSpecial { token } => write!(
                f,
                "vocab.txt has no line {token}; use a BERT-style vocabulary with \
                 [UNK], [CLS] and [SEP]"
            ),
        }
    }
}

impl std::error::Error for VocabError {}

/// Input of the text encoder for one utterance with its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Vocabulary ids, `[N]`, each in `0..vocabulary size`.
    pub ids: Vec<i64>,
    /// Segment of each id, `[N]`: 0 the utterance, 1 the history. [`Encoded::with_shapes`]
    /// has the utterance's words say how they are written.
    pub types: Vec<i64>,
    /// `n ≤ N`: how many leading rows are the utterance's, `[CLS]` and `[SEP]` included.
    pub text_len: usize,
    /// The vocabulary's piece of each of these rows, `[n]`, e.g. `##ing`.
    pub pieces: Vec<String>,
    /// Bytes of the original utterance behind each of these rows, `[n]`; `None`
    /// for `[CLS]` and `[SEP]`. Always on character boundaries.
    pub spans: Vec<Option<Range<usize>>>,
    /// Whether the utterance itself was cut to fit.
    pub truncated: bool,
}

/// A BERT-uncased WordPiece tokenizer over one vocabulary.
///
/// Time is linear in the input, whatever the input is: a word is looked up at
/// most once per character and piece length, and an utterance is read only as
/// far as its tokens can be used.
pub struct Tokenizer {
    pieces: Pieces,
    unk: u32,
    cls: u32,
    sep: u32,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("pieces", &self.len())
            .finish()
    }
}

impl Tokenizer {
    /// Reads a vocabulary: one piece a line, the line number (from 0) is the id.
    ///
    /// # Errors
    /// If a line is empty or repeated, a special token is absent or the text
    /// exceeds 16 MiB.
    pub fn from_vocab(vocab: &str) -> Result<Self, VocabError> {
        let pieces = Pieces::parse(vocab)?;
        let special = |token| {
            let id = pieces.starts.find(&pieces.text, token);
            id.ok_or(VocabError::MissingSpecial { token })
        };
        let (unk, cls, sep) = (special("[UNK]")?, special("[CLS]")?, special("[SEP]")?);
        Ok(Tokenizer {
            pieces,
            unk,
            cls,
            sep,
        })
    }

    /// Number of pieces, which is also the number of rows of the embedding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.lines.len()
    }

    /// Whether the vocabulary is empty; never, as it must hold special tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The piece of an id as it stands in the vocabulary, e.g. `##ing`.
    #[must_use]
    pub fn piece(&self, id: i64) -> Option<&str> {
        let line = self.pieces.lines.get(usize::try_from(id).ok()?)?;
        Some(&self.pieces.text[line.range()])
    }

    /// Lays out one utterance and the utterances before it, oldest first.
    ///
    /// `[CLS]` + the first `max_len - 2` tokens of `text` + `[SEP]`, then the
    /// `history` (oldest first), each followed by `[SEP]` and cut from the left
    /// to what room is left. Fewer than two free places hold no history.
    /// A `max_len` below 2 counts as 2.
    #[must_use]
    pub fn encode(&self, text: &str, history: &[&str], max_len: usize) -> Encoded {
        let max_len = max_len.max(2);
        let mut encoded = self.encode_text(text, max_len);
        self.append_history(&mut encoded, history, max_len);
        encoded
    }

    fn encode_text(&self, text: &str, max_len: usize) -> Encoded {
        let mut encoded = Encoded::default();
        encoded.push(self.cls, None);
        let cut = self.for_each_piece(text, &mut |id, span| {
            if encoded.ids.len() + 1 == max_len {
                return ControlFlow::Break(());
            }
            encoded.push(id, Some(span));
            ControlFlow::Continue(())
        });
        encoded.push(self.sep, None);
        encoded.truncated = cut.is_break();
        encoded.text_len = encoded.ids.len();
        let pieces = encoded.ids.iter().filter_map(|id| self.piece(*id));
        encoded.pieces = pieces.map(str::to_owned).collect();
        encoded
    }

    fn append_history(&self, encoded: &mut Encoded, history: &[&str], max_len: usize) {
        let room = max_len - encoded.text_len;
        if room < 2 || history.is_empty() {
            return;
        }
        let mut kept = VecDeque::new();
        for utterance in history {
            let _ = self.for_each_piece(utterance, &mut |id, _| {
                push_bounded(&mut kept, id, room);
                ControlFlow::Continue(())
            });
            push_bounded(&mut kept, self.sep, room);
        }
        encoded.ids.extend(kept.iter().map(|id| i64::from(*id)));
        encoded.types.resize(encoded.ids.len(), 1);
    }

    /// Calls `sink` with each piece of `text` until it breaks.
    fn for_each_piece(&self, text: &str, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let mut word = Word::default();
        for cleaned in Cleaner::new(text) {
            if cleaned.ch.is_whitespace() {
                self.end_word(&mut word, sink)?;
            } else if is_punctuation(cleaned.ch) {
                self.end_word(&mut word, sink)?;
                word.push(&cleaned);
                self.end_word(&mut word, sink)?;
            } else {
                word.push(&cleaned);
            }
        }
        self.end_word(&mut word, sink)
    }

    /// Splits a finished word into its longest pieces, left to right. A word
    /// with a part outside the vocabulary is one `[UNK]`.
    fn end_word(&self, word: &mut Word, sink: &mut Sink<'_>) -> ControlFlow<()> {
        if word.sources.is_empty() {
            return ControlFlow::Continue(());
        }
        let found = self.pieces.split(word);
        let flow = match &found {
            Some(parts) => parts
                .iter()
                .try_for_each(|part| sink(part.id, word.source(part.chars.clone()))),
            None => sink(self.unk, word.source(0..word.sources.len())),
        };
        word.clear();
        flow
    }
}

type Sink<'s> = dyn FnMut(u32, Range<usize>) -> ControlFlow<()> + 's;

fn push_bounded(kept: &mut VecDeque<u32>, id: u32, room: usize) {
    if kept.len() == room {
        kept.pop_front();
    }
    kept.push_back(id);
}

impl Encoded {
    /// Whether the text holds a word or a sign that the vocabulary knows; what it does not know
    /// is `[UNK]`, whatever it was.
    #[must_use]
    pub fn knows_a_word(&self) -> bool {
        let marks = ["[CLS]", "[SEP]", "[UNK]"];
        self.pieces
            .iter()
            .any(|piece| !marks.contains(&piece.as_str()))
    }

    /// The same with types that carry the [`Shape`] of the word between white space that each
    /// piece is from; `text` is what was encoded.
    #[must_use]
    pub fn with_shapes(mut self, text: &str) -> Encoded {
        let mut words = spaced(text).into_iter().peekable();
        let mut shape = Shape::Plain;
        // the shape of a word is found when its first piece is met
        let mut end = 0;
        for (kind, span) in self.types.iter_mut().zip(&self.spans) {
            let Some(span) = span else {
                continue;
            };
            if span.start >= end {
                while words.next_if(|word| word.end <= span.start).is_some() {}
                if let Some(word) = words.next() {
                    end = word.end;
                    shape = Shape::of(&text[word]);
                }
            }
            *kind = shape as i64;
        }
        self
    }

    fn push(&mut self, id: u32, span: Option<Range<usize>>) {
        self.ids.push(i64::from(id));
        self.types.push(0);
        self.spans.push(span);
    }
}

/// A word being read: cleaned characters and where each came from.
#[derive(Default)]
struct Word {
    text: String,
    /// Byte offset in `text` of each character.
    offsets: Vec<usize>,
    /// Byte range in the original of each character. Beyond the longest legal
    /// word only the end of the last range moves, so memory stays bounded.
    sources: Vec<Range<usize>>,
    too_long: bool,
}

impl Word {
    fn push(&mut self, cleaned: &Cleaned) {
        if self.sources.len() == MAX_WORD_CHARS {
            self.too_long = true;
            if let Some(last) = self.sources.last_mut() {
                last.end = last.end.max(cleaned.source.end);
            }
            return;
        }
        self.offsets.push(self.text.len());
        self.text.push(cleaned.ch);
        self.sources.push(cleaned.source.clone());
    }

    fn clear(&mut self) {
        self.text.clear();
        self.offsets.clear();
        self.sources.clear();
        self.too_long = false;
    }

    /// The characters `chars` of the word.
    fn slice(&self, chars: Range<usize>) -> &str {
        let offset = |at: usize| self.offsets.get(at).copied().unwrap_or(self.text.len());
        &self.text[offset(chars.start)..offset(chars.end)]
    }

    /// The original bytes from the first to the last of `chars`. Canonical
    /// order may have swapped neighbours, hence the minimum and maximum.
    fn source(&self, chars: Range<usize>) -> Range<usize> {
        let sources = &self.sources[chars];
        let start = sources.iter().map(|s| s.start).min().unwrap_or(0);
        let end = sources.iter().map(|s| s.end).max().unwrap_or(start);
        start..end
    }
}

/// One piece found in a word.
struct Part {
    id: u32,
    chars: Range<usize>,
}

/// The vocabulary: its text once, and two sorted indexes into it.
struct Pieces {
    text: String,
    /// Where the piece of each id stands in `text`.
    lines: Vec<Slot>,
    /// Pieces that begin a word.
    starts: Index,
    /// Pieces that continue one, without their `##`.
    continuations: Index,
}

impl Pieces {
    fn parse(vocab: &str) -> Result<Self, VocabError> {
        if vocab.len() > MAX_VOCAB_BYTES {
            return Err(VocabError::TooLarge { bytes: vocab.len() });
        }
        let mut pieces = Pieces {
            text: String::with_capacity(vocab.len()),
            lines: Vec::new(),
            starts: Index::default(),
            continuations: Index::default(),
        };
        for (number, line) in vocab.lines().enumerate() {
            pieces.add(number, line.trim_end())?;
        }
        pieces.starts.sort(&pieces.text)?;
        pieces.continuations.sort(&pieces.text)?;
        Ok(pieces)
    }

    fn add(&mut self, number: usize, piece: &str) -> Result<(), VocabError> {
        if piece.is_empty() {
            return Err(VocabError::EmptyLine { line: number + 1 });
        }
        // The size limit keeps offsets and ids far below u32::MAX.
        let slot = Slot {
            start: self.text.len() as u32,
            len: piece.len() as u32,
            id: number as u32,
        };
        self.text.push_str(piece);
        self.lines.push(slot);
        match piece.strip_prefix(CONTINUATION) {
            Some(rest) if !rest.is_empty() => {
                self.continuations.add(slot.skip(CONTINUATION.len()), rest);
            }
            _ => self.starts.add(slot, piece),
        }
        Ok(())
    }

    /// The greedy longest-match-first pieces of a word.
    fn split(&self, word: &Word) -> Option<Vec<Part>> {
        if word.too_long {
            return None;
        }
        let mut parts = Vec::new();
        let mut at = 0;
        while at < word.sources.len() {
            let index = if at == 0 {
                &self.starts
            } else {
                &self.continuations
            };
            let part = index.longest(&self.text, word, at)?;
            at = part.chars.end;
            parts.push(part);
        }
        Some(parts)
    }
}

/// A piece inside the vocabulary text.
#[derive(Clone, Copy)]
struct Slot {
    start: u32,
    len: u32,
    id: u32,
}

impl Slot {
    fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }

    fn skip(self, bytes: usize) -> Slot {
        let bytes = bytes as u32;
        Slot {
            start: self.start + bytes,
            len: self.len - bytes,
            id: self.id,
        }
    }
}

/// Sorted pieces, and the length of the longest in characters, which bounds
/// the look-ups per position of a word.
#[derive(Default)]
struct Index {
    slots: Vec<Slot>,
    longest_chars: usize,
}

impl Index {
    fn add(&mut self, slot: Slot, piece: &str) {
        self.slots.push(slot);
        self.longest_chars = self.longest_chars.max(piece.chars().count());
    }

    fn sort(&mut self, text: &str) -> Result<(), VocabError> {
        self.slots
            .sort_by(|a, b| text[a.range()].cmp(&text[b.range()]));
        let twice = |pair: &&[Slot]| text[pair[0].range()] == text[pair[1].range()];
        match self.slots.windows(2).find(twice) {
            Some(pair) => Err(VocabError::Duplicate {
                piece: text[pair[0].range()].to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn find(&self, text: &str, piece: &str) -> Option<u32> {
        let found = self
            .slots
            .binary_search_by(|slot| text[slot.range()].cmp(piece));
        found.ok().map(|at| self.slots[at].id)
    }

    fn longest(&self, text: &str, word: &Word, at: usize) -> Option<Part> {
        let end = word.sources.len().min(at + self.longest_chars);
        (at + 1..=end).rev().find_map(|end| {
            let id = self.find(text, word.slice(at..end))?;
            Some(Part { id, chars: at..end })
        })
    }
}

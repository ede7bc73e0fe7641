//! What a task must offer to be examined on a labelled table.

use super::Options;
use super::duplicates::Contents;
use super::metrics::Figure;
use super::table::{Cells, Header, Labels, Truth};
use crate::capture::CaptureError;
use crate::event::Modality;
use crate::model::{Bundle, ModelError};

/// A task, loaded and ready to be asked.
pub(super) trait Exam: Sized {
    /// What a row of the table asks, its truth apart.
    type Question: Send + Sync;
    /// What the row's files hold, decoded: read once for every bundle, then dropped.
    type Material;
    /// How its report is laid out.
    const FORM: Form;

    /// Refuses a table that lacks a column, in the words that follow its name.
    fn check(header: &Header) -> Result<(), String>;

    /// What a row asks.
    fn question(cells: &Cells) -> Self::Question;

    /// A row's true class, or why it has none that counts.
    fn truth(cells: &Cells, labels: &Labels) -> Result<Truth, String> {
        labels.find(cells).map(Truth::certain)
    }

    /// What of a question may recur in a training table.
    fn contents(question: &Self::Question) -> Contents<'_>;

    /// Loads the bundle with the ablations that it carries.
    fn load(bundle: &Bundle, options: &Options) -> Result<Self, ModelError>;

    /// Reads what a question's files hold.
    fn read(question: &Self::Question) -> Result<Self::Material, Unjudged>;

    /// Answers with every system that the row's modalities allow.
    fn judge(
        &mut self,
        question: &Self::Question,
        material: &Self::Material,
    ) -> Result<Verdict, Unjudged>;
}

/// How a task's report is laid out.
#[derive(Debug)]
pub(super) struct Form {
    /// Name of the line about what ships.
    pub shipped: &'static str,
    /// Names of the other systems, in the order of the paper's tables.
    pub systems: fn() -> &'static [&'static str],
    /// Figures of a line, from left to right.
    pub columns: &'static [Column],
    /// Which rows are skipped, after "skipped 3 rows".
    pub skipped: &'static str,
    /// Figures of others on other items, to stand beside ours.
    pub published: Option<&'static Published>,
}

/// A figure of a line.
#[derive(Debug)]
pub(super) struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// Which it is.
    pub figure: Figure,
    /// Is its interval printed?
    pub interval: bool,
}

/// Figures from a paper.
#[derive(Debug)]
pub(super) struct Published {
    /// On which items, of which models.
    pub on: &'static str,
    /// How many items.
    pub n: usize,
    /// System, accuracy, weighted F1.
    pub rows: &'static [(&'static str, f64, f64)],
}

/// What one flavour (int8 or fp32) says of one item.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// Calibrated scores with every modality that the item offers.
    pub shipped: Vec<f32>,
    /// What those rest on.
    pub modality: Modality,
    /// Scores of each system that the item's modalities allow, by its name in [`Form`].
    pub systems: Vec<(&'static str, Vec<f32>)>,
    /// Compute of the shipped answer, in milliseconds.
    pub millis: f64,
    /// Seconds of sound that it rests on.
    pub seconds: f64,
}

/// An item that could not be judged, in one sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unjudged {
    /// Its sound or picture.
    #[error(transparent)]
    Unreadable(#[from] CaptureError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Nothing to go by.
    #[error("{0}")]
    Empty(&'static str),
    /// A picture without a face.
    #[error("no face was found in the picture")]
    NoFace,
}

impl Unjudged {
    /// The reason in a word or two, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Unjudged::Unreadable(_) => "unreadable",
            Unjudged::Model(_) => "model failed",
            Unjudged::Empty(_) => "empty",
            Unjudged::NoFace => "no face",
        }
    }
}

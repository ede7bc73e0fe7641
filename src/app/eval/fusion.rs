//! Every operator of the fusion catalogue on a table `id,image,text,label`, on the same frozen
//! features: u is the mean of the text trunk's rows, v that of the image trunk's patches.

use super::Options;
use super::duplicates::Contents;
use super::exam::{Exam, Form, Unjudged, Verdict};
use super::sentiment::{Question, SentimentExam};
use super::table::{Cells, Header};
use crate::decision::softmax;
use crate::fusion::{CATALOGUE, Precision};
use crate::kernels;
use crate::kernels::Rows;
use crate::model::{Bundle, ModelError, PooledHead};
use crate::tasks::sentiment::{Encodings, Sentiment};
use crate::vision::Picture;
use std::path::Path;
use std::sync::OnceLock;

/// Names of the functions that a head may call, as its file is named: made once.
fn functions() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let of = |entry| Precision::ALL.map(|p| crate::fusion::Entry::function(entry, p));
        let names = CATALOGUE.iter().flat_map(of).flatten();
        names.map(|name| &*name.leak()).collect()
    })
}

/// The trunks, and a head of every operator.
pub(super) struct FusionExam {
    sentiment: Sentiment,
    heads: Vec<(&'static str, PooledHead)>,
}

impl Exam for FusionExam {
    type Question = Question;
    type Material = Option<Picture>;

    const FORM: Form = Form {
        shipped: "MVCN (full), for comparison",
        systems: functions,
        published: None,
        ..SentimentExam::FORM
    };

    fn check(header: &Header) -> Result<(), String> {
        SentimentExam::check(header)
    }

    fn question(cells: &Cells) -> Question {
        SentimentExam::question(cells)
    }

    fn contents(question: &Question) -> Contents<'_> {
        SentimentExam::contents(question)
    }

    fn load(bundle: &Bundle, options: &Options) -> Result<Self, ModelError> {
        let folder = options.fusion.as_deref().unwrap_or(Path::new("."));
        let mut heads = Vec::new();
        for name in functions() {
            let path = folder.join(format!("{name}.onnx"));
            if path.is_file() {
                heads.push((*name, PooledHead::open(&path)?));
            }
        }
        if heads.is_empty() {
            return Err(ModelError::Refused {
                name: folder.display().to_string(),
                what: "holds no file named for a function of the catalogue".into(),
            });
        }
        Ok(FusionExam {
            sentiment: Sentiment::load(bundle, None)?,
            heads,
        })
    }

    fn read(question: &Question) -> Result<Self::Material, Unjudged> {
        SentimentExam::read(question)
    }

    fn judge(
        &mut self,
        question: &Question,
        picture: &Self::Material,
    ) -> Result<Verdict, Unjudged> {
        let words = question.text.as_deref();
        let encodings = self.sentiment.encode(picture.as_ref(), words)?;
        let lacking = Unjudged::Empty("an operator needs picture and words");
        let (u, v) = pooled(&encodings).ok_or(lacking)?;
        let answer = self.sentiment.answer(&encodings)?;
        let answer = answer.ok_or(Unjudged::Empty("neither picture nor words"))?;
        let mut systems = Vec::with_capacity(self.heads.len());
        for (name, head) in &self.heads {
            systems.push((*name, softmax(&head.logits(&u, &v)?, 1.0)));
        }
        Ok(Verdict {
            systems,
            shipped: answer.scores,
            modality: answer.modality,
            millis: answer.latency.total(),
            seconds: 0.0,
        })
    }
}

/// u and v.
fn pooled(encodings: &Encodings) -> Option<(Vec<f32>, Vec<f32>)> {
    let (text, patches) = (encodings.text.as_ref()?, encodings.patches.as_ref()?);
    let rows = text.for_heads();
    let width = rows.len().checked_div(text.tokens.len())?;
    let mean = |rows: &[f32], width: usize| {
        let rows = Rows::new(rows, width).ok()?;
        let mut mean = vec![0.0; width];
        kernels::active().column_mean(rows, &mut mean);
        Some(mean)
    };
    Some((
        mean(rows, width)?,
        mean(&patches.values, *patches.dims.last()?)?,
    ))
}

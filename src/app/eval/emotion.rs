//! LE-MER on a table `id,audio,text,label` and optionally `speaker,history`.

use super::Options;
use super::duplicates::Contents;
use super::exam::{Column, Exam, Form, Unjudged, Verdict};
use super::metrics::Figure;
use super::table::{Cells, Header};
use crate::app::analyze::wait;
use crate::capture::{CaptureError, Channel, open_audio};
use crate::decision::softmax;
use crate::model::manifest::{Head, Role};
use crate::model::{Bundle, Encoded, FusionModel, ModelError};
use crate::signal::{SAMPLE_RATE, segment};
use crate::tasks::emotion::{Emotion, Encodings, Input, Words};
use crate::tasks::words::TextRows;
use std::path::{Path, PathBuf};

const TEXT_ONLY: &str = "text-only";
const SPEECH_ONLY: &str = "speech-only";
const SCORE_FUSION: &str = "score fusion";
const AR_ONLY: &str = "A_r only";
const AL_ONLY: &str = "A_l only";
const CONSTRAINT: &str = "attention constraint";

/// One item. An absent modality is `None`.
#[derive(Debug)]
pub(super) struct Question {
    audio: Option<PathBuf>,
    text: Option<String>,
    /// Earlier utterances, oldest first.
    history: Vec<String>,
}

/// The bundle with its ablations.
pub(super) struct EmotionExam {
    emotion: Emotion,
    ablations: Vec<(&'static str, FusionModel)>,
    history: bool,
}

impl Exam for EmotionExam {
    type Question = Question;
    type Material = Option<Vec<f32>>;

    const FORM: Form = Form {
        shipped: "every modality offered",
        systems: || {
            &[
                TEXT_ONLY,
                SPEECH_ONLY,
                SCORE_FUSION,
                AR_ONLY,
                AL_ONLY,
                CONSTRAINT,
            ]
        },
        columns: &[
            Column {
                heading: "WA [95%]",
                figure: Figure::Accuracy,
                interval: true,
            },
            Column {
                heading: "UA [95%]",
                figure: Figure::Ua,
                interval: true,
            },
            Column {
                heading: "macroF1",
                figure: Figure::MacroF1,
                interval: false,
            },
        ],
        skipped: "with other labels",
        published: None,
    };

    fn check(header: &Header) -> Result<(), String> {
        if !header.has("label") {
            return Err(
                "has no column `label`; the first line must name id,audio,text,label".into(),
            );
        }
        if !header.has("audio") && !header.has("text") {
            return Err("has neither a column `audio` nor `text`; one is needed".into());
        }
        Ok(())
    }

    fn question(cells: &Cells) -> Question {
        Question {
            audio: cells.path("audio"),
            text: cells.text("text"),
            history: cells.text("history").map_or(Vec::new(), |h| history(&h)),
        }
    }

    fn contents(question: &Question) -> Contents<'_> {
        Contents {
            text: question.text.as_deref(),
            picture: None,
        }
    }

    fn load(bundle: &Bundle, options: &Options) -> Result<Self, ModelError> {
        let roles = [(AR_ONLY, Role::FusionAr), (AL_ONLY, Role::FusionAl)];
        let carried = roles
            .into_iter()
            .filter(|(_, role)| bundle.manifest.file(*role).is_some());
        let ablations = carried
            .map(|(system, role)| Ok((system, FusionModel::load(bundle, role)?)))
            .collect::<Result<_, ModelError>>()?;
        Ok(EmotionExam {
            emotion: Emotion::load(bundle)?,
            ablations,
            history: !options.no_history,
        })
    }

    fn read(question: &Question) -> Result<Self::Material, Unjudged> {
        Ok(question.audio.as_deref().map(sound).transpose()?)
    }

    fn judge(
        &mut self,
        question: &Question,
        samples: &Self::Material,
    ) -> Result<Verdict, Unjudged> {
        let history = if self.history {
            question.history.as_slice()
        } else {
            &[]
        };
        let words = question.text.as_deref();
        let encodings = self.emotion.encode(&Input {
            speech: samples.as_deref(),
            words: words.map(|text| Words { text, history }),
        })?;
        let empty = Unjudged::Empty("neither sound nor words; fill `audio` or `text`");
        let answer = self.emotion.answer(&encodings)?.ok_or(empty)?;
        let length = samples.as_ref().map_or(0, Vec::len);
        Ok(Verdict {
            systems: self.systems(&encodings, &answer.scores)?,
            shipped: answer.scores,
            modality: answer.modality,
            millis: answer.latency.total(),
            seconds: length as f64 / f64::from(SAMPLE_RATE),
        })
    }
}

impl EmotionExam {
    fn systems(
        &self,
        e: &Encodings,
        shipped: &[f32],
    ) -> Result<Vec<(&'static str, Vec<f32>)>, ModelError> {
        let t = |head| self.emotion.decision().temperature(head);
        let mut systems = Vec::new();
        if let Some(text) = &e.text {
            systems.push((TEXT_ONLY, softmax(&text.logits, t(Head::Text))));
        }
        if let Some(speech) = &e.speech {
            systems.push((SPEECH_ONLY, softmax(&speech.logits, t(Head::Speech))));
        }
        if let (Some(speech), Some(text)) = (&e.speech, &e.text) {
            systems.push((SCORE_FUSION, self.emotion.score_fusion(speech, text)));
            systems.extend(self.ablate(speech, text)?);
            systems.push((CONSTRAINT, shipped.to_vec()));
        }
        Ok(systems)
    }

    fn ablate(
        &self,
        speech: &Encoded,
        text: &TextRows,
    ) -> Result<Vec<(&'static str, Vec<f32>)>, ModelError> {
        let temperature = self.emotion.decision().temperature(Head::Fused);
        let fuse = |(system, head): &(&'static str, FusionModel)| {
            let fused = head.fuse(&text.rows, &speech.rows)?;
            Ok((*system, softmax(&fused.logits, temperature)))
        };
        self.ablations.iter().map(fuse).collect()
    }
}

/// The sound of an item, silence at both ends trimmed; all of it where no speech is
/// found, since every item of a labelled set must be answered.
fn sound(path: &Path) -> Result<Vec<f32>, CaptureError> {
    let mut source = open_audio(path, Channel::default())?;
    let mut samples = Vec::new();
    while let Some(chunk) = wait(source.as_mut())? {
        samples.extend(chunk.samples);
    }
    match segment::trim(&samples) {
        Some(range) => Ok(samples[range].to_vec()),
        None => Ok(samples),
    }
}

/// A JSON list of strings, or utterances parted by a line break, a tab, `[SEP]` or ` | `.
fn history(cell: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(cell) {
        return list;
    }
    let separator = ["\n", "\t", "[SEP]", "</s>", "|||", " || ", " | "]
        .into_iter()
        .find(|s| cell.contains(s));
    let parts: Vec<&str> = match separator {
        Some(separator) => cell.split(separator).collect(),
        None => vec![cell],
    };
    parts
        .into_iter()
        .map(str::trim)
        .filter(|u| !u.is_empty())
        .map(str::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_comes_as_json_or_parted() {
        assert_eq!(history(r#"["a, b", "c"]"#), ["a, b", "c"]);
        assert_eq!(history("one | two | three"), ["one", "two", "three"]);
        assert_eq!(history("one\ntwo"), ["one", "two"]);
        assert_eq!(history("just one"), ["just one"]);
    }
}

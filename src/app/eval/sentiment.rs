//! MVCN on a table `id,image,text,label`.

use super::duplicates::Contents;
use super::exam::{Column, Exam, Form, Published, Unjudged, Verdict};
use super::metrics::Figure;
use super::table::{Cells, Header};
use super::{Options, picture};
use crate::decision::softmax;
use crate::model::manifest::{Head, Role};
use crate::model::{Bundle, ModelError, PictureHead};
use crate::tasks::sentiment::{Encodings, Sentiment, ask};
use crate::vision::Picture;
use std::path::PathBuf;

const TEXT_ONLY: &str = "text-only";
const IMAGE_ONLY: &str = "image-only";
const EQUAL: &str = "equal fusion";
const TGF: &str = "TGF";
const FULL: &str = "MVCN (full)";

/// MVCN's Tables 1 and 3 on MVSA-Single: full-size models on a test part of 450 items.
const PUBLISHED: Published = Published {
    on: "MVSA-Single, the authors' test part, full-size models",
    n: 450,
    rows: &[
        ("BERT", 0.7111, 0.6970),
        ("ResNet-50", 0.6467, 0.6155),
        ("ViT", 0.6378, 0.6226),
        ("MGNNS", 0.7377, 0.7270),
        ("CLMLF", 0.7533, 0.7346),
        ("MFS", 0.7217, 0.7205),
        ("TGF", 0.7396, 0.7355),
        ("TGF+SCC", 0.7515, 0.7403),
        ("TGF+SCC+AC", 0.7563, 0.7422),
        ("MVCN", 0.7606, 0.7455),
    ],
};

/// One item. An absent modality is `None`.
#[derive(Debug)]
pub(super) struct Question {
    image: Option<PathBuf>,
    pub(super) text: Option<String>,
}

/// The bundle with its ablations.
pub(super) struct SentimentExam {
    sentiment: Sentiment,
    ablations: Vec<(&'static str, PictureHead)>,
}

impl Exam for SentimentExam {
    type Question = Question;
    type Material = Option<Picture>;

    const FORM: Form = Form {
        shipped: "every modality offered",
        systems: || &[TEXT_ONLY, IMAGE_ONLY, EQUAL, TGF, FULL],
        columns: &[
            Column {
                heading: "Acc [95%]",
                figure: Figure::Accuracy,
                interval: true,
            },
            Column {
                heading: "weighted F1 [95%]",
                figure: Figure::WeightedF1,
                interval: true,
            },
            Column {
                heading: "macro F1 [95%]",
                figure: Figure::MacroF1,
                interval: true,
            },
        ],
        skipped: "with other labels",
        published: Some(&PUBLISHED),
    };

    fn check(header: &Header) -> Result<(), String> {
        if !header.has("label") {
            return Err(
                "has no column `label`; the first line must name id,image,text,label".into(),
            );
        }
        if !header.has("image") && !header.has("text") {
            return Err("has neither a column `image` nor `text`; one is needed".into());
        }
        Ok(())
    }

    fn question(cells: &Cells) -> Question {
        Question {
            image: cells.path("image"),
            text: cells.text("text"),
        }
    }

    fn contents(question: &Question) -> Contents<'_> {
        Contents {
            text: question.text.as_deref(),
            picture: question.image.as_deref(),
        }
    }

    fn load(bundle: &Bundle, _: &Options) -> Result<Self, ModelError> {
        let roles = [(EQUAL, Role::FusionEqual), (TGF, Role::FusionTgf)];
        let carried = roles
            .into_iter()
            .filter(|(_, role)| bundle.manifest.file(*role).is_some());
        let ablations = carried
            .map(|(system, role)| Ok((system, PictureHead::load(bundle, role)?)))
            .collect::<Result<_, ModelError>>()?;
        Ok(SentimentExam {
            sentiment: Sentiment::load(bundle, None)?,
            ablations,
        })
    }

    fn read(question: &Question) -> Result<Self::Material, Unjudged> {
        Ok(question.image.as_deref().map(picture).transpose()?)
    }

    fn judge(
        &mut self,
        question: &Question,
        picture: &Self::Material,
    ) -> Result<Verdict, Unjudged> {
        let words = question.text.as_deref();
        let encodings = self.sentiment.encode(picture.as_ref(), words)?;
        let empty = Unjudged::Empty("neither picture nor words; fill `image` or `text`");
        let answer = self.sentiment.answer(&encodings)?.ok_or(empty)?;
        Ok(Verdict {
            systems: self.systems(encodings, &answer.scores)?,
            shipped: answer.scores,
            modality: answer.modality,
            millis: answer.latency.total(),
            seconds: 0.0,
        })
    }
}

impl SentimentExam {
    fn systems(
        &self,
        both: Encodings,
        shipped: &[f32],
    ) -> Result<Vec<(&'static str, Vec<f32>)>, ModelError> {
        let mut systems = Vec::new();
        if both.text.is_some() && both.patches.is_some() {
            let temperature = self.sentiment.decision().temperature(Head::Fused);
            for (system, head) in &self.ablations {
                let (logits, _) = ask(head, &both)?;
                systems.push((*system, softmax(&logits, temperature)));
            }
            systems.push((FULL, shipped.to_vec()));
        }
        // without the other modality, the head that was trained alone answers
        let (text, image) = (
            Encodings {
                patches: None,
                ..both.clone()
            },
            Encodings { text: None, ..both },
        );
        for (system, alone) in [(TEXT_ONLY, text), (IMAGE_ONLY, image)] {
            if let Some(answer) = self.sentiment.answer(&alone)? {
                systems.push((system, answer.scores));
            }
        }
        Ok(systems)
    }
}

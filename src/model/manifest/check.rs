//! What a manifest must hold to beyond its fields' types: numbers in their ranges, files that are
//! listed, heads that read what is there.

use super::{Face, File, Head, Manifest, Precision, Read, Seen, Speech, Transcript, Trunk};
use std::collections::BTreeSet;

impl Manifest {
    /// Whether what the manifest says fits together; the error names the field.
    pub(super) fn check(&self) -> Result<(), String> {
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.task.is_empty() || !self.task.chars().all(kebab) {
            return Err(format!(
                "field `task` is `{}`; it must be small letters, digits and hyphens",
                self.task
            ));
        }
        if let Some(transcript) = &self.transcript {
            self.check_files()?;
            return self.check_transcript(transcript);
        }
        let names_words = self.heads.iter().all(|h| h.kind == "words");
        if !(names_words && self.labels.is_empty()) {
            check_labels("labels", &self.labels)?;
        }
        within(
            "decision.unsure_below",
            self.decision.unsure_below,
            0.0,
            1.0,
        )?;
        self.check_files()?;
        self.check_trunks()?;
        self.check_heads()?;
        self.check_late()
    }

    fn check_files(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for file in &self.files {
            file.check()?;
            if !names.insert(&file.name) {
                return Err(format!("file `{}` is listed twice", file.name));
            }
            if file.bundle.as_ref() == Some(&self.id) {
                return Err(format!(
                    "file `{}`: a bundle cannot share with itself",
                    file.name
                ));
            }
        }
        Ok(())
    }

    fn check_trunks(&self) -> Result<(), String> {
        if let Some(speech) = &self.speech {
            self.check_model("speech.file", &speech.file)?;
            speech.check()?;
        }
        if let Some(text) = &self.text {
            self.check_model("text.file", &text.file)?;
            self.check_words("text.vocab", &text.vocab)?;
            within("text.max_tokens", text.max_tokens as f32, 8.0, 512.0)?;
            within("text.history", text.history as f32, 0.0, 16.0)?;
        }
        if let Some(image) = &self.image {
            self.check_model("image.file", &image.file)?;
            within("image.side", image.side as f32, 32.0, 512.0)?;
        }
        if let Some(seen) = &self.seen {
            self.check_seen(seen)?;
        }
        if let Some(face) = &self.face {
            self.check_model("face.file", &face.file)?;
            face.check()?;
        }
        Ok(())
    }

    fn check_seen(&self, seen: &Seen) -> Result<(), String> {
        self.check_model("seen.file", &seen.file)?;
        self.check_words("seen.labels", &seen.labels)?;
        if let Some(rows) = &seen.rows {
            self.check_model("seen.rows", rows)?;
        }
        if seen.reads.trunk != Trunk::Image || self.image.is_none() {
            return Err(
                "field `seen.reads` must name an output of the section `image`, and that must be there"
                    .into(),
            );
        }
        within("seen.top", seen.top as f32, 1.0, 32.0)
    }

    fn check_transcript(&self, wanted: &Transcript) -> Result<(), String> {
        let alone = self.heads.is_empty() && self.labels.is_empty();
        if !alone || Trunk::ALL.into_iter().any(|trunk| self.has_trunk(trunk)) {
            return Err(
                "a bundle with a section `transcript` has no labels, no head and no trunk".into(),
            );
        }
        self.check_model("transcript.encoder", &wanted.encoder)?;
        self.check_model("transcript.decoder", &wanted.decoder)?;
        self.check_words("transcript.vocab", &wanted.vocab)?;
        if wanted.start.is_empty() {
            return Err("field `transcript.start` must name a token".into());
        }
        let more = wanted.tokens_more as f32;
        let limit = self.decision.unsure_below;
        for (field, value, low, high) in [
            ("transcript.max_seconds", wanted.max_seconds, 0.5, 30.0),
            ("transcript.pad_seconds", wanted.pad_seconds, 0.0, 30.0),
            (
                "transcript.no_speech_above",
                wanted.no_speech_above,
                0.0,
                1.0,
            ),
            ("transcript.stop_above", wanted.stop_above, 0.0, 1.0),
            (
                "transcript.tokens_per_second",
                wanted.tokens_per_second,
                0.1,
                50.0,
            ),
            ("transcript.tokens_more", more, 1.0, 448.0),
            ("decision.unsure_below", limit, 0.0, 1.0),
        ] {
            within(field, value, low, high)?;
        }
        Ok(())
    }

    fn has_trunk(&self, trunk: Trunk) -> bool {
        match trunk {
            Trunk::Speech => self.speech.is_some(),
            Trunk::Text => self.text.is_some(),
            Trunk::Image => self.image.is_some(),
            Trunk::Seen => self.seen.is_some(),
            Trunk::Beside => self.text.is_some() && self.seen.is_some(),
            Trunk::Face => self.face.is_some(),
        }
    }

    fn check_heads(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut answering = BTreeSet::new();
        for head in &self.heads {
            let name = &head.name;
            if !names.insert(name) {
                return Err(format!("two heads are called `{name}`"));
            }
            self.check_head(head)
                .map_err(|e| format!("head `{name}`: {e}"))?;
            if head.answers() && !answering.insert(self.trunks(head)) {
                return Err(format!(
                    "head `{name}` reads what another head reads; mark one as an ablation"
                ));
            }
        }
        if answering.is_empty() {
            return Err(
                "no head answers: every one is an ablation or decides something else".into(),
            );
        }
        Ok(())
    }

    fn check_head(&self, head: &Head) -> Result<(), String> {
        if head.reads.is_empty() == head.of.is_empty() {
            return Err("give either `reads` or `of`".into());
        }
        if head.kind == "gate" && head.reads.is_empty() {
            return Err("a gate reads what a trunk gives, and nothing `of` other heads".into());
        }
        for read in &head.reads {
            if !self.has_trunk(read.trunk) {
                let trunk = read.trunk.name();
                return Err(format!(
                    "it reads `{read}`, and there is no section `{trunk}`"
                ));
            }
        }
        if let Some(face) = head.reads.iter().find(|r| r.trunk == Trunk::Face) {
            self.check_face_read(head, face)?;
        }
        if let Some(unknown) = head.of.iter().find(|name| {
            let of = self.head(name);
            of.is_none_or(|h| !h.of.is_empty())
        }) {
            return Err(format!(
                "`of` names `{unknown}`, which is no head with inputs of its own"
            ));
        }
        match &head.file {
            Some(file) => self.check_model("file", file)?,
            None if head.reads.len() > 1 => {
                return Err("without a `file` it can read the logits of one trunk alone".into());
            }
            None => {}
        }
        if let Some(bank) = &head.bank
            && self.listed("bank", bank)?.precision != Precision::None
        {
            return Err(format!("file `{bank}`: a bank has precision none"));
        }
        if !head.labels.is_empty() {
            check_labels("labels", &head.labels)?;
        }
        for modality in head.explain.keys() {
            if !head.reads.iter().any(|r| r.trunk.name() == modality) {
                return Err(format!(
                    "`explain` names `{modality}`, which it does not read"
                ));
            }
        }
        if head.range.is_some_and(|range| !range.is_sound()) {
            return Err("`range` must hold finite numbers and spreads of 0 or more".into());
        }
        within("temperature", head.temperature, 0.05, 20.0)?;
        within("threshold", head.threshold.unwrap_or(0.0), 0.0, 1.0)
    }

    /// Gates see a find and what is around it; what they let through, other heads see.
    fn check_face_read(&self, head: &Head, read: &Read) -> Result<(), String> {
        let is_gate = head.kind == "gate";
        if head.reads.len() > 1 {
            return Err("a head that reads a face reads nothing else".into());
        }
        if read.output != if is_gate { "context" } else { "crop" } {
            return Err(format!(
                "it reads `{read}`; a gate reads `face.context`, any other head `face.crop`"
            ));
        }
        if is_gate && self.face.as_ref().is_some_and(|f| f.context.is_none()) {
            return Err("it reads `face.context`, and section `face` has no `context`".into());
        }
        Ok(())
    }

    fn check_late(&self) -> Result<(), String> {
        let Some(late) = &self.late else {
            return Ok(());
        };
        match late.classes.keys().find(|c| !self.labels.contains(c)) {
            Some(unknown) => Err(format!(
                "`late.classes` names `{unknown}`, which is no label"
            )),
            None => Ok(()),
        }
    }

    fn listed(&self, field: &str, name: &str) -> Result<&File, String> {
        let file = self.file(name);
        file.ok_or_else(|| format!("field `{field}` names `{name}`, which no [[file]] lists"))
    }

    fn check_words(&self, field: &str, name: &str) -> Result<(), String> {
        match self.listed(field, name)?.precision {
            Precision::None => Ok(()),
            Precision::Int8 | Precision::F32 => {
                Err(format!("file `{name}`: a list of words has precision none"))
            }
        }
    }

    fn check_model(&self, field: &str, name: &str) -> Result<(), String> {
        match self.listed(field, name)?.precision {
            Precision::None => Err(format!("file `{name}` is a model and has precision none")),
            Precision::Int8 | Precision::F32 => Ok(()),
        }
    }
}

impl Speech {
    fn check(&self) -> Result<(), String> {
        if self.sample_rate != 16_000 || self.mels != 80 {
            return Err("section `speech` must say sample_rate = 16000 and mels = 80".into());
        }
        within("speech.max_seconds", self.max_seconds, 0.5, 8.0)
    }
}

impl Face {
    fn check(&self) -> Result<(), String> {
        within("face.side", self.side as f32, 64.0, 512.0)?;
        within("face.crop_side", self.crop_side as f32, 24.0, 224.0)?;
        within("face.crop_scale", self.crop_scale, 0.25, 4.0)?;
        within("face.crop_shift", self.crop_shift, -1.0, 1.0)?;
        within("face.min_score", self.min_score, 0.05, 0.99)?;
        let Some(context) = self.context else {
            return Ok(());
        };
        within("face.context.side", context.side as f32, 24.0, 224.0)?;
        within("face.context.scale", context.scale, 0.5, 8.0)
    }
}

impl File {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(format!("file `{name}` must be a plain name in the bundle"));
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err(format!(
                "file `{name}`: sha256 must be 64 lower-case hex digits"
            ));
        }
        Ok(())
    }
}

fn check_labels(field: &str, labels: &[String]) -> Result<(), String> {
    let distinct: BTreeSet<&String> = labels.iter().collect();
    if labels.len() < 2 || distinct.len() < labels.len() || distinct.iter().any(|l| l.is_empty()) {
        return Err(format!(
            "field `{field}` must hold at least two names, each once"
        ));
    }
    Ok(())
}

fn within(field: &str, value: f32, low: f32, high: f32) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("field `{field}` must lie in {low}..={high}"))
    }
}

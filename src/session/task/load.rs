//! A task from its bundle: heads, the trunks that they read, and that the two fit together.

use super::{Handle, Options, Task, Trunks};
use crate::decision::Smoother;
use crate::model::manifest::{self, Trunk};
use crate::model::{Bundle, Model, ModelError};
use crate::session::heads::{self, Size};
use std::collections::{BTreeMap, HashMap};

impl Task {
    /// Loads the heads of a bundle, and the trunks that they read.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does; a head that reads what its
    /// trunk does not give.
    pub fn load(
        bundle: &Bundle,
        trunks: &mut Trunks,
        options: &Options,
    ) -> Result<Task, ModelError> {
        let manifest = bundle.manifest.clone();
        let mut handles = BTreeMap::new();
        if let Some(speech) = &manifest.speech {
            handles.insert(Trunk::Speech, trunks.load_speech(bundle, speech)?);
        }
        if let Some(text) = &manifest.text {
            let handle = trunks.load_text(bundle, text)?;
            handles.insert(Trunk::Text, handle);
            handles.insert(Trunk::Beside, handle);
        }
        if let Some(image) = &manifest.image {
            handles.insert(Trunk::Image, trunks.load_image(bundle, image)?);
        }
        if let (Some(seen), Some(image)) = (&manifest.seen, handles.get(&Trunk::Image)) {
            handles.insert(Trunk::Seen, trunks.load_seen(bundle, seen, *image)?);
        }
        if let Some(face) = &manifest.face {
            handles.insert(Trunk::Face, trunks.load_face(bundle, face)?);
        }
        let mut heads = Vec::new();
        for head in &manifest.heads {
            for read in &head.reads {
                check_read(read, handles.get(&read.trunk), trunks)?;
            }
            if head.ablation && !options.every_head {
                heads.push(None);
                continue;
            }
            let classes = match head.labels.len() {
                0 => manifest.labels.len(),
                own => own,
            };
            let size = Size {
                classes,
                threads: options.threads,
                bank: options.bank.as_deref(),
            };
            let loaded = heads::load(bundle, head, size)?;
            if let Some(lacking) = head.explain.values().find(|o| !loaded.gives(o)) {
                return Err(ModelError::Refused {
                    name: bundle.name(),
                    what: format!("head `{}` gives no output `{lacking}`", head.name),
                });
            }
            heads.push(Some(loaded));
        }
        let mut task = Task {
            bundle: bundle.name(),
            manifest,
            handles,
            heads,
            smoother: Smoother::new(0.0),
            faces: HashMap::new(),
        };
        task.restart(options);
        Ok(task)
    }
}

/// A head reads what its trunk gives.
fn check_read(
    read: &manifest::Read,
    handle: Option<&Handle>,
    trunks: &mut Trunks,
) -> Result<(), ModelError> {
    let Some(handle) = handle.copied() else {
        return Ok(());
    };
    let model: &Model = match read.trunk {
        Trunk::Speech => trunks.speech(handle).model(),
        Trunk::Text | Trunk::Beside => trunks.text(handle).model(),
        Trunk::Image => trunks.image(handle).model(),
        Trunk::Seen => {
            let lacks = trunks.seen(handle).lacks(&read.output);
            return lacks.map_or(Ok(()), Err);
        }
        // its file gives boxes; what a head sees of them is the manifest's to check
        Trunk::Face => return Ok(()),
    };
    match model.output(&read.output) {
        Some(_) => Ok(()),
        None => Err(model.refused(format!(
            "gives outputs {:?}, and a head reads `{read}`",
            model.outputs()
        ))),
    }
}

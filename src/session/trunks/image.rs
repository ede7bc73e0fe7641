//! An image as a whole to patches.

use super::{Encoding, Handle, sha256, shared, timed};
use crate::event::Latency;
use crate::model::manifest;
use crate::model::{Bundle, InputValues, Model, ModelError};
use crate::vision::Picture;
use crate::vision::plain::{is_blank, is_print};
use crate::vision::resize::{Crop, Resizer};
use std::sync::Arc;

/// An image as a whole to patches.
pub(in crate::session) struct ImageTrunk {
    sha256: String,
    side: u32,
    resizer: Resizer,
    pixels: Vec<u8>,
    model: Model,
    last: Option<Option<Arc<Encoding>>>,
}

impl super::Trunks {
    /// The encoder of a bundle's images.
    ///
    /// # Errors
    /// A file that is missing or refused.
    pub fn load_image(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Image,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let sha256 = sha256(&bundle.manifest, &wanted.file);
        let same = |t: &ImageTrunk| t.sha256 == sha256 && t.side == wanted.side;
        shared(&mut self.image, same, || {
            Ok(ImageTrunk {
                side: wanted.side,
                resizer: Resizer::new(),
                pixels: Vec::new(),
                model: Model::load(bundle, &wanted.file, threads)?.expect(&["pixels"], &[])?,
                last: None,
                sha256: sha256.clone(),
            })
        })
    }
}

impl ImageTrunk {
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Forgets what was encoded last.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// Patches of the whole image, squeezed to a square; `None` of an image of one colour, as a
    /// covered lens gives it.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(
        &mut self,
        image: &Picture,
        latency: &mut Latency,
    ) -> Result<Option<Arc<Encoding>>, ModelError> {
        if let Some(known) = &self.last {
            return Ok(known.clone());
        }
        let side = self.side;
        timed(&mut latency.resize, || {
            let whole = Crop::whole(image);
            self.resizer.rgb(image, whole, side, side, &mut self.pixels);
        });
        let mut encoding = None;
        if !is_blank(&self.pixels) {
            let dims = [1, side as usize, side as usize, 3];
            let outputs = timed(&mut latency.image, || {
                self.model.run(&[(&dims, InputValues::Bytes(&self.pixels))])
            })?;
            encoding = Some(Arc::new(Encoding::of(&self.model, outputs)));
        }
        self.last = Some(encoding.clone());
        Ok(encoding)
    }

    /// Whether the image that was encoded last shows nothing but print or lines.
    pub fn shows_print(&self) -> bool {
        is_print(&self.pixels, self.side as usize)
    }
}

//! Models: bundles on disk or in the binary, checked and run. The only place that names
//! tract, so an engine can be exchanged without touching the rest.

pub(crate) mod adapted;
mod audit;
mod bundle;
#[cfg(feature = "research")]
pub mod example;
#[cfg(feature = "research")]
mod functions;
mod inline;
mod load;
pub mod manifest;
mod plan;
mod scales;
mod tract;

pub use audit::Audit;
pub(crate) use bundle::sha256;
pub use bundle::{Bundle, Origin, bundles};
pub use load::{Array, Dim, Element, InputInfo, OnnxFile, Output, Runner};
pub(crate) use load::{Input, Model};
pub(crate) use plan::{Held, InputValues};
pub use plan::{Placement, StepTiming};

use std::path::{Path, PathBuf};

/// Most bytes that the values of one run may take: what asks for more is a damaged shape, or no
/// model for a board.
pub(crate) const MOST_BYTES: usize = 1 << 30;

/// What is said of such a run.
fn too_large(bytes: usize) -> String {
    format!(
        "asks for {:.1} GiB of memory at once, and at most {} GiB are given",
        bytes as f64 / (1 << 30) as f64,
        MOST_BYTES >> 30
    )
}

/// A bundle that was refused, or a model that failed on an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No bundle for the task.
    #[error("{place}: no bundle answers `{task}`; name a folder that holds one with --models DIR")]
    Missing {
        /// Folder, or the binary.
        place: String,
        /// The task asked for.
        task: String,
    },
    /// A file of the bundle cannot be read.
    #[error("{path}: {source}; the bundle is incomplete, copy it again", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The manifest says something unknown, wrong or nothing.
    #[error("{path}: {what}; mend the manifest or copy the bundle again", path = .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The content is not what the manifest's hash says.
    #[error(
        "{path}: SHA-256 is {actual}, the manifest says {expected}; the file was changed or cut, copy the bundle again",
        path = .path.display()
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash of the content.
        actual: String,
        /// Hash in the manifest.
        expected: String,
    },
    /// A bundle shares a file with another bundle that is not there, or is another version.
    #[error(
        "bundle {name}: it uses {file} of bundle {bundle}, and no such bundle with that very file is here; put the two bundles of one release side by side"
    )]
    Shared {
        /// The bundle that was to be opened.
        name: String,
        /// `id` of the other one.
        bundle: String,
        /// The file.
        file: String,
    },
    /// The engine cannot make a runnable model of the file.
    #[error("model {name}: {what}; export it again with the recipe")]
    Refused {
        /// File name in the bundle.
        name: String,
        /// The engine's reason.
        what: String,
    },
    /// The manifest claims int8 and the graph still multiplies floats.
    #[error(
        "model {name}: the manifest says int8, but {float} of {total} products are float after optimisation (first: {first}); export the integer form"
    )]
    NotInteger {
        /// File name in the bundle.
        name: String,
        /// Float products.
        float: usize,
        /// All products.
        total: usize,
        /// Name of the first float product.
        first: String,
    },
    /// A model failed on an input.
    #[error("model {name}: {what}; report this input")]
    Run {
        /// File name in the bundle.
        name: String,
        /// The engine's reason.
        what: String,
    },
}

impl ModelError {
    /// No bundle in a folder, or in the binary, answers a task.
    pub(crate) fn missing(task: &str, dir: Option<&Path>) -> ModelError {
        ModelError::Missing {
            place: dir.map_or("this binary".into(), |d| d.display().to_string()),
            task: task.into(),
        }
    }
}

//! What can be wrong with a picture, as sentences, and how large one may be.

/// Most columns or rows of a picture.
pub const MAX_PICTURE_SIDE: u32 = 8192;
/// Most pixels of a picture.
pub const MAX_PICTURE_PIXELS: u64 = 40_000_000;
/// Largest file or frame that holds a picture, in bytes.
pub const MAX_PICTURE_BYTES: usize = 64 << 20;

/// A picture could not be had. Each message says which, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Something that is no picture, or none of a kind that is read here.
    #[error(
        "{name}: {what}, and only JPEG and PNG are read; convert it with `ffmpeg -i IN -frames:v 1 OUT.png`"
    )]
    Foreign {
        /// The file or stream.
        name: String,
        /// What it is.
        what: String,
    },
    /// A picture of a kind that is read, in a form that is not.
    #[error("{name}: {what}, which is not read; save it again as an ordinary JPEG or as PNG")]
    Unread {
        /// The file or stream.
        name: String,
        /// What is special about it.
        what: String,
    },
    /// A picture whose end is missing.
    #[error("{name}: the picture is cut: its end is missing; copy or take it again")]
    Cut {
        /// The file or stream.
        name: String,
    },
    /// A picture that is damaged.
    #[error("{name}: {what}; copy or take it again, or convert it with ffmpeg")]
    Damaged {
        /// The file or stream.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A picture beyond the limits.
    #[error(
        "{name}: {width} × {height} pixels are more than the {side} a side and {million} million \
         in all that are read; make it smaller with `ffmpeg -i IN -vf scale=1280:-2 OUT.jpg`",
        side = MAX_PICTURE_SIDE,
        million = MAX_PICTURE_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The file or stream.
        name: String,
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
    },
    /// A picture that there is no memory for.
    #[error(
        "{name}: {width} × {height} pixels take {} MiB of memory and {} MiB are left; make it \
         smaller with `ffmpeg -i IN -vf scale=1280:-2 OUT.jpg`",
        .wanted >> 20, .left >> 20
    )]
    NoMemory {
        /// The file or stream.
        name: String,
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
        /// Bytes that decoding takes.
        wanted: u64,
        /// Bytes that may be taken.
        left: u64,
    },
}

impl PictureError {
    pub(crate) fn foreign(name: &str, what: impl Into<String>) -> Self {
        Self::Foreign {
            name: name.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn damaged(name: &str, what: impl Into<String>) -> Self {
        Self::Damaged {
            name: name.to_owned(),
            what: what.into(),
        }
    }
}

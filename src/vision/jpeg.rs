//! JPEG files and frames to pixels: zune-jpeg behind our limits and sentences.
//!
//! Baseline and progressive files, grey, YCbCr, RGB, CMYK and YCCK (inverted, as Adobe and
//! everybody after it writes them). The size is checked from the header before anything is
//! allocated; Exif's orientation is applied. A file that is cut or damaged is refused, for
//! half a picture half grey would be recognised as something. Data that are lost in the
//! middle of a file that has its end are not always noticed: nothing in JPEG tells.

mod exif;
pub(crate) mod scan;

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Kind, Picture, check_size};
use crate::capture::{CaptureError, limits};
use scan::{Ending, Header, Outline};

/// The first bytes of Adobe's segment, and what makes a decoder pass over it.
const ADOBE: u8 = b'A';
const NOT_ADOBE: u8 = b'a';
/// What AVI files put at the beginning of frames without Huffman tables; it makes the decoder
/// take the usual ones (T.81, Annex K.3).
const AVI: &[u8] = b"\xFF\xE0\x00\x10AVI1\0\0\0\0\0\0\0\0\0\0";

/// Decodes a JPEG file; `name` is what messages call it.
///
/// # Errors
/// [`CaptureError::NoPicture`] when it is no JPEG or one of a kind that is not read,
/// [`CaptureError::PictureTooLarge`] beyond [`limits::MAX_PICTURE_SIDE`] or
/// [`limits::MAX_PICTURE_PIXELS`], [`CaptureError::PictureCut`] when its end is missing,
/// [`CaptureError::Picture`] when it is damaged.
pub fn decode(bytes: &[u8], name: &str) -> Result<Picture, CaptureError> {
    match Kind::of(bytes) {
        Kind::Jpeg => {}
        Kind::Png => return Err(CaptureError::no_picture(name, "this is PNG, not JPEG")),
        Kind::Foreign(what) => return Err(CaptureError::no_picture(name, what)),
    }
    let outline = Outline::of(bytes);
    if let Some(header) = outline.header {
        check_size(header.width.into(), header.height.into(), name)?;
        check_process(header, name)?;
    }
    let header = match (outline.ending, outline.header) {
        (Ending::Cut, _) => return Err(CaptureError::PictureCut { name: name.into() }),
        (Ending::Broken(at), _) => {
            let what = format!("the JPEG is damaged at byte {at}");
            return Err(CaptureError::picture(name, what));
        }
        (Ending::Whole, None) => {
            return Err(CaptureError::picture(name, "the JPEG has no frame header"));
        }
        (Ending::Whole, Some(header)) => header,
    };
    let whole = match outline.has_tables {
        true => Cow::Borrowed(bytes),
        false => with_usual_tables(bytes),
    };
    let moved = whole.len() - bytes.len();
    let adobe = outline.adobe.map(|(transform, at)| (transform, at + moved));
    let rgb = pixels(&whole, header, adobe, name)?;
    let picture = Picture::new(header.width.into(), header.height.into(), rgb);
    let picture = picture.ok_or_else(|| {
        CaptureError::picture(name, "the JPEG's pixels do not fit the size in its header")
    })?;
    Ok(outline
        .exif
        .map(exif::orientation)
        .unwrap_or_default()
        .apply(picture))
}

/// Refuses the processes of T.81 that nobody uses.
fn check_process(header: Header, name: &str) -> Result<(), CaptureError> {
    let what = match (header.process, header.precision) {
        (0xC0..=0xC2, 8) => return Ok(()),
        (0xC0..=0xC2, _) => "this is a JPEG with more than 8 bits a sample",
        (0xC3 | 0xC7 | 0xCB | 0xCF, _) => "this is a lossless JPEG",
        (0xC5 | 0xC6 | 0xCD | 0xCE, _) => "this is a hierarchical JPEG",
        _ => "this is a JPEG with arithmetic coding",
    };
    Err(CaptureError::no_picture(name, what))
}

/// RGB bytes of a whole file.
fn pixels(
    bytes: &[u8],
    header: Header,
    adobe: Option<(u8, usize)>,
    name: &str,
) -> Result<Vec<u8>, CaptureError> {
    let decoded = match (header.components, adobe) {
        // "No transform" means RGB. The decoder does not know that: it is kept from seeing
        // Adobe's segment and asked for the components as they are. Those that are named R, G
        // and B it takes for RGB all the same, and refuses.
        (3, Some((0, at))) => {
            let bytes = without_adobe(bytes, at);
            decoded(&bytes, ColorSpace::YCbCr).or_else(|_| decoded(&bytes, ColorSpace::RGB))
        }
        _ => decoded(bytes, ColorSpace::RGB),
    };
    decoded.map_err(|error| {
        let what = format!("the JPEG is damaged ({})", words(&error));
        CaptureError::picture(name, what)
    })
}

fn decoded(bytes: &[u8], space: ColorSpace) -> Result<Vec<u8>, DecodeErrors> {
    let side = limits::MAX_PICTURE_SIDE as usize;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(space);
    JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode()
}

/// The file with [`AVI`]'s segment behind its first marker.
fn with_usual_tables(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (start, rest) = bytes.split_at(bytes.len().min(2));
    Cow::Owned([start, AVI, rest].concat())
}

/// The file with the name in Adobe's segment, which begins `at`, changed.
fn without_adobe(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.get_mut(at).filter(|first| **first == ADOBE) {
        *first = NOT_ADOBE;
    }
    bytes
}

/// The decoder's reason on one line, without its quotation marks.
fn words(error: &DecodeErrors) -> String {
    let text = format!("{error:?}").replace(['"', '\n'], " ");
    text.trim().trim_end_matches('.').to_owned()
}

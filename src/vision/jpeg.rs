//! JPEG files and frames to pixels: zune-jpeg behind our limits and sentences.
//!
//! Baseline and progressive files, grey, YCbCr, RGB, CMYK and YCCK (inverted, as Adobe and
//! everybody after it writes them). The size is checked from the header before anything is
//! allocated; Exif's orientation is applied, or else XMP's. The decoder is given the segments
//! that make pixels and nothing else, so that neither stray bytes between segments nor
//! anything in notes, profiles and thumbnails can trouble it or cost memory.
//!
//! # What is cut
//! Some cameras never write the two bytes that end a picture. djpeg, ffmpeg and Pillow read
//! such pictures; so do we, if every coefficient has come: the data are then followed by
//! ones, a code that T.81 gives to nobody (Annex C.2), so that a decoder which still wants
//! data stops with an error. Where it does, or where a pass of a progressive picture is
//! missing, the picture is refused as cut, for half a picture half grey would be recognised
//! as something. Data that are lost in the middle of a file that has its end are not always
//! noticed: nothing in JPEG tells.

pub(super) mod exif;
pub(crate) mod scan;

use std::panic::catch_unwind;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::{MAX_PICTURE_SIDE, PictureError};
use super::orient::Orientation;
use super::{ImageFormat, Picture, check_memory, check_size};
use scan::{Ending, Header, Outline};

/// What AVI files put at the beginning of frames without Huffman tables; it makes the decoder
/// take the usual ones (T.81, Annex K.3).
const AVI: &[u8] = b"\xFF\xE0\x00\x10AVI1\0\0\0\0\0\0\0\0\0\0";
/// Adobe's segments for four components: CMYK as it is, and YCCK.
const CMYK: &[u8] = b"\xFF\xEE\x00\x0EAdobe\0\x64\0\0\0\0\0";
const YCCK: &[u8] = b"\xFF\xEE\x00\x0EAdobe\0\x64\0\0\0\0\x02";
/// Ones behind data without an end: more than a decoder looks ahead.
const ONES: &[u8] = b"\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0";

/// Decodes a JPEG file; `name` is what messages call it.
///
/// # Errors
/// [`PictureError::Foreign`] when it is no JPEG, [`PictureError::Unread`] when it is
/// one of a kind that is not read, [`PictureError::TooLarge`] beyond
/// [`MAX_PICTURE_SIDE`] or [`MAX_PICTURE_PIXELS`](super::MAX_PICTURE_PIXELS),
/// [`PictureError::Cut`] when pixels are missing at its end,
/// [`PictureError::Damaged`] when it is damaged.
pub fn decode(bytes: &[u8], name: &str) -> Result<Picture, PictureError> {
    match ImageFormat::of(bytes) {
        ImageFormat::Jpeg => {}
        ImageFormat::Png => return Err(PictureError::foreign(name, "this is PNG, not JPEG")),
        ImageFormat::Foreign(what) | ImageFormat::Unknown(what) => {
            return Err(PictureError::foreign(name, what));
        }
    }
    let outline = Outline::of(bytes);
    if let Some(header) = outline.header {
        check_form(header, &outline, name)?;
        check_size(header.width.into(), header.height.into(), name)?;
    }
    let cut = || PictureError::Cut { name: name.into() };
    let header = match (outline.ending, outline.header) {
        (Ending::Broken(at), _) => {
            let what = format!("the JPEG is damaged at byte {at}");
            return Err(PictureError::damaged(name, what));
        }
        (Ending::Whole, None) => {
            return Err(PictureError::damaged(name, "the JPEG has no frame header"));
        }
        (Ending::Cut, None) => return Err(cut()),
        (Ending::Cut, Some(_)) if !outline.is_complete => return Err(cut()),
        (Ending::Whole | Ending::Cut, Some(header)) => header,
    };
    let orientation = orientation(&outline);
    check_memory(
        header.width.into(),
        header.height.into(),
        memory(header, orientation),
        name,
    )?;
    let rgb = match pixels(bytes, &outline, header, name) {
        Err(PictureError::Damaged { .. }) if outline.ending == Ending::Cut => return Err(cut()),
        rgb => rgb?,
    };
    let picture = Picture::new(header.width.into(), header.height.into(), rgb);
    let picture = picture.ok_or_else(|| {
        PictureError::damaged(name, "the JPEG's pixels do not fit the size in its header")
    })?;
    Ok(orientation.apply(picture))
}

/// The JPEG file in a camera's buffer, up to the picture's end, for drivers pad it with zeros.
/// Some cameras write no end: all pixels must be there then. `None` when the picture is cut or
/// does not look like JPEG.
#[cfg(any(feature = "v4l", test))]
pub(crate) fn in_buffer(buffer: &[u8]) -> Option<&[u8]> {
    match scan::end(buffer) {
        Some(end) => buffer.get(..end),
        None => {
            let padding = buffer.iter().rev().take_while(|byte| **byte == 0).count();
            let picture = buffer.get(..buffer.len() - padding)?;
            decode(picture, "").is_ok().then_some(picture)
        }
    }
}

/// Where the pictures end that belong to this one, counted from its beginning: the second eye
/// of a camera with two, or a gain map. `None` when there are none.
pub(crate) fn attached(bytes: &[u8]) -> Option<usize> {
    let (at, index) = Outline::of(bytes).index?;
    at.checked_add(exif::end_of_all(index)?)
}

/// Bytes a pixel that decoding takes: red, green and blue, once more to turn them, and all
/// coefficients at once where they come in passes.
fn memory(header: Header, orientation: Orientation) -> u64 {
    let turned = orientation != Orientation::Upright;
    let passes = header.is_progressive();
    let components = u64::from(header.components);
    3 + if turned { 3 } else { 0 } + if passes { 2 * components } else { 0 }
}

/// How the picture was held: Exif's word, or else XMP's, as Pillow reads them.
fn orientation(outline: &Outline<'_>) -> Orientation {
    let exif = outline.exif.and_then(exif::orientation);
    let xmp = || outline.xmp.and_then(exif::orientation_in_xmp);
    exif.or_else(xmp).unwrap_or_default()
}

/// Refuses what T.81 allows and we do not read: it is not damaged, and is not called so.
fn check_form(header: Header, outline: &Outline<'_>, name: &str) -> Result<(), PictureError> {
    let what = match (header.process, header.precision) {
        (0xC0..=0xC2, 8) => "",
        (0xC0..=0xC2, _) => "this is a JPEG with more than 8 bits a sample",
        (0xC3 | 0xC7 | 0xCB | 0xCF, _) => "this is a lossless JPEG",
        (0xC5 | 0xC6 | 0xCD | 0xCE, _) => "this is a hierarchical JPEG",
        _ => "this is a JPEG with arithmetic coding",
    };
    let unread = |what: String| PictureError::Unread {
        name: name.to_owned(),
        what,
    };
    if !what.is_empty() {
        return Err(unread(what.to_owned()));
    }
    if header.height == 0 && outline.has_late_height {
        let what = "this is a JPEG that states its height behind its pixels";
        return Err(unread(what.to_owned()));
    }
    match header.components {
        1 => Ok(()),
        3 | 4 if is_sampling_read(header, outline.comes_apart) => Ok(()),
        3 | 4 => Err(unread(sampling(header))),
        count => Err(unread(format!("this is a JPEG with {count} components"))),
    }
}

/// Whether the decoder knows how to bring all components to one size: the first must be the
/// largest and a multiple of the others, with rows as they are or one for all of its own; and
/// where each comes in a scan of its own, rows must not be sampled at all. (Held against
/// Pillow; of others it makes wrong pixels or none.)
fn is_sampling_read(header: Header, comes_apart: bool) -> bool {
    let used = || header.sampling.iter().take(header.components.into());
    // factors beyond these are damage, and told by the decoder
    if used().any(|(h, v)| !(1..=4).contains(h) || !(1..=4).contains(v)) {
        return true;
    }
    let [(across, down), ..] = header.sampling;
    let fits = |(h, v): &(u8, u8)| across % h == 0 && *h != 3 && (*v == 1 || *v == down);
    let is_flat = !comes_apart || header.is_progressive() || (across <= 2 && down == 1);
    used().all(fits) && is_flat
}

/// The sampling in the words of `cjpeg -sample`.
fn sampling(header: Header) -> String {
    let factors = header.sampling.iter().take(header.components.into());
    let words: Vec<String> = factors.map(|(h, v)| format!("{h}x{v}")).collect();
    format!("this is a JPEG with components sampled {}", words.join(","))
}

/// RGB bytes of a picture.
fn pixels(
    bytes: &[u8],
    outline: &Outline<'_>,
    header: Header,
    name: &str,
) -> Result<Vec<u8>, PictureError> {
    let tables = if outline.has_tables { &[] } else { AVI };
    let colours: &[u8] = match (header.components, outline.adobe) {
        (4, Some(0) | None) => CMYK,
        (4, Some(_)) => YCCK,
        _ => &[],
    };
    let end = match outline.ending {
        Ending::Cut => ONES,
        _ => &[],
    };
    let bare = scan::bare(bytes, &[tables, colours].concat(), end);
    let decoded = match (header.components, outline.adobe) {
        // "No transform" means RGB. The decoder does not know that: it is asked for the
        // components as they are. Those that are named R, G and B it takes for RGB all the
        // same, and refuses.
        (3, Some(0)) => {
            decoded(&bare, ColorSpace::YCbCr).or_else(|_| decoded(&bare, ColorSpace::RGB))
        }
        _ => decoded(&bare, ColorSpace::RGB),
    };
    decoded.map_err(|error| {
        let what = format!("the JPEG is damaged ({})", words(&error));
        PictureError::damaged(name, what)
    })
}

fn decoded(bytes: &[u8], space: ColorSpace) -> Result<Vec<u8>, DecodeErrors> {
    let side = MAX_PICTURE_SIDE as usize;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(space);
    // it is known to panic on pictures that contradict themselves
    let decode = || JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode();
    let broken = Err(DecodeErrors::FormatStatic("the decoder broke on it"));
    catch_unwind(decode).unwrap_or(broken)
}

/// The decoder's reason on one line, without its quotation marks.
fn words(error: &DecodeErrors) -> String {
    let text = format!("{error:?}").replace(['"', '\n'], " ");
    text.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = include_bytes!("../../tests/data/pictures/plain.jpg");

    #[test]
    fn a_buffer_is_taken_up_to_the_pictures_end() {
        let padded = [PLAIN, &[0; 100]].concat();
        assert_eq!(in_buffer(&padded), Some(PLAIN));
        assert_eq!(in_buffer(PLAIN), Some(PLAIN));
        for cut in [0, 1, 2, 100, PLAIN.len() - 20] {
            assert_eq!(in_buffer(&PLAIN[..cut]), None, "{cut}");
        }
        // cameras that write no end, with and without padding
        let open = &PLAIN[..PLAIN.len() - 2];
        assert_eq!(in_buffer(open), Some(open));
        let padded = [open, &[0; 100]].concat();
        assert_eq!(in_buffer(&padded), Some(open));
    }

    #[test]
    fn a_cut_picture_is_refused_or_has_all_its_pixels() {
        for file in [
            PLAIN,
            include_bytes!("../../tests/data/pictures/progressive.jpg"),
            include_bytes!("../../tests/data/pictures/restarts.jpg"),
            include_bytes!("../../tests/data/pictures/sampled420.jpg"),
            include_bytes!("../../tests/data/pictures/grey.jpg"),
            include_bytes!("../../tests/data/pictures/no-tables.jpg"),
        ] {
            let whole = decode(file, "a").unwrap();
            let mut read = 0;
            for length in 3..file.len() {
                match decode(&file[..length], "a") {
                    Ok(picture) => {
                        assert_eq!(picture.rgb(), whole.rgb(), "{length} of {}", file.len());
                        read += 1;
                    }
                    Err(PictureError::Cut { .. }) => {}
                    Err(error) => panic!("{length} of {}: {error}", file.len()),
                }
            }
            // without its last two bytes, with half of them, and perhaps a little less
            assert!((2..=4).contains(&read), "{read}");
        }
    }
}

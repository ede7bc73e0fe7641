//! PNG files to pixels, by the crate `png`.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::{Picture, check_size, picture};
use crate::capture::{CaptureError, limits};

/// Decodes a PNG file: every colour type and depth, the first image of an animation.
/// Transparency is dropped, as Pillow's `convert("RGB")` does.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Picture, CaptureError> {
    let damaged = |error: png::DecodingError| match error {
        png::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            CaptureError::PictureCut { name: name.into() }
        }
        error => CaptureError::picture(name, format!("the PNG is damaged ({error})")),
    };
    let mut decoder = Decoder::new_with_limits(
        Cursor::new(bytes),
        Limits {
            bytes: limits::MAX_PICTURE_PIXELS as usize * 8,
        },
    );
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    // Nothing is allocated for the pixels yet.
    let header = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (header.width, header.height);
    check_size(width, height, name)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let room = reader.output_buffer_size().unwrap_or_default();
    let mut pixels = vec![0; room];
    let info = reader.next_frame(&mut pixels).map_err(damaged)?;
    pixels.truncate(info.buffer_size());
    let rgb = match (info.color_type, info.bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) => Some(pixels),
        (ColorType::Rgba, BitDepth::Eight) => Some(without_alpha::<4, 3>(&pixels)),
        (ColorType::Grayscale, BitDepth::Eight) => Some(spread(&pixels)),
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => {
            Some(spread(&without_alpha::<2, 1>(&pixels)))
        }
        _ => None,
    };
    rgb.and_then(|rgb| Picture::new(width, height, rgb))
        .ok_or_else(|| CaptureError::picture(name, "the PNG's pixels do not fit its header"))
}

/// Pixels of `ALL` bytes without their last one.
fn without_alpha<const ALL: usize, const KEPT: usize>(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<ALL>();
    pixels
        .iter()
        .flat_map(|pixel| pixel.iter().take(KEPT).copied())
        .collect()
}

/// Grey as red, green and blue.
fn spread(grey: &[u8]) -> Vec<u8> {
    grey.iter()
        .flat_map(|value| [*value; picture::CHANNELS])
        .collect()
}

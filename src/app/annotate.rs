//! `--annotate`: one picture with what was seen in it, as a page or as a picture.
//!
//! A page (`.html`) is one file that needs nothing else: the picture and its style are in
//! it, there is no script, and nothing is fetched. A picture (`.png`) holds the same for
//! places where a page cannot go.

mod canvas;
mod html;
mod lettering;
mod palette;
mod sheet;
mod view;

use crate::Error;
use crate::event::Event;
use crate::vision::Picture;
use std::io;
use std::path::Path;

/// What there is to show of one picture.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The picture.
    pub picture: &'a Picture,
    /// Its words; empty if there are none.
    pub words: &'a str,
    /// The answers; one about a face is drawn where the face is. The first whose evidence
    /// tells where its tokens looked is drawn with it.
    pub events: &'a [Event],
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageFormat {
    Html,
    Png,
}

impl PageFormat {
    fn of(path: &Path) -> Result<PageFormat, Error> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            "html" | "htm" => Ok(PageFormat::Html),
            "png" => Ok(PageFormat::Png),
            _ => Err(Error::Usage(format!(
                "--annotate writes a page or a picture, and {} ends in neither .html nor .png",
                path.display()
            ))),
        }
    }
}

/// Refuses a file of another kind than [`annotate`] writes, before anything is computed.
///
/// # Errors
/// [`Error::Usage`].
pub fn check(path: &Path) -> Result<(), Error> {
    PageFormat::of(path).map(|_| ())
}

/// Writes `page` to `path`, as HTML or PNG by its ending.
///
/// # Errors
/// [`Error::Usage`] for another ending, [`Error::File`] if the file cannot be written.
pub fn annotate(path: &Path, page: &Page<'_>) -> Result<(), Error> {
    let form = PageFormat::of(path)?;
    let failed = |source: io::Error| Error::File {
        path: path.into(),
        doing: "written",
        source,
    };
    let view = view::View::of(page);
    let bytes = match form {
        PageFormat::Html => html::page(&view).map_err(failed)?.into_bytes(),
        PageFormat::Png => png_bytes(&sheet::draw(&view)).map_err(failed)?,
    };
    std::fs::write(path, bytes).map_err(failed)
}

/// A picture as a PNG file.
fn png_bytes(picture: &Picture) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.rgb())?;
    writer.finish()?;
    Ok(bytes)
}

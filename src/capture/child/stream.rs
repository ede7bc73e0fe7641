//! A program's bytes to frames.

use super::Form;
use crate::capture::camera::FrameData;
use crate::capture::camera::framer::Framer;
use crate::capture::camera::live::Outlet;
use crate::capture::limits;
use crate::vision::yuv::Layout;

/// What cameras round the length of a row up to.
const ALIGNMENTS: [u32; 6] = [2, 16, 32, 64, 128, 256];
/// Sizes that cameras have.
const SIZES: [(u32, u32); 9] = [
    (320, 240),
    (640, 360),
    (640, 480),
    (800, 600),
    (1280, 720),
    (1280, 960),
    (1296, 972),
    (1640, 1232),
    (1920, 1080),
];

/// Puts frames together.
pub(super) enum Assembler {
    Mjpeg {
        framer: Framer,
        /// The stream ended inside a picture.
        is_cut: bool,
    },
    I420(Planes),
}

impl Assembler {
    pub(super) fn new(form: Form) -> Self {
        match form {
            Form::Mjpeg => Self::Mjpeg {
                framer: Framer::new(),
                is_cut: false,
            },
            Form::I420(layout) => Self::I420(Planes::new(layout)),
        }
    }

    /// Takes the next bytes and hands over the frames that they complete.
    ///
    /// # Errors
    /// A sentence that says why these bytes are not a stream of frames.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Outlet<'_>) -> Result<(), String> {
        match self {
            Self::Mjpeg { framer, .. } => {
                framer.push(bytes, |picture| out.frame(FrameData::Encoded(picture)));
                out.damaged(framer.take_damaged());
                if framer.garbage() > limits::MAX_GARBAGE && !framer.has_any() {
                    let size = limits::MAX_GARBAGE >> 20;
                    return Err(format!(
                        "it wrote {size} MiB without a JPEG picture in them: make it write MJPEG \
                         (`--codec mjpeg`, `-f mjpeg`), or say that it writes I420"
                    ));
                }
            }
            Self::I420(planes) => planes.push(bytes, out),
        }
        Ok(())
    }

    /// Ends the stream: only now it is known where a picture ends that lacks its end.
    pub(super) fn finish(&mut self, out: &mut Outlet<'_>) {
        if let Self::Mjpeg { framer, is_cut } = self {
            framer.finish(|picture| out.frame(FrameData::Encoded(picture)));
            let damaged = framer.take_damaged();
            *is_cut = damaged > 0;
            out.damaged(damaged);
        }
    }

    /// What was odd about a stream that has ended.
    pub(super) fn complaint(&self) -> Option<String> {
        match self {
            Self::Mjpeg { is_cut, .. } => is_cut.then(|| "its last picture is cut".to_owned()),
            Self::I420(planes) => planes.complaint(),
        }
    }
}

/// Puts raw frames together, which have nothing but their length to tell them apart.
pub(super) struct Planes {
    layout: Layout,
    frame: Vec<u8>,
    total: u64,
    looked: bool,
}

impl Planes {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            frame: Vec::new(),
            total: 0,
            looked: false,
        }
    }

    fn push(&mut self, mut bytes: &[u8], out: &mut Outlet<'_>) {
        self.total += bytes.len() as u64;
        let length = self.layout.i420_bytes();
        while !bytes.is_empty() {
            let missing = length - self.frame.len();
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.frame.extend_from_slice(taken);
            bytes = rest;
            if self.frame.len() < length {
                return;
            }
            let room = Vec::with_capacity(length);
            let frame = std::mem::replace(&mut self.frame, room);
            if !self.looked {
                self.looked = true;
                if let Some(stride) = likelier_stride(&frame, self.layout) {
                    out.warn(skewed(self.layout, stride));
                }
            }
            let layout = self.layout;
            out.frame(FrameData::I420 {
                layout,
                bytes: frame,
            });
        }
    }

    /// Bytes left over at the end of the stream, and what would have fitted.
    fn complaint(&self) -> Option<String> {
        let left = self.frame.len();
        if left == 0 {
            return None;
        }
        let length = self.layout.i420_bytes();
        let mut text = format!(
            "its {} bytes are no whole number of frames of {length} bytes ({}): {left} are left \
             over",
            self.total,
            words(self.layout)
        );
        let fits: Vec<String> = fitting(self.total, self.layout)
            .into_iter()
            .map(words)
            .collect();
        if !fits.is_empty() {
            text.push_str(&format!("; {} would fit", fits.join(" or ")));
        }
        Some(text)
    }
}

fn words(layout: Layout) -> String {
    let (width, height, stride) = (layout.width(), layout.height(), layout.stride());
    format!("{width} × {height}, stride {stride}")
}

fn skewed(layout: Layout, stride: u32) -> String {
    format!(
        "its rows repeat every {stride} bytes and not every {}: pictures will look skewed; set \
         the stride to {stride} if they do",
        layout.stride()
    )
}

/// The strides that a camera may have given rows of this width.
fn strides(width: u32) -> impl Iterator<Item = u32> {
    let mut strides = ALIGNMENTS.map(|step| width.next_multiple_of(step));
    strides.sort_unstable();
    let mut before = 0;
    strides.into_iter().filter(move |stride| {
        let new = *stride != before;
        before = *stride;
        new
    })
}

/// Layouts of which `total` bytes are a whole number: this size with other strides, or else
/// other sizes; three at most.
fn fitting(total: u64, layout: Layout) -> Vec<Layout> {
    let of = |(width, height)| {
        let layouts = strides(width).filter_map(move |stride| Layout::i420(width, height, stride));
        layouts.filter(move |other| {
            *other != layout && total.is_multiple_of(other.i420_bytes() as u64)
        })
    };
    let own: Vec<Layout> = of((layout.width(), layout.height())).take(3).collect();
    if own.is_empty() {
        SIZES.into_iter().flat_map(of).take(3).collect()
    } else {
        own
    }
}

/// Another stride, when rows that far apart are much more alike than rows one stride apart.
/// Rows of a picture resemble their neighbours; with a wrong stride each is compared with a
/// part of itself some columns on.
fn likelier_stride(frame: &[u8], layout: Layout) -> Option<u32> {
    let luma = frame.get(..layout.stride() as usize * layout.height() as usize)?;
    // Padding is no picture and may be all alike: only what every stride would call pixels.
    let width = layout.width() as usize;
    let difference = |stride: u32| {
        let stride = stride as usize;
        let rows = luma.len() / stride;
        let (mut sum, mut count) = (0u64, 0u64);
        for pair in luma
            .chunks_exact(stride)
            .zip(luma.chunks_exact(stride).skip(1))
        {
            let (upper, lower) = pair;
            let both = upper.iter().zip(lower).take(width.min(stride));
            sum += both.map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
            count += width.min(stride) as u64;
        }
        (rows > 8).then(|| sum as f64 / count as f64)
    };
    let own = difference(layout.stride())?;
    let others = strides(layout.width()).filter(|stride| *stride != layout.stride());
    let (best, stride) = others
        .filter_map(|stride| Some((difference(stride)?, stride)))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (own > 2.0 && best * 2.0 < own).then_some(stride)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a smooth scene with some texture, padded with zeros.
    fn scene(width: usize, height: usize, stride: usize) -> Vec<u8> {
        let luma = |x: usize, y: usize| {
            let wave = 60.0 * (x as f64 / 23.0).sin() + 40.0 * ((x + y) as f64 / 41.0).cos();
            (120.0 + wave + ((x * 7 + y * 3) % 5) as f64) as u8
        };
        let mut frame = Vec::new();
        for y in 0..height {
            frame.extend((0..width).map(|x| luma(x, y)));
            frame.resize(frame.len() + stride - width, 0);
        }
        frame.resize(frame.len() + stride / 2 * height, 128);
        frame
    }

    #[test]
    fn a_wrong_stride_is_seen_in_the_first_frame() {
        let (right, wrong) = (Layout::i420(480, 270, 512), Layout::i420(480, 270, 480));
        let padded = scene(480, 270, 512);
        assert_eq!(likelier_stride(&padded, right.unwrap()), None);
        assert_eq!(likelier_stride(&padded, wrong.unwrap()), Some(512));
        let tight = scene(480, 270, 480);
        assert_eq!(likelier_stride(&tight, wrong.unwrap()), None);
        assert_eq!(
            likelier_stride(&[tight, padded].concat(), right.unwrap()),
            Some(480)
        );
    }

    #[test]
    fn a_dark_lens_or_noise_raises_no_alarm() {
        let layout = Layout::i420(480, 270, 480).unwrap();
        assert_eq!(
            likelier_stride(&vec![16; layout.i420_bytes()], layout),
            None
        );
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(layout.i420_bytes()).collect();
        assert_eq!(likelier_stride(&noise, layout), None);
    }

    #[test]
    fn what_would_fit_is_named() {
        let mut planes = Planes::new(Layout::i420(480, 360, 480).unwrap());
        let padded = Layout::i420(480, 360, 512).unwrap();
        planes.total = padded.i420_bytes() as u64 * 5;
        planes.frame = vec![0; (planes.total as usize) % planes.layout.i420_bytes()];
        let complaint = planes.complaint().unwrap();
        assert!(
            complaint.contains("480 × 360, stride 512 would fit"),
            "{complaint}"
        );
        planes.frame.clear();
        assert_eq!(planes.complaint(), None);
    }
}

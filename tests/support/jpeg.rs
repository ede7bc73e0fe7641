//! JPEGs made by formula: every sampling that T.81 allows, in one scan or several.

/// A picture whose blocks are flat: luma grows to the right, Cb downwards, Cr towards the
/// lower left.
#[derive(Debug, Clone)]
pub struct Jpeg {
    pub width: u16,
    pub height: u16,
    /// Samples across and down of each component.
    pub sampling: Vec<(u8, u8)>,
    /// One scan with all components, or one for each.
    pub interleaved: bool,
    /// MCUs between two restart markers; 0 for none.
    pub restart: u16,
}

impl Jpeg {
    pub fn new(width: u16, height: u16, sampling: &[(u8, u8)]) -> Jpeg {
        Jpeg {
            width,
            height,
            sampling: sampling.to_vec(),
            interleaved: true,
            restart: 0,
        }
    }

    /// Value of a component at a place of the picture, both from 0 to 1.
    fn value(component: usize, x: f64, y: f64) -> f64 {
        match component {
            0 => 40.0 + 160.0 * x,
            1 => 80.0 + 90.0 * y,
            2 => 170.0 - 50.0 * x - 40.0 * (1.0 - y),
            _ => 20.0 + 100.0 * y,
        }
    }

    /// About what is to be seen at a pixel.
    pub fn seen(&self, x: u32, y: u32) -> [f64; 3] {
        let at = |place: u32, size: u16| (f64::from(place) + 0.5) / f64::from(size);
        let (x, y) = (at(x, self.width), at(y, self.height));
        let [luma, cb, cr] = [0, 1, 2].map(|c| Self::value(c, x, y));
        let (cb, cr) = (cb - 128.0, cr - 128.0);
        let rgb = [
            luma + 1.402 * cr,
            luma - 0.344 * cb - 0.714 * cr,
            luma + 1.772 * cb,
        ];
        rgb.map(|value| value.clamp(0.0, 255.0))
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8];
        segment(&mut out, 0xDB, &[&[0][..], &[8; 64]].concat());
        let mut frame = vec![8];
        frame.extend(self.height.to_be_bytes());
        frame.extend(self.width.to_be_bytes());
        frame.push(self.sampling.len() as u8);
        for (index, (h, v)) in self.sampling.iter().enumerate() {
            frame.extend([index as u8 + 1, h << 4 | v, 0]);
        }
        segment(&mut out, 0xC0, &frame);
        // twelve categories of DC differences, four bits each; AC knows nothing but the end
        let categories: Vec<u8> = (0..12).collect();
        let dc = [&[0x00, 0, 0, 0, 12][..], &[0; 12], &categories].concat();
        segment(&mut out, 0xC4, &dc);
        segment(&mut out, 0xC4, &[&[0x10, 1][..], &[0; 15], &[0]].concat());
        if self.restart > 0 {
            segment(&mut out, 0xDD, &self.restart.to_be_bytes());
        }
        let all: Vec<usize> = (0..self.sampling.len()).collect();
        if self.interleaved {
            self.scan(&mut out, &all);
        } else {
            all.chunks(1).for_each(|one| self.scan(&mut out, one));
        }
        out.extend([0xFF, 0xD9]);
        out
    }

    fn scan(&self, out: &mut Vec<u8>, components: &[usize]) {
        let mut header = vec![components.len() as u8];
        components
            .iter()
            .for_each(|c| header.extend([*c as u8 + 1, 0x00]));
        header.extend([0, 63, 0]);
        segment(out, 0xDA, &header);
        let most = |of: fn(&(u8, u8)) -> u8| u32::from(self.sampling.iter().map(of).max().unwrap());
        let (across, down) = (most(|s| s.0), most(|s| s.1));
        let (width, height) = (u32::from(self.width), u32::from(self.height));
        // blocks of a component that a scan of its own has
        let own = |c: usize| {
            let (h, v) = self.sampling[c];
            let of = |size: u32, factor: u8, most: u32| {
                (size * u32::from(factor)).div_ceil(most).div_ceil(8)
            };
            (of(width, h, across), of(height, v, down))
        };
        let (columns, rows) = match components {
            [one] => own(*one),
            _ => (width.div_ceil(8 * across), height.div_ceil(8 * down)),
        };
        let mut bits = Bits::default();
        let mut before = [0i32; 4];
        for mcu in 0..columns * rows {
            if self.restart > 0 && mcu > 0 && mcu % u32::from(self.restart) == 0 {
                bits.align(out);
                out.extend([0xFF, 0xD0 + ((mcu / u32::from(self.restart) - 1) % 8) as u8]);
                before = [0; 4];
            }
            let (column, row) = (mcu % columns, mcu / columns);
            for &c in components {
                let (h, v) = match components {
                    [_] => (1, 1),
                    _ => (u32::from(self.sampling[c].0), u32::from(self.sampling[c].1)),
                };
                for y in 0..v {
                    for x in 0..h {
                        let (fx, fy) =
                            (u32::from(self.sampling[c].0), u32::from(self.sampling[c].1));
                        // the middle of the block, in pixels of the picture
                        let place = |block: u32, most: u32, factor: u32, size: u32| {
                            (f64::from(block) + 0.5) * 8.0 * f64::from(most)
                                / f64::from(factor)
                                / f64::from(size)
                        };
                        let x = place(column * h + x, across, fx, width).min(1.0);
                        let y = place(row * v + y, down, fy, height).min(1.0);
                        let dc = (Self::value(c, x, y) - 128.0).round() as i32;
                        bits.difference(out, dc - before[c]);
                        before[c] = dc;
                        bits.put(out, 0, 1);
                    }
                }
            }
        }
        bits.align(out);
    }
}

fn segment(out: &mut Vec<u8>, marker: u8, content: &[u8]) {
    out.extend([0xFF, marker]);
    out.extend((content.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(content);
}

#[derive(Default)]
struct Bits {
    held: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, out: &mut Vec<u8>, value: u32, count: u32) {
        self.held = self.held << count | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            out.push(byte);
            if byte == 0xFF {
                out.push(0);
            }
        }
    }

    /// A DC difference: its category in four bits, then its own bits (T.81, F.1.2.1).
    fn difference(&mut self, out: &mut Vec<u8>, value: i32) {
        let category = 32 - value.unsigned_abs().leading_zeros();
        self.put(out, category, 4);
        let low = if value < 0 { value - 1 } else { value };
        let mask = (1u32 << category) - 1;
        self.put(out, low as u32 & mask, category);
    }

    /// Fills the last byte with ones.
    fn align(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            let missing = 8 - self.count;
            self.put(out, (1 << missing) - 1, missing);
        }
    }
}

/// The file with a segment behind its first marker.
pub fn with_segment(jpeg: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    let mut out = jpeg[..2].to_vec();
    segment(&mut out, marker, content);
    out.extend_from_slice(&jpeg[2..]);
    out
}

/// Where the segment with this marker begins, if it stands before the first scan.
pub fn find(jpeg: &[u8], marker: u8) -> Option<usize> {
    let mut at = 2;
    while jpeg.get(at) == Some(&0xFF) {
        match jpeg[at + 1] {
            found if found == marker => return Some(at),
            0xDA => return None,
            _ => at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])),
        }
    }
    None
}

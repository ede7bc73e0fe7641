//! Pictures of codes: where they come from, sums, largest and mean values.

use super::float::broadcast;
use super::{Window, codes_len, image, pixel};
use crate::kernels::Rows;
use crate::kernels::int8::{COLUMNS, Quant, flip, padded_depth};
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Step};

/// Floats `[1, c, h, w]` to codes, channels last.
#[derive(Debug)]
pub struct QuantiseImage(pub Quant);

impl Step for QuantiseImage {
    fn name(&self) -> &'static str {
        "quantise picture"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        image(inputs[0])?;
        Ok(vec![Fact::new(Kind::Image, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (c, h, w) = image(io.facts[0])?;
        let flipped = flip(io.kernels.level());
        let len = codes_len(io.made[0]);
        let x = &io.inputs[0].floats[..io.facts[0].count()];
        let out = &mut io.outputs[0].codes[..len];
        let (pixels, tail) = out.split_at_mut(h * w * pixel(c));
        if pixel(c) > c {
            pixels.fill(self.0.zero ^ flipped);
        }
        tail.fill(self.0.zero ^ flipped);
        let plane = &mut io.scratch.codes;
        plane.resize(padded_depth(h * w), 0);
        for (channel, x) in x.chunks_exact(h * w).enumerate() {
            io.kernels.quantise(
                Rows::of_whole(x, h * w),
                self.0,
                &mut plane[..padded_depth(h * w)],
            );
            for (pixel, code) in pixels.chunks_exact_mut(pixel(c)).zip(plane.iter()) {
                pixel[channel] = *code;
            }
        }
        io.outputs[0].quant = Some(self.0);
        Ok(())
    }
}

/// Bytes `[1, h, w, c]` to codes `[1, c, h, w]`, which are held channels last as well.
#[derive(Debug)]
pub struct Pixels(pub Quant);

impl Step for Pixels {
    fn name(&self) -> &'static str {
        "pixels as codes"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Bytes)?;
        match inputs[0].dims[..] {
            [1, h, w, c] if c * h * w > 0 => Ok(vec![Fact::new(Kind::Image, &[1, c, h, w])]),
            _ => Err(format!(
                "needs one picture [1, h, w, c], not {:?}",
                inputs[0].dims
            )),
        }
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (c, h, w) = image(io.made[0])?;
        let flipped = flip(io.kernels.level());
        let len = codes_len(io.made[0]);
        let (codes, tail) = io.outputs[0].codes[..len].split_at_mut(h * w * pixel(c));
        tail.fill(self.0.zero ^ flipped);
        let bytes = &io.inputs[0].codes[..h * w * c];
        if pixel(c) == c {
            let flip = |(code, byte): (&mut u8, &u8)| *code = byte ^ flipped;
            codes.iter_mut().zip(bytes).for_each(flip);
        } else {
            codes.fill(self.0.zero ^ flipped);
            for (codes, bytes) in codes.chunks_exact_mut(pixel(c)).zip(bytes.chunks_exact(c)) {
                let flip = |(code, byte): (&mut u8, &u8)| *code = byte ^ flipped;
                codes.iter_mut().zip(bytes).for_each(flip);
            }
        }
        io.outputs[0].quant = Some(self.0);
        Ok(())
    }
}

/// Codes, channels last, to floats `[1, c, h, w]`.
#[derive(Debug)]
pub struct DequantiseImage(pub Quant);

impl DequantiseImage {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let quant = op.quant()?;
        (op.kind(0) == Some(Kind::Image)).then(|| Reading::new(DequantiseImage(quant), &[0]))
    }
}

impl Step for DequantiseImage {
    fn reads_pictures(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "dequantise picture"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Image)?;
        Ok(vec![Fact::new(Kind::Float, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (c, h, w) = image(io.facts[0])?;
        let (bytes, flipped) = (pixel(c), flip(io.kernels.level()));
        let x = &io.inputs[0].codes[..codes_len(io.facts[0])];
        let out = &mut io.outputs[0].floats[..c * h * w];
        for (channel, plane) in out.chunks_exact_mut(h * w).enumerate() {
            for (at, v) in plane.iter_mut().enumerate() {
                let code = x[at * bytes + channel] ^ flipped;
                *v = (f32::from(code) - f32::from(self.0.zero)) * self.0.scale;
            }
        }
        Ok(())
    }
}

/// Sum of two pictures of codes.
#[derive(Debug)]
pub struct AddCodes {
    pub inputs: (Quant, Quant),
    pub quant: Quant,
}

impl Step for AddCodes {
    fn reads_pictures(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "int8 add"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Image)?;
        if inputs[0] != inputs[1] || !pixel(image(inputs[0])?.0).is_multiple_of(COLUMNS) {
            return Err(format!(
                "{:?} is added to {:?}",
                inputs[0].dims, inputs[1].dims
            ));
        }
        Ok(vec![inputs[0].clone()])
    }

    fn contradicts(&self, inputs: &[&Fact]) -> bool {
        broadcast(&inputs[0].dims, &inputs[1].dims).is_none()
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let len = codes_len(io.made[0]);
        let of = |i: usize| &io.inputs[i].codes[..len];
        let (a, b) = ((of(0), self.inputs.0), (of(1), self.inputs.1));
        // the rows of zeros add up to zeros
        io.kernels
            .add_codes(a, b, self.quant, &mut io.outputs[0].codes[..len]);
        io.outputs[0].quant = Some(self.quant);
        Ok(())
    }
}

/// The largest code of every window, channel by channel.
#[derive(Debug)]
pub struct MaxCodes {
    pub window: Window,
}

impl Step for MaxCodes {
    fn reads_pictures(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "int8 maximum"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Image)?;
        let (c, h, w) = image(inputs[0])?;
        let made = self.window.made(h, w);
        let (h, w) = made.ok_or("the picture is smaller than the window")?;
        Ok(vec![Fact::new(Kind::Image, &[1, c, h, w])])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (c, _, w) = image(io.facts[0])?;
        let (_, high, wide) = image(io.made[0])?;
        let (bytes, flipped) = (pixel(c), flip(io.kernels.level()));
        let quant = io.inputs[0].quant.ok_or("an input was not quantised")?;
        let x = &io.inputs[0].codes[..codes_len(io.facts[0])];
        let out = &mut io.outputs[0].codes[..codes_len(io.made[0])];
        let (pixels, tail) = out.split_at_mut(high * wide * bytes);
        tail.fill(quant.zero ^ flipped);
        let Window { size, stride, .. } = self.window;
        for (at, out) in pixels.chunks_exact_mut(bytes).enumerate() {
            let (top, left) = (at / wide * stride.0, at % wide * stride.1);
            out.fill(flipped);
            for tap in 0..size.0 * size.1 {
                let pixel = (top + tap / size.1) * w + left + tap % size.1;
                // stored codes order like values once the flipped bit is back
                for (most, code) in out.iter_mut().zip(&x[pixel * bytes..][..bytes]) {
                    *most = (*most ^ flipped).max(code ^ flipped) ^ flipped;
                }
            }
        }
        io.outputs[0].quant = Some(quant);
        Ok(())
    }
}

/// Mean of every channel of a picture of codes, as a picture of one pixel.
#[derive(Debug)]
pub struct PoolCodes {
    pub from: Quant,
    pub quant: Quant,
}

impl Step for PoolCodes {
    fn reads_pictures(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "int8 average"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Image)?;
        let (c, _, _) = image(inputs[0])?;
        Ok(vec![Fact::new(Kind::Image, &[1, c, 1, 1])])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (c, h, w) = image(io.facts[0])?;
        let (bytes, flipped) = (pixel(c), flip(io.kernels.level()));
        let x = &io.inputs[0].codes[..h * w * bytes];
        let out = &mut io.outputs[0].codes[..codes_len(io.made[0])];
        let scale = self.from.scale / self.quant.scale;
        out.fill(self.quant.zero ^ flipped);
        for (panel, out) in out[..bytes].chunks_mut(COLUMNS).enumerate() {
            let mut sums = [0_i32; COLUMNS];
            for codes in x.chunks_exact(bytes) {
                let codes = &codes[panel * COLUMNS..][..out.len()];
                for (sum, code) in sums.iter_mut().zip(codes) {
                    *sum += i32::from(code ^ flipped);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                let mean = sum as f32 / (h * w) as f32 - f32::from(self.from.zero);
                let code = (mean * scale).round_ties_even() + f32::from(self.quant.zero);
                *out = code.clamp(0.0, 255.0) as u8 ^ flipped;
            }
        }
        io.outputs[0].quant = Some(self.quant);
        Ok(())
    }
}

/// Floats to the nearest values that codes stand for: a `QuantizeLinear` whose codes nobody
/// reads but the `DequantizeLinear` behind it.
#[derive(Debug)]
pub struct Rounded(pub Quant);

impl Step for Rounded {
    fn name(&self) -> &'static str {
        "round to codes"
    }

    fn run(&self, mut io: Io<'_>) -> Result<(), String> {
        let x = io.floats(0);
        let Quant { scale, zero } = self.0;
        let zero = f32::from(zero);
        for (out, x) in io.out().iter_mut().zip(x) {
            let code = ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0);
            *out = (code - zero) * scale;
        }
        Ok(())
    }
}

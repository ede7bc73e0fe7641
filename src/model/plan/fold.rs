//! Constants worked out at load: weights that a file holds as floats and quantises itself, as
//! training with quantisation leaves them, and codes that nothing reads but as floats.

use super::graph::{Const, Values};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::DatumType;

/// What a `QuantizeLinear` of constants makes, as bytes; `None` for anything else.
pub(super) fn quantised<'a>(
    node: &NodeProto,
    made: Option<DatumType>,
    constant: impl Fn(&str) -> Option<&'a Const>,
) -> Option<Const> {
    let standard = node.domain.is_empty() && node.op_type == "QuantizeLinear";
    if !standard {
        return None;
    }
    let x = constant(node.input.first()?)?;
    let (values, scales) = (x.floats()?, constant(node.input.get(1)?)?.floats()?);
    let zeros = match node.input.get(2).filter(|z| !z.is_empty()) {
        Some(zeros) => constant(zeros)?.ints()?,
        None => vec![0; scales.len()],
    };
    let (channels, inner) = along(node, &x.dims, scales.len())?;
    if zeros.len() != channels {
        return None;
    }
    let (low, high) = match made? {
        DatumType::I8 => (-128.0, 127.0),
        DatumType::U8 => (0.0, 255.0),
        _ => return None,
    };
    let codes = values.iter().enumerate().map(|(at, x)| {
        let channel = at / inner % channels;
        let code = (x / scales[channel]).round_ties_even() + zeros[channel] as f32;
        code.clamp(low, high) as i16
    });
    let values = match made? {
        DatumType::I8 => Values::I8(codes.map(|code| code as i8).collect()),
        _ => Values::U8(codes.map(|code| code as u8).collect()),
    };
    Some(Const {
        dims: x.dims.clone(),
        values,
    })
}

/// The floats that a `DequantizeLinear` makes of constants; `None` for anything else.
pub(super) fn dequantised<'a>(
    node: &NodeProto,
    constant: impl Fn(&str) -> Option<&'a Const>,
) -> Option<Const> {
    let codes = constant(node.input.first()?)?;
    let scales = constant(node.input.get(1)?)?.floats()?;
    let zeros = match node.input.get(2).filter(|z| !z.is_empty()) {
        Some(zeros) => constant(zeros)?.ints()?,
        None => vec![0; scales.len()],
    };
    let (channels, inner) = along(node, &codes.dims, scales.len())?;
    if zeros.len() != channels {
        return None;
    }
    let floats = codes.ints()?.into_iter().enumerate().map(|(at, code)| {
        let channel = at / inner % channels;
        (code - zeros[channel]) as f32 * scales[channel]
    });
    Some(Const {
        dims: codes.dims.clone(),
        values: Values::F32(floats.collect()),
    })
}

/// How many scales lie along the node's axis, and the values that follow each other under one:
/// one scale for all, or one for each place.
fn along(node: &NodeProto, dims: &[usize], scales: usize) -> Option<(usize, usize)> {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    if attribute("block_size").is_some_and(|a| a.i != 0) {
        return None;
    }
    let (channels, inner) = match scales {
        1 => (1, dims.iter().product()),
        _ => {
            let axis = attribute("axis").map_or(1, |a| a.i);
            let axis = usize::try_from(axis.rem_euclid(dims.len().max(1) as i64)).ok()?;
            (*dims.get(axis)?, dims[axis + 1..].iter().product())
        }
    };
    (scales == channels && inner > 0).then_some((channels, inner))
}

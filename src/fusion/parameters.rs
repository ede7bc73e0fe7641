//! What an operator is made of: tensors by name, checked against the registry.

use super::FusionError;
use super::catalogue::{Entry, Kind, Precision, Weight};
use super::projection::Projection;
use super::shape::{Sizes, letter};
use crate::kernels::{Kernels, all_finite};

/// Content of a weight.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Half floats, as their bits.
    F16(&'a [u16]),
    /// Signed bytes.
    I8(&'a [i8]),
    /// Whole numbers.
    I64(&'a [i64]),
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::F16(x) => x.len(),
            Data::I8(x) => x.len(),
            Data::I64(x) => x.len(),
        }
    }

    fn is_finite(&self) -> bool {
        match self {
            Data::F32(x) => all_finite(x),
            Data::F16(x) => x.iter().all(|half| half & 0x7c00 != 0x7c00),
            Data::I8(_) | Data::I64(_) => true,
        }
    }
}

/// A weight with its shape, row-major.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Shape.
    pub dims: Vec<usize>,
    /// Content.
    pub data: Data<'a>,
}

/// The weights of a function whose tensors have no names: taken one after the other.
pub(super) struct InOrder<'w, 'a>(std::slice::Iter<'w, Tensor<'a>>);

impl<'w, 'a> InOrder<'w, 'a> {
    pub(super) fn of(weights: &'w [Tensor<'a>]) -> InOrder<'w, 'a> {
        InOrder(weights.iter())
    }

    pub(super) fn floats(&mut self, name: &'static str) -> Result<&'a [f32], FusionError> {
        match self.next(name)? {
            Data::F32(x) if all_finite(x) => Ok(x),
            Data::F32(_) => Err(FusionError::WeightNotFinite { name }),
            _ => Err(FusionError::Element {
                name,
                wanted: "float",
            }),
        }
    }

    pub(super) fn codes(&mut self, name: &'static str) -> Result<&'a [i8], FusionError> {
        match self.next(name)? {
            Data::I8(codes) => Ok(codes),
            _ => Err(FusionError::Element {
                name,
                wanted: "int8",
            }),
        }
    }

    /// Refuses weights that nobody took.
    pub(super) fn end(mut self, name: &'static str) -> Result<(), FusionError> {
        match self.0.next() {
            Some(_) => Err(FusionError::TooMany { name }),
            None => Ok(()),
        }
    }

    fn next(&mut self, name: &'static str) -> Result<Data<'a>, FusionError> {
        let tensor = self.0.next().ok_or(FusionError::Missing { name })?;
        Ok(tensor.data)
    }
}

/// The weights and settings of one operator, shapes and types checked.
#[derive(Debug)]
pub struct Parameters<'a> {
    pub(super) kernels: Kernels,
    pub(super) precision: Precision,
    pub(super) sizes: Sizes,
    pub(super) sums: Vec<Sum>,
    tensors: Vec<(String, Tensor<'a>)>,
    settings: Vec<(&'static str, f64)>,
}

/// A dimension of a weight that is no single letter.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    pub(super) weight: &'static str,
    pub(super) axis: usize,
    pub(super) dim: String,
    pub(super) size: usize,
}

/// A weight as a file holds it, at some precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Name of the input of the ONNX function.
    pub name: String,
    /// Shape by letter.
    pub shape: Vec<String>,
    /// Element type, by ONNX's name.
    pub element: &'static str,
}

/// How a weight is stored: an int8 matrix is turned to `[in, out]`, with a scale per output.
pub(super) fn stored(weight: &Weight, precision: Precision) -> Vec<Stored> {
    let name = weight.name.to_string();
    let shape: Vec<String> = weight.shape.iter().map(ToString::to_string).collect();
    let of = |element| Stored {
        name: name.clone(),
        shape: shape.clone(),
        element,
    };
    match (weight.kind, precision) {
        (Kind::Matrix | Kind::HalfMatrix, Precision::Int8) => {
            let (last, outer) = shape
                .split_last()
                .map_or((String::new(), &[][..]), |(l, o)| (l.clone(), o));
            let outputs = outer.join("*");
            let scale = Stored {
                name: format!("{name}_scale"),
                shape: vec![outputs.clone()],
                element: "float",
            };
            vec![
                Stored {
                    shape: vec![last, outputs],
                    ..of("int8")
                },
                scale,
            ]
        }
        (Kind::HalfMatrix, Precision::Float) => vec![of("float16")],
        (Kind::Index(_), _) => vec![of("int64")],
        (Kind::Matrix, Precision::Float) | (Kind::Plain | Kind::Sign, _) => vec![of("float")],
    }
}

impl<'a> Parameters<'a> {
    /// Checks `tensors`, in the order of the ONNX function, and fills in the settings that are
    /// left out.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or type, or not finite; a setting that is
    /// out of its range.
    pub(super) fn new(
        entry: &'static Entry,
        precision: Precision,
        tensors: Vec<Tensor<'a>>,
        settings: &[(&str, f64)],
        kernels: Kernels,
    ) -> Result<Parameters<'a>, FusionError> {
        let mut given = Parameters {
            kernels,
            precision,
            sizes: Sizes::default(),
            sums: Vec::new(),
            tensors: Vec::new(),
            settings: Vec::new(),
        };
        for setting in entry.settings {
            let found = settings.iter().find(|(name, _)| *name == setting.name);
            let value = found.map_or(setting.usual, |(_, value)| *value);
            if !(setting.least..=setting.most).contains(&value) {
                return Err(FusionError::Setting {
                    name: setting.name,
                    value: value as f32,
                });
            }
            given.settings.push((setting.name, value));
            if let Some(letter) = setting.letter {
                given.sizes.set(letter, value as usize);
            }
        }
        let mut tensors = tensors.into_iter();
        for weight in entry.weights {
            for stored in stored(weight, precision) {
                let missing = FusionError::Missing { name: weight.name };
                let tensor = tensors.next().ok_or(missing)?;
                given.take(weight, stored, tensor)?;
            }
        }
        given.check_shapes(entry)?;
        match tensors.next() {
            Some(_) => Err(FusionError::TooMany { name: entry.name }),
            None => Ok(given),
        }
    }

    fn take(
        &mut self,
        weight: &Weight,
        stored: Stored,
        tensor: Tensor<'a>,
    ) -> Result<(), FusionError> {
        let name = weight.name;
        let element = match tensor.data {
            Data::F32(_) => "float",
            Data::F16(_) => "float16",
            Data::I8(_) => "int8",
            Data::I64(_) => "int64",
        };
        if element != stored.element {
            return Err(FusionError::Element {
                name,
                wanted: stored.element,
            });
        }
        let count = tensor
            .dims
            .iter()
            .try_fold(1_usize, |n, d| n.checked_mul(*d));
        if count != Some(tensor.data.len()) {
            let (wanted, found) = (count.unwrap_or(usize::MAX), tensor.data.len());
            return Err(FusionError::Weight {
                name,
                wanted,
                found,
            });
        }
        if !tensor.data.is_finite() {
            return Err(FusionError::WeightNotFinite { name });
        }
        self.learn(name, &stored, &tensor.dims)?;
        for (axis, (dim, size)) in stored.shape.iter().zip(&tensor.dims).enumerate() {
            if letter(dim).is_none() {
                let (weight, dim, size) = (name, dim.clone(), *size);
                self.sums.push(Sum {
                    weight,
                    axis,
                    dim,
                    size,
                });
            }
        }
        self.tensors.push((stored.name, tensor));
        Ok(())
    }

    fn learn(
        &mut self,
        name: &'static str,
        stored: &Stored,
        dims: &[usize],
    ) -> Result<(), FusionError> {
        let shape: Vec<&str> = stored.shape.iter().map(String::as_str).collect();
        let learnt = self.sizes.learn(&shape, dims);
        learnt.map_err(|(axis, wanted, found)| FusionError::Shape {
            name,
            axis,
            wanted,
            found,
        })
    }

    /// Once more, now that all letters are known; and whether indices and signs are what they
    /// are named for.
    fn check_shapes(&mut self, entry: &'static Entry) -> Result<(), FusionError> {
        for weight in entry.weights {
            for stored in stored(weight, self.precision) {
                let dims = self.tensor(&stored.name)?.dims.clone();
                if dims.contains(&0) {
                    return Err(FusionError::Weight {
                        name: weight.name,
                        wanted: 1,
                        found: 0,
                    });
                }
                self.learn(weight.name, &stored, &dims)?;
            }
            let content = FusionError::Content { name: weight.name };
            match weight.kind {
                Kind::Index(below) => {
                    let below = self.sizes.value(below).unwrap_or(0) as i64;
                    if !self
                        .indices(weight.name)?
                        .iter()
                        .all(|i| (0..below).contains(i))
                    {
                        return Err(content);
                    }
                }
                Kind::Sign if !self.plain(weight.name)?.iter().all(|s| s.abs() == 1.0) => {
                    return Err(content);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor<'a>, FusionError> {
        let found = self.tensors.iter().find(|(n, _)| n == name);
        found
            .map(|(_, tensor)| tensor)
            .ok_or(FusionError::Missing { name: "a weight" })
    }

    /// A weight of floats.
    pub(super) fn plain(&self, name: &str) -> Result<&'a [f32], FusionError> {
        match self.tensor(name)?.data {
            Data::F32(x) => Ok(x),
            _ => Err(FusionError::Element {
                name: "a weight",
                wanted: "float",
            }),
        }
    }

    /// A weight of indices.
    pub(super) fn indices(&self, name: &str) -> Result<&'a [i64], FusionError> {
        match self.tensor(name)?.data {
            Data::I64(x) => Ok(x),
            _ => Err(FusionError::Element {
                name: "a weight",
                wanted: "int64",
            }),
        }
    }

    /// A setting.
    pub(super) fn setting(&self, name: &str) -> f64 {
        let found = self.settings.iter().find(|(n, _)| *n == name);
        found.map_or(0.0, |(_, value)| *value)
    }

    /// A size that the weights have fixed.
    pub(super) fn size(&self, letter: char) -> usize {
        self.sizes.get(letter).unwrap_or(0)
    }

    /// A matrix without a bias, at whatever precision it is stored.
    pub(super) fn product(&self, matrix: &str) -> Result<Projection, FusionError> {
        self.projection_of(matrix, None)
    }

    /// A matrix with a bias.
    pub(super) fn projection(&self, matrix: &str, bias: &str) -> Result<Projection, FusionError> {
        let bias = self.plain(bias)?;
        self.projection_of(matrix, Some(bias))
    }

    /// Two matrices of the same input with their biases, as one: outputs side by side.
    pub(super) fn stacked(
        &self,
        matrices: [&str; 2],
        biases: [&str; 2],
    ) -> Result<Projection, FusionError> {
        let [a, b] = [self.tensor(matrices[0])?, self.tensor(matrices[1])?];
        let bias = [self.plain(biases[0])?, self.plain(biases[1])?].concat();
        let made = match (a.data, b.data) {
            (Data::F32(x), Data::F32(y)) => {
                let width = a.dims.last().copied().unwrap_or(0);
                Projection::float(&[x, y].concat(), width, Some(&bias))
            }
            (Data::I8(x), Data::I8(y)) => {
                let scale = |name: &str| self.plain(&format!("{name}_scale"));
                let scale = [scale(matrices[0])?, scale(matrices[1])?].concat();
                let rows = x.chunks_exact(a.dims[1]).zip(y.chunks_exact(b.dims[1]));
                let w: Vec<i8> = rows.flat_map(|(x, y)| x.iter().chain(y)).copied().collect();
                Projection::int8(self.kernels.level(), &w, a.dims[0], &scale, Some(&bias))
            }
            _ => None,
        };
        made.ok_or(FusionError::Element {
            name: "a matrix",
            wanted: "float or int8",
        })
    }

    fn projection_of(&self, matrix: &str, bias: Option<&[f32]>) -> Result<Projection, FusionError> {
        let tensor = self.tensor(matrix)?;
        let made = match tensor.data {
            Data::F32(w) => Projection::float(w, tensor.dims.last().copied().unwrap_or(0), bias),
            Data::I8(w) => {
                let scale = self.plain(&format!("{matrix}_scale"))?;
                Projection::int8(self.kernels.level(), w, tensor.dims[0], scale, bias)
            }
            Data::F16(_) | Data::I64(_) => None,
        };
        made.ok_or(FusionError::Element {
            name: "a matrix",
            wanted: "float or int8",
        })
    }
}

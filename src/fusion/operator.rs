//! One trait for every operator, and the wrapper that checks what goes in and comes out.

use super::call::Call;
use super::catalogue::{Entry, Precision, find};
use super::parameters::{Parameters, Sum, Tensor};
use super::projection::ProjectionScratch;
use super::shape::Sizes;
use super::{FusionError, Rows};
use crate::kernels::{self, Kernels, all_finite};
use std::fmt;

/// Memory that operators work in. Keep one per thread: it grows to the largest operator, after
/// which nothing is allocated.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) projection: ProjectionScratch,
    pub(super) floats: [Vec<f32>; 8],
    pub(super) complex: [Vec<realfft::num_complex::Complex32>; 3],
    pub(super) places: Vec<usize>,
    pub(super) label_guided: super::heads::label_guided::Workspace,
    pub(super) graph_matching: super::heads::graph_matching::Workspace,
    pub(super) unit: super::heads::text_guided::Workspace,
    pub(super) spans: super::heads::queried_spans::Workspace,
}

/// A fusion operator with its weights. Its inputs are checked before it is called: number,
/// shapes by the registry, all values finite, no input without rows.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Fuses `inputs` into `out`, one buffer for each output of the registry's entry; the
    /// buffers' content is replaced.
    ///
    /// # Errors
    /// Inputs that this operator has no answer for.
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError>;

    /// Bytes of weights and tables that one run reads.
    fn bytes(&self) -> usize;
}

/// An operator of the catalogue, ready to run.
#[derive(Debug)]
pub struct Fusion {
    entry: &'static Entry,
    precision: Precision,
    kernels: Kernels,
    /// Letters that the weights have fixed.
    sizes: Sizes,
    /// Dimensions of weights that only the inputs can confirm.
    sums: Vec<Sum>,
    operator: Box<dyn Operator>,
}

impl Fusion {
    /// The operator of the ONNX function `name` (such as `GatingFusion` or
    /// `GatingFusionInt8`), with its weights in the function's order and its settings by
    /// name; settings left out have the registry's usual value.
    ///
    /// # Errors
    /// An unknown name; a weight that is missing, of another shape or type or not finite; a
    /// setting out of range.
    pub fn new(
        name: &str,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
    ) -> Result<Fusion, FusionError> {
        Fusion::with_kernels(name, weights, settings, *kernels::active())
    }

    /// As [`new`](Self::new), on other kernels than those of [`kernels::active`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_kernels(
        name: &str,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
        kernels: Kernels,
    ) -> Result<Fusion, FusionError> {
        let (entry, precision) = find(name).ok_or(FusionError::Unknown)?;
        Fusion::made(entry, precision, weights, settings, kernels)
    }

    /// The operator of a registry's entry, on the process's kernels.
    pub(super) fn of(
        entry: &'static Entry,
        precision: Precision,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
    ) -> Result<Fusion, FusionError> {
        Fusion::made(entry, precision, weights, settings, *kernels::active())
    }

    fn made(
        entry: &'static Entry,
        precision: Precision,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
        kernels: Kernels,
    ) -> Result<Fusion, FusionError> {
        let given = Parameters::new(entry, precision, weights, settings, kernels)?;
        let operator = (entry.build)(&given)?;
        Ok(Fusion {
            entry,
            precision,
            kernels,
            sizes: given.sizes,
            sums: given.sums,
            operator,
        })
    }

    /// What the equation of `name` gives in f64 for the same weights and inputs: the truth that
    /// tests hold the kernels to.
    ///
    /// # Errors
    /// As [`new`](Self::new), and inputs of another number or shape.
    #[cfg(feature = "research")]
    pub fn reference(
        name: &str,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
        inputs: &[Rows<'_>],
    ) -> Result<Vec<Vec<f64>>, FusionError> {
        let made = Fusion::new(name, weights.clone(), settings)?;
        made.check(inputs)?;
        let kernels = made.kernels;
        let given = Parameters::new(made.entry, made.precision, weights, settings, kernels)?;
        super::research::reference::of(made.entry.name)(&given, inputs)
    }

    /// The registry's entry.
    #[must_use]
    pub fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// What the weights are stored as.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Letters that the weights have fixed.
    #[must_use]
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Bytes of weights and tables that one run reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.operator.bytes()
    }

    /// Fuses `inputs`, in the registry's order, into `out`, one buffer for each output.
    ///
    /// # Errors
    /// Inputs of another number or shape, without rows, or not finite; an answer that would
    /// not be finite. `out` is then unspecified.
    pub fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut Vec<Vec<f32>>,
    ) -> Result<(), FusionError> {
        out.resize_with(self.entry.outputs.len(), Vec::new);
        self.run_into(inputs, work, out)
    }

    fn run_into(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        self.check(inputs)?;
        self.operator.run(&self.kernels, inputs, work, out)?;
        if out.iter().all(|values| all_finite(values)) {
            Ok(())
        } else {
            Err(FusionError::Overflow)
        }
    }

    fn check(&self, inputs: &[Rows<'_>]) -> Result<(), FusionError> {
        let sizes: [[usize; 2]; 4] =
            std::array::from_fn(|i| inputs.get(i).map_or([0; 2], |r| [r.rows(), r.cols()]));
        self.fit(&sizes[..inputs.len().min(4)])?;
        for (port, rows) in self.entry.inputs.iter().zip(inputs) {
            if !all_finite(rows.data()) {
                return Err(FusionError::NotFinite {
                    modality: port.name,
                });
            }
        }
        Ok(())
    }

    /// All letters, once inputs of these sizes fit the weights.
    fn fit(&self, inputs: &[[usize; 2]]) -> Result<Sizes, FusionError> {
        let ports = self.entry.inputs;
        if inputs.len() != ports.len() {
            let (wanted, found) = (ports.len(), inputs.len());
            return Err(FusionError::Inputs { wanted, found });
        }
        let mut sizes = self.sizes.clone();
        for (port, dims) in ports.iter().zip(inputs) {
            let name = port.name;
            let learnt = sizes.learn(port.shape, dims);
            learnt.map_err(|(axis, wanted, found)| FusionError::Shape {
                name,
                axis,
                wanted,
                found,
            })?;
        }
        for sum in &self.sums {
            let found = sizes.value(&sum.dim).unwrap_or(0);
            if found != sum.size {
                let (name, axis, wanted) = (sum.weight, sum.axis, sum.size);
                return Err(FusionError::Shape {
                    name,
                    axis,
                    wanted,
                    found,
                });
            }
        }
        for (port, [rows, _]) in ports.iter().zip(inputs) {
            if *rows == 0 && !port.optional {
                return Err(FusionError::Empty {
                    modality: port.name,
                });
            }
        }
        Ok(sizes)
    }
}

impl Call for Fusion {
    fn shapes(&self, inputs: &[[usize; 2]]) -> Result<Vec<Vec<usize>>, FusionError> {
        let sizes = self.fit(inputs)?;
        let ports = self.entry.outputs.iter();
        let shapes = ports.map(|port| sizes.values(port.shape).ok_or(FusionError::Overflow));
        shapes.collect()
    }

    fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        self.run_into(inputs, work, out)
    }

    /// What a matrix makes of every row.
    fn scratch(&self, inputs: &[[usize; 2]]) -> usize {
        let sizes = self.fit(inputs).unwrap_or_default();
        let rows = inputs.iter().map(|[rows, _]| *rows).max().unwrap_or(0);
        let made = self.entry.weights.iter().map(|weight| {
            let outer = weight
                .shape
                .split_last()
                .map_or(&[][..], |(_, outer)| outer);
            let outer = outer.iter().map(|dim| sizes.value(dim).unwrap_or(0));
            outer.fold(size_of::<f32>(), usize::saturating_mul)
        });
        made.max().unwrap_or(0).saturating_mul(rows)
    }

    fn is_integer(&self) -> bool {
        self.precision == Precision::Int8
    }

    fn macs(&self, inputs: &[[usize; 2]]) -> u64 {
        let sizes = self.fit(inputs).ok();
        sizes.and_then(|s| self.entry.macs(&s)).unwrap_or(0) as u64
    }
}

//! Any ONNX file, to be run and measured: inputs and outputs of any type, read from the disk in
//! pieces.

use super::inputs::{InputInfo, fix};
use super::{Engine, Input, Model, Output, Runner, decode, numbers};
use crate::model::plan::{InputValues, OutputValues, Placement, StepTiming};
use crate::model::tract::sentence;
use crate::model::{Audit, ModelError};
use bytes::Buf;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{DatumType, TVec};

/// Any ONNX file, for measuring.
#[derive(Debug)]
pub struct OnnxFile(Model);

/// Array of an input or an output, row-major, with its shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// f32.
    Floats(Vec<usize>, Vec<f32>),
    /// i64.
    Ints(Vec<usize>, Vec<i64>),
    /// u8.
    Bytes(Vec<usize>, Vec<u8>),
    /// f64.
    Doubles(Vec<usize>, Vec<f64>),
}

impl Array {
    fn given(&self) -> Input<'_> {
        match self {
            Array::Floats(dims, x) => (dims, InputValues::Floats(x)),
            Array::Ints(dims, x) => (dims, InputValues::Ints(x)),
            Array::Bytes(dims, x) => (dims, InputValues::Bytes(x)),
            Array::Doubles(dims, x) => (dims, InputValues::Doubles(x)),
        }
    }

    /// An output; half floats as f32, other integers than u8 and booleans as i64.
    fn of_made(dims: &[usize], made: OutputValues<'_>) -> Result<Array, String> {
        let dims = dims.to_vec();
        let tensor = match made {
            OutputValues::Floats(x) => return Ok(Array::Floats(dims, x.to_vec())),
            OutputValues::Ints(x) => return Ok(Array::Ints(dims, x.to_vec())),
            OutputValues::Other(tensor) => tensor,
        };
        match tensor.datum_type().unquantized() {
            DatumType::F32 | DatumType::F16 => Ok(Array::Floats(dims, numbers(tensor)?)),
            DatumType::F64 => Ok(Array::Doubles(dims, numbers(tensor)?)),
            DatumType::U8 => Ok(Array::Bytes(dims, numbers(tensor)?)),
            of if of.is_integer() || of == DatumType::Bool || of == DatumType::TDim => {
                Ok(Array::Ints(dims, numbers(tensor)?))
            }
            other => Err(format!(
                "gives an output as {other:?}, and outputs are numbers or booleans here"
            )),
        }
    }
}

impl OnnxFile {
    /// Reads a model; the file is never in memory as a whole.
    ///
    /// # Errors
    /// A file that cannot be read or is refused.
    pub fn open(path: &Path, runner: Runner) -> Result<Self, ModelError> {
        OnnxFile::open_sized(path, runner, &[])
    }

    /// The same, with sizes for dimensions that the file leaves free under a name.
    ///
    /// # Errors
    /// As [`open`](OnnxFile::open).
    pub fn open_sized(
        path: &Path,
        runner: Runner,
        sizes: &[(String, usize)],
    ) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let read = || {
            let file = File::open(path).and_then(FileBuf::new);
            let mut file = file.map_err(|e| e.to_string())?;
            let proto = <ModelProto as prost::Message>::decode(&mut file);
            let mut proto = proto.map_err(|e| format!("is no ONNX file ({e})"))?;
            fix(&mut proto, sizes);
            Ok(proto)
        };
        Model::of(&name, read, runner).map(OnnxFile)
    }

    /// A model in memory.
    ///
    /// # Errors
    /// A file that is refused.
    pub fn of_bytes(name: &str, onnx: &[u8], runner: Runner) -> Result<Self, ModelError> {
        Model::of(name, || decode(onnx), runner).map(OnnxFile)
    }

    /// The same file with `threads` workers for its large steps.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        OnnxFile(self.0.with_threads(threads))
    }

    /// What it wants.
    pub fn inputs(&self) -> &[InputInfo] {
        &self.0.inputs
    }

    /// What multiplies in it.
    pub fn audit(&self) -> &Audit {
        self.0.audit()
    }

    /// Names of what it makes.
    pub fn outputs(&self) -> &[String] {
        &self.0.outputs
    }

    /// Which node runs where.
    pub fn placed(&self) -> Vec<Placement> {
        self.0.engine.placed()
    }

    /// Bytes of the arena, where the plan is ours.
    pub fn arena_bytes(&self) -> Option<usize> {
        match &*self.0.engine {
            Engine::Plan(plan) => Some(plan.arena_bytes()),
            Engine::Tract(..) => None,
        }
    }

    /// Runs a file all of whose outputs are f32.
    ///
    /// # Errors
    /// Inference fails; an output is not f32, or holds NaN or infinity.
    pub fn run(&self, inputs: &[Array]) -> Result<Vec<Output>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Array::given).collect();
        self.0.run(&given)
    }

    /// Runs; outputs of any type, whatever they hold.
    ///
    /// # Errors
    /// Inference fails.
    pub fn answer(&self, inputs: &[Array]) -> Result<Vec<Array>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Array::given).collect();
        self.0.run_as(&given, None, Array::of_made)
    }

    /// Runs and throws the answer away: what a measurement wants.
    ///
    /// # Errors
    /// Inference fails.
    pub fn run_only(&self, inputs: &[Array]) -> Result<(), ModelError> {
        // on the stack: a warm run allocates nothing
        let given: TVec<Input<'_>> = inputs.iter().map(Array::given).collect();
        let ran = match &*self.0.engine {
            Engine::Plan(plan) => plan.run(&given, None, self.0.threads, |_| ()),
            Engine::Tract(whole) => whole.run(&given).map(|_| ()).map_err(|e| sentence(&e)),
        };
        ran.map_err(|e| self.0.failed(e))
    }

    /// Runs and tells the time of each step; nothing where tract runs all.
    ///
    /// # Errors
    /// Inference fails.
    pub fn profile(&self, inputs: &[Array]) -> Result<Vec<StepTiming>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Array::given).collect();
        match &*self.0.engine {
            Engine::Plan(plan) => {
                let timings = plan.profile(&given, self.0.threads);
                timings.map_err(|e| self.0.failed(e))
            }
            Engine::Tract(..) => Ok(Vec::new()),
        }
    }
}

/// A file as a buffer that is read piece by piece.
struct FileBuf {
    file: File,
    left: usize,
    piece: Vec<u8>,
    at: usize,
}

impl FileBuf {
    const PIECE: usize = 1 << 16;

    fn new(file: File) -> io::Result<FileBuf> {
        let left = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut buf = FileBuf {
            file,
            left,
            piece: vec![0; Self::PIECE],
            at: Self::PIECE,
        };
        buf.fill();
        Ok(buf)
    }

    /// The next piece; a file that ends early or cannot be read ends the buffer.
    fn fill(&mut self) {
        let many = self.left.min(Self::PIECE);
        self.piece.truncate(many);
        self.at = 0;
        if self.file.read_exact(&mut self.piece).is_err() {
            self.piece.clear();
            self.left = 0;
        }
    }
}

impl Buf for FileBuf {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.piece[self.at..]
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "beyond the end of a file");
        while count > 0 {
            let here = count.min(self.piece.len() - self.at);
            self.at += here;
            self.left -= here;
            count -= here;
            if self.at == self.piece.len() && self.left > 0 {
                self.fill();
            }
            if self.left == 0 {
                return;
            }
        }
    }
}

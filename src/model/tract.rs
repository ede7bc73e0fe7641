//! tract: what runs a model that is not planned here, as a whole or node by node.
//!
//! It allocates what shapes ask for without looking, so shapes are looked at first.

use super::inline::inline;
use super::plan::{InputValues, Placement};
use super::{Audit, MOST_BYTES, too_large};
use std::collections::HashSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::DatumType;
use tract_onnx::tract_hir::internal::*;

/// Whether tract has an operator of this name.
pub(super) fn knows(op: &str) -> bool {
    static NAMES: OnceLock<HashSet<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| tract_onnx::onnx().op_register.0.into_keys().collect());
    names.contains(op)
}

/// What is given, as a tensor of the type that is wanted.
///
/// # Errors
/// Integers that do not fit the type.
pub(super) fn tensor(
    dims: &[usize],
    given: InputValues<'_>,
    wanted: DatumType,
) -> TractResult<Tensor> {
    let tensor = match given {
        InputValues::Floats(x) => Tensor::from_shape(dims, x)?,
        InputValues::Ints(x) => Tensor::from_shape(dims, x)?,
        InputValues::Bytes(x) => Tensor::from_shape(dims, x)?,
        InputValues::Doubles(x) => Tensor::from_shape(dims, x)?,
    };
    let cast = tensor.cast_to_dt(wanted)?.into_owned();
    if let (InputValues::Ints(x), true) = (given, wanted.is_integer()) {
        let back = cast.cast_to::<i64>()?;
        let back = back.try_as_plain_ram()?;
        let lost = x.iter().zip(back.as_slice::<i64>()?).find(|(x, y)| x != y);
        if let Some((lost, _)) = lost {
            bail!("{lost} was given, which is no {wanted:?}");
        }
    }
    Ok(cast)
}

/// How long tract may take to read a model: shapes that contradict each other have it add them up
/// without end, and a busy board needs half a minute for a large file.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `read` makes of a model, unless it takes longer. Nothing can stop it then: it goes on,
/// unheard, until the process ends.
fn within<T: Send + 'static>(
    patience: Duration,
    read: impl FnOnce() -> TractResult<T> + Send + 'static,
) -> TractResult<T> {
    let (sender, made) = mpsc::sync_channel(1);
    // as much stack as the main thread has: tract goes down a model's chains by calls
    let reader = thread::Builder::new().stack_size(8 << 20);
    reader.spawn(move || sender.send(read()))?;
    match made.recv_timeout(patience) {
        Ok(made) => made,
        Err(RecvTimeoutError::Timeout) => bail!(
            "its shapes were not made out within {} s; they may contradict each other",
            patience.as_secs_f32()
        ),
        Err(RecvTimeoutError::Disconnected) => bail!("the engine broke on it"),
    }
}

/// What runs, once the memory that its known shapes ask for is found to be possible.
pub(super) fn optimised(model: InferenceModel) -> TractResult<TypedModel> {
    let model = model.into_typed()?;
    check_memory(&model, &SymbolValues::default())?;
    let model = model.into_decluttered()?;
    check_memory(&model, &SymbolValues::default())?;
    model.into_optimized()
}

/// Refuses values that take more than [`MOST_BYTES`] while they are needed. What depends on
/// sizes that are not known yet counts for nothing.
fn check_memory(model: &TypedModel, sizes: &SymbolValues) -> TractResult<()> {
    let bytes = |outlet: &OutletId| -> TractResult<usize> {
        let fact = model.outlet_fact(*outlet)?;
        let mut bytes = fact.datum_type.size_of();
        for dim in fact.shape.iter() {
            match dim.eval_to_i64(sizes) {
                Ok(dim) => bytes = bytes.saturating_mul(usize::try_from(dim).unwrap_or(0)),
                Err(_) => return Ok(0),
            }
        }
        Ok(bytes)
    };
    let order = model.eval_order()?;
    let mut last = vec![usize::MAX; model.nodes().len()];
    for (at, node) in order.iter().enumerate() {
        for input in &model.node(*node).inputs {
            last[input.node] = at;
        }
    }
    let made = |node: usize| -> TractResult<usize> {
        let outputs = 0..model.node(node).outputs.len();
        let mut sizes = outputs.map(|slot| bytes(&OutletId::new(node, slot)));
        sizes.try_fold(0_usize, |sum, size| Ok(sum.saturating_add(size?)))
    };
    let mut alive = 0_usize;
    for (at, node) in order.iter().enumerate() {
        alive = alive.saturating_add(made(*node)?);
        ensure!(alive <= MOST_BYTES, "{}", too_large(alive));
        let read: HashSet<usize> = model.node(*node).inputs.iter().map(|i| i.node).collect();
        for read in read.into_iter().filter(|read| last[*read] == at) {
            alive = alive.saturating_sub(made(read)?);
        }
    }
    Ok(())
}

/// A whole model that tract runs.
#[derive(Debug)]
pub(super) struct Whole {
    plan: Arc<TypedSimplePlan>,
    why: String,
    /// Shapes of the last run's inputs: their memory is known to be possible.
    seen: Mutex<Vec<Vec<usize>>>,
}

impl Whole {
    /// `why` it is not planned here.
    pub(super) fn new(mut proto: ModelProto, why: String) -> TractResult<(Whole, Audit)> {
        inline(&mut proto).map_err(TractError::msg)?;
        let nodes = proto.graph.iter().flat_map(|g| &g.node);
        if let Some(node) = nodes.into_iter().find(|n| !knows(&n.op_type)) {
            let dot = if node.domain.is_empty() { "" } else { "." };
            bail!(
                "calls the operator {}{dot}{}, which is not known here; write it with ONNX's own \
                 operators, or carry its body as a function",
                node.domain,
                node.op_type
            );
        }
        let model = tract_onnx::onnx().model_for_proto_model(&proto)?;
        // tract has its own copy of the weights by now
        drop(proto);
        let model = within(PATIENCE, || optimised(model))?;
        let audit = Audit::of(&model)?;
        let whole = Whole {
            plan: TypedSimplePlan::new(model)?,
            why,
            seen: Mutex::new(Vec::new()),
        };
        Ok((whole, audit))
    }

    pub(super) fn placed(&self) -> Vec<Placement> {
        vec![Placement {
            nodes: vec!["the whole model".into()],
            kernel: "tract".into(),
            tract: Some(self.why.clone()),
        }]
    }

    /// The type of each output.
    pub(super) fn makes(&self) -> TractResult<Vec<DatumType>> {
        let model = self.plan.model();
        let outlets = model.output_outlets()?.iter();
        outlets
            .map(|outlet| Ok(model.outlet_fact(*outlet)?.datum_type))
            .collect()
    }

    /// Runs; every output as it comes.
    pub(super) fn run(&self, inputs: &[(&[usize], InputValues<'_>)]) -> TractResult<TVec<TValue>> {
        self.check_inputs(inputs)?;
        let model = self.plan.model();
        let mut values = tvec!();
        for (at, (dims, given)) in inputs.iter().enumerate() {
            // half floats, int32 and the like are given as the wider type
            let wanted = model.input_fact(at)?.datum_type;
            values.push(tensor(dims, *given, wanted)?.into_tvalue());
        }
        self.plan.run(values)
    }

    /// Whether inputs of these shapes fit the model, and memory what it makes of them.
    fn check_inputs(&self, inputs: &[(&[usize], InputValues<'_>)]) -> TractResult<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen
            .iter()
            .map(Vec::as_slice)
            .eq(inputs.iter().map(|(dims, _)| *dims))
        {
            return Ok(());
        }
        let model = self.plan.model();
        let wanted = model.input_outlets()?.len();
        ensure!(
            wanted == inputs.len(),
            "takes {wanted} inputs, {} were given",
            inputs.len()
        );
        let mut sizes = SymbolValues::default();
        for (at, (dims, _)) in inputs.iter().enumerate() {
            for (dim, size) in model.input_fact(at)?.shape.iter().zip(*dims) {
                if let TDim::Sym(symbol) = dim {
                    sizes = sizes.with(symbol, *size as i64);
                }
            }
        }
        check_memory(model, &sizes)?;
        *seen = inputs.iter().map(|(dims, _)| dims.to_vec()).collect();
        Ok(())
    }
}

/// The root of an error chain on one line, short enough to read.
pub(super) fn sentence(error: &TractError) -> String {
    let root = error.root_cause().to_string();
    let line = root.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_read_without_end_is_refused() {
        let soon = Duration::from_millis(20);
        assert_eq!(within(PATIENCE, || Ok(3)).unwrap(), 3);
        let endless = within::<()>(soon, || {
            thread::sleep(Duration::from_secs(5));
            Ok(())
        });
        let sentence = sentence(&endless.unwrap_err());
        assert!(sentence.contains("within 0.02 s"), "{sentence}");
        let broken = within::<()>(PATIENCE, || panic!("as tract does now and then"));
        assert_eq!(broken.unwrap_err().to_string(), "the engine broke on it");
    }
}

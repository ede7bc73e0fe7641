//! `bench --fusion`: operators of the catalogue at the sizes of heads, beside tract on their
//! bodies, in one interleaved run.

use super::{Options, machine};
use crate::Error;
use crate::fusion::research::draw::{self, Draw, Drawn};
use crate::fusion::shape::Sizes;
use crate::fusion::{CATALOGUE, Entry, Fusion, FusionError, Precision, Scratch};
use crate::kernels::{self, PANEL, PackedFloats, Rows};
use crate::model::{Array, ModelError, OnnxFile, Runner, example};
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// An operator, a precision and sizes.
struct Case {
    entry: &'static Entry,
    precision: Precision,
    usual: &'static [(char, usize)],
}

/// What was measured of a case. Times are medians of nanoseconds a call.
struct Measured {
    function: String,
    sizes: String,
    macs: usize,
    /// Weights and tables that one call reads.
    bytes: usize,
    /// The kernel, called as a head of ours calls it.
    kernel: f64,
    /// The kernel, called from an ONNX file.
    file: f64,
    /// tract on the function's body.
    tract: f64,
    /// Median over rounds of tract's time by the kernel's.
    ratio: f64,
    /// Share of the multiply-accumulates that this machine can do.
    of_macs: f64,
    /// Share of the rate at which it reads as many bytes.
    of_reads: f64,
}

/// Measures and prints.
pub(super) fn bench(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    let peaks = [peak_float_macs(), machine::peak_macs()];
    let mut rows = Vec::new();
    for case in cases(options) {
        rows.push(measure(&case, options, peaks)?);
    }
    if rows.is_empty() {
        return Err(Error::Usage("no fusion operator has such a name".into()));
    }
    let printed = if options.json {
        json_rows(&rows, peaks, out)
    } else {
        table(&rows, peaks, out)
    };
    printed.map_err(Error::Output)?;
    Ok(true)
}

fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in CATALOGUE {
        for precision in Precision::ALL {
            let Some(name) = entry.function(precision) else {
                continue;
            };
            if options
                .operator
                .as_ref()
                .is_some_and(|part| !name.contains(part))
            {
                continue;
            }
            cases.extend(entry.usual.iter().map(|usual| Case {
                entry,
                precision,
                usual,
            }));
        }
    }
    cases
}

/// Letters that a case's shapes have no use for say nothing.
fn sizes_text(case: &Case) -> String {
    let ports = case.entry.inputs.iter().chain(case.entry.outputs);
    let shapes = ports
        .map(|p| p.shape)
        .chain(case.entry.weights.iter().map(|w| w.shape));
    let dims: Vec<&str> = shapes.flatten().copied().collect();
    let used = case
        .usual
        .iter()
        .filter(|(l, _)| dims.iter().any(|d| d.contains(*l)));
    let texts: Vec<String> = used.map(|(l, s)| format!("{l}={s}")).collect();
    texts.join(" ")
}

fn refused(name: &str, what: impl ToString) -> Error {
    Error::Model(ModelError::Refused {
        name: name.into(),
        what: what.to_string(),
    })
}

/// One case: the kernel alone, the kernel in a file, and the body in tract.
fn measure(case: &Case, options: &Options, peaks: [f64; 2]) -> Result<Measured, Error> {
    let function = case.entry.function(case.precision).unwrap_or_default();
    let sizes = Sizes::of(case.usual);
    let no_size = || refused(&function, "has a letter without a size");
    let mut draw = Draw::new(1);
    let weights = draw::weights(case.entry, case.precision, &sizes, &mut draw);
    let weights = weights.ok_or_else(no_size)?;
    let inputs = draw::inputs(case.entry, &sizes, &mut draw).ok_or_else(no_size)?;
    let onnx = example::onnx(case.entry, case.precision, &sizes, &weights, &[]);
    let onnx = onnx.map_err(|e| refused(&function, e))?;
    let tensors = weights.iter().map(Drawn::tensor).collect();
    let fusion = Fusion::new(&function, tensors, &[]).map_err(|e| refused(&function, e))?;
    let ours = OnnxFile::of_bytes(&function, &onnx, Runner::Ours)?;
    let body = OnnxFile::of_bytes(&function, &onnx, Runner::Tract)?;
    drop((onnx, weights));
    let rows: Vec<_> = inputs.iter().map(draw::Input::rows).collect();
    let contents: Vec<Array> = inputs
        .iter()
        .map(|i| Array::Floats(vec![i.rows().rows(), i.cols], i.data.clone()))
        .collect();
    let (mut work, mut answer) = (Scratch::default(), Vec::new());
    let mut kernel = || -> Result<(), Error> {
        let done: Result<(), FusionError> = fusion.run(black_box(&rows), &mut work, &mut answer);
        done.map_err(|e| refused(&function, e))
    };
    let mut file = || ours.run_only(black_box(&contents)).map_err(Error::Model);
    let mut tract = || body.run_only(black_box(&contents)).map_err(Error::Model);
    let rounds = interleaved(
        &mut [&mut kernel, &mut file, &mut tract],
        Duration::from_secs_f64(options.seconds),
    )?;
    let of = |at: usize| median(rounds.iter().map(|r| r[at]).collect());
    let (macs, bytes) = (case.entry.macs(&sizes).unwrap_or(0), fusion.bytes());
    let peak = peaks[usize::from(case.precision == Precision::Int8)];
    Ok(Measured {
        sizes: sizes_text(case),
        macs,
        bytes,
        kernel: of(0),
        file: of(1),
        tract: of(2),
        ratio: median(rounds.iter().map(|r| r[2] / r[0]).collect()),
        of_macs: macs as f64 / of(0) * 1e9 / peak,
        of_reads: bytes as f64 / of(0) * 1e9 / read_rate(bytes),
        function,
    })
}

/// Something to time.
type Work<'a> = &'a mut dyn FnMut() -> Result<(), Error>;

/// Calls of one piece of work between two looks at the clock take about this long.
const PIECE: Duration = Duration::from_micros(200);

/// Least rounds, however long one takes.
const LEAST: usize = 7;

/// Nanoseconds a call of each work, in each round; every round takes them in turn, so that
/// whatever else the machine does meets all of them.
fn interleaved(works: &mut [Work<'_>], time: Duration) -> Result<Vec<Vec<f64>>, Error> {
    let mut calls = Vec::new();
    for work in works.iter_mut() {
        work()?;
        let start = Instant::now();
        work()?;
        let one = start.elapsed().max(Duration::from_nanos(100));
        calls.push((PIECE.as_nanos() / one.as_nanos()).clamp(1, 2000) as u32);
    }
    let end = Instant::now() + time;
    let mut rounds = Vec::new();
    while Instant::now() < end || rounds.len() < LEAST {
        let mut round = Vec::with_capacity(works.len());
        for (work, calls) in works.iter_mut().zip(&calls) {
            // what ran before has taken the caches
            work()?;
            let start = Instant::now();
            for _ in 0..*calls {
                work()?;
            }
            round.push(start.elapsed().as_nanos() as f64 / f64::from(*calls));
        }
        rounds.push(round);
    }
    Ok(rounds)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn json_rows(rows: &[Measured], peaks: [f64; 2], out: &mut impl Write) -> io::Result<()> {
    let of = |m: &Measured| {
        json!({
            "function": m.function,
            "sizes": m.sizes,
            "macs": m.macs,
            "bytes": m.bytes,
            "kernel_ns": m.kernel,
            "file_ns": m.file,
            "tract_ns": m.tract,
            "tract_by_kernel": m.ratio,
            "gmac_per_s": m.macs as f64 / m.kernel,
            "gbyte_per_s": m.bytes as f64 / m.kernel,
            "share_of_peak_macs": m.of_macs,
            "share_of_read_rate": m.of_reads,
        })
    };
    let operators: Vec<Value> = rows.iter().map(of).collect();
    let object = json!({
        "level": kernels::active().level().name(),
        "peak_gmac_per_s": {"f32": peaks[0] / 1e9, "int8": peaks[1] / 1e9},
        "operators": operators,
    });
    writeln!(out, "{object}")?;
    out.flush()
}

fn table(rows: &[Measured], peaks: [f64; 2], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "kernels {}; one core's tile reaches {:.0} GMAC/s in f32 and {:.0} in int8",
        kernels::active().level(),
        peaks[0] / 1e9,
        peaks[1] / 1e9
    )?;
    writeln!(
        out,
        "{:<34} {:<25} {:>9} {:>9} {:>9} {:>7} {:>8} {:>5} {:>7} {:>5}",
        "", "", "kernel µs", "file µs", "tract µs", "faster", "GMAC/s", "peak", "GB/s", "peak"
    )?;
    for m in rows {
        writeln!(
            out,
            "{:<34} {:<25} {:>9.2} {:>9.2} {:>9.2} {:>6.1}x {:>8.1} {:>4.0}% {:>7.1} {:>4.0}%",
            m.function,
            m.sizes,
            m.kernel / 1e3,
            m.file / 1e3,
            m.tract / 1e3,
            m.ratio,
            m.macs as f64 / m.kernel,
            m.of_macs * 100.0,
            m.bytes as f64 / m.kernel,
            m.of_reads * 100.0
        )?;
    }
    out.flush()
}

/// Multiply-accumulates a second of floats when all operands lie in the first cache.
fn peak_float_macs() -> f64 {
    let kernels = kernels::active();
    let (rows, k, n) = (8, 64, 64);
    let (a, b) = (vec![1.0; rows * k], vec![1.0; k * n]);
    let (a, b) = (Rows::of_whole(&a, k), Rows::of_whole(&b, n));
    let mut c = vec![0.0; rows * n];
    let seconds = best_of(|| {
        for _ in 0..100 {
            kernels.gemm(a, b, &mut c);
        }
    });
    (100 * rows * k * n) as f64 / seconds
}

/// Bytes a second at which a buffer of `bytes` is read again and again, from whichever cache
/// holds it or from memory: by a product that does next to nothing with what it reads.
fn read_rate(bytes: usize) -> f64 {
    let kernels = kernels::active();
    let columns = 64;
    let outputs = (bytes / 4 / columns).next_multiple_of(PANEL).max(PANEL);
    let Some(weights) = PackedFloats::new(&vec![1.0; outputs * columns], columns, None) else {
        return f64::INFINITY;
    };
    let (x, mut out) = (vec![1.0; columns], vec![0.0; outputs]);
    let x = Rows::of_whole(&x, columns);
    let times = (1 << 20) / weights.bytes() + 1;
    let seconds = best_of(|| {
        for _ in 0..times {
            kernels.project(x, &weights, &mut out);
        }
    });
    (times * weights.bytes()) as f64 / seconds
}

/// The shortest time of `work`, of as many runs as 50 ms hold.
fn best_of(mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(50);
    while Instant::now() < end {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best.as_secs_f64()
}

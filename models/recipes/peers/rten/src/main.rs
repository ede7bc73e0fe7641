//! rten as a peer: loads a model, then answers lines on standard input with JSON lines.
//!
//!     peer-rten THREADS MODEL NAME:DTYPE:AxB:FILE...
//!
//! `run SECONDS` -> median of that many seconds of runs; `output FILE` -> the first output as
//! raw f32; `rss` -> VmHWM. Inputs are raw little-endian f32 or i64 (which rten holds as i32).
//! A `;` between arguments begins another model, loaded beside the first (for `rss`).

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Peer {
    model: Model,
    inputs: Vec<(NodeId, Value)>,
    outputs: Vec<NodeId>,
    pool: Arc<ThreadPool>,
}

impl Peer {
    fn load(path: &str, inputs: &[&str], pool: Arc<ThreadPool>) -> Result<Peer> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load_file(path)?;
        let inputs = inputs
            .iter()
            .map(|i| read(&model, i))
            .collect::<Result<_>>()?;
        let outputs = model.output_ids().to_vec();
        Ok(Peer {
            model,
            inputs,
            outputs,
            pool,
        })
    }

    fn run(&self) -> Result<Vec<Value>> {
        let inputs = self
            .inputs
            .iter()
            .map(|(id, value)| (*id, value.into()))
            .collect();
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        Ok(self.model.run(inputs, &self.outputs, Some(options))?)
    }

    /// Median nanoseconds and the number of runs.
    fn time(&self, seconds: f64) -> Result<(u128, usize)> {
        let (begun, limit) = (Instant::now(), Duration::from_secs_f64(seconds));
        let mut taken = Vec::new();
        while taken.len() < 3 || begun.elapsed() < limit {
            let start = Instant::now();
            self.run()?;
            taken.push(start.elapsed().as_nanos());
        }
        taken.sort_unstable();
        Ok((taken[taken.len() / 2], taken.len()))
    }

    fn write(&self, file: &str) -> Result<()> {
        let first: Tensor<f32> = self.run()?.swap_remove(0).try_into()?;
        let bytes: Vec<u8> = first.iter().flat_map(|x| x.to_le_bytes()).collect();
        Ok(std::fs::write(file, bytes)?)
    }
}

/// NAME:DTYPE:AxB:FILE as a value of the model's input NAME.
fn read(model: &Model, text: &str) -> Result<(NodeId, Value)> {
    let [name, dtype, shape, file] = text.splitn(4, ':').collect::<Vec<_>>()[..] else {
        return Err(format!("not an input: {text}").into());
    };
    let shape: Vec<usize> = shape
        .split('x')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let bytes = std::fs::read(file)?;
    let value: Value = match dtype {
        "f32" => {
            let data: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            Tensor::<f32>::from_data(&shape, data).into()
        }
        _ => {
            let data: Vec<i32> = bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as i32)
                .collect();
            Tensor::<i32>::from_data(&shape, data).into()
        }
    };
    Ok((model.node_id(name)?, value))
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn answer(peer: &Peer, line: &str) -> Result<String> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("run", seconds) => {
            let (median, runs) = peer.time(seconds.parse()?)?;
            Ok(format!(r#"{{"median_ns": {median}, "runs": {runs}}}"#))
        }
        ("output", file) => peer.write(file).map(|()| "{}".to_string()),
        ("rss", _) => Ok(format!(r#"{{"rss_kb": {}}}"#, peak_kb())),
        _ => Err(format!("not a command: {line}").into()),
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let pool = Arc::new(ThreadPool::with_num_threads(args[0].parse()?));
    let (start, mut peers, mut first_ms) = (Instant::now(), Vec::new(), 0.0);
    let mut load_ms = 0.0;
    for group in args[1..].split(|a| a == ";") {
        let inputs: Vec<&str> = group[1..].iter().map(String::as_str).collect();
        peers.push(Peer::load(&group[0], &inputs, pool.clone())?);
        load_ms = start.elapsed().as_secs_f64() * 1e3;
        let begun = Instant::now();
        peers.last().unwrap().run()?;
        first_ms = begun.elapsed().as_secs_f64() * 1e3;
    }
    println!(r#"{{"load_ms": {load_ms:.3}, "first_ms": {first_ms:.3}}}"#);
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&peers[0], line?.trim())?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

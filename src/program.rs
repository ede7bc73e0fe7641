//! The program: from the command line to an exit status.

use crate::Error;
use crate::app::{
    adapt, analyze, bench, calibrate, devices, doctor, eval, fusion, models, run, transcribe,
};
use crate::cli::{self, Command};
use crate::sink::{Fanout, Format, Writer};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

/// Done, and something was recognised.
const DONE: u8 = 0;
/// Done, and nothing was recognised.
const NOTHING: u8 = 1;
/// Not done.
const ERROR: u8 = 2;

/// Runs the program with the process's arguments; all that `main.rs` does.
pub fn main() -> ExitCode {
    // the engine's own warnings (which /proc it could read, say) help no user, nor do those of
    // DDS about packets that others send; RUST_LOG shows them
    env_logger::Builder::from_env(
        env_logger::Env::default()
            .default_filter_or("warn,tract_linalg=error,rustdds=off,ros2_client=off"),
    )
    .format_timestamp(None)
    .init();
    // a panic inside the engine is caught and becomes a sentence; its trace is for us
    std::panic::set_hook(Box::new(|info| log::debug!("{info}")));
    let outcome = std::panic::catch_unwind(dispatch);
    let code = match outcome {
        Ok(Ok(recognised)) => {
            if recognised {
                DONE
            } else {
                NOTHING
            }
        }
        Ok(Err(error)) if error.is_broken_pipe() => DONE,
        Ok(Err(error)) => fail(&error.to_string()),
        Err(_) => fail(
            "a fault of demeanor's own; run again with RUST_LOG=debug and report what it prints",
        ),
    };
    ExitCode::from(code)
}

fn fail(sentence: &str) -> u8 {
    // standard error may be closed too; then there is nobody to tell
    let _ = writeln!(io::stderr(), "demeanor: {sentence}");
    ERROR
}

fn dispatch() -> Result<bool, Error> {
    let args = std::env::args_os().skip(1);
    let command = cli::parse(args).map_err(|e| Error::Usage(e.to_string()))?;
    // a wrong DEMEANOR_ISA is said, not passed over
    crate::kernels::chosen_level().map_err(|e| Error::Usage(e.to_string()))?;
    let mut out = BufWriter::new(io::stdout());
    match command {
        Command::Print(text) => writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map(|()| true)
            .map_err(Error::Output),
        Command::Analyze { options, json } => {
            analyze::analyze(&options, &mut Fanout::new(Writer::new(out, format(json))))
        }
        Command::Run { options, json } => {
            run::run(&options, Fanout::new(Writer::new(out, format(json))))
        }
        Command::Transcribe(options) => transcribe::transcribe(&options, &mut out),
        Command::Calibrate { options, json } => {
            calibrate::calibrate(&options, Fanout::new(Writer::new(out, format(json))))
        }
        Command::Eval(options) => eval::eval(&options, &mut out),
        Command::Adapt(options) => adapt::adapt(&options, &mut out),
        Command::Bench(options) => bench::bench(&options, &mut out),
        Command::Models(options) => models::models(&options, &mut out),
        Command::Fusion(form) => fusion::fusion(form, &mut out),
        Command::Doctor(options) => doctor::doctor(&options, &mut out),
        Command::Devices => devices::devices(&mut out),
    }
}

fn format(json: bool) -> Format {
    if json || !io::stdout().is_terminal() {
        Format::Json
    } else {
        Format::Human
    }
}

//! The command line.

mod help;

use crate::app::{adapt, analyze, bench, calibrate, doctor, eval, fusion, models, run, transcribe};
use crate::kernels::MAX_THREADS;
use crate::model::Runner;
use crate::session::Tasks;
use help::{ADAPT, ANALYZE, BENCH, CALIBRATE, DOCTOR, EVAL, FUSION, HELP, MODELS, RUN, TRANSCRIBE};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// What the user asked for.
#[derive(Debug)]
pub enum Command {
    /// Print this and stop.
    Print(String),
    /// `analyze`
    Analyze {
        /// What.
        options: Box<analyze::Options>,
        /// JSON even on a terminal.
        json: bool,
    },
    /// `run`
    Run {
        /// What.
        options: Box<run::Options>,
        /// JSON even on a terminal.
        json: bool,
    },
    /// `transcribe`
    Transcribe(transcribe::Options),
    /// `calibrate`
    Calibrate {
        /// What.
        options: Box<calibrate::Options>,
        /// JSON even on a terminal.
        json: bool,
    },
    /// `eval`
    Eval(Box<eval::Options>),
    /// `adapt`
    Adapt(Box<adapt::Options>),
    /// `bench`
    Bench(Box<bench::Options>),
    /// `models`
    Models(models::Options),
    /// `fusion`
    Fusion(fusion::Format),
    /// `doctor`
    Doctor(doctor::Options),
    /// `devices`
    Devices,
}

/// A sentence about the command line; the caller adds where help is.
type Wrong = lexopt::Error;

/// Parses the arguments after the program's name.
///
/// # Errors
/// An unknown command, option or value.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Wrong> {
    let mut parser = lexopt::Parser::from_args(args);
    let command = match parser.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(Command::Print(HELP.into())),
        Some(Short('V') | Long("version")) => {
            return Ok(Command::Print(
                concat!("demeanor ", env!("CARGO_PKG_VERSION")).into(),
            ));
        }
        Some(Value(word)) => word.string()?,
        Some(other) => return Err(other.unexpected()),
    };
    match command.as_str() {
        "analyze" | "analyse" => parse_analyze(parser),
        "run" => parse_run(parser),
        "transcribe" => parse_transcribe(parser),
        "calibrate" => parse_calibrate(parser),
        "eval" => parse_eval(parser),
        "adapt" => parse_adapt(parser),
        "bench" => parse_bench(parser),
        "models" => parse_models(parser),
        "fusion" => parse_fusion(parser),
        "doctor" => parse_doctor(parser),
        "devices" => match parser.next()? {
            None => Ok(Command::Devices),
            Some(other) => Err(other.unexpected()),
        },
        "help" => Ok(Command::Print(HELP.into())),
        other => Err(format!("`{other}` is no command").into()),
    }
}

fn parse_analyze(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let (mut options, mut json) = (analyze::Options::default(), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Value(file) => options.files.push(file.into()),
            Long("text") => options.text = Some(utf8(parser.value()?, "--text")?),
            Long("words") => options.words = Some(parser.value()?.into()),
            Long("channel") => options.channel = utf8(parser.value()?, "--channel")?.parse()?,
            Long("history") => options.history.push(utf8(parser.value()?, "--history")?),
            Long("explain") => options.session.explain = true,
            Long("smooth") => {
                options.session.smooth = within(&mut parser, "--smooth", 0.0, 3600.0)?;
            }
            Long("unsure-below") => {
                options.session.unsure_below =
                    Some(within(&mut parser, "--unsure-below", 0.0, 1.0)? as f32);
            }
            Long("seen") => options.seen = seen(&utf8(parser.value()?, "--seen")?)?,
            Long("bank") => options.session.bank = Some(parser.value()?.into()),
            Long("tasks") => options.session.tasks = Some(tasks(&mut parser)?),
            Long("expressions-only") => options.session.tasks = Some(expressions()?),
            Long("annotate") => options.annotate = Some(parser.value()?.into()),
            Long("models") => options.session.models = Some(parser.value()?.into()),
            Long("all") => options.session.all_sounds = true,
            Long("recogniser") => options.session.recogniser = Some(parser.value()?.into()),
            Long("recognised-words") => options.session.recognised_words = true,
            Long("threads") => options.session.threads = threads(&mut parser)?,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Print(ANALYZE.into())),
            other => return Err(other.unexpected()),
        }
    }
    if options.files.is_empty() && options.text.is_none() {
        return Err("analyze needs a FILE or --text".into());
    }
    Ok(Command::Analyze {
        options: Box::new(options),
        json,
    })
}

/// `dog, beach sky`
fn seen(text: &str) -> Result<Vec<String>, Wrong> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    let words: Vec<String> = words.filter(|w| !w.is_empty()).map(String::from).collect();
    match words.is_empty() {
        true => Err("--seen names no word".into()),
        false => Ok(words),
    }
}

fn parse_run(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let (mut options, mut json, mut config) = (run::Options::default(), false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("audio") => options.audio = Some(utf8(parser.value()?, "--audio")?),
            Long("camera") => options.camera = Some(utf8(parser.value()?, "--camera")?),
            Long("tasks") => options.tasks = Some(tasks(&mut parser)?),
            Long("expressions-only") => options.tasks = Some(expressions()?),
            Long("text-stdin") => options.text_stdin = true,
            Long("board") => options.board = Some(parser.value()?.string()?),
            Long("explain") => options.explain = true,
            Long("all") => options.all_sounds = true,
            Long("models") => options.models = Some(parser.value()?.into()),
            Long("recogniser") => options.recogniser = Some(parser.value()?.into()),
            Long("threads") => options.threads = Some(threads(&mut parser)?),
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Print(RUN.into())),
            other => return Err(other.unexpected()),
        }
    }
    options.config =
        config.ok_or("run needs --config FILE with the [notice] that people are given")?;
    Ok(Command::Run {
        options: Box::new(options),
        json,
    })
}

fn parse_transcribe(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut options = transcribe::Options {
        threads: 1,
        ..transcribe::Options::default()
    };
    let mut recogniser = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Value(file) => options.files.push(file.into()),
            Long("recogniser") => recogniser = Some(PathBuf::from(parser.value()?)),
            Long("channel") => options.channel = utf8(parser.value()?, "--channel")?.parse()?,
            Long("threads") => options.threads = threads(&mut parser)?,
            Long("json") => options.json = true,
            Short('h') | Long("help") => return Ok(Command::Print(TRANSCRIBE.into())),
            other => return Err(other.unexpected()),
        }
    }
    if options.files.is_empty() {
        return Err("transcribe needs a FILE, or - for standard input".into());
    }
    options.recogniser = recogniser.ok_or(
        "transcribe needs --recogniser DIR; models/recipes/run.py recognition makes the folder",
    )?;
    Ok(Command::Transcribe(options))
}

fn parse_calibrate(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let (mut options, mut json, mut config) = (calibrate::Options::default(), false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("minutes") => options.minutes = within(&mut parser, "--minutes", 0.01, 1440.0)?,
            Long("false-answers") => {
                options.false_answers = within(&mut parser, "--false-answers", 0.0, 3600.0)?;
            }
            Long("people") => options.people = true,
            Long("audio") => options.run.audio = Some(utf8(parser.value()?, "--audio")?),
            Long("camera") => options.run.camera = Some(utf8(parser.value()?, "--camera")?),
            Long("board") => options.run.board = Some(parser.value()?.string()?),
            Long("models") => options.run.models = Some(parser.value()?.into()),
            Long("threads") => options.run.threads = Some(threads(&mut parser)?),
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Print(CALIBRATE.into())),
            other => return Err(other.unexpected()),
        }
    }
    options.run.config =
        config.ok_or("calibrate needs --config FILE, the config of `run`, which it completes")?;
    Ok(Command::Calibrate {
        options: Box::new(options),
        json,
    })
}

fn parse_eval(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut options = eval::Options::new("", PathBuf::new());
    let (mut task, mut data) = (None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("task") => task = Some(parser.value()?.string()?),
            Long("data") => data = Some(PathBuf::from(parser.value()?)),
            Long("train") => options.train = Some(parser.value()?.into()),
            Long("map") => {
                let text = parser.value()?.string()?;
                options.map = eval::LabelMap::parse(&text).map_err(|e| e.to_string())?;
            }
            Long("reference") => options.reference = Some(parser.value()?.into()),
            Long("fusion") => options.fusion = Some(parser.value()?.into()),
            Long("images") => options.images = Some(parser.value()?.into()),
            Long("picture-words") => options.picture_words = Some(parser.value()?.into()),
            Long("detect") => options.detect = true,
            Long("no-history") => options.no_history = true,
            Long("degrade") => {
                let list = utf8(parser.value()?, "--degrade")?;
                options.degrade =
                    eval::Degrade::parse(&list).map_err(|e| format!("--degrade: {e}"))?;
            }
            Long("bank") => options.bank = Some(parser.value()?.into()),
            Long("noise") => options.noise.push(parser.value()?.into()),
            Long("models") => options.models = Some(parser.value()?.into()),
            Long("threads") => {
                options.threads = Some(within(&mut parser, "--threads", 1.0, 1024.0)? as usize)
            }
            Long("json") => options.json = true,
            Short('h') | Long("help") => return Ok(Command::Print(EVAL.into())),
            other => return Err(other.unexpected()),
        }
    }
    options.task = task.ok_or("eval needs --task NAME; `demeanor models` lists the tasks")?;
    options.data = data.ok_or("eval needs --data FILE.csv")?;
    Ok(Command::Eval(Box::new(options)))
}

fn parse_adapt(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut options = adapt::Options::new("", PathBuf::new(), PathBuf::new());
    let (mut task, mut data, mut out) = (None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("task") => task = Some(parser.value()?.string()?),
            Long("data") => data = Some(PathBuf::from(parser.value()?)),
            Long("out") => out = Some(PathBuf::from(parser.value()?)),
            Long("classes") => {
                let list = utf8(parser.value()?, "--classes")?;
                options.classes = Some(list.split(',').map(|c| c.trim().to_lowercase()).collect());
            }
            Long("map") => {
                let text = parser.value()?.string()?;
                options.map = eval::LabelMap::parse(&text).map_err(|e| e.to_string())?;
            }
            Long("detect") => options.detect = true,
            Long("whole") => options.whole = true,
            Long("force") => options.force = true,
            Long("models") => options.models = Some(parser.value()?.into()),
            Long("threads") => {
                options.threads = within(&mut parser, "--threads", 1.0, 1024.0)? as usize;
            }
            Long("json") => options.json = true,
            Short('h') | Long("help") => return Ok(Command::Print(ADAPT.into())),
            other => return Err(other.unexpected()),
        }
    }
    if options.classes.iter().flatten().any(String::is_empty) {
        return Err("--classes: a name is empty; write angry,happy".into());
    }
    options.task = task.ok_or("adapt needs --task NAME; `demeanor models` lists the tasks")?;
    options.data = data.ok_or("adapt needs --data FILE.csv")?;
    options.out = out.ok_or("adapt needs --out DIR, where the new bundle is put")?;
    Ok(Command::Adapt(Box::new(options)))
}

fn parse_bench(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut options = bench::Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("onnx") => options.onnx.push(parser.value()?.into()),
            Long("dim") => options.dims.push(dim(&mut parser)?),
            Long("seconds") => options.seconds = within(&mut parser, "--seconds", 0.001, 3600.0)?,
            Long("runs") => {
                options.runs = Some(within(&mut parser, "--runs", 1.0, 1e5)? as usize);
            }
            Long("threads") => options.threads = threads(&mut parser)?,
            Long("engine") => {
                options.runner = match utf8(parser.value()?, "--engine")?.as_str() {
                    "ours" => Runner::Ours,
                    "tract" => Runner::Tract,
                    other => {
                        return Err(format!("--engine: `{other}` is neither ours nor tract").into());
                    }
                }
            }
            Long("profile") => options.profile = true,
            Long("fusion") => options.fusion = true,
            Long("operator") => options.operator = Some(utf8(parser.value()?, "--operator")?),
            Long("compare") => options.compare = Some(compare(&mut parser)?),
            Long("decision") => options.decision = true,
            Long("instructions") => options.unit = bench::Unit::Instructions,
            Long("input") => {
                let (name, file) = pair(&mut parser, "--input")?;
                options.inputs.push((name, file.into()));
            }
            Long("output") => options.output = Some(parser.value()?.into()),
            Long("models") => options.models = Some(parser.value()?.into()),
            Long("json") => options.json = true,
            Short('h') | Long("help") => return Ok(Command::Print(BENCH.into())),
            other => return Err(other.unexpected()),
        }
    }
    if options.fusion && options.unit == bench::Unit::Instructions {
        return Err("--instructions does nothing for --fusion".into());
    }
    if options.fusion && options.runs.is_some() {
        return Err("--fusion measures in rounds of --seconds; leave --runs out".into());
    }
    if options.decision && (options.fusion || options.profile || !options.onnx.is_empty()) {
        return Err(
            "--decision measures all tasks as they are; leave --onnx, --profile and --fusion out"
                .into(),
        );
    }
    Ok(Command::Bench(Box::new(options)))
}

/// `A.json` or `A.json B.json`
fn compare(parser: &mut lexopt::Parser) -> Result<bench::Compare, Wrong> {
    let files: Vec<PathBuf> = parser.values()?.map(PathBuf::from).collect();
    match files.as_slice() {
        [earlier] => Ok(bench::Compare::With(earlier.clone())),
        [before, after] => Ok(bench::Compare::Files(before.clone(), after.clone())),
        _ => Err("--compare takes one file or two".into()),
    }
}

/// `emotion,sentiment`
fn tasks(parser: &mut lexopt::Parser) -> Result<Tasks, Wrong> {
    let text = utf8(parser.value()?, "--tasks")?;
    Tasks::parse(&text).map_err(|e| format!("--tasks: {e}").into())
}

/// What faces show, and nothing inferred from it.
fn expressions() -> Result<Tasks, Wrong> {
    Tasks::parse("expression").map_err(Wrong::from)
}

/// Workers of the kernels.
fn threads(parser: &mut lexopt::Parser) -> Result<usize, Wrong> {
    let most = MAX_THREADS as f64;
    within(parser, "--threads", 1.0, most).map(|n| n as usize)
}

/// `NAME=SIZE` of a dimension.
fn dim(parser: &mut lexopt::Parser) -> Result<(String, usize), Wrong> {
    let (name, size) = pair(parser, "--dim")?;
    let size = size.parse().ok().filter(|n| (1..=1 << 20).contains(n));
    let size = size.ok_or("--dim: the size is not a number in 1..=1048576")?;
    Ok((name, size))
}

/// `NAME=VALUE`
fn pair(parser: &mut lexopt::Parser, option: &str) -> Result<(String, String), Wrong> {
    let text = utf8(parser.value()?, option)?;
    let parts = text
        .split_once('=')
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    parts.ok_or_else(|| format!("{option}: `{text}` is not NAME=VALUE").into())
}

fn parse_fusion(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut form = fusion::Format::List;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("page") => form = fusion::Format::Page,
            Long("json") => form = fusion::Format::Json,
            Short('h') | Long("help") => return Ok(Command::Print(FUSION.into())),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Fusion(form))
}

fn parse_models(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut options = models::Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("models") => options.dir = Some(parser.value()?.into()),
            Long("plan") => options.plan = true,
            Long("onnx") => options.onnx.push(parser.value()?.into()),
            Long("dim") => options.dims.push(dim(&mut parser)?),
            Short('h') | Long("help") => return Ok(Command::Print(MODELS.into())),
            other => return Err(other.unexpected()),
        }
    }
    if !options.dims.is_empty() && options.onnx.is_empty() {
        return Err("--dim does nothing without --onnx FILE".into());
    }
    if options.dir.is_some() && !options.onnx.is_empty() {
        return Err("--models and --onnx name different things: give one of them".into());
    }
    Ok(Command::Models(options))
}

fn parse_doctor(mut parser: lexopt::Parser) -> Result<Command, Wrong> {
    let mut options = doctor::Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("config") => options.config = Some(parser.value()?.into()),
            Long("board") => options.board = Some(utf8(parser.value()?, "--board")?),
            Long("models") => options.models = Some(parser.value()?.into()),
            Long("json") => options.json = true,
            Short('h') | Long("help") => return Ok(Command::Print(DOCTOR.into())),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Doctor(options))
}

fn utf8(value: OsString, option: &str) -> Result<String, Wrong> {
    value
        .into_string()
        .map_err(|_| format!("{option}: the value is not UTF-8").into())
}

fn within(parser: &mut lexopt::Parser, option: &str, low: f64, high: f64) -> Result<f64, Wrong> {
    let text = parser.value()?.string()?;
    let value = f64::from_str(&text)
        .ok()
        .filter(|v| (low..=high).contains(v));
    value.ok_or_else(|| format!("{option}: `{text}` is not a number in {low}..={high}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|e| e.to_string())
    }

    #[test]
    fn every_help_is_there() {
        for line in [
            "",
            "--help",
            "help",
            "-V",
            "analyze --help",
            "run -h",
            "eval --help",
            "models -h",
            "adapt --help",
            "calibrate -h",
            "bench --help",
            "fusion --help",
            "doctor --help",
        ] {
            assert!(matches!(parsed(line), Ok(Command::Print(_))), "{line}");
        }
    }

    #[test]
    fn options_land_where_they_belong() {
        let Ok(Command::Analyze { options, json }) =
            parsed("analyze a.wav b.ogg --text hi --explain --smooth 2 --unsure-below .5 --json")
        else {
            panic!("not analyze");
        };
        assert!(json && options.session.explain && options.files.len() == 2);
        assert_eq!(
            (options.session.smooth, options.session.unsure_below),
            (2.0, Some(0.5))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("dance", "`dance` is no command"),
            ("analyze", "needs a FILE"),
            ("analyze x --smooth -1", "--smooth"),
            ("run", "--config"),
            ("calibrate", "--config"),
            ("calibrate --config x --minutes 0", "--minutes"),
            ("eval --data x", "--task"),
            ("eval --task emotion --data x --map calm", "FROM=TO"),
            ("eval --task emotion --data x --degrade fog:1", "fog"),
            ("adapt --task emotion --data x", "--out"),
            (
                "adapt --task emotion --data x --out y --classes a,,b",
                "empty",
            ),
            ("models --colour", "--colour"),
            ("doctor rpi4", "rpi4"),
            ("bench --dim N", "NAME=VALUE"),
            ("bench --dim N=0", "--dim"),
            ("bench --engine gpu", "gpu"),
            ("bench --compare", "--compare"),
            ("bench --compare a b c", "--compare"),
            ("bench --fusion --instructions", "--instructions"),
            ("bench --decision --onnx a.onnx", "--decision"),
        ] {
            let error = parsed(line).err().unwrap_or_default();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}

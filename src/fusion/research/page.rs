//! The documentation page, made from the registry.

use crate::fusion::catalogue::{CATALOGUE, Entry, Int8, Kind};
use crate::fusion::shape::Sizes;
use std::fmt::Write as _;

const HEAD: &str = "\
# The fusion catalogue

Every operator of `src/fusion`, made from the registry in `src/fusion/table.rs` by
`demeanor fusion --page`; a test fails when this page is older. Letters are sizes: `n` rows at
once (1 for a single pair of vectors), `p` and `q` columns of `u` and `v`, `c` columns that come
out, `h` hidden, `r` rank, `d` width of rows or of a sketch, `m` keys, `b` stored rows. What each
name means in plain ONNX is in `src/fusion/functions.onnxtxt`; in a file it is a model-local
function of the domain `demeanor`, whose body any ONNX runtime runs and whose name this runtime
maps to its kernel.

`NAMEInt8` takes every matrix as bytes `[in, out]` with a scale per output, and quantises what
it multiplies as `DynamicQuantizeLinear` does. Multiply-accumulates count products alone, not
exponentials or sums; those of a Fourier transform are an estimate (three real transforms at
`2.5·d·log2 d` flops, about `30·d` products with the count sketch's spectrum).

";

/// `12.3 k`, `4.5 M`.
fn short(count: usize) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1} k", count as f64 / 1e3),
        _ => format!("{:.1} M", count as f64 / 1e6),
    }
}

fn sizes_text(sizes: &[(char, usize)], entry: &Entry) -> String {
    let mut letters: Vec<char> = Vec::new();
    let ports = entry
        .inputs
        .iter()
        .chain(entry.outputs)
        .flat_map(|p| p.shape);
    for dim in ports.chain(entry.weights.iter().flat_map(|w| w.shape)) {
        letters.extend(dim.chars().filter(char::is_ascii_alphabetic));
    }
    let used = sizes.iter().filter(|(letter, _)| letters.contains(letter));
    let texts: Vec<String> = used
        .map(|(letter, size)| format!("{letter} = {size}"))
        .collect();
    texts.join(", ")
}

fn shapes(out: &mut String, entry: &Entry) {
    let shape = |name: &str, shape: &[&str]| format!("`{name} [{}]`", shape.join(", "));
    let ports = |ports: &[crate::fusion::catalogue::Port]| {
        let texts: Vec<String> = ports.iter().map(|p| shape(p.name, p.shape)).collect();
        texts.join(", ")
    };
    let _ = writeln!(
        out,
        "- **Takes** {}; **makes** {}",
        ports(entry.inputs),
        ports(entry.outputs)
    );
    let kind = |kind: Kind| match kind {
        Kind::Matrix | Kind::Plain => "",
        Kind::HalfMatrix => " (half floats)",
        Kind::Index(_) => " (indices)",
        Kind::Sign => " (±1)",
    };
    let weights = entry.weights.iter();
    let weights: Vec<String> = weights
        .map(|w| shape(w.name, w.shape) + kind(w.kind))
        .collect();
    let none = "none".to_string();
    let weights = if weights.is_empty() {
        none
    } else {
        weights.join(", ")
    };
    let _ = writeln!(out, "- **Weights** {weights}");
    for s in entry.settings {
        let _ = writeln!(
            out,
            "- **Setting** `{}`, {} to {}, usually {}",
            s.name, s.least, s.most, s.usual
        );
    }
}

fn section(out: &mut String, entry: &Entry) {
    let room = match entry.family {
        "graph_matching" | "label_guided" => "heads",
        _ => "operators",
    };
    let _ = writeln!(
        out,
        "## {}\n\n`{}` · `src/fusion/{room}/{}.rs`\n",
        entry.title, entry.name, entry.family
    );
    let equation = entry.equation.replace("; ", "\n");
    let _ = writeln!(out, "```text\n{equation}\n```\n");
    shapes(out, entry);
    for usual in entry.usual {
        let sizes = Sizes::of(usual);
        let (parameters, macs) = (entry.parameters(&sizes), entry.macs(&sizes));
        let (parameters, macs) = (parameters.unwrap_or(0), macs.unwrap_or(0));
        let _ = writeln!(
            out,
            "- **At** {}: {} values of weights, {} multiply-accumulates",
            sizes_text(usual, entry),
            short(parameters),
            short(macs)
        );
    }
    let int8 = match entry.int8 {
        Int8::Yes => format!("`{}Int8`", entry.name),
        Int8::No(why) => format!("none: {why}"),
    };
    let _ = writeln!(out, "- **Int8** {int8}");
    let _ = writeln!(
        out,
        "- **When** {}\n- **Cost** {}\n",
        entry.when, entry.cost
    );
}

/// The page.
#[must_use]
pub fn page() -> String {
    let mut out = HEAD.to_string();
    out.push_str("| operator | function | int8 | parameters |\n|---|---|---|---|\n");
    for entry in CATALOGUE {
        let sizes = entry.usual.last().map(|usual| Sizes::of(usual));
        let parameters = sizes.and_then(|s| entry.parameters(&s)).unwrap_or(0);
        let int8 = if entry.int8 == Int8::Yes { "yes" } else { "no" };
        let (title, name) = (entry.title, entry.name);
        let _ = writeln!(
            out,
            "| {title} | `{name}` | {int8} | {} |",
            short(parameters)
        );
    }
    out.push('\n');
    for entry in CATALOGUE {
        section(&mut out, entry);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

//! The catalogue, printed.

use super::Format;
use crate::Error;
use crate::fusion::catalogue::{CATALOGUE, DOMAIN, Entry, Int8, Kind, Port, Precision};
use crate::fusion::research::page::page;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Prints the catalogue.
///
/// # Errors
/// Standard output that cannot be written.
pub fn fusion(form: Format, out: &mut impl Write) -> Result<bool, Error> {
    let written = match form {
        Format::List => list(out),
        Format::Page => write!(out, "{}", page()),
        Format::Json => writeln!(out, "{}", catalogue()),
    };
    written.and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(true)
}

fn list(out: &mut impl Write) -> io::Result<()> {
    for entry in CATALOGUE {
        let int8 = if entry.int8 == Int8::Yes {
            "f32, int8"
        } else {
            "f32"
        };
        writeln!(out, "{:<31} {int8:<10} {}", entry.name, entry.title)?;
        writeln!(out, "{:>42} {}", "", entry.equation)?;
    }
    Ok(())
}

fn ports(ports: &[Port]) -> Vec<Value> {
    let of = |p: &Port| json!({"name": p.name, "shape": p.shape});
    ports.iter().map(of).collect()
}

/// Everything the registry knows.
fn catalogue() -> Value {
    let operators: Vec<Value> = CATALOGUE.iter().map(operator).collect();
    json!({"domain": DOMAIN, "operators": operators})
}

fn operator(entry: &Entry) -> Value {
    let functions = Precision::ALL.map(|precision| {
        let weights = entry.stored(precision).into_iter().map(|s| {
            let learnt = entry.weights.iter().find(|w| w.name == s.name);
            let kind = match learnt.map(|w| w.kind) {
                None => "scale",
                Some(Kind::Matrix) => "matrix",
                Some(Kind::HalfMatrix) => "rows",
                Some(Kind::Plain) => "plain",
                Some(Kind::Index(_)) => "index",
                Some(Kind::Sign) => "sign",
            };
            let below = match learnt.map(|w| w.kind) {
                Some(Kind::Index(below)) => Some(below),
                _ => None,
            };
            let (name, shape, element) = (s.name, s.shape, s.element);
            json!({"name": name, "shape": shape, "element": element, "kind": kind, "below": below})
        });
        let weights: Vec<Value> = weights.collect();
        entry
            .function(precision)
            .map(|name| json!({"name": name, "weights": weights}))
    });
    let functions: Vec<Value> = functions.into_iter().flatten().collect();
    let settings = entry.settings.iter().map(|s| {
        let letter = s.letter.map(String::from);
        json!({"name": s.name, "whole": s.whole, "least": s.least, "most": s.most,
               "usual": s.usual, "letter": letter})
    });
    let usual = entry.usual.iter().map(|sizes| {
        let pairs = sizes.iter().map(|(l, s)| (l.to_string(), json!(s)));
        Value::Object(pairs.collect())
    });
    let no_int8 = match entry.int8 {
        Int8::Yes => None,
        Int8::No(why) => Some(why),
    };
    json!({
        "title": entry.title,
        "family": entry.family,
        "equation": entry.equation,
        "inputs": ports(entry.inputs),
        "outputs": ports(entry.outputs),
        "functions": functions,
        "settings": settings.collect::<Vec<Value>>(),
        "macs": entry.macs,
        "usual": usual.collect::<Vec<Value>>(),
        "no_int8": no_int8,
    })
}

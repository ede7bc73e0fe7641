//! ONNX functions of ours, read from their text.
//!
//! The text form is ONNX's own (`onnx.parser` reads it too), cut down to what the bodies of
//! the catalogue use: nodes without subgraphs, attributes that are numbers, strings, lists or
//! references to the function's own.

use crate::fusion::catalogue::{DOMAIN, FUNCTIONS};
use std::collections::HashMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto};

/// The version of ONNX's operators that the bodies are written in.
pub(super) const OPSET: i64 = 18;

/// The versions of a function or model: ONNX's operators and ours.
pub(super) fn opsets() -> Vec<OperatorSetIdProto> {
    let of = |domain: &str, version| OperatorSetIdProto {
        domain: domain.into(),
        version,
    };
    vec![of("", OPSET), of(DOMAIN, 1)]
}

/// Every function of the catalogue, by name.
///
/// # Errors
/// A sentence that names the function that cannot be read.
pub(super) fn catalogue() -> Result<HashMap<String, FunctionProto>, String> {
    let blocks = FUNCTIONS
        .split("\n\n")
        .map(str::trim)
        .filter(|b| !b.is_empty());
    blocks
        .map(|block| {
            let name = block.split_whitespace().next().unwrap_or_default();
            let parsed =
                function(block).ok_or_else(|| format!("function {name} cannot be read"))?;
            Ok((name.to_string(), parsed))
        })
        .collect()
}

/// The functions that `name` needs, itself included.
pub(super) fn needed(
    all: &HashMap<String, FunctionProto>,
    name: &str,
    found: &mut Vec<FunctionProto>,
) {
    let Some(function) = all.get(name) else {
        return;
    };
    if found.iter().any(|f| f.name == function.name) {
        return;
    }
    found.push(function.clone());
    for node in function.node.iter().filter(|n| n.domain == DOMAIN) {
        needed(all, &node.op_type, found);
    }
}

/// `Name <attributes> (inputs) => (outputs) { nodes }`
fn function(block: &str) -> Option<FunctionProto> {
    let (head, body) = block.split_once('{')?;
    let (left, outputs) = head.split_once("=>")?;
    let (before, inputs) = left.split_once('(')?;
    let (name, attributes) = match before.split_once('<') {
        Some((name, rest)) => (name, list(rest.trim().strip_suffix('>')?)),
        None => (before, Vec::new()),
    };
    let body = body.trim_end().strip_suffix('}')?;
    let nodes = body.lines().map(str::trim).filter(|line| !line.is_empty());
    Some(FunctionProto {
        name: Some(name.trim().to_string()),
        input: list(inputs.trim().strip_suffix(')')?),
        output: list(outputs.trim().strip_prefix('(')?.strip_suffix(')')?),
        attribute: attributes,
        node: nodes.map(node).collect::<Option<_>>()?,
        opset_import: opsets(),
        domain: Some(DOMAIN.into()),
        ..FunctionProto::default()
    })
}

/// Names parted by commas.
fn list(text: &str) -> Vec<String> {
    let names = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.map(String::from).collect()
}

/// `outputs = Op <attributes> (inputs)`
fn node(line: &str) -> Option<NodeProto> {
    let (outputs, call) = line.split_once('=')?;
    let (before, inputs) = call.rsplit_once('(')?;
    let (op, attributes) = match before.split_once('<') {
        Some((op, rest)) => (op.trim(), parted(rest.trim().strip_suffix('>')?)),
        None => (before.trim(), Vec::new()),
    };
    let (domain, op_type) = op.rsplit_once('.').unwrap_or(("", op));
    Some(NodeProto {
        input: list(inputs.trim().strip_suffix(')')?),
        output: list(outputs),
        op_type: op_type.into(),
        domain: domain.into(),
        attribute: attributes
            .iter()
            .map(|a| attribute(a))
            .collect::<Option<_>>()?,
        ..NodeProto::default()
    })
}

/// Attributes parted by commas that are in no list.
fn parted(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        match parts.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}

/// `name = value` or `name: type = @other`
fn attribute(text: &str) -> Option<AttributeProto> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let mut made = AttributeProto::default();
    if let Some(other) = value.strip_prefix('@') {
        let (name, kind) = name.split_once(':')?;
        made.name = name.trim().into();
        made.ref_attr_name = other.into();
        let integer = kind.trim() == "int";
        made.r#type = if integer {
            AttributeType::Int
        } else {
            AttributeType::Float
        } as i32;
        return Some(made);
    }
    made.name = name.into();
    if let Some(items) = value.strip_prefix('[') {
        let items = list(items.strip_suffix(']')?);
        made.ints = items
            .iter()
            .map(|i| i.parse().ok())
            .collect::<Option<_>>()?;
        made.r#type = AttributeType::Ints as i32;
    } else if let Some(text) = value.strip_prefix('"') {
        made.s = text.strip_suffix('"')?.as_bytes().to_vec();
        made.r#type = AttributeType::String as i32;
    } else if let Ok(integer) = value.parse() {
        made.i = integer;
        made.r#type = AttributeType::Int as i32;
    } else {
        made.f = value.parse().ok()?;
        made.r#type = AttributeType::Float as i32;
    }
    Some(made)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
mod tests {
    use super::*;
    use crate::fusion::{CATALOGUE, Precision};
    use tract_onnx::pb::{GraphProto, ModelProto};

    #[test]
    fn every_entry_has_the_function_that_it_names() {
        let all = catalogue().unwrap();
        for entry in CATALOGUE {
            for precision in Precision::ALL {
                let Some(name) = entry.function(precision) else {
                    continue;
                };
                let function = all
                    .get(&name)
                    .unwrap_or_else(|| panic!("{name} has no body"));
                let inputs = entry.inputs.iter().map(|p| p.name.to_string());
                let weights = entry.stored(precision).into_iter().map(|s| s.name);
                let wanted: Vec<String> = inputs.chain(weights).collect();
                assert_eq!(function.input, wanted, "{name}");
                let outputs: Vec<&str> = entry.outputs.iter().map(|p| p.name).collect();
                assert_eq!(function.output, outputs, "{name}");
                let settings: Vec<&str> = entry.settings.iter().map(|s| s.name).collect();
                assert_eq!(function.attribute, settings, "{name}");
            }
        }
    }

    #[test]
    fn every_function_is_called_or_an_entry() {
        let all = catalogue().unwrap();
        let entries = CATALOGUE
            .iter()
            .flat_map(|e| Precision::ALL.map(|p| e.function(p)));
        let mut entries: Vec<String> = entries.flatten().collect();
        // heads that are no operator of the catalogue
        entries.push("QueriedSpans".into());
        let mut reached = Vec::new();
        for name in &entries {
            needed(&all, name, &mut reached);
        }
        assert_eq!(reached.len(), all.len());
    }

    #[test]
    fn text_that_is_no_function_is_refused() {
        for text in [
            "",
            "F",
            "F (a) => b { }",
            "F (a) => (b) {\n b = Op (a\n}",
            "F (a) => (b) {\n b Op (a)\n}",
        ] {
            assert!(function(text).is_none(), "{text}");
        }
        let made = function(
            "F <k> (a) => (b, c) {\n b, c = x.Op <i = 1, l = [1, -2], f = 0.5, r: int = @k> (a)\n}",
        );
        let made = made.unwrap();
        let node = &made.node[0];
        assert_eq!((node.domain.as_str(), node.op_type.as_str()), ("x", "Op"));
        assert_eq!((node.output.len(), node.attribute.len()), (2, 4));
        assert_eq!(node.attribute[1].ints, [1, -2]);
    }

    #[test]
    fn circles_are_refused() {
        let round = function("F (a) => (b) {\n b = demeanor.F (a)\n}").unwrap();
        let call = node("y = demeanor.F (x)").unwrap();
        let mut proto = ModelProto {
            graph: Some(GraphProto {
                node: vec![call],
                ..GraphProto::default()
            }),
            functions: vec![round],
            ..ModelProto::default()
        };
        assert!(
            crate::model::inline::inline(&mut proto)
                .unwrap_err()
                .contains("circles")
        );
    }
}

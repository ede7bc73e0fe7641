//! Calls of functions that a file carries, replaced by their bodies: what tract runs.

use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};

/// Calls within calls within calls; a file that nests deeper is going in circles.
const DEEPEST: usize = 8;

/// Nodes and bytes that opened functions may come to: what is called many times over at every
/// depth grows beyond any memory.
const MOST_NODES: usize = 1 << 15;
const MOST_NODE_BYTES: usize = 1 << 26;

/// Replaces every call of a function that the model carries by the function's body.
///
/// # Errors
/// A function that calls itself; a call that does not fit its function.
pub(super) fn inline(proto: &mut ModelProto) -> Result<(), String> {
    let functions = std::mem::take(&mut proto.functions);
    let named = |f: FunctionProto| Some(((f.domain.clone()?, f.name.clone()?), f));
    let functions: Functions = functions.into_iter().filter_map(named).collect();
    let Some(graph) = proto.graph.as_mut() else {
        return Ok(());
    };
    for _ in 0..DEEPEST {
        if !graph.node.iter().any(|n| functions.contains_key(&key(n))) {
            return Ok(());
        }
        once(graph, &functions)?;
    }
    Err("calls functions that call each other in circles".into())
}

/// By domain and name.
type Functions = HashMap<(String, String), FunctionProto>;

fn key(node: &NodeProto) -> (String, String) {
    (node.domain.clone(), node.op_type.clone())
}

/// Opens the calls of the graph, not those within them.
fn once(graph: &mut GraphProto, functions: &Functions) -> Result<(), String> {
    let (mut nodes, mut bytes) = (Vec::new(), 0);
    for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        match functions.get(&key(&node)) {
            Some(function) => {
                bytes += function
                    .node
                    .iter()
                    .map(Message::encoded_len)
                    .sum::<usize>();
                if nodes.len() + function.node.len() > MOST_NODES || bytes > MOST_NODE_BYTES {
                    return Err(format!(
                        "calls functions within functions that come to more than {MOST_NODES} \
                         nodes or {} MiB",
                        MOST_NODE_BYTES >> 20
                    ));
                }
                nodes.extend(opened(&node, function, at)?);
            }
            None => nodes.push(node),
        }
    }
    graph.node = nodes;
    Ok(())
}

/// The nodes of one call, values renamed.
fn opened(call: &NodeProto, function: &FunctionProto, at: usize) -> Result<Vec<NodeProto>, String> {
    let fits =
        call.input.len() <= function.input.len() && call.output.len() <= function.output.len();
    if !fits {
        return Err(format!(
            "the call of {} does not fit its function",
            call.op_type
        ));
    }
    let mut names: HashMap<&str, String> = HashMap::new();
    let formal = function.input.iter().chain(&function.output);
    let inputs = call.input.iter().cloned();
    let missing = std::iter::repeat_n(String::new(), function.input.len() - call.input.len());
    let actual = inputs.chain(missing).chain(call.output.iter().cloned());
    for (formal, actual) in formal.zip(actual) {
        names.insert(formal, actual);
    }
    let prefix = format!(
        "{}.{at}.{}",
        call.op_type,
        call.output.first().map_or("", String::as_str)
    );
    let rename = |name: &String| match names.get(name.as_str()) {
        Some(actual) if !actual.is_empty() || name.is_empty() => actual.clone(),
        _ if name.is_empty() => String::new(),
        _ => format!("{prefix}.{name}"),
    };
    let of = |node: &NodeProto| NodeProto {
        name: format!(
            "{prefix}.{}",
            node.output.first().map_or("", String::as_str)
        ),
        input: node.input.iter().map(rename).collect(),
        output: node.output.iter().map(rename).collect(),
        attribute: node
            .attribute
            .iter()
            .filter_map(|a| filled(a, call))
            .collect(),
        ..node.clone()
    };
    Ok(function.node.iter().map(of).collect())
}

/// An attribute with the call's value where it refers to one; nothing where there is none.
fn filled(attribute: &AttributeProto, call: &NodeProto) -> Option<AttributeProto> {
    if attribute.ref_attr_name.is_empty() {
        return Some(attribute.clone());
    }
    let given = call
        .attribute
        .iter()
        .find(|a| a.name == attribute.ref_attr_name)?;
    Some(AttributeProto {
        name: attribute.name.clone(),
        ..given.clone()
    })
}

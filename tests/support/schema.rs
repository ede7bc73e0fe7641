//! A checker of as much JSON Schema as the events' schema uses. It is stricter than the
//! standard in one thing: a field that the schema does not name is an error, so that none is
//! added without being described.

use serde_json::Value;

/// What these keywords say is read by people.
const WORDS: [&str; 3] = ["$schema", "title", "description"];

/// Why `value` is not as `schema` says; `None` when it is.
pub fn fault(schema: &Value, value: &Value) -> Option<String> {
    let keywords = schema.as_object().expect("a schema is an object");
    keywords
        .iter()
        .find_map(|(keyword, rule)| broken(keyword, rule, schema, value))
        .map(|what| format!("{what} in {value}"))
}

fn broken(keyword: &str, rule: &Value, schema: &Value, value: &Value) -> Option<String> {
    let number = || value.as_f64().unwrap_or(f64::NAN);
    let bound = || rule.as_f64().expect("a bound is a number");
    let count = || value.as_array().map_or(0, Vec::len) as f64;
    let holds = match keyword {
        "const" => value == rule,
        "enum" => list(rule).contains(value),
        "type" => match rule {
            Value::Array(any) => any.iter().any(|kind| is_a(kind, value)),
            kind => is_a(kind, value),
        },
        // of a number; others are none of its business
        "minimum" => !value.is_number() || number() >= bound(),
        "maximum" => !value.is_number() || number() <= bound(),
        "minItems" => count() >= bound(),
        "maxItems" => count() <= bound(),
        "not" => fault(rule, value).is_some(),
        "required" => list(rule).iter().all(|name| {
            let name = name.as_str().expect("a name");
            value.get(name).is_some()
        }),
        "items" => return value.as_array()?.iter().find_map(|item| fault(rule, item)),
        "properties" | "additionalProperties" => return fields(keyword, schema, value),
        "oneOf" => return one_of(list(rule), value),
        word => {
            assert!(WORDS.contains(&word), "the checker does not know `{word}`");
            true
        }
    };
    (!holds).then(|| format!("{keyword} {rule} does not hold"))
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a type's name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        kind => panic!("the checker does not know the type {kind}"),
    }
}

/// Fields that are named, by their rules; the others by the common rule, where there is one.
fn fields(keyword: &str, schema: &Value, value: &Value) -> Option<String> {
    let named = &schema["properties"];
    let common = schema.get("additionalProperties");
    value.as_object()?.iter().find_map(|(name, of)| {
        let rule = match (keyword, named.get(name)) {
            ("properties", Some(rule)) => Some(rule),
            ("properties", None) if common.is_none() => {
                return Some(format!("the field `{name}` is not described"));
            }
            ("additionalProperties", None) => common,
            _ => None,
        };
        fault(rule?, of)
    })
}

fn one_of(schemas: &[Value], value: &Value) -> Option<String> {
    let faults: Vec<String> = schemas.iter().filter_map(|s| fault(s, value)).collect();
    match schemas.len() - faults.len() {
        1 => None,
        0 => Some(format!("none of these: {}", faults.join("; "))),
        n => Some(format!("{n} schemas hold")),
    }
}

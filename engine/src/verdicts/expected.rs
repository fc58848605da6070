//! What a claim expects, in words. Knows the forms that `expect` has, and reads any other as names
//! and values in order.

use serde_json::{Map, Value};

/// `{"difference": {"above": 0.0}, "confidence": 0.95}` as `difference above 0`. The confidence is
/// said beside the interval.
pub fn expected(expect: &Value) -> String {
    let Value::Object(parts) = expect else {
        return plain(expect);
    };
    let (methods, claimed): (Vec<_>, Vec<_>) = parts
        .iter()
        .filter(|(name, value)| name.as_str() != "confidence" && !value.is_null())
        .partition(|(name, _)| name.as_str() == "interval");
    let claimed = claimed.into_iter().map(|(name, value)| match value {
        Value::Object(bound) => bounded(name, bound),
        other => format!("{name} {}", plain(other)),
    });
    let methods = methods.into_iter().map(|(_, value)| match value {
        Value::Object(method) => {
            let names = method.keys().map(String::as_str);
            format!("{} interval", names.collect::<Vec<_>>().join(" "))
        }
        other => format!("{} interval", plain(other)),
    });
    claimed.chain(methods).collect::<Vec<_>>().join(", ")
}

/// Where something lies.
fn bounded(name: &str, bound: &Map<String, Value>) -> String {
    let number = |field: &str| bound.get(field).map(plain);
    if let Some(within) = bound.get("within")
        && let (Some(low), Some(high)) = (within.get("low"), within.get("high"))
    {
        return format!("{name} within {} to {}", plain(low), plain(high));
    }
    if let Some(x) = number("equivalent") {
        return match name {
            "ratio" => format!("{name} equivalent to 1, from 1/{x} to {x}"),
            _ => format!("{name} equivalent to 0, from -{x} to {x}"),
        };
    }
    if let Some([low, high]) = bound
        .get("between")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        let which = match bound.get("is").and_then(Value::as_str) {
            Some("min") => "smallest",
            Some("max") | None => "largest",
            Some(other) => other,
        };
        return format!(
            "{name} ({which}) between {} and {}",
            plain(low),
            plain(high)
        );
    }
    let parts = bound
        .iter()
        .map(|(place, x)| format!("{place} {}", plain(x)));
    format!("{name} {}", parts.collect::<Vec<_>>().join(", "))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Number(n) => n.as_f64().map_or_else(|| n.to_string(), |f| f.to_string()),
        Value::String(s) => s.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(parts) => {
            let parts = parts.iter().map(|(name, x)| format!("{name} {}", plain(x)));
            parts.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_expectation_reads_as_words() {
        for (expect, said) in [
            (
                json!({"difference": {"above": 0.0}, "confidence": 0.95, "mean": null}),
                "difference above 0",
            ),
            (
                json!({"mean": {"within": {"high": 0.9, "low": 0.1}}}),
                "mean within 0.1 to 0.9",
            ),
            (
                json!({"interval": "anytime", "mean": {"above": 50}, "confidence": 0.99}),
                "mean above 50, anytime interval",
            ),
            (
                json!({"interval": {"bootstrap": {"resamples": 10000, "seed": 0}}, "ratio": {"below": 1.5}}),
                "ratio below 1.5, bootstrap interval",
            ),
            (
                json!({"difference": {"equivalent": 0.01}, "confidence": 0.95}),
                "difference equivalent to 0, from -0.01 to 0.01",
            ),
            (
                json!({"ratio": {"equivalent": 1.05}}),
                "ratio equivalent to 1, from 1/1.05 to 1.05",
            ),
            (
                json!({"best": {"between": [0.2, 0.8], "is": "min"}}),
                "best (smallest) between 0.2 and 0.8",
            ),
            (json!({"trend": "increasing"}), "trend increasing"),
            // Of another program.
            (
                json!({"gap": {"least": 1, "most": 2}, "rule": ["a", "b"]}),
                "gap least 1, most 2, rule a, b",
            ),
        ] {
            assert_eq!(expected(&expect), said);
        }
    }
}

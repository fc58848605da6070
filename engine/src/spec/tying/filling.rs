//! A tree with templates as a value, filled in for a row.

use serde_json::Value;

use super::consumer::Consumer;
use super::values::Values;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::Problem;

/// Whether a problem was reported of a part of it.
pub fn has_broken(node: &Node) -> bool {
    match &node.data {
        Data::Broken => true,
        Data::Seq(items) => items.iter().any(has_broken),
        Data::Map(entries) => entries.iter().any(|(_, n)| has_broken(n)),
        _ => false,
    }
}

/// A tree as JSON, its templates filled in for a row.
pub fn to_value(
    node: &Node,
    row: &[u32],
    consumer: &Consumer,
    values: &Values,
) -> Result<Value, Problem> {
    Ok(match &node.data {
        Data::Null | Data::Broken => Value::Null,
        Data::Bool(b) => Value::Bool(b.value),
        Data::Number(n) => Value::Number(n.value.clone()),
        Data::String(s) => Value::String(s.to_string()),
        Data::Seq(items) => Value::Array(
            items
                .iter()
                .map(|n| to_value(n, row, consumer, values))
                .collect::<Result<_, _>>()?,
        ),
        Data::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(k, n)| Ok((k.name.to_string(), to_value(n, row, consumer, values)?)))
                .collect::<Result<_, Problem>>()?,
        ),
        Data::Template(template) => match (template.whole(), template.expression()) {
            (Some(reference), _) => consumer.value(reference, row, values, node.span)?,
            (_, Some(expr)) => Value::Number(consumer.computed(expr, row, values, node.span)?),
            _ => Value::String(consumer.text(template, row, values, node.span)?),
        },
    })
}

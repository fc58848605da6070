//! What is known of tables: which values they can have, before they have any.

use std::collections::BTreeSet;

use super::{Fact, Findings, Known, MetricsFact, ValueFact};
use crate::kinds::claim::Params as Claim;
use crate::kinds::summarise::Params as Summary;
use crate::select::At;
use repro_protocol::table::APART;

/// Of `summarise`.
pub fn summarise(params: &Summary, known: &Known) -> Findings {
    let mut found = Findings::default();
    let tables = known.tables("tables", &mut found);
    for of in &params.of.0 {
        check(&tables, of, params.at, &["of"], &["at"], &mut found);
    }
    let axes = Vec::from_iter(known.axes("tables"));
    for (field, named) in [("over", &params.over.0), ("within", &params.within.0)] {
        check_axes(field, named, &axes, &mut found);
    }
    found.say("table", Fact::Metrics(MetricsFact::default()));
    found.say("text", Fact::Text);
    found
}

/// Of `claim`.
pub fn claim(params: &Claim, known: &Known) -> Findings {
    let mut found = Findings::default();
    for input in ["a", "b", "in"] {
        let tables = known.tables(input, &mut found);
        let (word, of, at) = match (&params.compare, &params.measure) {
            (Some(compare), _) => ("compare", &compare.of, compare.at),
            (_, Some(measure)) => ("measure", &measure.of, measure.at),
            _ => continue,
        };
        check(&tables, of, at, &[word, "of"], &[word, "at"], &mut found);
    }
    found
}

/// An axis that is named must tell tables apart, or runs within a table.
fn check_axes(field: &str, named: &[String], axes: &[String], found: &mut Findings) {
    for (at, axis) in named.iter().enumerate() {
        if axes.contains(axis) || APART.contains(&axis.as_str()) {
            continue;
        }
        let at = at.to_string();
        let path: &[&str] = match named.len() {
            1 => &[field],
            _ => &[field, &at],
        };
        let hint = match crate::check::nearest(axis, axes) {
            Some(near) => format!("did you mean `{near}`?"),
            None if axes.is_empty() => "the tables are not gathered from a matrix".to_owned(),
            None => format!("their axes are {}", axes.join(", ")),
        };
        found.param(path, format!("no table has an axis `{axis}`"), hint);
    }
}

/// The value that is asked for must be one that the tables have.
fn check(
    tables: &[Option<MetricsFact>],
    of: &str,
    at: At,
    of_path: &[&str],
    at_path: &[&str],
    found: &mut Findings,
) {
    // Tables of one stage are alike: each sort is looked at once.
    let mut seen: Vec<&MetricsFact> = Vec::new();
    for table in tables.iter().flatten() {
        if seen.contains(&table) {
            continue;
        }
        seen.push(table);
        let Some(values) = &table.values else {
            continue;
        };
        if let Some((message, hint)) = unknown(values, of) {
            found.param(of_path, message, hint);
            return;
        }
        if let (At::Epoch(epoch), Some(last)) = (at, table.last_epoch)
            && !(1..=last).contains(&u64::try_from(epoch).unwrap_or(0))
        {
            let path: Vec<&str> = at_path.iter().copied().chain(["epoch"]).collect();
            found.param(
                &path,
                format!("there is no epoch {epoch}: the training ends after {last}"),
                format!("give a number from 1 to {last}, or `at: last`"),
            );
            return;
        }
    }
}

/// Why a name stands for none of the values, or for several.
fn unknown(values: &[ValueFact], of: &str) -> Option<(String, String)> {
    let full = |value: &ValueFact| match &value.split {
        Some(split) => format!("{split}_{}", value.name),
        None => value.name.clone(),
    };
    if values.iter().any(|v| fits(&full(v), of)) {
        return None;
    }
    let named: BTreeSet<String> = values
        .iter()
        .filter(|v| fits(&v.name, of))
        .map(full)
        .collect();
    match named.len() {
        1 => None,
        0 => {
            let names: Vec<String> = values
                .iter()
                .map(full)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let mut longer = names.iter().filter(|name| name.starts_with(of));
            let begun = longer
                .next()
                .filter(|_| longer.next().is_none() && !of.is_empty());
            let near = begun
                .map(String::as_str)
                .or_else(|| crate::check::nearest(of, &names));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the values are {}", names.join(", ")),
            };
            Some((format!("these tables have no value `{of}`"), hint))
        }
        _ => Some((
            format!("`{of}` may mean {}", Vec::from_iter(named).join(" or ")),
            "name the part of the data too".to_owned(),
        )),
    }
}

/// `accuracy[*]` takes anything in the brackets.
fn fits(name: &str, of: &str) -> bool {
    match name.strip_suffix("*]") {
        Some(start) => of
            .strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(']')),
        None => name == of,
    }
}

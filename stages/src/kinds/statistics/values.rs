//! Whether tables will have the metric that is asked for, known before anything runs.

use std::collections::BTreeSet;

use repro_protocol::table::APART;

use crate::facts::{Findings, MetricsFact, Recorded, ValueFact};
use crate::series::At;
use crate::spelling::nearest;

/// A named axis must be one that tables, or runs within a table, differ in.
pub(super) fn check_axes(field: &str, named: &[String], axes: &[String], found: &mut Findings) {
    for (at, axis) in named.iter().enumerate() {
        if axes.contains(axis) || APART.contains(&axis.as_str()) {
            continue;
        }
        let at = at.to_string();
        let path: &[&str] = match named.len() {
            1 => &[field],
            _ => &[field, &at],
        };
        let hint = match nearest(axis, axes) {
            Some(near) => format!("did you mean `{near}`?"),
            None if axes.is_empty() => "the tables are not gathered from a matrix".to_owned(),
            None => format!("their axes are {}", axes.join(", ")),
        };
        found.param(path, format!("no table has an axis `{axis}`"), hint);
    }
}

/// The metric that is asked for must be one that the tables have.
pub(super) fn check_asked(
    tables: &[Option<MetricsFact>],
    of: &str,
    at: At,
    of_path: &[&str],
    at_path: &[&str],
    found: &mut Findings,
) {
    let is_known = |t: &Option<MetricsFact>| t.as_ref().is_some_and(|t| t.values.is_some());
    let others = !tables.iter().all(is_known);
    // Tables of one stage are alike: each sort is checked once.
    let mut seen: Vec<&MetricsFact> = Vec::new();
    for table in tables.iter().flatten() {
        if seen.contains(&table) {
            continue;
        }
        seen.push(table);
        let Some(values) = &table.values else {
            continue;
        };
        let value = match meant(values, of, others) {
            Ok(value) => value,
            Err((message, hint)) => {
                found.param(of_path, message, hint);
                return;
            }
        };
        if let Some((field, message, hint)) = nowhere(table, value, of, at) {
            let path: Vec<&str> = at_path.iter().copied().chain([field]).collect();
            found.param(&path, message, hint);
            return;
        }
    }
}

/// Why a value is not recorded where it is to be read: the field of `at`, what is wrong, what is
/// right.
fn nowhere(
    table: &MetricsFact,
    value: &ValueFact,
    of: &str,
    at: At,
) -> Option<(&'static str, String, String)> {
    let (every, last) = match (value.recorded, table.last_epoch) {
        (Recorded::Once, _) => (1, None),
        (Recorded::Every(every), Some(last)) => (every, Some(last)),
        (Recorded::Every(_), None) | (Recorded::Sometimes, _) => return None,
    };
    match at {
        At::Last | At::Best(_) => None,
        At::MeanOfLast(count) => {
            let have = last.map_or(1, |last| last.div_ceil(every));
            (u64::from(count) > have).then(|| {
                let values = if have == 1 { "value" } else { "values" };
                (
                    "mean_of_last",
                    format!(
                        "`{of}` has {have} {values}: there are no last {count} to take the mean of"
                    ),
                    format!("give {have} or less, or `at: last`"),
                )
            })
        }
        At::Epoch(epoch) => {
            let Some(last) = last else {
                let message = format!("`{of}` is measured once and of no epoch");
                return Some(("epoch", message, "leave `at` out".to_owned()));
            };
            let epoch = u64::try_from(epoch).unwrap_or(0);
            if !(1..=last).contains(&epoch) {
                return Some((
                    "epoch",
                    format!("there is no epoch {epoch}: the training ends after {last}"),
                    format!("give a number from 1 to {last}, or `at: last`"),
                ));
            }
            let is_there = epoch.is_multiple_of(every) || epoch == last || table.may_end_earlier;
            (!is_there).then(|| {
                (
                    "epoch",
                    format!("`{of}` is measured every {every} epochs, and not at {epoch}"),
                    "give a multiple, or lower `eval_every` of the training".to_owned(),
                )
            })
        }
    }
}

/// The value that a name stands for, or why it stands for none, or for several; `others`: tables of
/// unknown values are asked for it too.
fn meant<'a>(
    values: &'a [ValueFact],
    of: &str,
    others: bool,
) -> Result<&'a ValueFact, (String, String)> {
    let full = |value: &ValueFact| match &value.split {
        Some(split) => format!("{split}_{}", value.name),
        None => value.name.clone(),
    };
    if let Some(value) = values.iter().find(|v| fits(&full(v), of)) {
        return Ok(value);
    }
    let named: Vec<&ValueFact> = values.iter().filter(|v| fits(&v.name, of)).collect();
    match named[..] {
        [one] => Ok(one),
        [] => {
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
            let near = begun.map(String::as_str).or_else(|| nearest(of, &names));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the values are {}", names.join(", ")),
            };
            Err((format!("these tables have no value `{of}`"), hint))
        }
        _ => {
            let names: BTreeSet<String> = named.into_iter().map(full).collect();
            let names = Vec::from_iter(names);
            let mut hint = format!("say which: `of: {}`", names[0]);
            if others {
                hint.push_str(
                    "; a table of a program of your own must call its value so too (docs/data.md)",
                );
            }
            Err((format!("`{of}` may mean {}", names.join(" or ")), hint))
        }
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

//! What a name on the command line stands for: a stage, a loop, a claim, an instance, or all
//! instances with some values (`train[lr=0.01]`), their axes in any order.
//!
//! Brackets mean what they mean under `needs:`. Knows nothing of results.

use std::fmt;

use crate::plan::{Instance, InstanceIndex, Plan};
use crate::similar;
use crate::spec::pick_value;

/// Values named in a message.
const VALUES_SHOWN: usize = 20;

/// A name that stands for nothing, and the nearest thing that is there.
#[derive(Debug)]
pub struct UnknownTarget {
    message: String,
    hint: String,
}

impl fmt::Display for UnknownTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.hint)
    }
}

impl std::error::Error for UnknownTarget {}

/// The instances a list of names stands for, in the order of the plan; all of them for an empty
/// list.
///
/// # Errors
/// The first name that stands for nothing.
pub fn resolve(plan: &Plan, names: &[String]) -> Result<Vec<InstanceIndex>, UnknownTarget> {
    let all = || (0..plan.instances.len() as u32).map(InstanceIndex);
    if names.is_empty() {
        return Ok(all().collect());
    }
    let mut targets = Vec::new();
    for name in names {
        let before = targets.len();
        let (claim, inner) = (format!("claim:{name}"), format!("{name}."));
        targets.extend(all().filter(|i| {
            let instance = plan.instance(*i);
            let in_loop = || instance.stage.starts_with(&inner);
            *instance.id == **name
                || *instance.stage == **name
                || *instance.stage == *claim
                || in_loop()
        }));
        if targets.len() == before {
            targets.extend(selected(plan, name)?);
        }
    }
    targets.sort_unstable();
    targets.dedup();
    Ok(targets)
}

fn selected(plan: &Plan, name: &str) -> Result<Vec<InstanceIndex>, UnknownTarget> {
    let picked = name
        .split_once('[')
        .and_then(|(stage, rest)| Some((stage.trim(), rest.trim_end().strip_suffix(']')?)));
    let Some((stage, inside)) = picked else {
        return Err(unknown(plan, name));
    };
    let mut found: Vec<InstanceIndex> = (0..plan.instances.len() as u32)
        .map(InstanceIndex)
        .filter(|i| *plan.instance(*i).stage == *stage)
        .collect();
    let Some(first) = found.first() else {
        return Err(unknown(plan, stage));
    };
    let axes: Vec<String> = plan
        .instance(*first)
        .axes
        .iter()
        .map(|(axis, _)| axis.to_string())
        .collect();
    for piece in inside.split(',').map(str::trim).filter(|p| *p != "*") {
        let wrong = |message: String, hint: String| Err(UnknownTarget { message, hint });
        let Some((axis, value)) = piece.split_once('=') else {
            return wrong(
                format!("`{name}`: `{piece}` picks nothing"),
                "write `axis=value` between the brackets, or `*`".to_owned(),
            );
        };
        let (axis, value) = (axis.trim(), value.trim());
        let here = found.clone();
        if axis == "round" && value == "last" {
            let round = |i: &InstanceIndex| on(plan.instance(*i), "round")?.value.as_u64();
            let last = here.iter().filter_map(round).max();
            found.retain(|i| last.is_some() && round(i) == last);
        } else {
            // As it is written first, then by what it is: `lr=0.001` finds `lr=1e-3`.
            let is_text =
                |i: &InstanceIndex| on(plan.instance(*i), axis).is_some_and(|v| *v.text == *value);
            let by_text = here.iter().any(is_text);
            let wanted = pick_value(value);
            found.retain(|i| match (by_text, &wanted) {
                (true, _) => is_text(i),
                (false, Some((wanted, text))) => on(plan.instance(*i), axis)
                    .is_some_and(|v| *v.text == **text || equal(&v.value, wanted)),
                (false, None) => false,
            });
        }
        if !found.is_empty() {
            continue;
        }
        let mut values: Vec<&str> = here
            .iter()
            .filter_map(|i| Some(&*on(plan.instance(*i), axis)?.text))
            .collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            let message = format!("`{stage}` has no axis `{axis}`");
            let hint = match axes.as_slice() {
                [] => "it has only one instance".to_owned(),
                axes => format!("its axes are {}", axes.join(", ")),
            };
            return wrong(message, hint);
        }
        let more = values.len().saturating_sub(VALUES_SHOWN);
        values.truncate(VALUES_SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        return wrong(
            format!("no instance `{name}`: none of these has {axis}={value}"),
            format!("`{axis}` is {}{more}", values.join(", ")),
        );
    }
    Ok(found)
}

fn on<'a>(instance: &'a Instance, axis: &str) -> Option<&'a crate::plan::AxisValue> {
    let found = instance.axes.iter().find(|(name, _)| **name == *axis);
    found.map(|(_, value)| &**value)
}

/// 1 and 1.0 are equal, as in joins.
fn equal(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64())
}

fn unknown(plan: &Plan, name: &str) -> UnknownTarget {
    let mut candidates: Vec<&str> = plan
        .instances
        .iter()
        .flat_map(|i| {
            [
                &*i.stage,
                &*i.id,
                i.stage.strip_prefix("claim:").unwrap_or(&i.stage),
            ]
        })
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    let otherwise = "`repro status` lists all stages, `repro status --all` all instances";
    UnknownTarget {
        message: format!("no stage or instance is called `{name}`"),
        hint: nearest(name, candidates.into_iter(), otherwise),
    }
}

/// `did you mean ...?`, or what lists the names.
pub fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match similar::nearest(name, candidates, name.chars().count() / 2) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    }
}

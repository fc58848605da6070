//! Checks `with:`: makes typed parameters of a JSON value and names every mistake by its path.
//!
//! Serde stops at the first error. Here the offending field is taken out (or given the name it most
//! likely should have had) and parsing starts again, so that a user sees all mistakes at once.
//! Knows no particular kind.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;
use serde_path_to_error::Segment;

use repro_protocol::kind::{Checked, ParamProblem};

use super::definition::Kind;
use crate::spelling::nearest;

mod words;

/// The search stops after this many problems.
const PROBLEMS_MAX: usize = 50;

/// Parses and checks the parameters of a kind. An absent `with:` (`null`) is an empty one.
pub fn check<K: Kind>(with: &Value, needs: &[String]) -> Result<Checked, Vec<ParamProblem>> {
    let (params, mut problems) = parse::<K::Params>(with);
    let Some(mut params) = params else {
        return Err(problems);
    };
    K::settle(&mut params);
    problems.extend(K::validate(&params, needs));
    if !problems.is_empty() {
        return Err(problems);
    }
    let outputs = K::outputs_with(&params, needs).map_err(|e| {
        vec![ParamProblem::whole(format!(
            "an output has no proper path: {e}"
        ))]
    })?;
    match serde_json::to_value(&params) {
        Ok(params) => Ok(Checked { params, outputs }),
        Err(e) => Err(vec![ParamProblem::whole(format!(
            "these parameters cannot be written down: {e}"
        ))]),
    }
}

/// The typed parameters, if the value could be understood, and everything wrong with it. If all
/// problems are misnamed fields, there are both, so that the other fields can be validated too.
pub fn parse<T: serde::de::DeserializeOwned + schemars::JsonSchema>(
    with: &Value,
) -> (Option<T>, Vec<ParamProblem>) {
    let mut params = None;
    let (usable, problems) = mistakes(
        with,
        &mut |value| read(value).map(|read| params = Some(read)),
        &|| schemars::schema_for!(T).to_value(),
    );
    (params.filter(|_| usable), problems)
}

/// Why a value is none of a type: in serde's words, and where.
pub struct Refused {
    /// Fields, indices and names of choices from the outside in.
    pub path: Vec<String>,
    /// What serde says.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_slice() {
            [] => f.write_str(&self.text),
            path => write!(f, "at `{}`: {}", path.join("."), self.text),
        }
    }
}

/// The one way from a value to typed parameters: whatever else were read from would compile what
/// serde makes of each type once more.
pub fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Refused> {
    serde_path_to_error::deserialize(value).map_err(|error| Refused {
        path: path_of(error.path()),
        text: error.into_inner().to_string(),
    })
}

/// Everything wrong with a value that `read` refuses, and whether the last thing read is what the
/// value says. Compiled once for all types.
fn mistakes(
    with: &Value,
    read: &mut dyn FnMut(&Value) -> Result<(), Refused>,
    schema: &dyn Fn() -> Value,
) -> (bool, Vec<ParamProblem>) {
    let mut value = if with.is_null() {
        Value::Object(Default::default())
    } else {
        with.clone()
    };
    if !value.is_object() {
        let message = format!("the parameters must be a map, not {}", describe(&value));
        let problem = ParamProblem::new(&[], message, "write `with: {name: value}`");
        return (false, vec![problem]);
    }
    let mut problems: Vec<ParamProblem> = Vec::new();
    // Known fields that were taken out: that they are missing now is not reported.
    let mut removed: BTreeSet<Vec<String>> = BTreeSet::new();
    // Where a field was given its likely name: (parent, likely name, name in the file).
    let mut renamed: Vec<(Vec<String>, String, String)> = Vec::new();
    // Made when it is first needed, because most parameters are right.
    let schema = LazyCell::new(schema);
    while problems.len() < PROBLEMS_MAX {
        let Refused { mut path, text } = match read(&value) {
            Ok(()) => return (removed.is_empty(), problems),
            Err(refused) => refused,
        };
        match Wrong::read(&text) {
            Wrong::UnknownField { name, expected } => {
                if path.last().is_none_or(|last| *last != name) {
                    path.push(name.clone());
                }
                let parent = path[..path.len() - 1].to_vec();
                let present = |value: &mut Value, field: &str| {
                    at(value, &parent).is_some_and(|v| v.get(field).is_some())
                };
                // A name of the field for something of another level is no slip of the pen.
                let of_other_level = words::alias(&name)
                    .filter(|ours| !expected.iter().any(|field| field == ours))
                    .and_then(|_| words::deeper(&schema, &parent, &name));
                let likely = match &of_other_level {
                    Some(_) => None,
                    None => nearest(&name, &expected).map(str::to_owned),
                };
                problems.push(ParamProblem {
                    path: in_file(path.clone(), &renamed),
                    message: format!("unknown field `{name}`"),
                    hint: match &likely {
                        Some(_) => hint(likely.as_deref(), &expected, "fields"),
                        None => of_other_level
                            .or_else(|| words::deeper(&schema, &parent, &name))
                            .or_else(|| hint(None, &expected, "fields")),
                    },
                });
                let free = likely
                    .filter(|l| !present(&mut value, l) && !removed.contains(&child(&parent, l)));
                let Some(Value::Object(map)) = at(&mut value, &parent) else {
                    return (false, problems);
                };
                let Some(content) = map.remove(&name) else {
                    return (false, problems);
                };
                if let Some(likely) = free {
                    map.insert(likely.clone(), content);
                    renamed.push((parent, likely, name));
                }
            }
            Wrong::Missing { name } => {
                if !removed.contains(&child(&path, &name)) {
                    problems.push(ParamProblem {
                        path: in_file(path.clone(), &renamed),
                        message: format!("the required field `{name}` is missing"),
                        hint: Some(format!("add `{name}:`")),
                    });
                }
                match take_out(&mut value, path) {
                    Some(taken) => removed.insert(taken),
                    None => return (false, problems),
                };
            }
            other => {
                let (message, hint) = match other {
                    Wrong::UnknownVariant { name, expected } => {
                        // The name of a choice is the last part of the path where the choice has
                        // content.
                        if path.last() == Some(&name)
                            && at(&mut value, &path[..path.len() - 1])
                                .is_some_and(|v| v.is_string())
                        {
                            path.pop();
                        }
                        // `{name: sgd}`: the path may end with the field.
                        let parent = match path.split_last() {
                            Some((last, parent)) if *last == name => parent,
                            _ => &path,
                        };
                        let parent = parent.to_vec();
                        let beside = words::named(&schema, &mut value, &parent);
                        let same = words::same_choice(&name, &expected);
                        let likely = same.or_else(|| nearest(&name, &expected));
                        let is_alone = at(&mut value, &path).is_some_and(|v| v.is_string());
                        let place = if is_alone { &path } else { &parent };
                        let within = |exactly| words::choice_within(&schema, place, &name, exactly);
                        // What is said by another name here is nearer than what is like it.
                        let written = within(true)
                            .or_else(|| within(false).filter(|_| same.is_none()))
                            .or_else(|| {
                                words::spelled_out(&schema, &path, likely.filter(|_| is_alone)?)
                            });
                        if beside.is_some() {
                            path = parent;
                        }
                        beside.unwrap_or_else(|| {
                            let written = written.map(|written| format!("write `{written}`"));
                            (
                                format!("unknown choice `{name}`"),
                                written.or_else(|| hint(likely, &expected, "choices")),
                            )
                        })
                    }
                    _ => words::refused(&schema, &mut value, &mut path, &text),
                };
                // If something was taken out of here, this problem may be the consequence.
                if !removed.iter().any(|r| r.starts_with(&path)) {
                    problems.push(ParamProblem {
                        path: in_file(path.clone(), &renamed),
                        message,
                        hint,
                    });
                }
                match take_out(&mut value, path) {
                    Some(taken) => removed.insert(taken),
                    None => return (false, problems),
                };
            }
        }
    }
    (false, problems)
}

/// An error of serde, parsed from its message: there is no other interface.
enum Wrong {
    UnknownField { name: String, expected: Vec<String> },
    UnknownVariant { name: String, expected: Vec<String> },
    Missing { name: String },
    Other,
}

impl Wrong {
    fn read(text: &str) -> Wrong {
        let mut quoted = text.split('`').skip(1).step_by(2).map(str::to_owned);
        let mut named = || (quoted.next().unwrap_or_default(), quoted.by_ref().collect());
        if text.starts_with("unknown field `") {
            let (name, expected) = named();
            Wrong::UnknownField { name, expected }
        } else if text.starts_with("unknown variant `") {
            let (name, expected) = named();
            Wrong::UnknownVariant { name, expected }
        } else if text.starts_with("missing field `") {
            Wrong::Missing { name: named().0 }
        } else {
            Wrong::Other
        }
    }
}

fn path_of(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        })
        .collect()
}

fn child(parent: &[String], name: &str) -> Vec<String> {
    parent.iter().cloned().chain([name.to_owned()]).collect()
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Object(map) => map.get_mut(part),
        Value::Array(items) => part.parse::<usize>().ok().and_then(|i| items.get_mut(i)),
        _ => None,
    })
}

/// Takes out the nearest map field at or above a mistake and returns its path. Lists keep their
/// items, so that paths stay valid.
fn take_out(value: &mut Value, mut path: Vec<String>) -> Option<Vec<String>> {
    while let Some((last, parent)) = path.split_last() {
        if let Some(Value::Object(map)) = at(value, parent)
            && map.remove(last).is_some()
        {
            return Some(path);
        }
        path.pop();
    }
    None
}

/// The path as the user wrote it: guessed names are replaced by the written ones.
fn in_file(mut path: Vec<String>, renamed: &[(Vec<String>, String, String)]) -> Vec<String> {
    // Parents hold likely names of earlier renamings, so the latest renaming is undone first.
    for (parent, likely, written) in renamed.iter().rev() {
        if path.len() > parent.len() && path.starts_with(parent) && path[parent.len()] == *likely {
            path[parent.len()] = written.clone();
        }
    }
    path
}

fn hint(likely: Option<&str>, expected: &[String], what: &str) -> Option<String> {
    match (likely, expected) {
        (Some(likely), _) => Some(format!("did you mean `{likely}`?")),
        (None, []) => Some(format!("there are no {what} here")),
        (None, _) => Some(format!("{what}: {}", expected.join(", "))),
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Params {
        seed: u64,
        #[serde(default)]
        rate: f64,
        #[serde(default)]
        schedule: Schedule,
        #[serde(default)]
        layers: Vec<Layer>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    enum Schedule {
        #[default]
        Constant,
        Cosine {
            epochs: u32,
        },
        Step(Layer),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Layer {
        width: u32,
    }

    fn problems(with: Value) -> Vec<(String, String, String)> {
        let (_, problems) = parse::<Params>(&with);
        problems
            .into_iter()
            .map(|p| (p.path.join("."), p.message, p.hint.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn understands_what_is_right() {
        let (params, problems) =
            parse::<Params>(&json!({"seed": 1, "rate": 2, "schedule": {"cosine": {"epochs": 3}}}));
        assert_eq!(problems, []);
        let value = serde_json::to_value(params.unwrap()).unwrap();
        assert_eq!(
            value,
            json!({"seed": 1, "rate": 2.0, "schedule": {"cosine": {"epochs": 3}}, "layers": []})
        );
        assert_eq!(value["rate"].to_string(), "2.0", "a float stays a float");
    }

    #[test]
    fn names_all_mistakes_at_once() {
        let found = problems(json!({
            "sede": 1, "rate": "fast", "unheard": 1,
            "schedule": {"cosine": {"epoch": "x"}},
            "layers": [{"width": 1}, {"widht": 2}, {"width": -1}],
        }));
        let paths: Vec<_> = found.iter().map(|f| f.0.as_str()).collect();
        let mut sorted = paths.clone();
        sorted.sort();
        assert_eq!(
            sorted,
            [
                "layers.1.widht",
                "layers.2.width",
                "rate",
                "schedule.cosine.epoch",
                "schedule.cosine.epoch",
                "sede",
                "unheard"
            ],
            "{found:#?}"
        );
        assert!(found.contains(&(
            "sede".into(),
            "unknown field `sede`".into(),
            "did you mean `seed`?".into()
        )));
        assert!(found.contains(&(
            "unheard".into(),
            "unknown field `unheard`".into(),
            "fields: seed, rate, schedule, layers".into()
        )));
    }

    #[test]
    fn names_unknown_choices() {
        let of = |schedule: Value| problems(json!({"seed": 1, "schedule": schedule}));
        // The right name in the form that it takes.
        assert_eq!(
            of(json!("cosin")),
            [(
                "schedule".to_owned(),
                "unknown choice `cosin`".to_owned(),
                "write `{cosine: {epochs: ...}}`".to_owned(),
            )]
        );
        let nested = of(json!({"cosin": {"epochs": 1}}));
        assert_eq!(nested.len(), 1, "{nested:?}");
        assert_eq!(nested[0].1, "unknown choice `cosin`");
        assert!(nested[0].0.starts_with("schedule"));
        assert_eq!(
            of(json!({"step": {"width": 1, "wide": 2}}))[0].0,
            "schedule.step.wide"
        );
    }

    #[test]
    fn a_missing_field_and_no_map() {
        assert_eq!(
            problems(Value::Null),
            [(
                "".into(),
                "the required field `seed` is missing".into(),
                "add `seed:`".into()
            )]
        );
        assert_eq!(
            problems(json!([1]))[0].1,
            "the parameters must be a map, not a list"
        );
        assert_eq!(
            problems(json!({"layers": [{}], "seed": 1}))[0].0,
            "layers.0"
        );
    }

    proptest::proptest! {
        #[test]
        fn ends_and_finds_something(keys in proptest::collection::vec("[a-z]{1,8}", 1..80)) {
            let with: Value = keys.iter().map(|k| (k.clone(), json!(k))).collect::<serde_json::Map<_, _>>().into();
            proptest::prop_assert!(!problems(with).is_empty());
        }
    }
}

//! One change between two states of a project: a field of a pipeline file, another file, or an
//! option that a run was given.
//!
//! Fields are compared as values, so layout and comments are no changes. A list is one value.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write;
use std::path::PathBuf;

use super::state::Options;
use crate::spec::yaml::{Data, Node, parse};

/// See the module.
#[derive(Debug, Clone)]
pub enum Unit {
    /// A field of a pipeline file, by its keys from the top; `None`: it is not there.
    Field {
        /// The file, relative to the repository.
        file: PathBuf,
        /// Its keys.
        path: Vec<String>,
        /// On the first side.
        before: Option<Node>,
        /// On the second one.
        after: Option<Node>,
    },
    /// An option of the command line.
    Option {
        /// `--profile`, or what is set.
        name: String,
        /// On the first side.
        before: Option<String>,
        /// On the second one.
        after: Option<String>,
    },
    /// A file, relative to the repository.
    File {
        /// The file.
        file: PathBuf,
        /// On which of the two sides it is.
        is_in: [bool; 2],
    },
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unit::Field {
                file,
                path,
                before,
                after,
            } => {
                let said = |node: &Option<Node>| {
                    node.as_ref()
                        .map_or_else(|| "(nothing)".to_owned(), |n| shortened(&text(n)))
                };
                write!(
                    f,
                    "{}: {}: {} → {}",
                    file.display(),
                    path.join("."),
                    said(before),
                    said(after)
                )
            }
            Unit::Option {
                name,
                before,
                after,
            } => {
                let said = |value: &Option<String>| {
                    let value = value.as_deref().unwrap_or("(nothing)");
                    shortened(value)
                };
                let option = match name == PROFILES {
                    true => name.clone(),
                    false => format!("--set {name}"),
                };
                write!(f, "{option}: {} → {}", said(before), said(after))
            }
            Unit::File { file, is_in } => {
                let what = match is_in {
                    [true, true] => "changed",
                    [false, _] => "added",
                    [true, false] => "removed",
                };
                write!(f, "{}: {what}", file.display())
            }
        }
    }
}

/// The profiles are one change: their order matters.
const PROFILES: &str = "--profile";

/// Options that differ.
pub fn options(before: &Options, after: &Options) -> Vec<Unit> {
    let profiles = |of: &Options| Some(of.profiles.join(",")).filter(|text| !text.is_empty());
    let set = |of: &Options, name: &String| of.sets.get(name).cloned();
    let names: BTreeSet<&String> = before.sets.keys().chain(after.sets.keys()).collect();
    let sets = names
        .into_iter()
        .map(|name| (name.clone(), set(before, name), set(after, name)));
    let profiles = (PROFILES.to_owned(), profiles(before), profiles(after));
    let all = [profiles].into_iter().chain(sets);
    let differ = all.filter(|(_, before, after)| before != after);
    differ
        .map(|(name, before, after)| Unit::Option {
            name,
            before,
            after,
        })
        .collect()
}

/// Gives an option its other value.
pub fn vary(options: &mut Options, name: &str, value: Option<&str>) {
    if name == PROFILES {
        let all = value.into_iter().flat_map(|text| text.split(','));
        options.profiles = all.map(str::to_owned).collect();
        return;
    }
    match value {
        Some(value) => drop(options.sets.insert(name.to_owned(), value.to_owned())),
        None => drop(options.sets.remove(name)),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.chars().count() > SHOWN {
        true => text.chars().take(SHOWN - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// The values of a YAML file; `None` if it has mistakes or is no map.
pub fn tree_of(path: &std::path::Path) -> Option<Node> {
    let text = std::fs::read_to_string(path).ok()?;
    let (node, problems) = parse(0, &text);
    node.filter(|n| problems.is_empty() && matches!(n.data, Data::Map(_)))
}

/// Adds the fields that differ, below `path`.
pub fn fields(
    file: &std::path::Path,
    before: &Node,
    after: &Node,
    path: &mut Vec<String>,
    units: &mut Vec<Unit>,
) {
    let mut keys: Vec<&str> = before.entries().iter().map(|(k, _)| &*k.name).collect();
    let new = after.entries().iter().map(|(k, _)| &*k.name);
    let new: Vec<&str> = new.filter(|k| before.get(k).is_none()).collect();
    keys.extend(new);
    for key in keys {
        path.push(key.to_owned());
        match (before.get(key), after.get(key)) {
            (Some(a), Some(b)) if is_map(a) && is_map(b) => fields(file, a, b, path, units),
            (a, b) if a.map(text) == b.map(text) => {}
            (a, b) => units.push(Unit::Field {
                file: file.to_owned(),
                path: path.clone(),
                before: a.cloned(),
                after: b.cloned(),
            }),
        }
        path.pop();
    }
}

fn is_map(node: &Node) -> bool {
    matches!(node.data, Data::Map(_))
}

/// A tree with fields changed: `chosen` are the units of this file, with what they change it to.
pub fn with(node: &Node, chosen: &[(&[String], Option<&Node>)]) -> String {
    let mut out = String::new();
    write_with(node, chosen, &mut out);
    out.push('\n');
    out
}

fn write_with(node: &Node, chosen: &[(&[String], Option<&Node>)], out: &mut String) {
    match &node.data {
        Data::Null | Data::Broken => out.push_str("null"),
        Data::Bool(b) => out.push_str(&b.text()),
        Data::Number(n) => out.push_str(&n.text()),
        Data::String(s) => quote(s, out),
        // Made by expansion, never by parsing.
        Data::Template(t) => {
            let _ = write!(out, "{t}");
        }
        Data::Seq(items) => {
            let items = items.iter().map(text);
            let _ = write!(out, "[{}]", items.collect::<Vec<_>>().join(", "));
        }
        Data::Map(entries) => {
            let mut written = Vec::new();
            for (key, value) in entries.iter() {
                let is_in = |path: &[String]| path.first().is_some_and(|k| **k == *key.name);
                let own = chosen.iter().filter(|(path, _)| is_in(path));
                let below: Vec<_> = own.map(|(path, other)| (&path[1..], *other)).collect();
                match below.iter().find(|(path, _)| path.is_empty()) {
                    Some((_, None)) => {}
                    Some((_, Some(other))) => written.push(entry(&key.name, &text(other))),
                    None => {
                        let mut changed = String::new();
                        write_with(value, &below, &mut changed);
                        written.push(entry(&key.name, &changed));
                    }
                }
            }
            for (path, other) in chosen {
                if let ([key], Some(other)) = (path, other)
                    && node.get(key).is_none()
                {
                    written.push(entry(key, &text(other)));
                }
            }
            let _ = write!(out, "{{{}}}", written.join(", "));
        }
    }
}

fn entry(key: &str, value: &str) -> String {
    let mut out = String::new();
    quote(key, &mut out);
    out + ": " + value
}

/// A value in flow style; numbers stand as they were written.
fn text(node: &Node) -> String {
    let mut out = String::new();
    write_with(node, &[], &mut out);
    out
}

/// JSON's quotes, which YAML reads.
fn quote(text: &str, out: &mut String) {
    crate::canonical::write_str(text, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let (node, problems) = parse(0, text);
        assert!(problems.is_empty());
        node.unwrap()
    }

    fn units(a: &str, b: &str) -> Vec<Unit> {
        let mut units = Vec::new();
        let (a, b) = (tree(a), tree(b));
        fields(
            std::path::Path::new("p.yaml"),
            &a,
            &b,
            &mut Vec::new(),
            &mut units,
        );
        units
    }

    const A: &str =
        "vars: {lr: 1e-3, seeds: [0, 1]}\nstages:\n  a: {run: \"x: 'y'\"}\n  gone: {run: z}\n";
    const B: &str = "# another comment\nstages:\n  new: {run: w}\n  a:\n    run: 'x: ''y'''\nvars: {lr: 1e-2, seeds: [0, 1, 2]}\n";

    #[test]
    fn fields_differ_by_value() {
        let said: Vec<String> = units(A, B).iter().map(ToString::to_string).collect();
        let expected = [
            "p.yaml: vars.lr: 1e-3 → 1e-2",
            "p.yaml: vars.seeds: [0, 1] → [0, 1, 2]",
            "p.yaml: stages.gone: {\"run\": \"z\"} → (nothing)",
            "p.yaml: stages.new: (nothing) → {\"run\": \"w\"}",
        ];
        assert_eq!(said, expected);
    }

    /// All changes give the other side, and none give the first: numbers stay as written.
    #[test]
    fn with_all_changes_it_is_the_other_side() {
        let all = units(A, B);
        let chosen: Vec<(&[String], Option<&Node>)> = all
            .iter()
            .map(|unit| match unit {
                Unit::Field { path, after, .. } => (&path[..], after.as_ref()),
                Unit::File { .. } | Unit::Option { .. } => unreachable!(),
            })
            .collect();
        let mixed = with(&tree(A), &chosen);
        assert!(units(&mixed, B).is_empty(), "{mixed}");
        assert!(units(&with(&tree(A), &[]), A).is_empty());
        assert!(mixed.contains("1e-2"), "{mixed}");
    }
}

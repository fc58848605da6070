//! `vars:` of the pipeline file: which files and values stand there so that every reference means
//! what it means in DVC.

use std::collections::BTreeSet;

use repro_engine::spec::yaml::{Key, Node, merge};

use super::expand::same;
use super::scope::{Origin, Scope, shown};
use crate::{Note, yaml};

/// Whether variables can be read from the file here.
pub fn is_readable(path: &str) -> bool {
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// Entries with each name once; maps of one name are merged, the later one wins.
fn merged<'a>(entries: impl IntoIterator<Item = &'a (Key, Node)>) -> Vec<(Key, Node)> {
    let mut merged: Vec<(Key, Node)> = Vec::new();
    for (key, node) in entries {
        match merged.iter_mut().find(|(k, _)| k.name == key.name) {
            Some((_, under)) => *under = merge(under, node),
            None => merged.push((key.clone(), node.clone())),
        }
    }
    merged
}

/// `vars:` with everything that is referred to; and what had to be copied.
pub fn vars(
    scope: &Scope,
    files: &[(String, Node)],
    heads: &BTreeSet<String>,
    notes: &mut Vec<Note>,
) -> Vec<String> {
    let number = |node: &Node| shown(node).unwrap_or_default();
    let has = |origin: &Origin| origin.map.iter().any(|(k, _)| heads.contains(&*k.name));
    let mut parts: Vec<(Option<String>, Vec<(Key, Node)>)> = Vec::new();
    // Files of which some keys are read come first: what else is in them counts for nothing.
    for (file, tree) in files {
        parts.push((Some(file.clone()), tree.entries().to_vec()));
    }
    for partly in [true, false] {
        for origin in scope
            .origins
            .iter()
            .filter(|o| has(o) && o.keys.is_some() == partly && o.file.is_some())
        {
            let readable = origin.file.as_deref().is_some_and(is_readable);
            let file = origin.file.clone().filter(|_| readable);
            if parts.iter().any(|(f, _)| f.is_some() && *f == file) {
                continue;
            }
            let map = match readable {
                true => origin.whole.clone(),
                false => origin
                    .map
                    .iter()
                    .filter(|(k, _)| heads.contains(&*k.name))
                    .cloned()
                    .collect(),
            };
            if let (false, Some(file)) = (readable, &origin.file) {
                notes.push(Note {
                    stage: None,
                    text: format!("the values of `{file}` are copied into `vars`: variables are read from YAML and JSON"),
                });
            }
            parts.push((file, map));
        }
    }
    let own: Vec<_> = scope
        .origins
        .iter()
        .filter(|o| o.file.is_none())
        .flat_map(|o| &o.map)
        .filter(|(k, _)| heads.contains(&*k.name))
        .cloned()
        .collect();
    if !own.is_empty() {
        // Values of one name from several entries are merged as DVC merges them.
        parts.push((None, merged(&own)));
    }
    // What the reader of the pipeline makes of it; where that is something else, values are copied.
    let seen = merged(parts.iter().flat_map(|(_, map)| map));
    let mut copied = Vec::new();
    for head in heads {
        let Some((key, node)) = scope.map.iter().find(|(k, _)| *k.name == **head) else {
            continue;
        };
        if !seen
            .iter()
            .any(|(k, n)| k.name == key.name && same(n, node))
        {
            copied.push((key.clone(), node.clone()));
            notes.push(Note {
                stage: None,
                text: format!("`{head}` has parts in several files of `vars`: its values are copied into `vars`, and no longer follow the files"),
            });
        }
    }
    if !copied.is_empty() {
        parts.push((None, copied));
    }
    parts
        .iter()
        .map(|(file, map)| match file {
            Some(file) => format!("{{file: {}}}", yaml::text(file)),
            None => {
                let entries: Vec<String> = map
                    .iter()
                    .map(|(k, n)| format!("{}: {}", yaml::text(&k.name), yaml::value(n, &number)))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        })
        .collect()
}

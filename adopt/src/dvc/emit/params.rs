//! Files of parameters of which only some keys count: entries of `config`, whose text is made of
//! variables.

use std::collections::BTreeMap;

use repro_engine::spec::yaml::{Data, Node};

use super::super::axes::is_name;
use super::super::expand::{self, Path};
use super::super::graph::Taken;
use super::super::paths::Place;
use super::super::scope::{follow, load};
use super::super::variables::is_readable;
use super::{Emitter, Used};
use crate::yaml;

impl Emitter<'_> {
    /// A file with the keys that count, as an entry of `config`; or why the whole file is taken.
    pub(super) fn chosen(
        &self,
        file: &Path,
        keys: &[String],
        members: &[usize],
        at: usize,
        used: &mut Used,
    ) -> Result<(String, String), Option<String>> {
        let Place::Inside(path) = &file.place else {
            return Err(None);
        };
        if keys.is_empty() || self.graph.taken(&file.place) != Taken::Nothing {
            return Err(None);
        }
        let whole = |why: &str| {
            Some(format!(
                "all of `{path}` is an input, so every change of it runs the stage: {why}"
            ))
        };
        let same = members.iter().all(|&m| {
            self.instances[m]
                .params
                .get(at)
                .is_some_and(|(f, k)| f.place == file.place && k == keys)
        });
        if !same {
            return Err(whole("its keys differ from item to item"));
        }
        let loaded = self
            .params
            .borrow_mut()
            .entry(path.clone())
            .or_insert_with(|| load(self.root, path, file.span, &mut self.report.borrow_mut()))
            .clone();
        let Some(tree) = loaded else {
            return Err(match path.ends_with(".py") {
                true => whole("it is a Python file"),
                false => None,
            });
        };
        if !is_readable(path) {
            return Err(whole("variables are read from YAML and JSON"));
        }
        // A name that another file gives a value would not mean this file's.
        let known = self
            .scope
            .origins
            .iter()
            .find(|o| o.file.as_deref() == Some(path));
        let extra: Vec<String> = used.files.iter().filter(|f| *f != path).cloned().collect();
        let is_free = |head: &str| {
            let others = self
                .scope
                .origins
                .iter()
                .filter(|o| o.file.as_deref() != Some(path));
            let mut extra = extra.iter();
            !others.flat_map(|o| &o.map).any(|(k, _)| *k.name == *head)
                && !extra
                    .by_ref()
                    .filter_map(|f| self.params.borrow().get(f).cloned().flatten())
                    .any(|t| t.get(head).is_some())
        };
        let mut names = Tree::default();
        for key in keys {
            let steps: Vec<String> = key.split('.').map(str::to_owned).collect();
            let Some(node) = follow(&tree, &steps) else {
                if key.contains(['*', '?', '[']) {
                    return Err(whole(&format!("`{key}` is a pattern")));
                }
                used.notes.insert(format!(
                    "`{path}` has no `{key}`, which it lists under params: left out"
                ));
                continue;
            };
            let in_maps = (1..=steps.len()).all(|n| {
                matches!(
                    follow(&tree, &steps[..n - 1]).map(|n| &n.data),
                    Some(Data::Map(_))
                )
            });
            let is_word = |s: &String| is_name(s) && !s.starts_with(|c: char| c.is_ascii_digit());
            if !in_maps || !steps.iter().all(is_word) {
                return Err(whole(&format!(
                    "`{key}` has a name that a reference cannot have"
                )));
            }
            if let Some(odd) = self.odd(node, path) {
                return Err(whole(&format!(
                    "`{key}` holds `{odd}`, which programs read in different ways"
                )));
            }
            let covered =
                known.is_some_and(|o| o.keys.as_ref().is_none_or(|keys| keys.contains(&steps[0])));
            let agrees = self
                .scope
                .find(&steps)
                .is_some_and(|n| expand::same(n, node));
            if !(covered && agrees) {
                let all_free = tree.entries().iter().all(|(k, _)| is_free(&k.name));
                if known.is_some() || !all_free {
                    return Err(whole(&format!(
                        "another file of variables has names of it, so `${{vars.{key}}}` would not be its value"
                    )));
                }
                used.files.insert(path.clone());
            }
            names.add(&steps);
            used.heads.insert(steps[0].clone());
        }
        if names.0.is_empty() {
            return Err(None);
        }
        Ok((path.clone(), names.text("vars")))
    }

    /// A value that readers of YAML 1.1 and 1.2 do not take for the same.
    fn odd(&self, node: &Node, path: &str) -> Option<String> {
        if path.ends_with(".json") {
            return None;
        }
        match &node.data {
            Data::Seq(items) => items.iter().find_map(|n| self.odd(n, path)),
            Data::Map(entries) => entries.iter().find_map(|(k, n)| {
                match is_name(&k.name) && !k.name.starts_with(|c: char| c.is_ascii_digit()) {
                    true => self.odd(n, path),
                    false => Some(k.name.to_string()),
                }
            }),
            Data::String(s) => {
                let report = self.report.borrow();
                let source = report.sources.get(node.span.source as usize)?;
                let slice = source.slice(node.span);
                let quoted = slice.trim_start().starts_with(['"', '\'', '|', '>']);
                let word =
                    ["y", "n", "yes", "no", "on", "off"].contains(&s.to_ascii_lowercase().as_str());
                let number = s.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                    && s.chars()
                        .all(|c| c.is_ascii_digit() || "_:-+.eExX TZabcdefABCDEFo".contains(c))
                    && s.contains(|c: char| c.is_ascii_digit());
                (!quoted && (word || number)).then(|| s.to_string())
            }
            Data::Number(n) => {
                let form = n.text();
                let digits = form.trim_start_matches(['-', '+']);
                let octal = digits.len() > 1
                    && digits.starts_with('0')
                    && !digits.contains(['.', 'e', 'E', 'x']);
                octal.then_some(form)
            }
            _ => None,
        }
    }
}

/// Names of variables as a tree, to be written with references in its leaves.
#[derive(Default)]
struct Tree(BTreeMap<String, Option<Tree>>);

impl Tree {
    fn add(&mut self, steps: &[String]) {
        match steps {
            [] => {}
            [last] => {
                self.0.insert(last.clone(), None);
            }
            [first, rest @ ..] => {
                if let Some(inner) = self
                    .0
                    .entry(first.clone())
                    .or_insert_with(|| Some(Tree::default()))
                {
                    inner.add(rest);
                }
            }
        }
    }

    fn text(&self, way: &str) -> String {
        let entries: Vec<String> = self
            .0
            .iter()
            .map(|(name, inner)| {
                let way = format!("{way}.{name}");
                let value = match inner {
                    None => yaml::quoted(&format!("${{{way}}}")),
                    Some(inner) => inner.text(&way),
                };
                format!("{}: {value}", yaml::text(name))
            })
            .collect();
        format!("{{{}}}", entries.join(", "))
    }
}

//! The values that `${...}` may stand for: `vars`, parameter files, `item` and `key`.
//!
//! Decides which value a reference means and how DVC writes it into a text
//! (`dvc/parsing/context.py`). Two sources that give one key different values are an error, as in
//! DVC; maps are merged.

use std::path::Path;

use repro_engine::spec::yaml::{
    Data, Key, Node, Problem, Report, Source, Span, Written, parse, read_text,
};
use serde_json::{Number, Value};

use super::file::Vars;
use super::paths;

/// The file that DVC reads without being asked.
pub const DEFAULT: &str = "params.yaml";

/// Where values come from.
#[derive(Clone)]
pub struct Origin {
    /// A file, by its path in the project; `None`: values in dvc.yaml.
    pub file: Option<String>,
    /// The keys that are read; all of them for none.
    pub keys: Option<Vec<String>>,
    /// What is read of it.
    pub map: Vec<(Key, Node)>,
    /// All that is in it.
    pub whole: Vec<(Key, Node)>,
}

/// Values by name.
#[derive(Clone, Default)]
pub struct Scope {
    /// In the order in which they are read.
    pub origins: Vec<Origin>,
    /// All of them, merged.
    pub map: Vec<(Key, Node)>,
    /// How many of the origins belong to the whole file; the others to one stage.
    pub shared: usize,
}

/// A file of values as a tree; `None` when it is not there.
pub fn load(root: &Path, path: &str, at: Span, report: &mut Report) -> Option<Node> {
    let full = root.join(path);
    if !full.is_file() {
        return None;
    }
    let text = match read_text(&full) {
        Ok(text) => text,
        Err(why) => {
            report.push(Problem::new(at, format!("{path}: {why}")));
            return None;
        }
    };
    let source = report.source(Source::new(path, text, String::new()));
    let text = &report.sources[source as usize].text;
    let start = Span::start_of(source);
    let wrong =
        |what: &str, why: String| Problem::new(start, format!("this is not valid {what}: {why}"));
    let node = if path.ends_with(".toml") {
        match toml::from_str::<Value>(text) {
            Ok(value) => from_json(&value, start),
            Err(e) => {
                let e = wrong("TOML", e.message().to_owned());
                report.push(e);
                return None;
            }
        }
    } else if path.ends_with(".json") {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => from_json(&value, start),
            Err(e) => {
                let e = wrong("JSON", e.to_string());
                report.push(e);
                return None;
            }
        }
    } else if path.ends_with(".py") {
        return None;
    } else {
        let (node, problems) = parse(source, text);
        if !problems.is_empty() {
            report.extend(problems);
            return None;
        }
        node.unwrap_or(Node {
            span: start,
            data: Data::Null,
        })
    };
    Some(node)
}

fn from_json(value: &Value, span: Span) -> Node {
    let data = match value {
        Value::Null => Data::Null,
        Value::Bool(b) => Data::Bool(Written::plain(*b)),
        Value::Number(n) => Data::Number(Written::plain(n.clone())),
        Value::String(s) => Data::String(s.as_str().into()),
        Value::Array(items) => Data::Seq(items.iter().map(|v| from_json(v, span)).collect()),
        Value::Object(map) => Data::Map(
            map.iter()
                .map(|(name, v)| {
                    let name = name.as_str().into();
                    (Key { name, span }, from_json(v, span))
                })
                .collect(),
        ),
    };
    Node { span, data }
}

impl Scope {
    /// Adds `vars`; paths in them are relative to `wdir`.
    pub fn add(&mut self, vars: &[Vars], wdir: &str, root: &Path, report: &mut Report) {
        for entry in vars {
            match entry {
                Vars::Map(node) => self.merge(None, None, node.entries().to_vec(), report),
                Vars::File { path, keys, span } => {
                    let Some(path) = paths::join(wdir, path).inside() else {
                        report.push(
                            Problem::new(*span, format!("`{path}` is outside of this directory"))
                                .help("copy it into the project: values are read from there"),
                        );
                        continue;
                    };
                    self.file(&path, keys.as_deref(), *span, root, report);
                }
            }
        }
    }

    /// Adds a file that `vars` names.
    fn file(
        &mut self,
        path: &str,
        keys: Option<&[String]>,
        span: Span,
        root: &Path,
        report: &mut Report,
    ) {
        let loaded = self
            .origins
            .iter()
            .filter(|o| o.file.as_deref() == Some(path));
        let mut before = false;
        for origin in loaded {
            before = true;
            match (&origin.keys, keys) {
                // It may be named several times as a whole.
                (None, None) => return,
                (Some(known), Some(keys)) if !keys.iter().any(|k| known.contains(k)) => {}
                _ => {
                    report.push(
                        Problem::new(
                            span,
                            format!("`{path}` is loaded already, in whole or in part"),
                        )
                        .help("DVC refuses this too: name it once, or each key once"),
                    );
                    return;
                }
            }
        }
        let errors = report.is_clean();
        let Some(node) = load(root, path, span, report) else {
            if !before && errors == report.is_clean() {
                let why = match path.ends_with(".py") {
                    true => "is a Python file, which is not read here",
                    false => "is not there",
                };
                report.push(
                    Problem::new(span, format!("`{path}` {why}"))
                        .help("`vars` names files of values: YAML, JSON or TOML"),
                );
            }
            return;
        };
        let map = node.entries().to_vec();
        if let Some(keys) = keys {
            for key in keys {
                if !map.iter().any(|(k, _)| *k.name == **key) {
                    report.push(
                        Problem::new(span, format!("`{path}` has no `{key}`"))
                            .suggest(key, map.iter().map(|(k, _)| &*k.name)),
                    );
                }
            }
        }
        self.merge(
            Some(path.to_owned()),
            keys.map(<[String]>::to_vec),
            map,
            report,
        );
    }

    /// Reads the file that needs no mention; or why it cannot be read. It may be that nothing refers
    /// to its values.
    pub fn default_file(&mut self, root: &Path, report: &mut Report) -> Option<String> {
        let mut trial = Report::default();
        let source = Source::new(DEFAULT, String::new(), String::new());
        let start = Span::start_of(trial.source(source));
        load(root, DEFAULT, start, &mut trial);
        if !trial.is_clean() {
            let said = trial.finish().render(false);
            let first = said.lines().next().unwrap_or_default();
            return Some(first.trim_start_matches("error: ").to_owned());
        }
        if let Some(node) = load(root, DEFAULT, Span::start_of(0), report) {
            let map = node.entries().to_vec();
            self.merge(Some(DEFAULT.to_owned()), None, map, report);
        }
        None
    }

    fn merge(
        &mut self,
        file: Option<String>,
        keys: Option<Vec<String>>,
        whole: Vec<(Key, Node)>,
        report: &mut Report,
    ) {
        let mut map = whole.clone();
        if let Some(keys) = &keys {
            map.retain(|(k, _)| keys.iter().any(|key| **key == *k.name));
        }
        for (key, node) in &map {
            match self.map.iter_mut().find(|(k, _)| k.name == key.name) {
                None => self.map.push((key.clone(), node.clone())),
                Some((_, under)) => match merged(under, node, &key.name) {
                    Ok(both) => *under = both,
                    Err(path) => report.push(
                        Problem::new(key.span, format!("`{path}` has a value already"))
                            .help("DVC refuses this too: keep one of them"),
                    ),
                },
            }
        }
        self.origins.push(Origin {
            file,
            keys,
            map,
            whole,
        });
    }

    /// The value a reference means, and whether it belongs to one stage only.
    pub fn find(&self, steps: &[String]) -> Option<&Node> {
        let (head, rest) = steps.split_first()?;
        let (_, node) = self.map.iter().find(|(k, _)| *k.name == **head)?;
        follow(node, rest)
    }

    /// Whether any of the stage's own `vars` has a part in a name.
    pub fn is_local(&self, head: &str) -> bool {
        let own = self.origins.iter().skip(self.shared);
        own.flat_map(|o| &o.map).any(|(k, _)| *k.name == *head)
    }
}

/// Maps merged; or the way to the value that both have.
fn merged(under: &Node, over: &Node, path: &str) -> Result<Node, String> {
    let (Data::Map(a), Data::Map(b)) = (&under.data, &over.data) else {
        return Err(path.to_owned());
    };
    let mut all = a.to_vec();
    for (key, node) in b.iter() {
        let path = format!("{path}.{}", key.name);
        match all.iter_mut().find(|(k, _)| k.name == key.name) {
            Some((_, known)) => *known = merged(known, node, &path)?,
            None => all.push((key.clone(), node.clone())),
        }
    }
    Ok(Node {
        span: over.span,
        data: Data::Map(all.into()),
    })
}

/// Follows steps into a value.
pub fn follow<'n>(mut node: &'n Node, steps: &[String]) -> Option<&'n Node> {
    for step in steps {
        node = match &node.data {
            Data::Map(_) => node.get(step)?,
            Data::Seq(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(node)
}

/// A single value as DVC writes it into a text; `None` for lists and maps.
pub fn shown(node: &Node) -> Option<String> {
    Some(match &node.data {
        Data::Null => "None".to_owned(),
        Data::Bool(b) => if b.value { "true" } else { "false" }.to_owned(),
        Data::Number(n) => python(&n.value),
        Data::String(s) => s.to_string(),
        _ => return None,
    })
}

/// A number as Python prints it.
pub fn python(n: &Number) -> String {
    if !n.is_f64() {
        return n.to_string();
    }
    let x = n.as_f64().unwrap_or(0.0);
    let text = format!("{x:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (text, python) in [
            ("1e-3", "0.001"),
            ("1e-5", "1e-05"),
            ("0.00012", "0.00012"),
            ("1e16", "1e+16"),
            ("123456789.0", "123456789.0"),
            ("3.10", "3.1"),
            ("5", "5"),
            ("1.5e-7", "1.5e-07"),
            ("0.0", "0.0"),
        ] {
            let n: Number = match text.parse::<i64>() {
                Ok(n) => n.into(),
                Err(_) => Number::from_f64(text.parse().unwrap()).unwrap(),
            };
            assert_eq!(super::python(&n), python, "{text}");
        }
    }
}

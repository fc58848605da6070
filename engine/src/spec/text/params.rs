//! Variables that come from files: `vars: {file: params.yaml}`, or a list of files and maps, the
//! later ones on top.
//!
//! A file of parameters is data: YAML or JSON, its texts as they are, so that one that other tools
//! read serves here too. Only what is referred to reaches a key. Decides when `vars` names files;
//! what a variable means is decided in [`super::settings`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::{Report, Source};
use super::document;
use super::files::{Document, read_text};
use super::node::{Data, Key, Node, Written};
use super::problem::{Problem, Span};
use super::settings::merge;
use super::template::{Part, Template};

/// What names of files of parameters end with.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];

/// Puts the contents of files in the place of their names, in `vars` of the files and of their
/// profiles.
pub fn read_all(
    documents: &mut [Document],
    root: &Path,
    files: &mut Vec<PathBuf>,
    report: &mut Report,
) {
    for document in documents {
        let mut reading = Reading {
            dir: document.dir.clone(),
            root,
            files,
            report,
        };
        let Data::Map(entries) = &document.root.data else {
            continue;
        };
        let mut entries = entries.to_vec();
        for (key, value) in &mut entries {
            match &*key.name {
                "vars" => reading.replace(value),
                "profiles" => {
                    let mut profiles = value.entries().to_vec();
                    for (_, profile) in &mut profiles {
                        let mut fields = profile.entries().to_vec();
                        fields
                            .iter_mut()
                            .filter(|(key, _)| &*key.name == "vars")
                            .for_each(|(_, vars)| reading.replace(vars));
                        if !fields.is_empty() {
                            profile.data = Data::Map(fields.into());
                        }
                    }
                    if !profiles.is_empty() {
                        value.data = Data::Map(profiles.into());
                    }
                }
                _ => {}
            }
        }
        document.root.data = Data::Map(entries.into());
    }
}

struct Reading<'a> {
    dir: PathBuf,
    root: &'a Path,
    files: &'a mut Vec<PathBuf>,
    report: &'a mut Report,
}

/// The name of a file, when this is `{file: NAME}`.
fn named(node: &Node) -> Option<(&str, Span)> {
    match node.entries() {
        [(key, name)] if &*key.name == "file" => Some((name.as_str()?, name.span)),
        _ => None,
    }
}

impl Reading<'_> {
    fn replace(&mut self, vars: &mut Node) {
        let parts: Vec<Node> = match &vars.data {
            Data::Seq(items) => items.to_vec(),
            // A variable may be called `file`; one that alone names such a file is none.
            Data::Map(_) if named(vars).is_some_and(|(name, _)| is_params(name)) => {
                vec![vars.clone()]
            }
            _ => return,
        };
        let mut all: Vec<(Key, Node)> = Vec::new();
        for part in &parts {
            let map = match (named(part), &part.data) {
                (Some((name, span)), _) => self.read(name, span),
                (None, Data::Map(_)) => Some(part.clone()),
                _ => {
                    self.report.push(
                        Problem::new(
                            part.span,
                            format!(
                                "expected a file or a map of values, found {}",
                                part.describe()
                            ),
                        )
                        .help("write `vars: [{file: params.yaml}, {name: value}]`"),
                    );
                    None
                }
            };
            for (key, value) in map.iter().flat_map(Node::entries) {
                match all.iter_mut().find(|(known, _)| known.name == key.name) {
                    Some((_, under)) => *under = merge(under, value),
                    None => all.push((key.clone(), value.clone())),
                }
            }
        }
        vars.data = Data::Map(all.into());
    }

    fn read(&mut self, name: &str, span: Span) -> Option<Node> {
        if !is_params(name) {
            let problem = Problem::new(span, format!("`{name}` is not a parameter file"));
            self.report
                .push(problem.help("a parameter file is YAML or JSON, and its name says so"));
            return None;
        }
        let path = self.dir.join(name);
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(problem) => {
                self.report.push(
                    Problem::new(span, format!("{name}: {problem}"))
                        .help("paths are relative to the file that names them"),
                );
                return None;
            }
        };
        let shown = path.strip_prefix(self.root).unwrap_or(&path).to_owned();
        let label = shown.display().to_string();
        self.files.push(shown);
        let source = self
            .report
            .source(Source::new(&label, text, "vars".to_owned()));
        let text = &self.report.sources[source as usize].text;
        let (node, problems) = document::parse(source, text);
        // JSON may be indented in ways that YAML does not allow.
        let json = || {
            serde_json::from_str::<Value>(text)
                .ok()
                .map(|v| from_json(&v, source))
        };
        let (node, problems) = match problems.is_empty() {
            true => (node, problems),
            false => match json().filter(|_| name.ends_with(".json")) {
                Some(node) => (Some(node), Vec::new()),
                None => (None, problems),
            },
        };
        let failed = !problems.is_empty();
        self.report.extend(problems);
        let node = match node {
            Some(node) if matches!(node.data, Data::Map(_)) => literal(&node),
            None
            | Some(Node {
                data: Data::Null, ..
            }) if !failed => Node {
                span: Span::start_of(source),
                data: Data::Map(Arc::from([])),
            },
            Some(node) if !failed => {
                self.report.push(Problem::new(
                    node.span,
                    format!("a file of parameters is a map, found {}", node.describe()),
                ));
                return None;
            }
            _ => return None,
        };
        self.report.sources[source as usize].root = Some(node.clone());
        Some(node)
    }
}

fn is_params(name: &str) -> bool {
    ENDINGS.iter().any(|end| name.ends_with(end))
}

/// The tree with `${` as a text like any other.
fn literal(node: &Node) -> Node {
    let data = match &node.data {
        Data::String(text) if text.contains("${") => Data::Template(Arc::new(Template {
            parts: vec![Part::Text(text.to_string())],
        })),
        Data::Seq(items) => Data::Seq(items.iter().map(literal).collect()),
        Data::Map(entries) => Data::Map(
            entries
                .iter()
                .map(|(k, v)| (k.clone(), literal(v)))
                .collect(),
        ),
        other => other.clone(),
    };
    Node {
        span: node.span,
        data,
    }
}

fn from_json(value: &Value, source: u32) -> Node {
    let span = Span::start_of(source);
    let data = match value {
        Value::Null => Data::Null,
        Value::Bool(b) => Data::Bool(Written::plain(*b)),
        Value::Number(n) => Data::Number(Written::plain(n.clone())),
        Value::String(s) => Data::String(s.as_str().into()),
        Value::Array(items) => Data::Seq(items.iter().map(|v| from_json(v, source)).collect()),
        Value::Object(map) => {
            let key = |name: &String| Key {
                name: name.as_str().into(),
                span,
            };
            Data::Map(
                map.iter()
                    .map(|(k, v)| (key(k), from_json(v, source)))
                    .collect(),
            )
        }
    };
    Node { span, data }
}

//! The values of `vars`: from files, profiles and `--set`, resolved against each other.
//!
//! Decides precedence (file, then profiles in the order given, then `--set`) and how maps are
//! merged. Knows nothing of stages but where `--set stages.NAME...` has to write.

use std::collections::HashMap;
use std::sync::Arc;

use super::decode::decode;
use super::diagnostic::{Report, Source};
use super::document;
use super::files::Document;
use super::model::Profile;
use super::node::{Data, Key, Node};
use super::problem::{Problem, Span};
use super::reference::{Reference, Root};
use super::substitute;

/// Nodes one variable may come to when its references are replaced.
const MAX_NODES: u64 = 200_000;
/// How many variables may refer to each other in a row.
const MAX_CHAIN: usize = 100;

/// What `--profile` and `--set` decided.
pub struct Settings {
    /// All variables.
    pub vars: Vec<(Key, Node)>,
    /// Mirrors of the last profile that names any.
    pub mirrors: Option<Node>,
}

/// Merges the variables of all files, the chosen profiles and `--set`; writes `--set stages...`
/// into the documents.
pub fn settle(
    documents: &mut [Document],
    profiles: &[String],
    sets: &[String],
    report: &mut Report,
) -> Settings {
    let mut vars: Vec<(Key, Node)> = Vec::new();
    let mut known: HashMap<Arc<str>, (usize, Span)> = HashMap::new();
    let mut found: HashMap<Arc<str>, (Span, Option<Profile>)> = HashMap::new();
    for document in documents.iter() {
        for (key, value) in section(&document.root, "vars", report) {
            match known.get(&key.name) {
                Some((_, first)) => report.push(twice("variable", key, *first)),
                None => {
                    known.insert(key.name.clone(), (vars.len(), key.span));
                    vars.push((key.clone(), value.clone()));
                }
            }
        }
        for (key, value) in section(&document.root, "profiles", report) {
            let (profile, problems) = decode::<Profile>(value);
            report.extend(problems);
            if let Some((first, _)) = found.insert(key.name.clone(), (key.span, profile)) {
                report.push(twice("profile", key, first));
            }
        }
    }
    // All profiles are checked, also those not chosen: a typo should not wait for its day.
    for (_, profile) in found.values() {
        for (key, _) in profile
            .iter()
            .flat_map(|p| p.vars.iter())
            .flat_map(|raw| raw.0.entries())
        {
            if !known.contains_key(&key.name) {
                report.push(
                    unknown_var(key.span, &key.name, &vars)
                        .help("a profile overrides variables; declare it under `vars:` first"),
                );
            }
        }
    }
    let mut mirrors = None;
    for name in profiles {
        let Some((_, profile)) = found.get(name.as_str()) else {
            let source = report.source(Source::new("--profile", name.clone(), String::new()));
            let span = Span {
                source,
                start: 0,
                end: name.chars().count() as u32,
            };
            let mut names: Vec<&str> = found.keys().map(|k| &**k).collect();
            names.sort_unstable();
            report.push(
                Problem::new(span, format!("there is no profile `{name}`")).suggest(name, names),
            );
            continue;
        };
        let Some(profile) = profile else { continue };
        for (key, value) in profile.vars.iter().flat_map(|raw| raw.0.entries()) {
            if let Some((at, _)) = known.get(&key.name) {
                vars[*at].1 = merge(&vars[*at].1, value);
            }
        }
        if let (Some(field), Some((_, Some(_)))) = (&profile.mirrors, found.get(name.as_str())) {
            mirrors = documents
                .iter()
                .find_map(|d| d.root.get("profiles")?.get(name)?.get("mirrors").cloned())
                .filter(|_| field.value.is_some());
        }
    }
    for set in sets {
        if let Err(problem) = apply_set(set, documents, &mut vars, report) {
            report.push(problem);
        }
    }
    Settings { vars, mirrors }
}

fn section<'a>(root: &'a Node, name: &str, report: &mut Report) -> &'a [(Key, Node)] {
    if let Some(node) = root.get(name)
        && !matches!(node.data, Data::Map(_) | Data::Null)
    {
        report.push(Problem::new(
            node.span,
            format!("expected a map of names, found {}", node.describe()),
        ));
    }
    root.get(name).map_or(&[], |n| n.entries())
}

/// The problem of a name that is declared in two places.
pub fn twice(what: &str, key: &Key, first: Span) -> Problem {
    Problem::new(
        key.span,
        format!("the {what} `{}` is declared twice", key.name),
    )
    .label("declared again here")
    .also(first, "first declared here")
}

fn unknown_var(span: Span, name: &str, vars: &[(Key, Node)]) -> Problem {
    let problem = Problem::new(span, format!("there is no variable `{name}`"));
    // `vars: {file: params.toml}`, which is a variable called `file`.
    if let [(key, value)] = vars
        && &*key.name == "file"
        && let Some(file) = value.as_str().filter(|text| text.contains('.'))
    {
        let is_read = "`vars: {file: ...}` reads parameters from YAML and JSON";
        return problem.help(format!(
            "{is_read}; `{file}` is none by its name, so `file` is a variable here"
        ));
    }
    problem.suggest(name, vars.iter().map(|(k, _)| &*k.name))
}

/// Maps are merged key by key; anything else is replaced. Choices are maps of one key, so a map of
/// one key replaces a map of one other key instead of making a choice of two.
pub fn merge(base: &Node, over: &Node) -> Node {
    let (Data::Map(old), Data::Map(new)) = (&base.data, &over.data) else {
        return over.clone();
    };
    if let ([(a, _)], [(b, _)]) = (&**old, &**new)
        && a.name != b.name
    {
        return over.clone();
    }
    let mut entries = old.to_vec();
    for (key, value) in new.iter() {
        match entries.iter_mut().find(|(k, _)| k.name == key.name) {
            Some(slot) => slot.1 = merge(&slot.1, value),
            None => entries.push((key.clone(), value.clone())),
        }
    }
    Node {
        span: over.span,
        data: Data::Map(entries.into()),
    }
}

fn apply_set(
    set: &str,
    documents: &mut [Document],
    vars: &mut [(Key, Node)],
    report: &mut Report,
) -> Result<(), Problem> {
    let (path, value) = set.split_once('=').unwrap_or((set, ""));
    let path = path.trim();
    let mut steps: Vec<String> = path
        .replace('[', ".")
        .replace(']', "")
        .split('.')
        .map(str::to_owned)
        .collect();
    if !matches!(steps[0].as_str(), "vars" | "stages") {
        steps.insert(0, "vars".to_owned());
    }
    let source = report.source(Source::new("--set", set.to_owned(), steps.join(".")));
    let before = set.len() - value.len();
    let whole = Span {
        source,
        start: 0,
        end: set[..before].trim_end_matches('=').chars().count() as u32,
    };
    if !set.contains('=') || steps.len() < 2 || steps.iter().any(String::is_empty) {
        return Err(Problem::new(
            whole,
            format!("`{}` does not say what to set", set.escape_debug()),
        )
        .help(
            "write `--set epochs=3`, `--set vars.epochs=3` or `--set stages.NAME.with.FIELD=3`",
        ));
    }
    // The value keeps its columns, so that carets point into what was typed.
    let padded = format!("{}{value}", " ".repeat(set[..before].chars().count()));
    let (node, problems) = document::parse(source, &padded);
    if !problems.is_empty() {
        report.extend(problems);
        return Ok(());
    }
    let value = node.unwrap_or(Node {
        span: whole,
        data: Data::Null,
    });
    let key = Key {
        name: steps[1].as_str().into(),
        span: whole,
    };
    if steps[0] == "vars" {
        let Some(at) = vars.iter().position(|(k, _)| k.name == key.name) else {
            return Err(unknown_var(whole, &key.name, vars));
        };
        vars[at].1 = write(&vars[at].1, &steps[2..], value, whole)?;
        return Ok(());
    }
    for document in documents.iter_mut() {
        if document
            .root
            .get("stages")
            .is_some_and(|stages| stages.get(&key.name).is_some())
        {
            if steps.len() < 3 {
                return Err(Problem::new(
                    whole,
                    "`--set` changes a field of a stage, not the whole stage",
                )
                .help(format!("write `--set stages.{}.with.FIELD=...`", key.name)));
            }
            document.root = write(&document.root, &steps, value, whole)?;
            return Ok(());
        }
    }
    let names: Vec<Arc<str>> = documents
        .iter()
        .filter_map(|d| d.root.get("stages"))
        .flat_map(|s| s.entries().iter().map(|(k, _)| k.name.clone()))
        .collect();
    Err(
        Problem::new(whole, format!("there is no stage `{}`", key.name))
            .suggest(&key.name, names.iter().map(|n| &**n)),
    )
}

/// The tree with a value put at a path; missing maps are made.
fn write(node: &Node, steps: &[String], value: Node, whole: Span) -> Result<Node, Problem> {
    let Some((step, rest)) = steps.split_first() else {
        return Ok(value);
    };
    let data = match &node.data {
        Data::Seq(items) => {
            let mut items = items.to_vec();
            let count = items.len();
            let Some(slot) = step.parse::<usize>().ok().and_then(|i| items.get_mut(i)) else {
                return Err(Problem::new(
                    whole,
                    format!("`{step}` is not a position in a list of {count}"),
                )
                .also(node.span, "the list"));
            };
            *slot = write(slot, rest, value, whole)?;
            Data::Seq(items.into())
        }
        Data::Map(_) | Data::Null => {
            let mut entries = node.entries().to_vec();
            match entries.iter_mut().find(|(k, _)| *k.name == **step) {
                Some(slot) => slot.1 = write(&slot.1, rest, value, whole)?,
                None => {
                    let fresh = write(
                        &Node {
                            span: whole,
                            data: Data::Null,
                        },
                        rest,
                        value,
                        whole,
                    )?;
                    entries.push((
                        Key {
                            name: step.as_str().into(),
                            span: whole,
                        },
                        fresh,
                    ));
                }
            }
            Data::Map(entries.into())
        }
        _ => {
            return Err(Problem::new(
                whole,
                format!("`{step}` cannot be set: {} is not a map", node.describe()),
            )
            .also(node.span, "this is what is there"));
        }
    };
    Ok(Node {
        span: node.span,
        data,
    })
}

enum State {
    Raw,
    Active,
    Failed,
    Done(Node, u64),
}

/// The variables and the environment, resolved on demand.
pub struct Vars<'a> {
    vars: Vec<(Key, Node)>,
    index: HashMap<Arc<str>, usize>,
    states: Vec<State>,
    active: Vec<usize>,
    /// Nodes of each active variable so far.
    sizes: Vec<u64>,
    env: &'a dyn Fn(&str) -> Option<String>,
    narrow: &'a dyn Fn(Span, &str) -> Span,
    problems: Vec<Problem>,
}

impl<'a> Vars<'a> {
    /// Variables, none resolved yet.
    pub fn new(
        vars: Vec<(Key, Node)>,
        env: &'a dyn Fn(&str) -> Option<String>,
        narrow: &'a dyn Fn(Span, &str) -> Span,
    ) -> Vars<'a> {
        let index = vars
            .iter()
            .enumerate()
            .map(|(i, (k, _))| (k.name.clone(), i))
            .collect();
        let states = vars.iter().map(|_| State::Raw).collect();
        Vars {
            vars,
            index,
            states,
            active: Vec::new(),
            sizes: Vec::new(),
            env,
            narrow,
            problems: Vec::new(),
        }
    }

    /// Resolves everything, used or not, and returns what is wrong.
    pub fn finish(mut self) -> Vec<Problem> {
        for i in 0..self.vars.len() {
            self.resolve(i);
        }
        self.problems
    }

    /// The tree with all references to variables and the environment replaced; `None` when nothing
    /// changes.
    pub fn substitute(&mut self, node: &Node) -> Option<Node> {
        let mut problems = Vec::new();
        let narrow = self.narrow;
        let result = substitute::substitute(
            node,
            narrow,
            &mut |reference, span| self.lookup(reference, span),
            &mut problems,
        );
        self.problems.extend(problems);
        result
    }

    fn lookup(&mut self, reference: &Reference, span: Span) -> Option<Result<Node, Problem>> {
        let head = reference.head();
        match reference.root {
            Root::Env
                if super::secrets::is_credential(head, &(self.env)(head).unwrap_or_default()) =>
            {
                Some(Err(super::secrets::advice(
                    head,
                    &format!("${{{reference}}}"),
                    span,
                )))
            }
            Root::Env => Some(match (self.env)(head) {
                Some(value) if reference.path.len() == 1 => Ok(Node {
                    span,
                    data: Data::String(value.into()),
                }),
                Some(_) => Err(Problem::new(
                    span,
                    format!("`${{{reference}}}`: a variable of the environment is a text"),
                )),
                None => Err(Problem::new(
                    span,
                    format!("the environment variable `{head}` is not set"),
                )
                .help(format!("run with `{head}=... repro run`"))),
            }),
            Root::Vars => {
                let Some(&i) = self.index.get(head) else {
                    return Some(Err(unknown_var(span, head, &self.vars)));
                };
                if let State::Active = self.states[i] {
                    let from = self.active.iter().position(|&a| a == i).unwrap_or(0);
                    let mut names: Vec<&str> = self.active[from..]
                        .iter()
                        .map(|&a| &*self.vars[a].0.name)
                        .collect();
                    names.push(head);
                    return Some(Err(Problem::new(
                        span,
                        format!(
                            "variables refer to each other in a circle: {}",
                            names.join(" → ")
                        ),
                    )));
                }
                if self.active.len() >= MAX_CHAIN {
                    return Some(Err(Problem::new(
                        span,
                        format!("variables refer to each other more than {MAX_CHAIN} deep"),
                    )));
                }
                self.resolve(i);
                let State::Done(node, size) = &self.states[i] else {
                    return Some(Ok(Node {
                        span,
                        data: Data::Broken,
                    }));
                };
                let (node, size) = (node.clone(), *size);
                if let Some(total) = self.sizes.last_mut() {
                    *total = total.saturating_add(size);
                    if *total > MAX_NODES {
                        return Some(Err(Problem::new(
                            span,
                            format!(
                                "a variable comes to more than {MAX_NODES} values when its references are replaced"
                            ),
                        )));
                    }
                }
                Some(substitute::follow(&node, reference, span).cloned())
            }
            Root::Matrix | Root::Round | Root::Needs | Root::Outputs | Root::Scratch => None,
        }
    }

    fn resolve(&mut self, i: usize) {
        if !matches!(self.states[i], State::Raw) {
            return;
        }
        self.states[i] = State::Active;
        self.active.push(i);
        self.sizes.push(count(&self.vars[i].1));
        let before = self.problems.len();
        let node = self.vars[i].1.clone();
        let node = self.substitute(&node).unwrap_or(node);
        self.active.pop();
        let size = self.sizes.pop().unwrap_or(1);
        self.states[i] = if self.problems.len() > before {
            State::Failed
        } else {
            State::Done(node, size)
        };
    }
}

fn count(node: &Node) -> u64 {
    match &node.data {
        Data::Seq(items) => 1 + items.iter().map(count).sum::<u64>(),
        Data::Map(entries) => 1 + entries.iter().map(|(_, v)| count(v)).sum::<u64>(),
        _ => 1,
    }
}

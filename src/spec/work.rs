//! What a stage does: its kind and parameters, or its command, prepared once and filled in per instance.
//!
//! Decides which fields go together, how problems inside `with:` find their place, and how references are put into commands.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::decode::{Raw, check_name, decode};
use super::diagnostic::{Problem, Span};
use super::document::{Data, Node};
use super::matrix::{ABSENT, Values};
use super::model;
use super::needs::Consumer;
use super::template::{Reference, Root, Step, Template, scalar_text};
use crate::catalog::{Catalog, CheckRequest, Kind, OutputSpec, ParamProblem};
use crate::plan::{Command, Need, Tool};
use crate::relpath::RelPath;

/// Describes programs named by `uses: ./program`, each once.
pub struct Kinds<'a> {
    catalog: &'a Catalog,
    root: &'a Path,
    external: &'a dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    known: HashMap<String, Result<Arc<Kind>, String>>,
}

impl<'a> Kinds<'a> {
    /// Nothing described yet.
    pub fn new(
        catalog: &'a Catalog,
        root: &'a Path,
        external: &'a dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    ) -> Kinds<'a> {
        Kinds {
            catalog,
            root,
            external,
            known: HashMap::new(),
        }
    }

    /// The kind of that name.
    pub fn find(&mut self, uses: &str, span: Span) -> Result<Arc<Kind>, Problem> {
        if !uses.starts_with("./") {
            if let Some(kind) = self.catalog.get(uses) {
                return Ok(kind.clone());
            }
            let problem = Problem::new(span, format!("there is no kind `{}`", uses.escape_debug()))
                .suggest(uses, self.catalog.kinds.iter().map(|k| k.name.as_str()));
            return Err(problem.help(
                "`repro kinds` lists all; a program of the project is written `./path/to/program`",
            ));
        }
        let (root, external) = (self.root, self.external);
        let known = self.known.entry(uses.to_owned()).or_insert_with(|| {
            let path = RelPath::new(uses).map_err(|e| e.to_string())?;
            external(&path.under(root)).map_err(|e| format!("{e:#}"))
        });
        known.clone().map_err(|e| {
            Problem::new(
                span,
                format!("`{}` cannot be used as a kind: {e}", uses.escape_debug()),
            )
        })
    }
}

/// A stage's work.
pub enum Work {
    /// A problem was reported.
    Broken,
    /// A kind.
    Kind(KindWork),
    /// A command.
    Command(CommandWork),
}

/// A kind and its parameters as written.
pub struct KindWork {
    /// The kind.
    pub kind: Arc<Kind>,
    with: Node,
    /// Where a problem of no field is shown.
    uses: Span,
    /// Axes its parameters read.
    axes: Vec<usize>,
    checked: HashMap<(Vec<u32>, Vec<String>), Option<Params>>,
}

/// Checked parameters and the outputs they lead to.
#[derive(Clone)]
pub struct Params {
    /// As in [`crate::catalog::Checked::params`].
    pub params: Arc<Value>,
    /// Sorted by name.
    pub outputs: Arc<[OutputSpec]>,
}

/// A command as written.
pub struct CommandWork {
    run: Node,
    shell: Vec<String>,
    env: Vec<(String, Node)>,
    tools: Vec<Tool>,
    outputs: Vec<(Arc<str>, Node)>,
    last: Option<Arc<Command>>,
    last_outputs: Option<Arc<[OutputSpec]>>,
}

/// Surroundings of [`prepare`].
pub struct Preparing<'a, 'k> {
    /// Kinds.
    pub kinds: &'a mut Kinds<'k>,
    /// The environment of `repro`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Puts a caret on a part of a scalar.
    pub narrow: &'a dyn Fn(Span, &str) -> Span,
}

/// Prepares the work of a stage whose name is written at `key`.
pub fn prepare(
    stage: &model::Stage,
    key: Span,
    consumer: &Consumer,
    needs: &[Arc<str>],
    with: &mut Preparing,
    problems: &mut Vec<Problem>,
) -> Work {
    let name = consumer.name;
    match (&stage.uses, &stage.run) {
        (None, None) => {
            problems.push(
                Problem::new(
                    key,
                    format!("`{name}` does nothing: it has neither `uses` nor `run`"),
                )
                .help("add `uses: KIND` or `run: COMMAND`"),
            );
            Work::Broken
        }
        (Some(uses), Some(Raw(run))) => {
            problems.push(
                Problem::new(run.span, format!("`{name}` has both `uses` and `run`"))
                    .also(uses.span, "`uses` is here")
                    .help("keep one: a stage is a kind or a command"),
            );
            Work::Broken
        }
        (Some(uses), None) => {
            for (field, given) in [
                ("shell", stage.shell.is_some()),
                ("outputs", stage.outputs.is_some()),
                ("env", stage.env.is_some()),
                ("tools", stage.tools.is_some()),
                ("sandbox", stage.sandbox.is_some()),
            ] {
                if given {
                    problems.push(
                        Problem::new(
                            key,
                            format!("`{field}` belongs to commands, and `{name}` uses a kind"),
                        )
                        .help(format!("remove `{field}`, or replace `uses` by `run`")),
                    );
                }
            }
            let Some(text) = &uses.value else {
                return Work::Broken;
            };
            let kind = match with.kinds.find(text, uses.span) {
                Ok(kind) => kind,
                Err(problem) => {
                    problems.push(problem);
                    return Work::Broken;
                }
            };
            let node = stage.with.as_ref().map_or(
                Node {
                    span: uses.span,
                    data: Data::Null,
                },
                |raw| raw.0.clone(),
            );
            KindWork::new(kind, node, uses.span, consumer, with.narrow, problems)
                .map_or(Work::Broken, Work::Kind)
        }
        (None, Some(Raw(run))) => {
            if let Some(Raw(node)) = &stage.with {
                problems.push(
                    Problem::new(
                        node.span,
                        format!("`with` belongs to kinds, and `{name}` is a command"),
                    )
                    .help("put values into the command with `${vars.name}`"),
                );
            }
            command(stage, run, key, consumer, needs, with, problems)
                .map_or(Work::Broken, Work::Command)
        }
    }
}

impl KindWork {
    /// Prepares parameters; `None` when a reference in them cannot be followed.
    pub fn new(
        kind: Arc<Kind>,
        with: Node,
        uses: Span,
        consumer: &Consumer,
        narrow: &dyn Fn(Span, &str) -> Span,
        problems: &mut Vec<Problem>,
    ) -> Option<KindWork> {
        if !matches!(with.data, Data::Map(_) | Data::Null) {
            problems.push(Problem::new(
                with.span,
                format!("expected a map of parameters, found {}", with.describe()),
            ));
            return None;
        }
        let before = problems.len();
        let mut axes = Vec::new();
        if has_broken(&with) {
            return None;
        }
        templates(&with, &mut |template, span| {
            for reference in template.references() {
                match consumer.axis(reference, narrow(span, &format!("${{{reference}}}"))) {
                    Ok(at) => axes.push(at),
                    Err(problem) => problems.push(problem),
                }
            }
        });
        axes.sort_unstable();
        axes.dedup();
        (problems.len() == before).then(|| KindWork {
            kind,
            with,
            uses,
            axes,
            checked: HashMap::new(),
        })
    }

    /// The parameters for a row, checked; the same values are checked once.
    pub fn params(
        &mut self,
        id: &str,
        row: &[u32],
        names: &[String],
        consumer: &Consumer,
        values: &Values,
        problems: &mut Vec<Problem>,
    ) -> Option<Params> {
        let key = (
            self.axes.iter().map(|&at| row[at]).collect::<Vec<u32>>(),
            names.to_vec(),
        );
        if let Some(known) = self.checked.get(&key) {
            return known.clone();
        }
        let made = self
            .check(id, row, names, consumer, values)
            .map_err(|found| problems.extend(found))
            .ok();
        self.checked.insert(key, made.clone());
        made
    }

    fn check(
        &self,
        id: &str,
        row: &[u32],
        names: &[String],
        consumer: &Consumer,
        values: &Values,
    ) -> Result<Params, Vec<Problem>> {
        let params = match to_value(&self.with, row, consumer, values).map_err(|p| vec![p])? {
            Value::Null => Value::Object(serde_json::Map::new()),
            params => params,
        };
        let checked = (self.kind.check)(&CheckRequest {
            params: &params,
            needs: names,
        })
        .map_err(|found| {
            let unexplained = ParamProblem {
                path: Vec::new(),
                message: "the kind refuses these parameters and does not say why".to_owned(),
                hint: None,
            };
            let found = if found.is_empty() {
                vec![unexplained]
            } else {
                found
            };
            found
                .into_iter()
                .map(|p| self.place(p, id))
                .collect::<Vec<_>>()
        })?;
        let mut outputs = checked.outputs;
        outputs.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some((a, b)) = overlap(&outputs) {
            return Err(vec![Problem::new(
                self.uses,
                format!(
                    "the kind `{}` gives its outputs `{a}` and `{b}` one path",
                    self.kind.name
                ),
            )]);
        }
        Ok(Params {
            params: Arc::new(checked.params),
            outputs: outputs.into(),
        })
    }

    /// Finds the node that a problem of the kind is about.
    fn place(&self, problem: ParamProblem, id: &str) -> Problem {
        let mut node = &self.with;
        let mut span = self.uses;
        let mut missing: Vec<&str> = Vec::new();
        if !matches!(node.data, Data::Null) && problem.path.is_empty() {
            span = node.span;
        }
        for step in &problem.path {
            if !missing.is_empty() {
                missing.push(step);
                continue;
            }
            let next = match &node.data {
                Data::Map(entries) => {
                    entries
                        .iter()
                        .find(|(k, _)| *k.name == **step)
                        .map(|(k, v)| {
                            let scalar = !matches!(v.data, Data::Map(_) | Data::Seq(_))
                                && !problem.message.starts_with("unknown");
                            (if scalar { v.span } else { k.span }, v)
                        })
                }
                Data::Seq(items) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|i| items.get(i))
                    .map(|v| (v.span, v)),
                _ => None,
            };
            match next {
                Some((at, child)) => (span, node) = (at, child),
                None => missing.push(step),
            }
        }
        let mut message = problem.message;
        if !missing.is_empty() && !message.contains(&format!("`{}`", missing[missing.len() - 1])) {
            message = format!("`{}`: {message}", missing.join("."));
        }
        let mut placed = Problem::new(span, message);
        placed.help.extend(problem.hint);
        if !self.axes.is_empty() {
            placed.label = Some(format!("in `{id}`"));
        }
        placed
    }
}

fn command(
    stage: &model::Stage,
    run: &Node,
    key: Span,
    consumer: &Consumer,
    needs: &[Arc<str>],
    with: &mut Preparing,
    problems: &mut Vec<Problem>,
) -> Option<CommandWork> {
    let before = problems.len();
    let mut made = CommandWork {
        run: run.clone(),
        shell: Vec::new(),
        env: Vec::new(),
        tools: Vec::new(),
        outputs: Vec::new(),
        last: None,
        last_outputs: None,
    };
    if matches!(run.data, Data::Broken) {
        return None;
    }
    if scalar_text(&run.data).is_none_or(|t| t.trim().is_empty())
        && !matches!(run.data, Data::Template(_))
    {
        problems.push(Problem::new(
            run.span,
            format!("expected a command, found {}", run.describe()),
        ));
    } else if scalar_text(&run.data).is_some_and(|t| t.contains('\0')) {
        problems.push(Problem::new(run.span, "a command cannot hold a NUL byte"));
    }
    made.shell = match &stage.shell {
        None => ["sh", "-eu", "-c"].map(str::to_owned).to_vec(),
        // `shell: bash` alone would take the command for the name of a script.
        Some(list) if list.0.len() == 1 => list.0[0]
            .value
            .iter()
            .flat_map(|s| [s.clone(), "-c".to_owned()])
            .collect(),
        Some(list) => list.0.iter().filter_map(|f| f.value.clone()).collect(),
    };
    if made.shell.is_empty() && stage.shell.as_ref().is_some_and(|s| s.0.is_empty()) {
        problems.push(
            Problem::new(key, "`shell` names no program")
                .help("write `shell: [bash, -euo, pipefail, -c]`"),
        );
    }
    for (key, field) in stage.outputs.iter().flat_map(|o| &o.list) {
        match check_name(key, "an output") {
            Ok(name) => made
                .outputs
                .extend(field.value.as_ref().map(|raw| (name, raw.0.clone()))),
            Err(problem) => problems.push(problem),
        }
    }
    made.outputs.sort_by(|a, b| a.0.cmp(&b.0));
    if made.outputs.is_empty() && stage.outputs.as_ref().is_none_or(|o| o.list.is_empty()) {
        problems.push(
            Problem::new(
                key,
                format!("the command `{}` has no `outputs`", consumer.name),
            )
            .help("add `outputs: {result: result.txt}` and write to `${outputs.result}`"),
        );
    }
    for (_, node) in &made.outputs {
        if scalar_text(&node.data).is_none() && !matches!(node.data, Data::Template(_)) {
            problems.push(Problem::new(
                node.span,
                format!("expected a path, found {}", node.describe()),
            ));
        }
        check_templates(node, consumer, None, with.narrow, problems);
    }
    made.env = environment(stage, with, problems);
    made.tools = tools(stage, problems);
    let names: Vec<&str> = made.outputs.iter().map(|(n, _)| &**n).collect();
    let inside = Some((needs, names.as_slice()));
    check_templates(run, consumer, inside, with.narrow, problems);
    for (_, node) in &made.env {
        check_templates(node, consumer, inside, with.narrow, problems);
    }
    (problems.len() == before).then_some(made)
}

fn environment(
    stage: &model::Stage,
    with: &Preparing,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Node)> {
    let Some(Raw(node)) = &stage.env else {
        return Vec::new();
    };
    let mut env: Vec<(String, Node)> = Vec::new();
    let good = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let bad = |name: &str, span: Span| {
        Problem::new(
            span,
            format!(
                "`{}` cannot be the name of an environment variable",
                name.escape_debug()
            ),
        )
    };
    match &node.data {
        Data::Map(entries) => {
            for (key, value) in entries.iter() {
                if !good(&key.name) {
                    problems.push(bad(&key.name, key.span));
                } else if matches!(value.data, Data::Seq(_) | Data::Map(_)) {
                    problems.push(Problem::new(
                        value.span,
                        format!("expected a single value, found {}", value.describe()),
                    ));
                } else if matches!(value.data, Data::Null) {
                    problems.push(Problem::new(key.span, format!("`{}` has no value", key.name)).help(format!("write `{0}: \"\"` for an empty one, or `{0}: \"${{env.{0}}}\"` for the present one", key.name)));
                } else if scalar_text(&value.data).is_some_and(|t| t.contains('\0')) {
                    problems.push(Problem::new(
                        value.span,
                        "a value of the environment cannot hold a NUL byte",
                    ));
                } else {
                    env.push((key.name.to_string(), value.clone()));
                }
            }
        }
        Data::Seq(items) => {
            for item in items.iter() {
                match item.as_str() {
                    Some(name) if good(name) => match (with.env)(name) {
                        Some(value) => env.push((name.to_owned(), Node { span: item.span, data: Data::String(value.into()) })),
                        None => problems.push(Problem::new(item.span, format!("the environment variable `{name}` is not set")).help(format!("run with `{name}=... repro run`, or give it a value: `env: {{{name}: ...}}`"))),
                    },
                    Some(name) => problems.push(bad(name, item.span)),
                    None => problems.push(Problem::new(item.span, format!("expected the name of an environment variable, found {}", item.describe()))),
                }
            }
        }
        Data::Null => {}
        _ => problems.push(Problem::new(
            node.span,
            format!(
                "expected a map of values or a list of names, found {}",
                node.describe()
            ),
        )),
    }
    env
}

fn tools(stage: &model::Stage, problems: &mut Vec<Problem>) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    for field in stage.tools.iter().flat_map(|t| t.value.iter().flatten()) {
        let Raw(node) = field;
        let tool = match &node.data {
            Data::String(program) => Some((program.to_string(), None)),
            _ => {
                let (tool, found) = decode::<model::Tool>(node);
                problems.extend(found);
                tool.map(|t| {
                    (
                        t.program,
                        t.version
                            .map(|v| v.0.into_iter().filter_map(|f| f.value).collect()),
                    )
                })
            }
        };
        let Some((program, version)) = tool else {
            continue;
        };
        let version_command: Vec<String> =
            version.unwrap_or_else(|| vec![program.clone(), "--version".to_owned()]);
        if program.is_empty() || version_command.is_empty() {
            problems.push(Problem::new(
                node.span,
                "a tool needs a program and a command that tells its version",
            ));
        } else if tools.iter().any(|t| t.program == program) {
            problems.push(Problem::new(
                node.span,
                format!("the tool `{program}` is given twice"),
            ));
        } else {
            tools.push(Tool {
                program,
                version_command,
            });
        }
    }
    tools.sort_by(|a, b| a.program.cmp(&b.program));
    tools
}

fn has_broken(node: &Node) -> bool {
    match &node.data {
        Data::Broken => true,
        Data::Seq(items) => items.iter().any(has_broken),
        Data::Map(entries) => entries.iter().any(|(_, n)| has_broken(n)),
        _ => false,
    }
}

/// Calls `f` for every template in a tree.
fn templates(node: &Node, f: &mut dyn FnMut(&Template, Span)) {
    match &node.data {
        Data::Template(template) => f(template, node.span),
        Data::Seq(items) => items.iter().for_each(|n| templates(n, f)),
        Data::Map(entries) => entries.iter().for_each(|(_, n)| templates(n, f)),
        _ => {}
    }
}

fn check_templates(
    node: &Node,
    consumer: &Consumer,
    inside: Option<(&[Arc<str>], &[&str])>,
    narrow: &dyn Fn(Span, &str) -> Span,
    problems: &mut Vec<Problem>,
) {
    templates(node, &mut |template, span| {
        for reference in template.references() {
            let at = narrow(span, &format!("${{{reference}}}"));
            let head = reference.head();
            match (reference.root, inside) {
                (Root::Needs, Some((needs, _))) if !needs.iter().any(|n| **n == *head) => problems
                    .push(
                        Problem::new(at, format!("`{}` has no need `{head}`", consumer.name))
                            .suggest(head, needs.iter().map(|n| &**n)),
                    ),
                (Root::Outputs, Some((_, outputs))) if !outputs.contains(&head) => problems.push(
                    Problem::new(at, format!("`{}` has no output `{head}`", consumer.name))
                        .suggest(head, outputs.iter().copied()),
                ),
                (Root::Outputs, Some(_)) if reference.path.len() > 1 => {
                    problems.push(Problem::new(
                        at,
                        format!("`${{{reference}}}`: an output is a single path"),
                    ))
                }
                (Root::Needs | Root::Outputs, Some(_)) => {}
                _ => problems.extend(consumer.axis(reference, at).err()),
            }
        }
    });
}

/// A tree as JSON, its templates filled in for a row.
fn to_value(
    node: &Node,
    row: &[u32],
    consumer: &Consumer,
    values: &Values,
) -> Result<Value, Problem> {
    Ok(match &node.data {
        Data::Null | Data::Broken => Value::Null,
        Data::Bool(b) => Value::Bool(*b),
        Data::Number(n) => Value::Number(n.clone()),
        Data::String(s) => Value::String(s.to_string()),
        Data::Seq(items) => Value::Array(
            items
                .iter()
                .map(|n| to_value(n, row, consumer, values))
                .collect::<Result<_, _>>()?,
        ),
        Data::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(k, n)| Ok((k.name.to_string(), to_value(n, row, consumer, values)?)))
                .collect::<Result<_, Problem>>()?,
        ),
        Data::Template(template) => match template.whole() {
            Some(reference) => {
                let at = consumer.axis(reference, node.span)?;
                if row[at] == ABSENT {
                    return Err(consumer.lacks(at, node.span));
                }
                values.value(row[at]).clone()
            }
            None => Value::String(consumer.text(template, row, values, node.span)?),
        },
    })
}

impl CommandWork {
    /// The outputs for a row.
    pub fn outputs(
        &mut self,
        row: &[u32],
        consumer: &Consumer,
        values: &Values,
    ) -> Result<Arc<[OutputSpec]>, Problem> {
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (name, node) in &self.outputs {
            let text = match &node.data {
                Data::Template(template) => consumer.text(template, row, values, node.span)?,
                data => scalar_text(data).unwrap_or_default(),
            };
            let path = RelPath::new(&text).map_err(|e| {
                Problem::new(node.span, format!("the output `{name}`: {e}"))
                    .help("outputs are written inside the command's private directory")
            })?;
            outputs.push(OutputSpec {
                name: name.clone(),
                path,
            });
        }
        if let Some(known) = &self.last_outputs
            && **known == *outputs
        {
            return Ok(known.clone());
        }
        if let Some((a, b)) = overlap(&outputs) {
            let span = |name: &str| {
                self.outputs
                    .iter()
                    .find(|(n, _)| **n == *name)
                    .map(|(_, node)| node.span)
            };
            if let (Some(first), Some(second)) = (span(&a), span(&b)) {
                return Err(Problem::new(
                    second.max(first),
                    format!(
                        "the outputs `{a}` and `{b}` have one path, or one lies inside the other"
                    ),
                )
                .also(first.min(second), "the other one")
                .help("give each a path of its own"));
            }
        }
        let outputs: Arc<[OutputSpec]> = outputs.into();
        self.last_outputs = Some(outputs.clone());
        Ok(outputs)
    }

    /// Where an output is written.
    pub fn output_span(&self, name: &str) -> Span {
        self.outputs
            .iter()
            .find(|(n, _)| **n == *name)
            .map_or(self.run.span, |(_, node)| node.span)
    }

    /// The command for a row; equal ones are shared.
    pub fn command(
        &mut self,
        row: &[u32],
        consumer: &Consumer,
        values: &Values,
        needs: &[Need],
        outputs: &[OutputSpec],
    ) -> Result<Arc<Command>, Problem> {
        let fill = |node: &Node, quoted: bool| match &node.data {
            Data::Template(template) => template.fill(|reference| {
                reference_text(
                    reference, row, consumer, values, needs, outputs, node.span, quoted,
                )
            }),
            data => Ok(scalar_text(data).unwrap_or_default()),
        };
        let script = fill(&self.run, true)?;
        let env: BTreeMap<String, String> = self
            .env
            .iter()
            .map(|(name, node)| Ok((name.clone(), fill(node, false)?)))
            .collect::<Result<_, Problem>>()?;
        if let Some(last) = &self.last
            && last.script == script
            && last.env == env
        {
            return Ok(last.clone());
        }
        let command = Arc::new(Command {
            script,
            shell: self.shell.clone(),
            env,
            tools: self.tools.clone(),
        });
        self.last = Some(command.clone());
        Ok(command)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything a reference in a command may name"
)]
fn reference_text(
    reference: &Reference,
    row: &[u32],
    consumer: &Consumer,
    values: &Values,
    needs: &[Need],
    outputs: &[OutputSpec],
    span: Span,
    quoted: bool,
) -> Result<String, Problem> {
    let head = reference.head();
    let show = |path: &RelPath| {
        if quoted {
            quote(path.as_str())
        } else {
            path.as_str().to_owned()
        }
    };
    match reference.root {
        Root::Outputs => Ok(outputs
            .iter()
            .find(|o| *o.name == *head)
            .map(|o| show(&o.path))
            .unwrap_or_default()),
        Root::Needs => {
            // A need that is absent (a loop's binding in round 0) is an empty text.
            let Some(need) = needs.iter().find(|n| *n.name == *head) else {
                return Ok(String::new());
            };
            let group = match reference.path.get(1) {
                None => None,
                Some(Step::Key(key)) => Some(key.clone()),
                Some(Step::Index(i)) => Some(i.to_string()),
            };
            let chosen: Vec<String> = need
                .items
                .iter()
                .filter(|item| group.as_deref().is_none_or(|g| *item.group == *g))
                .map(|item| show(&item.placed_at))
                .collect();
            if chosen.is_empty() || reference.path.len() > 2 {
                let mut groups: Vec<&str> = need
                    .items
                    .iter()
                    .map(|item| &*item.group)
                    .filter(|g| !g.is_empty())
                    .collect();
                groups.dedup();
                return Err(Problem::new(
                    span,
                    format!("`${{{reference}}}`: `{head}` has no such group"),
                )
                .suggest(group.as_deref().unwrap_or(""), groups));
            }
            Ok(chosen.join(" "))
        }
        _ => {
            let at = consumer.axis(reference, span)?;
            if row[at] == ABSENT {
                Err(consumer.lacks(at, span))
            } else {
                Ok(super::refs::scalar(values.value(row[at])))
            }
        }
    }
}

/// A path as one word of a POSIX shell; quoted only when needed.
pub fn quote(path: &str) -> String {
    let path = if path.starts_with('-') {
        format!("./{path}")
    } else {
        path.to_owned()
    };
    if path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&b))
    {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// Two outputs of which one has the path of the other or lies inside it.
fn overlap(outputs: &[OutputSpec]) -> Option<(Arc<str>, Arc<str>)> {
    outputs.iter().enumerate().find_map(|(i, a)| {
        outputs[i + 1..]
            .iter()
            .find(|b| a.path.is_within(&b.path) || b.path.is_within(&a.path) || a.name == b.name)
            .map(|b| (a.name.clone(), b.name.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_what_a_shell_reads_back() {
        for path in [
            "plain/x.csv",
            "with space",
            "it's",
            "$HOME `x` \"y\"",
            "-n",
            "ü",
            "new\nline",
            "a;b",
            "~",
            "*",
        ] {
            let out = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(path))])
                .output()
                .unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            assert_eq!(
                text.strip_prefix("./")
                    .filter(|_| path.starts_with('-'))
                    .unwrap_or(&text),
                path
            );
        }
        assert_eq!(
            quote("in/x/lr=0.1,seed=1/a.csv"),
            "in/x/lr=0.1,seed=1/a.csv"
        );
    }
}

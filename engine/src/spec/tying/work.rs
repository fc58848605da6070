//! What a stage does: its kind and checked parameters, or its command.
//!
//! Decides which fields go together, and where problems inside `with:` are shown. How commands are
//! put together is in [`super::command`].

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::command::{self, CommandWork};
use super::consumer::Consumer;
use super::filling::{has_broken, to_value};
use super::preparing::{Preparing, overlap, templates};
use super::values::Values;
use crate::catalog::{Kind, Program};
use crate::spec::text::decode::Raw;
use crate::spec::text::model;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use repro_protocol::kind::{OutputSpec, ParamProblem};

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
    pub axes: Vec<usize>,
    /// Parameters, or the position of what is wrong with them.
    checked: HashMap<(Vec<u32>, Vec<String>), Result<Params, usize>>,
    wrong: Vec<Wrong>,
}

/// What is wrong with the parameters of some instances.
struct Wrong {
    problems: Vec<Problem>,
    first: Arc<str>,
    instances: u32,
}

/// Checked parameters and the outputs they lead to.
#[derive(Clone)]
pub struct Params {
    /// As in [`repro_protocol::kind::Checked::params`].
    pub params: Arc<Value>,
    /// Sorted by name.
    pub outputs: Arc<[OutputSpec]>,
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
                .help("add `uses: KIND` or `run: COMMAND`")
                .lacks(["uses", "run"]),
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
                ("config", stage.config.is_some()),
                ("env", stage.env.is_some()),
                ("tools", stage.tools.is_some()),
                ("sandbox", stage.sandbox.is_some()),
                ("python", stage.python.is_some()),
                ("conda", stage.conda.is_some()),
                ("r", stage.r.is_some()),
                ("caches", stage.caches.is_some()),
                ("network", stage.network.is_some()),
                ("scratch", stage.scratch.is_some()),
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
            if let (Some(secrets), Program::BuiltIn) = (&stage.secrets, &kind.program) {
                problems.push(
                    Problem::new(
                        secrets.span,
                        format!("the kind `{text}` is built in and takes no `secrets`"),
                    )
                    .help("they are for commands and programs of the project"),
                );
            }
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
            command::prepare(stage, run, key, consumer, needs, with, problems)
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
            wrong: Vec::new(),
        })
    }

    /// The parameters for a row, checked; the same values are checked once. What is wrong is kept
    /// for [`KindWork::problems`].
    pub fn params(
        &mut self,
        id: &Arc<str>,
        row: &[u32],
        names: &[String],
        consumer: &Consumer,
        values: &Values,
    ) -> Option<Params> {
        let key = (
            self.axes.iter().map(|&at| row[at]).collect::<Vec<u32>>(),
            names.to_vec(),
        );
        match self.checked.get(&key) {
            Some(Ok(params)) => return Some(params.clone()),
            Some(&Err(at)) => {
                self.wrong[at].instances += 1;
                return None;
            }
            None => {}
        }
        let made = self.check(row, names, consumer, values);
        let made = made.map_err(|problems| {
            self.wrong.push(Wrong {
                problems,
                first: id.clone(),
                instances: 1,
            });
            self.wrong.len() - 1
        });
        self.checked.insert(key, made.clone());
        made.ok()
    }

    /// What was wrong with parameters, with the instances it was wrong for, of so many that there
    /// are.
    pub fn problems(&mut self, of: usize) -> impl Iterator<Item = Problem> + '_ {
        std::mem::take(&mut self.wrong)
            .into_iter()
            .flat_map(move |wrong| {
                let Wrong {
                    problems,
                    first,
                    instances,
                } = wrong;
                problems
                    .into_iter()
                    .map(move |p| p.found_in(&first, instances, of))
            })
    }

    fn check(
        &self,
        row: &[u32],
        names: &[String],
        consumer: &Consumer,
        values: &Values,
    ) -> Result<Params, Vec<Problem>> {
        let params = match to_value(&self.with, row, consumer, values).map_err(|p| vec![p])? {
            Value::Null => Value::Object(serde_json::Map::new()),
            params => params,
        };
        let checked = (self.kind.check)(&params, names).map_err(|found| {
            let unexplained =
                ParamProblem::whole("the kind refuses these parameters and does not say why");
            let found = if found.is_empty() {
                vec![unexplained]
            } else {
                found
            };
            found.into_iter().map(|p| self.place(p)).collect::<Vec<_>>()
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
    pub fn place(&self, problem: ParamProblem) -> Problem {
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
        // As it was written: `3.10` is to become `"3.10"`.
        let written = match &node.data {
            Data::Number(n) if missing.is_empty() => n.form.as_deref(),
            _ => None,
        };
        placed.help.extend(match (problem.hint, written) {
            (Some(hint), Some(form)) if hint.starts_with("put it in quotes") => {
                Some(format!("put it in quotes: `\"{form}\"`"))
            }
            (hint, _) => hint,
        });
        placed
    }
}

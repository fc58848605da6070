//! Command stages: what is written, and the command of each instance with its references filled in.
//!
//! Decides the default shell, what environment and tools a command has, and how paths are quoted.
//! Does not know how commands are run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{self, ConfigFile};
use super::consumer::Consumer;
use super::declared::{environment, strict, tools};
use super::preparing::{Preparing, overlap, templates};
use super::surroundings::{self, Surroundings};
use super::values::Values;
use crate::plan::{Command, Need, PathList, SCRATCH, Setup, Tool};
use crate::spec::text::decode::check_name;
use crate::spec::text::model;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::reference::{Reference, Root, Step};
use crate::spec::text::substitute::scalar_text;
use crate::spec::text::template::{Filled, Template};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// A command as written.
pub struct CommandWork {
    run: Node,
    shell: Arc<[String]>,
    env: Vec<(String, Node)>,
    tools: Vec<Tool>,
    surroundings: Surroundings,
    outputs: Vec<(Arc<str>, Node)>,
    config: Vec<ConfigFile>,
    last: Option<Arc<Command>>,
    last_outputs: Option<Arc<[OutputSpec]>>,
}

/// Prepares a command; `None` when a problem was reported.
pub fn prepare(
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
        shell: Arc::default(),
        env: Vec::new(),
        tools: Vec::new(),
        surroundings: Surroundings::default(),
        outputs: Vec::new(),
        config: config::prepare(stage, consumer, with, problems),
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
    }
    let shell: Vec<String> = match stage.shell.as_ref().map(|list| list.0.as_slice()) {
        None => strict(DEFAULT_SHELL),
        Some([word]) => {
            // Without a value a problem was reported.
            let text = word.value.as_deref().unwrap_or(DEFAULT_SHELL);
            if text.contains(char::is_whitespace) {
                let words: Vec<&str> = text.split_whitespace().collect();
                problems.push(
                    Problem::new(word.span, "a shell with flags is written as a list")
                        .help(format!("write `shell: [{}]`", words.join(", "))),
                );
            }
            if text.is_empty() {
                Vec::new()
            } else {
                strict(text)
            }
        }
        Some(list) => list.iter().filter_map(|f| f.value.clone()).collect(),
    };
    made.shell = shell.into();
    if made.shell.is_empty() {
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
    for (_, node) in &made.outputs {
        if scalar_text(&node.data).is_none() && !matches!(node.data, Data::Template(_)) {
            problems.push(Problem::new(
                node.span,
                format!("expected a path, found {}", node.describe()),
            ));
        }
        check_templates(node, consumer, None, false, with.narrow, problems);
    }
    made.env = environment(stage, with, problems);
    for field in stage.secrets.iter().flat_map(|s| s.value.iter().flatten()) {
        let name = field.value.as_deref().unwrap_or_default();
        if made.env.iter().any(|(n, _)| n == name) {
            problems.push(
                Problem::new(field.span, format!("`{name}` is given under `env` as well"))
                    .help("keep it here: a value under `env` is part of the key"),
            );
        }
    }
    made.tools = tools(stage, problems);
    made.surroundings = surroundings::prepare(stage, consumer, with, problems);
    let names: Vec<&str> = made.outputs.iter().map(|(n, _)| &**n).collect();
    let inside = Some((needs, names.as_slice()));
    let has_scratch = stage.scratch.as_ref().and_then(|s| s.value) == Some(true);
    check_templates(run, consumer, inside, has_scratch, with.narrow, problems);
    for (_, node) in &made.env {
        check_templates(node, consumer, inside, has_scratch, with.narrow, problems);
    }
    (problems.len() == before).then_some(made)
}

/// The longest argument that Linux takes (`MAX_ARG_STRLEN`), and all of them together with usual
/// limits, less some room for the rest of the environment.
const ARGUMENT_BYTES: usize = 128 << 10;
const ARGUMENTS_BYTES: usize = (2 << 20) - (64 << 10);

/// The list that `${needs.x.list}` or `${needs.x.group.list}` stands for; a group of that name
/// comes first.
fn list_of(reference: &Reference, needs: &[Need], span: Span) -> Result<Option<PathList>, Problem> {
    if reference.root != Root::Needs {
        return Ok(None);
    }
    let Some(need) = needs.iter().find(|n| *n.name == *reference.head()) else {
        return Ok(None);
    };
    let group = match &reference.path[1..] {
        [Step::Key(last)] if last == "list" => None,
        [Step::Key(group), Step::Key(last)] if last == "list" => Some(group.clone()),
        [Step::Index(i), Step::Key(last)] if last == "list" => Some(i.to_string()),
        _ => return Ok(None),
    };
    let has = |name: &str| need.items.iter().any(|item| *item.group == *name);
    if (group.is_none() && has("list")) || group.as_deref().is_some_and(|g| !has(g)) {
        return Ok(None);
    }
    let dots = group.as_ref().map_or(String::new(), |g| format!(".{g}"));
    let at = RelPath::new(&format!("in/{}{dots}.list", need.name))
        .map_err(|e| Problem::new(span, e.to_string()))?;
    let list = PathList {
        need: need.name.clone(),
        group,
        at,
    };
    let listed = need
        .items
        .iter()
        .filter(|item| list.holds(&need.name, &item.group));
    for item in listed {
        if item.placed_at.as_str().contains('\n') {
            return Err(Problem::new(
                span,
                format!(
                    "`{}` holds a line break and cannot be a line of a list",
                    item.placed_at.as_str().escape_debug()
                ),
            ));
        }
    }
    let taken = needs
        .iter()
        .flat_map(|n| &n.items)
        .find(|i| i.placed_at.is_within(&list.at));
    match taken {
        Some(item) => Err(Problem::new(
            span,
            format!("the list would lie where the input `{}` is", item.placed_at),
        )),
        None => Ok(Some(list)),
    }
}

/// What runs a command that names no shell.
const DEFAULT_SHELL: &str = "bash";

fn check_templates(
    node: &Node,
    consumer: &Consumer,
    inside: Option<(&[Arc<str>], &[&str])>,
    has_scratch: bool,
    narrow: &dyn Fn(Span, &str) -> Span,
    problems: &mut Vec<Problem>,
) {
    templates(node, &mut |template, span| {
        for reference in template.references() {
            let at = || narrow(span, &format!("${{{reference}}}"));
            let head = reference.head();
            match (reference.root, inside) {
                (Root::Needs, Some((needs, _))) if !needs.iter().any(|n| **n == *head) => problems
                    .push(
                        Problem::new(at(), format!("`{}` has no need `{head}`", consumer.name))
                            .suggest(head, needs.iter().map(|n| &**n)),
                    ),
                (Root::Outputs, Some((_, outputs))) if !outputs.contains(&head) => {
                    let problem =
                        Problem::new(at(), format!("`{}` has no output `{head}`", consumer.name));
                    problems.push(match outputs {
                        [] => problem.help(format!("add `outputs: {{{head}: FILE}}`")),
                        known => problem.suggest(head, known.iter().copied()),
                    });
                }
                (Root::Outputs, Some(_)) if reference.path.len() > 1 => {
                    problems.push(Problem::new(
                        at(),
                        format!("`${{{reference}}}`: an output is a single path"),
                    ));
                }
                (Root::Scratch, Some(_)) if !has_scratch => problems.push(
                    Problem::new(
                        at(),
                        format!("`{}` has no scratch directory", consumer.name),
                    )
                    .help("add `scratch: true` to the stage"),
                ),
                (Root::Needs | Root::Outputs | Root::Scratch, Some(_)) => {}
                _ => problems.extend(consumer.axis(reference, at()).err()),
            }
        }
    });
}

impl CommandWork {
    /// All texts of it that are filled in for every instance.
    pub fn templates(&self, f: &mut dyn FnMut(&Template, Span)) {
        let env = self.env.iter().map(|(_, node)| node);
        let outputs = self.outputs.iter().map(|(_, node)| node);
        std::iter::once(&self.run)
            .chain(env)
            .chain(outputs)
            .chain(self.surroundings.nodes())
            .chain(self.config.iter().map(|file| &file.values))
            .for_each(|node| templates(node, f));
    }

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

    /// What the kernel would refuse after all producers have run.
    fn check_size(&self, command: &Command, needs: &[Need]) -> Result<(), Problem> {
        let env = command.setup.env.iter();
        let env = env.map(|(k, v)| k.len() + v.len() + 2);
        let total = command.script.len() + env.clone().sum::<usize>();
        let largest = env.max().unwrap_or(0).max(command.script.len() + 1);
        if largest <= ARGUMENT_BYTES && total <= ARGUMENTS_BYTES {
            return Ok(());
        }
        let most = needs.iter().max_by_key(|n| n.items.len());
        let name = most.map_or("NAME", |n| &n.name);
        Err(Problem::new(
            self.run.span,
            format!(
                "with its references replaced the command has {total} bytes; the system takes {ARGUMENT_BYTES} at most"
            ),
        )
        .help(format!(
            "write `${{needs.{name}.list}}`: a file with one path per line, for `xargs` and the like"
        )))
    }

    /// The command for a row; equal ones are shared, or at least what they have in common.
    pub fn command(
        &mut self,
        row: &[u32],
        consumer: &Consumer,
        values: &Values,
        needs: &[Need],
        outputs: &[OutputSpec],
    ) -> Result<Arc<Command>, Problem> {
        let lists: RefCell<Vec<PathList>> = RefCell::default();
        let fill = |node: &Node, quoted: bool| match &node.data {
            Data::Template(template) => template.fill(node.span, |reference| {
                if let Some(list) = list_of(reference, needs, node.span)? {
                    let text = list.at.as_str().to_owned();
                    let mut lists = lists.borrow_mut();
                    if !lists.contains(&list) {
                        lists.push(list);
                    }
                    return Ok(Filled { text, number: None });
                }
                filled(
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
        let config = config::files(&self.config, row, consumer, values, needs, outputs)?;
        let environments = self.surroundings.environments(row, consumer, values)?;
        let lists = lists.into_inner();
        let last = self.last.as_ref().filter(|last| {
            let last = &last.setup;
            last.env == env
                && last.environments == environments
                && last.lists == lists
                && last.config == config
        });
        let setup = match last {
            Some(last) if *last.script == *script => return Ok(last.clone()),
            Some(last) => last.setup.clone(),
            None => Arc::new(Setup {
                shell: self.shell.clone(),
                env,
                tools: self.tools.clone(),
                environments,
                caches: self.surroundings.caches.clone(),
                lists,
                config,
            }),
        };
        let command = Arc::new(Command {
            script: script.into(),
            setup,
        });
        self.check_size(&command, needs)?;
        self.last = Some(command.clone());
        Ok(command)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything a reference in a command may name"
)]
fn filled(
    reference: &Reference,
    row: &[u32],
    consumer: &Consumer,
    values: &Values,
    needs: &[Need],
    outputs: &[OutputSpec],
    span: Span,
    quoted: bool,
) -> Result<Filled, Problem> {
    let head = reference.head();
    let path = |text: String| Filled { text, number: None };
    let show = |path: &RelPath| {
        if quoted {
            quote(path.as_str())
        } else {
            path.as_str().to_owned()
        }
    };
    match reference.root {
        Root::Scratch => Ok(path(SCRATCH.to_owned())),
        Root::Outputs => Ok(outputs
            .iter()
            .find(|o| *o.name == *head)
            .map(|o| show(&o.path))
            .map_or_else(|| path(String::new()), path)),
        Root::Needs => {
            // A need that is absent (a loop's binding in round 0) is an empty text.
            let Some(need) = needs.iter().find(|n| *n.name == *head) else {
                return Ok(path(String::new()));
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
            Ok(path(chosen.join(" ")))
        }
        _ => consumer.filled(reference, row, values, span),
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

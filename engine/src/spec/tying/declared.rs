//! What a command declares to have around it: variables of its environment, and tools.

use super::preparing::Preparing;
use crate::plan::Tool;
use crate::spec::text::decode::{Raw, decode};
use crate::spec::text::model;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::secrets;
use crate::spec::text::substitute::scalar_text;
use crate::spec::text::written;

/// A shell that was named by its program alone, with the flags that make a failing command fail the
/// stage: those of a pipe too, where the shell can tell. Of a program that is no known shell only
/// `-c` is expected.
pub(super) fn strict(program: &str) -> Vec<String> {
    let flags: &[&str] = match program.rsplit('/').next().unwrap_or(program) {
        "sh" | "dash" | "ash" => &["-eu", "-c"],
        "bash" | "zsh" | "ksh" | "mksh" => &["-euo", "pipefail", "-c"],
        _ => &["-c"],
    };
    std::iter::once(program)
        .chain(flags.iter().copied())
        .map(str::to_owned)
        .collect()
}

pub(super) fn environment(
    stage: &model::Stage,
    with: &Preparing,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Node)> {
    let Some(Raw(node)) = &stage.env else {
        return Vec::new();
    };
    let mut env: Vec<(String, Node)> = Vec::new();
    let good = secrets::is_variable;
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
                } else if secrets::is_credential(&key.name, &written_text(&value.data)) {
                    problems.push(secrets::advice(&key.name, &key.name, key.span));
                } else if matches!(value.data, Data::Seq(_) | Data::Map(_)) {
                    problems.push(Problem::new(
                        value.span,
                        format!("expected a single value, found {}", value.describe()),
                    ));
                } else if matches!(value.data, Data::Null) {
                    problems.push(Problem::new(key.span, format!("`{}` has no value", key.name)).help(format!("write `{0}: \"\"` for an empty one, or `{0}: \"${{env.{0}}}\"` for the present one", key.name)));
                } else {
                    env.push((key.name.to_string(), value.clone()));
                }
            }
        }
        Data::Seq(items) => {
            for item in items.iter() {
                match item.as_str() {
                    Some(name)
                        if secrets::is_credential(name, &(with.env)(name).unwrap_or_default()) =>
                    {
                        problems.push(secrets::advice(name, name, item.span));
                    }
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

/// The text of a value as it stands in the pipeline, references unfilled.
pub(super) fn written_text(data: &Data) -> String {
    match data {
        Data::Template(template) => template.to_string(),
        data => scalar_text(data).unwrap_or_default(),
    }
}

pub(super) fn tools(stage: &model::Stage, problems: &mut Vec<Problem>) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    for field in stage.tools.iter().flat_map(|t| t.value.iter().flatten()) {
        let Raw(node) = field;
        let tool = match &node.data {
            Data::String(program) => Some((program.to_string(), None)),
            _ => {
                let (tool, found) = decode::<written::Tool>(node);
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

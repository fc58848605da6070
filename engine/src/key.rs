//! What enters an action key, and nothing else: the pre-image is written here, once, as canonical
//! JSON.
//!
//! The same text is hashed, stored with the result and shown by `why` and `show`, so an explanation
//! cannot drift from the key. Left out on purpose: stage names, threads, memory, timeouts, hosts,
//! times, the program's version, and the paths of artifacts. A command additionally hashes where
//! its inputs are placed, because it can see that.
//!
//! | in the pre-image | field |
//! |---|---|
//! | key format, project salt | `format`, `salt` |
//! | kind, its revision, numerics class, program digest | `kind` |
//! | or: script, shell, files of values, environment values, tool versions, packages of declared environments | `command` |
//! | parameters, defaults filled in | `params` |
//! | logical name → content of every input (group and axes of gathered ones; for kinds that count, what they have in common) | `inputs` |
//! | names of the outputs (and for commands their paths) | `outputs` |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::catalog::{Kind, Program};
use crate::digest::{Content, Digest, Domain};
use crate::environment::Captured;
use crate::lineage::{self, Lineage};
use crate::plan::{Command, Environment, Instance, Manager, Need, Work};
use repro_protocol::kind::StatePoint;

/// Format history. 1: first.
pub const FORMAT: u32 = 1;

/// An action key with the text it is the digest of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub digest: Digest,
    /// The canonical JSON it was made from.
    pub preimage: String,
}

/// Everything about an instance that is known before its inputs are.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `salt:` of the pipeline.
    pub salt: &'a str,
    /// Version text of every declared tool, by program.
    pub tool_versions: &'a BTreeMap<String, String>,
    /// What of every declared environment is part of a key.
    pub environments: &'a BTreeMap<Environment, Captured>,
}

/// The key of an instance whose inputs have these contents; `contents[need][item]` follows
/// `instance.needs`, and so does `lineage`.
pub fn action_key(
    context: Context<'_>,
    instance: &Instance,
    contents: &[Vec<Content>],
    lineage: &Lineage,
) -> Key {
    let mut text = String::with_capacity(512);
    // Field names stand in sorted order, as canonical JSON wants.
    text.push('{');
    match &instance.work {
        Work::Command(command) => {
            text.push_str("\"command\":{");
            write_environments(&mut text, context, command, |m| m < Manager::Python);
            if !command.setup.config.is_empty() {
                text.push_str("\"config\":{");
                list(
                    &mut text,
                    command.setup.config.iter(),
                    |text, (path, values)| {
                        field(text, path.as_str(), values);
                    },
                );
                text.push_str("},");
            }
            text.push_str("\"env\":{");
            list(
                &mut text,
                command.setup.env.iter(),
                |text, (name, value)| {
                    field(text, name, value);
                },
            );
            text.push_str("},");
            write_environments(&mut text, context, command, |m| m >= Manager::Python);
            text.push_str("\"script\":");
            canonical::write_str(&command.script, &mut text);
            text.push_str(",\"shell\":[");
            list(&mut text, command.setup.shell.iter(), |text, word| {
                canonical::write_str(word, text);
            });
            text.push_str("],\"tools\":{");
            let mut tools: Vec<&str> = command
                .setup
                .tools
                .iter()
                .map(|t| t.program.as_str())
                .collect();
            tools.sort_unstable();
            tools.dedup();
            list(&mut text, tools.into_iter(), |text, program| {
                field(
                    text,
                    program,
                    context
                        .tool_versions
                        .get(program)
                        .map_or("", String::as_str),
                );
            });
            text.push_str("}},");
        }
        Work::Kind { .. } => {}
    }
    text.push_str(&format!("\"format\":{FORMAT},\"inputs\":"));
    write_inputs(
        &mut text,
        &instance.needs,
        contents,
        lineage,
        matches!(instance.work, Work::Command(_)),
        |_| true,
    );
    if let Work::Kind { kind, .. } = &instance.work {
        text.push_str(",\"kind\":");
        write_kind(&mut text, kind);
    }
    text.push_str(",\"outputs\":");
    match &instance.work {
        Work::Command(_) => {
            text.push('{');
            list(&mut text, instance.outputs.iter(), |text, o| {
                field(text, &o.name, o.path.as_str());
            });
            text.push('}');
        }
        Work::Kind { .. } => {
            text.push('[');
            list(&mut text, instance.outputs.iter(), |text, o| {
                canonical::write_str(&o.name, text);
            });
            text.push(']');
        }
    }
    if let Work::Kind { params, .. } = &instance.work {
        text.push_str(",\"params\":");
        canonical::write(params, &mut text);
    }
    text.push_str(",\"salt\":");
    canonical::write_str(context.salt, &mut text);
    text.push('}');
    Key {
        digest: Digest::derive(Domain::Action, text.as_bytes()),
        preimage: text,
    }
}

/// The key of a resumable state: the part of the parameters and inputs that influenced the
/// computation so far.
pub fn state_key(
    salt: &str,
    kind: &Kind,
    point: &StatePoint,
    needs: &[Need],
    contents: &[Vec<Content>],
) -> Key {
    let observed = |name: &str| {
        kind.inputs
            .iter()
            .any(|i| i.name == name && i.observes_only)
    };
    let mut text = format!("{{\"format\":{FORMAT},\"inputs\":");
    write_inputs(&mut text, needs, contents, &Vec::new(), false, |need| {
        !observed(&need.name)
    });
    text.push_str(",\"kind\":");
    write_kind(&mut text, kind);
    text.push_str(",\"salt\":");
    canonical::write_str(salt, &mut text);
    text.push_str(",\"state\":");
    canonical::write(&point.preimage, &mut text);
    text.push('}');
    Key {
        digest: Digest::derive(Domain::State, text.as_bytes()),
        preimage: text,
    }
}

/// Declared environments by the name of their manager; `conda` stands before `env`, `python` and
/// `r` after it.
fn write_environments(
    text: &mut String,
    context: Context<'_>,
    command: &Command,
    keep: impl Fn(Manager) -> bool,
) {
    let mut kept: Vec<&Environment> = command.setup.environments.iter().collect();
    kept.retain(|e| keep(e.manager));
    kept.sort_unstable_by_key(|e| e.manager);
    for environment in kept {
        canonical::write_str(environment.manager.word(), text);
        text.push(':');
        match context.environments.get(environment) {
            Some(captured) => canonical::write(&captured.in_key, text),
            None => text.push_str("null"),
        }
        text.push(',');
    }
}

fn write_kind(text: &mut String, kind: &Kind) {
    text.push('{');
    // A program of the project is known by its bytes, wherever it lies.
    if let Program::BuiltIn = kind.program {
        field(text, "name", &kind.name);
        text.push(',');
    }
    field(text, "numerics", &kind.numerics);
    if let Program::External { digest, .. } = &kind.program {
        text.push(',');
        field(text, "program", &digest.hex());
    }
    text.push_str(&format!(",\"revision\":{}}}", kind.revision));
}

fn write_inputs(
    text: &mut String,
    needs: &[Need],
    contents: &[Vec<Content>],
    lineage: &Lineage,
    placed: bool,
    keep: impl Fn(&Need) -> bool,
) {
    text.push('{');
    let all = needs.iter().zip(contents).enumerate();
    let kept = all.filter(|(_, (need, _))| keep(need));
    list(text, kept, |text, (position, (need, contents))| {
        canonical::write_str(&need.name, text);
        text.push(':');
        let items = need.items.iter().zip(contents);
        if need.many || placed {
            text.push('[');
            list(text, items.enumerate(), |text, (at, (item, content))| {
                let kin = lineage::kin(lineage, position, at);
                text.push('{');
                if placed {
                    field(text, "at", item.placed_at.as_str());
                    text.push(',');
                }
                if !item.axes.is_empty() {
                    text.push_str("\"axes\":");
                    let axes: serde_json::Map<String, Value> = item
                        .axes
                        .iter()
                        .map(|(k, v)| (k.to_string(), v.value.clone()))
                        .collect();
                    canonical::write(&Value::Object(axes), text);
                    text.push(',');
                }
                if let Some(chain) = kin.and_then(|k| k.chain) {
                    text.push_str(&format!("\"chain\":{chain},"));
                }
                field(text, "content", &content.to_string());
                if !item.group.is_empty() {
                    text.push(',');
                    field(text, "group", &item.group);
                }
                if let Some(kin) = kin.filter(|k| !k.sources.is_empty()) {
                    text.push_str(",\"sources\":[");
                    list(text, kin.sources.iter(), |text, source| {
                        text.push_str(&source.to_string());
                    });
                    text.push(']');
                }
                text.push('}');
            });
            text.push(']');
        } else {
            list(text, items, |text, (_, content)| {
                canonical::write_str(&content.to_string(), text);
            });
        }
    });
    text.push('}');
}

fn field(text: &mut String, name: &str, value: &str) {
    canonical::write_str(name, text);
    text.push(':');
    canonical::write_str(value, text);
}

fn list<T>(
    text: &mut String,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    for (i, item) in items.enumerate() {
        if i > 0 {
            text.push(',');
        }
        write(text, item);
    }
}

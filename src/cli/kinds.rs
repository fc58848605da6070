//! `repro kinds`, `repro schema`, `repro completions`: what the program itself knows, without a
//! project.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{Context, Exit, completing, output};
use crate::ui::cell::Cell;
use crate::ui::table::{Column, Table};
use crate::ui::width;
use repro_engine::catalog::{Catalog, Kind};
use repro_engine::exec::external::Asker;
use repro_engine::exec::{Asking, Memory};
use repro_engine::targets::nearest;

/// List the built-in kinds of stages, or show the reference of one.
#[derive(Debug, Clone, Args)]
pub struct KindsArgs {
    /// The kind to show, or a program of the project (`./tools/mykind`).
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Write an array of objects: name, summary, revision, numerics, inputs, schema.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Write the whole reference of the kind, or of all kinds, as Markdown.
    #[arg(long)]
    markdown: bool,
}

/// Write the JSON Schema of pipeline.yaml.
///
/// An editor uses the schema through the first line of the pipeline file:
/// `# yaml-language-server: $schema=./pipeline.schema.json` after
/// `repro schema > pipeline.schema.json`.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {}

/// Write a completion script for a shell.
///
/// For example `repro completions bash > ~/.local/share/bash-completion/completions/repro`. Commands,
/// options, and the names of stages, instances (after `[`) and claims are completed.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

/// Runs `repro kinds`.
pub fn main(context: &Context, args: &KindsArgs) -> anyhow::Result<Exit> {
    let catalog = &context.catalog;
    let Some(name) = &args.name else {
        if args.json {
            output::json(&catalog.kinds.iter().map(|k| as_json(k)).collect::<Vec<_>>())?;
        } else if args.markdown {
            let pages: Vec<String> = catalog
                .kinds
                .iter()
                .filter_map(|k| (catalog.reference)(&k.name))
                .collect();
            output::text(&pages.join("\n"))?;
        } else {
            output::text(&by_concept(catalog))?;
        }
        return Ok(Exit::Done);
    };
    if name.contains('/') {
        let program = std::path::absolute(name)?;
        // Its project remembers the answer, for commands that only look.
        let project = context.opening(None).project().ok();
        let (root, answers) = match &project {
            Some(project) => (project.root.as_path(), repro_engine::open::answers(project)),
            None => (
                program.parent().unwrap_or(&program),
                Arc::new(Memory::none()),
            ),
        };
        let asker = Asker::new(root, Asking::Programs, answers.clone());
        let kind = asker.describe(&program)?;
        answers.save();
        if args.json {
            output::json(&[as_json(&kind)])?;
        } else {
            output::text(&external_reference(&kind))?;
        }
        return Ok(Exit::Done);
    }
    let known = catalog
        .get(name)
        .or_else(|| Some(&catalog.claim_kind).filter(|k| k.name == *name));
    let Some(kind) = known else {
        let hint = nearest(
            name,
            catalog.kinds.iter().map(|k| k.name.as_str()),
            "`repro kinds` lists all kinds",
        );
        anyhow::bail!("no kind is called `{name}`; {hint}");
    };
    if args.json {
        output::json(&[as_json(kind)])?;
    } else {
        output::text(&(catalog.reference)(name).unwrap_or_else(|| external_reference(kind)))?;
    }
    Ok(Exit::Done)
}

/// A table of all kinds, those of one concept together.
fn by_concept(catalog: &Catalog) -> String {
    let heads = ["kind", "about", ""].map(Column::new);
    let mut table = Table::new(heads.to_vec());
    for concept in &catalog.concepts {
        let mut about = concept.title;
        for kind in catalog
            .kinds
            .iter()
            .filter(|k| concept.kinds.contains(&k.name))
        {
            let cells = [&kind.name, about, &kind.summary];
            table.push(cells.map(Cell::text).to_vec());
            about = "";
        }
    }
    table.on_terminal(width(), output::colour())
}

/// Runs `repro schema`.
pub fn schema(context: &Context, _args: &SchemaArgs) -> anyhow::Result<Exit> {
    output::json(&repro_engine::spec::schema(&context.catalog))?;
    Ok(Exit::Done)
}

/// Runs `repro completions`.
pub fn completions(_context: &Context, args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let script = completing::script(&args.shell);
    output::text(&script.unwrap_or_default())?;
    Ok(Exit::Done)
}

fn as_json(kind: &Kind) -> serde_json::Value {
    let input = |i: &repro_protocol::kind::InputSpec| json!({"name": i.name, "required": i.required, "many": i.many, "doc": i.doc});
    json!({
        "name": kind.name, "summary": kind.summary, "revision": kind.revision, "numerics": kind.numerics,
        "inputs": kind.inputs.iter().map(input).collect::<Vec<_>>(), "schema": kind.schema,
    })
}

/// What is known about a program: its own description and its inputs.
fn external_reference(kind: &Kind) -> String {
    let mut text = format!(
        "## `{}`\n\n{}\n\n{}\n\n### Inputs\n\n",
        kind.name,
        kind.summary,
        kind.doc.trim()
    );
    for input in &kind.inputs {
        let required = if input.required { ", **required**" } else { "" };
        text.push_str(&format!(
            "- `{}` ({}{required}): {}\n",
            input.name,
            if input.many { "one or more" } else { "one" },
            input.doc
        ));
    }
    text.push_str(&format!(
        "\n### Parameters\n\n```json\n{}\n```\n",
        serde_json::to_string_pretty(&kind.schema).unwrap_or_default()
    ));
    text
}

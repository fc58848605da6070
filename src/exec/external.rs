//! Programs of the project that are kinds: `uses: ./tools/mykind`.
//!
//! # The protocol, format 1
//!
//! `PROGRAM describe` prints one JSON object and exits 0:
//! ```json
//! {"name": "mykind", "revision": 1, "numerics": "none", "summary": "One sentence.", "doc": "Markdown",
//!  "inputs": [{"name": "data", "required": true, "many": false, "observes_only": false, "doc": "One sentence."}],
//!  "outputs": [{"name": "table", "path": "table.csv"}], "schema": {"type": "object"}}
//! ```
//! `numerics` (default `unspecified`), `doc`, `schema` (default: any object) and `outputs` may be left out; in an input only
//! `name` is required. The revision is raised when the outputs for the same inputs change without the program's file
//! changing; the file's digest is part of every key anyway. Files it imports are inputs to be declared.
//!
//! `PROGRAM check` reads `{"params": {...}, "needs": ["data", ...]}` on standard input and prints either
//! `{"params": {... defaults filled in}, "outputs": [{"name": .., "path": ..}]}` (outputs may be left out when `describe`
//! has them) or `{"problems": [{"path": ["field"], "message": "..", "hint": ".."}]}`, and exits 0.
//!
//! `PROGRAM worker job.json` does the work as described in [`crate::job`].

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::process::{self, Said, Stop};
use crate::catalog::{Checked, InputSpec, Kind, OutputSpec, ParamProblem, Program};
use crate::digest::Digest;
use crate::relpath::RelPath;

/// `describe` and `check` take moments; a program that hangs is stopped.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A longer answer is refused.
const ANSWER_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    revision: u32,
    #[serde(default = "unspecified")]
    numerics: String,
    summary: String,
    #[serde(default)]
    doc: String,
    inputs: Vec<Input>,
    outputs: Option<Vec<Output>>,
    #[serde(default = "any_object")]
    schema: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    many: bool,
    #[serde(default)]
    observes_only: bool,
    #[serde(default)]
    doc: String,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Output {
    name: String,
    path: RelPath,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    params: Option<Value>,
    outputs: Option<Vec<Output>>,
    #[serde(default)]
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Problem {
    #[serde(default)]
    path: Vec<String>,
    message: String,
    hint: Option<String>,
}

fn unspecified() -> String {
    "unspecified".into()
}

fn any_object() -> Value {
    json!({"type": "object"})
}

/// Asks a program what kind it is. The kind's name is the program's own; its `check` runs the program again.
///
/// # Errors
/// When it cannot be run, does not answer, or the answer breaks the protocol.
pub fn describe(program: &Path) -> anyhow::Result<Arc<Kind>> {
    let shown = program.display();
    let path = program
        .canonicalize()
        .with_context(|| format!("the program {shown} cannot be found"))?;
    let (digest, _) =
        Digest::of_file(&path).with_context(|| format!("the program {shown} cannot be read"))?;
    let Description {
        name,
        revision,
        numerics,
        summary,
        doc,
        inputs,
        outputs,
        schema,
    } = ask(&path, "describe", &[])
        .with_context(|| format!("the program {shown} does not describe a kind"))?;
    ensure!(
        !name.is_empty(),
        "the program {shown} describes a kind without a name"
    );
    ensure!(
        schema.is_object(),
        "the program {shown} describes a kind whose schema is not an object"
    );
    let checker = path.clone();
    Ok(Arc::new(Kind {
        name,
        summary,
        doc,
        revision,
        numerics,
        inputs: inputs
            .into_iter()
            .map(|i| InputSpec {
                name: i.name,
                required: i.required,
                many: i.many,
                doc: i.doc,
                observes_only: i.observes_only,
            })
            .collect(),
        schema: schema.into(),
        program: Program::External { path, digest },
        check: Arc::new(move |request| {
            let answer = check(&checker, request.params, request.needs, outputs.as_deref());
            answer.unwrap_or_else(|e| {
                let message = format!("{} cannot check its parameters: {e:#}", checker.display());
                Err(vec![ParamProblem {
                    path: Vec::new(),
                    message,
                    hint: None,
                }])
            })
        }),
        states: None,
    }))
}

/// The outer error is a broken program, the inner one wrong parameters.
fn check(
    program: &Path,
    params: &Value,
    needs: &[String],
    always: Option<&[Output]>,
) -> anyhow::Result<Result<Checked, Vec<ParamProblem>>> {
    let question = serde_json::to_vec(&json!({"params": params, "needs": needs}))?;
    let answer: Answer = ask(program, "check", &question)?;
    if !answer.problems.is_empty() {
        let problems = answer.problems.into_iter();
        return Ok(Err(problems
            .map(|p| ParamProblem {
                path: p.path,
                message: p.message,
                hint: p.hint,
            })
            .collect()));
    }
    let params = answer
        .params
        .context("its answer has neither `params` nor `problems`")?;
    ensure!(
        params.is_object(),
        "`params` in its answer is not an object"
    );
    let Some(outputs) = answer.outputs.as_deref().or(always) else {
        bail!("its answer names no `outputs`, nor did `describe`")
    };
    for (i, output) in outputs.iter().enumerate() {
        let is_new = outputs[..i]
            .iter()
            .all(|o| o.name != output.name && o.path != output.path);
        ensure!(
            is_new,
            "output `{}` or its path {} is named twice",
            output.name,
            output.path
        );
    }
    let outputs = outputs
        .iter()
        .map(|o| OutputSpec {
            name: o.name.as_str().into(),
            path: o.path.clone(),
        })
        .collect();
    Ok(Ok(Checked { params, outputs }))
}

fn ask<T: DeserializeOwned>(program: &Path, verb: &str, question: &[u8]) -> anyhow::Result<T> {
    let mut command = Command::new(program);
    command.arg(verb).stdin(process::stdin_with(question)?);
    // One byte more than allowed shows that there was more.
    let Said { ended, out, err } = process::ask(command, None, TIMEOUT, ANSWER_BYTES + 1)
        .with_context(|| {
            format!(
                "`{} {verb}` cannot be run (is it executable?)",
                program.display()
            )
        })?;
    let said = String::from_utf8_lossy(&err);
    let said = said.trim();
    if ended.stopped == Some(Stop::TimedOut) {
        bail!(
            "`{} {verb}` did not end within {} s",
            program.display(),
            TIMEOUT.as_secs()
        );
    }
    ensure!(
        ended.status.success(),
        "`{} {verb}` failed ({}): {said}",
        program.display(),
        ended.status
    );
    ensure!(
        out.len() <= ANSWER_BYTES,
        "`{} {verb}` answers with more than {ANSWER_BYTES} bytes",
        program.display()
    );
    serde_json::from_slice(&out)
        .with_context(|| format!("`{} {verb}` does not answer in format 1", program.display()))
}

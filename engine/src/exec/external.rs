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
//! `numerics` (default `unspecified`), `doc`, `schema` (default: any object) and `outputs` may be
//! left out; in an input only `name` is required. The revision is raised when the outputs for the
//! same inputs change without the program's file changing; the file's digest is part of every key
//! anyway. Files it imports are inputs to be declared.
//!
//! `PROGRAM check` reads `{"params": {...}, "needs": ["data", ...]}` on standard input and prints
//! either `{"params": {... defaults filled in}, "outputs": [{"name": .., "path": ..}]}` (outputs
//! may be left out when `describe` has them) or `{"problems": [{"path": ["field"], "message": "..",
//! "hint": ".."}]}`, and exits 0.
//!
//! `PROGRAM worker job.json` does the work as described in [`repro_protocol::job`].
//!
//! `describe` and `check` are called by commands that execute stages, and by `repro kinds PROGRAM`;
//! they may read the project and write nothing but `TMPDIR`. All other commands run no code of the
//! project: they go by the last answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::asking::{self, Asking, Memory, Question, TIMEOUT};
use super::process::{Said, Stop};
use crate::catalog::{Kind, Program};
use crate::digest::Digest;
use repro_protocol::kind::{
    CheckAnswer, Checked, DescribeAnswer, Description, InputSpec, OutputSpec, ParamProblem,
    no_member,
};

/// A longer answer is refused.
const ANSWER_BYTES: usize = 16 << 20;

/// Who asks programs of a project what they are.
pub struct Asker {
    project_root: PathBuf,
    asking: Asking,
    memory: Arc<Memory>,
    /// What a person should know of answers that may be out of date.
    doubts: Mutex<BTreeSet<String>>,
}

impl Asker {
    /// For the programs of a project.
    pub fn new(project_root: &Path, asking: Asking, memory: Arc<Memory>) -> Arc<Asker> {
        Arc::new(Asker {
            project_root: project_root.to_owned(),
            asking,
            memory,
            doubts: Mutex::default(),
        })
    }

    /// Sentences about answers that only a run makes certain.
    pub fn doubts(&self) -> Vec<String> {
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.iter().cloned().collect()
    }

    fn doubt(&self, text: String) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.insert(text);
    }

    /// Asks a program what kind it is. The kind's name is the program's own; its `check` runs the
    /// program again.
    ///
    /// # Errors
    /// When it cannot be run, does not answer, or the answer breaks the protocol. One that may not
    /// be run, and that no run has asked, is [`Program::Unasked`].
    pub fn describe(self: &Arc<Asker>, program: &Path) -> anyhow::Result<Arc<Kind>> {
        let shown = program.display();
        let path = program
            .canonicalize()
            .with_context(|| format!("the program {shown} cannot be found"))?;
        let (digest, _) = Digest::of_file(&path)
            .with_context(|| format!("the program {shown} cannot be read"))?;
        let answer: Option<DescribeAnswer> = self
            .ask(&path, &digest, "describe", &[])
            .with_context(|| format!("the program {shown} does not describe a kind"))?;
        let Some(answer) = answer else {
            let shown = program.strip_prefix(&self.project_root).unwrap_or(program);
            return Ok(Arc::new(unasked(&format!("./{}", shown.display()))));
        };
        let DescribeAnswer {
            name,
            revision,
            numerics,
            summary,
            doc,
            inputs,
            outputs,
            schema,
        } = answer;
        ensure!(
            !name.is_empty(),
            "the program {shown} describes a kind without a name"
        );
        ensure!(
            schema.is_object(),
            "the program {shown} describes a kind whose schema is not an object"
        );
        let (asker, checker) = (self.clone(), path.clone());
        let description = Description {
            name,
            summary,
            doc,
            revision,
            numerics,
            inputs,
            counts: Vec::new(),
            schema: schema.into(),
            check: Arc::new(move |params, needs| {
                let answer = asker.check(&checker, &digest, params, needs, outputs.as_deref());
                answer.unwrap_or_else(|e| {
                    let program = checker.display();
                    let problem = format!("{program} cannot check its parameters: {e:#}");
                    Err(vec![ParamProblem::whole(problem)])
                })
            }),
            member: Arc::new(|_, output, _| no_member(output)),
            facts: None,
            states: None,
            on_gpu: None,
        };
        Ok(Arc::new(Kind {
            description,
            program: Program::External { path, digest },
        }))
    }

    /// The outer error is a broken program, the inner one wrong parameters.
    fn check(
        &self,
        program: &Path,
        digest: &Digest,
        params: &Value,
        needs: &[String],
        always: Option<&[OutputSpec]>,
    ) -> anyhow::Result<Result<Checked, Vec<ParamProblem>>> {
        let question = serde_json::to_vec(&json!({"params": params, "needs": needs}))?;
        let answer: Option<CheckAnswer> = self.ask(program, digest, "check", &question)?;
        let answer = answer.unwrap_or_else(|| {
            self.doubt(format!(
                "{} has not been asked yet about all of its parameters, and this command runs no code of the project: \
                 the states of its stages are certain only after `repro run`",
                program.display()
            ));
            let outputs = None;
            CheckAnswer {
                params: Some(params.clone()),
                outputs,
                problems: Vec::new(),
            }
        });
        if !answer.problems.is_empty() {
            return Ok(Err(answer.problems));
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
        let outputs = outputs.to_vec();
        Ok(Ok(Checked { params, outputs }))
    }

    /// Asks, or remembers; `None` when it may not ask and does not remember.
    fn ask<T: DeserializeOwned>(
        &self,
        program: &Path,
        digest: &Digest,
        verb: &str,
        question: &[u8],
    ) -> anyhow::Result<Option<T>> {
        let shown = program.display();
        let whom = program.to_string_lossy();
        let name = Memory::name(&whom, &[verb.as_bytes(), question]);
        let parse = |text: &[u8]| {
            serde_json::from_slice(text)
                .with_context(|| format!("`{shown} {verb}` does not answer in format 1"))
        };
        let text = match self.asking {
            Asking::Programs => self.run(program, verb, question)?,
            Asking::Memory => {
                let Some(known) = self.memory.get(&name) else {
                    return Ok(None);
                };
                if known.program != digest.hex() {
                    self.doubt(format!(
                        "{shown} has changed since a run asked it, and this command runs no code of the project: the states of \
                         its stages are certain only after `repro run`"
                    ));
                }
                return parse(known.text.as_bytes()).map(Some);
            }
        };
        let answer = parse(&text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let program = digest.hex();
        self.memory.set(name, asking::Answer { program, text });
        Ok(Some(answer))
    }

    fn run(&self, program: &Path, verb: &str, question: &[u8]) -> anyhow::Result<Vec<u8>> {
        let shown = program.display();
        let name = program
            .to_str()
            .with_context(|| format!("the name of the program {shown} is not UTF-8"))?;
        let Said { ended, out, err } = asking::ask(&Question {
            words: &[name, verb],
            input: question,
            read: &[&self.project_root, program],
            project_root: &self.project_root,
            home: None,
            // One byte more than allowed shows that there was more.
            bytes_max: ANSWER_BYTES + 1,
        })
        .with_context(|| format!("`{shown} {verb}` cannot be run (is it executable?)"))?;
        let said = String::from_utf8_lossy(&err);
        let said = said.trim();
        if ended.stopped == Some(Stop::TimedOut) {
            bail!(
                "`{shown} {verb}` did not end within {} s",
                TIMEOUT.as_secs()
            );
        }
        ensure!(
            ended.status.success(),
            "`{shown} {verb}` failed ({}): {said}",
            ended.status
        );
        ensure!(
            out.len() <= ANSWER_BYTES,
            "`{shown} {verb}` answers with more than {ANSWER_BYTES} bytes"
        );
        Ok(out)
    }
}

/// What is known of a program that was never asked: it may be any kind.
fn unasked(written: &str) -> Kind {
    let why = format!(
        "no run has asked `{written}` yet what it does, and this command runs no code of the project; `repro run` asks it, and so \
         does `repro kinds {written}`"
    );
    let any = InputSpec {
        name: "*".into(),
        required: false,
        many: true,
        observes_only: false,
        doc: "".into(),
    };
    Kind {
        description: Description {
            name: written.to_owned(),
            summary: String::new(),
            doc: String::new(),
            revision: 0,
            numerics: String::new(),
            inputs: vec![any],
            counts: Vec::new(),
            schema: json!({"type": "object"}).into(),
            check: Arc::new(|params, _| {
                Ok(Checked {
                    params: params.clone(),
                    outputs: Vec::new(),
                })
            }),
            member: Arc::new(|_, output, _| no_member(output)),
            facts: None,
            states: None,
            on_gpu: None,
        },
        program: Program::Unasked { why },
    }
}

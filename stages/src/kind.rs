//! What a kind is: typed parameters, declared inputs and outputs, one function.
//!
//! A kind is one file in `kinds/` that implements [`Kind`]; [`KindInfo`] is the same with the types erased, for the
//! engine. Knows nothing of any particular kind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::facts::{Findings, Known};
use crate::job::{Event, Job, JobInput};

/// A kind of stage.
pub trait Kind {
    /// The parameters of `with:`. Every one is in the key, so nothing in it may be mere tuning. Stochastic kinds have a
    /// required `seed`. Choices are one-key maps; serialising gives every default explicitly.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// What `uses:` says.
    const NAME: &'static str;
    /// Raised when the bytes of any output may change for the same inputs.
    const REVISION: u32;
    /// One sentence.
    const SUMMARY: &'static str;
    /// The guide to the kind, in Markdown: what it computes, the source, an example.
    const DOC: &'static str;
    /// Inputs it can take.
    const INPUTS: &'static [InputSpec];
    /// Inputs whose items are observations: the job says which come from one another.
    const COUNTS: &'static [&'static str] = &[];
    /// The outputs with these parameters.
    fn outputs(params: &Self::Params) -> Vec<OutputSpec>;
    /// The outputs where they depend on the names given under `needs:` too.
    fn outputs_with(params: &Self::Params, _needs: &[String]) -> Vec<OutputSpec> {
        Self::outputs(params)
    }
    /// Spells out defaults that depend on other parameters.
    fn settle(_params: &mut Self::Params) {}
    /// Checks what types cannot say: ranges, combinations with the names given under `needs:`.
    fn validate(params: &Self::Params, needs: &[String]) -> Vec<ParamProblem>;
    /// The file of an output that is a directory which `stage.output[name=value]` means, or why there is none.
    fn member(
        _params: &Self::Params,
        output: &str,
        _picks: &[(String, Value)],
    ) -> Result<String, String> {
        Err(format!(
            "nothing can be picked from `{output}`; axes stand behind the stage: `stage[axis=value].{output}`"
        ))
    }
    /// What is known of the outputs before anything runs, and what cannot work: it follows from the parameters and from what is known of
    /// the inputs. A kind that says nothing leaves its outputs unknown.
    fn facts(_params: &Self::Params, _known: &Known) -> Findings {
        Findings::default()
    }
    /// The resumable states on the way to the result, longest first.
    fn states(_params: &Self::Params) -> Vec<StatePoint> {
        Vec::new()
    }
    /// Does the work.
    fn run(params: &Self::Params, task: &mut Task) -> anyhow::Result<()>;
}

/// An input a kind can take.
#[derive(Debug, Clone, Copy)]
pub struct InputSpec {
    /// The name under `needs:`; `*` stands for any name.
    pub name: &'static str,
    /// It must be given.
    pub required: bool,
    /// It may be a list, a group map or a gather.
    pub many: bool,
    /// It is only looked at (a test set): states on the way to the result do not depend on it.
    pub observes_only: bool,
    /// One sentence.
    pub doc: &'static str,
}

/// A named output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// The name other stages use.
    pub name: String,
    /// Its file name under `artifacts/<stage>/`.
    pub path: String,
}

/// One thing wrong with `with:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// The way to the field; list positions are decimal numbers.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// A place where the computation can be resumed.
#[derive(Debug, Clone, PartialEq)]
pub struct StatePoint {
    /// How the kind calls it, e.g. `epoch 12`.
    pub label: String,
    /// Everything in the parameters that influenced the computation so far.
    pub preimage: Value,
}

/// A failure with a remedy: `bail!(Failure::new(..).hint(..))`. Other errors are reported without a hint.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What is wrong and where.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            hint: None,
        }
    }

    /// Says first where it is.
    pub fn within(self, place: &str) -> Failure {
        Failure {
            message: format!("{place}: {}", self.message),
            ..self
        }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

/// The work at hand: the job, and the way to speak to the engine.
pub struct Task {
    /// The job.
    pub job: Job,
    /// Answers that go into `outcome.json`.
    pub pins: BTreeMap<String, String>,
    /// Figures for the run record.
    pub figures: BTreeMap<String, f64>,
    /// Where events go; `None` is silence (tests).
    pub events: Option<std::io::Stdout>,
}

impl Task {
    /// Sends an event. A broken pipe is ignored: the engine then is gone and will kill this process.
    pub fn send(&mut self, event: &Event) {
        use std::io::Write;
        if let Some(out) = &mut self.events
            && let Ok(mut line) = serde_json::to_string(event)
        {
            line.push('\n');
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }

    /// The items of an input; empty when it was not given.
    pub fn inputs(&self, name: &str) -> &[JobInput] {
        self.job.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one item of a required single input.
    pub fn input(&self, name: &str) -> anyhow::Result<&JobInput> {
        match self.inputs(name) {
            [one] => Ok(one),
            items => anyhow::bail!("input `{name}`: expected one artifact, got {}", items.len()),
        }
    }

    /// Where an output goes.
    pub fn output(&self, name: &str) -> anyhow::Result<&std::path::Path> {
        match self.job.outputs.get(name) {
            Some(path) => Ok(path),
            None => anyhow::bail!("the job names no output `{name}`"),
        }
    }
}

/// A kind with its types erased.
pub struct KindInfo {
    /// See [`Kind::NAME`].
    pub name: &'static str,
    /// See [`Kind::REVISION`].
    pub revision: u32,
    /// See [`Kind::SUMMARY`].
    pub summary: &'static str,
    /// See [`Kind::DOC`].
    pub doc: &'static str,
    /// See [`Kind::INPUTS`].
    pub inputs: &'static [InputSpec],
    /// See [`Kind::COUNTS`].
    pub counts: &'static [&'static str],
    /// JSON Schema of the parameters.
    pub schema: fn() -> Value,
    /// Parses and checks `with:`.
    pub check: fn(&Value, &[String]) -> Result<Checked, Vec<ParamProblem>>,
    /// See [`Kind::member`]; takes [`Checked::params`].
    pub member: fn(&Value, &str, &[(String, Value)]) -> Result<String, String>,
    /// See [`Kind::facts`]; takes [`Checked::params`].
    pub facts: fn(&Value, &Known) -> Findings,
    /// See [`Kind::states`]; takes [`Checked::params`].
    pub states: fn(&Value) -> Vec<StatePoint>,
    /// Runs a job.
    pub run: fn(&mut Task) -> anyhow::Result<()>,
}

impl KindInfo {
    /// Erases the types of a kind.
    pub fn of<K: Kind>() -> KindInfo {
        KindInfo {
            name: K::NAME,
            revision: K::REVISION,
            summary: K::SUMMARY,
            doc: K::DOC,
            inputs: K::INPUTS,
            counts: K::COUNTS,
            schema: || schemars::schema_for!(K::Params).to_value(),
            check: crate::check::check::<K>,
            member: |params, output, picks| {
                let params = serde_json::from_value(params.clone()).map_err(|e| e.to_string())?;
                K::member(&params, output, picks)
            },
            facts: |params, known| {
                serde_json::from_value(params.clone())
                    .map_or_else(|_| Findings::default(), |p| K::facts(&p, known))
            },
            // What cannot be parsed here has no states; `run` says what is wrong with it.
            states: |params| {
                serde_json::from_value(params.clone())
                    .map_or_else(|_| Vec::new(), |p| K::states(&p))
            },
            run: |task| {
                let params = serde_path_to_error::deserialize(&task.job.params).map_err(|e| {
                    anyhow::anyhow!("the job's parameters, at `{}`: {}", e.path(), e.inner())
                })?;
                K::run(&params, task)
            },
        }
    }
}

/// `with:` understood.
#[derive(Debug)]
pub struct Checked {
    /// All parameters, defaults filled in.
    pub params: Value,
    /// The outputs.
    pub outputs: Vec<OutputSpec>,
}

//! What a kind is: typed parameters, declared inputs and outputs, one function.
//!
//! A kind is one file in `kinds/` that implements [`Kind`]; [`BuiltIn`] is the same with the types erased, for the
//! engine. Knows nothing of any particular kind.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use repro_protocol::findings::Findings;
use repro_protocol::job::{Event, Job, JobInput};
pub use repro_protocol::kind::{Checked, InputSpec, OutputSpec, ParamProblem, StatePoint};
use repro_protocol::kind::{Description, Schema, no_member};
use repro_protocol::relpath::BadPath;

use crate::facts::Known;

/// The outputs a kind has; an error where the path of one is none.
pub type Outputs = Result<Vec<OutputSpec>, BadPath>;

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
    ///
    /// # Errors
    /// An output's path is none.
    fn outputs(params: &Self::Params) -> Outputs;
    /// The outputs where they depend on the names given under `needs:` too.
    ///
    /// # Errors
    /// As [`Kind::outputs`].
    fn outputs_with(params: &Self::Params, _needs: &[String]) -> Outputs {
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
        no_member(output)
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

/// A built-in kind: what the engine knows of it, and the function that does the work.
pub struct BuiltIn {
    /// What the engine knows.
    pub description: Description,
    /// Runs a job.
    pub run: fn(&mut Task) -> anyhow::Result<()>,
}

impl Deref for BuiltIn {
    type Target = Description;
    fn deref(&self) -> &Description {
        &self.description
    }
}

impl BuiltIn {
    /// Erases the types of a kind.
    pub fn of<K: Kind + 'static>() -> BuiltIn {
        let description = Description {
            name: K::NAME.into(),
            summary: K::SUMMARY.into(),
            doc: K::DOC.into(),
            revision: K::REVISION,
            numerics: "exact-f32-v1".into(),
            inputs: K::INPUTS.to_vec(),
            counts: K::COUNTS.iter().map(|c| (*c).to_owned()).collect(),
            schema: Schema::later(|| schemars::schema_for!(K::Params).to_value()),
            check: Arc::new(crate::check::check::<K>),
            member: Arc::new(|params, output, picks| {
                let params = serde_json::from_value(params.clone()).map_err(|e| e.to_string())?;
                K::member(&params, output, picks)
            }),
            facts: Some(Arc::new(|params, known| {
                serde_json::from_value(params.clone())
                    .map_or_else(|_| Findings::default(), |p| K::facts(&p, &Known(known)))
            })),
            // What cannot be parsed here has no states; `run` says what is wrong with it.
            states: Some(Arc::new(|params| {
                serde_json::from_value(params.clone())
                    .map_or_else(|_| Vec::new(), |p| K::states(&p))
            })),
        };
        BuiltIn {
            description,
            run: |task| {
                let params = serde_path_to_error::deserialize(&task.job.params).map_err(|e| {
                    anyhow::anyhow!("the job's parameters, at `{}`: {}", e.path(), e.inner())
                })?;
                K::run(&params, task)
            },
        }
    }
}

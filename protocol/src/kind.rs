//! What a *kind* of stage is to the engine: data, and a few questions it answers. What it computes
//! is unknown here.
//!
//! Foreign kinds say the same as JSON (`PROGRAM describe`, `PROGRAM check`): [`DescribeAnswer`] and
//! [`CheckAnswer`].

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::findings::{Findings, Known};
use crate::relpath::{BadPath, RelPath};

/// One kind of stage.
pub struct Description {
    /// What `uses:` says: `train`, or `./tools/mykind`.
    pub name: String,
    /// One sentence, for `repro kinds`.
    pub summary: String,
    /// The guide to the kind, in Markdown.
    pub doc: String,
    /// Raised whenever the bytes of any output may change for the same inputs; part of every key.
    pub revision: u32,
    /// The contract its arithmetic keeps, e.g. `exact-f32-v1`; part of every key.
    pub numerics: String,
    /// Inputs it can take.
    pub inputs: Vec<InputSpec>,
    /// Inputs whose items are observations: what they have in common is told and hashed.
    pub counts: Vec<String>,
    /// JSON Schema of `with:`.
    pub schema: Schema,
    /// Checks `with:`, given the names under `needs:`, and fills in defaults.
    pub check: CheckFn,
    /// The file of an output that is a directory which `stage.output[name=value]` means.
    pub member: MemberFn,
    /// What is known of its outputs before anything runs; `None` where a kind says nothing.
    pub facts: Option<FactsFn>,
    /// The resumable states on the way to the result, longest first; `None` where a kind has none.
    pub states: Option<StatesFn>,
    /// Whether it can compute on a GPU; `None` where a kind never does.
    pub on_gpu: Option<OnGpuFn>,
}

/// See [`Description::check`].
pub type CheckFn =
    Arc<dyn Fn(&Value, &[String]) -> Result<Checked, Vec<ParamProblem>> + Send + Sync>;
/// See [`Description::facts`]; the first argument is [`Checked::params`].
pub type FactsFn = Arc<dyn Fn(&Value, &Known) -> Findings + Send + Sync>;
/// See [`Description::states`]; the argument is [`Checked::params`].
pub type StatesFn = Arc<dyn Fn(&Value) -> Vec<StatePoint> + Send + Sync>;
/// See [`Description::on_gpu`]; the argument is [`Checked::params`].
pub type OnGpuFn = Arc<dyn Fn(&Value) -> bool + Send + Sync>;
/// See [`Description::member`]; the arguments are [`Checked::params`], the output's name and what
/// is picked. The error says why there is no such file.
pub type MemberFn =
    Arc<dyn Fn(&Value, &str, &[(String, Value)]) -> Result<String, String> + Send + Sync>;

/// The answer of kinds from whose outputs nothing can be picked.
///
/// # Errors
/// Always.
pub fn no_member(output: &str) -> Result<String, String> {
    Err(format!(
        "nothing can be picked from `{output}`; axes are written after the stage: `stage[axis=value].{output}`"
    ))
}

/// A JSON Schema, made when it is first looked at: few commands do, and every worker would pay for
/// all of them.
pub struct Schema(LazyLock<Value, Box<dyn FnOnce() -> Value + Send>>);

impl Schema {
    /// Made by `make`, once, when needed.
    pub fn later(make: impl FnOnce() -> Value + Send + 'static) -> Schema {
        Schema(LazyLock::new(Box::new(make)))
    }
}

impl From<Value> for Schema {
    fn from(value: Value) -> Schema {
        Schema::later(move || value)
    }
}

impl Deref for Schema {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Serialize for Schema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

/// An input a kind can take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// The name under `needs:`; `*` stands for any name the user likes.
    pub name: Cow<'static, str>,
    /// It must be given.
    #[serde(default)]
    pub required: bool,
    /// It may be a list, a group map or a gather.
    #[serde(default)]
    pub many: bool,
    /// It is only looked at (a test set): states on the way to the result do not depend on it.
    #[serde(default)]
    pub observes_only: bool,
    /// One sentence.
    #[serde(default)]
    pub doc: Cow<'static, str>,
}

impl InputSpec {
    /// One artifact that must be given.
    pub const fn required(name: &'static str, doc: &'static str) -> InputSpec {
        InputSpec {
            name: Cow::Borrowed(name),
            required: true,
            many: false,
            observes_only: false,
            doc: Cow::Borrowed(doc),
        }
    }

    /// One artifact that may be left out.
    pub const fn optional(name: &'static str, doc: &'static str) -> InputSpec {
        let mut input = InputSpec::required(name, doc);
        input.required = false;
        input
    }

    /// As many artifacts as one likes.
    pub const fn many(mut self) -> InputSpec {
        self.many = true;
        self
    }

    /// Only looked at.
    pub const fn observed(mut self) -> InputSpec {
        self.observes_only = true;
        self
    }
}

/// A named output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// The name other stages use: `train.model` is output `model`.
    pub name: Arc<str>,
    /// Where it appears under `artifacts/<stage>/`, and, for commands, in the private directory.
    pub path: RelPath,
}

impl OutputSpec {
    /// An output and its file.
    ///
    /// # Errors
    /// The path is none.
    pub fn new(name: &str, path: &str) -> Result<OutputSpec, BadPath> {
        Ok(OutputSpec {
            name: name.into(),
            path: RelPath::new(path)?,
        })
    }
}

/// `with:` understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// All parameters, defaults filled in, in the kind's own typed form: this is what is hashed.
    pub params: Value,
    /// The outputs an instance with these parameters has.
    pub outputs: Vec<OutputSpec>,
}

/// One thing wrong with `with:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamProblem {
    /// The way to the field, e.g. `[schedule, cosine, epochs]`; list positions are decimal numbers.
    #[serde(default)]
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl ParamProblem {
    /// About the field at this path, or `with:` as a whole where it is empty. An empty hint is
    /// none.
    pub fn new(path: &[&str], message: impl Into<String>, hint: impl Into<String>) -> ParamProblem {
        ParamProblem {
            path: path.iter().map(|p| (*p).to_owned()).collect(),
            message: message.into(),
            hint: Some(hint.into()).filter(|h| !h.is_empty()),
        }
    }

    /// The same problem inside this field.
    pub fn within(mut self, field: &str) -> ParamProblem {
        self.path.insert(0, field.to_owned());
        self
    }

    /// About `with:` as a whole.
    pub fn whole(message: impl Into<String>) -> ParamProblem {
        ParamProblem::new(&[], message, "")
    }
}

/// A place on the way to a result where the computation can be resumed.
#[derive(Debug, Clone, PartialEq)]
pub struct StatePoint {
    /// How the kind calls it, e.g. `epoch 12`; the worker uses the same text.
    pub label: String,
    /// Everything in the parameters that influenced the computation so far.
    pub preimage: Value,
}

/// What `PROGRAM describe` prints, format 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeAnswer {
    /// [`Description::name`], not empty.
    pub name: String,
    /// [`Description::revision`].
    pub revision: u32,
    /// [`Description::numerics`].
    #[serde(default = "unspecified")]
    pub numerics: String,
    /// [`Description::summary`].
    pub summary: String,
    /// [`Description::doc`].
    #[serde(default)]
    pub doc: String,
    /// [`Description::inputs`].
    pub inputs: Vec<InputSpec>,
    /// The outputs, where they are always the same.
    pub outputs: Option<Vec<OutputSpec>>,
    /// [`Description::schema`].
    #[serde(default = "any_object")]
    pub schema: Value,
}

/// What `PROGRAM check` prints, format 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckAnswer {
    /// [`Checked::params`].
    pub params: Option<Value>,
    /// [`Checked::outputs`], unless `describe` has them.
    pub outputs: Option<Vec<OutputSpec>>,
    /// What is wrong.
    #[serde(default)]
    pub problems: Vec<ParamProblem>,
}

fn unspecified() -> String {
    "unspecified".into()
}

fn any_object() -> Value {
    serde_json::json!({"type": "object"})
}

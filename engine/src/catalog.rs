//! The catalog: what the engine knows of a *kind*, as data and four functions.
//!
//! The engine never names a kind it can run: `main` hands it the catalog of the stage crate, and programs named by
//! `uses: ./tool` are described by the same type. What a kind computes is unknown here.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::digest::Digest;
use crate::relpath::RelPath;

/// One kind of stage.
pub struct Kind {
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
    /// Inputs whose items are observations: what they have in common is told and hashed (see [`crate::lineage`]).
    pub counts: Vec<String>,
    /// JSON Schema of `with:`.
    pub schema: Schema,
    /// Who runs it.
    pub program: Program,
    /// Checks `with:` and fills in defaults.
    pub check: CheckFn,
    /// Files within outputs that references can pick.
    pub member: MemberFn,
    /// What is known of its outputs before anything runs; `None` where a kind says nothing.
    pub facts: Option<FactsFn>,
    /// The resumable states on the way to the result, longest first; `None` where a kind has none.
    pub states: Option<StatesFn>,
}

/// A JSON Schema, made when it is first looked at: few commands do, and every worker would pay for all of them.
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

impl serde::Serialize for Schema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

/// See [`Kind::check`].
pub type CheckFn = Arc<dyn Fn(&CheckRequest) -> Result<Checked, Vec<ParamProblem>> + Send + Sync>;
/// See [`Kind::facts`].
pub type FactsFn = Arc<dyn Fn(&FactsRequest) -> Findings + Send + Sync>;
/// See [`Kind::states`]; the argument is [`Checked::params`].
pub type StatesFn = Arc<dyn Fn(&Value) -> Vec<StatePoint> + Send + Sync>;

/// The file of an output that is a directory which `stage.output[name=value]` means, or why there is none; arguments are
/// [`Checked::params`], the output's name and what is picked.
pub type MemberFn =
    Arc<dyn Fn(&Value, &str, &[(String, Value)]) -> Result<String, String> + Send + Sync>;

/// A [`MemberFn`] for kinds from whose outputs nothing can be picked.
pub fn no_members() -> MemberFn {
    Arc::new(|_, output, _| {
        Err(format!(
            "nothing can be picked from `{output}`; axes stand behind the stage: `stage[axis=value].{output}`"
        ))
    })
}

/// Who runs a kind.
#[derive(Clone, Debug)]
pub enum Program {
    /// This executable: `repro worker job.json`.
    BuiltIn,
    /// A program of the project, called as `PROGRAM worker job.json`; its digest is part of the key.
    External {
        /// Where it is, absolute.
        path: PathBuf,
        /// BLAKE3 of the program file.
        digest: Digest,
    },
}

/// An input a kind can take.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// The name under `needs:`; `*` stands for any name the user likes.
    pub name: String,
    /// It must be given.
    pub required: bool,
    /// It may be a list, a group map or a gather.
    pub many: bool,
    /// One sentence.
    pub doc: String,
    /// Results do not depend on it while a computation is under way (a test set): left out of state keys.
    pub observes_only: bool,
}

/// What [`Kind::check`] is asked.
pub struct CheckRequest<'a> {
    /// `with:` after expansion; an object.
    pub params: &'a Value,
    /// The names given under `needs:`.
    pub needs: &'a [String],
}

/// `with:` understood.
#[derive(Clone, Debug)]
pub struct Checked {
    /// All parameters, defaults filled in, in the kind's own typed form: this is what is hashed.
    pub params: Value,
    /// The outputs an instance with these parameters has.
    pub outputs: Vec<OutputSpec>,
}

/// What [`Kind::facts`] is asked.
pub struct FactsRequest<'a> {
    /// [`Checked::params`].
    pub params: &'a Value,
    /// By need: what the producer of each artifact said of it; `None` where nothing is known. A fact is the kinds' own affair: it is
    /// carried and not looked into.
    pub inputs: Vec<(&'a str, Vec<Option<&'a Value>>)>,
}

/// What follows from the parameters and from what is known of the inputs.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is known of outputs, by name.
    pub outputs: Vec<(String, Value)>,
    /// What cannot work.
    pub problems: Vec<Finding>,
    /// What works and is hardly meant.
    pub warnings: Vec<Finding>,
}

/// One thing a kind found out.
#[derive(Debug)]
pub struct Finding {
    /// Whose fault it is.
    pub place: FoundAt,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// What a finding is about.
#[derive(Debug)]
pub enum FoundAt {
    /// The way to a field of `with:`.
    Param(Vec<String>),
    /// An artifact of a need: its name, and the position of the artifact.
    Input(String, usize),
}

/// A named output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// The name other stages use: `train.model` is output `model`.
    pub name: Arc<str>,
    /// Where it appears under `artifacts/<stage>/`, and, for commands, in the private directory.
    pub path: RelPath,
}

/// One thing wrong with `with:`.
#[derive(Clone, Debug)]
pub struct ParamProblem {
    /// The way to the field, e.g. `[schedule, cosine, epochs]`; list positions are decimal numbers.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// A place on the way to a result where the computation can be resumed.
#[derive(Clone, Debug)]
pub struct StatePoint {
    /// How the kind calls it, e.g. `epoch 12`; the worker uses the same text.
    pub label: String,
    /// Everything in the parameters that influenced the computation so far.
    pub preimage: Value,
}

/// One row of a table artifact, as `repro metrics` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// Which of several alike the row is about: a cell of a summarised matrix.
    pub run: Option<String>,
    /// Group or stage the row belongs to.
    pub stage: Option<String>,
    /// Seed, where the table has one.
    pub seed: Option<i64>,
    /// Epoch, where the table has one.
    pub epoch: Option<i64>,
    /// Step, where the table has one.
    pub step: Option<i64>,
    /// Part of the data.
    pub split: Option<String>,
    /// Name of the value.
    pub name: String,
    /// The value.
    pub value: f64,
}

/// A table artifact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<TableRow>,
    /// It is in the format of built-in kinds: what else has rows of numbers may be something else.
    pub is_own: bool,
}

/// Reads a table artifact.
pub type ReadTableFn = Arc<dyn Fn(&std::path::Path) -> anyhow::Result<Table> + Send + Sync>;

/// What the first difference between two files means (`tensor w[3]: 0.5, then 0.25`); `None` where the format says nothing.
pub type DescribeDifference = fn(&std::path::Path, &std::path::Path) -> Option<String>;

/// All kinds built in.
pub struct Catalog {
    /// The kinds by name.
    pub kinds: Vec<Arc<Kind>>,
    /// The kind that decides claims: takes groups `a` (and `b`) of tables, writes `verdict` (JSON).
    pub claim_kind: Arc<Kind>,
    /// Reads the tables stages write.
    pub read_table: ReadTableFn,
    /// What the names of files that can be such a table end in; a name without an ending can be one too.
    pub table_endings: &'static [&'static str],
    /// Explains how two files differ that should be the same.
    pub describe_difference: DescribeDifference,
    /// The reference of a built-in kind, in Markdown; `None` for an unknown name.
    pub reference: fn(&str) -> Option<String>,
    /// Directories that programs of the field share between projects, by the word that declares one.
    pub caches: Vec<Cache>,
    /// Runs a built-in kind in this process: `repro worker job.json`.
    pub work: fn(&std::path::Path) -> std::process::ExitCode,
}

/// A directory that programs fill with what they downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    /// The word.
    pub name: &'static str,
    /// The variable that moves it.
    pub variable: &'static str,
    /// Where it is otherwise, below the home directory.
    pub dir: &'static str,
}

impl Catalog {
    /// The kind of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.name == name)
    }
}

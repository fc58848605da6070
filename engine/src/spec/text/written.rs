//! Forms of the pipeline file that are written as texts or in several ways: descriptions for the
//! schema. The modules that read them decide; of environments and tools they read the map from here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::decode::{OneOrMany, Raw};

/// Variables, or where they are read.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum VarsText {
    /// Values by name; or `{file: params.yaml}` alone.
    Values(BTreeMap<String, serde_json::Value>),
    /// Files (`{file: params.yaml}`) and maps of values; later ones win.
    Parts(Vec<BTreeMap<String, serde_json::Value>>),
}

/// An input: an output of another stage, a file, a directory, a list of these, or a map of groups.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum NeedText {
    /// `stage.output`, `stage[seed=0].output`, `stage[*].output`, `stage[lr=0.1,*].output`; `stage`
    /// alone when it has one output; `stage.output/path` for a part of a directory.
    Reference(String),
    /// Several inputs, in order.
    List(Vec<NeedItemText>),
    /// A file.
    File(FileText),
    /// A directory.
    Dir(DirText),
    /// All files that match a pattern.
    Files(FilesText),
    /// An input of a command, at a place of its own.
    Moved(MovedText),
    /// Groups of inputs, by name.
    Groups(BTreeMap<String, NeedItemText>),
}

/// One input of a list or group.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum NeedItemText {
    /// As outside of a list.
    Reference(String),
    /// A file.
    File(FileText),
    /// A directory.
    Dir(DirText),
    /// All files that match a pattern.
    Files(FilesText),
    /// An input of a command, at a place of its own.
    Moved(MovedText),
}

/// An input that a command finds at a path of its own, and not below `in/`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct MovedText {
    /// The input: one artifact.
    from: FromText,
    /// Where the command finds it, relative to its private directory.
    at: String,
}

/// One artifact.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum FromText {
    /// As outside of the map.
    Reference(String),
    /// A file.
    File(FileText),
    /// A directory.
    Dir(DirText),
}

/// A file that no stage makes.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct FileText {
    /// Its path, relative to the project; `~`, absolute paths and `..` lead out of it.
    file: String,
}

/// All files that match a pattern.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct FilesText {
    /// Patterns such as `data/*.csv`, relative to the project.
    files: OneOrMany<String>,
    /// Further patterns, as in `.gitignore`, of files that do not count; with `none` everything
    /// counts.
    ignore: Option<IgnoreText>,
}

/// The files of a directory that do not count.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum IgnoreText {
    /// `none`: everything counts.
    None(String),
    /// Patterns, as in `.gitignore`, after the usual ones.
    Patterns(Vec<String>),
}

/// A directory that no stage makes.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct DirText {
    /// Its path, relative to the project; `~`, absolute paths and `..` lead out of it.
    dir: String,
    /// Further patterns, as in `.gitignore`, of files that do not count; with `none` everything
    /// counts.
    ignore: Option<IgnoreText>,
    /// A list of the digests of its files, as `b3sum` writes it: each is read once, and then
    /// trusted while its size and time stay.
    manifest: Option<String>,
}

/// The environment of a command.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum EnvText {
    /// Names and values.
    Values(BTreeMap<String, Scalar>),
    /// Names whose current values are passed on.
    PassThrough(Vec<String>),
}

/// A value of an axis.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum AxisValue {
    /// A text, a number, true or false.
    Scalar(Scalar),
    /// Null.
    Null(()),
    /// A map, named by its `name` (or `label`).
    Map(BTreeMap<String, serde_json::Value>),
}

/// A text, a number, true or false.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
}

/// A program a command uses.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum ToolText {
    /// Its name; `NAME --version` prints the version.
    Name(String),
    /// Its name and the command that prints its version.
    Full(Tool),
}

/// An environment of packages.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum EnvironmentText {
    /// A directory, or `user`; for conda also a name.
    Place(String),
    /// A lock file, and the environment that follows it.
    Locked(LockedEnvironment),
}

/// Axes by name; one instance per combination, in the order of the axes.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct MatrixText {
    /// Axes that advance together: lists of one length.
    zip: Option<OneOrMany<BTreeMap<String, Axis>>>,
    /// Combinations to add, or values to add to those that match.
    include: Option<Vec<BTreeMap<String, AxisValue>>>,
    /// Combinations to leave out: those that have all values of an entry.
    exclude: Option<Vec<BTreeMap<String, AxisValue>>>,
    /// The values of an axis.
    #[schemars(flatten)]
    axes: BTreeMap<String, Axis>,
}

/// The values of an axis.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Axis {
    /// As listed.
    List(Vec<AxisValue>),
    /// A reference to a list.
    Reference(String),
    /// From start to before stop.
    Range(RangeText),
    /// Evenly spaced on a logarithmic scale.
    Logspace(LogspaceText),
}

/// `{range: [start, stop, step]}`, without stop itself; step is 1 by default.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct RangeText {
    /// Start, stop and step.
    range: Vec<f64>,
}

/// `{logspace: [from, to, n]}`: n values from `from` to `to`, both included.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct LogspaceText {
    /// From, to and n.
    logspace: Vec<f64>,
}

/// `90s`, `10m`, `1h30m`, or seconds.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Duration {
    /// Seconds.
    Seconds(f64),
    /// With units `ms`, `s`, `m`, `h`, `d`.
    Text(String),
}

/// `2GB`, `512MiB`, or bytes.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// With a unit.
    Text(String),
}

/// What is compared.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct CompareText {
    /// The value that is compared.
    of: String,
    /// The first group: a stage, or a reference.
    a: String,
    /// The second group.
    b: String,
    /// The axes on which results of both groups are paired.
    paired_by: Option<OneOrMany<String>>,
    /// The axes among them that repeat the experiment; pairs are averaged over the others.
    over: Option<OneOrMany<String>>,
    /// Axes over which each group is averaged first.
    within: Option<OneOrMany<String>>,
    /// Which value to take if a table has several.
    at: Option<serde_json::Value>,
    /// The output that holds the values; `metrics` by default.
    table: Option<String>,
}

/// What is measured.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the file for its schema")]
pub struct MeasureText {
    /// The value that is measured.
    of: String,
    /// The results: a stage, or a reference.
    #[serde(rename = "in")]
    group: String,
    /// The axes that repeat the experiment.
    over: Option<OneOrMany<String>>,
    /// The axis along which `trend` and `best` look.
    along: Option<String>,
    /// Axes over which results are averaged first.
    within: Option<OneOrMany<String>>,
    /// Which value to take if a table has several.
    at: Option<serde_json::Value>,
    /// The output that holds the values; `metrics` by default.
    table: Option<String>,
}

/// A program a command uses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The program, looked up in `PATH`.
    pub program: String,
    /// The command that prints its version; by default `PROGRAM --version`.
    pub version: Option<OneOrMany<String>>,
}

/// An environment whose lock file stands for its packages.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedEnvironment {
    /// The lock file: its content is part of the key.
    #[schemars(with = "String", required)]
    pub lock: Option<Raw>,
    /// The environment; by default `.venv` (Python), `.pixi/envs/default` (conda) or `renv/library`
    /// (R) beside the lock file.
    #[schemars(with = "Option<String>")]
    pub path: Option<Raw>,
}

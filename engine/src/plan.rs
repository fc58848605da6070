//! The plan: every instance of a study with its inputs resolved to producers, after all expansion.
//!
//! The plan is what the specification says, and nothing of what has run: no digest of an artifact,
//! no key, no state. It is made by [`crate::spec`] and read by everything after it. Edges are
//! indices, so 100,000 instances stay small.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::{Kind, Program};
use crate::files::{Files, Location};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// A whole study, expanded.
pub struct Plan {
    /// The study's name.
    pub name: String,
    /// All instances, in topological order: an instance comes after those it needs. Claims'
    /// instances come last.
    pub instances: Vec<Instance>,
    /// Claims, in file order.
    pub claims: Vec<Claim>,
    /// What the study is about, its stages by name, and remarks on claims by `claim:NAME`: for
    /// people only.
    pub said: Said,
    /// Figures that the study asks for, in file order.
    pub figures: Vec<Figure>,
    /// The salt of all keys (`salt:`); changing it disowns every earlier result.
    pub salt: String,
    /// Where downloads look first, in order: directories or URLs.
    pub mirrors: Vec<String>,
    /// Files the specification was read from (pipeline, includes), project-relative where inside.
    pub files: Vec<PathBuf>,
    /// What is hardly meant and not wrong, each with its place.
    pub warnings: Vec<String>,
}

/// What a pipeline says for people; no part of any key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Of the study.
    pub study: Option<String>,
    /// Of stages by name, and of claims by `claim:NAME`.
    pub of: BTreeMap<String, String>,
}

/// A figure that a study asks for; no part of any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Its name.
    pub name: Arc<str>,
    /// The metric.
    pub of: String,
    /// How it is drawn.
    pub shape: FigureShape,
    /// What stands above it.
    pub title: Option<String>,
    /// The stages it is about; all for none.
    pub stages: Vec<String>,
    /// Across goes by equal ratios.
    pub log_x: bool,
    /// Up goes by equal ratios.
    pub log_y: bool,
}

/// How a figure is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FigureShape {
    /// Values over time.
    Curves,
    /// Last values, a row for each group.
    Points,
    /// Last values along an axis.
    Along(String),
    /// Last values over two axes: across, and up.
    Grid(String, String),
    /// Last values of the members of a metric (`accuracy[3]`) against those that the same members
    /// have of this one.
    Against(String),
}

/// Position of an instance in [`Plan::instances`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceIndex(pub u32);

/// The matrix values of an instance, in the order the axes are declared.
pub type Axes = Arc<[(Arc<str>, Arc<AxisValue>)]>;

/// A value on an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AxisValue {
    /// What keys and kinds are told: a single value; of a map its name.
    pub value: Value,
    /// How it stands in names and paths: as it was written (`1e-3`), of a map its name.
    pub text: Box<str>,
}

/// A stage after matrix expansion.
pub struct Instance {
    /// `train[seed=1]`; without a matrix just `train`. Unique.
    pub id: Arc<str>,
    /// The stage it comes from.
    pub stage: Arc<str>,
    /// Its matrix values.
    pub axes: Axes,
    /// What it does.
    pub work: Work,
    /// Its inputs, sorted by name.
    pub needs: Vec<Need>,
    /// Whom it waits for without taking anything from them, sorted; no part of its key.
    pub after: Arc<[InstanceIndex]>,
    /// Its outputs, sorted by name.
    pub outputs: Arc<[OutputSpec]>,
    /// How it is run; none of this is part of the key.
    pub policy: Arc<Policy>,
    /// Where the stage stands in the pipeline file.
    pub place: Arc<Place>,
}

impl Instance {
    /// Who makes what it needs, in order, possibly repeated.
    pub fn producers(&self) -> impl Iterator<Item = InstanceIndex> + '_ {
        let items = self.needs.iter().flat_map(|need| &need.items);
        items.filter_map(|item| match item.source {
            Source::Output { instance, .. } => Some(instance),
            Source::Files(_) => None,
        })
    }

    /// What it runs: a kind's name, or `command`.
    pub fn kind_name(&self) -> &str {
        match &self.work {
            Work::Kind { kind, .. } => &kind.name,
            Work::Command(_) => "command",
        }
    }
}

/// A position in a file the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user knows it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// What an instance does.
pub enum Work {
    /// A kind with checked parameters.
    Kind {
        /// The kind.
        kind: Arc<Kind>,
        /// [`repro_protocol::kind::Checked::params`].
        params: Arc<Value>,
    },
    /// A shell command.
    Command(Arc<Command>),
}

impl Work {
    /// Why nothing but its name is known of it: a program that was not asked yet.
    pub fn unasked(&self) -> Option<&str> {
        match self {
            Work::Kind { kind, .. } => match &kind.program {
                Program::Unasked { why } => Some(why),
                Program::BuiltIn | Program::External { .. } => None,
            },
            Work::Command(_) => None,
        }
    }
}

/// A shell command, all references expanded.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The text given to the shell.
    pub script: Box<str>,
    /// What it is run with; most instances of a stage have it in common.
    #[serde(flatten)]
    pub setup: Arc<Setup>,
}

/// What a script is run with.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The shell and its flags; the script is the last argument. Default `[bash, -euo, pipefail,
    /// -c]`.
    pub shell: Arc<[String]>,
    /// The declared environment, values resolved.
    pub env: BTreeMap<String, String>,
    /// Declared tools.
    pub tools: Vec<Tool>,
    /// Installations its programs and packages come from, at most one of each manager.
    pub environments: Vec<Environment>,
    /// Directories outside of the project that it may read and write; no part of its key.
    pub caches: Vec<Cache>,
    /// Files that list where inputs are.
    pub lists: Vec<PathList>,
    /// Files of values that are written for it before it starts, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<RelPath, String>,
}

/// A file in the working directory with the paths of an input, one per line: for more than fit into
/// a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathList {
    /// The input.
    pub need: Arc<str>,
    /// Its group; `None`: all of it.
    pub group: Option<String>,
    /// Where it is.
    pub at: RelPath,
}

impl PathList {
    /// Whether an item of an input is listed.
    pub fn holds(&self, need: &str, group: &str) -> bool {
        *self.need == *need && self.group.as_deref().is_none_or(|g| g == group)
    }
}

/// An installation of packages, declared so that its content is part of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Environment {
    /// Who made it.
    pub manager: Manager,
    /// Where it is.
    pub place: EnvironmentPlace,
    /// The lock file that stands for its packages in the key.
    pub lock: Option<Location>,
    /// As the user wrote it.
    pub written: String,
}

/// Who makes and changes an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Manager {
    /// conda, mamba, pixi.
    Conda,
    /// venv, virtualenv, uv, poetry, pip.
    Python,
    /// R, renv.
    R,
}

impl Manager {
    /// The field of a stage and of a key.
    pub fn word(self) -> &'static str {
        match self {
            Manager::Conda => "conda",
            Manager::Python => "python",
            Manager::R => "r",
        }
    }
}

/// Where an environment is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EnvironmentPlace {
    /// A directory.
    Dir(Location),
    /// Where its manager keeps those that have a name.
    Named(String),
    /// Where a user's own packages are installed.
    User,
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}: {}`", self.manager.word(), self.written)
    }
}

/// A directory that programs fill with what they downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Absolute.
    pub dir: PathBuf,
    /// The variable that leads programs to it.
    pub variable: Option<String>,
}

/// A program a command uses, declared so that its version is part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The program, looked up in `PATH`.
    pub program: String,
    /// A command whose output is the version, e.g. `python3 --version`.
    pub version_command: Vec<String>,
}

/// One declared input.
#[derive(Debug, Clone)]
pub struct Need {
    /// The logical name.
    pub name: Arc<str>,
    /// What it stands for.
    pub items: Vec<NeedItem>,
    /// Written as a list, group map or gather: the worker sees a list even of one.
    pub many: bool,
}

/// One artifact or file of a [`Need`].
#[derive(Debug, Clone)]
pub struct NeedItem {
    /// The group (`runs: {scratch: ..., warm: ...}`), or the position in a list; empty for a single
    /// need.
    pub group: Arc<str>,
    /// The matrix values of the producer, when gathered; else empty.
    pub axes: Axes,
    /// Where it comes from.
    pub source: Source,
    /// Where a command finds it in its private directory. Free of stage names, so a rename changes
    /// no command.
    pub placed_at: RelPath,
    /// A part of an output that is a directory; `None` is the whole output.
    pub inside: Option<Arc<Inside>>,
}

/// A file or directory in an output that is a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Where it is there.
    pub path: RelPath,
    /// The kind that makes the output has said where; otherwise the user has.
    pub by_kind: bool,
    /// Where the reference stands in the pipeline file.
    pub place: Place,
}

/// Where an input comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An output of an earlier instance.
    Output {
        /// The producer.
        instance: InstanceIndex,
        /// Position in its `outputs`.
        output: u32,
    },
    /// A file or directory that no stage makes.
    Files(Arc<Files>),
}

/// A whole GPU in the thousandths of [`Policy::gpus`].
pub const ONE_GPU: u32 = 1000;

/// How to run an instance. Not part of its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// CPU cores it occupies and threads it may use; `None` leaves it to the scheduler.
    pub cpus: Option<u32>,
    /// Memory it may use; enforced where given.
    pub memory_bytes: Option<u64>,
    /// GPUs it occupies, in thousandths: whole ones, or less than [`ONE_GPU`], a share of one.
    pub gpus: u32,
    /// Named locks held while it runs.
    pub mutexes: Vec<Arc<str>>,
    /// Killed after this time.
    pub timeout_s: Option<f64>,
    /// From SIGTERM to SIGKILL when it is stopped: time to save.
    pub grace_s: f64,
    /// Tries after the first failure.
    pub retries: u32,
    /// `sandbox: off` was not said.
    pub sandbox: Sandbox,
    /// `scratch: true` was said.
    pub scratch: Scratch,
    /// `network: off` was not said.
    pub network: Network,
    /// Environment variables whose values are passed and enter nothing; sorted.
    pub secrets: Vec<Arc<str>>,
    /// Where it is executed, by name; `None` leaves it to the run.
    #[serde(default)]
    pub executor: Option<Arc<str>>,
}

impl Default for Policy {
    /// The policy of anything that says nothing.
    fn default() -> Policy {
        Policy {
            cpus: None,
            memory_bytes: None,
            gpus: 0,
            mutexes: Vec::new(),
            timeout_s: None,
            // What clusters give between SIGTERM and SIGKILL.
            grace_s: 30.0,
            retries: 0,
            sandbox: Sandbox::On,
            network: Network::On,
            scratch: Scratch::None,
            secrets: Vec::new(),
            executor: None,
        }
    }
}

impl Policy {
    /// The same with the cores that an execution was given.
    pub fn with_cpus(&self, cpus: u32) -> Arc<Policy> {
        Arc::new(Policy {
            cpus: Some(cpus),
            ..self.clone()
        })
    }

    /// The same for an execution that computes on the CPU.
    pub fn without_gpus(&self) -> Arc<Policy> {
        Arc::new(Policy {
            gpus: 0,
            ..self.clone()
        })
    }

    /// The same for an execution that has a whole GPU.
    pub fn with_a_gpu(&self) -> Arc<Policy> {
        Arc::new(Policy {
            gpus: ONE_GPU,
            ..self.clone()
        })
    }

    /// Threads an execution under this policy may use.
    pub fn threads(&self) -> u32 {
        self.cpus.unwrap_or(1).max(1)
    }

    /// How many GPUs it sees.
    pub fn gpus_seen(&self) -> u32 {
        self.gpus.div_ceil(ONE_GPU)
    }

    /// What it takes of each GPU it sees, in thousandths.
    pub fn of_each_gpu(&self) -> u32 {
        self.gpus.min(ONE_GPU)
    }

    /// The same as a part of 1.
    pub fn share_of_each_gpu(&self) -> f64 {
        f64::from(self.of_each_gpu()) / f64::from(ONE_GPU)
    }
}

/// Whether a command is confined to what it declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// A read outside the declared inputs, tools and system paths fails.
    On,
    /// The command may read anything; recorded with the result.
    Off,
}

/// Where a command finds its scratch directory, in its working directory. Part of keys, where a
/// command refers to it.
pub const SCRATCH: &str = ".scratch";

/// Whether a command has a directory that outlives a failed or killed execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scratch {
    /// It has none.
    None,
    /// It is kept under the key of the action until that succeeds.
    Kept,
}

/// Whether a command may speak to other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// As everybody on this machine.
    On,
    /// Only with itself, over the loopback device.
    Off,
}

/// A statement the pipeline tests; decided by instances of the claim kind.
pub struct Claim {
    /// Its name.
    pub name: Arc<str>,
    /// Who says so.
    pub source: Option<String>,
    /// The family for whose number of claims its verdict is corrected.
    pub family: Option<Arc<str>>,
    /// The instances whose output `verdict` decides it, in the order in which they are asked for.
    /// Several where the claim itself decides how many repetitions it needs.
    pub looks: Vec<Look>,
    /// The runs whose number it decides; none where that is fixed.
    pub runs: Vec<InstanceIndex>,
}

impl Claim {
    /// It decides how many repetitions it needs, and looks at them several times.
    pub fn decides_number(&self) -> bool {
        !self.runs.is_empty()
    }
}

/// A look of a claim at the runs it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How many repetitions it reads; `None`: all there are.
    pub n: Option<u32>,
    /// The instance that decides.
    pub instance: InstanceIndex,
}

impl Plan {
    /// The instance at an index.
    pub fn instance(&self, index: InstanceIndex) -> &Instance {
        &self.instances[index.0 as usize]
    }

    /// What a source is called where people read it: `train[seed=0].metrics (metrics.parquet)`, or
    /// a path of the project.
    pub fn name_of(&self, source: &Source) -> String {
        match source {
            Source::Files(files) => files.at.to_string(),
            Source::Output { instance, output } => {
                let producer = self.instance(*instance);
                match producer.outputs.get(*output as usize) {
                    Some(output) => format!("{}.{} ({})", producer.id, output.name, output.path),
                    None => producer.id.to_string(),
                }
            }
        }
    }

    /// The producers an instance needs, in order, possibly repeated.
    pub fn producers(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        self.instance(index).producers()
    }
}

/// `seed=1,lr=0.1`: how axes are written in instance names and labels.
pub fn axes_text(axes: &[(Arc<str>, Arc<AxisValue>)]) -> String {
    let mut text = String::new();
    for (name, value) in axes {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&value.text);
    }
    text
}

//! `repro.executors.toml`: where a run may execute, beside this machine. It lies beside the
//! pipeline, or in the user's configuration; a name in the project's file counts more. Typed, and
//! every mistake is one error with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use repro_engine::regular::{self, Links};
use repro_engine::{handwritten, similar, size};
use serde::{Deserialize, Deserializer};

use crate::system::{Description, System};

/// What the machine where a run is is called among executors.
pub const HERE: &str = "here";
/// The name of the file.
pub const FILE: &str = "repro.executors.toml";
/// Bytes of the largest file that is read.
const BYTES_MAX: u64 = 4 << 20;
/// Words of a submission that the program says itself.
const OWNED: &[&str] = &[
    "--array",
    "-a",
    "--job-name",
    "-J",
    "--output",
    "-o",
    "--error",
    "-e",
    "--parsable",
    "--requeue",
    "--no-requeue",
    "--wait",
    "-W",
    "--open-mode",
    "--cpus-per-task",
    "-c",
    "--mem",
    "--time",
    "--dependency",
    "-d",
    "-t",
    "--test-only",
];

/// A length of time, written `30m`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// An amount of memory, written `4GB`, `512MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(pub u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        let text = String::deserialize(d)?;
        let time = text.parse::<jiff::SignedDuration>().ok();
        let time = time
            .and_then(|t| Duration::try_from(t).ok())
            .filter(|t| !t.is_zero());
        let bad = || format!("`{text}` is no length of time; write e.g. `90s`, `30m`, `1h30m`");
        time.map(Time)
            .ok_or_else(|| serde::de::Error::custom(bad()))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Memory, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = || {
            let lower = text.trim().to_ascii_lowercase();
            let unit_at = lower.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, unit) = lower.split_at(unit_at);
            let number: f64 = number.trim().parse().ok()?;
            let bytes = number * size::factor(unit.strip_suffix('b')?)?;
            (bytes >= 1.0).then_some(bytes as u64)
        };
        let bad = || format!("`{text}` is no amount of memory; write e.g. `512MiB`, `4GB`");
        bytes()
            .map(Memory)
            .ok_or_else(|| serde::de::Error::custom(bad()))
    }
}

/// Who runs jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Slurm.
    Slurm,
    /// What `[NAME.system]` describes.
    Described,
}

/// What is said of jobs whose stage says nothing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Defaults {
    /// How long a job may take.
    pub time: Option<Time>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// Its cores.
    pub cpus: Option<u32>,
    /// Further words of the command line that submits.
    #[serde(default)]
    pub extra: Vec<String>,
    /// Partition, account and the like.
    #[serde(flatten)]
    pub options: BTreeMap<String, toml::Value>,
}

/// How often something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Poll {
    /// At first.
    pub first: Time,
    /// When nothing has happened for long.
    pub longest: Time,
    /// How often reports are looked for.
    pub reports: Time,
    /// How long what was reported may take to be seen.
    pub late: Time,
    /// How long the batch system may take to answer.
    pub patience: Time,
}

impl Default for Poll {
    fn default() -> Poll {
        let seconds = |s| Time(Duration::from_secs(s));
        Poll {
            first: seconds(30),
            longest: seconds(180),
            reports: seconds(5),
            late: seconds(60),
            patience: seconds(60),
        }
    }
}

/// What is done again, and how.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// So many times with more.
    pub times: u32,
    /// By this factor more memory, after too little.
    pub memory: f64,
    /// By this factor more time.
    pub time: f64,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            times: 0,
            memory: 2.0,
            time: 2.0,
        }
    }
}

/// A place where a run may execute.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table: `[NAME]` with `kind`")]
pub struct Settings {
    /// Who runs jobs there.
    pub kind: Kind,
    /// The remote through which bytes travel; the default one when absent.
    pub remote: Option<String>,
    /// This program, as nodes find it; where it is here when absent.
    pub program: Option<PathBuf>,
    /// A directory on a node's own disk, for the shell there.
    #[serde(default = "scratch")]
    pub scratch: String,
    /// Lines of shell before the program begins, such as `module load`.
    #[serde(default)]
    pub prelude: String,
    /// See [`Defaults`].
    #[serde(default)]
    pub defaults: Defaults,
    /// How long an element of a job should work.
    pub bundle: Option<Time>,
    /// So many elements work side by side, where there is enough to do.
    #[serde(default = "width")]
    pub width: u32,
    /// Elements of one submission at most.
    #[serde(default = "largest")]
    pub array: u32,
    /// Resources that this site does not want to be told of: `memory`, `cpus`, `time`.
    #[serde(default)]
    pub without: Vec<String>,
    /// See [`Poll`].
    #[serde(default)]
    pub poll: Poll,
    /// See [`Retry`].
    #[serde(default)]
    pub retry: Retry,
    /// See [`Description`].
    pub system: Option<Description>,
}

fn scratch() -> String {
    "${TMPDIR:-/tmp}".to_owned()
}

fn width() -> u32 {
    16
}

fn largest() -> u32 {
    1000
}

impl Settings {
    /// How long a job may take.
    pub fn time(&self) -> Duration {
        self.defaults
            .time
            .map_or(Duration::from_secs(4 * 3600), |t| t.0)
    }

    /// How long an element of a job should work: half an hour, and no more than half of its time.
    pub fn bundle(&self) -> Duration {
        let usual = Duration::from_secs(1800).min(self.time() / 2);
        self.bundle.map_or(usual, |t| t.0)
    }

    /// What is said to the batch system of a job that takes so many minutes on one core, and asks
    /// for nothing else.
    pub fn options_of_one(&self, minutes: u64) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        let mut say = |name: &str, value: String| options.insert(name.to_owned(), value);
        say("cpus", "1".to_owned());
        // Each system has its own way to say a time.
        say("time", minutes.to_string());
        say("seconds", (minutes * 60).to_string());
        say(
            "clock",
            format!("{:02}:{:02}:00", minutes / 60, minutes % 60),
        );
        for (name, value) in &self.defaults.options {
            let text = value.as_str().map(str::to_owned);
            say(name, text.unwrap_or_else(|| value.to_string()));
        }
        options.retain(|name, _| !self.without.contains(name));
        options
    }

    /// The batch system.
    ///
    /// # Errors
    /// Its description, or what is said to it, makes no sense.
    pub fn system(&self) -> anyhow::Result<System> {
        let system = match (self.kind, &self.system) {
            (Kind::Slurm, None) => System::slurm()?,
            (Kind::Described, Some(said)) => System::of(said.clone()).context("`system`")?,
            (Kind::Slurm, Some(_)) => {
                anyhow::bail!(
                    "`system` describes another batch system: write `kind = \"described\"`"
                )
            }
            (Kind::Described, None) => anyhow::bail!(
                "`kind = \"described\"` needs a table `system` that says how jobs are submitted; docs/cluster.md has some"
            ),
        };
        let known: Vec<&str> = system.options().collect();
        let check = |name: &str, field: &str| -> anyhow::Result<()> {
            if known.contains(&name) {
                return Ok(());
            }
            let near = similar::nearest(name, known.iter().copied(), 3);
            let near = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
            anyhow::bail!(
                "`{field}`: `{name}` is not known; there is {}{near}",
                known.join(", ")
            )
        };
        for (name, value) in &self.defaults.options {
            check(name, "defaults")?;
            anyhow::ensure!(
                value.is_str() || value.is_integer(),
                "`defaults.{name}` is a text or a whole number"
            );
        }
        for name in &self.without {
            check(name, "without")?;
        }
        for word in &self.defaults.extra {
            let flag = word.split('=').next().unwrap_or_default();
            anyhow::ensure!(
                !OWNED.contains(&flag),
                "`defaults.extra`: `{flag}` is said by repro itself; `defaults` and the stage's `resources` decide on it"
            );
        }
        anyhow::ensure!(
            self.width > 0 && self.array > 0,
            "`width` and `array` are at least 1"
        );
        anyhow::ensure!(
            self.retry.memory >= 1.0 && self.retry.time >= 1.0,
            "`retry.memory` and `retry.time` are factors of at least 1"
        );
        anyhow::ensure!(
            self.poll.first <= self.poll.longest,
            "`poll.first` is longer than `poll.longest`"
        );
        anyhow::ensure!(
            self.bundle() <= self.time(),
            "`bundle` is longer than `defaults.time`, within which a job has to end"
        );
        Ok(system.patient(self.poll.patience.0))
    }
}

/// The executors that a project and its user know.
#[derive(Debug, Clone, Default)]
pub struct Executors {
    all: BTreeMap<String, (Settings, PathBuf)>,
    files: Vec<PathBuf>,
}

impl Executors {
    /// Reads both files; none is no executors.
    ///
    /// # Errors
    /// One cannot be read, or makes no sense.
    pub fn read(project_root: &Path, config: Option<&Path>) -> anyhow::Result<Executors> {
        let mut found = Executors::default();
        let dirs = config.map(|dir| dir.join("repro"));
        for dir in dirs.iter().map(PathBuf::as_path).chain([project_root]) {
            let path = dir.join(FILE);
            found.files.push(path.clone());
            let text = match regular::read_text(&path, Links::Follow, BYTES_MAX) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => anyhow::bail!("cannot read `{}`: {e}", path.display()),
            };
            let named: BTreeMap<String, Settings> = toml::from_str(&text)
                .map_err(|e| anyhow::anyhow!("{}", handwritten::with_line(&e)))
                .with_context(|| format!("cannot understand `{}`", path.display()))?;
            for (name, settings) in named {
                let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                anyhow::ensure!(
                    !name.is_empty() && name.len() <= 40 && name.chars().all(legal),
                    "`{}`: `{}` is not a name for an executor: letters, digits, `-` and `_`",
                    path.display(),
                    name.escape_debug()
                );
                anyhow::ensure!(
                    name != HERE,
                    "`{}`: `{HERE}` is the machine where `repro run` is: call the executor otherwise",
                    path.display()
                );
                settings
                    .system()
                    .with_context(|| format!("`{}`: [{name}]", path.display()))?;
                found.all.insert(name, (settings, path.clone()));
            }
        }
        Ok(found)
    }

    /// An executor by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> anyhow::Result<&Settings> {
        if let Some((settings, _)) = self.all.get(name) {
            return Ok(settings);
        }
        let files: Vec<String> = self
            .files
            .iter()
            .map(|f| format!("`{}`", f.display()))
            .collect();
        let files = files.join(" or ");
        if self.all.is_empty() {
            anyhow::bail!(
                "there is no executor `{name}`: describe it in {files} (docs/cluster.md)"
            );
        }
        let known: Vec<String> = self.all.keys().map(|name| format!("`{name}`")).collect();
        anyhow::bail!(
            "no executor is called `{name}`; {files} has {}",
            known.join(", ")
        )
    }
}

/// `$XDG_CONFIG_HOME`, or `~/.config`.
pub fn config_dir() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CONFIG_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".config")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let found = Executors::read(dir.path(), None).and_then(|all| all.get("lab").cloned());
        found.map_err(|e| format!("{e:#}").replace(&*dir.path().to_string_lossy(), "DIR"))
    }

    #[test]
    fn a_few_words_suffice_and_all_is_understood() {
        let few = read("[lab]\nkind = \"slurm\"\n").unwrap();
        assert_eq!(few.time(), Duration::from_secs(4 * 3600));
        assert_eq!((few.width, few.bundle().as_secs()), (16, 1800));
        let all = read(
            "[lab]\nkind = \"slurm\"\nremote = \"lab-dir\"\nscratch = \"/scratch\"\nwithout = [\"memory\"]\n\
             defaults = {partition = \"cpu\", account = \"x\", time = \"1h30m\", memory = \"2GB\", extra = [\"--nice=5\"]}\n\
             [lab.poll]\nfirst = \"1s\"\n[lab.retry]\ntimes = 2\nmemory = 1.5\n",
        )
        .unwrap();
        assert_eq!(all.time(), Duration::from_secs(5400));
        assert_eq!(all.defaults.memory, Some(Memory(2_000_000_000)));
        assert_eq!(all.defaults.options["partition"].as_str(), Some("cpu"));
    }

    #[test]
    fn the_project_counts_more_than_the_user() {
        let dir = tempfile::tempdir().unwrap();
        let (project, user) = (dir.path().join("project"), dir.path().join("user/repro"));
        for (at, partition) in [(&project, "mine"), (&user, "theirs")] {
            std::fs::create_dir_all(at).unwrap();
            let text = |name: &str| {
                format!("[{name}]\nkind = \"slurm\"\ndefaults = {{partition = \"{partition}\"}}\n")
            };
            let other = if partition == "theirs" {
                text("other")
            } else {
                String::new()
            };
            std::fs::write(at.join(FILE), text("lab") + &other).unwrap();
        }
        let all = Executors::read(&project, Some(&dir.path().join("user"))).unwrap();
        let partition = |name: &str| all.get(name).unwrap().defaults.options["partition"].clone();
        assert_eq!(partition("lab").as_str(), Some("mine"));
        assert_eq!(partition("other").as_str(), Some("theirs"));
    }

    #[test]
    fn mistakes_are_explained() {
        let lab = |rest: &str| read(&format!("[lab]\nkind = \"slurm\"\n{rest}\n")).unwrap_err();
        let all = [
            read("").unwrap_err(),
            read("[lob]\nkind = \"slurm\"\n").unwrap_err(),
            read("[\"a b\"]\nkind = \"slurm\"\n").unwrap_err(),
            read("[here]\nkind = \"slurm\"\n").unwrap_err(),
            read("[lab]\nkind = \"pbs\"\n").unwrap_err(),
            read("[lab]\nkind = \"described\"\n").unwrap_err(),
            lab("partition = \"x\""),
            lab("defaults = {partitoin = \"x\"}"),
            lab("defaults = {time = \"ten\"}"),
            lab("defaults = {memory = \"4\"}"),
            lab("defaults = {extra = [\"--array=3\"]}"),
            lab("bundle = \"5h\""),
            lab("without = [\"mem\"]"),
            lab("poll = {first = \"10m\"}"),
        ];
        insta::assert_snapshot!(all.join("\n---\n"));
    }
}

//! What a side of the question stands for: a commit, a run, or the files as they are now. And what
//! is known of a run: the texts it was written in, its options, and what its inputs held.
//!
//! A run is put together from its journal, the keys it had, and the texts that the project
//! remembers. What has the same bytes now is taken from there. Anything else is an error: a plan on
//! other inputs would be no plan of that run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::digest::{Content, Digest, Shape};
use crate::files::{Files, Location};
use crate::open::Opening;
use crate::plan::{Need, Source};
use crate::project::Project;
use crate::record::history::{self, Run};
use crate::record::inputs::Inputs;
use crate::record::journal;
use crate::results::runs::options_in;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A commit, as it was named.
    Commit(String),
    /// A run, by its whole name.
    Run(String),
    /// The files, and the options of the command line.
    Now,
}

impl State {
    /// What a name stands for: a run if there is one, else a commit.
    ///
    /// # Errors
    /// The journals cannot be listed.
    pub fn named(project: &Project, name: &str) -> anyhow::Result<State> {
        let runs = journal::list(&project.state().join("runs"))?;
        Ok(match history::named(&runs, name) {
            Ok(run) => State::Run(run.to_owned()),
            Err(e) if name.starts_with("last") => return Err(e),
            Err(_) => State::Commit(name.to_owned()),
        })
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Commit(name) => write!(f, "at {name}"),
            State::Run(name) => write!(f, "in the run {name}"),
            State::Now => f.write_str("with the files as they are now"),
        }
    }
}

/// How a pipeline is varied on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Profiles, in order.
    pub profiles: Vec<String>,
    /// Values by the name that is set.
    pub sets: BTreeMap<String, String>,
}

impl Options {
    /// Those of a command line.
    pub fn of(profiles: &[String], sets: &[String]) -> Options {
        let pair = |set: &String| {
            let (name, value) = set.split_once('=').unwrap_or((set, ""));
            (name.to_owned(), value.to_owned())
        };
        Options {
            profiles: profiles.to_vec(),
            sets: sets.iter().map(pair).collect(),
        }
    }

    /// As a command line has them.
    pub fn sets(&self) -> Vec<String> {
        let sets = self.sets.iter();
        sets.map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

/// A run as far as it has to be put together.
#[derive(Debug, Default)]
pub struct AtRun {
    /// The pipeline file, from the project's root.
    pub file: String,
    /// Files that were another than now, or are part of the pipeline, from the project's root.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Its options.
    pub options: Options,
}

impl AtRun {
    /// Puts a run together; `scratch` does not exist yet, and is left with a plan in it.
    ///
    /// # Errors
    /// The run does not say what its pipeline was, or something that it read is not known any more.
    pub fn of(
        opening: &Opening,
        project: &Project,
        name: &str,
        scratch: &Path,
    ) -> anyhow::Result<AtRun> {
        let runs_dir = project.state().join("runs");
        let run = Run::read_ends(&runs_dir, name)?;
        let (written_in, file) = (run.written_in(), run.pipeline().and_then(|(_, file)| file));
        let (Some(file), false) = (file, written_in.is_empty()) else {
            anyhow::bail!(
                "the run {name} does not say how its pipeline was written: it is from before runs recorded it, or the file is no text of up to 64 kB; bisect commits instead"
            );
        };
        let inputs = Inputs::of(&project.state());
        let mut at = AtRun {
            file: file.to_owned(),
            ..AtRun::default()
        };
        for (path, digest) in &written_in {
            let text = known(&inputs, digest, &project.root.join(path))
                .ok_or_else(|| gone(name, Path::new(path)))?;
            at.files.insert(PathBuf::from(path), text);
        }
        let told = options_in(run.args());
        let those = |option: &str| {
            let own = told.iter().filter(|(name, _)| *name == option);
            Vec::from_iter(own.map(|(_, value)| value.clone()))
        };
        at.options = Options::of(&those("--profile"), &those("--set"));
        at.read_inputs(opening, (project, &runs_dir), name, (&inputs, scratch))?;
        Ok(at)
    }

    /// What the inputs of its instances held that no stage makes.
    fn read_inputs(
        &mut self,
        opening: &Opening,
        (project, runs_dir): (&Project, &Path),
        name: &str,
        (inputs, scratch): (&Inputs, &Path),
    ) -> anyhow::Result<()> {
        write_all(&self.files, scratch)?;
        link_rest(&project.root, scratch)?;
        let opening = Opening {
            file: Some(scratch.join(&self.file)),
            profiles: self.options.profiles.clone(),
            sets: self.options.sets(),
            ..opening.clone()
        };
        let session = opening.session()?;
        let runs = journal::list(runs_dir)?;
        let left = history::results_after(runs_dir, &runs, name)?;
        for instance in &session.plan.instances {
            let key = left
                .get(&*instance.id)
                .and_then(|left| left.key.parse().ok());
            let Some(preimage) = key.and_then(|key: Digest| session.preimage(&key)) else {
                continue;
            };
            let preimage: Value = serde_json::from_str(&preimage)?;
            for need in &instance.needs {
                for (files, content) in of_need(need, &preimage["inputs"][&*need.name]) {
                    let Location::Project(path) = &files.at else {
                        continue;
                    };
                    if session
                        .stats
                        .digest_input(files)
                        .ok()
                        .map(|c| c.to_string())
                        == Some(content.to_string())
                    {
                        continue;
                    }
                    let path = PathBuf::from(path.as_str());
                    self.take(inputs, &project.root, (&path, &content), name)?;
                }
            }
        }
        Ok(())
    }

    /// Takes an input as it was from what is remembered.
    fn take(
        &mut self,
        inputs: &Inputs,
        root: &Path,
        (path, content): (&Path, &Content),
        run: &str,
    ) -> anyhow::Result<()> {
        if content.shape != Shape::Tree {
            let text = inputs
                .text(&content.digest)
                .ok_or_else(|| gone(run, path))?;
            self.files.insert(path.to_owned(), text.into_bytes());
            return Ok(());
        }
        let listing = inputs
            .listing(&content.digest)
            .ok_or_else(|| gone(run, path))?;
        for (inner, digest, ..) in listing.files() {
            let file = path.join(inner.as_str());
            let bytes =
                known(inputs, &digest, &root.join(&file)).ok_or_else(|| gone(run, &file))?;
            self.files.insert(file, bytes);
        }
        Ok(())
    }
}

fn gone(run: &str, path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "in the run {run} `{}` held other bytes than now, and they are not kept: of inputs, texts of up to 64 kB are; bisect commits instead",
        path.display()
    )
}

/// Bytes of a digest: as they were remembered, or as they are now.
fn known(inputs: &Inputs, digest: &Digest, path: &Path) -> Option<Vec<u8>> {
    let now = || {
        fs::read(path)
            .ok()
            .filter(|bytes| Digest::of(bytes) == *digest)
    };
    inputs.text(digest).map(String::into_bytes).or_else(now)
}

/// The files of a need that no stage makes, and what the key of an action says they held.
fn of_need<'n>(need: &'n Need, hashed: &Value) -> Vec<(&'n Files, Content)> {
    let text = |value: &Value| Content::named(value.get("content").unwrap_or(value).as_str()?);
    let contents: Vec<Option<Content>> = match hashed {
        Value::Array(all) => all.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let items = need.items.iter().zip(contents);
    let files = items.filter_map(|(item, content)| match &item.source {
        Source::Files(files) => Some((&**files, content?)),
        Source::Output { .. } => None,
    });
    files.collect()
}

/// Writes files below a directory that does not exist yet.
pub fn write_all(files: &BTreeMap<PathBuf, Vec<u8>>, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for (path, bytes) in files {
        let path = to.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Links to everything of a project that is not there yet; without what `repro` itself keeps.
pub fn link_rest(root: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in crate::dir::read(root)? {
        let entry = entry?;
        let (name, link) = (entry.file_name(), to.join(entry.file_name()));
        if [".repro", ".git", "artifacts", "repro.lock"]
            .iter()
            .any(|own| name == *own)
        {
            continue;
        }
        match link.symlink_metadata() {
            Err(_) => std::os::unix::fs::symlink(entry.path(), link)?,
            Ok(there) if there.is_dir() && entry.path().is_dir() => {
                link_rest(&entry.path(), &link)?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

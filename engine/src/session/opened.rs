//! A session as it was opened: its parts, where they lie, and keys and inputs of its instances.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;

use super::told::Told;
use super::unknown::Unknown;
use crate::catalog::Catalog;
use crate::digest::{Content, Digest, Shape};
use crate::environment::Captured;
use crate::exec::Stamp;
use crate::index::Index;
use crate::key::{self, Key};
use crate::lineage::Lineage;
use crate::plan::{Environment, Inside, Instance, InstanceIndex, Plan, Source};
use crate::project::Project;
use crate::record::elsewhere::Elsewhere;
use crate::record::inputs::Inputs;
use crate::record::lockfile::LockFile;
use crate::similar;
use crate::store::{LinkMode, Listing, Part, Root, StatCache, Store, StoreError};
use crate::trust::Believer;

/// See the module.
pub struct Session {
    /// Where things lie.
    pub project: Project,
    /// What is to be run.
    pub plan: Plan,
    /// The kinds.
    pub catalog: Arc<Catalog>,
    /// The store.
    pub store: Arc<Store>,
    /// What the last runs found.
    pub index: Index,
    /// Digests of project files and placed artifacts, by stat.
    pub stats: Arc<StatCache>,
    /// How artifacts are placed.
    pub link_mode: LinkMode,
    /// Whose results serve this project.
    pub believer: Believer,
    /// What is known of results whose bytes may be on a remote only.
    pub elsewhere: Elsewhere,
    /// What inputs held that no stage makes.
    pub inputs: Inputs,
    /// What was told of changes of inputs before.
    pub told: Told,
    /// repro.lock, once it was asked for.
    pub lock: OnceLock<LockFile>,
    /// What of keys a command that only looks does not know.
    pub unknown: Unknown,
    /// Versions of declared tools, by program.
    pub tool_versions: BTreeMap<String, String>,
    /// Declared environments as they were when the session began.
    pub environments: BTreeMap<Environment, Captured>,
    /// How their directories looked then.
    pub environment_stamps: BTreeMap<Environment, Vec<Option<Stamp>>>,
}

impl Session {
    /// `.repro/index`.
    pub fn index_path(&self) -> PathBuf {
        self.project.state().join("index")
    }

    /// `.repro/runs/`.
    pub fn runs_dir(&self) -> PathBuf {
        self.project.state().join("runs")
    }

    /// Where the log of the last execution of an action is.
    pub fn log_path(&self, key: &Digest) -> PathBuf {
        log_in(&self.project.state(), key)
    }

    /// The contents of an instance's inputs, once its producers have results.
    ///
    /// # Errors
    /// A project file that is missing or unreadable.
    pub fn input_contents<'a>(
        &self,
        instance: &Instance,
        results: impl Fn(InstanceIndex) -> Option<&'a Arc<[Content]>>,
    ) -> anyhow::Result<Vec<Vec<Content>>> {
        let mut contents = Vec::with_capacity(instance.needs.len());
        for need in &instance.needs {
            let mut items = Vec::with_capacity(need.items.len());
            for item in &need.items {
                items.push(match &item.source {
                    Source::Files(files) => self.stats.digest_input(files)?,
                    Source::Output {
                        instance: producer,
                        output,
                    } => {
                        let whole = *results(*producer)
                            .and_then(|o| o.get(*output as usize))
                            .ok_or_else(|| {
                                anyhow::anyhow!(
                                    "BUG: `{}` was asked for before `{}` had a result",
                                    instance.id,
                                    self.plan.instance(*producer).id
                                )
                            })?;
                        match &item.inside {
                            None => whole,
                            Some(part) => self.inside(&whole, part, *producer, *output)?,
                        }
                    }
                });
            }
            contents.push(items);
        }
        Ok(contents)
    }

    /// A file or directory in an output that is a directory.
    fn inside(
        &self,
        whole: &Content,
        Inside { path, place, .. }: &Inside,
        producer: InstanceIndex,
        output: u32,
    ) -> anyhow::Result<Content> {
        let made = self.plan.instance(producer);
        let name = format!("{}.{}", made.id, made.outputs[output as usize].name);
        let at = format!("{}:{}:{}", place.file, place.line, place.column);
        if whole.shape != Shape::Tree {
            anyhow::bail!("{at}: `{name}` is one file, so there is no `{path}` in it");
        }
        let listing = match self.store.read_tree(&whole.digest) {
            Err(e) if e.is_miss() => anyhow::bail!(
                "{at}: the contents of the directory `{name}` are not known here; `repro run --pull '{}'` gets it or makes it again",
                made.id
            ),
            other => other?,
        };
        match listing
            .part(path)
            .with_context(|| format!("{at}: in `{name}`"))?
        {
            Some(Part::File(content)) => Ok(content),
            Some(Part::Tree(tree)) => Ok(self.keep_part(&tree)),
            None => {
                let names = listing.nodes().map(|(path, _)| path.as_str());
                let slips = path.as_str().chars().count() / 2;
                let near = similar::nearest(path.as_str(), names, slips);
                let hint = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
                anyhow::bail!("{at}: the directory `{name}` has no `{path}`{hint}")
            }
        }
    }

    /// A directory in an artifact is used like an artifact, so its listing has to be in the store.
    /// Where that cannot be written, nothing is executed either.
    fn keep_part(&self, tree: &Listing) -> Content {
        let content = tree.content();
        self.store
            .use_root(Root::Content(content.shape, content.digest));
        if !self.store.has(&content).unwrap_or(false) {
            let keep = || {
                let mut listing = self.store.receive(content.shape, content.digest)?;
                listing.write(&tree.to_bytes())?;
                self.store.keep_received(&[content], listing.finish()?)
            };
            let _: Result<(), StoreError> = keep();
        }
        content
    }

    /// The directories among an instance's inputs of which it takes a part only, with those who
    /// make them.
    pub fn opened<'a>(
        &'a self,
        index: InstanceIndex,
        results: impl Fn(InstanceIndex) -> Option<&'a Arc<[Content]>> + 'a,
    ) -> impl Iterator<Item = (InstanceIndex, Content)> + 'a {
        let needs = self.plan.instance(index).needs.iter();
        needs.flat_map(|need| &need.items).filter_map(move |item| {
            let (Source::Output { instance, output }, Some(_)) = (&item.source, &item.inside)
            else {
                return None;
            };
            let outputs = results(*instance)?;
            Some((*instance, *outputs.get(*output as usize)?))
        })
    }

    /// The key of an instance with these inputs; see [`crate::lineage::of`].
    pub fn key(&self, instance: &Instance, contents: &[Vec<Content>], lineage: &Lineage) -> Key {
        key::action_key(
            key::Context {
                salt: &self.plan.salt,
                tool_versions: &self.tool_versions,
                environments: &self.environments,
            },
            instance,
            contents,
            lineage,
        )
    }

    /// The instances that names on the command line stand for; all of them for no name.
    ///
    /// # Errors
    /// A name that stands for nothing, with the nearest one.
    pub fn targets(&self, names: &[String]) -> anyhow::Result<Vec<InstanceIndex>> {
        Ok(crate::targets::resolve(&self.plan, names)?)
    }

    /// The one instance among those that `name` stands for.
    ///
    /// # Errors
    /// There are several; some of them are named.
    pub fn only(&self, name: &str, targets: &[InstanceIndex]) -> anyhow::Result<InstanceIndex> {
        if let [index] = targets {
            return Ok(*index);
        }
        let names: Vec<&str> = targets
            .iter()
            .take(10)
            .map(|i| &*self.plan.instance(*i).id)
            .collect();
        anyhow::bail!(
            "`{name}` has {} instances; name one: {}",
            targets.len(),
            names.join(", ")
        );
    }
}

/// Where the log of an action is kept, below the state directory of its project.
pub fn log_in(state: &Path, key: &Digest) -> PathBuf {
    state.join("logs").join(format!("{key}.log"))
}

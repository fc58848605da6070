//! A session: one open project, with its plan, its store and what is remembered, and the answer to one question: given
//! the contents of its inputs, does an instance have a result?
//!
//! Everything that only looks (`status`, `why`, `run -n`) and the scheduler share this code, so they cannot disagree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifacts;
use crate::catalog::Catalog;
use crate::digest::{Content, Digest, Shape};
use crate::explain;
use crate::index::{Index, Known};
use crate::key::{self, Key};
use crate::plan::{Instance, InstanceIndex, Plan, Source, Work};
use crate::project::Project;
use crate::record::event::Reason;
use crate::relpath::RelPath;
use crate::store::{LinkMode, Record, StatCache, Store, StoreError};

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
    /// Versions of declared tools, by program.
    pub tool_versions: BTreeMap<String, String>,
}

/// A result that serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The action key.
    pub key: Digest,
    /// In the order of [`Instance::outputs`].
    pub outputs: Vec<Content>,
    /// Seconds the execution took.
    pub wall_s: f32,
    /// Other results are recorded under the same key.
    pub ambiguous: bool,
}

/// No result serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss {
    /// The action key.
    pub key: Key,
    /// Why.
    pub reason: Reason,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A result serves.
    Hit(Hit),
    /// A result serves that came from a remote; some of its bytes are not in the store.
    Elsewhere(Hit),
    /// It must be executed.
    Miss(Miss),
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
        self.project.state().join("logs").join(format!("{key}.log"))
    }

    /// The contents of an instance's inputs, once its producers have results.
    ///
    /// # Errors
    /// A project file that is missing or unreadable.
    pub fn input_contents(
        &self,
        instance: &Instance,
        results: &[Option<Arc<[Content]>>],
    ) -> anyhow::Result<Vec<Vec<Content>>> {
        let mut contents = Vec::with_capacity(instance.needs.len());
        for need in &instance.needs {
            let mut items = Vec::with_capacity(need.items.len());
            for item in &need.items {
                items.push(match &item.source {
                    Source::Path(path) => self.stats.digest_path(path)?,
                    Source::Output {
                        instance: producer,
                        output,
                    } => {
                        let outputs = results[producer.0 as usize].as_ref();
                        *outputs
                            .and_then(|o| o.get(*output as usize))
                            .ok_or_else(|| {
                                anyhow::anyhow!(
                                    "BUG: `{}` was asked for before `{}` had a result",
                                    instance.id,
                                    self.plan.instance(*producer).id
                                )
                            })?
                    }
                });
            }
            contents.push(items);
        }
        Ok(contents)
    }

    /// The key of an instance with these inputs.
    pub fn key(&self, instance: &Instance, contents: &[Vec<Content>]) -> Key {
        key::action_key(
            key::Context {
                salt: &self.plan.salt,
                tool_versions: &self.tool_versions,
            },
            instance,
            contents,
        )
    }

    /// Whether a result serves for this key. Warnings about damage go to the store's warning sink.
    pub fn find(&self, instance: &Instance, key: Key) -> anyhow::Result<Found> {
        let known = self.index.get(&instance.id);
        if let Some(known) = known
            && known.key == key.digest
            && known.outputs.len() == instance.outputs.len()
            && self.all_present(&known.outputs)?
        {
            return Ok(Found::Hit(Hit {
                key: known.key,
                outputs: known.outputs.clone(),
                wall_s: known.wall_s,
                ambiguous: false,
            }));
        }
        let (hit, lost) = self.look_up(instance, &key.digest);
        if let Some(hit) = hit {
            return Ok(Found::Hit(hit));
        }
        if let Some(known) = known
            && known.elsewhere
            && known.key == key.digest
            && known.outputs.len() == instance.outputs.len()
        {
            return Ok(Found::Elsewhere(Hit {
                key: known.key,
                outputs: known.outputs.clone(),
                wall_s: known.wall_s,
                ambiguous: false,
            }));
        }
        let reason = match lost {
            Some(lost) => Reason::ResultLost(lost),
            None => self.reason(known, &key),
        };
        Ok(Found::Miss(Miss { key, reason }))
    }

    /// Asks the store; also what was lost if a record is there whose objects are not.
    pub fn look_up(&self, instance: &Instance, key: &Digest) -> (Option<Hit>, Option<String>) {
        let records = self.store.lookup(key);
        let ambiguous = records.len() > 1;
        let mut lost = None;
        for record in &records {
            let outputs: Option<Vec<Content>> = instance
                .outputs
                .iter()
                .map(|o| record.outputs.get(&*o.name).copied())
                .collect();
            let Some(outputs) = outputs else { continue };
            match outputs
                .iter()
                .zip(instance.outputs.iter())
                .find(|(content, _)| !self.store.has(content).unwrap_or(false))
            {
                None => {
                    let wall_s = record
                        .observation
                        .get("wall_s")
                        .and_then(serde_json::Value::as_f64)
                        .unwrap_or(0.0) as f32;
                    return (
                        Some(Hit {
                            key: *key,
                            outputs,
                            wall_s,
                            ambiguous,
                        }),
                        None,
                    );
                }
                Some((content, output)) => {
                    lost = Some(format!(
                        "output `{}` ({content}) is missing from the store or damaged",
                        output.name
                    ))
                }
            }
        }
        (None, lost)
    }

    /// The record that is the source of a hit, where the store has it.
    pub fn record_of(&self, instance: &Instance, hit: &Hit) -> Option<Record> {
        let records = self.store.lookup(&hit.key);
        records
            .into_iter()
            .find(|record| self.is_record_of(instance, hit, record))
    }

    /// Whether a record has the outputs of a hit.
    pub fn is_record_of(&self, instance: &Instance, hit: &Hit, record: &Record) -> bool {
        let mut outputs = instance.outputs.iter().zip(&hit.outputs);
        outputs.all(|(spec, content)| record.outputs.get(&*spec.name) == Some(content))
    }

    fn all_present(&self, outputs: &[Content]) -> anyhow::Result<bool> {
        for content in outputs {
            if !self.store.has(content)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn reason(&self, known: Option<&Known>, key: &Key) -> Reason {
        let old = known.and_then(|k| self.preimage(&k.key));
        match old {
            Some(old) => Reason::Changed(explain::changes(&old, &key.preimage)),
            None => Reason::NeverRun,
        }
    }

    /// The text a key was made from, if a result of it is recorded here.
    pub fn preimage(&self, key: &Digest) -> Option<String> {
        self.store
            .lookup(key)
            .into_iter()
            .next()
            .map(|r| r.preimage)
    }

    /// Whether every output of an instance shows its content under `artifacts/`.
    pub fn shown(&self, instance: &Instance, outputs: &[Content]) -> bool {
        instance
            .outputs
            .iter()
            .zip(outputs)
            .all(|(output, content)| {
                artifacts::path_of(instance, output)
                    .is_ok_and(|path| is_current(&self.stats, &path, content))
            })
    }

    /// Puts the outputs of an instance under `artifacts/`.
    ///
    /// # Errors
    /// What the store says; earlier artifacts then stand as they were.
    pub fn show(&self, instance: &Instance, outputs: &[Content]) -> anyhow::Result<()> {
        for (output, content) in instance.outputs.iter().zip(outputs) {
            show(
                &self.store,
                &self.stats,
                &self.project.root,
                &artifacts::path_of(instance, output)?,
                content,
                self.link_mode,
            )?;
        }
        Ok(())
    }

    /// The instances a target names: an instance, a stage, or a claim. All of them for no target.
    ///
    /// # Errors
    /// A target that names nothing, with the nearest name.
    pub fn targets(&self, names: &[String]) -> anyhow::Result<Vec<InstanceIndex>> {
        let all = || (0..self.plan.instances.len() as u32).map(InstanceIndex);
        if names.is_empty() {
            return Ok(all().collect());
        }
        let mut targets = Vec::new();
        for name in names {
            let before = targets.len();
            let claim = format!("claim:{name}");
            targets.extend(all().filter(|i| {
                let instance = self.plan.instance(*i);
                *instance.id == **name || *instance.stage == **name || *instance.stage == *claim
            }));
            if targets.len() == before {
                let mut candidates: Vec<&str> = self
                    .plan
                    .instances
                    .iter()
                    .flat_map(|i| [&*i.stage, &*i.id])
                    .collect();
                candidates.sort_unstable();
                candidates.dedup();
                let nearest = candidates
                    .into_iter()
                    .map(|c| (strsim::damerau_levenshtein(c, name), c))
                    .min();
                let hint = match nearest {
                    Some((distance, near)) if distance <= name.len() / 2 => {
                        format!("did you mean `{near}`?")
                    }
                    _ => "`repro status` lists all instances".to_owned(),
                };
                anyhow::bail!("no stage or instance is called `{name}`; {hint}");
            }
        }
        targets.sort_unstable();
        targets.dedup();
        Ok(targets)
    }

    /// Asks every declared tool for its version, once.
    ///
    /// # Errors
    /// A tool that cannot be run.
    pub fn learn_tool_versions(&mut self) -> anyhow::Result<()> {
        for instance in &self.plan.instances {
            if let Work::Command(command) = &instance.work {
                for tool in &command.tools {
                    if !self.tool_versions.contains_key(&tool.program) {
                        let version = crate::exec::tool_version(tool).map_err(|e| {
                            anyhow::anyhow!(
                                "{}:{}:{}: stage `{}`: {e}",
                                instance.place.file,
                                instance.place.line,
                                instance.place.column,
                                instance.stage
                            )
                        })?;
                        self.tool_versions.insert(tool.program.clone(), version);
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_current(stats: &StatCache, path: &RelPath, content: &Content) -> bool {
    stats.digest_path(path).is_ok_and(|found| found == *content)
}

/// Makes `path` show `content`, unless it does already.
pub fn show(
    store: &Store,
    stats: &StatCache,
    root: &Path,
    path: &RelPath,
    content: &Content,
    mode: LinkMode,
) -> Result<(), StoreError> {
    if !is_current(stats, path, content) {
        clear_way(root, path);
        store.place(content, &path.under(root), mode)?;
        let listing = match content.shape {
            Shape::Tree => Some(store.read_tree(&content.digest)?),
            Shape::File => None,
        };
        stats.remember_placed(path, content, listing.as_ref());
    }
    Ok(())
}

/// Directories below `artifacts/` are ours: a file in the place of one would bar the way, and a link would lead the outputs out of the
/// project, over whatever lies there. `artifacts/` itself may be a link, to another disk.
fn clear_way(root: &Path, path: &RelPath) {
    let mut way = root.to_owned();
    let parts: Vec<&str> = path.as_str().split('/').collect();
    for (depth, part) in parts[..parts.len() - 1].iter().enumerate() {
        way.push(part);
        if depth > 0 && std::fs::symlink_metadata(&way).is_ok_and(|m| !m.is_dir()) {
            // What cannot be removed is told of by the placing that follows.
            let _ = std::fs::remove_file(&way);
        }
    }
}

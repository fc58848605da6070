//! A session: one open project, with its plan, its store and what is remembered, and the answer to one question: given
//! the contents of its inputs, does an instance have a result?
//!
//! Everything that only looks (`status`, `why`, `run -n`) and the scheduler share this code, so they cannot disagree.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;

use crate::artifacts;
use crate::catalog::Catalog;
use crate::change;
use crate::digest::{Content, Digest, Shape};
use crate::environment::{self, Captured};
use crate::exec::{Asking, Memory, Stamp, Surroundings, Unasked, tool_version};
use crate::index::{Index, Known};
use crate::key::{self, Key};
use crate::lineage::Lineage;
use crate::plan::{Environment, Inside, Instance, InstanceIndex, Plan, Source, Tool, Work};
use crate::project::Project;
use crate::record::elsewhere::{Elsewhere, Remembered};
use crate::record::event::Reason;
use crate::record::lockfile::LockFile;
use crate::store::{
    InputTree, LinkMode, Listing, Part, Record, Root, StatCache, Store, StoreError,
};
use crate::trust::Believer;
use repro_protocol::relpath::RelPath;

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

/// What of keys is not known, and why.
#[derive(Debug, Default)]
pub struct Unknown {
    /// By program.
    tools: BTreeMap<String, String>,
    environments: BTreeMap<Environment, String>,
    /// What a run would end at, since asking does not help.
    pub trouble: Option<String>,
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
    /// It was not made here: the stamp of the trust under which it is believed. `None`: made here.
    pub believed_under: Option<Digest>,
}

/// No result serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss {
    /// The action key.
    pub key: Key,
    /// Why.
    pub reason: Reason,
}

/// What the store has under a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LookedUp {
    /// A result that serves.
    pub hit: Option<Hit>,
    /// What is missing of one that would.
    pub lost: Option<String>,
    /// Why one that was made elsewhere does not serve.
    pub disbelieved: Option<String>,
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
                let distance = |name: &str| strsim::damerau_levenshtein(name, path.as_str());
                let near = names.min_by_key(|name| distance(name));
                let near = near.filter(|name| distance(name) <= name.chars().count() / 2);
                let hint = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
                anyhow::bail!("{at}: the directory `{name}` has no `{path}`{hint}")
            }
        }
    }

    /// A directory in an artifact is used like an artifact, so its listing has to be in the store. Where that cannot be written,
    /// nothing is executed either.
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

    /// The directories among an instance's inputs of which it takes a part only, with those who make them.
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

    /// Whether a result serves for this key. Warnings about damage go to the store's warning sink.
    pub fn find(&self, instance: &Instance, key: Key) -> anyhow::Result<Found> {
        let known = self.index.get(&instance.id);
        let same = known.filter(|known| {
            known.key == key.digest && known.outputs.len() == instance.outputs.len()
        });
        let of_known = |known: &Known| Hit {
            key: known.key,
            outputs: known.outputs.clone(),
            wall_s: known.wall_s,
            ambiguous: false,
            believed_under: known.believed_under,
        };
        // That a stage without outputs has succeeded is nowhere but in its record.
        let has_outputs = |known: &&Known| !known.outputs.is_empty();
        let in_store = same.filter(has_outputs);
        if let Some(known) = in_store.filter(|known| self.is_believed_still(known)) {
            let look = || self.all_present(&known.outputs);
            if self.store.look_leased(Root::Action(known.key), look)? {
                return Ok(Found::Hit(of_known(known)));
            }
        }
        let LookedUp {
            hit,
            lost,
            disbelieved,
        } = self.look_up(instance, &key.digest);
        if let Some(hit) = hit {
            return Ok(Found::Hit(hit));
        }
        if let Some(known) = same.filter(|known| known.elsewhere) {
            if self.is_believed_still(known) {
                return Ok(Found::Elsewhere(of_known(known)));
            }
            let believed = self
                .elsewhere
                .get(&known.key)
                .filter(|r| outputs_of(instance, &r.record).as_ref() == Some(&known.outputs))
                .filter(|r| self.believer.believes(&r.record, &r.envelopes).is_ok());
            if believed.is_some() {
                return Ok(Found::Elsewhere(Hit {
                    believed_under: Some(self.believer.stamp()),
                    ..of_known(known)
                }));
            }
        }
        let reason = match (disbelieved, lost) {
            (Some(why), _) => Reason::Disbelieved(why),
            (None, Some(lost)) => Reason::ResultLost(lost),
            (None, None) => self.reason(known, &key),
        };
        Ok(Found::Miss(Miss { key, reason }))
    }

    /// Who vouched for it then suffices now.
    fn is_believed_still(&self, known: &Known) -> bool {
        known
            .believed_under
            .is_none_or(|stamp| stamp == self.believer.stamp())
    }

    /// Asks the store; also what was lost if a record is there whose objects are not, and why one that is whole is not believed.
    /// What was made here comes before what was made elsewhere.
    pub fn look_up(&self, instance: &Instance, key: &Digest) -> LookedUp {
        let records = self.store.lookup(key);
        let (own, others): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|r| r.origin().is_none());
        let mut found = LookedUp::default();
        let mut serving = 0;
        for record in own.into_iter().chain(others) {
            let Some(outputs) = outputs_of(instance, record) else {
                continue;
            };
            if let Err(reason) = self.believer.believes_recorded(&self.store, record) {
                let origin = record.origin().unwrap_or("elsewhere");
                found.disbelieved =
                    Some(format!("a result from {origin} is not trusted: {reason}"));
                continue;
            }
            serving += 1;
            if found.hit.is_some() {
                continue;
            }
            match outputs
                .iter()
                .zip(instance.outputs.iter())
                .find(|(content, _)| !self.store.has(content).unwrap_or(false))
            {
                None => {
                    found.hit = Some(Hit {
                        key: *key,
                        outputs,
                        wall_s: record.wall_s().unwrap_or(0.0) as f32,
                        ambiguous: false,
                        believed_under: record.origin().map(|_| self.believer.stamp()),
                    });
                }
                Some((content, output)) => {
                    found.lost = Some(format!(
                        "output `{}` ({content}) is missing from the store or damaged",
                        output.name
                    ));
                }
            }
        }
        if let Some(hit) = &mut found.hit {
            hit.ambiguous = serving > 1;
        }
        found
    }

    /// The record that is the source of a hit, with the signatures that are known under it.
    pub fn remembered(&self, instance: &Instance, hit: &Hit) -> Option<Remembered> {
        let is_it = |record: &Record| self.is_record_of(instance, hit, record);
        if let Some(record) = self.store.lookup(&hit.key).into_iter().find(is_it) {
            let envelopes = self.store.envelopes(&record.key, &record.result());
            return Some(Remembered { record, envelopes });
        }
        self.elsewhere.get(&hit.key).filter(|r| is_it(&r.record))
    }

    /// The record that is the source of a hit; its bytes need not be here.
    pub fn record_of(&self, instance: &Instance, hit: &Hit) -> Option<Record> {
        Some(self.remembered(instance, hit)?.record)
    }

    /// Whether a record has the outputs of a hit.
    pub fn is_record_of(&self, instance: &Instance, hit: &Hit, record: &Record) -> bool {
        let mut outputs = instance.outputs.iter().zip(&hit.outputs);
        outputs.all(|(spec, content)| record.outputs.get(&*spec.name) == Some(content))
    }

    /// Those of the contents whose bytes are not here.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn absent<'a>(
        &self,
        contents: impl IntoIterator<Item = &'a Content>,
    ) -> anyhow::Result<Vec<Content>> {
        let mut absent = Vec::new();
        for content in contents.into_iter().collect::<BTreeSet<_>>() {
            if !self.store.has(content)? {
                absent.push(*content);
            }
        }
        Ok(absent)
    }

    fn all_present(&self, outputs: &[Content]) -> anyhow::Result<bool> {
        for content in outputs {
            if !self.store.has(content)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an action without a result gave, where repro.lock names this very action. Nobody vouches for it, so it stands for no
    /// result; but who only looks can say what follows if the action gives the same again.
    pub fn foreseen(&self, instance: &Instance, key: &Digest) -> Option<Arc<[Content]>> {
        let read = || LockFile::read(&self.project.lock_file()).unwrap_or_default();
        let block = self.lock.get_or_init(read).blocks.get(&*instance.id)?;
        let of = |name: &str| Content::named(block.outputs.get(name)?);
        let outputs = instance.outputs.iter().map(|o| of(&o.name));
        (block.key == *key).then(|| outputs.collect())?
    }

    fn reason(&self, known: Option<&Known>, key: &Key) -> Reason {
        let old = known.and_then(|k| self.preimage(&k.key));
        match old {
            Some(old) => Reason::Changed(change::changes(&old, &key.preimage)),
            None => Reason::NeverRun,
        }
    }

    /// A record under this key, whatever it gave and whoever made it.
    pub fn any_record(&self, key: &Digest) -> Option<Record> {
        let here = self.store.lookup(key).into_iter().next();
        here.or_else(|| Some(self.elsewhere.get(key)?.record))
    }

    /// The text a key was made from, if a result of it is known here.
    pub fn preimage(&self, key: &Digest) -> Option<String> {
        Some(self.any_record(key)?.preimage)
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

    /// Finds out the version of every declared tool, and looks at every declared environment, once. Gives sentences about those
    /// that may be out of date. For a command that only looks, what is not to be known is [`Session::unknown`], and the rest goes on.
    ///
    /// # Errors
    /// A tool that cannot be run; an environment that is missing or broken.
    pub fn learn_tool_versions(
        &mut self,
        asking: Asking,
        memory: &Memory,
    ) -> anyhow::Result<Vec<String>> {
        let doubts = RefCell::new(Vec::new());
        let root = self.project.root.clone();
        let ask = |tool: &Tool| {
            let version = tool_version(tool, asking, memory, &root)?;
            doubts.borrow_mut().extend(version.doubt);
            anyhow::Ok(version.text)
        };
        let place = |instance: &Instance, e: anyhow::Error| {
            let at = &instance.place;
            anyhow::anyhow!(
                "{}:{}:{}: stage `{}`: {e:#}",
                at.file,
                at.line,
                at.column,
                instance.stage
            )
        };
        for instance in &self.plan.instances {
            let Work::Command(command) = &instance.work else {
                continue;
            };
            for tool in &command.tools {
                if self.tool_versions.contains_key(&tool.program)
                    || self.unknown.tools.contains_key(&tool.program)
                {
                    continue;
                }
                match ask(tool) {
                    Ok(version) => {
                        self.tool_versions.insert(tool.program.clone(), version);
                    }
                    Err(e) if asking == Asking::Memory => {
                        let why = format!("{e:#}");
                        self.unknown.tools.insert(tool.program.clone(), why);
                        if !e.is::<Unasked>() {
                            let told = place(instance, e).to_string();
                            self.unknown.trouble.get_or_insert(told);
                        }
                    }
                    Err(e) => return Err(place(instance, e)),
                }
            }
            for environment in &command.environments {
                if self.environments.contains_key(environment)
                    || self.unknown.environments.contains_key(environment)
                {
                    continue;
                }
                match environment::capture(environment, &self.project.root) {
                    Ok(captured) => {
                        self.environment_stamps
                            .insert(environment.clone(), stamps(&captured));
                        self.environments.insert(environment.clone(), captured);
                    }
                    Err(e) if asking == Asking::Memory => {
                        let why = format!("{e:#}");
                        self.unknown.environments.insert(environment.clone(), why);
                        let told = place(instance, e).to_string();
                        self.unknown.trouble.get_or_insert(told);
                    }
                    Err(e) => return Err(place(instance, e)),
                }
            }
        }
        Ok(doubts.into_inner())
    }

    /// Why the key of an instance cannot be known to this command, where it cannot.
    pub fn why_unknown<'a>(&'a self, instance: &'a Instance) -> Option<&'a str> {
        let Work::Command(command) = &instance.work else {
            return instance.work.unasked();
        };
        let mut tools = command.tools.iter();
        let mut environments = command.environments.iter();
        tools
            .find_map(|tool| self.unknown.tools.get(&tool.program))
            .or_else(|| environments.find_map(|e| self.unknown.environments.get(e)))
            .map(String::as_str)
    }

    /// What does not count in the directories among an instance's inputs, by directory.
    pub fn ignored(&self, instance: &Instance) -> BTreeMap<String, Vec<RelPath>> {
        let mut ignored = BTreeMap::new();
        for item in instance.needs.iter().flat_map(|n| &n.items) {
            if let Source::Files(files) = &item.source
                && let path = files.at.path(&self.project.root)
                && path.is_dir()
                // What cannot be read is told of where it is hashed.
                && let Ok(mut tree) = InputTree::of(&path, &files.ignore)
                && !tree.ignored.is_empty()
            {
                tree.ignored.sort();
                ignored.insert(files.at.to_string(), tree.ignored);
            }
        }
        ignored
    }

    /// What a process of this instance needs beside its inputs.
    pub fn surroundings(&self, instance: &Instance) -> Surroundings {
        let mut all = Surroundings::default();
        if let Work::Command(command) = &instance.work {
            for captured in command
                .environments
                .iter()
                .filter_map(|e| self.environments.get(e))
            {
                all.merge(captured.surroundings.clone());
            }
            for cache in &command.caches {
                all.write.push(cache.dir.clone());
                let variable = cache.variable.iter().cloned();
                all.vars
                    .extend(variable.map(|v| (v, cache.dir.clone().into_os_string())));
            }
        }
        all
    }
}

/// How the directories of an environment look now.
pub fn stamps(captured: &Captured) -> Vec<Option<Stamp>> {
    let dirs = captured.surroundings.read.iter();
    dirs.map(|dir| Stamp::of(dir)).collect()
}

/// A record's outputs in the order of the instance's, if it has all of them.
pub fn outputs_of(instance: &Instance, record: &Record) -> Option<Vec<Content>> {
    let of = |name: &str| record.outputs.get(name).copied();
    instance.outputs.iter().map(|o| of(&o.name)).collect()
}

fn is_current(stats: &StatCache, path: &RelPath, content: &Content) -> bool {
    stats.shows(path, content)
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
            Shape::File | Shape::Program => None,
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

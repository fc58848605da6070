//! One action from "no result" to "outputs staged": single flight, execution, the check that no input changed.
//!
//! Runs on a thread of its own. Knows one instance, not the graph; publishes nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::failed::{self, FailedDir};
use super::guard::{Guard, Moved, Watched, WatchedEnvironment, check_objects};
use crate::catalog::Program;
use crate::digest::{Content, Digest, Shape};
use crate::exec::{
    self, Afterwards, Cancel, CancelLevel, Cause, Failure, Finished, Grant, InputOrigin, Note,
    PlacedInput, Request, SandboxReport, Usage,
};
use crate::files::{Files, Location};
use crate::key::{self, Key};
use crate::lineage::{self, Lineage};
use crate::plan::{Instance, Policy, Source, Work};
use crate::session::Session;
use crate::spec::quote;
use crate::store::{
    ActionLock, InputTree, Parts, Pending, Record, Staged, StatCache, Store, StoreError, ViewMode,
};
use crate::trust::Believer;
use repro_protocol::job;
use repro_protocol::kind::OutputSpec;

/// Everything a flight needs, owned, so that it can leave for its thread.
pub struct Flight {
    /// What is run.
    pub request: Request,
    /// Its key.
    pub key: Key,
    /// What it depends on beside artifacts, as its key has it.
    pub watched: Watched,
    /// Directories among those: position in `request.inputs`, to be shown without what does not count.
    pub trees: Vec<(usize, Arc<Files>)>,
    /// Artifacts among the inputs: position in `request.inputs`, to be made visible in the private directory.
    pub views: Vec<(usize, Content)>,
    /// Where it can be resumed from, furthest first: label and state key.
    pub states: Vec<(String, Key)>,
    /// The store.
    pub store: Arc<Store>,
    /// Whose results serve.
    pub believer: Believer,
    /// Digests of project files.
    pub stats: Arc<StatCache>,
    /// Execute even if a result is there.
    pub force: bool,
    /// The switch of the run.
    pub cancel: Arc<Cancel>,
    /// Where the log is kept afterwards.
    pub log_path: PathBuf,
    /// Where the directory of its last failure is kept.
    pub failed_dir: FailedDir,
    /// What the result is to remember of how it was made: run, host.
    pub provenance: serde_json::Value,
}

/// How a flight ended.
pub enum Landed {
    /// Outputs are staged; to be committed.
    Made(Box<Made>),
    /// Another process made the result meanwhile.
    Found,
    /// What it depends on changed: the result is worth nothing.
    Unstable(Moved),
    /// It failed.
    Failed {
        /// What happened, with the end of the log.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// It was stopped, by the user.
        cancelled: bool,
    },
    /// The store could not take the result, or is broken otherwise.
    StoreBroken {
        /// What happened, and what to do.
        message: String,
    },
}

impl Landed {
    /// The flight panicked.
    pub fn broken_down(what: &str) -> Landed {
        Landed::Failed {
            message: format!("BUG: its execution broke down in repro itself: {what}"),
            hint: Some("run again; if it happens again, please report it".into()),
            cancelled: false,
        }
    }

    /// It could not leave.
    pub fn not_started(error: &anyhow::Error) -> Landed {
        let message = format!("it could not be started: {error:#}");
        match error.chain().any(|cause| cause.is::<StoreError>()) {
            true => Landed::StoreBroken { message },
            false => Landed::Failed {
                message,
                hint: None,
                cancelled: false,
            },
        }
    }
}

/// What a flight made.
pub struct Made {
    /// For the committer.
    pub pending: Pending,
    /// In the order of the instance's outputs.
    pub outputs: Vec<Content>,
    /// Held until the result is recorded.
    pub lock: Option<ActionLock>,
    /// Time and memory.
    pub usage: Usage,
    /// What the worker measured.
    pub figures: BTreeMap<String, f64>,
    /// What it found out about the outside world.
    pub pins: BTreeMap<String, String>,
    /// The state it went on from.
    pub resumed_from: Option<String>,
    /// How it was confined.
    pub sandbox: SandboxReport,
}

/// The private directories of a flight; dropping removes them, which can take longer than the work did.
pub struct Leftovers {
    dir: PathBuf,
    views: PathBuf,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // What cannot be removed now is swept with the session.
        let _ = exec::discard(&self.dir);
        let _ = crate::dir::remove_all(&self.views);
    }
}

impl Flight {
    /// Flies. `say` gets what is heard on the way. The leftovers can go once the result is reported.
    pub fn fly(mut self, say: &mut dyn FnMut(Note)) -> (Landed, Leftovers) {
        let leftovers = Leftovers {
            dir: self.request.dir.clone(),
            views: self.request.dir.with_extension("inputs"),
        };
        let landed = match self.try_fly(&leftovers.views, say) {
            Ok(landed) => landed,
            Err(e) => match e.downcast_ref::<StoreError>() {
                // What a stage left behind can be unfit to be kept; everything else is the store's own trouble.
                Some(StoreError::Cancelled) => Landed::Failed {
                    message: "cancelled".into(),
                    hint: None,
                    cancelled: true,
                },
                None
                | Some(
                    StoreError::Refused { .. }
                    | StoreError::Closed { .. }
                    | StoreError::Changed { .. }
                    | StoreError::Vanished { .. }
                    | StoreError::Missing { .. }
                    | StoreError::Corrupt { .. },
                ) => Landed::Failed {
                    message: format!("{e:#}"),
                    hint: None,
                    cancelled: false,
                },
                Some(_) => Landed::StoreBroken {
                    message: format!("{e:#}"),
                },
            },
        };
        // What a killed worker may go on from is of no use to one that has ended well; an empty directory is of none at all.
        let scratch_dir = &self.request.scratch_dir;
        let _ = match landed {
            Landed::Made(_) => crate::dir::remove_all(scratch_dir),
            _ => std::fs::remove_dir(scratch_dir),
        };
        (self.keep_or_drop_failed(landed), leftovers)
    }

    /// The directory of a command's last failure is kept, until another one or success; the message says where.
    fn keep_or_drop_failed(&self, mut landed: Landed) -> Landed {
        match &mut landed {
            Landed::Failed { message, .. } => {
                let dir = &self.request.dir;
                if matches!(self.request.work, exec::Work::Command(_))
                    && exec::work_in(dir).is_dir()
                    && self
                        .store
                        .free_bytes()
                        .is_none_or(|free| free >= failed::room_for(dir))
                    && let Ok(kept) = self.failed_dir.keep(dir, &self.key.digest)
                {
                    message.push_str(&format!(
                        "\n  its directory is kept: {}\n  look around in it: repro shell {}",
                        exec::work_in(&kept).display(),
                        quote(&self.request.id)
                    ));
                }
            }
            // What cannot be removed is in nobody's way.
            Landed::Made(_) | Landed::Found => drop(self.failed_dir.discard()),
            Landed::Unstable { .. } | Landed::StoreBroken { .. } => {}
        }
        landed
    }

    fn try_fly(&mut self, views: &Path, say: &mut dyn FnMut(Note)) -> anyhow::Result<Landed> {
        let lock = match self.take_off(say) {
            Ok(lock) => Some(lock),
            Err(StoreError::Cancelled) => {
                return Ok(Landed::Failed {
                    message: "cancelled".into(),
                    hint: None,
                    cancelled: true,
                });
            }
            // Without locks (an odd file system) work may be done twice, never wrong.
            Err(_) => None,
        };
        if !self.force && self.result_is_there() {
            return Ok(Landed::Found);
        }
        let guard = match Guard::begin(std::mem::take(&mut self.watched), &self.stats) {
            Ok(guard) => guard,
            Err(moved) => return Ok(Landed::Unstable(moved)),
        };
        place_views(&self.store, &mut self.request, &self.views, views)?;
        place_trees(&mut self.request, &self.trees, views)?;
        let retries = self.request.policy.retries;
        let mut attempt = 0;
        let finished = loop {
            self.find_state();
            match self.execute(say) {
                Ok(finished) => break finished,
                Err(failure) => {
                    self.keep_log(failure.log.as_deref());
                    if attempt < retries && failure.cause.is_worth_a_retry() {
                        attempt += 1;
                        let text = format!(
                            "failed ({}); try {} of {}",
                            failure.cause,
                            attempt + 1,
                            retries + 1
                        );
                        say(Note::Event(job::Event::Warning { text }));
                        continue;
                    }
                    let cancelled = matches!(failure.cause, Cause::Cancelled);
                    return Ok(Landed::Failed {
                        message: failure.account(),
                        hint: failure.cause.hint(),
                        cancelled,
                    });
                }
            }
        };
        self.keep_log(Some(&finished.log));
        self.settle(&guard, finished, lock)
    }

    /// One process at a time executes an action.
    fn take_off(&self, say: &mut dyn FnMut(Note)) -> Result<ActionLock, StoreError> {
        let mut said = false;
        self.store.lock_action(&self.key.digest, |other| {
            if !said {
                let mut who = other.pid.map_or_else(
                    || "another process".to_owned(),
                    |pid| format!("process {pid}"),
                );
                if let Some(host) = &other.host {
                    who += &format!(" on {host}");
                }
                let text = format!("waiting: {who} is executing the same action");
                say(Note::Event(job::Event::Progress {
                    done: 0,
                    total: None,
                    unit: String::new(),
                    text,
                }));
                said = true;
            }
            if self.cancel.level() == CancelLevel::None {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    }

    fn result_is_there(&self) -> bool {
        self.store.lookup(&self.key.digest).iter().any(|r| {
            self.believer.believes_recorded(&self.store, r).is_ok()
                && r.outputs
                    .values()
                    .all(|c| self.store.has(c).unwrap_or(false))
        })
    }

    fn find_state(&mut self) {
        self.request.resume = self.states.iter().find_map(|(label, key)| {
            let path = self.store.get_state(&key.digest)?;
            Some(job::Resume {
                label: label.clone(),
                path,
            })
        });
    }

    fn execute(&self, say: &mut dyn FnMut(Note)) -> Result<Finished, Box<Failure>> {
        if let Some(resume) = &self.request.resume {
            say(Note::Event(job::Event::Progress {
                done: 0,
                total: None,
                unit: String::new(),
                text: format!("resuming from {}", resume.label),
            }));
        }
        exec::execute(&self.request, &self.cancel, &mut |note| match note {
            Note::Event(job::Event::State { label, path }) => {
                let path = self.request.dir.join(path);
                if let Some((_, key)) = self.states.iter().find(|(l, _)| *l == label) {
                    // A state that cannot be kept costs time only.
                    if let Err(e) = self.store.put_state(&key.digest, &path, &key.preimage) {
                        say(Note::Event(job::Event::Warning {
                            text: format!("state `{label}` was not kept: {e}"),
                        }));
                    }
                }
                let _ = std::fs::remove_file(path);
            }
            other => say(other),
        })
    }

    /// The guard (I9), then the outputs into the store's staging area.
    fn settle(
        &self,
        guard: &Guard,
        finished: Finished,
        lock: Option<ActionLock>,
    ) -> anyhow::Result<Landed> {
        let views = self.views.iter();
        let used = views.map(|(at, content)| (&self.request.inputs[*at].need, content));
        let kept = guard
            .end(&self.stats, &finished.copied)
            .and_then(|()| check_objects(&self.store, used));
        if let Err(moved) = kept {
            return Ok(Landed::Unstable(moved));
        }
        let mut outputs = Vec::new();
        let mut staged = Staged::default();
        let mut named = BTreeMap::new();
        for OutputSpec { name, .. } in self.request.outputs.iter() {
            let path = finished
                .outputs
                .get(name)
                .ok_or_else(|| anyhow::anyhow!("BUG: output `{name}` was not reported"))?;
            let (content, more) = self
                .store
                .absorb_until(path, &|| self.cancel.level() >= CancelLevel::Now)
                .map_err(|e| anyhow::Error::new(e).context(format!("output `{name}`")))?;
            outputs.push(content);
            staged.merge(more);
            named.insert(name.to_string(), content);
        }
        let mut observation = self.provenance.clone();
        if let Some(map) = observation.as_object_mut() {
            map.insert("wall_s".into(), json!(finished.usage.wall_s));
            map.insert("cpu_s".into(), json!(finished.usage.cpu_s));
            map.insert("max_rss_bytes".into(), json!(finished.usage.max_rss_bytes));
            map.insert("figures".into(), json!(finished.figures));
            map.insert("sandbox".into(), json!(sandbox_text(&finished.sandbox)));
        }
        let record = Record {
            key: self.key.digest,
            preimage: self.key.preimage.clone(),
            outputs: named,
            observation,
        };
        Ok(Landed::Made(Box::new(Made {
            pending: Pending { record, staged },
            outputs,
            lock,
            usage: finished.usage,
            figures: finished.figures,
            pins: finished.pins,
            resumed_from: self.request.resume.as_ref().map(|r| r.label.clone()),
            sandbox: finished.sandbox,
        })))
    }

    fn keep_log(&self, log: Option<&Path>) {
        let Some(log) = log else { return };
        if let Some(dir) = self.log_path.parent() {
            // A log that cannot be kept is no reason to fail a stage.
            let _ = std::fs::create_dir_all(dir);
            if std::fs::rename(log, &self.log_path).is_err() {
                let _ = std::fs::copy(log, &self.log_path);
            }
        }
    }
}

/// How a command was confined, as recorded.
pub fn sandbox_text(report: &SandboxReport) -> String {
    match report {
        SandboxReport::Enforced => "enforced".into(),
        SandboxReport::Degraded(why) => format!("degraded: {why}"),
        SandboxReport::Off => "off".into(),
        SandboxReport::Unavailable(why) => format!("unavailable: {why}"),
        SandboxReport::NotNeeded => "not needed".into(),
    }
}

/// What a run decides about one execution; none of it is in the key.
pub struct Terms {
    /// With the cores it was given.
    pub policy: Arc<Policy>,
    /// What of the machine is its own.
    pub grant: Grant,
    /// The private directory.
    pub dir: PathBuf,
    /// Outlives a killed execution.
    pub scratch_dir: PathBuf,
    /// What earlier executions found out about the outside world.
    pub pins: BTreeMap<String, String>,
    /// The network may not be used.
    pub offline: bool,
    /// This program.
    pub executable: PathBuf,
    /// What becomes of the private directory.
    pub afterwards: Afterwards,
    /// What its inputs have in common: of the key, unlike the rest.
    pub lineage: Lineage,
}

/// An action as the executor takes it, its stored inputs still to be shown by [`place_views`].
pub struct Prepared {
    /// For the executor.
    pub request: Request,
    /// See [`Flight::views`].
    pub views: Vec<(usize, Content)>,
    /// See [`Flight::watched`].
    pub watched: Watched,
    /// See [`Flight::trees`].
    pub trees: Vec<(usize, Arc<Files>)>,
}

/// Makes the request of an instance whose inputs have these contents.
pub fn prepare(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    terms: Terms,
) -> Prepared {
    let (inputs, views, watched, trees) = inputs(instance, contents, &terms.lineage, session);
    let mut watched = Watched {
        inputs: watched,
        ..Watched::default()
    };
    match &instance.work {
        Work::Kind { kind, .. } => {
            if let Program::External { path, digest } = &kind.program {
                watched.program = Some((path.clone(), *digest));
            }
        }
        Work::Command(command) => {
            watched.tools = command.tools.clone();
            watched.environments = command
                .environments
                .iter()
                .filter_map(|environment| {
                    Some(WatchedEnvironment {
                        environment: environment.clone(),
                        captured: session.environments.get(environment)?.clone(),
                        stamps: session.environment_stamps.get(environment)?.clone(),
                        root: session.project.root.clone(),
                    })
                })
                .collect();
        }
    }
    let request = Request {
        id: instance.id.clone(),
        work: work(instance),
        inputs,
        surroundings: session.surroundings(instance),
        outputs: instance.outputs.clone(),
        policy: terms.policy,
        grant: terms.grant,
        dir: terms.dir,
        scratch_dir: terms.scratch_dir,
        mirrors: session.plan.mirrors.clone(),
        pins: terms.pins,
        offline: terms.offline,
        resume: None,
        project_root: session.project.root.clone(),
        executable: terms.executable,
        afterwards: terms.afterwards,
        store_roots: session.store.object_roots(),
    };
    Prepared {
        request,
        views,
        watched,
        trees,
    }
}

/// Files of the store are used where they lie; trees are shown by the store, or in `dir` as directories of links.
pub fn place_views(
    store: &Store,
    request: &mut Request,
    views: &[(usize, Content)],
    dir: &Path,
) -> anyhow::Result<()> {
    for (position, content) in views {
        request.inputs[*position].origin = match content.shape {
            Shape::File => InputOrigin::Object(store.object_path(&content.digest)),
            // Objects have no exec bit, so a program is a copy that has one.
            Shape::Program => {
                std::fs::create_dir_all(dir)?;
                let view = dir.join(position.to_string());
                store.view(content, &view, ViewMode::Copy)?;
                InputOrigin::Object(view)
            }
            Shape::Tree => {
                let view = match store.tree_view(&content.digest)? {
                    Some(view) => view,
                    None => {
                        std::fs::create_dir_all(dir)?;
                        let view = dir.join(position.to_string());
                        store.view(content, &view, ViewMode::Symlink)?;
                        view
                    }
                };
                InputOrigin::TreeView(view)
            }
        };
    }
    Ok(())
}

/// Directories that are not whole, or hold links to elsewhere, are put together in `dir` from links to what counts.
pub fn place_trees(
    request: &mut Request,
    trees: &[(usize, Arc<Files>)],
    dir: &Path,
) -> anyhow::Result<()> {
    for (position, files) in trees {
        let input = &mut request.inputs[*position];
        let of = input.origin.path().to_owned();
        let tree = InputTree::of(&of, &files.ignore)?;
        if !tree.is_whole() {
            let view = dir.join(position.to_string());
            tree.assemble(&view, Parts::Links)?;
            input.origin = InputOrigin::Assembled { of, view };
        }
    }
    Ok(())
}

/// The inputs of an instance for a request, project files in place, artifacts still to be viewed.
fn inputs(
    instance: &Instance,
    contents: &[Vec<Content>],
    lineage: &Lineage,
    session: &Session,
) -> (
    Vec<PlacedInput>,
    Vec<(usize, Content)>,
    Vec<(Arc<Files>, Content)>,
    Vec<(usize, Arc<Files>)>,
) {
    let (mut inputs, mut views) = (Vec::new(), Vec::new());
    let (mut watched, mut trees) = (Vec::new(), Vec::new());
    for (position, (need, contents)) in instance.needs.iter().zip(contents).enumerate() {
        for (at, (item, content)) in need.items.iter().zip(contents).enumerate() {
            let origin = match &item.source {
                Source::Files(files) => {
                    watched.push((files.clone(), *content));
                    if content.shape == Shape::Tree {
                        trees.push((inputs.len(), files.clone()));
                    }
                    let path = files.at.path(&session.project.root);
                    match files.at {
                        Location::Project(_) => InputOrigin::ProjectFile(path),
                        Location::Outside(_) => InputOrigin::Outside(path),
                    }
                }
                Source::Output { .. } => {
                    views.push((inputs.len(), *content));
                    InputOrigin::Object(PathBuf::new())
                }
            };
            let called = session.plan.name_of(&item.source).into();
            inputs.push(PlacedInput {
                need: need.name.clone(),
                many: need.many,
                group: item.group.clone(),
                axes: item.axes.clone(),
                placed_at: item.placed_at.clone(),
                origin,
                called,
                digest: content.to_string(),
                kin: lineage::kin(lineage, position, at)
                    .cloned()
                    .unwrap_or_default(),
            });
        }
    }
    (inputs, views, watched, trees)
}

/// Keys of the states an instance can be resumed from, furthest first.
pub fn state_keys(
    salt: &str,
    instance: &Instance,
    contents: &[Vec<Content>],
) -> Vec<(String, Key)> {
    match &instance.work {
        Work::Kind { kind, params } => kind.states.as_ref().map_or_else(Vec::new, |states| {
            states(params)
                .into_iter()
                .map(|point| {
                    (
                        point.label.clone(),
                        key::state_key(salt, kind, &point, &instance.needs, contents),
                    )
                })
                .collect()
        }),
        Work::Command(_) => Vec::new(),
    }
}

/// The work of an instance as the executor takes it.
fn work(instance: &Instance) -> exec::Work {
    match &instance.work {
        Work::Kind { kind, params } => exec::Work::Kind {
            kind: kind.clone(),
            params: params.clone(),
        },
        Work::Command(command) => exec::Work::Command(command.clone()),
    }
}

/// The policy of an instance with the cores it was given.
pub fn policy_with(policy: &Policy, cpus: u32) -> Arc<Policy> {
    Arc::new(Policy {
        cpus: Some(cpus),
        ..policy.clone()
    })
}

/// A name for the private directory of an action: free of the characters of instance names.
pub fn dir_name(key: &Digest, attempt_of: u32) -> String {
    format!("{}-{attempt_of}", key.short())
}

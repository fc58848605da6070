//! One order on this machine, from single flight to staged outputs: execution, and the check that
//! no input changed.
//!
//! Runs on a thread of its own. Publishes nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::failed::{self, FailedDir};
use super::guard::{Guard, Watched, check_objects};
use super::places::Places;
use super::prepare::{Prepared, Shown, place};
use super::{Aside, Failed, Made, Order, Outcome, Purpose, Site};
use crate::digest::Content;
use crate::energy::Gpus;
use crate::exec::{
    self, Cancel, CancelLevel, Cause, Failure, Finished, Grant, Note, Request, SandboxReport,
};
use crate::spec::quote;
use crate::store::{
    ActionLock, Fact, Observation, Record, Staged, StatCache, StoreError, host_name,
};
use repro_protocol::job;
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// An order on its way, with what it owns, so that it can leave for its thread.
pub struct Flight {
    site: Arc<Site>,
    order: Order,
    places: Places,
    request: Request,
    shown: Shown,
    watched: Watched,
    cancel: Arc<Cancel>,
    failed_dir: FailedDir,
    begun_at: String,
}

/// What is on this machine of an order that was made.
pub enum Held {
    /// To be recorded.
    Result {
        /// Bytes that are new to the store.
        staged: Staged,
        /// One process at a time executes an action, and until it is recorded.
        lock: Option<ActionLock>,
    },
    /// To be compared.
    Aside(Aside),
}

/// How it ended.
pub struct Landed {
    /// To be told.
    pub outcome: Outcome,
    /// Of what was made.
    pub held: Option<Held>,
    /// Dropped once the outcome is told.
    pub leftovers: Option<Places>,
}

impl Flight {
    /// Makes an order ready, with these devices. With `keep`, a private directory is left there.
    ///
    /// # Errors
    /// Of the disk; something is at `keep`.
    pub fn new(
        site: &Arc<Site>,
        order: Order,
        grant: &Grant,
        keep: Option<&Path>,
        cancel: &Arc<Cancel>,
    ) -> anyhow::Result<Flight> {
        let places = match order.purpose {
            Purpose::Record | Purpose::RecordAnew => Places::of_result(site, &order)?,
            Purpose::Compare => Places::apart(site, keep)?,
        };
        let Prepared {
            request,
            shown,
            watched,
        } = site.prepare(&order, &places, grant)?;
        Ok(Flight {
            failed_dir: FailedDir::of(&order.instance, &site.state, site.store.root()),
            site: site.clone(),
            order,
            places,
            request,
            shown,
            watched,
            cancel: cancel.clone(),
            begun_at: jiff::Timestamp::now().to_string(),
        })
    }

    /// Flies. `say` gets what is heard on the way.
    pub fn fly(mut self, say: &mut dyn FnMut(Note)) -> Landed {
        match self.order.purpose {
            Purpose::Record | Purpose::RecordAnew => {
                let (outcome, held) = self.record(say).unwrap_or_else(|e| (failure(&e), None));
                // What a killed worker may go on from is of no use to one that has ended well; an
                // empty directory is of none at all.
                let _ = match outcome {
                    Outcome::Made(_) => crate::dir::remove_all(&self.places.scratch),
                    _ => std::fs::remove_dir(&self.places.scratch),
                };
                Landed {
                    outcome: self.keep_or_drop_failed(outcome),
                    held,
                    leftovers: Some(self.places),
                }
            }
            Purpose::Compare => {
                let (outcome, paths) = self
                    .compare(say)
                    .unwrap_or_else(|e| (broken(&e), BTreeMap::new()));
                let aside = Aside {
                    paths,
                    _places: self.places,
                };
                Landed {
                    outcome,
                    held: Some(Held::Aside(aside)),
                    leftovers: None,
                }
            }
        }
    }

    /// The directory of a command's last failure is kept, until another one or success; the message
    /// says where.
    fn keep_or_drop_failed(&self, mut outcome: Outcome) -> Outcome {
        match &mut outcome {
            Outcome::Failed(Failed { message, .. }) => self.keep_failed(Some(message)),
            Outcome::Cancelled => self.keep_failed(None),
            // What cannot be removed is in nobody's way.
            Outcome::Made(_) | Outcome::Found => drop(self.failed_dir.discard()),
            Outcome::Unstable(_) | Outcome::Lost { .. } | Outcome::StoreBroken { .. } => {}
        }
        outcome
    }

    fn keep_failed(&self, message: Option<&mut String>) {
        let dir = &self.places.dir;
        if matches!(self.request.work, exec::Work::Command(_))
            && !self.site.is_left_behind
            && exec::work_in(dir).is_dir()
            && self
                .site
                .store
                .free_bytes()
                .is_none_or(|free| free >= failed::room_for(dir))
            && let Ok(kept) = self.failed_dir.keep(dir, &self.order.key.digest)
            && let Some(message) = message
        {
            message.push_str(&format!(
                "\n  its directory is kept: {}\n  look around in it: repro shell {}",
                exec::work_in(&kept).display(),
                quote(&self.order.instance)
            ));
        }
    }

    fn record(&mut self, say: &mut dyn FnMut(Note)) -> anyhow::Result<(Outcome, Option<Held>)> {
        let alone = |outcome| Ok((outcome, None));
        let lock = match self.take_off(say) {
            Ok(lock) => Some(lock),
            Err(StoreError::Cancelled) => return alone(Outcome::Cancelled),
            // Without locks (an odd file system) work may be done twice, never wrong.
            Err(_) => None,
        };
        if self.order.purpose == Purpose::Record && self.result_is_there() {
            return alone(Outcome::Found);
        }
        let watched = std::mem::take(&mut self.watched);
        let guard = match Guard::begin(watched, &self.site.stats) {
            Ok(guard) => guard,
            Err(moved) => return alone(Outcome::Unstable(moved)),
        };
        self.place()?;
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
                    return alone(outcome_of(&failure));
                }
            }
        };
        self.keep_log(Some(&finished.log));
        self.settle(&guard, finished, lock)
    }

    fn place(&mut self) -> anyhow::Result<()> {
        let (store, views) = (&self.site.store, &self.places.views);
        place(store, &mut self.request, &self.shown, views)
    }

    /// Far from the cache: digests of what comes out, and where it lies.
    fn compare(
        &mut self,
        say: &mut dyn FnMut(Note),
    ) -> anyhow::Result<(Outcome, BTreeMap<Arc<str>, PathBuf>)> {
        self.place()?;
        let finished = match self.execute(say) {
            Ok(finished) => finished,
            Err(failure) => return Ok((outcome_of(&failure), BTreeMap::new())),
        };
        // A cache of stats that is never written.
        let root = self.places.dir.canonicalize()?;
        let stats = self.places.untouched("stats");
        let stats = stats.context("BUG: it is executed in places of a result")?;
        let stats = StatCache::load(&root, &stats);
        let mut contents = BTreeMap::new();
        for (name, path) in &finished.outputs {
            let relative = path
                .strip_prefix(&root)
                .ok()
                .and_then(|p| RelPath::new(p.to_str()?).ok());
            let relative = relative.ok_or_else(|| {
                anyhow::anyhow!("BUG: output `{name}` lies outside its private directory")
            })?;
            contents.insert(name.clone(), stats.digest_path(&relative)?);
        }
        let paths = finished.outputs.clone();
        Ok((self.made(finished, &contents)?, paths))
    }

    /// One process at a time executes an action.
    fn take_off(&self, say: &mut dyn FnMut(Note)) -> Result<ActionLock, StoreError> {
        let mut said = false;
        self.site
            .store
            .lock_action(&self.order.key.digest, |other| {
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
        self.site
            .store
            .lookup(&self.order.key.digest)
            .iter()
            .any(|r| {
                self.site
                    .believer
                    .believes_recorded(&self.site.store, r)
                    .is_ok()
                    && r.outputs
                        .values()
                        .all(|c| self.site.store.has(c).unwrap_or(false))
            })
    }

    /// Who computes anew wants to know what comes of all of it.
    fn find_state(&mut self) {
        if self.order.purpose == Purpose::RecordAnew {
            return;
        }
        self.request.resume = self.order.states.iter().find_map(|(label, key)| {
            let path = self.site.store.get_state(&key.digest)?;
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
        let meter = self.site.meter.as_ref();
        let begin = meter.map(|meter| (meter.read(), self.gpus()));
        let finished = exec::execute(&self.request, &self.cancel, &mut |note| match note {
            Note::Event(job::Event::State { label, path }) => {
                let path = self.request.dir.join(path);
                if let Some((_, key)) = self.order.states.iter().find(|(l, _)| *l == label) {
                    // A state that cannot be kept costs time only.
                    if let Err(e) = self.site.store.put_state(&key.digest, &path, &key.preimage) {
                        say(Note::Event(job::Event::Warning {
                            text: format!("state `{label}` was not kept: {e}"),
                        }));
                    }
                }
                let _ = std::fs::remove_file(path);
            }
            other => say(other),
        });
        finished.map(|mut finished| {
            let cpu_s = finished.usage.cpu_s;
            finished.usage.energy = meter.zip(begin).map(|(meter, (begin, gpus))| {
                let gpus = gpus.map(Gpus::end);
                meter.since(begin, cpu_s).with_gpus(gpus)
            });
            finished
        })
    }

    /// The GPUs it was given, which begin to count for it.
    fn gpus(&self) -> Option<Gpus> {
        let Request { grant, policy, .. } = &self.request;
        let share = policy.share_of_each_gpu();
        Gpus::begin(grant.gpus.as_deref()?, grant.maker, share)
    }

    /// The guard (I9), then the outputs into the store's staging area.
    fn settle(
        &self,
        guard: &Guard,
        finished: Finished,
        lock: Option<ActionLock>,
    ) -> anyhow::Result<(Outcome, Option<Held>)> {
        let store = &self.site.store;
        let views = self.shown.views.iter();
        let used = views.map(|(at, content)| (&self.request.inputs[*at].need, content));
        let kept = guard
            .end(&self.site.stats, &finished.copied)
            .and_then(|()| check_objects(store, used));
        if let Err(moved) = kept {
            return Ok((Outcome::Unstable(moved), None));
        }
        let mut staged = Staged::default();
        let mut contents = BTreeMap::new();
        for (name, path) in &finished.outputs {
            let (content, more) = store
                .absorb_until(path, &|| self.cancel.level() >= CancelLevel::Now)
                .map_err(|e| anyhow::Error::new(e).context(format!("output `{name}`")))?;
            staged.merge(more);
            contents.insert(name.clone(), content);
        }
        let made = self.made(finished, &contents)?;
        Ok((made, Some(Held::Result { staged, lock })))
    }

    /// What is told of outputs with these contents.
    fn made(
        &self,
        finished: Finished,
        contents: &BTreeMap<Arc<str>, Content>,
    ) -> anyhow::Result<Outcome> {
        let mut outputs = Vec::with_capacity(contents.len());
        let mut named = BTreeMap::new();
        for OutputSpec { name, .. } in self.order.outputs.iter() {
            let content = contents.get(name).copied();
            let content =
                content.ok_or_else(|| anyhow::anyhow!("BUG: output `{name}` was not reported"))?;
            outputs.push(content);
            named.insert(name.to_string(), content);
        }
        let sandbox = sandbox_text(&finished.sandbox);
        let observation = Observation::default()
            .with(Fact::Run, &*self.order.run)
            .with(Fact::At, self.begun_at.clone())
            .with(Fact::Host, host_name())
            .with(Fact::Version, env!("CARGO_PKG_VERSION"))
            .with(Fact::Instance, &*self.order.instance)
            .with(Fact::Threads, self.order.policy.cpus)
            .with(Fact::Figures, json!(finished.figures))
            .with(Fact::Sandbox, &*sandbox);
        let resumed_from = self.request.resume.as_ref().map(|r| r.label.clone());
        let observation = match &resumed_from {
            Some(label) => observation.with(Fact::ResumedFrom, &**label),
            None => observation,
        };
        let observation = match &finished.device {
            Some(device) => observation.with(Fact::Device, &**device),
            None => observation,
        };
        let observation = finished.usage.noted(observation);
        Ok(Outcome::Made(Box::new(Made {
            record: Record {
                key: self.order.key.digest,
                preimage: self.order.key.preimage.clone(),
                outputs: named,
                observation,
            },
            outputs,
            usage: finished.usage,
            figures: finished.figures,
            pins: finished.pins,
            resumed_from,
            sandbox,
        })))
    }

    fn keep_log(&self, log: Option<&Path>) {
        let Some(log) = log else { return };
        let kept = self.site.log(&self.order.key.digest);
        if let Some(dir) = kept.parent() {
            // A log that cannot be kept is no reason to fail a stage.
            let _ = std::fs::create_dir_all(dir);
            if std::fs::rename(log, &kept).is_err() {
                let _ = std::fs::copy(log, &kept);
            }
        }
    }
}

fn outcome_of(failure: &Failure) -> Outcome {
    match failure.cause {
        Cause::Cancelled => Outcome::Cancelled,
        _ => Outcome::Failed(Failed {
            message: failure.account(),
            hint: failure.cause.hint(),
            lacked_memory: matches!(failure.cause, Cause::OutOfMemory { .. }),
        }),
    }
}

/// Of an order that is compared only the disk and the store can fail, beside its execution.
fn broken(error: &anyhow::Error) -> Outcome {
    let message = format!("{error:#}");
    let is_of_store = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<StoreError>() || cause.is::<std::io::Error>()
    };
    match error.chain().any(is_of_store) {
        true => Outcome::StoreBroken { message },
        false => Outcome::failed(message),
    }
}

/// What a stage left behind can be unfit to be kept; everything else is the store's own trouble.
fn failure(error: &anyhow::Error) -> Outcome {
    let message = format!("{error:#}");
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::Cancelled) => Outcome::Cancelled,
        None
        | Some(
            StoreError::Refused { .. }
            | StoreError::Closed { .. }
            | StoreError::Changed { .. }
            | StoreError::Vanished { .. }
            | StoreError::Missing { .. }
            | StoreError::Corrupt { .. },
        ) => Outcome::failed(message),
        Some(_) => Outcome::StoreBroken { message },
    }
}

/// How a command was confined, as recorded.
fn sandbox_text(report: &SandboxReport) -> String {
    match report {
        SandboxReport::Enforced => "enforced".into(),
        SandboxReport::Degraded(why) => format!("degraded: {why}"),
        SandboxReport::Off => "off".into(),
        SandboxReport::Unavailable(why) => format!("unavailable: {why}"),
        SandboxReport::NotNeeded => "not needed".into(),
    }
}

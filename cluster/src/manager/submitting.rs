//! Submitting: what is ready is packed with what follows from it, sent, and submitted under a name
//! that is written down before. A batch system that takes nothing more is waited for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use repro_engine::digest::{Content, Digest};
use repro_engine::executor::{Failed, OrderId, Outcome};
use repro_engine::plan::ONE_GPU;
use repro_engine::remote::layout::Place as OnRemote;
use repro_engine::remote::{Body, PutMode};

use super::{ASK_AGAIN, At, Element, Manager, Sent};
use crate::config::FILE;
use crate::desk::Task;
use crate::journal::Wave;
use crate::outlook::Learned;
use crate::pack::{Rule, pack};
use crate::shipment;
use crate::system::{End, Submitted};
use crate::ticket::{FORMAT, Ticket, names};

/// Orders that come so soon after one another are submitted together.
const QUIET: Duration = Duration::from_millis(300);
/// As [`QUIET`], at most.
const COLLECT: Duration = Duration::from_secs(3);

/// What jobs are asked for together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) cpus: u32,
    pub(super) memory_mib: Option<u64>,
    pub(super) gpus: u32,
    pub(super) minutes: u64,
}

impl Manager {
    fn pending(&self) -> Vec<OrderId> {
        let mut pending: Vec<(u32, OrderId)> = self
            .orders
            .iter()
            .filter(|(_, o)| o.at == At::Pending)
            .map(|(id, o)| (o.index, *id))
            .collect();
        pending.sort_unstable();
        pending.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn submit_due(&mut self, now: Instant) {
        let Some(first) = self.first_pending else {
            return;
        };
        let is_quiet = now - self.last_begun >= QUIET || now - first >= COLLECT;
        if !is_quiet || self.busy_until.is_some_and(|until| now < until) {
            return;
        }
        self.first_pending = None;
        self.busy_until = None;
        let mut pending = self.pending();
        self.find_known(&mut pending);
        if pending.is_empty() {
            return;
        }
        let mut by_shape: BTreeMap<Shape, Vec<u32>> = BTreeMap::new();
        for id in &pending {
            let index = self.orders[id].index;
            by_shape.entry(self.shape(index)).or_default().push(index);
        }
        for (shape, ready) in by_shape {
            if !self.submit(&shape, &ready) {
                self.first_pending = Some(now);
                return;
            }
        }
    }

    /// Of what is to be submitted, leaves out what has a result, or is under way.
    fn find_known(&mut self, pending: &mut Vec<OrderId>) {
        let heads = match self.has_history {
            true => self.heads().unwrap_or_default(),
            false => HashSet::new(),
        };
        let store = self.place.store.clone();
        // Of another run that shares the store; it is asked again until that has ended.
        let running: HashSet<Digest> = store
            .running_actions()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let now = Instant::now();
        pending.retain(|id| {
            let open = &self.orders[id];
            let (index, key) = (open.index, open.order.key.digest);
            if running.contains(&key) && !self.live.contains_key(id) {
                self.first_pending.get_or_insert(now);
                return false;
            }
            if let Some((of, outcome)) = self.early.remove(&index)
                && of == key
            {
                self.ended(index, key, outcome);
                return false;
            }
            let is_here = |c: &Content| store.has(c).unwrap_or(false);
            let recorded = store.lookup(&key);
            if recorded
                .iter()
                .any(|r| r.origin().is_none() && r.outputs.values().all(is_here))
            {
                self.answer(*id, Outcome::Found);
                return false;
            }
            if let Some((wave, element)) = self.covered.get(&index).copied() {
                let its = &self.sent[wave].elements[element as usize];
                let is_it = its
                    .items
                    .iter()
                    .any(|(i, k)| *i == index && k.is_none_or(|k| k == key));
                if is_it && !its.answered.contains(&index) {
                    if let Some(open) = self.orders.get_mut(id) {
                        open.at = At::Element(wave, element);
                    }
                    self.mark_running(*id);
                    return false;
                }
            }
            if heads.contains(&key) {
                self.look_up(*id, None);
                return false;
            }
            true
        });
    }

    /// Actions of the campaign that have a result, by a listing.
    pub(super) fn heads(&self) -> Option<HashSet<Digest>> {
        let mut heads = HashSet::new();
        let listed = self
            .backend
            .list(&names::heads(&self.campaign.scope), &mut |entry| {
                if let Some((_, OnRemote::Head(key))) = OnRemote::of(&entry.name) {
                    heads.insert(key);
                }
                ControlFlow::Continue(())
            });
        listed.is_ok().then_some(heads)
    }

    pub(super) fn look_up(&mut self, id: OrderId, end: Option<(End, String)>) {
        if let Some(open) = self.orders.get_mut(&id) {
            open.at = At::Desk;
            open.end = end;
            open.asked.get_or_insert_with(Instant::now);
            open.asks_again = Instant::now() + ASK_AGAIN;
            let _ = self.desk.send(Task::LookUp(id, open.order.key.digest));
        }
    }

    fn shape(&self, index: u32) -> Shape {
        let settings = &self.place.settings;
        let policy = &self.place.outlook.at(index).policy;
        Shape {
            cpus: policy.cpus.or(settings.defaults.cpus).unwrap_or(1).max(1),
            memory_mib: self.memory(index).map(|bytes| bytes.div_ceil(1 << 20)),
            gpus: policy.gpus.div_ceil(ONE_GPU),
            minutes: self.minutes(index),
        }
    }

    /// Submits actions of one shape; `false`: the rest later.
    fn submit(&mut self, shape: &Shape, ready: &[u32]) -> bool {
        let settings = &self.place.settings;
        let rule = Rule {
            target_s: settings.bundle().as_secs_f64(),
            width: settings.width as usize,
        };
        let learned = self
            .place
            .learned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let store = &self.place.store;
        let known = |index: u32| learned.contains_key(&index);
        let fits = |index: u32| {
            let its = self.shape(index);
            let is_busy = self.by_index.contains_key(&index) || self.covered.contains_key(&index);
            let has_bytes = || {
                let takes = self.place.outlook.at(index).takes.iter();
                let known =
                    takes.filter_map(|(of, output)| learned.get(of)?.1.get(*output as usize));
                known
                    .into_iter()
                    .all(|content| store.has(content).unwrap_or(false))
            };
            !is_busy
                && its.cpus <= shape.cpus
                && its.gpus <= shape.gpus
                && its.memory_mib <= shape.memory_mib
                && its.minutes <= shape.minutes
                && has_bytes()
        };
        let chains = self.place.outlook.chains(ready, rule.target_s, known, fits);
        let mut elements: Vec<Vec<u32>> = pack(chains, rule)
            .into_iter()
            .map(|chains| {
                // An element goes through its actions in the order of the plan.
                let mut items: Vec<u32> =
                    chains.into_iter().flat_map(|chain| chain.items).collect();
                items.sort_unstable();
                items
            })
            .collect();
        while !elements.is_empty() {
            let most = match self.place.system.has_arrays() {
                true => self.array_max as usize,
                false => 1,
            };
            let rest = elements.split_off(elements.len().min(most.max(1)));
            match self.send(shape, &elements, &learned) {
                Ok(Submitted::As(_)) => elements = rest,
                Ok(Submitted::TooLarge) if self.array_max > 1 && elements.len() > 1 => {
                    // Elements are kept as they are; the array is cut in two.
                    self.array_max = (elements.len() as u32 / 2).max(1);
                    elements.extend(rest);
                }
                Ok(Submitted::TooLarge) => {
                    let why = "an array job of one element is too large for it";
                    return self.refuse(&elements, why);
                }
                Ok(Submitted::Refused(why)) if self.take_all_nodes() => {
                    return self.wait(&self.no_more_jobs(&why), 0);
                }
                Ok(Submitted::Refused(why)) => {
                    elements.extend(rest);
                    return self.refuse(&elements, &why);
                }
                Ok(Submitted::Busy(why)) => {
                    return self.wait(&self.no_more_jobs(&why), elements.len() as u32);
                }
                Err(e) => {
                    let why = format!(
                        "what jobs on `{}` need cannot be sent for now, and is tried again: {e:#}",
                        self.place.name
                    );
                    return self.wait(&why, 0);
                }
            }
        }
        self.busy_for = Duration::ZERO;
        true
    }

    /// The batch system says no, and will say so again.
    fn refuse(&mut self, elements: &[Vec<u32>], why: &str) -> bool {
        for index in elements.iter().flatten() {
            if let Some(id) = self.by_index.get(index).copied() {
                let failed = Failed {
                    message: format!("it cannot be submitted to `{}`: {why}", self.place.name),
                    hint: Some(format!("look at [{}] in {}", self.place.name, FILE)),
                    lacked_memory: false,
                };
                self.answer(id, Outcome::Failed(failed));
            }
        }
        true
    }

    fn no_more_jobs(&self, why: &str) -> String {
        format!(
            "`{}` takes no more jobs for now, they wait here: {why}",
            self.place.name
        )
    }

    /// The batch system, or the remote, takes nothing more for now.
    fn wait(&mut self, why: &str, elements: u32) -> bool {
        // A limit of jobs may leave room for a smaller array.
        if elements > 1 {
            self.array_max = (elements / 2).max(1);
        }
        let poll = &self.place.settings.poll;
        self.busy_for = (self.busy_for * 2).clamp(poll.first.0 / 3, poll.longest.0);
        self.busy_until = Some(Instant::now() + self.busy_for);
        if self.told_busy != why {
            why.clone_into(&mut self.told_busy);
            if let Some(id) = self.pending().first() {
                self.say(*id, why.to_owned());
            }
        }
        false
    }

    /// Sends elements, and submits them under a name that is written down before.
    fn send(
        &mut self,
        shape: &Shape,
        elements: &[Vec<u32>],
        learned: &Learned,
    ) -> anyhow::Result<Submitted> {
        let items: BTreeSet<u32> = elements.iter().flatten().copied().collect();
        let name = format!("w{:06}", self.waves);
        let (bundle, needed) = match self.bundle(&items, elements, learned) {
            Ok(made) => made,
            // A file of the project that cannot be read is not better later.
            Err(e) => return Ok(Submitted::Refused(format!("{e:#}"))),
        };
        let link = self.road.link()?;
        shipment::send(&link, &self.place.store, &needed)
            .map_err(|why| anyhow::anyhow!("inputs cannot be sent: {why}"))?;
        let text = serde_json::to_string(&bundle)?;
        let at = names::bundle(&self.campaign.scope, &name);
        self.backend
            .put(&at, Body::Bytes(text.as_bytes()), PutMode::Overwrite)?;
        let ticket = Ticket {
            version: FORMAT,
            remote: self.remote.clone(),
            scope: self.campaign.scope.clone(),
            wave: name.clone(),
            bundle: Digest::of(text.as_bytes()),
            time_s: shape.minutes * 60,
            report_s: self.place.settings.poll.reports.0.as_secs_f64(),
        };
        let script = self.script(&ticket)?;
        let job_name = format!("{}-{name}", self.job_prefix());
        let noted = bundle.elements.iter().map(|items| {
            items
                .iter()
                .map(|item| (item.id.clone(), item.action.as_ref().map(|a| a.key)))
                .collect()
        });
        let mut wave = Wave {
            log: self.log(&job_name),
            elements: noted.collect(),
            name,
            job_name,
            job: None,
            at: jiff::Timestamp::now().as_second(),
            over: Vec::new(),
        };
        self.journal.note(&wave)?;
        self.waves += 1;
        let options = self.options(shape);
        let extra = &self.place.settings.defaults.extra;
        let count = elements.len() as u32;
        let submitted =
            self.place
                .system
                .submit(&script, &wave.job_name, &wave.log, count, &options, extra);
        match &submitted {
            Submitted::As(job) => wave.job = Some(job.clone()),
            // Whether it arrived is seen by its name.
            Submitted::Busy(why) if why.contains("did not answer") => {}
            _ => {
                self.journal.forget(&wave.name);
                return Ok(submitted);
            }
        }
        if let Err(e) = self.journal.note(&wave) {
            // Nobody would find it: the campaign was cancelled meanwhile, or the disk is full.
            let job = wave.job.as_deref().unwrap_or_default();
            let _ = self.place.system.cancel(job, &wave.job_name);
            return Err(e);
        }
        self.has_history = true;
        let of_wave = self.sent.len();
        let mut all = Vec::with_capacity(elements.len());
        for (number, items) in (0..).zip(elements) {
            let keys = wave.elements[number as usize].iter().map(|(_, key)| *key);
            for index in items {
                self.covered.insert(*index, (of_wave, number));
                if let Some(open) = self
                    .by_index
                    .get(index)
                    .and_then(|id| self.orders.get_mut(id))
                {
                    open.at = At::Element(of_wave, number);
                }
            }
            all.push(Element::of(
                items.iter().copied().zip(keys).collect(),
                false,
            ));
        }
        log::debug!("job {:?} is {} ({count} elements)", wave.job, wave.job_name);
        self.sent.push(Sent {
            wave,
            elements: all,
            is_dirty: false,
        });
        self.ask_every = self.place.settings.poll.first.0;
        self.ask_at = Instant::now() + self.ask_every;
        match submitted {
            // It is under way, or not; nothing more is submitted until that is known.
            Submitted::Busy(_) => Ok(Submitted::As(String::new())),
            other => Ok(other),
        }
    }
}

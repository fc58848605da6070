//! Submitting: what is ready is packed with what follows from it, sent, and submitted under a name
//! that is written down before. A batch system that takes nothing more is waited for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use repro_engine::digest::{Content, Digest};
use repro_engine::executor::{Failed, OrderId, Outcome};
use repro_engine::plan::ONE_GPU;
use repro_engine::remote::layout::Place as OnRemote;
use repro_engine::remote::{Body, Location, PutMode};
use repro_engine::run::Given;

use super::{ASK_AGAIN, At, Element, Manager, Sent};
use crate::config::FILE;
use crate::desk::Task;
use crate::journal::Wave;
use crate::outlook::Learned;
use crate::pack::{Rule, pack};
use crate::shipment;
use crate::system::{End, Submitted};
use crate::ticket::{Action, Bundle, FORMAT, Item, SCRATCH, Ticket, VARIABLE, names};

/// Orders that come so soon after one another are submitted together.
const QUIET: Duration = Duration::from_millis(300);
/// As [`QUIET`], at most.
const COLLECT: Duration = Duration::from_secs(3);

/// What jobs are asked for together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Shape {
    cpus: u32,
    memory_mib: Option<u64>,
    gpus: u32,
    minutes: u64,
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
        pending.retain(|id| {
            let open = &self.orders[id];
            let (index, key) = (open.index, open.order.key.digest);
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
        let counts = self.counts.get(&index).cloned().unwrap_or_default();
        let more = |factor: f64, times: u32| factor.powi(i32::try_from(times).unwrap_or(i32::MAX));
        let memory = policy
            .memory_bytes
            .or(settings.defaults.memory.map(|m| m.0));
        let time_s = settings.time().as_secs_f64() * more(settings.retry.time, counts.more_time);
        Shape {
            cpus: policy.cpus.or(settings.defaults.cpus).unwrap_or(1).max(1),
            memory_mib: memory.map(|bytes| {
                let bytes = bytes as f64 * more(settings.retry.memory, counts.more_memory);
                (bytes / f64::from(1 << 20)).ceil() as u64
            }),
            gpus: policy.gpus.div_ceil(ONE_GPU),
            minutes: (time_s / 60.0).ceil().max(1.0) as u64,
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
                Ok(Submitted::Refused(why)) => {
                    elements.extend(rest);
                    return self.refuse(&elements, &why);
                }
                Ok(Submitted::Busy(why)) => return self.wait(&why, elements.len() as u32),
                Err(e) => return self.wait(&format!("{e:#}"), 0),
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
                };
                self.answer(id, Outcome::Failed(failed));
            }
        }
        true
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
                self.say(
                    *id,
                    format!(
                        "`{}` takes no more jobs for now, they wait here: {why}",
                        self.place.name
                    ),
                );
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
        let job_name = format!(
            "repro-{}-{name}",
            self.campaign.scope.trim_start_matches("run-")
        );
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
        self.journal.note(&wave)?;
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

    /// What a wave is to do, and which bytes that needs on the remote.
    fn bundle(
        &self,
        items: &BTreeSet<u32>,
        elements: &[Vec<u32>],
        learned: &Learned,
    ) -> anyhow::Result<(Bundle, BTreeSet<Content>)> {
        let outlook = &self.place.outlook;
        let project = shipment::snapshot(&self.place.store, &self.place.root, outlook, items)?;
        let mut needed = BTreeSet::from([project]);
        let mut given = HashMap::new();
        for index in outlook.ancestors(items) {
            if let Some((key, outputs)) = learned.get(&index) {
                let result = Given {
                    key: *key,
                    outputs: outputs.clone(),
                };
                given.insert(outlook.at(index).id.clone(), result);
            }
        }
        for index in items {
            for (of, output) in outlook
                .at(*index)
                .takes
                .iter()
                .filter(|(of, _)| !items.contains(of))
            {
                needed.extend(
                    learned
                        .get(of)
                        .and_then(|(_, outputs)| outputs.get(*output as usize)),
                );
            }
        }
        let item = |index: &u32| {
            let its = outlook.at(*index);
            let order = self.by_index.get(index).and_then(|id| self.orders.get(id));
            Item {
                id: its.id.clone(),
                seconds: its.seconds(),
                action: order.map(|open| Action {
                    key: open.order.key.digest,
                    preimage: open.order.key.preimage.clone(),
                }),
            }
        };
        let run = self
            .orders
            .values()
            .next()
            .map(|open| open.order.run.clone());
        let bundle = Bundle {
            version: FORMAT,
            run: run.unwrap_or_default(),
            project,
            pipeline: self.place.pipeline.clone(),
            links: outlook.links.clone(),
            profiles: self.place.asked.profiles.clone(),
            sets: self.place.asked.sets.clone(),
            offline: self.place.offline,
            given,
            elements: elements
                .iter()
                .map(|items| items.iter().map(item).collect())
                .collect(),
        };
        Ok((bundle, needed))
    }

    /// What a job runs. The key is in here, and not on the remote: a batch system shows a script to
    /// its owner only.
    fn script(&self, ticket: &Ticket) -> anyhow::Result<String> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let mut script = String::from(
            "#!/bin/sh\nunset REPRO_STORE REPRO_TRUST_FILE REPRO_LINK REPRO_SIGNING_KEY_FILE\n",
        );
        for (name, value) in self.variables() {
            script += &format!("export {name}={}\n", quoted(&value));
        }
        script += &self.place.settings.prelude;
        script += &format!("\nexport {SCRATCH}=\"{}\"\n", self.place.settings.scratch);
        script += &format!(
            "export {VARIABLE}={}\n",
            quoted(&serde_json::to_string(ticket)?)
        );
        script += &format!("export REPRO_SIGNING_KEY={}\n", quoted(&self.key_pem));
        let index = match self.place.system.has_arrays() {
            true => format!("\"${}\"", self.place.system.index_variable()),
            false => "0".to_owned(),
        };
        let program = quoted(&self.place.program.to_string_lossy());
        script += &format!("exec {program} run-bundle --index {index}\n");
        Ok(script)
    }

    /// Variables that the pipeline reads.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for file in &self.place.outlook.plan_files {
            let text = fs::read_to_string(self.place.root.join(file)).unwrap_or_default();
            for after in text.split("env.").skip(1) {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                let name = &after[..end];
                let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                if let (true, Ok(value)) = (is_name, std::env::var(name)) {
                    found.insert(name.to_owned(), value);
                }
            }
        }
        found
    }

    fn options(&self, shape: &Shape) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        options.insert("cpus".to_owned(), shape.cpus.to_string());
        // Each system has its own way to say a time.
        let clock = format!("{:02}:{:02}:00", shape.minutes / 60, shape.minutes % 60);
        options.insert("time".to_owned(), shape.minutes.to_string());
        options.insert("seconds".to_owned(), (shape.minutes * 60).to_string());
        options.insert("clock".to_owned(), clock);
        options.extend(
            shape
                .memory_mib
                .map(|mib| ("memory".to_owned(), mib.to_string())),
        );
        if shape.gpus > 0 {
            options.insert("gpus".to_owned(), shape.gpus.to_string());
        }
        for (name, value) in &self.place.settings.defaults.options {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            options.insert(name.clone(), text);
        }
        options.retain(|name, _| !self.place.settings.without.contains(name));
        options
    }

    /// Where a job writes what it says itself: beside the results, where nodes can write surely.
    fn log(&self, job_name: &str) -> String {
        let Ok((Location::Directory(dir), _)) = self.remote.resolve(Path::new("/")) else {
            return "/dev/null".to_owned();
        };
        let dir = dir
            .join(names::campaign(&self.campaign.scope).as_str())
            .join("logs");
        if fs::create_dir_all(&dir).is_err() {
            return "/dev/null".to_owned();
        }
        let element = self.place.system.element();
        dir.join(format!("{job_name}-{element}.txt"))
            .to_string_lossy()
            .into_owned()
    }
}

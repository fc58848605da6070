//! A cluster as an executor of a run. What decides claims is executed on this machine: it takes
//! milliseconds, and nobody should queue for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context as _;
use repro_engine::demand::Demand;
use repro_engine::digest::{Content, Digest};
use repro_engine::exec::{Cancel, CancelLevel};
use repro_engine::executor::{
    Capacity, Executor, Job, Local, Order, OrderId, Reserved, Site, Tell,
};
use repro_engine::graph::Graph;
use repro_engine::plan::{InstanceIndex, Policy};
use repro_engine::record::event::Event;
use repro_engine::run::{Reuse, RunOptions, RunReport, run_on};
use repro_engine::session::Session;
use repro_engine::store::Record;
use repro_engine::watched;

use crate::config::Settings;
use crate::jobs;
use crate::journal::Journal;
use crate::manager::{Call, Manager, Place, lock_key};
use crate::outlook::{Learned, Outlook};
use crate::ticket::Asked;

/// What a run left on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Jobs that go on.
    pub jobs: usize,
}

/// Runs the plan of `session` on the executor called `name`; every event goes to `sink`.
///
/// # Errors
/// As of a run on this machine; and: what is asked for cannot be done there, the batch system or the
/// remote cannot be used.
pub fn run(
    session: &mut Session,
    options: &RunOptions,
    (name, settings): (&str, &Settings),
    asked: Asked,
    sink: &mut dyn FnMut(&Event),
) -> anyhow::Result<(RunReport, Left)> {
    anyhow::ensure!(
        options.reuse == Reuse::Recorded,
        "--force executes what has a result already, and only on this machine: leave out --on"
    );
    let demand = Demand::of(&session.plan, &options.targets)?;
    let graph = Graph::new(&session.plan);
    let most = demand.at_most(&session.plan).targets(&session.plan, &graph);
    let wanted = graph.wanted(&most);
    let outlook = Outlook::of(session, &wanted);
    let pipeline = session.project.pipeline.strip_prefix(&session.project.root);
    let pipeline = pipeline.context("BUG: the pipeline lies outside of its project")?;
    let (left, is_used) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let place = Place {
        name: name.to_owned(),
        settings: settings.clone(),
        system: settings.system()?,
        root: session.project.root.clone(),
        state: session.project.state(),
        pipeline: pipeline.to_string_lossy().into_owned(),
        asked,
        store: session.store.clone(),
        outlook,
        learned: Arc::default(),
        offline: options.offline,
        cancel: options.cancel.clone(),
        left: left.clone(),
        is_used: is_used.clone(),
        program: match &settings.program {
            Some(program) => program.clone(),
            None => options.executable.clone(),
        },
    };
    let site = Site::of(session, &options.executable);
    let (cancel, claim) = (
        options.cancel.clone(),
        session.catalog.claim_kind.name.clone(),
    );
    let make = |tell: Tell| -> Box<dyn Executor> {
        Box::new(Cluster::new(site, cancel, claim, place, tell))
    };
    let report = run_on(session, options, sink, make)?;
    if !is_used.load(Ordering::SeqCst) && !report.summary.interrupted {
        end_what_is_left(session, name);
    }
    let jobs = left.load(Ordering::SeqCst);
    Ok((report, Left { jobs }))
}

/// Everything had a result: what an earlier run left on the cluster is waited for by nobody. Where
/// that cannot be ended now, the next run looks again.
fn end_what_is_left(session: &Session, name: &str) {
    let (root, state) = (&session.project.root, session.project.state());
    let is_there = Journal::of(&state, name)
        .campaign()
        .is_ok_and(|c| c.is_some());
    if is_there && let Ok(Ok(_alone)) = session.store.try_lock_action(&lock_key(root, name)) {
        let _ = jobs::cancel(root, &state, Some(name));
    }
}

/// See the module.
struct Cluster {
    local: Local,
    claim: String,
    here: HashSet<OrderId>,
    tell: Tell,
    place: Option<Place>,
    learned: Arc<Mutex<Learned>>,
    manager: Option<(Sender<Call>, JoinHandle<()>)>,
    name: String,
}

impl Cluster {
    fn new(site: Site, cancel: Arc<Cancel>, claim: String, place: Place, tell: Tell) -> Cluster {
        Cluster {
            local: Local::new(site, cancel, tell.clone()),
            claim,
            here: HashSet::new(),
            tell,
            learned: place.learned.clone(),
            name: place.name.clone(),
            place: Some(place),
            manager: None,
        }
    }

    fn call(&self, call: Call) -> bool {
        let manager = self.manager.as_ref();
        manager.is_some_and(|(calls, _)| calls.send(call).is_ok())
    }
}

impl Executor for Cluster {
    fn capacity(&self) -> Capacity {
        Capacity {
            cpus: u32::MAX,
            memory_bytes: u64::MAX,
            gpus: u32::MAX,
            is_elastic: true,
        }
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        let mut told = self.local.open()?;
        let place = self.place.take().context("BUG: it is opened twice")?;
        let (calls, called) = channel();
        let (manager, more) = Manager::open(place, self.tell.clone(), calls.clone())?;
        told.extend(more);
        let thread = watched::spawn("cluster", move || manager.work(&called))?;
        self.manager = Some((calls, thread));
        Ok(told)
    }

    fn reserve(&mut self, _: OrderId, _: &Policy, _: Option<u32>) -> Reserved {
        Reserved::Yes
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        if matches!(&order.job, Job::Kind { kind, .. } if kind.name == self.claim) {
            let reserved = self.local.reserve(order.id, &order.policy, order.threads);
            anyhow::ensure!(
                reserved == Reserved::Yes,
                "this machine has no room for what decides a claim"
            );
            self.here.insert(order.id);
            return self.local.begin(order);
        }
        anyhow::ensure!(
            self.call(Call::Begin(Box::new(order))),
            "what submits to `{}` is gone",
            self.name
        );
        Ok(())
    }

    fn stop(&mut self, order: OrderId) {
        match self.here.contains(&order) {
            true => self.local.stop(order),
            false => drop(self.call(Call::Stop(order))),
        }
    }

    fn record(&mut self, order: OrderId, record: Record) {
        match self.here.remove(&order) {
            true => self.local.record(order, record),
            false => drop(self.call(Call::Record(order, Box::new(record)))),
        }
    }

    fn discard(&mut self, order: OrderId) {
        match self.here.remove(&order) {
            true => self.local.discard(order),
            false => drop(self.call(Call::Discard(order))),
        }
    }

    fn learn(&mut self, index: InstanceIndex, key: &Digest, outputs: &Arc<[Content]>) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.insert(index.0, (*key, outputs.clone()));
    }

    fn interruption(&self, level: CancelLevel) -> Option<String> {
        let what = match level {
            CancelLevel::None => return None,
            CancelLevel::Graceful => "interrupted: nothing more is submitted or waited for",
            CancelLevel::Now | CancelLevel::Kill => "stopping",
        };
        Some(format!("{what}; jobs on `{}` go on", self.name))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((calls, thread)) = self.manager.take() {
            let _ = calls.send(Call::End);
            // It has told of a panic of its own already.
            let _ = thread.join();
        }
    }
}

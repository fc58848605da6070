//! Clusters as the executor of a run. What decides claims is executed on this machine: it takes
//! milliseconds, and nobody should queue for it. So is what says that it belongs here.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context as _;
use repro_engine::demand::Demand;
use repro_engine::digest::{Content, Digest};
use repro_engine::exec::{Cancel, CancelLevel};
use repro_engine::executor::{Capacity, Executor, Job, Order, OrderId, Reserved, Site, Tell};
use repro_engine::graph::Graph;
use repro_engine::plan::{Instance, InstanceIndex, Policy, Work};
use repro_engine::record::event::Event;
use repro_engine::run::{Reuse, RunOptions, RunReport, run_on};
use repro_engine::session::Session;
use repro_engine::store::Record;
use repro_engine::watched;

use crate::config::{Executors, HERE, Settings};
use crate::here::{self, Say};
use crate::jobs;
use crate::journal::Journal;
use crate::manager::{Call, Manager, Place, lock_key};
use crate::outlook::{Learned, Outlook};
use crate::ticket::Asked;

/// What a run left on an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The executor.
    pub name: String,
    /// Jobs that go on.
    pub jobs: usize,
    /// The job that takes their results.
    pub closing: Option<String>,
}

/// Whether something of a plan is executed elsewhere, when a run says `on`.
pub fn is_elsewhere(session: &Session, on: Option<&str>) -> bool {
    let claim = &*session.catalog.claim_kind.name;
    let mut all = session.plan.instances.iter();
    on.is_some_and(|on| on != HERE) || all.any(|i| executor_of(i, on, claim).is_some())
}

/// Where an instance is executed; `None`: here. To say `on: here` counts more than what stages say:
/// who has no cluster can execute the study all the same.
fn executor_of<'a>(instance: &'a Instance, on: Option<&'a str>, claim: &str) -> Option<&'a str> {
    let is_claim = matches!(&instance.work, Work::Kind { kind, .. } if kind.name == claim);
    let said = match on {
        Some(HERE) => None,
        _ => instance.policy.executor.as_deref().or(on),
    };
    said.filter(|name| !is_claim && *name != HERE)
}

/// The settings of an executor that a run or its stages name.
///
/// # Errors
/// Nobody describes it.
pub fn settings_of<'a>(
    executors: &'a Executors,
    session: &Session,
    on: Option<&str>,
    name: &str,
) -> anyhow::Result<&'a Settings> {
    let by_stage = || {
        let mut all = session.plan.instances.iter();
        all.find(|i| i.policy.executor.as_deref() == Some(name) && on != Some(name))
    };
    executors.get(name).map_err(|e| match by_stage() {
        Some(its) => e.context(format!("the stage `{}` has `executor: {name}`", its.stage)),
        None => e,
    })
}

/// The executor of every instance of a run of these targets that is executed elsewhere, when it says
/// `on`.
///
/// # Errors
/// There is no such target.
pub fn destinations(
    session: &Session,
    targets: &[String],
    on: Option<&str>,
) -> anyhow::Result<HashMap<Arc<str>, String>> {
    let claim = &*session.catalog.claim_kind.name;
    let wanted = wanted(session, targets)?;
    let all = session.plan.instances.iter().zip(wanted);
    let there = all
        .filter(|(_, is_wanted)| *is_wanted)
        .filter_map(|(i, _)| {
            let executor = executor_of(i, on, claim)?;
            Some((i.id.clone(), executor.to_owned()))
        });
    Ok(there.collect())
}

/// Which instances a run of these targets may ask for.
fn wanted(session: &Session, targets: &[String]) -> anyhow::Result<Vec<bool>> {
    let demand = Demand::of(&session.plan, targets)?;
    let graph = Graph::new(&session.plan);
    let most = demand.at_most(&session.plan).targets(&session.plan, &graph);
    Ok(graph.wanted(&most))
}

/// Whether a job goes on in the place of the run.
fn is_closing(closing: &Closing) -> bool {
    let closing = closing.lock();
    closing.unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Runs the plan of `session` on the executors that its stages name, or on that of `on`; every event
/// goes to `sink`.
///
/// # Errors
/// As of a run on this machine; and: what is asked for cannot be done there, the batch system or the
/// remote cannot be used.
pub fn run(
    session: &mut Session,
    options: &RunOptions,
    executors: &Executors,
    on: Option<&str>,
    asked: &Asked,
    sink: &mut dyn FnMut(&Event),
) -> anyhow::Result<(RunReport, Vec<Left>)> {
    anyhow::ensure!(
        options.reuse == Reuse::Recorded,
        "--force executes what has a result already, and only on this machine: use --on {HERE}"
    );
    let wanted = wanted(session, &options.targets)?;
    let pipeline = session.project.pipeline.strip_prefix(&session.project.root);
    let pipeline = pipeline.context("BUG: the pipeline lies outside of its project")?;
    let claim = session.catalog.claim_kind.name.clone();
    let instances = session.plan.instances.iter().zip(&wanted);
    let names: BTreeSet<String> = instances
        .filter(|(_, is_wanted)| **is_wanted)
        .filter_map(|(i, _)| executor_of(i, on, &claim).map(str::to_owned))
        .collect();
    anyhow::ensure!(
        asked.detach.is_none() || names.len() < 2,
        "--detach goes with one executor, and the stages name several: {}",
        names.iter().cloned().collect::<Vec<_>>().join(", ")
    );
    let learned: Arc<Mutex<Learned>> = Arc::default();
    let mut places = Vec::with_capacity(names.len());
    let mut marks = Vec::with_capacity(names.len());
    for name in names {
        let settings = settings_of(executors, session, on, &name)?;
        let mark = Mark {
            name: name.clone(),
            left: Arc::default(),
            is_used: Arc::default(),
            closing: Arc::default(),
        };
        let is_there = |i: &Instance| executor_of(i, on, &claim) == Some(&*name);
        places.push(Place {
            settings: settings.clone(),
            system: Arc::new(settings.system()?),
            root: session.project.root.clone(),
            state: session.project.state(),
            pipeline: pipeline.to_string_lossy().into_owned(),
            asked: asked.clone(),
            store: session.store.clone(),
            outlook: Outlook::of(session, &wanted, is_there),
            learned: learned.clone(),
            offline: options.offline,
            cancel: options.cancel.clone(),
            left: mark.left.clone(),
            is_used: mark.is_used.clone(),
            closing: mark.closing.clone(),
            program: match &settings.program {
                Some(program) => program.clone(),
                None => options.executable.clone(),
            },
            name,
        });
        marks.push(mark);
    }
    let site = Site::metered(session, &options.executable)?;
    let closings: Vec<Closing> = marks.iter().map(|mark| mark.closing.clone()).collect();
    let left_to_jobs = closings.clone();
    let (cancel, on) = (options.cancel.clone(), on.map(str::to_owned));
    let state = session.project.state();
    let make = |tell: Tell| -> Box<dyn Executor> {
        Box::new(Clusters {
            site: Some(site),
            state,
            cancel,
            claim,
            on,
            tell,
            learned,
            places,
            closings,
            managers: Vec::new(),
            here: None,
            orders: HashMap::new(),
        })
    };
    // A run that leaves the rest to its jobs was not interrupted.
    let mut sink = |event: &Event| match event {
        Event::Summary(summary) if left_to_jobs.iter().any(is_closing) => {
            let mut summary = summary.clone();
            summary.interrupted = false;
            sink(&Event::Summary(summary));
        }
        other => sink(other),
    };
    let report = run_on(session, options, &mut sink, make)?;
    let mut left = Vec::new();
    for mark in marks {
        if !mark.is_used.load(Ordering::SeqCst) && !report.summary.interrupted {
            end_what_is_left(session, &mark.name);
        }
        let jobs = mark.left.load(Ordering::SeqCst);
        if jobs > 0 {
            let closing = mark.closing.lock();
            left.push(Left {
                name: mark.name,
                jobs,
                closing: closing.unwrap_or_else(PoisonError::into_inner).clone(),
            });
        }
    }
    Ok((report, left))
}

/// What a place tells when the run has ended.
struct Mark {
    name: String,
    left: Arc<AtomicUsize>,
    is_used: Arc<AtomicBool>,
    closing: Closing,
}

/// What the batch system calls the job that takes results.
type Closing = Arc<Mutex<Option<String>>>;

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
struct Clusters {
    site: Option<Site>,
    /// The directory of the project's state.
    state: PathBuf,
    cancel: Arc<Cancel>,
    claim: String,
    on: Option<String>,
    tell: Tell,
    learned: Arc<Mutex<Learned>>,
    places: Vec<Place>,
    closings: Vec<Closing>,
    managers: Vec<(String, Sender<Call>, JoinHandle<()>)>,
    here: Option<(Sender<Say>, JoinHandle<()>)>,
    /// Which manager has an order; `None`: this machine.
    orders: HashMap<OrderId, Option<usize>>,
}

impl Clusters {
    fn manager_of(&self, order: &Order) -> anyhow::Result<Option<usize>> {
        if matches!(&order.job, Job::Kind { kind, .. } if kind.name == self.claim) {
            return Ok(None);
        }
        let on = self.on.as_deref();
        let said = order
            .policy
            .executor
            .as_deref()
            .filter(|_| on != Some(HERE));
        let Some(name) = said.or(on).filter(|name| *name != HERE) else {
            return Ok(None);
        };
        let at = self.managers.iter().position(|(of, ..)| of == name);
        at.map(Some)
            .with_context(|| format!("BUG: nobody submits to `{name}`"))
    }

    /// Says this to whoever has the order; `false`: nobody is there.
    fn say(&self, to: Option<usize>, what: Said) -> bool {
        match (to, &self.here) {
            (Some(at), _) => self.managers[at].1.send(what.into_call()).is_ok(),
            (None, Some((here, _))) => here.send(what.into_here()).is_ok(),
            (None, None) => false,
        }
    }
}

/// What both kinds of places are told.
enum Said {
    Begin(Box<Order>),
    Stop(OrderId),
    Record(OrderId, Box<Record>),
    Discard(OrderId),
}

impl Said {
    fn into_here(self) -> Say {
        match self {
            Said::Begin(order) => Say::Begin(order),
            Said::Stop(order) => Say::Stop(order),
            Said::Record(order, record) => Say::Record(order, record),
            Said::Discard(order) => Say::Discard(order),
        }
    }

    fn into_call(self) -> Call {
        match self {
            Said::Begin(order) => Call::Begin(order),
            Said::Stop(order) => Call::Stop(order),
            Said::Record(order, record) => Call::Record(order, record),
            Said::Discard(order) => Call::Discard(order),
        }
    }
}

impl Executor for Clusters {
    fn capacity(&self) -> Capacity {
        Capacity {
            cpus: u32::MAX,
            memory_bytes: u64::MAX,
            gpus: u32::MAX,
            is_elastic: true,
        }
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        let site = self.site.take().context("BUG: it is opened twice")?;
        let (say, thread, mut told) = here::start(site, self.cancel.clone(), self.tell.clone())?;
        self.here = Some((say, thread));
        for place in std::mem::take(&mut self.places) {
            let (calls, called) = channel();
            let name = place.name.clone();
            let (manager, more) = Manager::open(place, self.tell.clone(), calls.clone())?;
            told.extend(more);
            let thread = watched::spawn("cluster", move || manager.work(&called))?;
            self.managers.push((name, calls, thread));
        }
        Ok(told)
    }

    fn reserve(&mut self, _: OrderId, _: &Policy, _: Option<u32>) -> Reserved {
        Reserved::Yes
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        let (id, order) = (order.id, Box::new(order));
        let to = self.manager_of(&order)?;
        self.orders.insert(id, to);
        anyhow::ensure!(
            self.say(to, Said::Begin(order)),
            "whoever executes it is gone"
        );
        Ok(())
    }

    fn stop(&mut self, order: OrderId) {
        if let Some(to) = self.orders.get(&order) {
            self.say(*to, Said::Stop(order));
        }
    }

    fn record(&mut self, order: OrderId, record: Record) {
        if let Some(to) = self.orders.remove(&order) {
            self.say(to, Said::Record(order, Box::new(record)));
        }
    }

    fn discard(&mut self, order: OrderId) {
        if let Some(to) = self.orders.remove(&order) {
            self.say(to, Said::Discard(order));
        }
    }

    fn learn(&mut self, index: InstanceIndex, key: &Digest, outputs: &Arc<[Content]>) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.insert(index.0, (*key, outputs.clone()));
    }

    fn interruption(&self, level: CancelLevel) -> Option<String> {
        let is_cancelled = |name: &str| Journal::of(&self.state, name).is_cancelled();
        let what = match level {
            CancelLevel::None => return None,
            _ if self.managers.is_empty() => return None,
            _ if self.managers.iter().any(|(name, ..)| is_cancelled(name)) => {
                "`repro cancel` ends the jobs of this run, and so the run"
            }
            _ if self.closings.iter().any(is_closing) => "all that is ready is submitted",
            CancelLevel::Graceful => "interrupted: nothing more is submitted or waited for",
            CancelLevel::Now | CancelLevel::Kill => "stopping",
        };
        let go_on = self
            .managers
            .iter()
            .filter(|(name, ..)| !is_cancelled(name));
        let names: Vec<String> = go_on.map(|(name, ..)| format!("`{name}`")).collect();
        Some(match names.is_empty() {
            true => what.to_owned(),
            false => format!("{what}; jobs on {} go on", names.join(" and ")),
        })
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        for (_, calls, thread) in self.managers.drain(..) {
            let _ = calls.send(Call::End);
            // It has told of a panic of its own already.
            let _ = thread.join();
        }
        if let Some((say, thread)) = self.here.take() {
            let _ = say.send(Say::End);
            let _ = thread.join();
        }
    }
}

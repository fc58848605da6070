//! Whole runs with an executor that executes nothing: it loses orders, answers twice or after its
//! time, refuses to begin, and finds what others recorded. The scheduler, the recorder and the
//! store are the real ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::scheduler::{RunReport, run_on};
use super::{OnFailure, Reuse, RunOptions};
use crate::catalog::Catalog;
use crate::digest::Digest;
use crate::exec::{Cancel, CancelLevel, Note, Usage};
use crate::executor::{
    Capacity, Executor, Failed, Heard, Landing, Made, Moved, Order, OrderId, Outcome, Recorder,
    Reserved, Tell,
};
use crate::open::Opening;
use crate::plan::Policy;
use crate::record::event::Event;
use crate::session::Session;
use crate::store::{Pending, Record, Staged, Store};

/// What becomes of an order. It follows from the instance and the number of the try alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Made,
    MadeTwice,
    /// Another process records the result meanwhile.
    Found,
    Failed,
    Unstable,
    NotBegun,
    /// Lost; its outcome comes all the same, when it is executed again already.
    LostAndLate,
    Lost,
}

/// Says what becomes of a try, the first being 0.
type Fates = fn(&str, u32) -> Fate;

fn mixed(instance: &str, attempt: u32) -> Fate {
    let chance = Digest::of(instance.as_bytes()).0[0];
    match (chance, attempt) {
        (0..40, 0) => Fate::MadeTwice,
        (40..60, 0) => Fate::Found,
        (60..90, 0) => Fate::LostAndLate,
        (90..110, 0 | 1) => Fate::Lost,
        (110..114, _) => Fate::Failed,
        (114..118, _) => Fate::Unstable,
        (118..120, _) => Fate::NotBegun,
        _ => Fate::Made,
    }
}

/// As it comes out at another place.
fn sent<T: Serialize + DeserializeOwned>(what: &T) -> T {
    serde_json::from_str(&serde_json::to_string(what).unwrap()).unwrap()
}

enum Call {
    Begin(Box<Order>),
    Stop(OrderId),
}

/// Answers in the order of a time of its own.
struct Simulated {
    to_clock: Sender<Call>,
    fates: Fates,
    tries: Arc<Mutex<HashMap<Digest, u32>>>,
    held: Held,
    recorder: Recorder,
    /// How often devices were asked for.
    asked: u32,
    /// By orders that are about to begin.
    reserved: BTreeSet<OrderId>,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let reserved = &self.reserved;
        assert!(
            reserved.is_empty() || std::thread::panicking(),
            "devices are lost: {reserved:?}"
        );
    }
}

/// Bytes that were made, and neither recorded nor discarded yet.
type Held = Arc<Mutex<HashMap<OrderId, Staged>>>;

impl Simulated {
    fn new(store: Arc<Store>, fates: Fates, tell: Tell) -> Simulated {
        let (to_clock, orders) = channel();
        let held = Held::default();
        let recorder = Recorder::start(store.clone(), tell.clone()).unwrap();
        let tries: Arc<Mutex<HashMap<Digest, u32>>> = Arc::default();
        let clock = Clock {
            store,
            fates,
            tell,
            tries: tries.clone(),
            held: held.clone(),
            now: 0,
            last: 0,
            answers: BinaryHeap::new(),
            told: BTreeMap::new(),
        };
        std::thread::spawn(move || clock.run(&orders));
        Simulated {
            to_clock,
            fates,
            tries,
            held,
            recorder,
            asked: 0,
            reserved: BTreeSet::new(),
        }
    }
}

impl Executor for Simulated {
    fn capacity(&self) -> Capacity {
        Capacity {
            cpus: 16,
            memory_bytes: 1 << 40,
            gpus: 0,
            is_elastic: false,
        }
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(vec!["simulated".to_owned()])
    }

    fn reserve(&mut self, order: OrderId, _: &Policy, _: Option<u32>) -> Reserved {
        self.asked += 1;
        if self.asked.is_multiple_of(7) {
            return Reserved::ByThisRun;
        }
        assert!(self.reserved.insert(order), "it is reserved already");
        Reserved::Yes
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        assert!(self.reserved.contains(&order.id), "nothing is reserved");
        let tries = self.tries.lock().unwrap();
        let attempt = tries.get(&order.key.digest).copied().unwrap_or(0);
        drop(tries);
        anyhow::ensure!(
            (self.fates)(&order.instance, attempt) != Fate::NotBegun,
            "there is no place"
        );
        self.reserved.remove(&order.id);
        self.to_clock.send(Call::Begin(Box::new(sent(&order))))?;
        Ok(())
    }

    fn stop(&mut self, order: OrderId) {
        // The clock stops when nothing was asked of it for long.
        let _ = self.to_clock.send(Call::Stop(order));
    }

    fn record(&mut self, order: OrderId, record: Record) {
        let staged = self.held.lock().unwrap().remove(&order);
        let staged =
            staged.expect("what was made is recorded once, and not after it was discarded");
        self.recorder.record(Landing {
            order,
            pending: Pending { record, staged },
            lock: None,
        });
    }

    fn discard(&mut self, order: OrderId) {
        self.reserved.remove(&order);
        self.held.lock().unwrap().remove(&order);
    }
}

struct Clock {
    store: Arc<Store>,
    fates: Fates,
    tell: Tell,
    tries: Arc<Mutex<HashMap<Digest, u32>>>,
    held: Held,
    now: u64,
    last: u64,
    /// By time; the number tells answers of one moment apart.
    answers: BinaryHeap<Reverse<(u64, u64)>>,
    told: BTreeMap<u64, (OrderId, Heard)>,
}

impl Clock {
    fn run(mut self, calls: &Receiver<Call>) {
        loop {
            match calls.try_recv() {
                Ok(call) => {
                    self.take(call);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            if let Some(Reverse((at, number))) = self.answers.pop() {
                self.now = at;
                let Some((order, heard)) = self.told.remove(&number) else {
                    return;
                };
                (self.tell)(order, sent(&heard));
            } else {
                match calls.recv_timeout(Duration::from_secs(60)) {
                    Ok(call) => self.take(call),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    fn answer(&mut self, after: u64, order: OrderId, heard: Heard) {
        self.last += 1;
        self.answers.push(Reverse((self.now + after, self.last)));
        self.told.insert(self.last, (order, heard));
    }

    fn outcome(&mut self, after: u64, order: OrderId, outcome: Outcome) {
        self.answer(after, order, Heard::Outcome(Box::new(outcome)));
    }

    fn take(&mut self, call: Call) {
        match call {
            Call::Begin(order) => self.begin(&order),
            Call::Stop(order) => {
                // Whatever else it would tell comes after its time.
                self.outcome(0, order, Outcome::Cancelled);
            }
        }
    }

    fn begin(&mut self, order: &Order) {
        let mut tries = self.tries.lock().unwrap();
        let attempt = tries.entry(order.key.digest).or_insert(0);
        let fate = (self.fates)(&order.instance, *attempt);
        *attempt += 1;
        drop(tries);
        let id = order.id;
        let after = 1 + u64::from(order.key.digest.0[1]);
        self.answer(0, id, Heard::Note(Note::Line("begun".to_owned())));
        let lost = Outcome::Lost {
            why: "the node is gone".to_owned(),
        };
        match fate {
            Fate::Made => self.made(after, order),
            Fate::MadeTwice => {
                self.made(after, order);
                let (record, _) = self.result(order);
                self.outcome(after + 500, id, made_of(order, record));
            }
            Fate::Found => {
                let (record, staged) = self.result(order);
                for committed in self.store.commit(vec![Pending { record, staged }]) {
                    committed.unwrap();
                }
                self.outcome(after, id, Outcome::Found);
            }
            Fate::Failed | Fate::NotBegun => {
                let failed = Failed {
                    message: "it failed".to_owned(),
                    hint: None,
                    lacked_memory: false,
                };
                self.outcome(after, id, Outcome::Failed(failed));
            }
            Fate::Unstable => {
                let moved = Moved {
                    what: "x".into(),
                    before: "a".into(),
                    after: "b".into(),
                };
                self.outcome(after, id, Outcome::Unstable(moved));
            }
            Fate::LostAndLate => {
                self.outcome(after, id, lost);
                self.made(after + 100, order);
            }
            Fate::Lost => self.outcome(after, id, lost),
        }
    }

    fn made(&mut self, after: u64, order: &Order) {
        let (record, staged) = self.result(order);
        self.held.lock().unwrap().insert(order.id, staged);
        self.outcome(after, order.id, made_of(order, record));
    }

    /// What an order gives follows from its key.
    fn result(&self, order: &Order) -> (Record, Staged) {
        let mut all = Staged::default();
        let mut outputs = BTreeMap::new();
        for output in order.outputs.iter() {
            let bytes = format!("{} {}", order.key.digest, output.name);
            let (content, staged) = self.store.absorb_bytes(bytes.as_bytes()).unwrap();
            all.merge(staged);
            outputs.insert(output.name.to_string(), content);
        }
        let record = Record {
            key: order.key.digest,
            preimage: order.key.preimage.clone(),
            outputs,
            observation: json!({"wall_s": 1.0}).into(),
        };
        (record, all)
    }
}

fn made_of(order: &Order, record: Record) -> Outcome {
    let outputs = order.outputs.iter();
    Outcome::Made(Box::new(Made {
        outputs: outputs.map(|o| record.outputs[&*o.name]).collect(),
        record,
        usage: Usage::default(),
        figures: BTreeMap::new(),
        pins: BTreeMap::new(),
        resumed_from: None,
        sandbox: "off".to_owned(),
    }))
}

/// Chains of three, and one stage that gathers the ends of all.
const STUDY: &str = r#"version: 1
stages:
  first: {matrix: {i: {range: [0, COUNT]}}, run: "x ${matrix.i} > ${outputs.o}", outputs: {o: o}}
  second: {matrix: {i: {range: [0, COUNT]}}, needs: {a: first.o}, run: "x ${needs.a}", outputs: {o: o}, resources: {cpus: 2}}
  third: {matrix: {i: {range: [0, COUNT]}}, needs: {a: second.o}, run: "x ${needs.a}", outputs: {o: o}, resources: {mutex: disk}}
  all: {needs: {a: "third[*].o"}, run: "x ${needs.a.list}", outputs: {o: o}}
"#;

fn session(dir: &Path, count: usize) -> Session {
    let file = dir.join("pipeline.yaml");
    std::fs::write(&file, STUDY.replace("COUNT", &count.to_string())).unwrap();
    let mut opening = Opening::new(Arc::new(Catalog::without_kinds(|_| Ok(<_>::default()))));
    opening.file = Some(file);
    opening.store = Some(dir.join("store"));
    opening.session_to_run().unwrap()
}

fn options(on_failure: OnFailure) -> RunOptions {
    RunOptions {
        targets: Vec::new(),
        jobs: None,
        on_failure,
        reuse: Reuse::Recorded,
        dry_run: false,
        offline: true,
        device: None,
        sharing: None,
        why_no_remote: String::new(),
        args: Vec::new(),
        cancel: Arc::new(Cancel::new().unwrap()),
        executable: "/nonexistent".into(),
        given: HashMap::new(),
    }
}

/// The report, and the instances that finished, in their order.
fn run(
    session: &mut Session,
    options: &RunOptions,
    fates: Fates,
    hear: &mut dyn FnMut(&Event),
) -> (RunReport, Vec<String>) {
    let mut finished = Vec::new();
    let store = session.store.clone();
    let mut sink = |event: &Event| {
        if let Event::Finished { instance, .. } = event {
            finished.push(instance.clone());
        }
        hear(event);
    };
    let report = run_on(session, options, &mut sink, |tell| {
        Box::new(Simulated::new(store, fates, tell))
    });
    (report.unwrap(), finished)
}

/// What becomes of an instance at last: whether it has a result, and whether it failed itself.
fn ends_well(instance: &str) -> bool {
    let fate = mixed(instance, 9);
    !matches!(fate, Fate::Failed | Fate::Unstable | Fate::NotBegun)
}

/// Runs so many chains with everything that can go wrong. How many answers came to the scheduler.
fn all_end_as_foreseen(count: usize) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let answers = Arc::new(AtomicU64::new(0));
    let mut session = session(dir.path(), count);
    let (options, counted) = (options(OnFailure::KeepGoing), answers.clone());
    let mut finished = Vec::new();
    let mut sink = |event: &Event| {
        if let Event::Finished { instance, .. } = event {
            finished.push(instance.clone());
        }
    };
    let store = session.store.clone();
    let report = run_on(&mut session, &options, &mut sink, |tell: Tell| {
        let count = move |order, heard| {
            counted.fetch_add(1, Ordering::Relaxed);
            tell(order, heard);
        };
        Box::new(Simulated::new(store, mixed, Arc::new(count)))
    });
    let report = report.unwrap();
    let (mut good, mut failed, mut found) = (BTreeSet::new(), 0, 0);
    for i in 0..count {
        for stage in ["first", "second", "third"] {
            let id = format!("{stage}[i={i}]");
            if !ends_well(&id) {
                failed += 1;
                break;
            }
            match mixed(&id, 0) {
                Fate::Found => found += 1,
                _ => assert!(good.insert(id)),
            }
        }
    }
    assert!(failed > 10 && found > 10, "{failed} {found}");
    let summary = &report.summary;
    assert_eq!(summary.failed + summary.unstable, failed);
    assert_eq!(summary.executed, good.len() as u64);
    assert_eq!(summary.cached, found);
    let reached = summary.executed + summary.cached + failed;
    assert_eq!(reached + summary.skipped, 3 * count as u64 + 1);
    assert_eq!(BTreeSet::from_iter(finished.iter().cloned()), good);
    assert_eq!(finished.len(), good.len(), "one finished twice");
    assert!(!report.store_broken);
    answers.load(Ordering::Relaxed)
}

#[test]
fn every_order_ends_as_foreseen_and_nothing_is_recorded_twice() {
    assert!(all_end_as_foreseen(300) > 2_000);
}

/// The same with a million answers: only with `REPRO_EXHAUSTIVE=1`, minutes.
#[test]
fn a_million_answers_end_as_foreseen() {
    if std::env::var_os("REPRO_EXHAUSTIVE").is_none() {
        return;
    }
    let begun = std::time::Instant::now();
    let answers = all_end_as_foreseen(125_000);
    println!("{answers} answers in {:?}", begun.elapsed());
    assert!(answers > 1_000_000, "{answers}");
}

#[test]
fn a_place_that_loses_everything_is_not_tried_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = session(dir.path(), 3);
    let mut told = Vec::new();
    let lost: Fates = |_, _| Fate::Lost;
    let (report, finished) = run(
        &mut session,
        &options(OnFailure::KeepGoing),
        lost,
        &mut |event| {
            if let Event::Failed { message, .. } = event {
                told.push(message.clone());
            }
        },
    );
    assert_eq!((report.summary.failed, report.summary.skipped), (3, 7));
    assert_eq!(finished.len(), 0);
    assert!(told.iter().all(|m| m.contains("lost 5 times")), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Interrupted at any event, a run ends, and the next one goes on from there.
    #[test]
    fn an_interrupted_run_ends_and_the_next_goes_on(after in 1usize..200) {
        let dir = tempfile::tempdir().unwrap();
        let mut session = session(dir.path(), 20);
        let interrupted = options(OnFailure::KeepGoing);
        let cancel = interrupted.cancel.clone();
        let mut events = 0;
        let made: Fates = |_, attempt| match attempt {
            0 => Fate::LostAndLate,
            _ => Fate::Made,
        };
        let (report, first) = run(&mut session, &interrupted, made, &mut |_| {
            events += 1;
            if events == after {
                cancel.raise(CancelLevel::Now);
            }
        });
        prop_assert_eq!(report.summary.executed, first.len() as u64);
        let (report, then) = run(&mut session, &options(OnFailure::KeepGoing), made, &mut |_| {});
        prop_assert_eq!(report.summary.cached, first.len() as u64);
        prop_assert_eq!(first.len() + then.len(), 61);
    }
}

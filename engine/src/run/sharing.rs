//! The remote in a run. Results are asked for in waves while other things go on; a believed result serves as it is, and its
//! bytes are fetched only when `artifacts/` shows them or something that is executed needs them. Bytes that cannot be had are made
//! again, and compared with what was published. What was executed is published meanwhile.
//!
//! Threads of their own talk to the remote ([`Desk`]); all decisions are made here, on the scheduler's.

mod desk;
mod fetching;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(super) use desk::Desk;

use super::scheduler::{Miss, Scheduler, State};
use crate::digest::{Content, Digest};
use crate::exec::CancelLevel;
use crate::graph::Graph;
use crate::index::Known;
use crate::plan::InstanceIndex;
use crate::record::elsewhere::WayBack;
use crate::record::event::{Event, Reason, RemoteSummary};
use crate::record::published::OnRemote;
use crate::remote::layout::Scope;
use crate::remote::link::Link;
use crate::remote::lookup::{Answer, Believed, Why};
use crate::remote::publish::{Publication, Published};
use crate::session::{Hit, outputs_of, wall_s};
use crate::store::{Record, Store};
use crate::trust::{Facts, Signer, Trust};

/// How often it is told what was moved.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The remote of a run.
#[derive(Clone)]
pub struct Sharing {
    /// The way to it.
    pub link: Arc<Link>,
    /// What is got from it.
    pub pull: Option<Pull>,
    /// Results are published.
    pub push: Option<Push>,
    /// What the link warns of, until it is shown.
    pub warnings: Arc<Mutex<Vec<String>>>,
}

/// What is got from a remote.
#[derive(Clone)]
pub enum Pull {
    /// Bytes of results that are known here already: nothing is asked.
    Known,
    /// Results are looked up too, and believed by this.
    Asked(Arc<Trust>),
}

/// How results are published.
#[derive(Clone)]
pub struct Push {
    /// Who vouches; without one they are published unsigned.
    pub signer: Option<Arc<Signer>>,
}

/// Whose outputs `artifacts/` has to show: those asked for by name, or those nothing else needs.
pub(super) fn shown(
    graph: &Graph,
    instances: usize,
    targets: &[InstanceIndex],
    whole: bool,
) -> Vec<bool> {
    let mut shown = vec![false; instances];
    for target in targets {
        shown[target.0 as usize] = !whole || graph.consumers(*target).next().is_none();
    }
    shown
}

/// Who waits for bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiter {
    /// An instance that needs them to be executed.
    Consumer(InstanceIndex),
    /// An instance that takes a part of a directory, and whose key is known only when that is here.
    Opener(InstanceIndex),
    /// An instance that shows them.
    Shown(InstanceIndex),
}

/// What of the results is on the remote, and what is under way.
pub(super) struct Away {
    shown: Vec<bool>,
    /// Results that serve, though their bytes may not be here; where this run was told of them, by whom.
    results: BTreeMap<InstanceIndex, Option<Box<Believed>>>,
    /// Have to be executed: their bytes could not be had.
    given_up: BTreeSet<InstanceIndex>,
    /// What was published of those.
    expected: BTreeMap<InstanceIndex, Arc<[Content]>>,
    /// To be resolved anew.
    again: Vec<InstanceIndex>,
    /// The next wave.
    questions: Vec<(InstanceIndex, Digest)>,
    asked: BTreeMap<InstanceIndex, Miss>,
    here: HashSet<Content>,
    in_flight: BTreeMap<Content, Vec<Waiter>>,
    gathering: BTreeMap<InstanceIndex, (Miss, BTreeSet<Content>)>,
    opening: BTreeMap<InstanceIndex, BTreeSet<Content>>,
    showing: BTreeMap<InstanceIndex, BTreeSet<Content>>,
    reasons_told: BTreeSet<String>,
    /// What the remote is known to have, where results are published.
    on_remote: Option<OnRemote>,
    /// What is being published, in that order.
    publishing: VecDeque<Digest>,
    published: u64,
    hits: u64,
    told: (Instant, u64, u64),
}

impl Away {
    pub fn new(shown: Vec<bool>) -> Away {
        Away {
            shown,
            results: BTreeMap::new(),
            given_up: BTreeSet::new(),
            expected: BTreeMap::new(),
            again: Vec::new(),
            questions: Vec::new(),
            asked: BTreeMap::new(),
            here: HashSet::new(),
            in_flight: BTreeMap::new(),
            gathering: BTreeMap::new(),
            opening: BTreeMap::new(),
            showing: BTreeMap::new(),
            reasons_told: BTreeSet::new(),
            on_remote: None,
            publishing: VecDeque::new(),
            published: 0,
            hits: 0,
            told: (Instant::now(), 0, 0),
        }
    }

    /// Nothing is under way that could change the state of an instance.
    pub fn is_quiet(&self) -> bool {
        self.questions.is_empty()
            && self.asked.is_empty()
            && self.in_flight.is_empty()
            && self.again.is_empty()
    }

    /// The remote was asked something and has not answered yet.
    pub fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Something is on its way to the remote.
    pub fn is_publishing(&self) -> bool {
        !self.publishing.is_empty()
    }

    /// It has to be executed, whatever the remote says.
    pub fn is_given_up(&self, index: InstanceIndex) -> bool {
        self.given_up.contains(&index)
    }
}

impl Scheduler<'_> {
    /// Begins to use the remote.
    pub(super) fn open_desk(&mut self, sharing: &Sharing) {
        let desk = Desk::open(sharing, &self.session.store, &self.to_main);
        if desk.publishes() && !self.options.dry_run {
            let scope = way_back(&desk.link).scope.unwrap_or_default();
            let storage = format!("{} {scope}", desk.link.describe());
            let state = self.session.project.state();
            let on_remote = OnRemote::load(&state, desk.link.name(), storage.trim_end());
            self.away.on_remote = Some(on_remote);
        }
        self.desk = Some(desk);
    }

    /// Whether the remote is to be asked before this is executed.
    pub(super) fn asks(&self, index: InstanceIndex) -> bool {
        self.desk.as_ref().is_some_and(Desk::asks)
            && !self.forced[index.0 as usize]
            && !self.away.is_given_up(index)
    }

    pub(super) fn ask(&mut self, index: InstanceIndex, miss: Miss) {
        self.states[index.0 as usize] = State::Asking;
        self.away.questions.push((index, miss.key.digest));
        self.away.asked.insert(index, miss);
    }

    /// Sends the next wave, and looks again at what has to be executed after all.
    pub(super) fn send_questions(&mut self) {
        while let Some(index) = self.away.again.pop() {
            let i = index.0 as usize;
            if self.states[i] == State::Waiting && self.waiting_for[i] == 0 {
                self.resolve(index);
            }
        }
        let wave = std::mem::take(&mut self.away.questions);
        if let Some(desk) = self.desk.as_ref().filter(|_| !wave.is_empty()) {
            desk.ask(wave);
        }
        self.tell_transfer();
    }

    pub(super) fn answered(&mut self, index: InstanceIndex, key: &Digest, answer: Answer) {
        let i = index.0 as usize;
        // It may have become another action meanwhile.
        let is_about = |miss: &Miss| miss.key.digest == *key;
        if self.states[i] != State::Asking || !self.away.asked.get(&index).is_some_and(is_about) {
            return;
        }
        let Some(miss) = self.away.asked.remove(&index) else {
            return;
        };
        match answer {
            Answer::Hit(believed) => {
                let instance = self.session.plan.instance(index);
                match outputs_of(instance, &believed.record) {
                    Some(outputs) => {
                        let hit = Hit {
                            key: *key,
                            outputs,
                            wall_s: wall_s(&believed.record),
                            ambiguous: false,
                            believed_under: Some(self.session.believer.stamp()),
                        };
                        self.hit_elsewhere(index, hit, Some(believed));
                    }
                    None => self.missed(index, miss),
                }
            }
            Answer::Miss(why) => {
                if let Why::Disbelieved(reason) = why
                    && self.away.reasons_told.insert(reason.clone())
                    && let Some(desk) = &self.desk
                {
                    let id = &self.session.plan.instance(index).id;
                    desk.link
                        .warning(&format!("its result of `{id}` is not used: {reason}"));
                }
                self.missed(index, miss);
            }
        }
    }

    /// No result serves: its inputs have to be here, then it is executed.
    pub(super) fn missed(&mut self, index: InstanceIndex, miss: Miss) {
        let i = index.0 as usize;
        let absent = self.absent_inputs(index, &miss);
        let fetches = self.desk.as_ref().is_some_and(Desk::fetches);
        if self.options.dry_run && (fetches || absent.is_empty()) {
            self.states[i] = State::Ready;
            self.summary.executed += 1;
            let is_forced = miss.reason == Reason::Forced;
            let event = Event::Planned {
                instance: self.id(index),
                reason: miss.reason,
            };
            self.say(event);
            if !is_forced {
                self.foresee(index, &miss.key.digest);
            }
            return;
        }
        if absent.is_empty() {
            self.make_ready(index, miss);
            return;
        }
        if fetches {
            self.states[i] = State::Gathering;
            for (_, content) in &absent {
                self.request(*content, Waiter::Consumer(index));
            }
            let open = absent.into_iter().map(|(_, content)| content).collect();
            self.away.gathering.insert(index, (miss, open));
        } else {
            self.states[i] = State::Waiting;
            let producers: BTreeSet<InstanceIndex> = absent.into_iter().map(|(p, _)| p).collect();
            let why = self.options.why_no_remote.clone();
            for producer in producers {
                self.make_again(producer, &why);
            }
        }
    }

    /// A result serves whose bytes are on the remote. `believed` where this run was told of it.
    pub(super) fn hit_elsewhere(
        &mut self,
        index: InstanceIndex,
        hit: Hit,
        believed: Option<Box<Believed>>,
    ) {
        let i = index.0 as usize;
        let is_shown = self.away.shown[i];
        let absent: BTreeSet<Content> = if is_shown {
            let outputs = hit.outputs.iter().copied();
            outputs.filter(|c| !self.is_here(c)).collect()
        } else {
            BTreeSet::new()
        };
        let fetches = self.desk.as_ref().is_some_and(Desk::fetches);
        if !absent.is_empty() && !fetches {
            self.away.given_up.insert(index);
            self.away.again.push(index);
            self.states[i] = State::Waiting;
            return;
        }
        let is_shown = is_shown && !self.options.dry_run;
        let id = self.session.plan.instance(index).id.clone();
        let known = self.session.index.get(&id);
        let changed = known.is_none_or(|known| known.key != hit.key);
        let known = Known {
            key: hit.key,
            outputs: hit.outputs.clone(),
            wall_s: hit.wall_s,
            elsewhere: true,
            believed_under: hit.believed_under,
        };
        self.session.index.set(&id, known);
        if let (Some(believed), false) = (&believed, self.options.dry_run) {
            self.remember(believed);
        }
        self.keys[i] = Some(hit.key);
        self.summary.cached += 1;
        self.summary.elsewhere += 1;
        self.summary.saved_s += f64::from(hit.wall_s);
        self.away.hits += u64::from(believed.is_some());
        self.states[i] = State::Done;
        let remote = believed.as_ref().and(self.desk.as_ref());
        let remote = remote.map(|d| d.link.name().to_owned());
        self.away.results.insert(index, believed);
        self.results[i] = Some(hit.outputs.into());
        if is_shown {
            for content in &absent {
                self.request(*content, Waiter::Shown(index));
            }
            let is_all_here = absent.is_empty();
            self.away.showing.insert(index, absent);
            if is_all_here {
                self.show_fetched(index);
            }
        } else {
            let event = Event::Cached {
                instance: id.to_string(),
                key: hit.key.hex(),
                saved_s: f64::from(hit.wall_s),
                restored: false,
                changed,
                remote,
            };
            self.say(event);
        }
        self.release_consumers(index);
    }

    /// Other commands, and later runs, know of the result too. Losing it costs a question.
    fn remember(&self, believed: &Believed) {
        let elsewhere = &self.session.elsewhere;
        let _ = elsewhere.remember(&believed.record, &believed.envelopes);
        if let Some(desk) = &self.desk {
            let _ = elsewhere.note_way(&way_back(&desk.link));
        }
    }

    /// What was made again must be what was published.
    pub(super) fn compare_with_remote(&mut self, index: InstanceIndex, outputs: &[Content]) {
        if let Some(expected) = self.away.expected.remove(&index)
            && *expected != *outputs
        {
            let instance = Some(self.id(index));
            let text = "executed again, it gave other bytes than the result that was published: it is not deterministic, \
                        or one of the two machines is wrong (`repro verify` tells more)"
                .to_owned();
            self.say(Event::Warning { instance, text });
        }
    }

    /// Publishes what was executed, in the background.
    pub(super) fn publish(&mut self, index: InstanceIndex) {
        if let (Some(record), Some(desk)) = (self.to_publish.remove(&index), &self.desk) {
            let name = OnRemote::name(&record.key, record.outputs.values());
            desk.publish(record);
            self.away.publishing.push_back(name);
        }
    }

    /// Publishes a result that was here already, unless the remote is known to have it: what was executed may stand on it.
    pub(super) fn publish_cached(&mut self, index: InstanceIndex, hit: &Hit) {
        let Some(on_remote) = &self.away.on_remote else {
            return;
        };
        if on_remote.has(&OnRemote::name(&hit.key, hit.outputs.iter())) {
            return;
        }
        let instance = self.session.plan.instance(index);
        if let Some(record) = self.session.record_of(instance, hit) {
            self.to_publish.insert(index, record);
            self.publish(index);
        }
    }

    pub(super) fn published(&mut self, outcomes: Vec<Result<Published, String>>) {
        for outcome in outcomes {
            let name = self.away.publishing.pop_front();
            if let (Ok(_), Some(name), Some(on_remote)) = (&outcome, name, &mut self.away.on_remote)
            {
                on_remote.add(name);
            }
            match outcome {
                Ok(Published::New) => self.away.published += 1,
                Ok(Published::Known) => {}
                Ok(Published::Diverged { .. }) => {
                    self.away.published += 1;
                    let text = "the remote has another result for the same inputs as one that was executed now; it has both \
                                now, and `repro verify` can tell which is right"
                        .to_owned();
                    let instance = None;
                    self.say(Event::Warning { instance, text });
                }
                Err(why) => {
                    if let Some(desk) = &self.desk {
                        desk.link
                            .doubt(&format!("a result is not published: {why}"));
                    }
                }
            }
        }
    }

    /// Nothing is left to be published; or the user waits no longer.
    pub(super) fn has_published(&self) -> bool {
        !self.away.is_publishing() || self.options.cancel.level() != CancelLevel::None
    }

    /// Says what was moved, now and then, and what is wrong with the remote.
    pub(super) fn tell_transfer(&mut self) {
        let Some(desk) = &self.desk else { return };
        let moved = desk.link.moved();
        let (at, received, sent) = self.away.told;
        let is_new = (moved.received, moved.sent) != (received, sent);
        let transfer = (is_new && at.elapsed() >= TELL_EVERY).then_some(Event::Transfer {
            received: moved.received,
            sent: moved.sent,
            fetching: self.away.in_flight.len() as u64,
            publishing: self.away.publishing.len() as u64,
        });
        let warnings = desk.take_warnings();
        for text in warnings {
            self.say(Event::Warning {
                instance: None,
                text,
            });
        }
        if let Some(transfer) = transfer {
            self.away.told = (Instant::now(), moved.received, moved.sent);
            self.say(transfer);
        }
    }

    /// Takes in what came whole, and writes the remote's part of the summary.
    pub(super) fn sum_up_remote(&mut self) {
        let results = std::mem::take(&mut self.away.results);
        let whole: Vec<(InstanceIndex, Box<Believed>)> = results
            .into_iter()
            .filter_map(|(index, believed)| {
                let outputs = self.results[index.0 as usize].clone()?;
                let mut outputs = outputs.iter();
                if self.away.here.is_empty() || !outputs.all(|c| self.away.here.contains(c)) {
                    return None;
                }
                Some((index, believed.or_else(|| self.remembered(index))?))
            })
            .collect();
        if let Some((first, _)) = whole.first().filter(|_| !self.options.dry_run) {
            self.take_in(*first, whole);
        }
        if let Some(on_remote) = &mut self.away.on_remote {
            on_remote.save();
        }
        if let Some(desk) = &self.desk {
            desk.link.tell_doubts();
        }
        self.tell_transfer();
        if let Some(desk) = &self.desk {
            let moved = desk.link.moved();
            // It stands by in case that bytes are needed: not worth a word where none were.
            if moved.requests == 0 && !desk.asks() && !desk.publishes() {
                return;
            }
            self.summary.remote = Some(RemoteSummary {
                name: desk.link.name().to_owned(),
                hits: self.away.hits,
                published: self.away.published,
                requests: moved.requests,
                bytes_received: moved.received,
                bytes_sent: moved.sent,
                warnings: moved.warnings,
            });
        }
    }
}

/// Where results of this remote came from, for later commands.
pub fn way_back(link: &Link) -> WayBack {
    WayBack {
        remote: link.name().to_owned(),
        scope: match link.scope() {
            Scope::Shared => None,
            Scope::Of(name) => Some(name.to_string()),
        },
    }
}

/// Keeps the signatures of a result that was taken in, to be shown and passed on. Losing them loses no result.
pub fn keep_envelopes(store: &Store, believed: &Believed) {
    let (key, result) = (believed.record.key, believed.record.result());
    for envelope in &believed.envelopes {
        let name = Digest::of(envelope).hex();
        let _ = store.keep_envelope(&key, &result, &name, envelope);
    }
}

/// A record with the signatures it is published with: one's own where it was executed here, those it came with otherwise.
/// One's own is kept beside the record too, for bundles and for `why`.
pub fn publication(store: &Store, signer: Option<&Signer>, record: Record) -> Publication {
    let mut signatures = Vec::new();
    for envelope in store.envelopes(&record.key, &record.result()) {
        if let Ok(name) = Digest::of(&envelope).hex().parse() {
            signatures.push((name, envelope));
        }
    }
    if let Some(signer) = signer.filter(|_| crate::trust::is_own(&record)) {
        let envelope = signer.sign(&record, &Facts::of(&record));
        let id = signer.id().to_string();
        let _ = store.keep_envelope(&record.key, &record.result(), &id, &envelope);
        if let Ok(name) = id.parse() {
            signatures.retain(|(_, e)| *e != envelope);
            signatures.push((name, envelope));
        }
    }
    Publication { record, signatures }
}

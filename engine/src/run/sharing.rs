//! The remote in a run. Results are asked for in waves while other things go on; a believed result
//! serves as it is, and its bytes are fetched only when `artifacts/` shows them or something that
//! is executed needs them. Bytes that cannot be had are made again, and compared with what was
//! published. What was executed is published meanwhile.
//!
//! Threads of their own talk to the remote ([`desk`]). [`Away`] keeps what is under way and says
//! what follows; the scheduler does it (in [`super::elsewhere`]).

mod desk;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use desk::Desk;

use super::message::Message;
use crate::digest::{Content, Digest};
use crate::graph::Graph;
use crate::lookup::{Answer, Believed, Why};
use crate::plan::{Instance, InstanceIndex, Source};
use crate::record::elsewhere::WayBack;
use crate::record::event::{Event, RemoteSummary};
use crate::record::published::OnRemote;
use crate::remote::layout::Scope;
use crate::remote::link::Link;
use crate::remote::publish::{Publication, Published};
use crate::remote::reading::Unread;
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
pub(super) enum Waiter {
    /// An instance that needs them to be executed.
    Consumer(InstanceIndex),
    /// An instance that takes a part of a directory, and whose key is known only when that is here.
    Opener(InstanceIndex),
    /// An instance that shows them.
    Shown(InstanceIndex),
}

/// What is to be done before an action can be executed.
pub(super) enum Inputs {
    /// Nothing: all bytes are here.
    Here,
    /// These come from the remote.
    Gather(BTreeSet<Content>),
    /// These producers are executed again: their bytes cannot be had.
    Lost(BTreeSet<InstanceIndex>),
}

/// What of the results is on the remote, and what is under way.
pub(super) struct Away {
    desk: Option<Desk>,
    shown: Vec<bool>,
    /// Results that serve, though their bytes may not be here; where this run was told of them, by
    /// whom.
    results: BTreeMap<InstanceIndex, Option<Box<Believed>>>,
    /// Have to be executed: their bytes could not be had.
    given_up: BTreeSet<InstanceIndex>,
    /// What was published of those.
    expected: BTreeMap<InstanceIndex, Arc<[Content]>>,
    /// The next wave.
    questions: Vec<(InstanceIndex, Digest)>,
    here: HashSet<Content>,
    in_flight: BTreeMap<Content, Vec<Waiter>>,
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
    pub fn new(
        shown: Vec<bool>,
        sharing: Option<&Sharing>,
        store: &Arc<Store>,
        to_main: &Sender<Message>,
    ) -> Away {
        Away {
            desk: sharing.map(|sharing| Desk::open(sharing, store, to_main)),
            shown,
            results: BTreeMap::new(),
            given_up: BTreeSet::new(),
            expected: BTreeMap::new(),
            questions: Vec::new(),
            here: HashSet::new(),
            in_flight: BTreeMap::new(),
            showing: BTreeMap::new(),
            reasons_told: BTreeSet::new(),
            on_remote: None,
            publishing: VecDeque::new(),
            published: 0,
            hits: 0,
            told: (Instant::now(), 0, 0),
        }
    }

    /// Remembers, with the project, what the remote has, so that it is published once.
    pub fn remember_published(&mut self, state: &Path) {
        if let Some(desk) = self.desk.as_ref().filter(|desk| desk.publishes()) {
            let scope = way_back(&desk.link).scope.unwrap_or_default();
            let storage = format!("{} {scope}", desk.link.describe());
            let name = desk.link.name();
            self.on_remote = Some(OnRemote::load(state, name, storage.trim_end()));
        }
    }

    /// Nothing is under way that could change the state of an instance that asks nothing.
    pub fn is_quiet(&self) -> bool {
        self.questions.is_empty() && self.in_flight.is_empty()
    }

    /// Bytes of some result may be on the remote only.
    pub fn has_results(&self) -> bool {
        !self.results.is_empty()
    }

    /// It has to be executed, whatever the remote says.
    pub fn is_given_up(&self, index: InstanceIndex) -> bool {
        self.given_up.contains(&index)
    }

    /// Whether the remote is to be asked before this is executed.
    pub fn asks(&self, index: InstanceIndex) -> bool {
        self.desk.as_ref().is_some_and(Desk::asks) && !self.is_given_up(index)
    }

    pub fn fetches(&self) -> bool {
        self.desk.as_ref().is_some_and(Desk::fetches)
    }

    pub fn publishes(&self) -> bool {
        self.desk.as_ref().is_some_and(Desk::publishes)
    }

    pub fn link(&self) -> Option<&Link> {
        self.desk.as_ref().map(|desk| &*desk.link)
    }

    pub fn ask(&mut self, index: InstanceIndex, key: Digest) {
        self.questions.push((index, key));
    }

    /// Sends the next wave: of what was asked, what still wants to know.
    pub fn send_questions(&mut self, wants_to_know: impl Fn(InstanceIndex, &Digest) -> bool) {
        let mut wave = std::mem::take(&mut self.questions);
        wave.retain(|(index, key)| wants_to_know(*index, key));
        if let Some(desk) = self.desk.as_ref().filter(|_| !wave.is_empty()) {
            desk.ask(wave);
        }
    }

    /// The result that an answer offers. Why one is not believed is told once.
    pub fn offered(&mut self, id: &str, answer: Answer) -> Option<Box<Believed>> {
        match answer {
            Answer::Hit(believed) => Some(believed),
            Answer::Miss(why) => {
                if let Why::Disbelieved(reason) = why
                    && self.reasons_told.insert(reason.clone())
                    && let Some(link) = self.link()
                {
                    link.warning(&format!("its result of `{id}` is not used: {reason}"));
                }
                None
            }
        }
    }

    fn is_here(&self, content: &Content, store: &Store) -> bool {
        self.here.contains(content) || store.has(content).unwrap_or(false)
    }

    /// Inputs whose bytes may be on the remote only, with their producers.
    pub fn absent_inputs(
        &self,
        instance: &Instance,
        contents: &[Vec<Content>],
        store: &Store,
    ) -> BTreeSet<(InstanceIndex, Content)> {
        if self.results.is_empty() {
            return BTreeSet::new();
        }
        let items = instance.needs.iter().zip(contents);
        let items = items.flat_map(|(need, contents)| need.items.iter().zip(contents));
        let outputs = items.filter_map(|(item, content)| match &item.source {
            // A directory of which a part is taken is here: else the part would not be known.
            Source::Output { instance, .. } if item.inside.is_none() => Some((*instance, *content)),
            _ => None,
        });
        self.absent(outputs, store)
    }

    /// Those of some outputs whose bytes may be on the remote only.
    pub fn absent(
        &self,
        outputs: impl Iterator<Item = (InstanceIndex, Content)>,
        store: &Store,
    ) -> BTreeSet<(InstanceIndex, Content)> {
        outputs
            .filter(|(producer, _)| self.results.contains_key(producer))
            .filter(|(_, content)| !self.is_here(content, store))
            .collect()
    }

    /// What is to be done before an instance can be executed.
    pub fn inputs(&self, instance: &Instance, contents: &[Vec<Content>], store: &Store) -> Inputs {
        let absent = self.absent_inputs(instance, contents, store);
        match (absent.is_empty(), self.fetches()) {
            (true, _) => Inputs::Here,
            (false, true) => {
                Inputs::Gather(absent.into_iter().map(|(_, content)| content).collect())
            }
            (false, false) => Inputs::Lost(absent.into_iter().map(|(p, _)| p).collect()),
        }
    }

    /// What `artifacts/` is to show of a result and is not here.
    pub fn to_be_shown(
        &self,
        index: InstanceIndex,
        outputs: &[Content],
        store: &Store,
    ) -> Option<BTreeSet<Content>> {
        let absent = outputs.iter().filter(|c| !self.is_here(c, store));
        self.shown[index.0 as usize].then(|| absent.copied().collect())
    }

    /// A result serves, though its bytes may not be here.
    pub fn serves(&mut self, index: InstanceIndex, believed: Option<Box<Believed>>) {
        self.hits += u64::from(believed.is_some());
        self.results.insert(index, believed);
    }

    /// Shows a result as soon as these bytes are here; says whether all are.
    pub fn show(&mut self, index: InstanceIndex, absent: BTreeSet<Content>) -> bool {
        for content in &absent {
            self.fetch(*content, Waiter::Shown(index));
        }
        let is_all_here = absent.is_empty();
        self.showing.insert(index, absent);
        is_all_here
    }

    pub fn fetch(&mut self, content: Content, waiter: Waiter) {
        if let Some(waiters) = self.in_flight.get_mut(&content) {
            waiters.push(waiter);
            return;
        }
        self.in_flight.insert(content, vec![waiter]);
        if let Some(desk) = &self.desk {
            desk.fetch(content, !matches!(waiter, Waiter::Shown(_)));
        }
    }

    /// Bytes came, or did not: who waited for them. What is shown and is not all here goes on
    /// waiting.
    pub fn came(&mut self, content: Content, outcome: &Result<(), Unread>) -> Vec<Waiter> {
        let mut waiters = self.in_flight.remove(&content).unwrap_or_default();
        if outcome.is_ok() {
            self.here.insert(content);
        }
        waiters.retain(|waiter| match waiter {
            Waiter::Consumer(_) | Waiter::Opener(_) => true,
            Waiter::Shown(index) => {
                let Some(open) = self.showing.get_mut(index) else {
                    return false;
                };
                open.remove(&content);
                outcome.is_err() || open.is_empty()
            }
        });
        waiters
    }

    /// Who vouches for a result whose bytes are all here: from now on it is one like any other.
    pub fn take(&mut self, index: InstanceIndex) -> Option<Option<Box<Believed>>> {
        self.showing.remove(&index);
        self.results.remove(&index)
    }

    /// The results all of whose bytes came.
    pub fn take_whole(
        &mut self,
        outputs: impl Fn(InstanceIndex) -> Option<Arc<[Content]>>,
    ) -> Vec<(InstanceIndex, Option<Box<Believed>>)> {
        let results = std::mem::take(&mut self.results);
        let came = |index| {
            let outputs = outputs(index);
            outputs.is_some_and(|outputs| outputs.iter().all(|c| self.here.contains(c)))
        };
        results
            .into_iter()
            .filter(|(index, _)| !self.here.is_empty() && came(*index))
            .collect()
    }

    /// Its bytes cannot be had, so it is executed; `false` where that is known. What was published
    /// of it is kept, to be compared.
    pub fn give_up(&mut self, index: InstanceIndex, outputs: Option<Arc<[Content]>>) -> bool {
        if !self.given_up.insert(index) {
            return false;
        }
        let believed = self.take(index).flatten();
        self.hits -= u64::from(believed.is_some());
        if let Some(outputs) = outputs {
            self.expected.insert(index, outputs);
        }
        true
    }

    /// Whether what was made again is what was published.
    pub fn is_as_expected(&mut self, index: InstanceIndex, outputs: &[Content]) -> bool {
        let expected = self.expected.remove(&index);
        expected.is_none_or(|expected| *expected == *outputs)
    }

    /// Publishes what was executed, in the background.
    pub fn publish(&mut self, record: Record) {
        if let Some(desk) = &self.desk {
            let name = OnRemote::name(&record.key, record.outputs.values());
            desk.publish(record);
            self.publishing.push_back(name);
        }
    }

    /// Results are published, and the remote is not known to have this one.
    pub fn lacks(&self, key: &Digest, outputs: &[Content]) -> bool {
        let on_remote = self.on_remote.as_ref();
        on_remote.is_some_and(|on_remote| !on_remote.has(&OnRemote::name(key, outputs.iter())))
    }

    /// Something is on its way to the remote.
    pub fn is_publishing(&self) -> bool {
        !self.publishing.is_empty()
    }

    /// Counts what was published; says what is to be warned of.
    pub fn published(&mut self, outcomes: Vec<Result<Published, String>>) -> Vec<Event> {
        let mut warnings = Vec::new();
        for outcome in outcomes {
            let name = self.publishing.pop_front();
            if let (Ok(_), Some(name), Some(on_remote)) = (&outcome, name, &mut self.on_remote) {
                on_remote.add(name);
            }
            match outcome {
                Ok(Published::New) => self.published += 1,
                Ok(Published::Known) => {}
                Ok(Published::Diverged { .. }) => {
                    self.published += 1;
                    warnings.push(Event::Warning {
                        instance: None,
                        text: "the remote has another result for the same inputs as one that was executed now; it has both \
                               now, and `repro verify` can tell which is right"
                            .to_owned(),
                    });
                }
                Err(why) => {
                    if let Some(link) = self.link() {
                        link.doubt(&format!("a result is not published: {why}"));
                    }
                }
            }
        }
        warnings
    }

    /// What is wrong with the remote and, now and then, what was moved.
    pub fn news(&mut self) -> Vec<Event> {
        let Some(desk) = &self.desk else {
            return Vec::new();
        };
        let moved = desk.link.moved();
        let (at, received, sent) = self.told;
        let warnings = desk.take_warnings().into_iter();
        let mut news: Vec<Event> = warnings
            .map(|text| Event::Warning {
                instance: None,
                text,
            })
            .collect();
        if (moved.received, moved.sent) != (received, sent) && at.elapsed() >= TELL_EVERY {
            self.told = (Instant::now(), moved.received, moved.sent);
            news.push(Event::Transfer {
                received: moved.received,
                sent: moved.sent,
                fetching: self.in_flight.len() as u64,
                publishing: self.publishing.len() as u64,
            });
        }
        news
    }

    /// The remote's part of the summary, at the end of a run.
    pub fn sum_up(&mut self) -> Option<RemoteSummary> {
        if let Some(on_remote) = &mut self.on_remote {
            on_remote.save();
        }
        let desk = self.desk.as_ref()?;
        let moved = desk.link.moved();
        // It stands by in case that bytes are needed: not worth a word where none were.
        if moved.requests == 0 && !desk.asks() && !desk.publishes() {
            return None;
        }
        Some(RemoteSummary {
            name: desk.link.name().to_owned(),
            hits: self.hits,
            published: self.published,
            requests: moved.requests,
            bytes_received: moved.received,
            bytes_sent: moved.sent,
            warnings: moved.warnings,
        })
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

/// Keeps the signatures of a result that was taken in, to be shown and passed on. Losing them loses
/// no result.
pub fn keep_envelopes(store: &Store, believed: &Believed) {
    let (key, result) = (believed.record.key, believed.record.result());
    for envelope in &believed.envelopes {
        let name = Digest::of(envelope).hex();
        let _ = store.keep_envelope(&key, &result, &name, envelope);
    }
}

/// A record with the signatures it is published with: one's own where it was executed here, those
/// it came with otherwise. One's own is kept beside the record too, for bundles and for `why`.
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

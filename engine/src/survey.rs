//! A survey: the state of every instance now, without executing anything.
//!
//! It asks [`Session::find`], as a run does, so that `status`, `why` and `run` cannot disagree.
//! What another process executes is known from the store's locks, what failed from the journals,
//! which are read only where something has no result.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::demand::Demand;
use crate::digest::{Content, Digest};
use crate::graph::Graph;
use crate::key::Key;
use crate::lineage::{self, Lineage};
use crate::plan::InstanceIndex;
use crate::record::event::{Event, Reason};
use crate::record::journal;
use crate::session::{Found, Hit, Session};
use crate::verdicts::Families;

/// Journals looked at for failures, newest first.
const RUNS_LOOKED_AT: usize = 200;
/// Bytes of their journals that are read.
const BYTES_READ: u64 = 512 << 20;

/// What is true of an instance now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A recorded result serves.
    Cached,
    /// It never had a result, or its result is lost.
    Missing,
    /// It had a result, under another key.
    Stale,
    /// What is part of its key is not known to a command that only looks.
    Unknown,
    /// A process executes it now.
    Running,
    /// It has no result, and a claim decides whether it is needed.
    Held,
    /// Its last execution, with this very key, failed.
    Failed,
}

impl Standing {
    /// All, in the order they are told.
    pub const ALL: [Standing; 7] = [
        Standing::Cached,
        Standing::Held,
        Standing::Running,
        Standing::Stale,
        Standing::Missing,
        Standing::Unknown,
        Standing::Failed,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Cached => "cached",
            Standing::Missing => "missing",
            Standing::Stale => "stale",
            Standing::Unknown => "unknown",
            Standing::Held => "held",
            Standing::Running => "running",
            Standing::Failed => "failed",
        }
    }
}

/// What was found out about an instance.
pub struct Seen {
    /// Its state.
    pub state: Standing,
    /// Its key; `None` where a producer has no result yet.
    pub key: Option<Digest>,
    /// What the key is made of, where no result serves.
    pub preimage: Option<Key>,
    /// The result.
    pub hit: Option<Hit>,
    /// Bytes of the result may be on a remote only.
    pub elsewhere: bool,
    /// Why it would be executed.
    pub reason: Option<Reason>,
    /// Contents of its inputs, where all are known. A result without them is foreseen: it serves if
    /// what it needs and has no result gives again what repro.lock says it gave.
    pub contents: Option<Vec<Vec<Content>>>,
    /// Its inputs cannot be read, or what else is part of its key is not known, and why.
    pub problem: Option<String>,
    /// What was said when its last execution failed, where its state is that.
    pub failure: Option<String>,
}

/// See the module.
pub struct Survey {
    /// By instance; `None` where it was not asked for.
    pub seen: Vec<Option<Seen>>,
    /// The outputs of what is cached.
    pub results: Vec<Option<Arc<[Content]>>>,
    /// The same, and what will be there if others give again what repro.lock says they gave.
    foreseen: Vec<Option<Arc<[Content]>>>,
    /// The keys that go with it.
    keys: Vec<Option<Digest>>,
}

impl Survey {
    /// Looks at `targets` and what they need.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn of(session: &Session, targets: &[InstanceIndex]) -> anyhow::Result<Survey> {
        let graph = Graph::new(&session.plan);
        // Whether a claim has asked for an instance is seen from its looks.
        let claims = session.plan.claims.iter().filter(|c| c.decides_number());
        let looks = claims.flat_map(|claim| claim.looks.iter().map(|look| look.instance));
        let looked_at: Vec<InstanceIndex> = targets.iter().copied().chain(looks).collect();
        let wanted = graph.wanted(&looked_at);
        let n = session.plan.instances.len();
        let mut survey = Survey {
            seen: Vec::with_capacity(n),
            results: vec![None; n],
            foreseen: vec![None; n],
            keys: vec![None; n],
        };
        for (i, is_wanted) in wanted.iter().enumerate() {
            let index = InstanceIndex(i as u32);
            let seen = if *is_wanted {
                Some(survey.look(session, &graph, index)?)
            } else {
                None
            };
            if let Some(hit) = seen.as_ref().and_then(|s| s.hit.as_ref()) {
                survey.results[i] = Some(hit.outputs.clone());
                survey.foreseen[i] = survey.results[i].clone();
            }
            survey.seen.push(seen);
        }
        survey.tell_held(session, &graph);
        survey.tell_running_and_failed(session)?;
        // What was hashed on the way is known to the next command; where that cannot be kept it
        // costs time only.
        let _ = session.stats.save();
        Ok(survey)
    }

    /// What was found out about an instance that was asked for.
    pub fn get(&self, index: InstanceIndex) -> Option<&Seen> {
        self.seen[index.0 as usize].as_ref()
    }

    /// The key of an instance: as it is, or as it will be if what it needs and has no result gives
    /// again what repro.lock says it gave.
    pub fn key(&self, index: InstanceIndex) -> Option<Digest> {
        self.keys[index.0 as usize]
    }

    /// What the inputs of an instance have in common.
    pub fn lineage(&self, session: &Session, index: InstanceIndex) -> Lineage {
        let key_of = |i: InstanceIndex| self.keys[i.0 as usize];
        lineage::of(&session.plan, session.plan.instance(index), key_of)
    }

    fn look(
        &mut self,
        session: &Session,
        graph: &Graph,
        index: InstanceIndex,
    ) -> anyhow::Result<Seen> {
        let instance = session.plan.instance(index);
        let known = session.index.get(&instance.id);
        let without_key = if known.is_some() {
            Standing::Stale
        } else {
            Standing::Missing
        };
        let unknown = || Seen {
            state: without_key,
            key: None,
            preimage: None,
            hit: None,
            elsewhere: false,
            reason: None,
            contents: None,
            problem: None,
            failure: None,
        };
        if let Some(why) = session.why_unknown(instance) {
            return Ok(Seen {
                state: Standing::Unknown,
                problem: Some(why.to_owned()),
                ..unknown()
            });
        }
        // If a producer has no result, the key is not known: at most an earlier result can be
        // shown.
        let first = |of: &[Option<Arc<[Content]>>]| {
            let mut producers = graph.producers(index);
            producers.find(|p| of[p.0 as usize].is_none())
        };
        let behind = first(&self.results).map(|producer| {
            let producer = session.plan.instance(producer).id.to_string();
            Reason::Upstream(producer)
        });
        let upstream = |reason| Seen {
            reason,
            ..unknown()
        };
        if first(&self.foreseen).is_some() {
            return Ok(upstream(behind));
        }
        let contents =
            match session.input_contents(instance, |i| self.foreseen[i.0 as usize].as_ref()) {
                Ok(contents) => contents,
                Err(_) if behind.is_some() => return Ok(upstream(behind)),
                Err(e) => {
                    return Ok(Seen {
                        problem: Some(format!("{e:#}")),
                        ..unknown()
                    });
                }
            };
        let key = session.key(instance, &contents, &self.lineage(session, index));
        self.keys[index.0 as usize] = Some(key.digest);
        // An input that is only foreseen is not there yet.
        let contents = behind.is_none().then_some(contents);
        let found = session.find(instance, key)?;
        let elsewhere = matches!(found, Found::Elsewhere(_));
        if let Found::Miss(miss) = &found {
            self.foreseen[index.0 as usize] = session.foreseen(instance, &miss.key.digest);
        }
        Ok(match found {
            Found::Hit(hit) | Found::Elsewhere(hit) => Seen {
                state: Standing::Cached,
                elsewhere,
                key: Some(hit.key),
                hit: Some(hit),
                contents,
                ..unknown()
            },
            Found::Miss(_) if behind.is_some() => upstream(behind),
            Found::Miss(miss) => {
                let state = if known.is_some_and(|k| k.key != miss.key.digest) {
                    Standing::Stale
                } else {
                    Standing::Missing
                };
                Seen {
                    state,
                    key: Some(miss.key.digest),
                    preimage: Some(miss.key),
                    reason: Some(miss.reason),
                    contents,
                    ..unknown()
                }
            }
        })
    }

    /// What no claim has asked for, as far as results tell. A run of everything leaves it out.
    fn tell_held(&mut self, session: &Session, graph: &Graph) {
        let plan = &session.plan;
        let Ok(mut demand) = Demand::of(plan, &[]) else {
            return;
        };
        if demand.is_settled() {
            return;
        }
        let families = Families::of(plan.claims.iter());
        for (at, claim) in plan
            .claims
            .iter()
            .enumerate()
            .filter(|(_, c)| c.decides_number())
        {
            for look in &claim.looks {
                let result = self.results[look.instance.0 as usize].as_ref();
                let output = result.and_then(|outputs| outputs.first());
                // Nothing is known of a verdict whose bytes are elsewhere.
                let is_open = output.is_some_and(|output| {
                    let is_open = families.leaves_open(&session.store, claim, output);
                    is_open.unwrap_or(false)
                });
                if !is_open {
                    break;
                }
                demand.ask(plan, at);
            }
        }
        let asked = graph.wanted(&demand.targets(plan, graph));
        for (seen, is_asked) in self.seen.iter_mut().zip(asked) {
            if let Some(seen) = seen
                && let (Standing::Missing | Standing::Stale, false) = (seen.state, is_asked)
            {
                seen.state = Standing::Held;
                seen.reason = None;
            }
        }
    }

    fn tell_running_and_failed(&mut self, session: &Session) -> anyhow::Result<()> {
        let mut open: HashMap<String, Vec<usize>> = HashMap::new();
        let running: HashSet<Digest> = session
            .store
            .running_actions()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        for (i, seen) in self.seen.iter_mut().enumerate() {
            if let Some(seen) = seen
                && seen.state != Standing::Cached
                && let Some(key) = &seen.key
            {
                if running.contains(key) {
                    seen.state = Standing::Running;
                } else {
                    open.entry(key.hex()).or_default().push(i);
                }
            }
        }
        let dir = session.runs_dir();
        let runs = if open.is_empty() {
            Vec::new()
        } else {
            journal::list(&dir)?
        };
        for run in journal::newest(&dir, &runs, BYTES_READ)
            .iter()
            .rev()
            .take(RUNS_LOOKED_AT)
        {
            // How the last execution of each key in this run ended.
            let mut ends: HashMap<String, Option<String>> = HashMap::new();
            journal::each(&dir, run, &mut |event| {
                let (key, failure) = match event {
                    Event::Failed {
                        key: Some(key),
                        message,
                        ..
                    } => (key, Some(message)),
                    Event::Finished { key, .. } => (key, None),
                    _ => return,
                };
                if open.contains_key(&key) {
                    ends.insert(key, failure);
                }
            })?;
            for (key, failure) in ends {
                for i in open.remove(&key).into_iter().flatten() {
                    if let (Some(message), Some(seen)) = (&failure, &mut self.seen[i]) {
                        seen.state = Standing::Failed;
                        seen.failure = Some(message.clone());
                    }
                }
            }
            if open.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

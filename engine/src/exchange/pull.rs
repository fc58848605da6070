//! Pulling: results that the lock file names come from a remote, and nothing is executed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::{NotMoved, Way};
use crate::demand::Demand;
use crate::digest::{Content, Digest};
use crate::graph::Graph;
use crate::index::Known;
use crate::lookup::{Answer, Believed, look_up};
use crate::notice::{RemoteUse, Tell};
use crate::plan::{Instance, InstanceIndex, Plan, Source};
use crate::record::lockfile::LockFile;
use crate::remote::fetch::fetch;
use crate::run::{keep_envelopes, way_back};
use crate::session::Session;
use crate::store::{Pending, Record, Staged};
use crate::trust::Trust;

/// Bytes of artifacts after which what arrived is recorded.
const BATCH_BYTES: u64 = 1 << 30;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Pulled {
    /// Results that came.
    pub pulled: usize,
    /// Results that were here.
    pub here: usize,
    /// Instances whose result is not to be had.
    pub missing: Vec<NotMoved>,
    /// Inputs of results that came, or were here already, which cannot be obtained: a run makes
    /// them again.
    pub missing_behind: Vec<NotMoved>,
    /// Instances whose result is in the store, and whose outputs cannot be shown.
    pub not_shown: Vec<NotMoved>,
    /// What it took.
    pub remote: RemoteUse,
}

/// Something that is to be had.
struct Wanted<'a> {
    index: InstanceIndex,
    instance: &'a Instance,
    key: Digest,
    /// Names and contents as repro.lock has them, in the order of the instance's.
    outputs: Vec<(&'a str, &'a str)>,
    is_shown: bool,
}

/// A result, in the order of the instance's outputs.
struct Had<'a> {
    wanted: &'a Wanted<'a>,
    outputs: Arc<[Content]>,
    wall_s: f32,
    /// Its bytes may be on the remote only.
    elsewhere: bool,
    /// It was not made here.
    is_foreign: bool,
}

impl<'a> Had<'a> {
    /// From elsewhere, and its bytes are here.
    fn of(wanted: &'a Wanted<'a>, outputs: Arc<[Content]>, record: &Record) -> Had<'a> {
        Had {
            wanted,
            outputs,
            wall_s: record.wall_s().unwrap_or(0.0) as f32,
            elsewhere: false,
            is_foreign: true,
        }
    }
}

/// A result that the remote has and the project believes.
type Offered<'a> = (&'a Wanted<'a>, Arc<[Content]>, Believed);

/// Why there is no result, by instance.
#[derive(Default)]
struct Missing {
    /// Of the targets.
    shown: BTreeMap<String, String>,
    /// Of what they need.
    behind: BTreeMap<String, String>,
}

impl Missing {
    fn add(&mut self, instance: &Instance, is_shown: bool, why: String) {
        let of = match is_shown {
            true => &mut self.shown,
            false => &mut self.behind,
        };
        of.insert(instance.id.to_string(), why);
    }

    /// An input is missed only if something that was made from it is here.
    fn keep_behind(&mut self, plan: &Plan, mut had: Vec<InstanceIndex>) {
        had.sort_unstable();
        let needed = Graph::new(plan).wanted(&had);
        let needed: BTreeSet<&str> = plan
            .instances
            .iter()
            .zip(needed)
            .filter_map(|(instance, needed)| needed.then_some(&*instance.id))
            .collect();
        self.behind.retain(|id, _| needed.contains(id.as_str()));
    }
}

/// Gets the results that repro.lock names of the instances that `names` stand for, of the final
/// ones for no name, and shows them. Of what they need it is noted that the remote has it.
///
/// # Errors
/// A name that stands for nothing; the store cannot be read or written; the lock file is wrong.
pub fn pull(
    session: &mut Session,
    names: &[String],
    way: &Way,
    trust: &Arc<Trust>,
    tell: Tell,
) -> anyhow::Result<Pulled> {
    let targets = session.targets(names)?;
    session.store.check_writable()?;
    session.store.start_lease()?;
    // Where it cannot be entered nothing can be collected either.
    let _ = session.store.register_project(&session.project.root);
    let lock = LockFile::read(&session.project.lock_file())?;
    let mut missing = Missing::default();
    let wanted = wanted(session, &lock, &targets, names.is_empty(), &mut missing);
    // A result that was made here needs no signature.
    let (mut had, mut asked) = (Vec::new(), Vec::new());
    for wanted in &wanted {
        match recorded(session, wanted) {
            Some(result) => had.push(result),
            None => asked.push(wanted),
        }
    }
    let here = had.iter().filter(|h| h.wanted.is_shown).count();
    let offered = ask(way, trust, &asked, &mut missing);
    way.tell_warnings(tell);
    // Only spares the next command a question.
    let _ = session.elsewhere.note_way(&way_back(&way.link));
    let pulled = take_in(session, way, offered, &mut had, &mut missing, tell)?;
    let shown = had.iter().filter(|h| h.wanted.is_shown);
    missing.keep_behind(&session.plan, shown.map(|h| h.wanted.index).collect());
    let (mut known, mut not_shown) = (Vec::new(), Vec::new());
    let stamp = session.believer.stamp();
    for had in had {
        let instance = had.wanted.instance;
        if had.wanted.is_shown && !had.elsewhere {
            match instance.work.unasked() {
                None => session.show(instance, &had.outputs)?,
                Some(_) => not_shown.push(NotMoved {
                    instance: instance.id.to_string(),
                    why: format!(
                        "its result is in the store; where its outputs appear is known when `repro run` has asked `{}`",
                        instance.kind_name()
                    ),
                }),
            }
        }
        let entry = Known {
            key: had.wanted.key,
            outputs: had.outputs,
            wall_s: had.wall_s,
            elsewhere: had.elsewhere,
            believed_under: had.is_foreign.then(|| Box::new(stamp)),
        };
        known.push((instance.id.clone(), entry));
    }
    for (id, entry) in known {
        session.index.set(&id, entry);
    }
    let index_path = session.index_path();
    session.index.save(&index_path)?;
    session.stats.save()?;
    let list = |of: BTreeMap<String, String>| {
        let all = of.into_iter();
        all.map(|(instance, why)| NotMoved { instance, why })
            .collect()
    };
    Ok(Pulled {
        pulled,
        here,
        missing: list(missing.shown),
        missing_behind: list(missing.behind),
        not_shown,
        remote: way.used(),
    })
}

/// What repro.lock says of the targets and of what they need. What it does not name is `missing`.
fn wanted<'a>(
    session: &'a Session,
    lock: &'a LockFile,
    targets: &[InstanceIndex],
    finals: bool,
    missing: &mut Missing,
) -> Vec<Wanted<'a>> {
    let graph = Graph::new(&session.plan);
    let mut wanted = Vec::new();
    let needed = graph.wanted(targets);
    // Runs that a claim may ask for later are not missing: nobody has asked for them yet.
    let asked = Demand::of(&session.plan, &[]).map(|demand| demand.targets(&session.plan, &graph));
    let asked = asked.map_or_else(|_| needed.clone(), |targets| graph.wanted(&targets));
    // Instances that take a part of a directory: the part is known only when the directory is here.
    let mut opened = BTreeSet::new();
    for (i, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
        let needs = &session.plan.instances[i].needs;
        for item in needs.iter().flat_map(|n| &n.items) {
            if let (Source::Output { instance, .. }, Some(_)) = (&item.source, &item.inside) {
                opened.insert(*instance);
            }
        }
    }
    for (i, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
        let index = InstanceIndex(i as u32);
        let instance = session.plan.instance(index);
        let is_shown = match finals {
            true => graph.consumers(index).next().is_none(),
            false => targets.binary_search(&index).is_ok(),
        } || opened.contains(&index);
        let named = lock.blocks.get(&*instance.id).and_then(|block| {
            let named = block.outputs.iter().map(|(n, c)| (n.as_str(), c.as_str()));
            if instance.work.unasked().is_some() {
                // Which outputs it has is known from here only.
                return Some((block.key, named.collect()));
            }
            let of = |name: &str| named.clone().find(|(n, _)| *n == name);
            let outputs: Option<Vec<_>> = instance.outputs.iter().map(|o| of(&o.name)).collect();
            Some((block.key, outputs?))
        });
        match named {
            Some((key, outputs)) => wanted.push(Wanted {
                index,
                instance,
                key,
                outputs,
                is_shown,
            }),
            None if finals && !asked[i] => {}
            None => {
                let why = "repro.lock does not name its result".to_owned();
                missing.add(instance, is_shown, why);
            }
        }
    }
    wanted
}

/// A record's outputs, if they are what repro.lock names.
fn outputs_of(wanted: &Wanted, record: &Record) -> Option<Arc<[Content]>> {
    let outputs = wanted.outputs.iter();
    outputs
        .map(|(name, named)| {
            let content = record.outputs.get(*name)?;
            (content.to_string() == **named).then_some(*content)
        })
        .collect()
}

/// The result, if the store has it whole.
fn recorded<'a>(session: &Session, wanted: &'a Wanted<'a>) -> Option<Had<'a>> {
    session.store.lookup(&wanted.key).iter().find_map(|record| {
        let outputs = outputs_of(wanted, record)?;
        let is_here = |c: &Content| session.store.has(c).unwrap_or(false);
        let is_believed = session
            .believer
            .believes_recorded(&session.store, record)
            .is_ok();
        (is_believed && outputs.iter().all(is_here)).then(|| Had {
            is_foreign: record.origin().is_some(),
            ..Had::of(wanted, outputs, record)
        })
    })
}

/// Asks the remote for all at once.
fn ask<'a>(
    way: &Way,
    trust: &Arc<Trust>,
    asked: &[&'a Wanted<'a>],
    missing: &mut Missing,
) -> Vec<Offered<'a>> {
    let mut offered = Vec::new();
    let keys = asked.iter().map(|w| w.key).collect();
    look_up(&way.link, trust, keys, |position, answer| {
        let wanted = asked[position];
        let why = match answer {
            Answer::Hit(found) => match outputs_of(wanted, &found.record) {
                Some(outputs) => {
                    offered.push((wanted, outputs, *found));
                    return;
                }
                None => "the remote has another result than repro.lock names".to_owned(),
            },
            Answer::Miss(why) => why.to_string(),
        };
        missing.add(wanted.instance, wanted.is_shown, why);
    });
    offered
}

/// Fetches the bytes of what is shown, and records it; of the rest it is noted that the remote has
/// it. How many came.
fn take_in<'a>(
    session: &Session,
    way: &Way,
    offered: Vec<Offered<'a>>,
    had: &mut Vec<Had<'a>>,
    missing: &mut Missing,
    tell: Tell,
) -> anyhow::Result<usize> {
    let (shown, rest): (Vec<_>, Vec<_>) = offered.into_iter().partition(|(w, _, _)| w.is_shown);
    for (wanted, outputs, believed) in rest {
        // Other commands tell of it too. Losing it costs them a question.
        let _ = session
            .elsewhere
            .remember(&believed.record, &believed.envelopes);
        let of_it = Had::of(wanted, outputs, &believed.record);
        had.push(Had {
            elsewhere: true,
            ..of_it
        });
    }
    let outputs = shown.iter().flat_map(|(_, outputs, _)| &**outputs);
    let total = outputs.map(|c| c.bytes_total).sum();
    let before = had.len();
    let mut rest = shown.into_iter().peekable();
    way.watch(
        total,
        |link| link.moved().received,
        tell,
        || {
            while rest.peek().is_some() {
                let (mut batch, mut bytes) = (Vec::new(), 0u64);
                while let Some(next) = rest.next_if(|_| bytes < BATCH_BYTES) {
                    let outputs = next.2.record.outputs.values();
                    bytes += outputs.map(|c| c.bytes_total).sum::<u64>();
                    batch.push(next);
                }
                take_in_batch(session, way, batch, had, missing)?;
            }
            anyhow::Ok(())
        },
    )?;
    Ok(had.len() - before)
}

fn take_in_batch<'a>(
    session: &Session,
    way: &Way,
    batch: Vec<Offered<'a>>,
    had: &mut Vec<Had<'a>>,
    missing: &mut Missing,
) -> anyhow::Result<()> {
    let outputs = batch.iter().flat_map(|(_, _, b)| b.record.outputs.values());
    let contents: BTreeSet<Content> = outputs.copied().collect();
    let contents: Vec<Content> = contents.into_iter().collect();
    let outcomes = fetch(&way.link, &session.store, &contents)?;
    let failed: BTreeMap<Content, String> = contents
        .into_iter()
        .zip(outcomes)
        .filter_map(|(c, o)| Some((c, o.err()?.to_string())))
        .collect();
    let (mut pending, mut whole) = (Vec::new(), Vec::new());
    for (wanted, outputs, believed) in batch {
        let mut of_it = believed.record.outputs.values();
        match of_it.find_map(|c| failed.get(c)) {
            Some(why) => {
                missing.add(wanted.instance, true, why.clone());
            }
            None => {
                pending.push(Pending {
                    record: believed.record.clone(),
                    staged: Staged::default(),
                });
                whole.push((wanted, outputs, believed));
            }
        }
    }
    let committed = session.store.commit(pending);
    for ((wanted, outputs, believed), committed) in whole.into_iter().zip(committed) {
        committed?;
        keep_envelopes(&session.store, &believed);
        session.elsewhere.forget(&believed.record.key);
        had.push(Had::of(wanted, outputs, &believed.record));
    }
    Ok(())
}

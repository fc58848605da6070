//! `repro pull`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::json;

use super::sharing::RemoteArgs;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::{moved_text, notices};
use repro_engine::digest::{Content, Digest};
use repro_engine::exchange::{Way, trust};
use repro_engine::graph::Graph;
use repro_engine::index::Known;
use repro_engine::plan::{Instance, InstanceIndex, Source};
use repro_engine::record::lockfile::LockFile;
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::lookup::{Answer, Believed, look_up};
use repro_engine::run::{keep_envelopes, way_back};
use repro_engine::session::{Session, wall_s};
use repro_engine::store::{Pending, Record, Staged};

/// Bytes of artifacts after which what arrived is recorded.
const BATCH_BYTES: u64 = 1 << 30;

/// Get artifacts from a remote, without running anything.
///
/// Pulled are the results that repro.lock names, as far as they are on the remote and signed by somebody whom repro.trust.toml
/// tells to believe. Without TARGETS these are the final artifacts: those no other stage needs. What is in between is
/// only noted, and fetched when something that is executed needs it; but for directories of which a stage takes a part. Exit code 1 when something is not on the remote, 5 when
/// the remote is broken.
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// Stages (`train`) or instances (`train[seed=1]`); the final ones when absent.
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Write one object: pulled, here, missing, remote.
    #[arg(long)]
    json: bool,
}

/// Something that is to be had.
struct Wanted<'a> {
    instance: &'a Instance,
    key: Digest,
    /// As repro.lock names them, in the order of the instance's.
    outputs: Vec<&'a str>,
    is_shown: bool,
}

/// A result, in the order of the instance's outputs.
struct Had<'a> {
    wanted: &'a Wanted<'a>,
    outputs: Vec<Content>,
    wall_s: f32,
    /// Its bytes may be on the remote only.
    elsewhere: bool,
    /// It was not made here.
    is_foreign: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &PullArgs) -> anyhow::Result<Exit> {
    let mut session = args.pipeline.opening(context).session_without_tools()?;
    session.believer = session.believer.in_scope(args.remote.which()?.scope);
    let targets = session.targets(&args.targets)?;
    let way = Way::to(&session.project.root, &args.remote.which()?)?;
    let trust = trust(&session.project.root)?;
    session.store.check_writable()?;
    session.store.start_lease()?;
    // Where it cannot be entered nothing can be collected either.
    let _ = session.store.register_project(&session.project.root);
    let lock = LockFile::read(&session.project.lock_file())?;
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    let wanted = wanted(
        &session,
        &lock,
        &targets,
        args.targets.is_empty(),
        &mut missing,
    );
    // What was made here needs nobody's word.
    let (mut had, mut asked) = (Vec::new(), Vec::new());
    for wanted in &wanted {
        match recorded(&session, wanted) {
            Some(result) => had.push(result),
            None => asked.push(wanted),
        }
    }
    let shown_here = had.iter().filter(|h| h.wanted.is_shown).count();
    let mut believed: Vec<(&Wanted, Vec<Content>, Believed)> = Vec::new();
    let keys = asked.iter().map(|w| w.key).collect();
    look_up(&way.link, &trust, keys, |position, answer| {
        let wanted = asked[position];
        let why = match answer {
            Answer::Hit(found) => match outputs_of(wanted, &found.record) {
                Some(outputs) => {
                    believed.push((wanted, outputs, *found));
                    return;
                }
                None => "the remote has another result than repro.lock names".to_owned(),
            },
            Answer::Miss(why) => why.to_string(),
        };
        if wanted.is_shown {
            missing.insert(wanted.instance.id.to_string(), why);
        }
    });
    way.tell_warnings(&mut notices());
    // Only spares the next command a question.
    let _ = session.elsewhere.note_way(&way_back(&way.link));
    let pulled = take_in(&session, &way, believed, &mut had, &mut missing)?;
    let mut known = Vec::new();
    let stamp = session.believer.stamp();
    for had in had {
        let instance = had.wanted.instance;
        if had.wanted.is_shown && !had.elsewhere {
            session.show(instance, &had.outputs)?;
        }
        let entry = Known {
            key: had.wanted.key,
            outputs: had.outputs,
            wall_s: had.wall_s,
            elsewhere: had.elsewhere,
            believed_under: had.is_foreign.then_some(stamp),
        };
        known.push((instance.id.clone(), entry));
    }
    drop(asked);
    for (id, entry) in known {
        session.index.set(&id, entry);
    }
    let index_path = session.index_path();
    session.index.save(&index_path)?;
    session.stats.save()?;
    report(args, &way, pulled, shown_here, &missing)?;
    Ok(match (missing.is_empty(), way.link.moved().warnings) {
        (true, _) => Exit::Done,
        (false, 0) => Exit::StageFailed,
        (false, _) => Exit::StoreBroken,
    })
}

/// What repro.lock says of the targets and of what they need. What of the targets it does not name is `missing`.
fn wanted<'a>(
    session: &'a Session,
    lock: &'a LockFile,
    targets: &[InstanceIndex],
    finals: bool,
    missing: &mut BTreeMap<String, String>,
) -> Vec<Wanted<'a>> {
    let graph = Graph::new(&session.plan);
    let mut wanted = Vec::new();
    let needed = graph.wanted(targets);
    // Of whose directories a part is taken: it is known only where they are.
    let mut opened = BTreeSet::new();
    for (i, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
        for item in session.plan.instances[i]
            .needs
            .iter()
            .flat_map(|n| &n.items)
        {
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
            let of = |name: &str| block.outputs.get(name).map(String::as_str);
            let outputs: Option<Vec<&str>> = instance.outputs.iter().map(|o| of(&o.name)).collect();
            Some((block.key, outputs?))
        });
        match named {
            Some((key, outputs)) => wanted.push(Wanted {
                instance,
                key,
                outputs,
                is_shown,
            }),
            None if is_shown => {
                let why = "repro.lock does not name its result";
                missing.insert(instance.id.to_string(), why.to_owned());
            }
            None => {}
        }
    }
    wanted
}

/// A record's outputs, if they are what repro.lock names.
fn outputs_of(wanted: &Wanted, record: &Record) -> Option<Vec<Content>> {
    let outputs = wanted.instance.outputs.iter().zip(&wanted.outputs);
    outputs
        .map(|(output, named)| {
            let content = record.outputs.get(&*output.name)?;
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
            wanted,
            outputs,
            wall_s: wall_s(record),
            elsewhere: false,
            is_foreign: record.origin().is_some(),
        })
    })
}

/// Fetches the bytes of what is shown, and records it; of the rest it is noted that the remote has it. How many came.
fn take_in<'a>(
    session: &Session,
    way: &Way,
    believed: Vec<(&'a Wanted<'a>, Vec<Content>, Believed)>,
    had: &mut Vec<Had<'a>>,
    missing: &mut BTreeMap<String, String>,
) -> anyhow::Result<usize> {
    let (shown, rest): (Vec<_>, Vec<_>) = believed.into_iter().partition(|(w, _, _)| w.is_shown);
    for (wanted, outputs, believed) in rest {
        // Other commands tell of it too. Losing it costs them a question.
        let _ = session
            .elsewhere
            .remember(&believed.record, &believed.envelopes);
        had.push(Had {
            wanted,
            outputs,
            wall_s: wall_s(&believed.record),
            elsewhere: true,
            is_foreign: true,
        });
    }
    let bytes_total = shown
        .iter()
        .flat_map(|(_, o, _)| o)
        .map(|c| c.bytes_total)
        .sum();
    let mut pulled = 0;
    let mut rest = shown.into_iter().peekable();
    way.watch(
        bytes_total,
        |link| link.moved().received,
        &mut notices(),
        || {
            while rest.peek().is_some() {
                let (mut batch, mut bytes) = (Vec::new(), 0u64);
                while let Some(next) = rest.next_if(|_| bytes < BATCH_BYTES) {
                    let outputs = next.2.record.outputs.values();
                    bytes += outputs.map(|c| c.bytes_total).sum::<u64>();
                    batch.push(next);
                }
                let contents: BTreeSet<Content> = batch
                    .iter()
                    .flat_map(|(_, _, b)| b.record.outputs.values().copied())
                    .collect();
                let contents: Vec<Content> = contents.into_iter().collect();
                let outcomes = fetch(&way.link, &session.store, &contents)?;
                let failed: BTreeMap<Content, String> = contents
                    .into_iter()
                    .zip(outcomes)
                    .filter_map(|(c, o)| Some((c, o.err()?.to_string())))
                    .collect();
                let mut pending = Vec::new();
                let mut whole = Vec::new();
                for (wanted, outputs, believed) in batch {
                    let mut of_it = believed.record.outputs.values();
                    match of_it.find_map(|c| failed.get(c)) {
                        Some(why) => {
                            missing.insert(wanted.instance.id.to_string(), why.clone());
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
                for ((wanted, outputs, believed), committed) in
                    whole.into_iter().zip(session.store.commit(pending))
                {
                    committed?;
                    keep_envelopes(&session.store, &believed);
                    session.elsewhere.forget(&believed.record.key);
                    pulled += 1;
                    had.push(Had {
                        wanted,
                        outputs,
                        wall_s: wall_s(&believed.record),
                        elsewhere: false,
                        is_foreign: true,
                    });
                }
            }
            anyhow::Ok(())
        },
    )?;
    Ok(pulled)
}

fn report(
    args: &PullArgs,
    way: &Way,
    pulled: usize,
    here: usize,
    missing: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    if args.json {
        let missing: Vec<_> = missing
            .iter()
            .map(|(id, why)| json!({"instance": id, "why": why}))
            .collect();
        return output::json(&json!({
            "pulled": pulled,
            "here": here,
            "missing": missing,
            "remote": serde_json::to_value(way.used())?,
        }));
    }
    for (id, why) in missing.iter().take(10) {
        crate::say!("missing: {id}: {why}");
    }
    let mut text = format!("{pulled} results pulled from `{}`", way.link.name());
    if here > 0 {
        text += &format!(", {here} were here");
    }
    if !missing.is_empty() {
        text += &format!(
            ", {} are missing: `repro run --pull` executes what they need",
            missing.len()
        );
    }
    output::text(&format!("{text} ({})\n", moved_text(&way.used())))
}

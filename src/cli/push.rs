//! `repro push`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::sharing::RemoteArgs;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::{moved_text, notices};
use repro_engine::digest::{Content, Digest};
use repro_engine::exchange::needed::announce;
use repro_engine::exchange::{Way, signer};
use repro_engine::graph::Graph;
use repro_engine::plan::InstanceIndex;
use repro_engine::remote::publish::{Publication, Published, publish};
use repro_engine::run::publication;
use repro_engine::session::Session;
use repro_engine::survey::Survey;

/// Results that are published together: their bytes first, then what says so.
const BATCH: usize = 256;

/// Publish results on a remote: signed with your key, for everybody whom the project's repro.trust.toml tells to believe it.
///
/// Published are the results of the stages given (all of them when absent) and of everything they need, as far as the store
/// has them. What the remote has is not sent again; stopped at any moment, the next push goes on from there.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// Stages (`train`) or instances (`train[seed=1]`); all when absent.
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Write one object: published, known, diverged, failed, not_here, remote.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &PushArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let targets = session.targets(&args.targets)?;
    let way = Way::to(&session.project.root, &args.remote.which()?)?;
    let signer = signer(&mut crate::terminal::ask_passphrase)?;
    session.store.start_lease()?;
    let survey = Survey::of(&session, &targets)?;
    let wanted = Graph::new(&session.plan).wanted(&targets);
    let (mut publications, mut names, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for (i, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
        let index = InstanceIndex(i as u32);
        let id = session.plan.instance(index).id.to_string();
        match result_here(&session, &survey, index) {
            Some(record) => {
                publications.push(publication(&session.store, Some(&signer), record));
                names.push(id);
            }
            None => absent.push(id),
        }
    }
    let contents: BTreeMap<Content, ()> = publications
        .iter()
        .flat_map(|p| p.record.outputs.values().map(|c| (*c, ())))
        .collect();
    let bytes_total = contents.keys().map(|c| c.bytes_total).sum();
    let keys: Vec<Digest> = publications.iter().map(|p| p.record.key).collect();
    announce(&way.link, &session.project, &keys);
    let outcomes = way.watch(
        bytes_total,
        |link| link.moved().sent,
        &mut notices(),
        || {
            let mut outcomes = Vec::with_capacity(publications.len());
            let mut rest = publications.into_iter();
            loop {
                let batch: Vec<Publication> = rest.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    return outcomes;
                }
                outcomes.extend(publish(&way.link, &session.store, batch));
            }
        },
    );
    let count = |is: fn(&Published) -> bool| {
        let published = outcomes.iter().filter_map(|o| o.as_ref().ok());
        published.filter(|p| is(p)).count()
    };
    let new = count(|p| *p == Published::New);
    let known = count(|p| *p == Published::Known);
    let diverged: Vec<&String> = names
        .iter()
        .zip(&outcomes)
        .filter(|(_, o)| matches!(o, Ok(Published::Diverged { .. })))
        .map(|(name, _)| name)
        .collect();
    let failed: Vec<(&String, &String)> = names
        .iter()
        .zip(&outcomes)
        .filter_map(|(name, o)| Some((name, o.as_ref().err()?)))
        .collect();
    if args.json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(name, why)| json!({"instance": name, "why": why}))
            .collect();
        output::json(&json!({
            "published": new,
            "known": known,
            "diverged": diverged,
            "failed": failed,
            "not_here": absent,
            "remote": serde_json::to_value(way.used())?,
        }))?;
    } else {
        for name in &diverged {
            crate::say!(
                "warning: {name}: the remote has another result for the same inputs; it has both now (`repro verify` tells more)"
            );
        }
        for (name, why) in failed.iter().take(10) {
            crate::say!("error: {name}: {why}");
        }
        let mut text = format!(
            "{} results published on `{}`, {known} were there",
            new + diverged.len(),
            way.link.name()
        );
        for (count, what) in [
            (failed.len(), "could not be published"),
            (absent.len(), "are not in the store"),
        ] {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        output::text(&format!("{text} ({})\n", moved_text(&way.used())))?;
    }
    Ok(if failed.is_empty() {
        Exit::Done
    } else {
        Exit::StoreBroken
    })
}

/// The record of an instance's result, if its bytes are here.
fn result_here(
    session: &Session,
    survey: &Survey,
    index: InstanceIndex,
) -> Option<repro_engine::store::Record> {
    let hit = survey.get(index)?.hit.as_ref()?;
    let instance = session.plan.instance(index);
    let is_it = |record: &repro_engine::store::Record| {
        let mut outputs = instance.outputs.iter().zip(&hit.outputs);
        outputs.all(|(o, content)| record.outputs.get(&*o.name) == Some(content))
            && record
                .outputs
                .values()
                .all(|c| session.store.has(c).unwrap_or(false))
    };
    session.store.lookup(&hit.key).into_iter().find(is_it)
}

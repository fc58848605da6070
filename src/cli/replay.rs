//! `repro replay`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::sharing::network;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::notices;
use crate::ui::style::duration;
use repro_engine::exchange::bring_inputs;
use repro_engine::exec::Cancel;
use repro_engine::run::{ReplayTerms, replay};
use repro_engine::survey::Survey;

/// Execute a recorded action again, outside the cache, and compare its outputs bit by bit.
///
/// Nothing is recorded, shown or replaced. Exit code 4 when an output differs: the stage is not deterministic, or this
/// machine computes something else than the one that made the result.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Instances or stages.
    #[arg(value_name = "INSTANCE", required = true)]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Leave the private directory of the execution here (for one instance; must not exist).
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Cores it may use; all of them when absent.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Never use the network.
    #[arg(long)]
    offline: bool,
    /// Write an array of objects: instance, identical, outputs.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &ReplayArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session_to_run()?;
    let targets = session.targets(&args.targets)?;
    anyhow::ensure!(
        args.keep.is_none() || targets.len() == 1,
        "--keep is for one instance; {} are named",
        targets.len()
    );
    session.store.start_lease()?;
    let survey = Survey::of(&session, &targets)?;
    let cancel = Arc::new(Cancel::new()?);
    super::run::watch_signals(&cancel, super::run::Told::Here)?;
    let cpus = args
        .jobs
        .unwrap_or_else(|| repro_engine::run::Machine::here().cpus);
    let (mut exit, mut values) = (Exit::Done, Vec::new());
    for index in targets {
        let instance = session.plan.instance(index);
        let seen = survey
            .get(index)
            .ok_or_else(|| anyhow::anyhow!("BUG: `{}` was not surveyed", instance.id))?;
        let (Some(hit), Some(contents)) = (&seen.hit, &seen.contents) else {
            anyhow::bail!(
                "no result of `{}` is recorded, so there is nothing to compare with; `repro run {}` first",
                instance.id,
                instance.id
            );
        };
        bring_inputs(
            &session,
            instance,
            contents,
            network(args.offline),
            &mut notices(),
        )?;
        let terms = ReplayTerms {
            keep: args.keep.clone(),
            cpus: instance.policy.cpus.unwrap_or(cpus).min(cpus),
            offline: args.offline,
            executable: std::env::current_exe()?,
            lineage: survey.lineage(&session, index),
        };
        let replayed = match replay(&session, instance, contents, terms, &cancel, &mut |_| {})? {
            Ok(replayed) => replayed,
            Err(failure) if matches!(failure.cause, repro_engine::exec::Cause::Cancelled) => {
                return Ok(Exit::Interrupted);
            }
            Err(failure) => {
                crate::say!("error: {}: {}", instance.id, failure.account());
                failure
                    .cause
                    .hint()
                    .iter()
                    .for_each(|hint| crate::say!("help: {hint}"));
                exit = Exit::StageFailed;
                continue;
            }
        };
        let mut differing = Vec::new();
        let mut outputs = serde_json::Map::new();
        for (spec, recorded) in instance.outputs.iter().zip(&hit.outputs) {
            let fresh = replayed.outputs.get(&spec.name);
            let same = fresh.is_some_and(|f| f.has_same_bytes(recorded));
            outputs.insert(spec.name.to_string(), json!({"identical": same, "recorded": recorded.to_string(), "replayed": fresh.map(ToString::to_string)}));
            if !same {
                differing.push((spec.name.clone(), *recorded, fresh.copied()));
            }
        }
        if args.json {
            values.push(json!({"instance": &*instance.id, "key": hit.key, "identical": differing.is_empty(), "wall_s": replayed.usage.wall_s, "outputs": outputs}));
        } else if differing.is_empty() {
            let once = duration(f64::from(hit.wall_s));
            output::text(&format!(
                "{}: identical, {} outputs; took {} (recorded: {once})\n",
                instance.id,
                hit.outputs.len(),
                duration(replayed.usage.wall_s)
            ))?;
        } else {
            for (name, recorded, fresh) in &differing {
                let fresh = fresh.map_or_else(
                    || "nothing".to_owned(),
                    |f| format!("{f} ({} bytes)", f.bytes_total),
                );
                output::text(&format!(
                    "{}: output `{name}` differs\n  recorded {recorded} ({} bytes)\n  replayed {fresh}\n",
                    instance.id, recorded.bytes_total
                ))?;
            }
        }
        if !differing.is_empty() && exit == Exit::Done {
            exit = Exit::Diverged;
        }
    }
    if args.json {
        output::json(&values)?;
    }
    Ok(exit)
}

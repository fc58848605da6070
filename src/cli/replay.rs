//! `repro replay`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::run::{Told, watch_signals};
use super::sharing::network;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::notices;
use crate::ui::style::duration;
use repro_engine::exec::Cancel;
use repro_engine::executor::Failed;
use repro_engine::plan::InstanceIndex;
use repro_engine::session::Session;
use repro_engine::verify::{Again, Compared, ReplayOptions, Replayer};

/// Execute a recorded action again, outside the cache, and compare its outputs bit by bit.
///
/// Nothing is recorded, shown or replaced. The exit code is 4 if an output differs: the stage is
/// not deterministic, or this machine computes something else than the machine that made the
/// result.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Instances or stages.
    #[arg(value_name = "INSTANCE", required = true, add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Keep the private directory of the execution here (for one instance; must not exist).
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Use this many cores; by default all.
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
    let (options, cancel) = options(args.keep.clone(), args.jobs, args.offline)?;
    let replayer = Replayer::of(&session, &targets, options)?;
    watch_signals(&cancel, Told::Here)?;
    each(&session, targets, args.json, |index| {
        let compared = replayer.replay(index, &mut notices())?;
        Ok(compared.map(|compared| Shown {
            text: text(&compared),
            identical: compared.identical,
            found: compared,
        }))
    })
}

/// What is said of one instance that was executed again.
pub(super) struct Shown<T> {
    pub text: String,
    pub identical: bool,
    pub found: T,
}

/// Executes instances again, one after the other, and says what came of it.
pub(super) fn each<T: serde::Serialize>(
    session: &Session,
    targets: Vec<InstanceIndex>,
    json: bool,
    mut execute: impl FnMut(InstanceIndex) -> anyhow::Result<Again<Shown<T>>>,
) -> anyhow::Result<Exit> {
    let (mut exit, mut all) = (Exit::Done, Vec::new());
    for index in targets {
        let shown = match execute(index)? {
            Again::Done(shown) => shown,
            Again::Cancelled => return Ok(Exit::Interrupted),
            Again::Failed(failure) => {
                say_failure(&session.plan.instance(index).id, &failure);
                exit = Exit::StageFailed;
                continue;
            }
        };
        if !shown.identical && exit == Exit::Done {
            exit = Exit::Diverged;
        }
        if !json {
            output::text(&shown.text)?;
        }
        all.push(shown.found);
    }
    if json {
        output::json(&serde_json::to_value(&all)?)?;
    }
    Ok(exit)
}

/// How `replay` and `verify` execute, and what stops them.
pub(super) fn options(
    keep: Option<PathBuf>,
    jobs: Option<u32>,
    offline: bool,
) -> anyhow::Result<(ReplayOptions, Arc<Cancel>)> {
    let cancel = Arc::new(Cancel::new()?);
    let options = ReplayOptions {
        keep,
        jobs,
        network: network(offline),
        executable: std::env::current_exe()?,
        cancel: cancel.clone(),
    };
    Ok((options, cancel))
}

pub(super) fn say_failure(instance: &str, failure: &Failed) {
    crate::say!("error: {instance}: {}", failure.message);
    if let Some(hint) = &failure.hint {
        crate::say!("help: {hint}");
    }
}

/// `train: identical, 2 outputs; took 3 s (recorded: 3 s)`.
pub(super) fn identical_text(instance: &str, outputs: usize, (now, once): (f64, f64)) -> String {
    format!(
        "{instance}: identical, {outputs} outputs; took {} (recorded: {})",
        duration(now),
        duration(once)
    )
}

fn text(compared: &Compared) -> String {
    let instance = &compared.instance;
    if compared.identical {
        let took = (compared.wall_s, compared.recorded_wall_s);
        return identical_text(instance, compared.outputs.len(), took) + "\n";
    }
    let mut text = String::new();
    for (name, output) in compared.outputs.iter().filter(|(_, o)| !o.identical) {
        let recorded = output.recorded;
        let fresh = output.replayed.map_or_else(
            || "nothing".to_owned(),
            |f| format!("{f} ({} bytes)", f.bytes_total),
        );
        text += &format!(
            "{instance}: output `{name}` differs\n  recorded {recorded} ({} bytes)\n  replayed {fresh}\n",
            recorded.bytes_total
        );
    }
    text
}

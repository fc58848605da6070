//! `repro pin`, `repro unpin`: results that gc must keep because the user says so.

use clap::Args;
use serde_json::json;

use super::{Context, Exit, PipelineArgs, completing, output};
use repro_engine::collect::pins::keys;
use repro_engine::store::Root;

/// Keep results that gc would remove, or list what is pinned.
///
/// A pin belongs to a result, not to a stage: when the stage changes, its new result is not pinned.
#[derive(Debug, Clone, Args)]
pub struct PinArgs {
    /// Stages, instances (`train[seed=1]`) or keys. Without any, pins are listed.
    #[arg(value_name = "TARGETS", add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write an array of the pinned results.
    #[arg(long)]
    json: bool,
}

/// Let gc remove pinned results again, if nothing else needs them.
#[derive(Debug, Clone, Args)]
pub struct UnpinArgs {
    /// Stages, instances (`train[seed=1]`) or keys.
    #[arg(value_name = "TARGETS", required = true, add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Runs `repro pin`.
pub fn main(context: &Context, args: &PinArgs) -> anyhow::Result<Exit> {
    let store = context.opening(None).store()?;
    if args.targets.is_empty() {
        let pins = store.pins()?;
        if args.json {
            let roots: Vec<String> = pins.iter().map(ToString::to_string).collect();
            output::json(&json!(roots))?;
        } else {
            let lines = pins.iter().map(|pin| format!("{pin}\n"));
            output::text(&lines.collect::<String>())?;
        }
        return Ok(Exit::Done);
    }
    let keys = keys(&args.pipeline.opening(context), &args.targets)?;
    for key in &keys {
        store.pin(Root::Action(*key))?;
    }
    if args.json {
        output::json(&keys)?;
    } else {
        output::text(&format!("{} results pinned\n", keys.len()))?;
    }
    Ok(Exit::Done)
}

/// Runs `repro unpin`.
pub fn unpin(context: &Context, args: &UnpinArgs) -> anyhow::Result<Exit> {
    let store = context.opening(None).store()?;
    let mut ended = 0;
    for key in keys(&args.pipeline.opening(context), &args.targets)? {
        ended += usize::from(store.unpin(Root::Action(key))?);
    }
    output::text(&format!("{ended} pins ended\n"))?;
    Ok(Exit::Done)
}

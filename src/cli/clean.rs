//! `repro clean`: takes files out of artifacts/ that the store can bring back, and nothing else.

use clap::Args;

use super::{Context, Exit, PipelineArgs, output};
use crate::ui::style::bytes;
use repro_engine::clean::{Outputs, Swept, look, sweep};

/// Remove files under artifacts/ that the store can bring back.
///
/// Without --all, only files are removed that no stage of the pipeline has as an output any more. A
/// file is removed only if the store holds exactly the same bytes. Files that you added or changed
/// stay, and are named. `repro run` puts current outputs back.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only outputs of stages and instances that are no longer in the pipeline (the default).
    #[arg(long, conflicts_with = "all")]
    stale: bool,
    /// All outputs.
    #[arg(long)]
    all: bool,
    /// Instead remove what has piled up under .repro: directories left by failures, scratch
    /// directories of stages, and records of results on a remote that no run needs any more.
    #[arg(long, conflicts_with_all = ["all", "stale", "yes"])]
    failed: bool,
    /// Do not ask for confirmation.
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &CleanArgs) -> anyhow::Result<Exit> {
    if args.failed {
        let Swept {
            failures,
            scratch,
            elsewhere,
        } = sweep(&args.pipeline.opening(context).project()?)?;
        output::text(&format!(
            "removed {failures} directories of failures, {scratch} scratch directories and {elsewhere} records of results elsewhere\n"
        ))?;
        return Ok(Exit::Done);
    }
    let session = args.pipeline.opening(context).session()?;
    let outputs = match args.all {
        true => Outputs::All,
        false => Outputs::Stale,
    };
    let litter = look(&session, outputs)?;
    let files = format!("{} files ({})", litter.known.len(), bytes(litter.bytes()));
    if litter.known.is_empty() {
        output::text("nothing to clean\n")?;
    } else if args.yes || output::confirmed(&format!("remove {files} from artifacts/?"))? {
        litter.remove(&session.project)?;
        output::text(&format!("removed {files}\n"))?;
    } else {
        let paths = litter
            .known
            .iter()
            .map(|known| format!("  {}\n", known.path));
        let paths = paths.collect::<String>();
        output::text(&format!(
            "would remove {files}:\n{paths}add --yes to do it\n"
        ))?;
    }
    for path in &litter.foreign {
        crate::say!("kept {}: its bytes are not in the store", path.display());
    }
    Ok(Exit::Done)
}

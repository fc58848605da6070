//! `repro cancel`: the end of what is on clusters.

use clap::Args;

use super::{Context, Exit, output};
use crate::ui::style::counted;
use repro_cluster::jobs::cancel;

/// End the jobs of this project on a cluster (`repro run --on`), and nobody else's.
///
/// What they have published is kept by no run any more. A run that waits for them ends, too.
#[derive(Debug, Clone, Args)]
pub struct CancelArgs {
    /// The executor, by its name in repro.executors.toml; by default all.
    #[arg(value_name = "NAME")]
    executor: Option<String>,
    /// Pipeline file or its directory; by default the nearest pipeline.yaml in this directory or
    /// above.
    #[arg(short = 'C', long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
    /// Write one object: jobs, failed.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &CancelArgs) -> anyhow::Result<Exit> {
    let project = context.opening(args.file.as_deref()).project()?;
    let done = cancel(&project.root, &project.state(), args.executor.as_deref())?;
    if args.json {
        output::json(&serde_json::to_value(&done)?)?;
    } else {
        for failed in &done.failed {
            crate::say!("error: {failed}");
        }
        output::text(&format!("{} cancelled\n", counted(done.jobs, "job")))?;
    }
    Ok(match done.failed.is_empty() {
        true => Exit::Done,
        false => Exit::StoreBroken,
    })
}

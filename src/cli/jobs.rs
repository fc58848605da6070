//! `repro jobs`: what is on clusters.

use clap::Args;

use super::{Context, Exit, output};
use repro_cluster::jobs::{Jobs, list};

/// Instances that are named of one job.
const NAMED: usize = 3;

/// List the jobs of this project that may still be on a cluster (`repro run --on`).
///
/// The next `repro run --on NAME` takes their results; `repro cancel` ends them.
#[derive(Debug, Clone, Args)]
pub struct JobsArgs {
    /// Pipeline file or its directory; by default the nearest pipeline.yaml in this directory or
    /// above.
    #[arg(short = 'C', long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
    /// Write one object: jobs, silent.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &JobsArgs) -> anyhow::Result<Exit> {
    let project = context.opening(args.file.as_deref()).project()?;
    let jobs = list(&project.root, &project.state())?;
    if args.json {
        output::json(&serde_json::to_value(&jobs)?)?;
        return Ok(Exit::Done);
    }
    for silent in &jobs.silent {
        crate::say!("warning: no answer from {silent}");
    }
    output::text(&text(&jobs))?;
    Ok(Exit::Done)
}

fn text(jobs: &Jobs) -> String {
    if jobs.jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let mut text = String::new();
    for job in &jobs.jobs {
        let named: Vec<&str> = job
            .instances
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect();
        let mut named = named.join(" ");
        if job.instances.len() > NAMED {
            named += &format!(" and {} more", job.instances.len() - NAMED);
        }
        let about = match job.about.is_empty() {
            true => String::new(),
            false => format!(" ({})", job.about),
        };
        text += &format!(
            "{:<10} {:<12} {}{about}  {named}\n",
            job.executor, job.job, job.state
        );
    }
    text
}

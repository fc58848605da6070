//! `repro pull`.

use clap::Args;

use super::sharing::RemoteArgs;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::{moved_text, notices};
use repro_engine::exchange::{NotMoved, Pulled, Way, pull, trust};

/// Get artifacts from a remote, without running anything.
///
/// Fetches the results that repro.lock names, if they are on the remote and signed by somebody whom
/// repro.trust.toml trusts. Without TARGETS these are the final artifacts: those that no other
/// stage needs. Intermediate results are only noted, and fetched when something that is executed
/// needs them. Directories of which a stage takes a part are fetched too. The exit code is 1 if
/// something is not on the remote, and 5 if the remote is broken.
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// Stages (`train`) or instances (`train[seed=1]`); by default the final ones.
    #[arg(value_name = "TARGETS", add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Write one object: pulled, here, missing, missing_behind, not_shown, remote.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &PullArgs) -> anyhow::Result<Exit> {
    let mut session = args.pipeline.opening(context).session_without_tools()?;
    let which = args.remote.which()?;
    session.believer = session.believer.in_scope(which.scope.clone());
    let way = Way::to(&session.project.root, &which)?;
    let trust = trust(&session.project.root)?;
    let pulled = pull(&mut session, &args.targets, &way, &trust, &mut notices())?;
    if args.json {
        output::json(&serde_json::to_value(&pulled)?)?;
    } else {
        for NotMoved { instance, why } in pulled.missing.iter().take(10) {
            crate::say!("missing: {instance}: {why}");
        }
        if let Some(NotMoved { instance, why }) = pulled.missing_behind.first() {
            let more = match pulled.missing_behind.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            crate::say!(
                "missing, and pulled artifacts were made from it: {instance}: {why}{more}; a run executes it again, and `repro push` \
                 where it was made publishes it"
            );
        }
        for NotMoved { instance, why } in &pulled.not_shown {
            crate::say!("{instance}: {why}");
        }
        output::text(&text(&pulled))?;
    }
    Ok(match (pulled.missing.is_empty(), pulled.remote.warnings) {
        (true, _) => Exit::Done,
        (false, 0) => Exit::StageFailed,
        (false, _) => Exit::StoreBroken,
    })
}

fn text(pulled: &Pulled) -> String {
    let mut text = format!(
        "{} results pulled from `{}`",
        pulled.pulled, pulled.remote.name
    );
    if pulled.here > 0 {
        text += &format!(", {} were here", pulled.here);
    }
    if !pulled.missing.is_empty() {
        text += &format!(
            ", {} are missing: `repro run --pull` executes what they need",
            pulled.missing.len()
        );
    }
    format!("{text} ({})\n", moved_text(&pulled.remote))
}

//! `repro push`.

use clap::Args;

use super::sharing::RemoteArgs;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::{moved_text, notices};
use repro_engine::exchange::{NotMoved, Pushed, Way, push, signer};

/// Publish results on a remote, signed with your key, for everybody whose repro.trust.toml trusts
/// it.
///
/// Publishes the results of the given stages (by default all) and of everything they need, if the
/// store has them. What the remote has is not sent again. A push can be stopped at any moment; the
/// next one continues from there.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// Stages (`train`) or instances (`train[seed=1]`); by default all.
    #[arg(value_name = "TARGETS", add = completing::targets())]
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
    let way = Way::to(&session.project.root, &args.remote.which()?)?;
    let signer = signer(&mut crate::terminal::ask_passphrase)?;
    let pushed = push(&session, &args.targets, &way, &signer, &mut notices())?;
    if args.json {
        output::json(&serde_json::to_value(&pushed)?)?;
    } else {
        for name in &pushed.diverged {
            crate::say!(
                "warning: {name}: the remote has another result for the same inputs; it has both now (`repro verify` shows the difference)"
            );
        }
        for NotMoved { instance, why } in pushed.failed.iter().take(10) {
            crate::say!("error: {instance}: {why}");
        }
        output::text(&text(&pushed))?;
    }
    Ok(match pushed.failed.is_empty() {
        true => Exit::Done,
        false => Exit::StoreBroken,
    })
}

fn text(pushed: &Pushed) -> String {
    let mut text = format!(
        "{} results published on `{}`, {} were there",
        pushed.published + pushed.diverged.len(),
        pushed.remote.name,
        pushed.known
    );
    for (count, what) in [
        (pushed.failed.len(), "could not be published"),
        (pushed.not_here.len(), "are not in the store"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    format!("{text} ({})\n", moved_text(&pushed.remote))
}

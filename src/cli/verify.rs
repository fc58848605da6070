//! `repro verify`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::replay::{Shown, each, identical_text, options};
use super::run::{Told, watch_signals};
use super::sharing::RemoteArgs;
use super::{Context, Exit, PipelineArgs, completing};
use crate::ui::notices;
use repro_engine::exchange::Way;
use repro_engine::trust::{Signer, Trust};
use repro_engine::verify::{Replayer, Verified, Verifier, Witness};

/// Execute a recorded action again, compare every bit, and sign the result if they agree.
///
/// The action is executed outside the cache, from the description and inputs that its key is made
/// of. If the outputs are the recorded ones, your signature is added to the result: the more
/// machines agree, the more a result is worth. If they differ, the difference is shown (which
/// output, file and byte and, in tensors and tables, which value) and kept as a report that
/// `repro why` shows, and the exit code is 4. The recorded result stays. Without a signing key
/// (`repro trust init`) nothing is signed, and everything else is the same. With --push, the
/// signature or the report also goes to the remote, and reports of others are read from there.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Instances, stages or claims.
    #[arg(value_name = "INSTANCE", required = true, add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Verify only this many of them, drawn at random each time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Only compare; sign nothing.
    #[arg(long)]
    no_sign: bool,
    /// Ask the remote who else vouches for the results, and fetch from there what is not known
    /// here. (Inputs that were pulled once are fetched from where they were pulled, also without
    /// this option.)
    #[arg(long, conflicts_with = "offline")]
    pull: bool,
    /// Publish the signature, or the report of other bits, on the remote. Also does what --pull
    /// does.
    #[arg(long, conflicts_with = "offline")]
    push: bool,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Keep the private directory of the execution here (for one instance; must not exist).
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Use this many cores; by default all.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Never use the network.
    #[arg(long)]
    offline: bool,
    /// Write an array of objects: instance, key, identical, signers, differing.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &VerifyArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session_to_run()?;
    let mut targets = session.targets(&args.targets)?;
    if let Some(count) = args.sample {
        draw(&mut targets, count as usize)?;
    }
    let trust = Arc::new(Trust::read(&session.project.root)?);
    let way = match args.pull || args.push {
        true => Some(Way::to(&session.project.root, &args.remote.which()?)?),
        false => None,
    };
    // A passphrase is asked for now, not after hours of work.
    let signer = match args.no_sign {
        true => None,
        false => Signer::of_user(&mut crate::terminal::ask_passphrase)?,
    };
    let (options, cancel) = options(args.keep.clone(), args.jobs, args.offline)?;
    let replayer = Replayer::of(&session, &targets, options)?;
    watch_signals(&cancel, Told::Here)?;
    let witness = Witness {
        trust: &trust,
        signer: signer.as_ref(),
        way: way.as_ref(),
        push: args.push,
    };
    let verifier = Verifier::new(replayer, witness);
    each(&session, targets, args.json, |index| {
        let verified = verifier.verify(index, &mut notices())?;
        Ok(verified.map(|verified| Shown {
            text: text(&verified),
            identical: verified.identical,
            found: verified,
        }))
    })
}

/// Leaves `count` of them; every choice is equally likely.
fn draw<T>(targets: &mut Vec<T>, count: usize) -> anyhow::Result<()> {
    for place in 0..count.min(targets.len()) {
        let left = (targets.len() - place) as u64;
        let random = getrandom::u64().map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        targets.swap(place, place + (random % left) as usize);
    }
    targets.truncate(count);
    Ok(())
}

fn text(verified: &Verified) -> String {
    let signers = match verified.signers[..] {
        [] => String::new(),
        _ => format!("; vouched for by {}", verified.signers.join(", ")),
    };
    let instance = &verified.instance;
    if verified.identical {
        let signed = match verified.signed {
            true => "signed",
            false => "not signed",
        };
        let took = (verified.wall_s, verified.recorded_wall_s);
        let same = identical_text(instance, verified.outputs, took);
        return format!("{same}; {signed}{signers}\n");
    }
    let mut text = format!("{instance}: other bits{signers}\n");
    for differing in &verified.differing {
        text += &format!("  output `{}`", differing.output);
        if let Some(first) = &differing.first {
            text += &format!(" {first}");
        }
        text += &format!("\n    recorded {}\n", differing.recorded);
        let made = differing.found.as_deref().unwrap_or("nothing");
        text += &format!("    made     {made}\n");
    }
    text
}

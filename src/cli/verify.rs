//! `repro verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{Context, Exit, PipelineArgs, open, output};
use crate::difference;
use crate::digest::Content;
use crate::exec::Cancel;
use crate::plan::Instance;
use crate::run::{ReplayTerms, Replayed, host_name, replay};
use crate::session::{Hit, Session};
use crate::store::Record;
use crate::survey::Survey;
use crate::trust::{Differing, Divergence, Facts, Signer, SignerName, Trust};
use crate::ui::style::duration;

/// Execute a recorded action again, compare every bit, and sign the result if they agree.
///
/// The action is executed outside the cache from the same description and inputs that its key is made of. Where the outputs are
/// the recorded ones, your signature is added to the result: the more machines agree, the more it is worth. Where they
/// are not, what differs is shown (which output, file, byte and, in tensors and tables, value), kept as an account that
/// `repro why` shows, and the exit code is 4; the recorded result stays. Without a signing key (`repro trust init`)
/// nothing is signed and everything else is the same.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Instances, stages or claims.
    #[arg(value_name = "INSTANCE", required = true)]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Verify only this many of them, drawn anew every time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Compare only; sign nothing.
    #[arg(long)]
    no_sign: bool,
    /// Leave the private directory of the execution here (for one instance; must not exist).
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Cores it may use; all of them when absent.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Never use the network.
    #[arg(long)]
    offline: bool,
    /// Write an array of objects: instance, key, identical, signers, differing.
    #[arg(long)]
    json: bool,
}

/// What came out for one instance.
struct Outcome {
    differing: Vec<Differing>,
    /// Who of those the project lists vouches for the result now.
    signers: Vec<SignerName>,
    is_signed: bool,
    wall_s: f64,
}

/// Runs the command.
pub fn main(context: &Context, args: &VerifyArgs) -> anyhow::Result<Exit> {
    let session = open::session(context, &args.pipeline)?;
    let mut targets = session.targets(&args.targets)?;
    if let Some(count) = args.sample {
        draw(&mut targets, count as usize)?;
    }
    anyhow::ensure!(
        args.keep.is_none() || targets.len() == 1,
        "--keep is for one instance; {} are named",
        targets.len()
    );
    let trust = Trust::read(&session.project.root)?;
    // A passphrase is asked for now, not after hours of work.
    let signer = match args.no_sign {
        true => None,
        false => Signer::of_user()?,
    };
    session.store.start_lease()?;
    let survey = Survey::of(&session, &targets)?;
    let cancel = Arc::new(Cancel::new()?);
    super::run::watch_signals(&cancel)?;
    let cpus = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32));
    let (mut exit, mut values) = (Exit::Done, Vec::new());
    for index in targets {
        let instance = session.plan.instance(index);
        let seen = survey.get(index);
        let (Some(hit), Some(contents)) = (
            seen.and_then(|s| s.hit.as_ref()),
            seen.and_then(|s| s.contents.as_ref()),
        ) else {
            anyhow::bail!(
                "no result of `{}` is recorded, so there is nothing to compare with; `repro run {}` first",
                instance.id,
                instance.id
            );
        };
        let threads = instance.policy.cpus.unwrap_or(cpus).min(cpus);
        let terms = ReplayTerms {
            keep: args.keep.clone(),
            cpus: threads,
            offline: args.offline,
            executable: std::env::current_exe()?,
        };
        let started = jiff::Timestamp::now().to_string();
        let replayed = match replay(&session, instance, contents, terms, &cancel, &mut |_| {})? {
            Ok(replayed) => replayed,
            Err(failure) if matches!(failure.cause, crate::exec::Cause::Cancelled) => {
                return Ok(Exit::Interrupted);
            }
            Err(failure) => {
                eprintln!("error: {}: {}", instance.id, failure.account());
                failure
                    .cause
                    .hint()
                    .iter()
                    .for_each(|hint| eprintln!("help: {hint}"));
                exit = Exit::StageFailed;
                continue;
            }
        };
        let facts = Facts {
            invocation: None,
            started: Some(started),
            finished: Some(jiff::Timestamp::now().to_string()),
            host: Some(host_name()),
            threads: Some(threads.into()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        };
        let verifier = Verifier {
            session: &session,
            trust: &trust,
            signer: signer.as_ref(),
            facts: &facts,
        };
        let outcome = verifier.judge(instance, hit, &replayed)?;
        if args.json {
            values.push(json!({
                "instance": &*instance.id,
                "key": hit.key,
                "identical": outcome.differing.is_empty(),
                "signed": outcome.is_signed,
                "signers": outcome.signers.iter().map(SignerName::as_str).collect::<Vec<_>>(),
                "differing": outcome.differing,
                "wall_s": outcome.wall_s,
            }));
        } else {
            output::text(&text(instance, hit, &outcome))?;
        }
        if !outcome.differing.is_empty() && exit == Exit::Done {
            exit = Exit::Diverged;
        }
    }
    if args.json {
        output::json(&values)?;
    }
    Ok(exit)
}

/// Leaves `count` of them, each choice as likely as any other.
fn draw<T>(targets: &mut Vec<T>, count: usize) -> anyhow::Result<()> {
    for place in 0..count.min(targets.len()) {
        let left = (targets.len() - place) as u64;
        let random = getrandom::u64().map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        targets.swap(place, place + (random % left) as usize);
    }
    targets.truncate(count);
    Ok(())
}

/// What all instances of one command share.
struct Verifier<'a> {
    session: &'a Session,
    trust: &'a Trust,
    signer: Option<&'a Signer>,
    facts: &'a Facts,
}

impl Verifier<'_> {
    /// Compares, and signs or keeps an account.
    fn judge(
        &self,
        instance: &Instance,
        hit: &Hit,
        replayed: &Replayed,
    ) -> anyhow::Result<Outcome> {
        let differing = self.differing(instance, hit, replayed)?;
        let record = self.record(instance, hit)?;
        let (key, result) = (record.key, record.result());
        let store = &self.session.store;
        let mut is_signed = false;
        if differing.is_empty() {
            if let Some(signer) = self.signer {
                let envelope = signer.sign(&record, self.facts);
                store.keep_envelope(&key, &result, &signer.id().to_string(), &envelope)?;
                is_signed = true;
            }
        } else {
            let account = Divergence {
                action_key: key,
                recorded_result: result,
                differing: differing.clone(),
                host: None,
                finished: None,
                version: None,
            };
            let found: BTreeMap<String, Content> = replayed
                .outputs
                .iter()
                .map(|(name, content)| (name.to_string(), *content))
                .collect();
            let account = account.with_facts(self.facts);
            store.keep_divergence(&key, &account.seal(&found, self.signer))?;
        }
        let (signers, _) = self.trust.signers(&record, &store.envelopes(&key, &result));
        Ok(Outcome {
            differing,
            signers: signers.into_iter().collect(),
            is_signed,
            wall_s: replayed.usage.wall_s,
        })
    }

    fn differing(
        &self,
        instance: &Instance,
        hit: &Hit,
        replayed: &Replayed,
    ) -> anyhow::Result<Vec<Differing>> {
        let mut differing = Vec::new();
        for (spec, recorded) in instance.outputs.iter().zip(&hit.outputs) {
            let found = replayed.outputs.get(&spec.name);
            if found.is_some_and(|f| f.shape == recorded.shape && f.digest == recorded.digest) {
                continue;
            }
            let first = match replayed.paths.get(&spec.name) {
                Some(path) => difference::first(
                    &self.session.store,
                    recorded,
                    path,
                    self.session.catalog.describe_difference,
                )?,
                None => None,
            };
            differing.push(Differing {
                output: spec.name.to_string(),
                recorded: recorded.to_string(),
                found: found.map(ToString::to_string),
                first,
            });
        }
        Ok(differing)
    }

    /// The record the hit is of.
    fn record(&self, instance: &Instance, hit: &Hit) -> anyhow::Result<Record> {
        self.session.record_of(instance, hit).ok_or_else(|| {
            anyhow::anyhow!(
                "the record of `{}` is gone; `repro run {}` makes it again",
                instance.id,
                instance.id
            )
        })
    }
}

fn text(instance: &Instance, hit: &Hit, outcome: &Outcome) -> String {
    let names: Vec<&str> = outcome.signers.iter().map(SignerName::as_str).collect();
    let signers = match names[..] {
        [] => String::new(),
        _ => format!("; vouched for by {}", names.join(", ")),
    };
    if outcome.differing.is_empty() {
        let signed = if outcome.is_signed {
            "signed"
        } else {
            "not signed"
        };
        return format!(
            "{}: identical, {} outputs; took {} (recorded: {}); {signed}{signers}\n",
            instance.id,
            hit.outputs.len(),
            duration(outcome.wall_s),
            duration(f64::from(hit.wall_s)),
        );
    }
    let mut text = format!("{}: other bits{signers}\n", instance.id);
    for differing in &outcome.differing {
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

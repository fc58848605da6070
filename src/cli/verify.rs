//! `repro verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::sharing::{RemoteArgs, network};
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::notices;
use crate::ui::style::duration;
use repro_engine::difference;
use repro_engine::digest::{Content, Digest};
use repro_engine::exchange::{Network, Way, bring, bring_inputs};
use repro_engine::exec::Cancel;
use repro_engine::plan::{Instance, Source};
use repro_engine::remote::divergence;
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::lookup::{Answer, look_up};
use repro_engine::remote::publish::{Publication, publish};
use repro_engine::run::{ReplayTerms, Replayed, replay};
use repro_engine::session::{Hit, Session};
use repro_engine::store::{Pending, Record, Staged, host_name};
use repro_engine::survey::Survey;
use repro_engine::trust::{Differing, Divergence, Facts, Signer, SignerName, Trust};

/// Execute a recorded action again, compare every bit, and sign the result if they agree.
///
/// The action is executed outside the cache from the same description and inputs that its key is made of. Where the outputs are
/// the recorded ones, your signature is added to the result: the more machines agree, the more it is worth. Where they
/// are not, what differs is shown (which output, file, byte and, in tensors and tables, value), kept as an account that
/// `repro why` shows, and the exit code is 4; the recorded result stays. Without a signing key (`repro trust init`)
/// nothing is signed and everything else is the same. With --push, signature or account go to the remote too, under the
/// same result, and what others told there is heard.
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
    /// Hear on the remote who else vouches, and get from there what nothing here knows of. (Inputs that were pulled once come from
    /// where they were pulled also without this.)
    #[arg(long, conflicts_with = "offline")]
    pull: bool,
    /// Publish the signature, or the account of other bits, on the remote; as --pull otherwise.
    #[arg(long, conflicts_with = "offline")]
    push: bool,
    #[command(flatten)]
    remote: RemoteArgs,
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
    let session = args.pipeline.opening(context).session_to_run()?;
    let mut targets = session.targets(&args.targets)?;
    if let Some(count) = args.sample {
        draw(&mut targets, count as usize)?;
    }
    anyhow::ensure!(
        args.keep.is_none() || targets.len() == 1,
        "--keep is for one instance; {} are named",
        targets.len()
    );
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
        let mut verifier = Verifier {
            session: &session,
            trust: &trust,
            signer: signer.as_ref(),
            way: way.as_ref(),
            push: args.push,
            network: network(args.offline),
            facts: Facts::default(),
        };
        verifier.prepare(instance, contents)?;
        // Better now than after hours of work.
        let record = verifier.record(instance, hit)?;
        let terms = ReplayTerms {
            keep: args.keep.clone(),
            cpus: threads,
            offline: args.offline,
            executable: std::env::current_exe()?,
            lineage: survey.lineage(&session, index),
        };
        let started = jiff::Timestamp::now().to_string();
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
        verifier.facts = Facts {
            invocation: None,
            started: Some(started),
            finished: Some(jiff::Timestamp::now().to_string()),
            host: Some(host_name()),
            threads: Some(threads.into()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        };
        let outcome = verifier.judge(instance, hit, record, &replayed)?;
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
        if let Some(way) = &way {
            way.tell_warnings(&mut notices());
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
    trust: &'a Arc<Trust>,
    signer: Option<&'a Signer>,
    way: Option<&'a Way>,
    /// The remote is to hear of it.
    push: bool,
    /// Without `way`: for bytes that are known from a remote.
    network: Network,
    /// Of the execution.
    facts: Facts,
}

impl Verifier<'_> {
    /// Gets the inputs that are not here.
    fn prepare(&self, instance: &Instance, contents: &[Vec<Content>]) -> anyhow::Result<()> {
        let Some(way) = self.way else {
            return bring_inputs(
                self.session,
                instance,
                contents,
                self.network,
                &mut notices(),
            );
        };
        let items = instance.needs.iter().zip(contents);
        let produced = items.flat_map(|(need, contents)| need.items.iter().zip(contents));
        let wanted: Vec<Content> = produced
            .filter(|(item, _)| matches!(item.source, Source::Output { .. }))
            .map(|(_, content)| *content)
            .filter(|content| !self.session.store.has(content).unwrap_or(false))
            .collect();
        for outcome in fetch(&way.link, &self.session.store, &wanted)? {
            outcome.with_context(|| format!("an input of `{}` is not to be had", instance.id))?;
        }
        Ok(())
    }

    /// Compares, and signs or keeps an account.
    fn judge(
        &self,
        instance: &Instance,
        hit: &Hit,
        record: Record,
        replayed: &Replayed,
    ) -> anyhow::Result<Outcome> {
        let differing = self.differing(instance, hit, replayed)?;
        let (key, result) = (record.key, record.result());
        let store = &self.session.store;
        let mut is_signed = false;
        if differing.is_empty() {
            self.keep(&record, replayed)?;
            if let Some(signer) = self.signer {
                let id = signer.id().to_string();
                let envelope = signer.sign(&record, &self.facts);
                store.keep_envelope(&key, &result, &id, &envelope)?;
                is_signed = true;
                self.publish(&record, &id, envelope)?;
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
            let account = account.with_facts(&self.facts).seal(&found, self.signer);
            store.keep_divergence(&key, &account)?;
            if let Some(way) = self.way.filter(|_| self.push) {
                divergence::tell(&way.link, &key, &account)?;
            }
        }
        if let Some(way) = self.way {
            // For who else vouches.
            let _ = self.on_the_remote(&key);
            for account in divergence::heard(&way.link, &key) {
                if Divergence::open(&account, &key, self.trust).is_some() {
                    store.keep_divergence(&key, &account)?;
                }
            }
        }
        let (signers, _) = self.trust.signers(&record, &store.envelopes(&key, &result));
        Ok(Outcome {
            differing,
            signers: signers.into_iter().collect(),
            is_signed,
            wall_s: replayed.usage.wall_s,
        })
    }

    /// A result whose bytes are elsewhere has them here now: they were just made.
    fn keep(&self, record: &Record, replayed: &Replayed) -> anyhow::Result<()> {
        let store = &self.session.store;
        for (name, content) in &record.outputs {
            if !store.has(content)?
                && let Some(path) = replayed.paths.get(name.as_str())
            {
                let (made, staged) = store.absorb_copy(path)?;
                store.keep(&made, staged)?;
            }
        }
        let mut record = record.clone();
        // It was executed here now, so here it needs nobody else's word.
        record.observation = json!({
            "at": self.facts.started,
            "host": self.facts.host,
            "threads": self.facts.threads,
            "version": self.facts.version,
            "wall_s": replayed.usage.wall_s,
            "cpu_s": replayed.usage.cpu_s,
            "max_rss_bytes": replayed.usage.max_rss_bytes,
        });
        let pending = Pending {
            record,
            staged: Staged::default(),
        };
        for committed in store.commit(vec![pending]) {
            committed?;
        }
        Ok(())
    }

    fn publish(&self, record: &Record, id: &str, envelope: Vec<u8>) -> anyhow::Result<()> {
        let Some(way) = self.way.filter(|_| self.push) else {
            return Ok(());
        };
        let publication = Publication {
            record: record.clone(),
            signatures: vec![(id.parse()?, envelope)],
        };
        for published in publish(&way.link, &self.session.store, vec![publication]) {
            published.map_err(|why| {
                anyhow::anyhow!(
                    "the signature was not published on `{}`: {why}",
                    way.link.name()
                )
            })?;
        }
        Ok(())
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
            if found.is_some_and(|f| f.has_same_bytes(recorded)) {
                continue;
            }
            let first = match replayed.paths.get(&spec.name) {
                Some(path) if self.is_here(recorded)? => difference::first(
                    &self.session.store,
                    recorded,
                    path,
                    self.session.catalog.describe_difference,
                )?,
                _ => None,
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

    /// Whether the recorded bytes are here, or can be had.
    fn is_here(&self, recorded: &Content) -> anyhow::Result<bool> {
        match self.way {
            Some(way) => drop(fetch(&way.link, &self.session.store, &[*recorded])?),
            None => drop(bring(
                self.session,
                vec![*recorded],
                self.network,
                &mut notices(),
            )?),
        }
        Ok(self.session.store.has(recorded)?)
    }

    /// The result the remote has, if it is believed; its signatures are kept here.
    fn on_the_remote(&self, key: &Digest) -> Option<Record> {
        let way = self.way?;
        let mut found = None;
        look_up(&way.link, self.trust, vec![*key], |_, answer| {
            if let Answer::Hit(believed) = answer {
                repro_engine::run::keep_envelopes(&self.session.store, &believed);
                found = Some(believed.record);
            }
        });
        found
    }

    /// The record the hit is of; one whose bytes are elsewhere may be there as well.
    fn record(&self, instance: &Instance, hit: &Hit) -> anyhow::Result<Record> {
        if let Some(record) = self.session.record_of(instance, hit) {
            return Ok(record);
        }
        let found = self.on_the_remote(&hit.key);
        let of_hit = |record: &Record| self.session.is_record_of(instance, hit, record);
        found.filter(of_hit).with_context(|| {
            format!(
                "the result of `{}` is not here, only what it should be; --pull looks for it on the remote",
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

//! `repro export` and `repro import`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::sharing::network;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::notices;
use crate::ui::style::bytes;
use repro_engine::exchange::{Network, bring};
use repro_engine::export::import::{Belief, import};
use repro_engine::export::rocrate::{self, About};
use repro_engine::export::{Selection, bundle};
use repro_engine::trust::{self, Facts, Signer, Trust};

/// Write results to a file: for people and archives (--crate), or for a machine without network (--bundle).
///
/// Without targets: the results nothing else needs. A crate holds their files, the pipeline and its inputs, and a description
/// of how they were made that other programs read (Workflow Run RO-Crate). A bundle holds in addition everything they
/// need, so that `repro import` elsewhere executes nothing; signatures go along.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Stages, instances or claims.
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write a Workflow Run RO-Crate: a directory that is not there yet, or a file that ends in .zip.
    #[arg(
        long = "crate",
        value_name = "DIR|ZIP",
        required_unless_present = "bundle"
    )]
    crate_: Option<PathBuf>,
    /// Write a bundle, to be read by `repro import`.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Sign the results that were made here and that you have not signed yet (see `repro trust`).
    #[arg(long)]
    sign: bool,
    /// The licence of the crate, its name or URL.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "not stated",
        requires = "crate_"
    )]
    license: String,
    /// Who ran it, for the crate; the login name when absent.
    #[arg(long, value_name = "NAME", requires = "crate_")]
    author: Option<String>,
    /// Never use the network: fail where a result is on a remote only.
    #[arg(long)]
    offline: bool,
    /// Write one object: results, signatures, bytes.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn export(context: &Context, args: &ExportArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    session.store.start_lease()?;
    let targets = match args.targets[..] {
        [] => Vec::new(),
        _ => session.targets(&args.targets)?,
    };
    let mut selection = Selection::of(&session, &targets)?;
    bring_all(&selection, network(args.offline))?;
    if args.sign {
        sign(&mut selection)?;
    }
    let mut said = json!({"results": selection.pieces.len()});
    let mut text = String::new();
    if let Some(path) = &args.bundle {
        let written = bundle::write(&selection, path)?;
        said["bundle"] = json!({"signatures": written.envelopes, "bytes": written.bytes});
        text += &format!(
            "wrote {}: {} results, {} signatures, {}\n",
            path.display(),
            written.results,
            written.envelopes,
            bytes(written.bytes)
        );
    }
    if let Some(path) = &args.crate_ {
        let author = args.author.clone();
        let author = author.or_else(|| std::env::var("USER").ok().filter(|u| !u.is_empty()));
        let about = About {
            license: args.license.clone(),
            author: author.unwrap_or_else(|| "unknown".into()),
        };
        rocrate::write(&selection, &about, path)?;
        let shown = selection.pieces.iter().filter(|p| p.is_target).count();
        said["crate"] = json!({"results": shown});
        text += &format!("wrote {}: {shown} results\n", path.display());
    }
    match args.json {
        true => output::json(&said)?,
        false => output::text(&text)?,
    }
    Ok(Exit::Done)
}

/// What was pulled and is on the remote only goes along too.
fn bring_all(selection: &Selection<'_>, network: Network) -> anyhow::Result<()> {
    let failed = bring(
        selection.session,
        selection.contents(),
        network,
        &mut notices(),
    )?;
    for piece in &selection.pieces {
        if let Some(why) = piece.record.outputs.values().find_map(|c| failed.get(c)) {
            let id = &selection.instance(piece).id;
            anyhow::bail!(
                "the result of `{id}` is on the remote only ({why}); `repro pull '{id}'` gets it"
            );
        }
    }
    Ok(())
}

/// Adds the user's signature to results of their own.
fn sign(selection: &mut Selection<'_>) -> anyhow::Result<()> {
    let signer = Signer::of_user(&mut crate::terminal::ask_passphrase)?.ok_or_else(|| {
        anyhow::anyhow!("you have no key to sign with; `repro trust init` makes one")
    })?;
    let store = &selection.session.store;
    for piece in &mut selection.pieces {
        let is_signed = piece
            .envelopes
            .iter()
            .any(|e| trust::claimed_signer(e) == Some(signer.id()));
        if is_signed || !trust::is_own(&piece.record) {
            continue;
        }
        let record = &piece.record;
        let envelope = signer.sign(record, &Facts::of(record));
        store.keep_envelope(
            &record.key,
            &record.result(),
            &signer.id().to_string(),
            &envelope,
        )?;
        piece.envelopes.push(envelope);
    }
    Ok(())
}

/// Take the results of a bundle into the store.
///
/// Results are taken when signers that the project lists have signed them (repro.trust.toml of the project here, or the file
/// REPRO_TRUST_FILE names); others are left out, with the reason. With --into, the pipeline, its inputs and the lock
/// file are put into a new directory, where `repro run` then finds every result. The network is not used.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// What `repro export --bundle` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put the project's files here; must be empty or not there.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Believe whoever made the bundle: take results whether signed or not. They then serve this project (with --into the new one),
    /// and no other.
    #[arg(long)]
    unsigned: bool,
    /// Write one object: results, disbelieved.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn import_(context: &Context, args: &ImportArgs) -> anyhow::Result<Exit> {
    let store = context.opening(None).store()?;
    let project = context.opening(None).project();
    let trust = match &project {
        Ok(project) => Trust::read(&project.root)?,
        Err(_) => Trust::read(&std::env::current_dir()?)?,
    };
    let state = match (&args.into, &project) {
        (Some(into), _) => Some(into.join(".repro")),
        (None, Ok(project)) => Some(project.state()),
        (None, Err(_)) => None,
    };
    anyhow::ensure!(
        state.is_some() || !args.unsigned,
        "--unsigned is said for one project, and there is none here: go to it, or add --into DIR"
    );
    let belief = match args.unsigned {
        true => Belief::Maker,
        false => Belief::Signers(&trust),
    };
    let imported = import(&store, &args.file, &belief, args.into.as_deref())?;
    if let (true, Some(state)) = (args.unsigned, &state) {
        trust::accept(state, &imported.taken)?;
    }
    if args.json {
        let disbelieved: Vec<_> = imported
            .disbelieved
            .iter()
            .map(|(id, reason)| json!({"instance": id, "reason": reason.to_string()}))
            .collect();
        output::json(&json!({"results": imported.results, "disbelieved": disbelieved}))?;
        return Ok(Exit::Done);
    }
    for (instance, reason) in &imported.disbelieved {
        crate::say!("warning: the result of `{instance}` is left out: {reason}");
    }
    let mut text = format!("took {} results in\n", imported.results.len());
    if let Some(into) = &args.into {
        text += &format!(
            "the project is in {}; next: repro run there\n",
            into.display()
        );
    }
    output::text(&text)?;
    Ok(Exit::Done)
}

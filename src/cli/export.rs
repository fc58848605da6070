//! `repro export` and `repro import`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::sharing::network;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::notices;
use crate::ui::style::bytes;
use repro_engine::export::rocrate::{self, About};
use repro_engine::export::take_in::{Whose, take_in};
use repro_engine::export::{Selection, bundle, tensorboard};
use repro_engine::results::Results;
use repro_engine::session::Session;
use repro_engine::trust::Signer;

/// Write results to a file: for people and archives (--crate), for a machine without a network
/// (--bundle), or for TensorBoard (--tensorboard).
///
/// Without targets, the results are exported that nothing else needs. A crate holds their files,
/// the pipeline and its inputs, and a description of how they were made that other programs can
/// read (Workflow Run RO-Crate). A bundle also holds everything they need, with signatures, so that
/// `repro import` on another machine executes nothing.
///
/// With --tensorboard the metrics of the targets (by default of all stages) are written as event
/// files: a directory for each instance, such as `DIR/train/lr=0.1,seed=1`, with the tags
/// `test/accuracy` and so on over epochs, or over steps where epochs do not tell values apart. An
/// export into the same directory replaces the files of the one before.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Stages, instances or claims.
    #[arg(value_name = "TARGETS", add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write a Workflow Run RO-Crate: a new directory, or a file that ends in .zip.
    #[arg(
        long = "crate",
        value_name = "DIR|ZIP",
        required_unless_present_any = ["bundle", "tensorboard"]
    )]
    crate_: Option<PathBuf>,
    /// Write a bundle, which `repro import` reads.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Write metrics as event files of TensorBoard below this directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["crate_", "bundle", "sign"])]
    tensorboard: Option<PathBuf>,
    /// Sign the results that were made here and that you have not signed yet (see `repro trust`).
    #[arg(long)]
    sign: bool,
    /// The licence of the crate: a name or a URL.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "not stated",
        requires = "crate_"
    )]
    license: String,
    /// Who ran the study, for the crate; by default the login name.
    #[arg(long, value_name = "NAME", requires = "crate_")]
    author: Option<String>,
    /// Never use the network: fail if a result is only on a remote (with --tensorboard: leave it
    /// out).
    #[arg(long)]
    offline: bool,
    /// Write one object: results, signatures, bytes; with --tensorboard runs, values, open,
    /// left_out.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn export(context: &Context, args: &ExportArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    session.store.start_lease()?;
    if let Some(dir) = &args.tensorboard {
        return events(&session, dir, args);
    }
    let targets = match args.targets[..] {
        [] => Vec::new(),
        _ => session.targets(&args.targets)?,
    };
    let mut selection = Selection::of(&session, &targets)?;
    selection.bring(network(args.offline), &mut notices())?;
    if args.sign {
        let signer = Signer::of_user(&mut crate::terminal::ask_passphrase)?;
        selection
            .sign(&signer.context("you have no key to sign with; `repro trust init` makes one")?)?;
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

/// Metrics for TensorBoard.
fn events(session: &Session, dir: &Path, args: &ExportArgs) -> anyhow::Result<Exit> {
    let results = Results::of(session, &args.targets)?;
    let written = tensorboard::write(&results, network(args.offline), &mut notices(), dir)?;
    if args.json {
        output::json(&written)?;
        return Ok(Exit::Done);
    }
    for (table, why) in &written.left_out {
        crate::say!("warning: {table} is left out: {why}");
    }
    output::text(&format!(
        "wrote {}: {} runs, {} values\n",
        dir.display(),
        written.runs,
        written.values
    ))?;
    if written.open > 0 {
        crate::say!(
            "{} tables have no result yet (see `repro status`)",
            written.open
        );
    }
    Ok(Exit::Done)
}

/// Read the results of a bundle into the store.
///
/// Results are accepted if signers listed in repro.trust.toml of the project here (or in the file
/// named by REPRO_TRUST_FILE) have signed them. Other results are left out, with the reason. With
/// --into, the pipeline, its inputs and the lock file are written to a new directory, where
/// `repro run` then finds every result. The network is not used.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// A file written by `repro export --bundle`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the project's files to this directory, which must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Trust whoever made the bundle: accept results whether signed or not. This project (with
    /// --into the new one) can then use them, and no other project.
    #[arg(long)]
    unsigned: bool,
    /// Write one object: results, disbelieved.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn import(context: &Context, args: &ImportArgs) -> anyhow::Result<Exit> {
    let whose = match args.unsigned {
        true => Whose::Makers,
        false => Whose::Signers,
    };
    let opening = context.opening(None);
    let imported = take_in(&opening, &args.file, args.into.as_deref(), whose)?;
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

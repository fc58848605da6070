//! `repro fsck`.

use clap::Args;
use serde_json::json;

use super::{Context, Exit, output};
use crate::ui::notices;
use crate::ui::style::bytes;
use repro_engine::exchange::{Way, Which};
use repro_engine::store::Remedy;

/// Check the whole store, or a whole remote: every byte, every name, every reference.
///
/// Damage is never used, with or without this command: what needs a damaged object runs again. With --repair what is
/// wrong moves to quarantine/ in the store. Exit code 5 when something is wrong and was not repaired.
///
/// With --remote everything that lies on a remote is read. With --repair what the store has is sent again, and what stays
/// wrong is removed: then the next push of a machine that has it brings it back.
#[derive(Debug, Clone, Args)]
pub struct FsckArgs {
    /// Move what is wrong aside; on a remote, send it again or remove it.
    #[arg(long)]
    repair: bool,
    /// Check a remote: the one named, or the default one.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    remote: Option<String>,
    /// With --remote: the part of the remote that untrusted writers use.
    #[arg(long, value_name = "NAME", requires = "remote")]
    scope: Option<String>,
    /// With --remote: pipeline file or its directory; the nearest pipeline.yaml upwards when absent.
    #[arg(short = 'C', long, value_name = "FILE", requires = "remote")]
    file: Option<std::path::PathBuf>,
    /// Write one object: objects, trees, records, states (not of a remote), bytes_total, findings.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &FsckArgs) -> anyhow::Result<Exit> {
    if let Some(name) = &args.remote {
        return of_remote(context, args, name);
    }
    let store = context.opening(None).store()?;
    let report = store.fsck(args.repair)?;
    let remedy = |remedy: &Remedy| match remedy {
        Remedy::None(None) => "left as it is (repro fsck --repair moves it aside)".to_owned(),
        Remedy::None(Some(why)) => format!("could not be repaired: {why}"),
        Remedy::MovedAside => "moved aside; what needs it runs again".to_owned(),
        Remedy::Fixed => "repaired".to_owned(),
        Remedy::LeftAlone => "harmless, left alone".to_owned(),
    };
    if args.json {
        let findings: Vec<_> = report.findings.iter().map(|f| json!({"path": f.path.to_string_lossy(), "problem": f.problem, "remedy": remedy(&f.remedy)})).collect();
        output::json(&json!({
            "objects": report.objects, "trees": report.trees, "records": report.records, "states": report.states,
            "bytes_total": report.bytes_total, "findings": findings,
        }))?;
    } else {
        let mut text = String::new();
        for finding in &report.findings {
            text.push_str(&format!(
                "{}: {}; {}\n",
                finding.path.display(),
                finding.problem,
                remedy(&finding.remedy)
            ));
        }
        text.push_str(&format!(
            "{} objects ({}), {} trees, {} results, {} states checked: {}\n",
            report.objects,
            bytes(report.bytes_total),
            report.trees,
            report.records,
            report.states,
            if report.findings.is_empty() {
                "all is well".to_owned()
            } else {
                format!("{} findings", report.findings.len())
            }
        ));
        output::text(&text)?;
    }
    let broken = report
        .findings
        .iter()
        .any(|f| matches!(f.remedy, Remedy::None(_)));
    Ok(if broken {
        Exit::StoreBroken
    } else {
        Exit::Done
    })
}

/// Checks a remote; an empty name is the default one.
fn of_remote(context: &Context, args: &FsckArgs, name: &str) -> anyhow::Result<Exit> {
    use repro_engine::remote::fsck::{Remedy, fsck};
    let project = context.opening(args.file.as_deref()).project()?;
    let name = Some(name).filter(|n| !n.is_empty());
    let which = Which::named(name, args.scope.as_deref())?;
    let way = Way::to(&project.root, &which)?;
    let store = std::sync::Arc::new(context.opening(None).store()?);
    let report = fsck(&way.link, &store, args.repair);
    way.tell_warnings(&mut notices());
    let report = report?;
    let remedy = |remedy: &Remedy| match remedy {
        Remedy::None(None) => {
            "left as it is (`repro fsck --remote --repair` sends it again or removes it)".to_owned()
        }
        Remedy::None(Some(why)) => format!("could not be repaired: {why}"),
        Remedy::SentAgain => "sent again from the store".to_owned(),
        Remedy::Removed => "removed; a push of who has it, or a run, brings it back".to_owned(),
        Remedy::LeftAlone => "harmless, left alone".to_owned(),
    };
    if args.json {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|f| json!({"name": f.name.as_str(), "problem": f.problem, "remedy": remedy(&f.remedy)}))
            .collect();
        output::json(&json!({
            "objects": report.objects, "trees": report.trees, "records": report.records,
            "bytes_total": report.bytes_total, "findings": findings, "remote": serde_json::to_value(way.used())?,
        }))?;
    } else {
        let mut text = String::new();
        for finding in &report.findings {
            let done = remedy(&finding.remedy);
            text += &format!("{}: {}; {done}\n", finding.name, finding.problem);
        }
        text += &format!(
            "{} objects, {} listings and packs, {} records and heads ({}) checked on `{}`: {}\n",
            report.objects,
            report.trees,
            report.records,
            bytes(report.bytes_total),
            way.link.name(),
            match report.findings.len() {
                0 => "nothing is wrong".to_owned(),
                n => format!("{n} findings"),
            }
        );
        output::text(&text)?;
    }
    let is_open = |f: &repro_engine::remote::fsck::Finding| matches!(f.remedy, Remedy::None(_));
    Ok(match report.findings.iter().any(is_open) {
        true => Exit::StoreBroken,
        false => Exit::Done,
    })
}

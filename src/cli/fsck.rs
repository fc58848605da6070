//! `repro fsck`.

use clap::Args;
use serde_json::json;

use super::{Context, Exit, open, output};
use crate::store::Remedy;
use crate::ui::style::bytes;

/// Check the whole store: every byte, every name, every reference.
///
/// Damage is never used, with or without this command: what needs a damaged object runs again. With --repair what is
/// wrong moves to quarantine/ in the store. Exit code 5 when something is wrong and was not repaired.
#[derive(Debug, Clone, Args)]
pub struct FsckArgs {
    /// Move what is wrong aside.
    #[arg(long)]
    repair: bool,
    /// Write one object: objects, trees, records, states, bytes_total, findings.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(_context: &Context, args: &FsckArgs) -> anyhow::Result<Exit> {
    let store = open::store()?;
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

//! `repro fsck`.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{Context, Exit, output};
use crate::ui::notices;
use crate::ui::style::bytes;
use repro_engine::exchange::{Way, Which};
use repro_engine::store::{LockProbe, Locks, Probe, Reach, Remedy, Store, Waiting};

/// Check the whole store, or a whole remote: every byte, every name, every reference.
///
/// Damaged objects are never used, with or without this command: a stage that needs one runs again.
/// With --repair, damaged files move to quarantine/ in the store. The exit code is 5 if something
/// is wrong and was not repaired.
///
/// The file system of the store is tested too: locks, links, renames, names, times. Whether its
/// locks hold between two machines takes two machines: start --probe-lock on one, and within five
/// minutes on the other. The exit code is 5 if both get the same lock.
///
/// With --remote, everything on a remote is read. With --repair, what the store has is sent again,
/// and what stays wrong is removed: the next push from a machine that has it brings it back.
#[derive(Debug, Clone, Args)]
pub struct FsckArgs {
    /// Move damaged files aside; on a remote, send them again or remove them.
    #[arg(long)]
    repair: bool,
    /// Check a remote: the named one, or the default one.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    remote: Option<String>,
    /// With --remote: the scope, for results of untrusted writers.
    #[arg(long, value_name = "NAME", requires = "remote")]
    scope: Option<String>,
    /// With --remote: pipeline file or its directory; by default the nearest pipeline.yaml in this
    /// directory or above.
    #[arg(short = 'C', long, value_name = "FILE", requires = "remote")]
    file: Option<std::path::PathBuf>,
    /// Only test whether a lock on the store holds between this machine and another.
    #[arg(long, conflicts_with_all = ["repair", "remote", "json"])]
    probe_lock: bool,
    /// Write one object: file_system (null if the store cannot be written), objects, trees,
    /// records, states (not of a remote), bytes_total, findings.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &FsckArgs) -> anyhow::Result<Exit> {
    if let Some(name) = &args.remote {
        return of_remote(context, args, name);
    }
    let store = context.opening(None).store()?;
    if args.probe_lock {
        return try_lock(&store);
    }
    let probe = match store.probe() {
        Err(e) if !e.is_write_refused() => return Err(e.into()),
        other => other.ok(),
    };
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
            "file_system": probe.as_ref().map(abilities_json),
            "objects": report.objects, "trees": report.trees, "records": report.records, "states": report.states,
            "bytes_total": report.bytes_total, "findings": findings,
        }))?;
    } else {
        let mut text = match &probe {
            Some(probe) => abilities(store.root(), probe),
            None => "The store cannot be written: its file system was not tested.\n".to_owned(),
        };
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

fn yes(is: bool) -> &'static str {
    match is {
        true => "yes",
        false => "no",
    }
}

fn reach_word(probe: &Probe) -> &'static str {
    match probe.file_system.reach {
        Reach::Local => "local",
        Reach::Remote => "remote",
        Reach::Unknown => "unknown",
    }
}

fn abilities_json(probe: &Probe) -> serde_json::Value {
    let locks = match probe.locks {
        Locks::Kept => "kept",
        Locks::Ignored => "ignored",
        Locks::Missing => "missing",
        Locks::Unknown => "unknown",
    };
    json!({
        "name": probe.file_system.name, "reach": reach_word(probe), "locks": locks, "hard_links": probe.hard_links,
        "reflinks": probe.reflinks, "renames_over": probe.renames_over, "renames_if_free": probe.renames_if_free,
        "case_counts": probe.case_counts, "time_step_ns": probe.time_step_ns,
    })
}

/// What the file system can do, and what follows for locks.
fn abilities(root: &Path, probe: &Probe) -> String {
    let sort = probe.file_system.name;
    let reach = match probe.file_system.reach {
        Reach::Local => "of this machine",
        Reach::Remote => "that other machines or processes serve",
        Reach::Unknown => "that other machines may use",
    };
    let locks = match probe.locks {
        Locks::Kept => "hold between processes of this machine",
        Locks::Ignored => {
            "are granted to everybody, so the names in lock files and their times decide"
        }
        Locks::Missing => {
            "do not exist, so names and times of lock files decide, and `repro gc` refuses"
        }
        Locks::Unknown => "could not be tested",
    };
    let between = match probe.file_system.reach {
        Reach::Local => "",
        _ => {
            "\n  between machines: one machine cannot tell; run `repro fsck --probe-lock` on two. Until then a \
             machine's work is left alone until it has been silent for ten minutes"
        }
    };
    let step = match probe.time_step_ns {
        None => "not kept as they are set".to_owned(),
        Some(ns @ ..1_000) => format!("to {ns} ns"),
        Some(ns @ ..1_000_000) => format!("to {} µs", ns / 1_000),
        Some(ns @ ..1_000_000_000) => format!("to {} ms", ns / 1_000_000),
        Some(ns) => format!("to {} s", ns / 1_000_000_000),
    };
    format!(
        "{}: {sort}, {reach}\n  locks: {locks}{between}\n  hard links: {}; shared blocks: {}; renaming over a file: {}; \
         renaming only to a free name: {}\n  upper and lower case differ: {}; times: {step}\n",
        root.display(),
        yes(probe.hard_links),
        yes(probe.reflinks),
        yes(probe.renames_over),
        yes(probe.renames_if_free),
        yes(probe.case_counts),
    )
}

/// How long the first machine holds the lock of the test.
const HELD: Duration = Duration::from_secs(300);

/// Holds the lock of the test, or says what another machine's lock is worth here.
fn try_lock(store: &Store) -> anyhow::Result<Exit> {
    let name = |by: &Waiting| {
        by.host
            .clone()
            .unwrap_or_else(|| "the other machine".to_owned())
    };
    let (text, exit) = match store.probe_lock()? {
        LockProbe::Held(lock) => {
            output::text(
                "The lock is held here for five minutes. Run `repro fsck --probe-lock` on the other machine now; it says \
                 what locks are worth between the two. Ctrl-C ends this.\n",
            )?;
            let begun = Instant::now();
            while begun.elapsed() < HELD {
                std::thread::sleep(Duration::from_secs(1));
            }
            drop(lock);
            ("The lock is free again.\n".to_owned(), Exit::Done)
        }
        LockProbe::HeldHere(_) => {
            let text = "A process of this machine holds the lock: run this on another machine.\n";
            (text.to_owned(), Exit::Usage)
        }
        LockProbe::Kept(by) => {
            let text = format!(
                "Locks hold between {} and this machine: this machine was refused the lock that is held there.\n",
                name(&by)
            );
            (text, Exit::Done)
        }
        LockProbe::Ignored(by) => {
            let text = format!(
                "Locks do not hold between {} and this machine: both have the same one. Runs wait for each other by names \
                 and times of lock files instead. Run `repro gc` only while nobody else runs, or mount the file system \
                 with locks for all machines (Lustre: `-o flock`, not `localflock`; NFS: not `local_lock`).\n",
                name(&by)
            );
            (text, Exit::StoreBroken)
        }
        LockProbe::Gone(by) => {
            let text = format!(
                "There was no answer from {}, which held the lock: start this again there, then here.\n",
                name(&by)
            );
            (text, Exit::Usage)
        }
    };
    output::text(&text)?;
    Ok(exit)
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
        Remedy::Removed => {
            "removed; a push from a machine that has it, or a run, brings it back".to_owned()
        }
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

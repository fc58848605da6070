//! `repro gc`: what the store may lose, said before it is done.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, Exit, open, output};
use crate::digest::{Digest, Shape};
use crate::index::Index;
use crate::record::lockfile::LockFile;
use crate::store::{GcPlan, GcPolicy, Root, Store};
use crate::ui::style::{bytes, duration};

const DAY: Duration = Duration::from_secs(86_400);
/// Results named one by one in the plan.
const NAMED: usize = 10;

/// Remove from the store what no project needs.
///
/// Kept is what the repro.lock and the last runs of every project that used the store name, what is pinned or in use by a
/// running process, and everything younger than --keep-days. Results of earlier versions of a pipeline go: should they be
/// wanted again, they are executed again. Without --yes only the plan is shown.
#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Do it.
    #[arg(short, long)]
    yes: bool,
    /// Keep what is younger, whoever needs it.
    #[arg(long, value_name = "N", default_value_t = 30)]
    keep_days: u32,
    /// Keep resumable states that are younger.
    #[arg(long, value_name = "N", default_value_t = 7)]
    keep_states_days: u32,
    /// Strike projects from the list whose directories are gone, so that their results may go too.
    #[arg(long)]
    forget_gone_projects: bool,
    /// Write one object: bytes_total, bytes_before, objects, trees, states, actions, recompute_s, done.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(_context: &Context, args: &GcArgs) -> anyhow::Result<Exit> {
    let store = open::store()?;
    let mut roots = HashSet::new();
    let mut gone = Vec::new();
    for project in store.projects()? {
        match project.try_exists() {
            Ok(true) => add_roots(&project, &mut roots)?,
            Ok(false) if args.forget_gone_projects => {
                if args.yes {
                    store.forget_project(&project)?;
                }
            }
            Ok(false) => gone.push(project),
            Err(e) => anyhow::bail!(
                "cannot ask the project `{}` what it needs: {e}",
                project.display()
            ),
        }
    }
    if !gone.is_empty() {
        let names: Vec<String> = gone.iter().map(|p| format!("`{}`", p.display())).collect();
        // It may lie on a disk that is not mounted now; what it needs cannot be known.
        anyhow::bail!(
            "these projects used the store and are not there now: {}; make them reachable, or add --forget-gone-projects",
            names.join(", ")
        );
    }
    let policy = GcPolicy {
        grace: DAY * args.keep_days,
        states_grace: DAY * args.keep_states_days,
    };
    let plan = if args.yes {
        store.gc(&roots, &policy)?
    } else {
        store.gc_plan(&roots, &policy)?
    };
    say(&store, &plan, args)?;
    Ok(Exit::Done)
}

/// What a project names in its lock file and its index.
fn add_roots(project: &Path, roots: &mut HashSet<Root>) -> anyhow::Result<()> {
    let index = Index::load(&project.join(".repro").join("index"));
    for (_, known) in index.iter() {
        roots.insert(Root::Action(known.key));
        roots.extend(
            known
                .outputs
                .iter()
                .map(|c| Root::Content(c.shape, c.digest)),
        );
    }
    let lock = LockFile::read(&project.join("repro.lock"))
        .map_err(|e| e.context("gc keeps what repro.lock names, so it must be readable"))?;
    for block in lock.blocks.values() {
        roots.insert(Root::Action(block.key));
        roots.extend(block.outputs.values().filter_map(|text| content_root(text)));
    }
    Ok(())
}

fn content_root(text: &str) -> Option<Root> {
    let (shape, hex) = text.split_once(':')?;
    let digest: Digest = hex.parse().ok()?;
    match shape {
        "file" => Some(Root::Content(Shape::File, digest)),
        "tree" => Some(Root::Content(Shape::Tree, digest)),
        _ => None,
    }
}

fn say(store: &Store, plan: &GcPlan, args: &GcArgs) -> anyhow::Result<()> {
    let recompute_s: f64 = plan.actions.iter().filter_map(|a| a.wall_s).sum();
    if args.json {
        return output::json(&json!({
            "bytes_total": plan.bytes_total, "bytes_before": plan.bytes_before, "objects": plan.objects, "trees": plan.trees,
            "states": plan.states, "actions": plan.actions.len(), "recompute_s": recompute_s, "done": args.yes,
        }));
    }
    let verb = if args.yes { "removed" } else { "would remove" };
    let mut text = format!(
        "{verb} {} of {} in {}: {} results ({} to compute again), {} objects, {} trees, {} states\n",
        bytes(plan.bytes_total),
        bytes(plan.bytes_before),
        store.root().display(),
        plan.actions.len(),
        duration(recompute_s),
        plan.objects,
        plan.trees,
        plan.states
    );
    let mut dearest: Vec<_> = plan.actions.iter().collect();
    dearest.sort_by(|a, b| {
        b.wall_s
            .unwrap_or(0.0)
            .total_cmp(&a.wall_s.unwrap_or(0.0))
            .then(a.key.cmp(&b.key))
    });
    for action in dearest.iter().take(NAMED) {
        text.push_str(&format!(
            "  {} {} {}\n",
            action.key.short(),
            what(&action.preimage),
            action.wall_s.map(duration).unwrap_or_default()
        ));
    }
    if dearest.len() > NAMED {
        text.push_str(&format!("  … and {} more\n", dearest.len() - NAMED));
    }
    if !args.yes && (plan.bytes_total > 0 || !plan.actions.is_empty() || plan.states > 0) {
        text.push_str("add --yes to do it\n");
    }
    output::text(&text)
}

/// The kind of an action, or the first line of its script.
fn what(preimage: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(preimage).unwrap_or_default();
    let script = value["command"]["script"]
        .as_str()
        .and_then(|s| s.lines().next());
    let said = value["kind"]["name"].as_str().or(script).unwrap_or("?");
    said.chars().take(60).collect()
}

//! `repro gc --remote`: what a remote may lose, said before it is done.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::gc::{GcArgs, NAMED, what};
use super::{Context, Exit, output};
use crate::ui::notices;
use crate::ui::style::{bytes, duration};
use repro_engine::digest::Digest;
use repro_engine::exchange::needed::known_keys;
use repro_engine::exchange::{Way, Which};
use repro_engine::project::Project;
use repro_engine::remote::gc::{Collected, GRACE_MIN, Mode, Policy, collect};
use repro_engine::store::{Root, Store};

const DAY: Duration = Duration::from_secs(86_400);
/// Branches and tags that are asked, the newest first.
const REFS_MAX: usize = 2000;

/// Runs the command; an empty name is the default remote.
pub fn main(context: &Context, args: &GcArgs, name: &str) -> anyhow::Result<Exit> {
    let project = context.opening(args.file.as_deref()).project()?;
    let name = Some(name).filter(|n| !n.is_empty());
    let which = Which::named(name, args.scope.as_deref())?;
    let way = Way::to(&project.root, &which)?;
    let policy = Policy {
        grace: args.keep_days.map_or(Policy::default().grace, |n| DAY * n),
        ..Policy::default()
    };
    if args.yes && policy.grace < GRACE_MIN {
        anyhow::bail!(
            "--keep-days must be {} or more for a remote: writers count on what is younger",
            GRACE_MIN.as_secs() / DAY.as_secs()
        );
    }
    let keys = needed_here(&project, &context.opening(None).store()?)?;
    let mode = match args.yes {
        true => Mode::Do,
        false => Mode::Plan,
    };
    let collected = collect(&way.link, &keys, &policy, mode);
    way.tell_warnings(&mut notices());
    say(&way, &collected?, args)?;
    Ok(Exit::Done)
}

/// What this clone needs: its lock file, here and on every branch and tag; its last runs; pins.
fn needed_here(project: &Project, store: &Store) -> anyhow::Result<HashSet<Digest>> {
    let mut keys = known_keys(project)?;
    keys.extend(store.pins()?.into_iter().filter_map(|root| match root {
        Root::Action(key) => Some(key),
        Root::Content(..) => None,
    }));
    keys.extend(keys_of_git(&project.root));
    Ok(keys)
}

/// The keys of repro.lock on every branch and tag. No git, no repository, no keys: leases of other clones count anyway.
fn keys_of_git(root: &Path) -> HashSet<Digest> {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(args).output();
        output
            .ok()
            .filter(|o| o.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let places = ["refs/heads", "refs/remotes", "refs/tags"];
    let list = ["for-each-ref", "--sort=-creatordate", "--format=%(refname)"];
    let refs = git(&[&list[..], &places].concat()).unwrap_or_default();
    let mut keys = HashSet::new();
    for name in refs.lines().take(REFS_MAX) {
        let text = git(&["show", &format!("{name}:./repro.lock")]).unwrap_or_default();
        // `key = "<64 hex>"`, whatever the version of the file.
        keys.extend(text.lines().filter_map(|line| {
            let value = line
                .trim()
                .strip_prefix("key")?
                .trim_start()
                .strip_prefix('=')?;
            value.trim().trim_matches('"').parse::<Digest>().ok()
        }));
    }
    keys
}

fn say(way: &Way, collected: &Collected, args: &GcArgs) -> anyhow::Result<()> {
    let recompute_s: f64 = collected.actions.iter().filter_map(|a| a.wall_s).sum();
    if args.json {
        let sum =
            |sum: repro_engine::remote::gc::Sum| json!({"names": sum.names, "bytes": sum.bytes});
        return output::json(&json!({
            "before": sum(collected.before), "removed": sum(collected.removed), "marked": sum(collected.marked),
            "waiting": sum(collected.waiting), "spared": collected.spared, "actions": collected.actions.len(),
            "recompute_s": recompute_s, "leases": collected.leases, "unknown": collected.unknown, "done": args.yes,
            "remote": serde_json::to_value(way.used())?,
        }));
    }
    let mut text = format!(
        "{} holds {} in {} objects; {} clones say what they need\n",
        way.link.describe(),
        bytes(collected.before.bytes),
        collected.before.names,
        collected.leases
    );
    let (removed, marked) = match args.yes {
        true => (
            "removed",
            "marked, to be removed by a collection a day from now or later",
        ),
        false => (
            "would be removed",
            "would be marked, and removed by a collection a day later",
        ),
    };
    for (sum, what) in [
        (collected.removed, removed),
        (collected.marked, marked),
        (collected.waiting, "marked less than a day ago"),
    ] {
        if sum.names > 0 {
            text += &format!("{} in {} objects {what}\n", bytes(sum.bytes), sum.names);
        }
    }
    if collected.spared > 0 {
        text += &format!(
            "{} objects were marked, and are used again\n",
            collected.spared
        );
    }
    if collected.unknown > 1 {
        // One is the format.
        text += &format!(
            "{} objects are none of ours; they are left alone\n",
            collected.unknown - 1
        );
    }
    if !collected.actions.is_empty() {
        text += &format!(
            "among them {} results, {} to compute again:\n",
            collected.actions.len(),
            duration(recompute_s)
        );
        let mut dearest: Vec<_> = collected.actions.iter().collect();
        dearest.sort_by(|a, b| {
            let cost = |u: &repro_engine::remote::gc::Unneeded| u.wall_s.unwrap_or(0.0);
            cost(b).total_cmp(&cost(a)).then(a.key.cmp(&b.key))
        });
        for action in dearest.iter().take(NAMED) {
            text += &format!(
                "  {} {} {}\n",
                action.key.short(),
                what(&action.preimage),
                action.wall_s.map(duration).unwrap_or_default()
            );
        }
        if dearest.len() > NAMED {
            text += &format!("  … and {} more\n", dearest.len() - NAMED);
        }
    }
    let does = collected.removed.names + collected.marked.names;
    if does == 0 {
        text += "nothing to do\n";
    } else if !args.yes {
        text += "add --yes to do it\n";
    }
    output::text(&text)
}

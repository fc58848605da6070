//! `repro gc --remote`: what can be removed from a remote, shown before it is done.

use serde_json::json;

use super::gc_args::GcArgs;
use super::gone::dearest;
use super::{Context, Exit, output};
use crate::ui::notices;
use crate::ui::style::{bytes, duration};
use repro_engine::collect::DAY;
use repro_engine::collect::remote::collect;
use repro_engine::exchange::{Way, Which};
use repro_engine::remote::gc::{Collected, Sum};
use repro_engine::store::GoneAction;

/// Runs the command; an empty name is the default remote.
pub fn main(context: &Context, args: &GcArgs, name: &str) -> anyhow::Result<Exit> {
    let project = context.opening(args.file.as_deref()).project()?;
    let name = Some(name).filter(|n| !n.is_empty());
    let which = Which::named(name, args.scope.as_deref())?;
    let way = Way::to(&project.root, &which)?;
    let store = context.opening(None).store()?;
    let grace = args.keep_days.map(|days| DAY * days);
    let collected = collect(&project, &store, &way, grace, args.mode());
    way.tell_warnings(&mut notices());
    say(&way, &collected?, args)?;
    Ok(Exit::Done)
}

fn say(way: &Way, collected: &Collected, args: &GcArgs) -> anyhow::Result<()> {
    let recompute_s = GoneAction::cost_s(&collected.actions);
    if args.json {
        let sum = |sum: Sum| json!({"names": sum.names, "bytes": sum.bytes});
        return output::json(&json!({
            "before": sum(collected.before), "removed": sum(collected.removed), "marked": sum(collected.marked),
            "waiting": sum(collected.waiting), "spared": collected.spared, "actions": collected.actions.len(),
            "recompute_s": recompute_s, "leases": collected.leases, "unknown": collected.unknown, "done": args.yes,
            "remote": serde_json::to_value(way.used())?,
        }));
    }
    let mut text = format!(
        "{} holds {} in {} objects; {} declared what they need\n",
        way.link.describe(),
        bytes(collected.before.bytes),
        collected.before.names,
        match collected.leases {
            1 => "1 clone has".to_owned(),
            n => format!("{n} clones have"),
        }
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
            "{} objects were marked, and are in use again\n",
            collected.spared
        );
    }
    if collected.unknown > 1 {
        // One of them is the format.
        text += &format!(
            "{} objects do not belong to repro; they are left alone\n",
            collected.unknown - 1
        );
    }
    if !collected.actions.is_empty() {
        text += &format!(
            "among them {} results, {} to compute again:\n",
            collected.actions.len(),
            duration(recompute_s)
        );
        text += &dearest(&collected.actions);
    }
    let does = collected.removed.names + collected.marked.names;
    if does == 0 {
        text += "nothing to do\n";
    } else if !args.yes {
        text += "add --yes to do it\n";
    }
    output::text(&text)
}

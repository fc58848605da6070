//! `repro gc`: what can be removed from the store, shown before it is done.

use serde_json::json;

use super::gc_args::GcArgs;
use super::gone::dearest;
use super::{Context, Exit, output};
use crate::ui::style::{bytes, duration};
use repro_engine::collect::DAY;
use repro_engine::collect::local::{GoneProjects, collect};
use repro_engine::store::{GcPlan, GcPolicy, GoneAction, Store};

/// Runs the command.
pub fn main(context: &Context, args: &GcArgs) -> anyhow::Result<Exit> {
    if let Some(name) = &args.remote {
        return super::gc_remote::main(context, args, name);
    }
    let store = context.opening(None).store()?;
    let plan = match args.budget {
        Some(bytes_max) => store.evict(bytes_max, args.yes)?,
        None => {
            let policy = GcPolicy {
                grace: DAY * args.keep_days.unwrap_or(30),
                states_grace: DAY * args.keep_states_days,
            };
            let gone = match args.forget_gone_projects {
                true => GoneProjects::Forget,
                false => GoneProjects::Refuse,
            };
            collect(&store, &policy, gone, args.mode())?
        }
    };
    say(&store, &plan, args)?;
    Ok(Exit::Done)
}

fn say(store: &Store, plan: &GcPlan, args: &GcArgs) -> anyhow::Result<()> {
    let recompute_s = GoneAction::cost_s(&plan.actions);
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
    text.push_str(&dearest(&plan.actions));
    if !args.yes && (plan.bytes_total > 0 || !plan.actions.is_empty() || plan.states > 0) {
        text.push_str("add --yes to do it\n");
    }
    output::text(&text)
}

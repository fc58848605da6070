//! `repro why`: one screen on why an instance is cached or will be executed.

mod story;

use clap::Args;

use super::{Context, Exit, PipelineArgs, completing, output};
use repro_engine::explain::Explainer;

/// Instances of a group named without `--all`.
const IDS_SHOWN: usize = 6;
/// Groups of instances shown without `--all`.
const GROUPS_SHOWN: usize = 4;

/// Explain why a stage is cached or will be executed.
///
/// Shows old → new for every field of the key that changed and, if an input changed, the stage that
/// made it. For an instance that was never seen, it shows the closest recorded result and the
/// fields in which they differ. It also shows whether the work can be resumed, how the command was
/// confined, several results under one key, executions elsewhere that gave other bits
/// (`repro verify`), who vouches for the result, and the last execution.
#[derive(Debug, Clone, Args)]
pub struct WhyArgs {
    /// A stage (`train`), an instance (`train[seed=1]`) or a claim.
    #[arg(value_name = "STAGE|INSTANCE", required = true, add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Show all instances, not only the first few that differ.
    #[arg(long)]
    all: bool,
    /// Write an array with one object per instance.
    #[arg(long)]
    json: bool,
}

/// Two stories that differ only in when the last execution was and how long it took; the first one
/// is shown.
fn same_story(a: &str, b: &str) -> bool {
    let lines = |story| str::lines(story).filter(|l| !l.contains(story::LAST_EXECUTED));
    lines(a).eq(lines(b))
}

/// The instances of a group; without `--all` the first few and how many more.
fn named(ids: &[&str], all: bool) -> String {
    match ids.get(..IDS_SHOWN) {
        Some(first) if !all && ids.len() > IDS_SHOWN => {
            format!("{} and {} more", first.join(", "), ids.len() - IDS_SHOWN)
        }
        _ => ids.join(", "),
    }
}

/// Runs the command.
pub fn main(context: &Context, args: &WhyArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let targets = session.targets(&args.targets)?;
    let explainer = Explainer::of(&session, &targets)?;
    if args.json {
        let reports = targets
            .iter()
            .map(|index| explainer.explain(*index))
            .collect::<anyhow::Result<Vec<_>>>()?;
        output::json(&reports)?;
        return Ok(Exit::Done);
    }
    // Instances with the same story are told together.
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    let mut untold = 0;
    for index in &targets {
        let id = &*session.plan.instance(*index).id;
        if !args.all && groups.len() > GROUPS_SHOWN {
            untold += 1;
            continue;
        }
        let story = story::story(&explainer.explain(*index)?, output::colour());
        match groups.iter_mut().find(|(s, _)| same_story(s, &story)) {
            Some((_, ids)) => ids.push(id),
            None => groups.push((story, vec![id])),
        }
    }
    if !args.all && groups.len() > GROUPS_SHOWN {
        untold += groups
            .split_off(GROUPS_SHOWN)
            .iter()
            .map(|(_, ids)| ids.len())
            .sum::<usize>();
    }
    let mut text = String::new();
    for (story, ids) in &groups {
        text.push_str(&format!(
            "{}\n{story}",
            output::colour().bold(&named(ids, args.all))
        ));
    }
    if untold > 0 {
        text.push_str(&format!(
            "… and {untold} more instances: name one, or add --all\n"
        ));
    }
    output::text(&text)?;
    Ok(Exit::Done)
}

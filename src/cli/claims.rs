//! `repro claims`.

use clap::Args;
use serde_json::json;

use super::sharing::{Network, bring};
use super::{Context, Exit, PipelineArgs, open, output};
use crate::ui::claims_table;
use repro_engine::run::verdict;
use repro_engine::survey::Survey;

/// Show the verdict on every claim, from recorded results.
///
/// A claim holds when the whole interval agrees with it, is refuted when the whole interval contradicts it, and is
/// inconclusive otherwise. A claim whose stages have no results yet is open: `repro run` decides it.
#[derive(Debug, Clone, Args)]
pub struct ClaimsArgs {
    /// Claims; all of them when absent.
    #[arg(value_name = "CLAIMS")]
    claims: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Never use the network: verdicts that are on a remote only are open.
    #[arg(long)]
    offline: bool,
    /// Write an array with one object per claim: name, verdict (null when open), n, estimate, low, high, source ...
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &ClaimsArgs) -> anyhow::Result<Exit> {
    let session = open::session(context, &args.pipeline)?;
    let claims = &session.plan.claims;
    for name in &args.claims {
        if !claims.iter().any(|c| *c.name == **name) {
            let hint = output::nearest(
                name,
                claims.iter().map(|c| &*c.name),
                "`repro claims` lists all claims",
            );
            anyhow::bail!("no claim is called `{name}`; {hint}");
        }
    }
    let wanted: Vec<_> = claims
        .iter()
        .filter(|c| args.claims.is_empty() || args.claims.iter().any(|n| **n == *c.name))
        .collect();
    let targets: Vec<_> = wanted.iter().map(|c| c.instance).collect();
    let survey = Survey::of(&session, &targets)?;
    let (mut decided, mut open, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let output_of = |claim: &repro_engine::plan::Claim| -> Option<repro_engine::digest::Content> {
        let outputs = survey.results[claim.instance.0 as usize].as_ref()?;
        outputs.first().copied()
    };
    let known = wanted.iter().filter_map(|c| output_of(c)).collect();
    let absent = bring(&session, known, Network::unless(args.offline))?;
    for claim in wanted {
        let output = output_of(claim);
        if let Some(why) = output.as_ref().and_then(|content| absent.get(content)) {
            crate::say!(
                "warning: the verdict on `{}` is on the remote only ({why}); `repro pull '{}'` gets it",
                claim.name,
                claim.name
            );
        }
        match output
            .as_ref()
            .filter(|content| !absent.contains_key(content))
        {
            Some(content) => {
                let result = verdict(&session.store, claim, content)?;
                values.push(serde_json::to_value(&result)?);
                decided.push(result);
            }
            None => {
                values.push(json!({"name": &*claim.name, "verdict": null, "n": 0, "estimate": null, "low": null, "high": null, "source": claim.source}));
                open.push(&*claim.name);
            }
        }
    }
    if args.json {
        output::json(&values)?;
        return Ok(Exit::Done);
    }
    let colour = output::colour();
    let mut text = claims_table(&decided, colour);
    for claim in &decided {
        if let Some(source) = &claim.source {
            text.push_str(&colour.dim(&format!("{}: {source}\n", claim.name)));
        }
    }
    if !open.is_empty() {
        text.push_str(&format!(
            "open, because results are missing: {}\n",
            open.join(", ")
        ));
    }
    if text.is_empty() {
        text.push_str("the pipeline states no claims\n");
    }
    output::text(&text)?;
    Ok(Exit::Done)
}

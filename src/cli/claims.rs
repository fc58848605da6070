//! `repro claims`.

use clap::Args;

use super::sharing::network;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::{claims_markdown, claims_table, notices};
use repro_engine::results::claims::{ClaimState, claims};

/// Show the verdict on every claim, from recorded results.
///
/// A claim holds if the whole interval agrees with it, is refuted if the whole interval contradicts
/// it, and is inconclusive otherwise. A claim is open while its stages have no results; `repro run`
/// decides it.
#[derive(Debug, Clone, Args)]
pub struct ClaimsArgs {
    /// Claims; by default all.
    #[arg(value_name = "CLAIMS")]
    claims: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Never use the network: verdicts that are only on a remote are open.
    #[arg(long)]
    offline: bool,
    /// Write an array with one object per claim: name, verdict (null if open), n, estimate, low,
    /// high, source ...
    #[arg(long)]
    json: bool,
    /// Write a Markdown table, for a README.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &ClaimsArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let claims = claims(
        &session,
        &args.claims,
        network(args.offline),
        &mut notices(),
    )?;
    for claim in &claims {
        if let ClaimState::Open(open) = claim
            && let Some(why) = &open.elsewhere
        {
            let name = &open.name;
            crate::say!(
                "warning: the verdict on `{name}` is on the remote only ({why}); `repro pull '{name}'` gets it"
            );
        }
    }
    if args.json {
        output::json(&serde_json::to_value(&claims)?)?;
        return Ok(Exit::Done);
    }
    let (mut decided, mut open) = (Vec::new(), Vec::new());
    for claim in claims {
        match claim {
            ClaimState::Decided(result) => decided.push(result),
            ClaimState::Open(claim) => open.push(claim.name),
        }
    }
    let colour = output::colour();
    let mut text = match args.markdown {
        true => claims_markdown(&decided),
        false => claims_table(&decided, colour),
    };
    for claim in decided.iter().filter(|_| !args.markdown) {
        if let Some(looks) = &claim.looks {
            let line = format!(
                "{}: {}; the interval holds at all looks together\n",
                claim.name, looks
            );
            text.push_str(&colour.dim(&line));
        }
        if let Some(effect) = &claim.effect_size {
            text.push_str(&colour.dim(&format!("{}: {effect}\n", claim.name)));
        }
        if let Some(source) = &claim.source {
            text.push_str(&colour.dim(&format!("{}: {source}\n", claim.name)));
        }
    }
    if !open.is_empty() {
        if args.markdown && !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "open, because results are missing: {}\n",
            open.join(", ")
        ));
    }
    if text.is_empty() {
        text.push_str("the pipeline has no claims\n");
    }
    output::text(&text)?;
    Ok(Exit::Done)
}

//! `repro claims`.

use clap::Args;

use super::from::FromArgs;
use super::sharing::network;
use super::tables::TableArgs;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::{claims_table, notices};
use repro_engine::results::claims::{ClaimState, Lacking, claims};

/// Show the verdict on every claim, from recorded results.
///
/// A claim holds if the whole interval agrees with it, is refuted if the whole interval contradicts
/// it, and is inconclusive otherwise. A claim is open while its stages have no results; `repro run`
/// decides it. With `--from FILE` a claim that has no verdict here is judged from the values in a
/// file; what needs more than the last value of each metric stays open.
#[derive(Debug, Clone, Args)]
pub struct ClaimsArgs {
    /// Claims; by default all.
    #[arg(value_name = "CLAIMS", add = completing::claims())]
    claims: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    from: FromArgs,
    /// Never use the network: verdicts that are only on a remote are open.
    #[arg(long)]
    offline: bool,
    /// Write an array with one object per claim: name, verdict (null if open), n, estimate, low,
    /// high, source ...
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// Runs the command.
pub fn main(context: &Context, args: &ClaimsArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let given = args.from.read_and_tell(&session)?;
    let network = network(args.offline);
    let found = claims(
        &session,
        &args.claims,
        given.as_ref(),
        network,
        &mut notices(),
    )?;
    if let Some(told) = found.judged.told() {
        crate::say!("{told}");
    }
    let claims = found.states;
    for claim in &claims {
        if let ClaimState::Open(open) = claim
            && let Lacking::Elsewhere(why) = &open.lacks
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
    let is_terminal = args.table.is_for_terminal();
    let (mut below, mut open) = (String::new(), 0);
    let mut dim = |line: String| below.push_str(&output::colour().dim(&(line + "\n")));
    for claim in &claims {
        let claim = match claim {
            ClaimState::Decided(claim) if is_terminal => claim,
            ClaimState::Decided(_) => continue,
            ClaimState::Open(claim) => {
                let (name, lacks) = (&claim.name, &claim.lacks);
                dim(format!("{name}: open, because {lacks}"));
                open += 1;
                continue;
            }
        };
        let name = &claim.name;
        if let Some(looks) = &claim.looks {
            dim(format!(
                "{name}: {looks}; the interval holds at all looks together"
            ));
        }
        if let Some(effect) = &claim.effect_size {
            dim(format!("{name}: {effect}"));
        }
        if let Some(source) = &claim.source {
            dim(format!("{name}: {source}"));
        }
    }
    if open > 0 {
        below.push_str("`repro run` decides claims that are open\n");
    }
    if claims.is_empty() {
        below.push_str("the pipeline has no claims\n");
    }
    let table = claims_table(claims.iter().map(|claim| match claim {
        ClaimState::Decided(claim) => Ok(claim),
        ClaimState::Open(claim) => Err((&*claim.name, claim.source.as_deref())),
    }));
    args.table.write(Vec::from_iter(table), &below)?;
    Ok(Exit::Done)
}

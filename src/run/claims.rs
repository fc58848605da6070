//! Reads what the claim kind decided.

use serde::Deserialize;

use crate::digest::Content;
use crate::plan::Claim;
use crate::record::event::{ClaimResult, Verdict};
use crate::store::Store;

/// The part of `verdict.json` the engine reads.
#[derive(Deserialize)]
struct VerdictFile {
    verdict: Verdict,
    n: u64,
    estimate: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    confidence: Option<f64>,
    #[serde(default)]
    expect_text: Option<String>,
}

/// The verdict on a claim whose instance has this output.
///
/// # Errors
/// The object is gone, or is no verdict.
pub fn verdict(store: &Store, claim: &Claim, output: &Content) -> anyhow::Result<ClaimResult> {
    let file: VerdictFile = serde_json::from_reader(std::io::BufReader::new(store.open_object(&output.digest)?))
        .map_err(|e| anyhow::anyhow!("the verdict on claim `{}` is not readable: {e}", claim.name))?;
    Ok(ClaimResult {
        name: claim.name.to_string(),
        verdict: file.verdict,
        n: file.n,
        estimate: file.estimate,
        low: file.low,
        high: file.high,
        confidence: file.confidence,
        expect: file.expect_text,
        source: claim.source.clone(),
    })
}

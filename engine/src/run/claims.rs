//! Reads what the claim kind decided.

use serde::Deserialize;
use serde_json::Value;

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
    expect: Value,
}

/// The verdict on a claim whose instance has this output.
///
/// # Errors
/// The object is gone, or is no verdict.
pub fn verdict(store: &Store, claim: &Claim, output: &Content) -> anyhow::Result<ClaimResult> {
    let file: VerdictFile =
        serde_json::from_reader(std::io::BufReader::new(store.open_object(&output.digest)?))
            .map_err(|e| {
                anyhow::anyhow!("the verdict on claim `{}` is not readable: {e}", claim.name)
            })?;
    Ok(ClaimResult {
        name: claim.name.to_string(),
        verdict: file.verdict,
        n: file.n,
        estimate: file.estimate,
        low: file.low,
        high: file.high,
        confidence: file.confidence,
        expect: Some(in_words(&file.expect)),
        source: claim.source.clone(),
    })
}

/// `{"difference": {"above": 0.0}, "confidence": 0.95}` as `difference above 0`: names and numbers in order.
fn in_words(expect: &Value) -> String {
    match expect {
        Value::Object(map) => {
            let said = map
                .iter()
                .filter(|(name, value)| name.as_str() != "confidence" && !value.is_null());
            said.map(|(name, value)| format!("{name} {}", in_words(value)))
                .collect::<Vec<_>>()
                .join(" ")
        }
        Value::Number(n) => n.as_f64().map_or_else(|| n.to_string(), |f| f.to_string()),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_reads_as_words() {
        let expect =
            serde_json::json!({"difference": {"above": 0.0}, "confidence": 0.95, "mean": null});
        assert_eq!(in_words(&expect), "difference above 0");
        assert_eq!(
            in_words(&serde_json::json!({"mean": {"within": {"low": 0.1, "high": 0.9}}})),
            "mean within high 0.9 low 0.1"
        );
    }
}

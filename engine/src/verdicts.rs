//! Reads what the claim kind decided, follows a claim from look to look, and corrects verdicts for
//! the number of claims in a family.
//!
//! The correction is made whenever verdicts are shown, from the p-values that members recorded. So
//! a claim that joins a family changes no other's key, and what is recorded of a claim is about
//! that claim alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::digest::Content;
use crate::plan::{Claim, InstanceIndex};
use crate::record::event::{ClaimResult, Corrected, EffectSize, Looks, Verdict};
use crate::store::Store;

mod expected;

pub use expected::expected;

/// What the claim kind wrote about a look at a claim.
pub enum Document<'s> {
    /// An object of a store.
    Stored(&'s Store, Content),
    /// These bytes.
    Bytes(Vec<u8>),
}

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
    p: Option<f64>,
    effect_size: Option<EffectSize>,
}

impl VerdictFile {
    fn read(claim: &Claim, document: Document) -> anyhow::Result<VerdictFile> {
        let read = match document {
            Document::Stored(store, output) => {
                let file = store.open_object(&output.digest)?;
                serde_json::from_reader(std::io::BufReader::new(file))
            }
            Document::Bytes(bytes) => serde_json::from_slice(&bytes),
        };
        read.map_err(|e| {
            anyhow::anyhow!("the verdict on claim `{}` is not readable: {e}", claim.name)
        })
    }

    /// What is left to chance at each decision.
    fn level(&self) -> f64 {
        1.0 - self.confidence.unwrap_or(1.0)
    }

    /// The verdict stands, whatever the other claims of a family of so many say: Holm's correction
    /// multiplies no p-value by more than their number.
    fn is_settled(&self, members: Option<usize>) -> bool {
        let stands = |members: usize| self.p.is_some_and(|p| p * members as f64 <= self.level());
        self.verdict != Verdict::Inconclusive && members.is_none_or(stands)
    }
}

/// How many claims each family has.
pub struct Families<'c>(BTreeMap<&'c str, usize>);

impl<'c> Families<'c> {
    /// Of these claims.
    pub fn of(claims: impl Iterator<Item = &'c Claim>) -> Families<'c> {
        let mut members = BTreeMap::new();
        for family in claims.filter_map(|claim| claim.family.as_deref()) {
            *members.entry(family).or_default() += 1;
        }
        Families(members)
    }

    fn members(&self, claim: &Claim) -> Option<usize> {
        let family: Option<&Arc<str>> = claim.family.as_ref();
        family.and_then(|family| self.0.get(&**family).copied())
    }

    /// A look of a claim has not decided it, so that another one is due.
    ///
    /// # Errors
    /// An object is gone, or is no verdict.
    pub fn leaves_open(
        &self,
        store: &Store,
        claim: &Claim,
        output: &Content,
    ) -> anyhow::Result<bool> {
        let file = VerdictFile::read(claim, Document::Stored(store, *output))?;
        Ok(!file.is_settled(self.members(claim)))
    }
}

/// The verdicts on claims, in their order; corrected for their families. `document_of` gives what
/// an instance has written, where that can be read. `None`: no look at the claim has a result. What
/// is not known counts as a claim that nothing speaks for.
///
/// The verdict on a claim that looks several times is that of the first look that decides, or else
/// of the last one; results of later looks do not matter.
///
/// # Errors
/// An object is gone, or is no verdict.
pub fn verdicts<'s>(
    claims: &[&Claim],
    document_of: impl Fn(InstanceIndex) -> Option<Document<'s>>,
) -> anyhow::Result<Vec<Option<ClaimResult>>> {
    let sizes = Families::of(claims.iter().copied());
    let mut results = Vec::new();
    let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, claim) in claims.iter().enumerate() {
        results.push(verdict(claim, sizes.members(claim), &document_of)?);
        if let Some(family) = &claim.family {
            families.entry(family).or_default().push(at);
        }
    }
    for members in families.values() {
        let ps = members.iter().map(|at| {
            let corrected = results[*at].as_ref()?.corrected.as_ref()?;
            corrected.p
        });
        let adjusted = holm(&Vec::from_iter(ps));
        for (at, corrected_p) in members.iter().zip(adjusted) {
            let Some(result) = &mut results[*at] else {
                continue;
            };
            let level = 1.0 - result.confidence.unwrap_or(1.0);
            if corrected_p.is_none_or(|p| p > level) {
                result.verdict = Verdict::Inconclusive;
            }
            if let Some(corrected) = &mut result.corrected {
                corrected.claims = members.len() as u64;
                corrected.corrected_p = corrected_p;
            }
        }
    }
    Ok(results)
}

/// Holm's step-down correction (1979): the i-th smallest of m p-values is multiplied by m − i + 1,
/// and none is smaller than one before it. Those that are not known count as 1, which can only make
/// the others larger.
fn holm(ps: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<usize> = (0..ps.len()).filter(|i| ps[*i].is_some()).collect();
    order.sort_by(|a, b| ps[*a].unwrap_or(1.0).total_cmp(&ps[*b].unwrap_or(1.0)));
    let mut adjusted = vec![None; ps.len()];
    let mut least: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        let p = ps[at].unwrap_or(1.0) * (ps.len() - rank) as f64;
        least = least.max(p.min(1.0));
        adjusted[at] = Some(least);
    }
    adjusted
}

fn verdict<'s>(
    claim: &Claim,
    members: Option<usize>,
    document_of: &impl Fn(InstanceIndex) -> Option<Document<'s>>,
) -> anyhow::Result<Option<ClaimResult>> {
    let mut taken = Vec::new();
    let (mut last, mut next) = (None, None);
    for look in &claim.looks {
        let Some(document) = document_of(look.instance) else {
            next = look.n;
            break;
        };
        taken.extend(look.n.map(u64::from));
        let file = VerdictFile::read(claim, document)?;
        let is_settled = file.is_settled(members);
        last = Some(file);
        if is_settled {
            break;
        }
    }
    let Some(file) = last else { return Ok(None) };
    let looks = claim.decides_number().then(|| Looks {
        taken,
        max_n: claim.looks.last().and_then(|l| l.n).map_or(0, u64::from),
        next: next.map(u64::from),
    });
    Ok(Some(ClaimResult {
        name: claim.name.to_string(),
        verdict: file.verdict,
        n: file.n,
        estimate: file.estimate,
        low: file.low,
        high: file.high,
        confidence: file.confidence,
        expect: Some(expected(&file.expect)),
        effect_size: file.effect_size,
        source: claim.source.clone(),
        corrected: claim.family.as_ref().map(|family| Corrected {
            family: family.to_string(),
            claims: 1,
            p: file.p,
            corrected_p: file.p,
        }),
        looks,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // statsmodels 0.14: multipletests(p, method="holm")
    #[test]
    fn holm_corrects_as_published() {
        let near = |ps: &[f64], expected: &[f64]| {
            let found = holm(&ps.iter().copied().map(Some).collect::<Vec<_>>());
            for (a, b) in found.into_iter().zip(expected) {
                assert!((a.unwrap() - b).abs() < 1e-15, "{a:?} {b}");
            }
        };
        near(&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]);
        near(&[0.6, 0.7], &[1.0, 1.0]);
        near(&[0.02], &[0.02]);
        // One that is not known makes no other smaller.
        let [a, b] = [Some(0.01), Some(0.04)];
        assert_eq!(holm(&[a, None, b]), [Some(0.03), None, Some(0.08)]);
    }
}

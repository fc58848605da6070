//! The smallest set of changes that flips something, by delta debugging (Zeller & Hildebrandt,
//! "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002, algorithm ddmin). Knows
//! changes by their number only.

use std::collections::HashMap;

/// What a set of changes gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As without any change.
    Before,
    /// As with all.
    After,
    /// Something else, or nothing: it says nothing.
    Neither,
}

/// A set of the changes 0..n that gives `After`, and of which no single one can be left out. All
/// together give `After`; no set is tried twice.
///
/// # Errors
/// Those of `test`.
pub fn smallest(
    n: usize,
    mut test: impl FnMut(&[usize]) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Vec<usize>> {
    let mut known: HashMap<Vec<usize>, Outcome> = HashMap::new();
    known.insert(Vec::new(), Outcome::Before);
    let mut flips = |set: &[usize]| -> anyhow::Result<bool> {
        if let Some(outcome) = known.get(set) {
            return Ok(*outcome == Outcome::After);
        }
        let outcome = test(set)?;
        known.insert(set.to_vec(), outcome);
        Ok(outcome == Outcome::After)
    };
    let mut set: Vec<usize> = (0..n).collect();
    let mut parts = 2;
    while set.len() > 1 {
        let size = set.len().div_ceil(parts);
        let chunks: Vec<Vec<usize>> = set.chunks(size).map(<[usize]>::to_vec).collect();
        let without = |chunk: &[usize]| -> Vec<usize> {
            let rest = set.iter().filter(|i| !chunk.contains(i));
            rest.copied().collect()
        };
        let mut smaller = None;
        for chunk in &chunks {
            if flips(chunk)? {
                smaller = Some((chunk.clone(), 2));
                break;
            }
        }
        if smaller.is_none() && parts > 2 {
            for chunk in &chunks {
                let rest = without(chunk);
                if flips(&rest)? {
                    smaller = Some((rest, parts - 1));
                    break;
                }
            }
        }
        match smaller {
            Some((found, fewer)) => (set, parts) = (found, fewer),
            None if parts >= set.len() => break,
            None => parts = (parts * 2).min(set.len()),
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_cause_of_many_is_found_in_few_steps() {
        for cause in 0..64 {
            let mut tried = 0;
            let found = smallest(64, |set| {
                tried += 1;
                Ok(if set.contains(&cause) {
                    Outcome::After
                } else {
                    Outcome::Before
                })
            });
            assert_eq!(found.unwrap(), [cause]);
            assert!(tried <= 12, "{tried} for {cause}");
        }
    }

    proptest! {
        /// Causes that act only together, among changes that are impossible alone.
        #[test]
        fn no_change_can_be_left_out(
            causes in proptest::collection::btree_set(0usize..24, 1..4),
            broken in proptest::collection::vec((0usize..24, 0usize..24), 0..4),
        ) {
            // `b` makes sense with `a` only, unless all are there.
            let outcome = |set: &[usize]| {
                let has = |i: &usize| set.contains(i);
                let is_whole = set.len() == 24 || broken.iter().all(|(a, b)| !has(b) || has(a));
                match (is_whole, causes.iter().all(has)) {
                    (false, _) => Outcome::Neither,
                    (true, true) => Outcome::After,
                    (true, false) => Outcome::Before,
                }
            };
            let found = smallest(24, |set| Ok(outcome(set))).unwrap();
            prop_assert_eq!(outcome(&found), Outcome::After);
            for left_out in &found {
                let rest: Vec<usize> = found.iter().filter(|i| *i != left_out).copied().collect();
                prop_assert!(outcome(&rest) != Outcome::After);
            }
        }
    }
}

//! Packing: which actions one element of an array job executes.
//!
//! A site allows few jobs and dislikes tiny ones. So chains (an action and what follows from it
//! alone) are put together until an element has work for about as long as is wanted; a chain that is
//! longer goes alone. The longest are placed first, each where there is least to do (Graham's LPT).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Instances that are executed in this order, by their position in the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Which.
    pub items: Vec<u32>,
    /// How long they take, by what is recorded.
    pub seconds: f64,
}

/// What is wanted of elements.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// How long one works.
    pub target_s: f64,
    /// So many work side by side, where there is enough to do.
    pub width: usize,
}

/// Puts chains into elements; the longest element comes first.
pub fn pack(mut chains: Vec<Chain>, rule: Rule) -> Vec<Vec<Chain>> {
    // Chains of equal length stay in the order of the plan.
    chains.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let long = chains.partition_point(|c| c.seconds >= rule.target_s);
    let short = chains.split_off(long);
    let mut elements: Vec<Vec<Chain>> = chains.into_iter().map(|chain| vec![chain]).collect();
    let total: f64 = short.iter().map(|c| c.seconds).sum();
    let by_time = (total / rule.target_s).ceil() as usize;
    let count = by_time.max(rule.width.min(short.len()));
    let mut bins: Vec<Vec<Chain>> = vec![Vec::new(); count];
    // Milliseconds, since heaps want an order; the first of equal bins.
    let mut least: BinaryHeap<Reverse<(u64, usize)>> =
        (0..count).map(|i| Reverse((0, i))).collect();
    for chain in short {
        if let Some(Reverse((load, at))) = least.pop() {
            let more = (chain.seconds * 1000.0).max(1.0) as u64;
            bins[at].push(chain);
            least.push(Reverse((load.saturating_add(more), at)));
        }
    }
    elements.extend(bins.into_iter().filter(|bin| !bin.is_empty()));
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chains(seconds: &[f64]) -> Vec<Chain> {
        let all = seconds.iter().enumerate();
        all.map(|(i, seconds)| Chain {
            items: vec![i as u32],
            seconds: *seconds,
        })
        .collect()
    }

    fn load(element: &[Chain]) -> f64 {
        element.iter().map(|c| c.seconds).sum()
    }

    #[test]
    fn long_chains_go_alone_and_short_ones_together() {
        let rule = Rule {
            target_s: 100.0,
            width: 1,
        };
        let packed = pack(chains(&[10.0, 500.0, 60.0, 40.0, 90.0]), rule);
        let sizes: Vec<(usize, f64)> = packed.iter().map(|e| (e.len(), load(e))).collect();
        assert_eq!(sizes, [(1, 500.0), (2, 100.0), (2, 100.0)]);
        // Few short ones work side by side.
        let wide = pack(
            chains(&[1.0; 5]),
            Rule {
                target_s: 100.0,
                width: 16,
            },
        );
        assert_eq!(wide.len(), 5);
        assert!(pack(Vec::new(), rule).is_empty());
    }

    proptest! {
        #[test]
        fn every_chain_is_packed_once_and_loads_are_even(
            seconds in proptest::collection::vec(0.0f64..300.0, 0..200), width in 1usize..20
        ) {
            let rule = Rule { target_s: 100.0, width };
            let packed = pack(chains(&seconds), rule);
            let mut all: Vec<u32> = packed.iter().flatten().flat_map(|c| c.items.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..seconds.len() as u32).collect::<Vec<_>>());
            let short: Vec<f64> = packed.iter().filter(|e| e[0].seconds < 100.0).map(|e| load(e)).collect();
            let (most, least) = short.iter().fold((0f64, f64::MAX), |(m, l), x| (m.max(*x), l.min(*x)));
            // No element has more than another by more than the longest chain.
            prop_assert!(short.is_empty() || most - least <= 100.1, "{most} {least}");
        }
    }
}

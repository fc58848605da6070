//! The order in which stages are expanded, and so the numbers of their instances.
//!
//! Producers first; among those that are ready, file order. Names a cycle by its path. Knows only
//! who needs whom.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Orders nodes `0..needs.len()`, each after all it needs. On failure: a cycle, beginning and
/// ending with the same node.
pub fn sort(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = vec![0; needs.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (node, list) in needs.iter().enumerate() {
        waiting[node] = list.len();
        for &needed in list {
            users[needed].push(node);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..needs.len())
        .filter(|&n| waiting[n] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for &user in &users[node] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if order.len() == needs.len() {
        return Ok(order);
    }
    // Every node left needs another that is left: following them must come back.
    let mut seen = vec![usize::MAX; needs.len()];
    let mut path = Vec::new();
    let mut node = (0..needs.len()).find(|&n| waiting[n] > 0).unwrap_or(0);
    while seen[node] == usize::MAX {
        seen[node] = path.len();
        path.push(node);
        match needs[node].iter().copied().find(|&n| waiting[n] > 0) {
            Some(next) => node = next,
            None => break,
        }
    }
    let mut cycle = path.split_off(seen[node]);
    cycle.push(node);
    Err(cycle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_order_among_equals_and_cycles_named() {
        assert_eq!(
            sort(&[vec![2], vec![], vec![1], vec![]]),
            Ok(vec![1, 2, 0, 3])
        );
        assert_eq!(
            sort(&[vec![], vec![2, 0], vec![3], vec![1]]),
            Err(vec![1, 2, 3, 1])
        );
        assert_eq!(sort(&[vec![0]]), Err(vec![0, 0]));
    }

    proptest! {
        #[test]
        fn every_order_respects_needs_and_every_cycle_is_one(edges in prop::collection::vec((0usize..8, 0usize..8), 0..20)) {
            let mut needs = vec![Vec::new(); 8];
            for (a, b) in edges { needs[a].push(b); }
            match sort(&needs) {
                Ok(order) => for (node, list) in needs.iter().enumerate() {
                    let at = |n: usize| order.iter().position(|&o| o == n).unwrap();
                    prop_assert!(list.iter().all(|&n| at(n) < at(node)));
                },
                Err(cycle) => {
                    prop_assert!(cycle.len() >= 2 && cycle.first() == cycle.last());
                    prop_assert!(cycle.windows(2).all(|w| needs[w[0]].contains(&w[1])));
                }
            }
        }
    }
}

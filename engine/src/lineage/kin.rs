//! Which items of a gather come from one another: whoever counts items as observations must know,
//! since what one action made is one observation, however often it is gathered.
//!
//! Two instances are one action where an axis reaches nothing that is hashed; rounds of a loop are
//! made from one another; branches share the instance they left from. What is told is small numbers
//! in order of appearance, no keys: they are hashed with the inputs, and a producer that changes
//! and gives the same bytes must change nothing after it. What every item of a group stems from
//! tells none of them apart and is left out.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::plan::{Instance, InstanceIndex, Need, Plan, Source, Work};

/// What an item has in common with others of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kin {
    /// Items with the same number were made by one action, or from one another.
    pub chain: Option<u32>,
    /// Producers that some of the group share and others do not, the furthest back on each way.
    pub sources: Vec<u32>,
}

/// By need and item. A need that is not counted has no entries.
pub type Lineage = Vec<Vec<Kin>>;

/// The lineage of an instance's inputs; `key_of` gives the action keys of all it stems from.
pub fn of(
    plan: &Plan,
    instance: &Instance,
    key_of: impl Fn(InstanceIndex) -> Option<Digest>,
) -> Lineage {
    let Work::Kind { kind, .. } = &instance.work else {
        return Vec::new();
    };
    if kind.counts.is_empty() {
        return Vec::new();
    }
    let of = |need: &Need| {
        if kind.counts.iter().any(|counted| **counted == *need.name) {
            of_need(plan, need, &key_of)
        } else {
            Vec::new()
        }
    };
    instance.needs.iter().map(of).collect()
}

/// What is known of one item, where anything is.
pub fn kin(lineage: &Lineage, need: usize, item: usize) -> Option<&Kin> {
    lineage.get(need)?.get(item)
}

fn of_need(
    plan: &Plan,
    need: &Need,
    key_of: &impl Fn(InstanceIndex) -> Option<Digest>,
) -> Vec<Kin> {
    let mut groups: BTreeMap<&str, Vec<(usize, InstanceIndex)>> = BTreeMap::new();
    for (position, item) in need.items.iter().enumerate() {
        if let Source::Output { instance, .. } = item.source {
            let group = groups.entry(&item.group).or_default();
            group.push((position, instance));
        }
    }
    let mut kin = vec![Kin::default(); need.items.len()];
    let (mut chains, mut sources) = (Numbers::default(), Numbers::default());
    for members in groups.values().filter(|members| members.len() > 1) {
        let ancestry = Ancestry::of(plan, members.iter().map(|(_, i)| *i), key_of);
        let nodes: Vec<usize> = members.iter().map(|(_, i)| ancestry.node[i]).collect();
        let mut in_chain: HashMap<usize, usize> = HashMap::new();
        // By source: the first chain that has it, and whether another has it too.
        let mut shared: HashMap<usize, (usize, bool)> = HashMap::new();
        for &node in &nodes {
            let chain = ancestry.chain(node);
            *in_chain.entry(chain).or_default() += 1;
            for &source in ancestry.sources[node].iter().flat_map(|s| s.iter()) {
                let first = shared.entry(source).or_insert((chain, false));
                first.1 |= first.0 != chain;
            }
        }
        for ((position, _), &node) in members.iter().zip(&nodes) {
            let chain = ancestry.chain(node);
            let told = ancestry.sources[node].iter().flat_map(|s| s.iter());
            kin[*position] = Kin {
                chain: (in_chain[&chain] > 1).then(|| chains.of(chain)),
                sources: told
                    .filter(|source| shared[source].1)
                    .map(|&source| sources.of(source))
                    .collect(),
            };
            kin[*position].sources.sort_unstable();
        }
        chains.close();
        sources.close();
    }
    kin
}

/// Numbers in order of appearance.
#[derive(Default)]
struct Numbers {
    seen: HashMap<usize, u32>,
    next: u32,
}

impl Numbers {
    fn of(&mut self, what: usize) -> u32 {
        *self.seen.entry(what).or_insert_with(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// What comes from now on is something else.
    fn close(&mut self) {
        self.seen.clear();
    }
}

/// The actions that some items stem from, those that made the items included; producers come before
/// consumers.
struct Ancestry {
    /// The action of an instance.
    node: HashMap<InstanceIndex, usize>,
    /// Disjoint sets: actions that made items and are made from one another.
    parent: Vec<usize>,
    /// By action: its furthest ancestors that not all items have, itself perhaps; none for what all
    /// have.
    sources: Vec<Option<Rc<[usize]>>>,
}

impl Ancestry {
    fn of(
        plan: &Plan,
        items: impl Iterator<Item = InstanceIndex> + Clone,
        key_of: &impl Fn(InstanceIndex) -> Option<Digest>,
    ) -> Ancestry {
        let mut visited: Vec<InstanceIndex> = Vec::new();
        let mut known = std::collections::HashSet::new();
        let mut open: Vec<InstanceIndex> = items.clone().collect();
        while let Some(index) = open.pop() {
            if known.insert(index) {
                visited.push(index);
                open.extend(plan.producers(index));
            }
        }
        visited.sort_unstable();
        // Instances of one action are one; the first stands for all, so that producers stay before
        // consumers even where a loop comes back to bytes it had before.
        let mut node: HashMap<InstanceIndex, usize> = HashMap::new();
        let mut by_key: HashMap<Digest, usize> = HashMap::new();
        let mut producers: Vec<Vec<usize>> = Vec::new();
        for &index in &visited {
            let new = producers.len();
            let at = match key_of(index) {
                Some(key) => *by_key.entry(key).or_insert(new),
                None => new,
            };
            node.insert(index, at);
            if at == new {
                let mut of: Vec<usize> = plan.producers(index).map(|p| node[&p]).collect();
                of.sort_unstable();
                of.dedup();
                producers.push(of);
            }
        }
        let mut own = vec![false; producers.len()];
        items.for_each(|item| own[node[&item]] = true);
        let common = common(&producers, &own);
        let mut ancestry = Ancestry {
            node,
            parent: (0..producers.len()).collect(),
            sources: Vec::with_capacity(producers.len()),
        };
        // An action that made an item and is before this one.
        let mut before: Vec<Option<usize>> = Vec::with_capacity(producers.len());
        for (at, of) in producers.iter().enumerate() {
            let mut first = own[at].then_some(at);
            for &producer in of {
                if let Some(other) = before[producer] {
                    match first {
                        Some(mine) => ancestry.unite(mine, other),
                        None => first = Some(other),
                    }
                }
            }
            before.push(first);
            ancestry.sources.push((!common[at]).then(|| {
                let mut all: Vec<Rc<[usize]>> = Vec::new();
                for &producer in of {
                    all.extend(ancestry.sources[producer].clone());
                }
                match &mut all[..] {
                    [] => Rc::from([at]),
                    [one] => one.clone(),
                    _ => {
                        let mut merged = all.concat();
                        merged.sort_unstable();
                        merged.dedup();
                        merged.into()
                    }
                }
            }));
        }
        ancestry
    }

    fn chain(&self, mut node: usize) -> usize {
        while self.parent[node] != node {
            node = self.parent[node];
        }
        node
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.chain(a), self.chain(b));
        // The earlier stands for both: chains of a loop then stay flat.
        let (first, second) = (a.min(b), a.max(b));
        self.parent[second] = first;
    }
}

/// What all items stem from and none is: 64 candidates at a time are handed down from producers to
/// consumers.
fn common(producers: &[Vec<usize>], own: &[bool]) -> Vec<bool> {
    let mut common = vec![false; producers.len()];
    let Some(first) = own.iter().position(|own| *own) else {
        return common;
    };
    // Whatever all have, the first item has.
    let mut candidates = Vec::new();
    let mut seen = vec![false; first + 1];
    let mut open = vec![first];
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut seen[at], true) {
            candidates.extend((!own[at]).then_some(at));
            open.extend(&producers[at]);
        }
    }
    for some in candidates.chunks(64) {
        let mut masks = vec![0u64; producers.len()];
        for (bit, &candidate) in some.iter().enumerate() {
            masks[candidate] |= 1 << bit;
        }
        for (at, of) in producers.iter().enumerate() {
            let from = of.iter().fold(0, |all, &p| all | masks[p]);
            masks[at] |= from;
        }
        let made = masks.iter().zip(own).filter(|(_, own)| **own);
        let all = made.fold(u64::MAX, |all, (mask, _)| all & mask);
        for (bit, &candidate) in some.iter().enumerate() {
            common[candidate] = all & (1 << bit) != 0;
        }
    }
    common
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

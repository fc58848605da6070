//! Who waits for whom: the edges of a plan in both directions, the part a run wants, and what is most urgent.
//!
//! The plan is already in topological order, so one pass in order visits producers before consumers.

use crate::plan::{InstanceIndex, Plan};

/// The edges of a plan; every edge once.
pub struct Graph {
    producers: Ragged,
    consumers: Ragged,
}

/// Lists of indices in one allocation.
struct Ragged {
    starts: Vec<u32>,
    items: Vec<InstanceIndex>,
}

impl Ragged {
    fn get(&self, index: InstanceIndex) -> &[InstanceIndex] {
        let i = index.0 as usize;
        &self.items[self.starts[i] as usize..self.starts[i + 1] as usize]
    }
}

impl Graph {
    /// The edges of `plan`.
    pub fn new(plan: &Plan) -> Graph {
        let n = plan.instances.len();
        let mut producers = Ragged { starts: Vec::with_capacity(n + 1), items: Vec::new() };
        let mut consumer_counts = vec![0u32; n + 1];
        producers.starts.push(0);
        for i in 0..n {
            let from = producers.items.len();
            producers.items.extend(plan.producers(InstanceIndex(i as u32)));
            producers.items[from..].sort_unstable();
            let mut kept = from;
            for at in from..producers.items.len() {
                if at == from || producers.items[at] != producers.items[kept - 1] {
                    producers.items[kept] = producers.items[at];
                    kept += 1;
                }
            }
            producers.items.truncate(kept);
            for p in &producers.items[from..] {
                consumer_counts[p.0 as usize + 1] += 1;
            }
            producers.starts.push(producers.items.len() as u32);
        }
        for i in 0..n {
            consumer_counts[i + 1] += consumer_counts[i];
        }
        let mut next = consumer_counts.clone();
        let mut items = vec![InstanceIndex(0); producers.items.len()];
        for i in 0..n {
            for p in producers.get(InstanceIndex(i as u32)) {
                let slot = &mut next[p.0 as usize];
                items[*slot as usize] = InstanceIndex(i as u32);
                *slot += 1;
            }
        }
        Graph { producers, consumers: Ragged { starts: consumer_counts, items } }
    }

    /// What an instance needs.
    pub fn producers(&self, index: InstanceIndex) -> &[InstanceIndex] {
        self.producers.get(index)
    }

    /// Who needs an instance.
    pub fn consumers(&self, index: InstanceIndex) -> &[InstanceIndex] {
        self.consumers.get(index)
    }

    /// Marks `targets` and everything they need.
    pub fn wanted(&self, targets: &[InstanceIndex]) -> Vec<bool> {
        let mut wanted = vec![false; self.producers.starts.len() - 1];
        for t in targets {
            wanted[t.0 as usize] = true;
        }
        for i in (0..wanted.len()).rev() {
            if wanted[i] {
                for p in self.producers(InstanceIndex(i as u32)) {
                    wanted[p.0 as usize] = true;
                }
            }
        }
        wanted
    }

    /// For each instance the seconds from its start to the end of the longest chain behind it.
    pub fn urgency(&self, seconds: impl Fn(InstanceIndex) -> f32) -> Vec<f32> {
        let n = self.producers.starts.len() - 1;
        let mut urgency = vec![0f32; n];
        for i in (0..n).rev() {
            let index = InstanceIndex(i as u32);
            let behind = self.consumers(index).iter().map(|c| urgency[c.0 as usize]).fold(0f32, f32::max);
            urgency[i] = behind + seconds(index);
        }
        urgency
    }
}

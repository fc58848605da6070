//! Who waits for whom: the edges of a plan in both directions, the part a run wants, and what is most urgent.
//!
//! The plan is already in topological order, so one pass in order visits producers before consumers.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::plan::{InstanceIndex, Plan};

/// The edges of a plan, from producer to consumer; every edge once.
pub struct Graph(DiGraph<(), ()>);

impl Graph {
    /// The edges of `plan`; node `i` is instance `i`.
    pub fn new(plan: &Plan) -> Graph {
        let n = plan.instances.len();
        let mut graph = DiGraph::with_capacity(n, n);
        let mut producers = Vec::new();
        for i in 0..n as u32 {
            let node = graph.add_node(());
            producers.clear();
            producers.extend(plan.producers(InstanceIndex(i)));
            producers.sort_unstable();
            producers.dedup();
            for producer in &producers {
                graph.add_edge(NodeIndex::from(producer.0), node, ());
            }
        }
        Graph(graph)
    }

    /// What an instance needs.
    pub fn producers(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        self.neighbours(index, Direction::Incoming)
    }

    /// Who needs an instance.
    pub fn consumers(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        self.neighbours(index, Direction::Outgoing)
    }

    fn neighbours(
        &self,
        index: InstanceIndex,
        direction: Direction,
    ) -> impl Iterator<Item = InstanceIndex> + '_ {
        self.0
            .neighbors_directed(NodeIndex::from(index.0), direction)
            .map(|n| InstanceIndex(n.index() as u32))
    }

    /// Marks `targets` and everything they need.
    pub fn wanted(&self, targets: &[InstanceIndex]) -> Vec<bool> {
        let mut wanted = vec![false; self.0.node_count()];
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
        let n = self.0.node_count();
        let mut urgency = vec![0f32; n];
        for i in (0..n).rev() {
            let index = InstanceIndex(i as u32);
            let behind = self
                .consumers(index)
                .map(|c| urgency[c.0 as usize])
                .fold(0f32, f32::max);
            urgency[i] = behind + seconds(index);
        }
        urgency
    }
}

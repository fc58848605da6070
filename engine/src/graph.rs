//! Who waits for whom: the edges of a plan in both directions, the part a run wants, and what is
//! most urgent.
//!
//! The plan is already in topological order, so one pass in order visits producers before
//! consumers.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::plan::{InstanceIndex, Plan};

/// The edges of a plan, from the one that is waited for to the one that waits; every edge once.
pub struct Graph(DiGraph<(), Edge>);

/// Why one instance waits for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    /// It takes an output of it.
    Need,
    /// `after:` says so.
    Order,
}

impl Graph {
    /// The edges of `plan`; node `i` is instance `i`.
    pub fn new(plan: &Plan) -> Graph {
        Graph::of(plan.instances.len(), |index, awaited| {
            let after = &plan.instance(index).after;
            awaited.extend(plan.producers(index).map(|p| (p, Edge::Need)));
            awaited.extend(after.iter().map(|a| (*a, Edge::Order)));
        })
    }

    /// The edges of so many instances that need these.
    #[cfg(test)]
    pub fn of_needs(n: usize, needs: impl Fn(InstanceIndex) -> Vec<InstanceIndex>) -> Graph {
        Graph::of(n, |index, awaited| {
            awaited.extend(needs(index).into_iter().map(|p| (p, Edge::Need)));
        })
    }

    fn of(n: usize, add: impl Fn(InstanceIndex, &mut Vec<(InstanceIndex, Edge)>)) -> Graph {
        let mut graph = DiGraph::with_capacity(n, n);
        let mut awaited: Vec<(InstanceIndex, Edge)> = Vec::new();
        for i in 0..n as u32 {
            let node = graph.add_node(());
            awaited.clear();
            add(InstanceIndex(i), &mut awaited);
            // If one instance both needs another and comes after it, the need is kept.
            awaited.sort_unstable();
            awaited.dedup_by_key(|(other, _)| *other);
            for (other, edge) in &awaited {
                graph.add_edge(NodeIndex::from(other.0), node, *edge);
            }
        }
        Graph(graph)
    }

    /// Without what `after:` says.
    pub fn only_needs(mut self) -> Graph {
        self.0.retain_edges(|graph, edge| graph[edge] == Edge::Need);
        self
    }

    /// Those whose outputs an instance takes.
    pub fn producers(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        let edges = self.0.edges_directed(index.0.into(), Direction::Incoming);
        edges
            .filter(|edge| *edge.weight() == Edge::Need)
            .map(|edge| InstanceIndex(edge.source().index() as u32))
    }

    /// Those who take an output of an instance.
    pub fn consumers(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        let edges = self.0.edges_directed(index.0.into(), Direction::Outgoing);
        edges
            .filter(|edge| *edge.weight() == Edge::Need)
            .map(|edge| InstanceIndex(edge.target().index() as u32))
    }

    /// All that an instance waits for: its producers, and those it comes after.
    pub fn awaited(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
        self.neighbours(index, Direction::Incoming)
    }

    /// All that wait for an instance.
    pub fn waiting(&self, index: InstanceIndex) -> impl Iterator<Item = InstanceIndex> + '_ {
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

    /// Marks `targets` and everything they wait for.
    pub fn wanted(&self, targets: &[InstanceIndex]) -> Vec<bool> {
        let mut wanted = vec![false; self.0.node_count()];
        for t in targets {
            wanted[t.0 as usize] = true;
        }
        for i in (0..wanted.len()).rev() {
            if wanted[i] {
                for p in self.awaited(InstanceIndex(i as u32)) {
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
                .waiting(index)
                .map(|c| urgency[c.0 as usize])
                .fold(0f32, f32::max);
            urgency[i] = behind + seconds(index);
        }
        urgency
    }
}

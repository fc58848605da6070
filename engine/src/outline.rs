//! The outline of a plan: which stage needs which, with a matrix as one node, or every instance as
//! its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::plan::{Plan, Source};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// A stage with all its instances.
    Stages,
    /// An instance.
    Instances,
}

/// A stage, or an instance.
#[derive(Debug, Serialize)]
pub struct Node<'p> {
    /// Its name.
    #[serde(rename = "id")]
    pub name: &'p str,
    /// What it runs: a kind's name, or `command`.
    pub kind: &'p str,
    /// Its instances.
    #[serde(rename = "instances")]
    pub count: usize,
    /// Positions of nodes it needs, with the names under `needs:`.
    #[serde(skip)]
    pub needs: BTreeMap<usize, BTreeSet<&'p str>>,
    /// Positions of nodes it only waits for.
    #[serde(skip)]
    pub after: BTreeSet<usize>,
    /// Files and directories of the project that it reads.
    pub files: BTreeSet<String>,
}

/// From a node to one that needs it, or waits for it.
#[derive(Debug, Serialize)]
pub struct Edge<'o> {
    /// Who comes first.
    pub from: &'o str,
    /// Who needs it.
    pub to: &'o str,
    /// The names under `needs:`.
    pub needs: Vec<&'o str>,
    /// It is only waited for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub after: bool,
}

/// The nodes of a plan in topological order: by the last instance, so that a stage comes after all
/// it needs.
pub fn outline(plan: &Plan, of: Nodes) -> Vec<Node<'_>> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut of_instance = Vec::with_capacity(plan.instances.len());
    for instance in &plan.instances {
        let name = match of {
            Nodes::Instances => &*instance.id,
            Nodes::Stages => &*instance.stage,
        };
        let here = *at.entry(name).or_insert_with(|| {
            nodes.push(Node {
                name,
                kind: instance.kind_name(),
                count: 0,
                needs: BTreeMap::new(),
                after: BTreeSet::new(),
                files: BTreeSet::new(),
            });
            nodes.len() - 1
        });
        let node = &mut nodes[here];
        node.count += 1;
        of_instance.push(here);
        for need in &instance.needs {
            for item in &need.items {
                match &item.source {
                    Source::Output { instance, .. } => {
                        let from = of_instance[instance.0 as usize];
                        // An instance of the same stage (a later round) needs an earlier one: no
                        // edge of the stage.
                        if from != here {
                            node.needs.entry(from).or_default().insert(&*need.name);
                        }
                    }
                    Source::Files(files) => drop(node.files.insert(files.at.to_string())),
                }
            }
        }
        let after = instance.after.iter().map(|a| of_instance[a.0 as usize]);
        node.after.extend(after.filter(|a| *a != here));
    }
    for node in &mut nodes {
        node.after.retain(|a| !node.needs.contains_key(a));
    }
    nodes
}

/// The edges between them: first all that need, then all that wait.
pub fn edges<'o>(nodes: &'o [Node]) -> Vec<Edge<'o>> {
    let needs = nodes.iter().flat_map(|node| {
        node.needs.iter().map(|(from, names)| Edge {
            from: nodes[*from].name,
            to: node.name,
            needs: names.iter().copied().collect(),
            after: false,
        })
    });
    let after = nodes.iter().flat_map(|node| {
        node.after.iter().map(|from| Edge {
            from: nodes[*from].name,
            to: node.name,
            needs: Vec::new(),
            after: true,
        })
    });
    needs.chain(after).collect()
}

//! Tests of [`super`], on graphs written as lists of producers.

use std::sync::Arc;

use super::*;
use crate::plan::{NeedItem, Network, Place, Policy, Sandbox, Scratch};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// Instance `i` needs `edges[i]`.
fn plan(edges: &[&[u32]]) -> Plan {
    let path = RelPath::new("o").unwrap();
    let instances = edges.iter().enumerate().map(|(i, needs)| Instance {
        id: format!("i{i}").into(),
        stage: "s".into(),
        axes: Arc::from([]),
        work: Work::Command(Arc::default()),
        needs: vec![need(needs)],
        after: Arc::from([]),
        outputs: Arc::from([OutputSpec {
            name: "o".into(),
            path: path.clone(),
        }]),
        policy: Arc::new(Policy {
            cpus: None,
            memory_bytes: None,
            gpus: 0,
            mutexes: Vec::new(),
            timeout_s: None,
            retries: 0,
            sandbox: Sandbox::On,
            scratch: Scratch::None,
            network: Network::On,
            secrets: Vec::new(),
            executor: None,
            grace_s: 1.0,
        }),
        place: Arc::new(Place {
            file: "f".into(),
            line: 1,
            column: 1,
        }),
    });
    Plan {
        name: "p".into(),
        instances: instances.collect(),
        claims: Vec::new(),
        figures: Vec::new(),
        said: crate::plan::Said::default(),
        salt: String::new(),
        mirrors: Vec::new(),
        files: Vec::new(),
        warnings: Vec::new(),
    }
}

fn need(items: &[u32]) -> Need {
    let item = |&i: &u32| NeedItem {
        group: "".into(),
        axes: Arc::from([]),
        source: Source::Output {
            instance: InstanceIndex(i),
            output: 0,
        },
        placed_at: RelPath::new("in").unwrap(),
        inside: None,
    };
    Need {
        name: "in".into(),
        items: items.iter().map(item).collect(),
        many: true,
    }
}

/// The chains and sources of these items; `twins` are instances of one action.
fn found(edges: &[&[u32]], items: &[u32], twins: &[u32]) -> Vec<(Option<u32>, Vec<u32>)> {
    let key = |i: InstanceIndex| {
        let name = if twins.contains(&i.0) { u32::MAX } else { i.0 };
        Some(Digest::of(&name.to_le_bytes()))
    };
    let kin = of_need(&plan(edges), &need(items), &key);
    kin.into_iter().map(|k| (k.chain, k.sources)).collect()
}

fn alone() -> (Option<u32>, Vec<u32>) {
    (None, vec![])
}

#[test]
fn runs_from_one_data_set_are_independent() {
    assert_eq!(
        found(&[&[], &[0], &[0], &[0]], &[1, 2, 3], &[]),
        vec![alone(); 3]
    );
}

#[test]
fn case_1_instances_of_one_action_are_one_chain() {
    let chain = (Some(0), vec![]);
    assert_eq!(
        found(&[&[], &[0], &[0], &[0]], &[1, 2, 3], &[1, 2, 3]),
        vec![chain.clone(); 3]
    );
    assert_eq!(
        found(&[&[], &[0], &[0], &[0]], &[1, 2, 3], &[1, 3]),
        [chain.clone(), alone(), chain]
    );
}

#[test]
fn case_1_rounds_are_made_from_one_another() {
    // Two seeds, three rounds each, from one data set.
    let edges: [&[u32]; 7] = [&[], &[0], &[0], &[1, 0], &[2, 0], &[3, 0], &[4, 0]];
    let (a, b) = ((Some(0), vec![]), (Some(1), vec![]));
    assert_eq!(
        found(&edges, &[1, 3, 5, 2, 4, 6], &[]),
        [a.clone(), a.clone(), a.clone(), b.clone(), b.clone(), b]
    );
    assert_eq!(found(&edges, &[1, 3, 5], &[]), vec![a; 3]);
    // The same round of each is independent.
    assert_eq!(found(&edges, &[5, 6], &[]), vec![alone(); 2]);
    // A loop that comes back to its first bytes makes no circle.
    let (again, round) = ((Some(0), vec![]), found(&edges, &[1, 3, 5], &[1, 5]));
    assert_eq!(round, vec![again; 3]);
}

#[test]
fn case_40_branches_share_what_they_left_from() {
    // One data set, two trunks, two branches of each.
    let edges: [&[u32]; 7] = [&[], &[0], &[0], &[1, 0], &[1, 0], &[2, 0], &[2, 0]];
    let (a, b) = ((None, vec![0]), (None, vec![1]));
    assert_eq!(
        found(&edges, &[3, 4, 5, 6], &[]),
        [a.clone(), a, b.clone(), b]
    );
    assert_eq!(found(&edges, &[3, 4], &[]), vec![alone(); 2], "all have it");
    assert_eq!(found(&edges, &[3, 5], &[]), vec![alone(); 2]);
}

#[test]
fn many_items_take_moments() {
    let n = 20_000u32;
    let chain: Vec<Vec<u32>> = (0..n)
        .map(|i| i.checked_sub(1).into_iter().collect())
        .collect();
    let edges: Vec<&[u32]> = chain.iter().map(Vec::as_slice).collect();
    let items: Vec<u32> = (0..n).collect();
    assert!(found(&edges, &items, &[]).iter().all(|k| k.0 == Some(0)));
}

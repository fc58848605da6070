//! The board without a run: long chains, many that wait for one thing, and whole runs with a
//! simulated executor.

mod simulated;

use std::sync::Arc;

use super::*;
use crate::digest::{Digest, Shape};
use crate::executor::Capacity;
use crate::record::event::Reason;

fn capacity(cpus: u32) -> Capacity {
    Capacity {
        is_elastic: false,
        cpus,
        memory_bytes: 1000,
        gpus: 0,
    }
}

fn policy(cpus: Option<u32>, memory: u64, gpus: u32, mutex: Option<&str>) -> Arc<Policy> {
    Arc::new(Policy {
        cpus,
        memory_bytes: Some(memory),
        gpus,
        mutexes: mutex.map(Arc::from).into_iter().collect(),
        ..Policy::default()
    })
}

fn content(index: InstanceIndex) -> Content {
    Content {
        shape: Shape::File,
        digest: digest(index),
        bytes_total: 1,
    }
}

fn digest(index: InstanceIndex) -> Digest {
    Digest::of(&index.0.to_le_bytes())
}

fn done(index: InstanceIndex) -> State {
    State::Done {
        key: digest(index),
        outputs: [content(index)].into(),
    }
}

fn miss(index: InstanceIndex) -> Arc<Miss> {
    Arc::new(Miss {
        key: digest(index),
        reason: Reason::NeverRun,
        contents: Vec::new(),
    })
}

fn make_ready(board: &mut Board, index: InstanceIndex, policy: &Arc<Policy>) {
    let wish = Wish::of(policy, false);
    board.make_ready(index, miss(index), &wish, policy.clone(), 1);
}

/// With devices for everybody.
fn start_next(board: &mut Board, sweep: &mut Sweep) -> Option<Launch> {
    board.start_next(sweep, &mut |_, _, _, _| Reserved::Yes)
}

fn none(_: InstanceIndex) -> Vec<InstanceIndex> {
    Vec::new()
}

#[test]
fn a_chain_of_results_needs_no_stack() {
    let n = 100_000;
    let before = |i: InstanceIndex| i.0.checked_sub(1).map(InstanceIndex).into_iter().collect();
    let resources = Resources::of(&capacity(2), None);
    let mut board = Board::new(Graph::of_needs(n, before), &vec![true; n], resources);
    let mut looks = 0;
    while let Some(index) = board.next_free() {
        assert_eq!(index.0, looks, "in the order of the plan");
        board.enter(index, done(index));
        looks += 1;
    }
    assert_eq!(board.count(&[Phase::Done]), n);
    // The bytes of the first cannot be had: only who waits is told, and who has a result keeps it.
    board.wait(InstanceIndex(0));
    assert_eq!(board.next_free(), Some(InstanceIndex(0)));
    assert_eq!(board.count(&[Phase::Done]), n - 1);
}

#[test]
fn what_waits_for_a_gpu_costs_nothing_when_others_come_and_go() {
    let n = 11_000;
    let resources = Resources::of(&capacity(64), None);
    let mut board = Board::new(Graph::of_needs(n, none), &vec![true; n], resources);
    let (gpu, disk) = (
        policy(Some(1), 0, 1000, None),
        policy(Some(1), 0, 0, Some("disk")),
    );
    let plain = policy(Some(1), 0, 0, None);
    for i in 0..n as u32 {
        let wants = match i {
            0..10_000 => &gpu,
            10_000..10_500 => &disk,
            _ => &plain,
        };
        make_ready(&mut board, InstanceIndex(i), wants);
    }
    let (mut ended, mut tried, mut events) = (Vec::new(), 0, 0);
    // There is one.
    let mut has_gpu = None;
    while board.count(&[Phase::Failed]) < n {
        let mut sweep = Sweep::default();
        let mut started = 0;
        let mut reserve = |order, _: &Wish, policy: &Policy, _| match (policy.gpus, has_gpu) {
            (1.., Some(_)) => Reserved::ByThisRun,
            (gpus, _) => {
                has_gpu = has_gpu.or((gpus > 0).then_some(order));
                Reserved::Yes
            }
        };
        while let Some(start) = board.start_next(&mut sweep, &mut reserve) {
            ended.push((start.index, start.order));
            started += 1;
        }
        // Each wish is passed over at most once, however many have it.
        assert!(sweep.tried <= started + 3, "{} tried", sweep.tried);
        tried += sweep.tried;
        events += 1;
        let (index, order) = ended.remove(0);
        board.enter(index, State::Failed);
        has_gpu = has_gpu.filter(|of| *of != order);
    }
    assert!(tried <= n + 3 * events);
}

#[test]
fn an_action_that_does_not_fit_lets_smaller_ones_pass() {
    let resources = Resources::of(&capacity(4), None);
    let mut board = Board::new(Graph::of_needs(3, none), &[true; 3], resources);
    let wants = [
        policy(Some(3), 0, 0, Some("disk")),
        policy(Some(1), 0, 0, Some("disk")),
        policy(Some(1), 0, 0, None),
    ];
    for (i, wants) in (0..).zip(&wants) {
        make_ready(&mut board, InstanceIndex(i), wants);
    }
    let mut sweep = Sweep::default();
    let mut start = || start_next(&mut board, &mut sweep).map(|start| start.index.0);
    assert_eq!([start(), start(), start()], [Some(0), Some(2), None]);
}

#[test]
fn what_waits_for_a_result_that_is_lost_waits_again() {
    let resources = Resources::of(&capacity(4), None);
    let first = |i: InstanceIndex| (i.0 > 0).then_some(InstanceIndex(0)).into_iter().collect();
    let mut board = Board::new(Graph::of_needs(4, first), &[true; 4], resources);
    let all: Vec<InstanceIndex> = (0..4).map(InstanceIndex).collect();
    assert_eq!(board.next_free(), Some(all[0]));
    board.enter(all[0], done(all[0]));
    make_ready(&mut board, all[1], &policy(Some(1), 0, 0, None));
    make_ready(&mut board, all[2], &policy(Some(1), 0, 0, None));
    let start = start_next(&mut board, &mut Sweep::default()).unwrap();
    assert_eq!(start.index, all[1]);
    board.enter(all[3], State::Asking { miss: miss(all[3]) });
    board.wait(all[0]);
    // By its key it is known which results come from one another.
    assert_eq!(board.key(all[0]), Some(digest(all[0])));
    // What runs has its inputs; the others must not start.
    let phases = all.iter().map(|i| board.phase(*i)).collect::<Vec<_>>();
    use Phase::{Running, Waiting};
    assert_eq!(phases, [Waiting, Running, Waiting, Waiting]);
    assert!(start_next(&mut board, &mut Sweep::default()).is_none());
    assert_eq!(board.next_free(), Some(all[0]));
    assert_eq!(board.next_free(), None);
    // Somebody else executed it; its producer is still to come.
    board.wait(all[1]);
    board.enter(all[0], done(all[0]));
    let free: Vec<_> = std::iter::from_fn(|| board.next_free()).collect();
    assert_eq!(free, all[1..]);
}

#[test]
fn what_is_only_foreseen_lets_others_be_looked_at() {
    let resources = Resources::of(&capacity(4), None);
    let before = |i: InstanceIndex| i.0.checked_sub(1).map(InstanceIndex).into_iter().collect();
    let mut board = Board::new(Graph::of_needs(3, before), &[true; 3], resources);
    let all: Vec<InstanceIndex> = (0..3).map(InstanceIndex).collect();
    assert_eq!(board.next_free(), Some(all[0]));
    let foreseen = Some([content(all[0])].into());
    board.enter(all[0], State::Planned { foreseen });
    assert_eq!(board.next_free(), Some(all[1]));
    let (key, outputs) = (digest(all[1]), [content(all[1])].into());
    board.enter(all[1], State::Foreseen { key, outputs });
    assert_eq!(board.next_free(), Some(all[2]));
    // That it is told of in the end takes nothing from those behind it.
    let foreseen = board.outputs(all[1]).cloned();
    board.enter(all[1], State::Planned { foreseen });
    assert!(matches!(board.state(all[2]), State::Waiting { missing: 0 }));
    assert_eq!(board.next_free(), None);
}

#[test]
#[should_panic(expected = "Done to Running")]
fn no_way_leads_from_a_result_to_an_execution() {
    let resources = Resources::of(&capacity(4), None);
    let mut board = Board::new(Graph::of_needs(1, none), &[true], resources);
    let index = InstanceIndex(0);
    make_ready(&mut board, index, &policy(Some(1), 0, 0, None));
    let start = start_next(&mut board, &mut Sweep::default()).unwrap();
    board.wait(index);
    board.enter(index, done(index));
    let running = State::Running {
        order: start.order,
        key: digest(index),
        policy: start.policy,
    };
    board.enter(index, running);
}

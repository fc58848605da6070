//! Collection on a remote: what somebody needs is never lost, what nobody needs goes, whenever and
//! however often it is interrupted, whoever publishes meanwhile, and whatever the clocks say.

mod fsck;
mod lab;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::lab::{Clients, DAY, Lab};
use repro_engine::digest::Digest;
use repro_engine::remote::gc::{Ages, Collected, Mode, collect};
use repro_engine::remote::layout::Segment;
use repro_engine::remote::lease;
use repro_engine::remote::link::Link;
use repro_engine::remote::stopped::Stopped;

fn run(link: &Arc<Link>, keys: &[Digest], mode: Mode) -> Result<Collected, Stopped> {
    let keys: HashSet<Digest> = keys.iter().copied().collect();
    collect(link, &keys, &Ages::default(), mode)
}

fn done(link: &Arc<Link>, keys: &[Digest]) -> Collected {
    run(link, keys, Mode::Do).unwrap()
}

fn segment(text: &str) -> Segment {
    text.parse().unwrap()
}

#[test]
fn what_nobody_needs_goes_in_two_phases() {
    let lab = Lab::new();
    let link = lab.link();
    let (needed, leased, unneeded) = (
        lab.result("needed", 3),
        lab.result("leased", 2),
        lab.result("unneeded", 4),
    );
    for result in [&needed, &leased, &unneeded] {
        lab.publish(&link, result);
    }
    lease::renew(&link, &segment("c1"), vec![leased.record.key]).unwrap();
    let keys = [needed.record.key];
    // All of it is young.
    assert_eq!(done(&link, &keys).marked.names, 0);
    lab.pass(20 * DAY);
    let young = lab.result("young", 2);
    lab.publish(&link, &young);
    let before = lab.names();
    let plan = run(&link, &keys, Mode::Plan).unwrap();
    assert_eq!(lab.names(), before, "a plan changes nothing");
    assert_eq!(
        (plan.removed.names, plan.actions.len(), plan.leases),
        (0, 1, 1)
    );
    assert_eq!(plan.actions[0].wall_s, Some(7.5));
    assert!(plan.marked.names > 4 && plan.marked.bytes > 0);
    let first = done(&link, &keys);
    assert_eq!((first.marked, first.removed.names), (plan.marked, 0));
    // Another collection soon after removes nothing, and marks nothing twice.
    let second = done(&link, &keys);
    assert_eq!(
        (second.waiting, second.marked.names, second.removed.names),
        (plan.marked, 0, 0)
    );
    lab.pass(2 * DAY);
    let third = done(&link, &keys);
    assert_eq!((third.removed, third.spared), (plan.marked, 0));
    for result in [&needed, &leased, &young] {
        lab.expect_whole(&link, result);
    }
    lab.expect_gone(&link, &unneeded);
    lab.expect_nothing_dangles();
    // The remote holds these and nothing else: no notes, no markers.
    let fresh = Lab::new();
    let its_link = fresh.link();
    for (what, files) in [("needed", 3), ("leased", 2), ("young", 2)] {
        fresh.publish(&its_link, &fresh.result(what, files));
    }
    lease::renew(&its_link, &segment("c1"), vec![]).unwrap();
    assert_eq!(lab.names(), fresh.names());
    // A lease ends when nobody renews it.
    lab.pass(100 * DAY);
    done(&link, &keys);
    lab.pass(2 * DAY);
    done(&link, &keys);
    lab.expect_whole(&link, &needed);
    lab.expect_gone(&link, &leased);
    lab.expect_nothing_dangles();
}

#[test]
fn what_is_published_between_the_phases_survives() {
    let lab = Lab::new();
    let link = lab.link();
    let old = lab.result("old", 3);
    lab.publish(&link, &old);
    lab.pass(20 * DAY);
    assert!(done(&link, &[]).marked.names > 0);
    lab.pass(2 * DAY);
    // Another action has the same bytes as outputs: they are not sent again, only made young.
    let again = lab.same_outputs("again", &old);
    let sent = lab.publish(&link, &again);
    assert!(sent < 5_000, "{sent} bytes were sent");
    let collected = done(&link, &[]);
    assert!(collected.removed.names > 0);
    lab.expect_gone(&link, &old);
    lab.expect_whole(&link, &again);
    lab.expect_nothing_dangles();
}

/// A lease of a clone that comes after the marking stops the sweep.
#[test]
fn a_lease_that_comes_meanwhile_counts() {
    let lab = Lab::new();
    let link = lab.link();
    let old = lab.result("old", 3);
    lab.publish(&link, &old);
    lab.pass(20 * DAY);
    done(&link, &[]);
    lab.pass(2 * DAY);
    let key = old.record.key;
    let its_link = link.clone();
    // When the collector lists the leases for the second time.
    lab.on_list("leases", 2, move || {
        lease::renew(&its_link, &segment("late"), vec![key]).unwrap();
    });
    assert!(matches!(run(&link, &[], Mode::Do), Err(Stopped::Changed)));
    lab.expect_whole(&link, &old);
    assert_eq!(done(&link, &[]).removed.names, 0);
    lab.expect_whole(&link, &old);
}

#[test]
fn a_lease_that_cannot_be_read_stops_everything() {
    let lab = Lab::new();
    let link = lab.link();
    lab.publish(&link, &lab.result("old", 2));
    lease::renew(&link, &segment("c"), vec![Digest([7; 32])]).unwrap();
    lab.pass(20 * DAY);
    lab.damage("leases");
    let before = lab.names();
    let Err(Stopped::Lease(why)) = run(&link, &[], Mode::Do) else {
        panic!("it did not stop");
    };
    assert!(why.contains("v1/leases/c/project"), "{why}");
    assert_eq!(lab.names(), before);
}

/// The collector, or the publisher, has a clock that is wrong by a day, or by a hundred.
#[test]
fn wrong_clocks_lose_nothing() {
    for skew_days in [-100, -1, 1, 100] {
        let lab = Lab::new();
        let link = lab.link_with_clock(skew_days);
        let (needed, unneeded, young) =
            (lab.result("a", 2), lab.result("b", 2), lab.result("c", 2));
        lab.publish(&link, &needed);
        lab.publish(&link, &unneeded);
        lab.pass(20 * DAY);
        lab.publish(&link, &young);
        let keys = [needed.record.key];
        assert!(done(&link, &keys).marked.names > 0);
        lab.pass(2 * DAY);
        assert!(done(&link, &keys).removed.names > 0);
        lab.expect_whole(&link, &needed);
        lab.expect_whole(&link, &young);
        lab.expect_gone(&link, &unneeded);
        lab.expect_nothing_dangles();
    }
}

/// Cut at every call in turn, a collection loses nothing needed, leaves nothing that points
/// nowhere, and is completed by the next.
#[test]
fn stopped_anywhere_it_can_be_done_again() {
    let mut stopped_in_sweep = 0;
    for at in 0.. {
        let lab = Lab::new();
        let link = lab.link();
        let (needed, unneeded) = (lab.result("a", 2), lab.result("b", 3));
        lab.publish(&link, &needed);
        lab.publish(&link, &unneeded);
        let keys = [needed.record.key];
        lab.pass(20 * DAY);
        done(&link, &keys);
        lab.pass(2 * DAY);
        lab.stop_after(at);
        let outcome = run(&lab.link(), &keys, Mode::Do);
        lab.stop_after(usize::MAX);
        lab.expect_nothing_dangles();
        lab.expect_whole(&lab.link(), &needed);
        if outcome.is_ok() {
            assert!(at > 20, "only {at} calls");
            break;
        }
        stopped_in_sweep += usize::from(
            !lab.names()
                .iter()
                .any(|n| n.contains("heads") && n.contains(&unneeded.record.key.hex()[2..])),
        );
        done(&lab.link(), &keys);
        lab.pass(2 * DAY);
        done(&lab.link(), &keys);
        lab.expect_gone(&lab.link(), &unneeded);
        lab.expect_whole(&lab.link(), &needed);
    }
    assert!(stopped_in_sweep > 3, "{stopped_in_sweep}");
}

/// Eight clients publish, lease and collect at once while time flies and their clocks disagree;
/// whatever one of them has published or leased within the grace is whole, always. REPRO_SOAK_S
/// says how many seconds this goes on.
#[test]
fn eight_clients_at_once() {
    let seconds = std::env::var("REPRO_SOAK_S")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(6);
    let lab = Arc::new(Lab::new());
    let clients = Arc::new(Clients::new(8));
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..8u64)
        .map(|me| {
            let (lab, clients, over) = (lab.clone(), clients.clone(), over.clone());
            std::thread::spawn(move || {
                let link = lab.link_with_clock(me as i64 % 3 - 1);
                let name = segment(&format!("c{me}"));
                let mut counts = BTreeMap::new();
                let mut random = me.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
                while !over.load(Ordering::SeqCst) {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let work = clients.begin(me as usize);
                    // Few actions, fewer contents: clients meet.
                    let result = lab.shared(random % 24, (random >> 8) % 6);
                    let what = match (random >> 16) % 4 {
                        0 => match run(&link, &[], Mode::Do) {
                            Ok(collected) if collected.removed.names > 0 => "swept",
                            Ok(_) | Err(Stopped::Changed) => "collected",
                            Err(e) => panic!("{e}"),
                        },
                        1 => {
                            // Needs it from now on; publishes it, in case it is gone, and finds it
                            // whole for ever.
                            lease::begin(&link, &name, vec![result.record.key]).unwrap();
                            lab.publish(&link, &result);
                            lab.expect_whole(&link, &result);
                            lab.expect_published(&link, &result);
                            "leased"
                        }
                        _ => {
                            lab.publish(&link, &result);
                            lab.expect_whole_if_published(&link, &result);
                            "published"
                        }
                    };
                    *counts.entry(what).or_insert(0) += 1;
                    drop(work);
                }
                counts
            })
        })
        .collect();
    let started = Instant::now();
    let mut days = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        // A day passes once everybody has ended what was begun on the day before: nothing takes
        // longer than two days.
        if !clients.wait_for_all(&threads) {
            break;
        }
        lab.pass(DAY);
        days += 1;
    }
    over.store(true, Ordering::SeqCst);
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for thread in threads {
        for (what, count) in thread.join().unwrap() {
            *counts.entry(what).or_default() += count;
        }
    }
    lab.expect_nothing_dangles();
    eprintln!("{days} days: {counts:?}");
    assert!(days > 20 && counts["published"] > 50, "{days} {counts:?}");
    // What is leased now is whole.
    assert!(
        counts.contains_key("swept"),
        "nothing was ever removed: {counts:?}"
    );
}

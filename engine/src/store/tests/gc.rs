//! What gc keeps and what it takes.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::digest::Shape;

const NOW: GcPolicy = GcPolicy {
    grace: Duration::ZERO,
    states_grace: Duration::ZERO,
};

fn tree(f: &Fixture, key: &str, file: &str) -> Content {
    fs::create_dir_all(f.path("t")).unwrap();
    fs::write(f.path("t/file"), file).unwrap();
    let (content, staged) = f.store.absorb(&f.path("t")).unwrap();
    commit_one(&f.store, record(key, &[("t", content)]), staged).unwrap();
    content
}

#[test]
fn roots_pins_and_all_they_reach_stay() {
    let f = Fixture::new();
    let (kept, gone) = (tree(&f, "kept", "kept file"), tree(&f, "gone", "gone file"));
    let (pinned, listed) = (
        f.commit_file("pinned", "pinned"),
        f.commit_file("listed", "listed"),
    );
    f.store.pin(Root::Action(key("pinned"))).unwrap();
    f.store
        .pin(Root::Content(Shape::File, listed.digest))
        .unwrap();
    let roots = HashSet::from([Root::Action(key("kept"))]);
    let planned = f.store.gc_plan(&roots, &NOW).unwrap();
    assert!(f.store.has(&gone).unwrap(), "planning removes nothing");
    let done = f.store.gc(&roots, &NOW).unwrap();
    assert_eq!(
        (planned.objects, planned.trees, planned.bytes_total),
        (done.objects, done.trees, done.bytes_total)
    );
    assert_eq!((done.objects, done.trees), (1, 1));
    let mut keys: Vec<_> = done
        .actions
        .iter()
        .map(|a| (a.preimage.as_str(), a.wall_s))
        .collect();
    keys.sort_by(|a, b| a.0.cmp(b.0));
    assert_eq!(keys, vec![("gone", Some(2.5)), ("listed", Some(2.5))]);
    let store = f.reopen();
    assert!(
        store.has(&kept).unwrap() && store.has(&pinned).unwrap() && store.has(&listed).unwrap()
    );
    assert!(!store.has(&gone).unwrap() && store.lookup(&key("gone")).is_empty());
    assert!(store.fsck(false).unwrap().findings.is_empty());
    assert!(f.store.unpin(Root::Action(key("pinned"))).unwrap());
    assert!(!f.store.unpin(Root::Action(key("pinned"))).unwrap());
    f.store.gc(&roots, &NOW).unwrap();
    assert!(!f.store.has(&pinned).unwrap() && f.store.has(&kept).unwrap());
}

#[test]
fn the_young_stay_and_states_go_by_their_own_age() {
    let f = Fixture::new();
    let young = f.commit_file("young", "young");
    fs::write(f.path("s"), "state").unwrap();
    f.store.put_state(&key("s"), &f.path("s"), "p").unwrap();
    let hour = Duration::from_secs(3600);
    let plan = f
        .store
        .gc(
            &HashSet::new(),
            &GcPolicy {
                grace: hour,
                states_grace: hour,
            },
        )
        .unwrap();
    assert_eq!((plan.states, plan.objects, plan.bytes_total), (0, 0, 0));
    let plan = f
        .store
        .gc(
            &HashSet::new(),
            &GcPolicy {
                grace: hour,
                states_grace: Duration::ZERO,
            },
        )
        .unwrap();
    assert_eq!(plan.states, 1);
    assert!(f.store.has(&young).unwrap() && f.store.get_state(&key("s")).is_none());
}

#[test]
fn a_live_lease_keeps_what_its_process_uses() {
    let f = Fixture::new();
    let (used, unused) = (
        f.commit_file("used", "used"),
        f.commit_file("unused", "unused"),
    );
    // Old enough for the lease's beginning not to keep them.
    let old = std::time::SystemTime::now() - Duration::from_secs(10);
    for (name, content) in [("used", used), ("unused", unused)] {
        let path = f
            .store
            .named("actions", &key(name))
            .join(record(name, &[("out", content)]).result().hex());
        for path in [path, f.store.object_path(&content.digest)] {
            File::open(path).unwrap().set_modified(old).unwrap();
        }
    }
    let runner = f.reopen();
    runner.start_lease().unwrap();
    assert_eq!(runner.lookup(&key("used")).len(), 1);
    let fresh = commit_bytes(&runner, "fresh", "fresh").unwrap();
    f.store.gc(&HashSet::new(), &NOW).unwrap();
    assert!(f.store.has(&used).unwrap() && f.store.has(&fresh).unwrap());
    assert!(!f.store.has(&unused).unwrap());
    drop(runner);
    f.store.gc(&HashSet::new(), &NOW).unwrap();
    assert!(!f.store.has(&used).unwrap() && !f.store.has(&fresh).unwrap());
    assert!(names(&f.store.root().join("leases")).is_empty());
}

#[test]
fn gc_beside_commits_never_leaves_a_record_without_objects() {
    let f = Fixture::new();
    std::thread::scope(|scope| {
        let committers: Vec<_> = (0..3)
            .map(|n| {
                let store = f.reopen();
                scope.spawn(move || {
                    for i in 0..20 {
                        // The same bytes again and again under new keys: found there one moment,
                        // swept the next.
                        commit_bytes(&store, &format!("{n} {i}"), &format!("bytes {}", i % 5))
                            .unwrap();
                    }
                })
            })
            .collect();
        let store = f.reopen();
        while committers.iter().any(|c| !c.is_finished()) {
            store.gc(&HashSet::new(), &NOW).unwrap();
            let findings = store.fsck(false).unwrap().findings;
            assert!(findings.is_empty(), "{findings:?}");
        }
    });
    assert!(f.store.fsck(false).unwrap().findings.is_empty());
}

//! `kill -9` at every step: a child process of this test stops dead there, and then everything must
//! still be right.

use std::process::Command;

use super::*;

const CHILD: &str = "store::tests::crash::child";

/// Runs in the child only: does one thing in the store it is given, and dies on the way.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("REPRO_TEST_CHILD") else {
        return;
    };
    let dir = PathBuf::from(dir);
    let store = Store::open(&dir.join("store")).unwrap();
    match std::env::var("REPRO_TEST_DO").unwrap().as_str() {
        "commit" => {
            store.start_lease().unwrap();
            let _lock = store.try_lock_action(&key("tree")).unwrap().unwrap();
            fs::create_dir_all(dir.join("out/sub")).unwrap();
            fs::write(dir.join("out/a"), "a").unwrap();
            fs::write(dir.join("out/sub/b"), "b").unwrap();
            let (content, staged) = store.absorb(&dir.join("out")).unwrap();
            commit_one(&store, record("tree", &[("t", content)]), staged).unwrap();
        }
        "place" => {
            let content = store.lookup(&key("old")).remove(0).outputs["t"];
            store
                .place(&content, &dir.join("artifacts/t"), LinkMode::Copy)
                .unwrap();
        }
        "gc" => {
            let policy = GcPolicy {
                grace: std::time::Duration::ZERO,
                states_grace: std::time::Duration::ZERO,
            };
            store.gc(&Default::default(), &policy).unwrap();
        }
        other => panic!("{other}"),
    }
    panic!("the crash point was not reached");
}

fn crash(dir: &Path, action: &str, point: &str) {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env("REPRO_TEST_CHILD", dir)
        .env("REPRO_TEST_DO", action)
        .env("REPRO_TEST_CRASH", point)
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(
        out.status.signal(),
        Some(libc::SIGABRT),
        "{point}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn no_damage(store: &Store, when: &str) {
    let findings = store.fsck(false).unwrap().findings;
    assert!(findings.is_empty(), "{when}: {findings:?}");
}

#[test]
fn a_commit_may_die_anywhere() {
    for point in [
        "commit.one_published",
        "commit.published",
        "commit.synced",
        "record.written",
        "commit.done",
    ] {
        let f = Fixture::new();
        crash(f.dir.path(), "commit", point);
        let store = f.reopen();
        no_damage(&store, point);
        assert_eq!(
            store.lookup(&key("tree")).len(),
            usize::from(point == "commit.done"),
            "{point}"
        );
        // No lock outlives its owner, and what it left is swept by the next who writes.
        drop(store.try_lock_action(&key("tree")).unwrap().unwrap());
        assert_eq!(
            names(&store.root().join("tmp")).len(),
            2,
            "{point}: a dead scratch directory"
        );
        fs::create_dir_all(f.path("again/sub")).unwrap();
        fs::write(f.path("again/a"), "a").unwrap();
        fs::write(f.path("again/sub/b"), "b").unwrap();
        let (content, staged) = store.absorb(&f.path("again")).unwrap();
        commit_one(&store, record("tree", &[("t", content)]), staged).unwrap();
        no_damage(&store, point);
        assert!(store.has(&content).unwrap());
        let policy = GcPolicy {
            grace: std::time::Duration::ZERO,
            states_grace: std::time::Duration::ZERO,
        };
        store.gc(&Default::default(), &policy).unwrap();
        assert!(
            names(&store.root().join("leases")).is_empty(),
            "{point}: the dead lease keeps nothing"
        );
        assert!(store.lookup(&key("tree")).is_empty());
        drop(store);
        assert!(names(&f.store.root().join("tmp")).is_empty(), "{point}");
    }
}

#[test]
fn placing_may_die_anywhere() {
    for point in ["place.built", "place.installed"] {
        let f = Fixture::new();
        fs::create_dir_all(f.path("t/d")).unwrap();
        fs::write(f.path("t/d/new"), "new").unwrap();
        let (content, staged) = f.store.absorb(&f.path("t")).unwrap();
        commit_one(&f.store, record("old", &[("t", content)]), staged).unwrap();
        fs::create_dir_all(f.path("artifacts/t")).unwrap();
        fs::write(f.path("artifacts/t/old"), "old").unwrap();
        crash(f.dir.path(), "place", point);
        let expected = if point == "place.built" {
            vec!["old"]
        } else {
            vec!["d"]
        };
        assert_eq!(
            names(&f.path("artifacts/t")),
            expected,
            "old or new, nothing between"
        );
        assert_eq!(
            names(&f.path("artifacts")).len(),
            2,
            "something is left beside it"
        );
        f.store
            .place(&content, &f.path("artifacts/t"), LinkMode::Copy)
            .unwrap();
        assert_eq!(names(&f.path("artifacts")), vec!["t"], "and is swept");
        assert_eq!(names(&f.path("artifacts/t")), vec!["d"]);
    }
}

#[test]
fn gc_may_die_anywhere() {
    for point in ["gc.records_gone", "gc.trees_gone"] {
        let f = Fixture::new();
        fs::create_dir(f.path("t")).unwrap();
        fs::write(f.path("t/x"), "x").unwrap();
        let (content, staged) = f.store.absorb(&f.path("t")).unwrap();
        commit_one(&f.store, record("old", &[("t", content)]), staged).unwrap();
        crash(f.dir.path(), "gc", point);
        no_damage(&f.reopen(), point);
        f.commit_file("old", "works");
    }
}

/// Whoever takes over an object that a killed process has given its name waits for the disk before
/// a record names it.
#[test]
fn case_61_what_a_killed_process_published_is_made_durable_before_it_is_recorded() {
    for settled in [false, true] {
        let f = Fixture::new();
        crash(f.dir.path(), "commit", "commit.published");
        let pause = if settled { 100 } else { 0 };
        std::thread::sleep(std::time::Duration::from_millis(pause));
        let store = f.reopen();
        fs::create_dir_all(f.path("again/sub")).unwrap();
        fs::write(f.path("again/a"), "a").unwrap();
        fs::write(f.path("again/sub/b"), "b").unwrap();
        let synced = || sys::tests_only::SYNCED.with_borrow(|s| s.len());
        let before = synced();
        let (content, staged) = store.absorb(&f.path("again")).unwrap();
        commit_one(&store, record("tree", &[("t", content)]), staged).unwrap();
        assert!(synced() > before, "settled: {settled}");
        let (after, store) = (synced(), f.reopen());
        // What is sealed is known to be on the disk.
        let (content, staged) = store.absorb_bytes(b"a").unwrap();
        commit_one(&store, record("other", &[("t", content)]), staged).unwrap();
        assert_eq!(synced(), after, "settled: {settled}");
    }
}

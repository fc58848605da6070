//! Several at once: threads of one process, and stores that share nothing but the disk.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn eight_at_once_store_the_same_content() {
    let f = Fixture::new();
    let new = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (f, new) = (&f, &new);
            scope.spawn(move || {
                // Half of them share one store, half have their own.
                let own = f.reopen();
                let store = if n % 2 == 0 { &f.store } else { &own };
                for i in 0..10 {
                    let dir = f.path(&format!("out {n} {i}"));
                    fs::create_dir_all(dir.join("d")).unwrap();
                    fs::write(dir.join("d/a"), format!("a {i}")).unwrap();
                    fs::write(dir.join("b"), "the same for all").unwrap();
                    let (content, staged) = store.absorb(&dir).unwrap();
                    let done =
                        commit_one(store, record(&format!("k {i}"), &[("t", content)]), staged)
                            .unwrap();
                    new.fetch_add(usize::from(done.is_new), Ordering::Relaxed);
                    assert!(done.others.is_empty());
                    store
                        .place(&content, &f.path("artifacts/shared"), LinkMode::Copy)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(new.into_inner(), 10, "each result is new once");
    let report = f.store.fsck(false).unwrap();
    assert_eq!(
        (
            report.findings.len(),
            report.records,
            report.trees,
            report.objects
        ),
        (0, 10, 10, 11)
    );
    assert_eq!(names(&f.path("artifacts")), vec!["shared"]);
    assert!(names(&f.store.root().join("quarantine")).is_empty());
}

#[test]
fn a_lock_is_one_process_at_a_time() {
    let f = Fixture::new();
    let held = f.store.try_lock_action(&key("k")).unwrap().unwrap();
    let other = f.reopen();
    assert_eq!(
        other.try_lock_action(&key("k")).unwrap().unwrap_err(),
        Waiting {
            pid: Some(std::process::id()),
            host: None,
        }
    );
    drop(other.try_lock_action(&key("j")).unwrap().unwrap());
    let mut asked = 0;
    let gave_up = other.lock_action(&key("k"), |waiting| {
        assert_eq!(waiting.pid, Some(std::process::id()));
        asked += 1;
        if asked == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(gave_up, Err(StoreError::Cancelled)));
    drop(held);
    drop(
        other
            .lock_action(&key("k"), |_| ControlFlow::Break(()))
            .unwrap(),
    );
    assert!(names(&f.store.root().join("locks")).is_empty());
}

#[test]
fn locks_exclude_although_their_files_come_and_go() {
    let f = Fixture::new();
    let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..40 {
                    if let Ok(_lock) = f.store.try_lock_action(&key("k")).unwrap() {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(done.into_inner() > 0);
}

/// Not asserted, because machines differ: look at it with `--nocapture`.
#[test]
fn speed_of_small_actions() {
    let f = Fixture::new();
    let us = |start: std::time::Instant, n: u32| start.elapsed().as_micros() as f64 / f64::from(n);
    let start = std::time::Instant::now();
    let mut batch = Vec::new();
    for i in 0..1000 {
        let path = f.path(&format!("o{i}"));
        fs::write(&path, format!("output {i}")).unwrap();
        let (content, staged) = f.store.absorb(&path).unwrap();
        batch.push(Pending {
            record: record(&format!("{i}"), &[("out", content)]),
            staged,
        });
    }
    println!("write and absorb: {:.1} µs each", us(start, 1000));
    let start = std::time::Instant::now();
    while !batch.is_empty() {
        let rest = batch.split_off(batch.len().min(100));
        assert!(f.store.commit(batch).iter().all(|o| o.is_ok()));
        batch = rest;
    }
    println!("commit in batches of 100: {:.1} µs each", us(start, 1000));
    let store = f.reopen();
    let start = std::time::Instant::now();
    let found: Vec<Record> = (0..1000)
        .flat_map(|i| store.lookup(&key(&i.to_string())))
        .collect();
    println!("lookup: {:.1} µs each", us(start, 1000));
    let start = std::time::Instant::now();
    assert!(found.iter().all(|r| store.has(&r.outputs["out"]).unwrap()));
    println!("has: {:.1} µs each", us(start, 1000));
    assert_eq!(found.len(), 1000);
    let start = std::time::Instant::now();
    found.iter().enumerate().for_each(|(i, r)| {
        store
            .place(
                &r.outputs["out"],
                &f.path(&format!("p/{i}")),
                LinkMode::Copy,
            )
            .unwrap();
    });
    println!("place: {:.1} µs each", us(start, 1000));
}

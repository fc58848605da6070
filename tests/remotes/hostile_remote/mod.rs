//! A remote that does not do what it should: nothing of it may become a wrong artifact, and nothing
//! of ours may be lost.

mod damage;
mod fuzz;
mod lab;
mod lies;
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::lab::{Machine, everything};
use crate::support::bucket::{Bucket, Fault};
use repro_engine::remote::BackendFault;
use repro_engine::remote::publish::Published;

#[test]
fn what_one_machine_made_another_gets() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let bucket = Bucket::new();
    let record = ci.made("all", &everything());
    assert_eq!(ci.push(&bucket, &[&record]), [Ok(Published::New)]);
    let first = bucket.calls().len();
    assert_eq!(ci.push(&bucket, &[&record]), [Ok(Published::Known)]);
    let trust = laptop.trust("1 of ci", &[&ci]);
    let got = laptop.pull(&bucket, &trust, record.key).unwrap();
    assert_eq!(got.outputs, record.outputs);
    assert!(laptop.has(&record));
    for content in record.outputs.values() {
        laptop.store.verify(content).unwrap();
    }
    laptop.is_sound();
    assert_eq!(laptop.warned(), [""; 0]);
    let count = |from: usize, to: usize, doing: &str| {
        bucket.calls()[from..to]
            .iter()
            .filter(|c| c.0 == doing)
            .count()
    };
    let all = bucket.calls().len();
    // 4 files, 2 large ones of the tree, 1 part, 1 listing; record, signature, head.
    assert_eq!(count(0, first, "put"), 11);
    // Nothing is sent twice: the head tells, and the outputs are looked at.
    assert_eq!(count(first, all, "put"), 0);
    // The head; 4 files; listing, 2 files, 1 part.
    assert_eq!(count(first, all, "get"), 1 + 1 + 4 + 4);
}

/// Whatever fails once, at whichever call: the rest is done, and doing it again completes it.
#[test]
fn a_push_that_fails_at_any_call_can_be_done_again() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let record = ci.made("all", &everything());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let mut n = 0;
    loop {
        let bucket = Bucket::new();
        let fired = Arc::new(AtomicU64::new(0));
        for after in [false, true] {
            let bucket = Bucket::new();
            let counted = fired.clone();
            let faulty = bucket.with_faults(move |call, _, _| {
                if call != n {
                    return Fault::None;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                match after {
                    true => Fault::After(BackendFault::Unreachable),
                    false => Fault::Before(BackendFault::Unreachable),
                }
            });
            let pushed = ci.push(&faulty, &[&record]);
            if fired.load(Ordering::Relaxed) > 0 && pushed[0].is_err() {
                // What is there already is whole: either nobody finds the result, or all of it.
                let other = Machine::new();
                let trust = other.trust("1 of ci", &[&ci]);
                let got = other.pull(&bucket, &trust, record.key);
                assert!(got.is_err() || other.has(&record), "call {n}");
                assert_eq!(other.warned(), [""; 0], "call {n}");
            }
            let again = ci.push(&bucket, &[&record]);
            assert!(again[0].is_ok(), "call {n}: {again:?}");
            let got = laptop.pull(&bucket, &trust, record.key);
            assert!(got.is_ok(), "call {n}: {got:?}");
        }
        drop(bucket);
        if fired.load(Ordering::Relaxed) == 0 {
            break;
        }
        n += 1;
    }
    assert!(n >= 15, "only {n} calls");
    laptop.is_sound();
}

/// A body that is cut is taken up again; a call that fails is a miss, and the next pull gets what
/// is missing.
#[test]
fn a_pull_that_is_cut_at_any_call_goes_on() {
    let ci = Machine::new();
    let bucket = Bucket::new();
    let record = ci.made("all", &everything());
    ci.push(&bucket, &[&record])[0].clone().unwrap();
    let mut n = 0;
    loop {
        let fired = Arc::new(AtomicU64::new(0));
        for fault in [
            Fault::Cut(0),
            Fault::Cut(10),
            Fault::Cut(100_000),
            Fault::Before(BackendFault::Unreachable),
            Fault::Before(BackendFault::NotFound),
            Fault::Before(BackendFault::Other),
        ] {
            let laptop = Machine::new();
            let trust = laptop.trust("1 of ci", &[&ci]);
            let counted = fired.clone();
            let faulty = bucket.with_faults(move |call, _, _| {
                if call != n {
                    return Fault::None;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                fault
            });
            let got = laptop.pull(&faulty, &trust, record.key);
            let is_cut = matches!(fault, Fault::Cut(_));
            assert!(got.is_ok() || !is_cut, "call {n}, {fault:?}: {got:?}");
            assert_eq!(got.is_ok(), laptop.has(&record));
            laptop.is_sound();
            let got = laptop.pull(&bucket, &trust, record.key);
            assert!(got.is_ok(), "call {n}, {fault:?}: {got:?}");
            assert!(laptop.has(&record));
        }
        if fired.load(Ordering::Relaxed) == 0 {
            break;
        }
        n += 1;
    }
    assert!(n > 8, "only {n} calls");
}

/// One warning, soon, and no thread is waited for.
#[test]
fn a_remote_that_hangs_is_given_up() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let record = ci.made("all", &everything());
    let bucket = Bucket::new();
    ci.push(&bucket, &[&record])[0].clone().unwrap();
    let trust = laptop.trust("1 of ci", &[&ci]);
    let dead = bucket.with_faults(|_, _, _| Fault::Hang);
    let warnings = laptop.warnings.clone();
    let warn = move |text: &str| warnings.lock().unwrap().push(text.to_owned());
    let link =
        repro_engine::remote::link::Link::new(Box::new(dead), "lab", Default::default(), warn)
            .with_silence(Duration::from_millis(300));
    let link = Arc::new(link);
    let mut answers = 0;
    let keys = (0..100u8)
        .map(|i| repro_engine::digest::Digest([i; 32]))
        .collect();
    repro_engine::lookup::look_up(&link, &trust, keys, |_, answer| {
        assert!(matches!(answer, repro_engine::lookup::Answer::Miss(_)));
        answers += 1;
    });
    assert_eq!(answers, 100);
    let outcome =
        repro_engine::remote::publish::publish(&link, &ci.store, vec![ci.publication(&record)]);
    assert!(outcome[0].is_err());
    let warned = laptop.warned();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("it does not answer"), "{warned:?}");
}

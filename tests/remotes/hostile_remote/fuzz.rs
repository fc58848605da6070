//! A remote that is altered at random, in several places at once: what comes out of it is what was
//! put in, or nothing.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::lab::{Machine, Output, noise};
use crate::support::bucket::Bucket;
use repro_engine::store::Record;

/// A small result with every sort of object, published.
fn published() -> &'static (Bucket, Record, Machine) {
    static PUBLISHED: OnceLock<(Bucket, Record, Machine)> = OnceLock::new();
    PUBLISHED.get_or_init(|| {
        let ci = Machine::new();
        let bucket = Bucket::new();
        let tree = vec![
            ("a".to_owned(), b"1".to_vec()),
            ("b/c".to_owned(), noise(900, 1)),
            ("b/d".to_owned(), vec![7; 2000]),
            ("large".to_owned(), noise(140_000, 2)),
        ];
        let outputs = [
            ("text", Output::File(b"line\n".repeat(500))),
            ("tree", Output::Tree(tree)),
        ];
        let record = ci.made("fuzz", &outputs);
        ci.push(&bucket, &[&record])[0].clone().unwrap();
        (bucket, record, ci)
    })
}

#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Swap(usize),
    Remove,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (prop_oneof![0usize..32, 0usize..200_000], 1u8..).prop_map(|(at, with)| Change::Flip(at, with)),
        1 => (0usize..200_000).prop_map(Change::Cut),
        1 => (0usize..3000, proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (0usize..100).prop_map(Change::Swap),
        1 => Just(Change::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_comes_out_was_put_in(changes in proptest::collection::vec((0usize..100, change()), 1..4)) {
        let (whole, record, ci) = published();
        let bucket = whole.copy();
        let names = bucket.names();
        for (position, change) in changes {
            let name = &names[position % names.len()];
            if !bucket.names().contains(name) {
                continue;
            }
            let mut bytes = bucket.bytes(name);
            match change {
                Change::Flip(at, with) if !bytes.is_empty() => {
                    let at = at % bytes.len();
                    bytes[at] ^= with;
                }
                Change::Cut(at) => bytes.truncate(at % (bytes.len() + 1)),
                Change::Insert(at, more) => {
                    let at = at % (bytes.len() + 1);
                    bytes.splice(at..at, more);
                }
                Change::Swap(other) => bytes = whole.bytes(&names[other % names.len()]),
                Change::Remove => {
                    bucket.remove(name);
                    continue;
                }
                Change::Flip(..) => {}
            }
            bucket.set(name, bytes);
        }
        let laptop = Machine::new();
        let trust = laptop.trust("1 of ci", &[ci]);
        if let Ok(got) = laptop.pull(&bucket, &trust, record.key) {
            prop_assert_eq!(&got.outputs, &record.outputs);
            for content in got.outputs.values() {
                laptop.store.verify(content).unwrap();
            }
        } else {
            prop_assert!(laptop.store.lookup(&record.key).is_empty());
        }
        laptop.is_sound();
    }
}

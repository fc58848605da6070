//! Objects that were altered: each in turn, in every way there is.

use super::lab::{Machine, most, noise};
use crate::support::bucket::Bucket;
use repro_engine::remote::Name;
use repro_engine::remote::encoding::{HEADER_BYTES, encode_bytes};

/// Ways to alter an object; `None` where a way does not apply.
fn damaged(bytes: &[u8], other: &[u8], how: usize) -> Option<Vec<u8>> {
    let flipped = |at: usize| {
        let mut bytes = bytes.to_vec();
        *bytes.get_mut(at)? ^= 0x10;
        Some(bytes)
    };
    match how {
        // The header: magic, encoding, size.
        0 => flipped(3),
        1 => flipped(8),
        2 => flipped(17),
        // The first, a middle, the last byte behind it.
        3 => flipped(HEADER_BYTES),
        4 => flipped((bytes.len() + HEADER_BYTES) / 2),
        5 => flipped(bytes.len() - 1),
        6 => Some(Vec::new()),
        7 => Some(bytes[..HEADER_BYTES / 2].to_vec()),
        8 => Some(bytes[..bytes.len() - 1].to_vec()),
        9 => Some([bytes, b"more"].concat()),
        10 => Some(other.to_vec()),
        11 => Some(b"<html>please log in</html>".repeat(20)),
        // A header that promises the moon, and frames that unpack to it.
        12 => Some(bomb(bytes, 1 << 40)),
        13 => Some(bomb(bytes, u64::MAX)),
        // The right size, and a frame with 64 MiB in it.
        14 => {
            let size = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
            Some(bomb(bytes, size))
        }
        // Well encoded, and something else.
        15 => encode_bytes(&noise(1000, 99)).ok(),
        _ => None,
    }
}

const WAYS: usize = 16;

fn bomb(like: &[u8], size: u64) -> Vec<u8> {
    let frame = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let mut bytes = like[..8].to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&size.to_le_bytes());
    for _ in 0..3 {
        bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&frame);
    }
    bytes
}

/// Always a miss with a warning, or no harm; after the owner has pushed again, whole.
#[test]
fn every_object_altered_in_every_way() {
    let ci = Machine::new();
    let whole = Bucket::new();
    let record = ci.made("all", &most());
    let other = ci.made("other", &most()[..1]);
    for pushed in ci.push(&whole, &[&record, &other]) {
        pushed.unwrap();
    }
    let names = whole.names();
    let mut harmless = Vec::new();
    let mut tried = 0;
    for (position, name) in names.iter().enumerate() {
        let next: &Name = &names[(position + 1) % names.len()];
        for how in 0..WAYS {
            let Some(bytes) = damaged(&whole.bytes(name), &whole.bytes(next), how) else {
                continue;
            };
            let bucket = whole.copy();
            bucket.set(name, bytes);
            tried += 1;
            let laptop = Machine::new();
            let trust = laptop.trust("1 of ci", &[&ci]);
            let got = laptop.pull(&bucket, &trust, record.key);
            let warned = laptop.warned();
            match got {
                Ok(got) => {
                    assert_eq!(got.outputs, record.outputs, "{name}, {how}");
                    harmless.push(format!("{name} {how}"));
                }
                Err(why) => assert!(!warned.is_empty(), "{name}, {how}: {why}"),
            }
            // What was whole was kept, so the second look may need nothing that is damaged.
            if laptop.pull(&bucket, &trust, record.key).is_ok() {
                assert!(laptop.has(&record), "{name}, {how}");
            }
            laptop.is_sound();
        }
    }
    assert!(tried > 16 * 11, "{tried}");
    // The other result's objects do not matter, nor do record and signature where the head is good,
    // and a bad head is made up for by them. What is left is bytes.
    let of_other: Vec<String> = other
        .outputs
        .values()
        .map(|c| format!("{}", c.digest)[2..].to_owned())
        .collect();
    let is_bytes = |text: &&String| {
        let areas = ["/objects/", "/trees/", "/packs/"];
        areas.iter().any(|p| text.contains(p)) && !of_other.iter().any(|o| text.contains(o))
    };
    let taken: Vec<&String> = harmless.iter().filter(is_bytes).collect();
    assert!(taken.is_empty(), "taken for good: {taken:#?}");
}

/// The same, when every body goes on for ever.
#[test]
fn endless_bodies() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let bucket = Bucket::new();
    let record = ci.made("all", &most());
    ci.push(&bucket, &[&record])[0].clone().unwrap();
    let trust = laptop.trust("1 of ci", &[&ci]);
    let got = laptop.pull(&bucket.endless(), &trust, record.key);
    assert!(got.is_err());
    assert!(!laptop.warned().is_empty());
    laptop.is_sound();
    // Nothing of ours at all.
    for name in bucket.names() {
        bucket.set(&name, Vec::new());
    }
    assert!(laptop.pull(&bucket.endless(), &trust, record.key).is_err());
    laptop.is_sound();
}

/// What one machine finds damaged, its own push replaces.
#[test]
fn a_damaged_object_is_replaced_by_who_has_it() {
    let ci = Machine::new();
    let bucket = Bucket::new();
    let record = ci.made("all", &most());
    ci.push(&bucket, &[&record])[0].clone().unwrap();
    for name in bucket.names() {
        let hurt = bucket.copy();
        hurt.set(&name, b"rubbish".to_vec());
        let laptop = Machine::new();
        let trust = laptop.trust("1 of ci", &[&ci]);
        let link = laptop.link(&hurt);
        let contents: Vec<_> = record.outputs.values().copied().collect();
        let _ = repro_engine::remote::fetch::fetch(&link, &laptop.store, &contents).unwrap();
        // It executes the action, and publishes; through the link that knows.
        laptop.made("all", &most());
        let pushed = repro_engine::remote::publish::publish(
            &link,
            &laptop.store,
            vec![laptop.publication(&record)],
        );
        pushed[0].clone().unwrap();
        let is_bytes = !name.as_str().contains("/actions/");
        if is_bytes {
            assert!(hurt.bytes(&name) != b"rubbish", "{name}");
        }
        let third = Machine::new();
        let trust_both = third.trust("1 of ci", &[&ci, &laptop]);
        drop(trust);
        assert!(third.pull(&hurt, &trust_both, record.key).is_ok(), "{name}");
    }
}

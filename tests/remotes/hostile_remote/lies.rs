//! Records, heads and signatures that lie; and trees that believed signers vouch for and no machine
//! should lay out.

use std::collections::BTreeMap;

use super::lab::{Machine, Output, everything};
use crate::support::bucket::Bucket;
use repro_engine::digest::{Content, Digest, Domain, Shape};
use repro_engine::lookup::{Answer, Why};
use repro_engine::remote::encoding::encode_bytes;
use repro_engine::remote::head::Head;
use repro_engine::remote::layout::{Place, Scope};
use repro_engine::store::{LinkMode, Record};
use repro_engine::trust::Facts;

fn put(bucket: &Bucket, place: &Place, plain: &[u8]) {
    bucket.set(&Scope::Shared.name(place), encode_bytes(plain).unwrap());
}

fn put_head(bucket: &Bucket, record: &Record, envelopes: Vec<Vec<u8>>) {
    let head = Head {
        record: record.clone(),
        envelopes,
    };
    put(bucket, &Place::Head(record.key), &head.to_bytes().unwrap());
}

fn small(ci: &Machine, name: &str, text: &str) -> Record {
    let text = text.as_bytes().to_vec();
    ci.made(name, &[("out", Output::File(text))])
}

#[test]
fn a_result_under_another_key_is_a_miss() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let bucket = Bucket::new();
    let (a, b) = (small(&ci, "a", "1"), small(&ci, "b", "2"));
    ci.push(&bucket, &[&a, &b]);
    // The head of one as that of the other.
    let bytes = bucket.bytes(&Scope::Shared.name(&Place::Head(b.key)));
    bucket.set(&Scope::Shared.name(&Place::Head(a.key)), bytes);
    let got = laptop.pull(&bucket, &trust, a.key).unwrap();
    assert_eq!(got.outputs, a.outputs, "the record itself is still there");
    assert!(laptop.warned()[0].contains("another action"));
    // A record that says it is of this key, with the other's signature.
    let moved = Record {
        key: a.key,
        preimage: a.preimage.clone(),
        ..b.clone()
    };
    let stolen = ci.publication(&b).signatures[0].1.clone();
    put_head(&bucket, &moved, vec![stolen.clone()]);
    for name in bucket.names() {
        if name.as_str().contains("/actions/") {
            bucket.remove(&name);
        }
    }
    let fresh = Machine::new();
    let why = fresh.pull(&bucket, &trust, a.key).unwrap_err();
    assert!(why.contains("another action"), "{why}");
    assert_eq!(fresh.warned().len(), 1, "somebody is at work: that is told");
    // A description that is not the key's.
    let lying = Record {
        preimage: "{\"name\":\"c\"}".into(),
        ..a.clone()
    };
    put_head(&bucket, &lying, vec![stolen]);
    let why = fresh.pull(&bucket, &trust, a.key).unwrap_err();
    assert!(why.contains("description"), "{why}");
}

#[test]
fn signatures_that_are_missing_foreign_or_of_something_else() {
    let (ci, eve, laptop) = (Machine::new(), Machine::new(), Machine::new());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let record = small(&ci, "a", "good");
    let evil = Record {
        outputs: small(&eve, "a", "evil").outputs,
        ..record.clone()
    };
    let of = |machine: &Machine, record: &Record| machine.signer.sign(record, &Facts::of(record));
    let forged = {
        // Eve's signature in the name of CI.
        let text = String::from_utf8(of(&eve, &evil)).unwrap();
        let (eves, cis) = (eve.signer.id().to_string(), ci.signer.id().to_string());
        text.replace(&eves, &cis).into_bytes()
    };
    let cases: [(&str, Vec<Vec<u8>>); 6] = [
        ("not signed", vec![]),
        ("does not list", vec![of(&eve, &evil)]),
        ("forged", vec![forged]),
        ("another result", vec![of(&ci, &record)]),
        ("cannot be read", vec![b"{}".to_vec()]),
        ("cannot be read", vec![vec![b'['; 100_000]]),
    ];
    for (expected, envelopes) in cases {
        let bucket = Bucket::new();
        put_head(&bucket, &evil, envelopes.clone());
        let text = evil.to_text().unwrap();
        let result = evil.result();
        let key = evil.key;
        put(&bucket, &Place::Record { key, result }, text.as_bytes());
        for (n, envelope) in envelopes.iter().enumerate() {
            let signer = format!("{n}").parse().unwrap();
            let place = Place::Envelope {
                key,
                result,
                signer,
            };
            put(&bucket, &place, envelope);
        }
        put(&bucket, &Place::Object(Digest::of(b"evil")), b"evil");
        let why = laptop.pull(&bucket, &trust, key).unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
        assert!(laptop.store.lookup(&key).is_empty());
        // The true result is found beside it.
        ci.push(&bucket, &[&record])[0].clone().unwrap();
        let machine = Machine::new();
        let got = machine.pull(&bucket, &trust, key).unwrap();
        assert_eq!(got.outputs, record.outputs, "{expected}");
    }
}

#[test]
fn two_signers_make_a_quorum_that_one_is_not() {
    let (ci, anna, laptop) = (Machine::new(), Machine::new(), Machine::new());
    let trust = laptop.trust("2 of ci", &[&ci, &anna]);
    let bucket = Bucket::new();
    let record = small(&ci, "a", "1");
    ci.push(&bucket, &[&record]);
    assert!(laptop.pull(&bucket, &trust, record.key).is_err());
    small(&anna, "a", "1");
    assert!(anna.push(&bucket, &[&record])[0].is_ok());
    let got = laptop.pull(&bucket, &trust, record.key).unwrap();
    assert_eq!(got.outputs, record.outputs);
    // Where nothing can be listed, only the head counts.
    let other = Machine::new();
    let got = other.pull(&bucket.without_list(), &trust, record.key);
    assert!(got.is_err());
}

#[test]
fn what_is_published_in_a_scope_is_not_read_outside() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let bucket = Bucket::new();
    let record = small(&ci, "a", "1");
    let scope = Scope::Of("pr-7".parse().unwrap());
    let link = std::sync::Arc::new(repro_engine::remote::link::Link::new(
        Box::new(bucket.clone()),
        "lab",
        scope,
        |_| {},
    ));
    let pushed =
        repro_engine::remote::publish::publish(&link, &ci.store, vec![ci.publication(&record)]);
    pushed[0].clone().unwrap();
    assert_eq!(
        laptop.ask(&bucket, &trust, record.key),
        Answer::Miss(Why::Absent)
    );
    // Who names the scope reads it, bytes included.
    let (mut found, mut fetched) = (None, Vec::new());
    let reader = Machine::new();
    let link = std::sync::Arc::new(repro_engine::remote::link::Link::new(
        Box::new(bucket.clone()),
        "lab",
        Scope::Of("pr-7".parse().unwrap()),
        |_| {},
    ));
    repro_engine::lookup::look_up(&link, &trust, vec![record.key], |_, a| found = Some(a));
    if let Some(Answer::Hit(believed)) = found {
        let contents: Vec<Content> = believed.record.outputs.values().copied().collect();
        fetched = repro_engine::remote::fetch::fetch(&link, &reader.store, &contents).unwrap();
    }
    assert_eq!(fetched, [Ok(())]);
    assert!(
        bucket
            .names()
            .iter()
            .all(|n| n.as_str().starts_with("scopes/pr-7/v1/"))
    );
}

/// Publishes a tree with this listing under a believed signature, with all bytes it names.
fn vouched_tree(ci: &Machine, bucket: &Bucket, listing: &[u8], bytes_total: u64) -> Record {
    let digest = Digest::derive(Domain::Tree, listing);
    let preimage = format!("{{\"name\":\"{digest}\"}}");
    let content = Content {
        shape: Shape::Tree,
        digest,
        bytes_total,
    };
    let record = Record {
        key: Digest::derive(Domain::Action, preimage.as_bytes()),
        preimage,
        outputs: BTreeMap::from([("tree".to_owned(), content)]),
        observation: serde_json::Value::Null.into(),
    };
    put(bucket, &Place::Tree(digest), listing);
    put(bucket, &Place::Object(Digest::of(b"evil")), b"evil");
    // Where two small files are, they are looked for in a pack.
    put(
        bucket,
        &Place::Pack {
            tree: digest,
            part: 0,
        },
        b"evil",
    );
    let envelope = ci.signer.sign(&record, &Facts::of(&record));
    put_head(bucket, &record, vec![envelope]);
    record
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn trees_that_reach_outside_are_refused() {
    let evil = Digest::of(b"evil");
    let entry = |tag: &str, path: &str| format!("{tag} {evil} 4 {} {path}\n", path.len());
    let link = |path: &str, to: &str| format!("l {} {path} {} {to}\n", path.len(), to.len());
    let dir = |path: &str| format!("d {} {path}\n", path.len());
    let cases = [
        entry("f", "../evil"),
        entry("f", "/tmp/evil"),
        entry("f", "a/../../evil"),
        entry("f", "./evil"),
        entry("f", "a//evil"),
        entry("f", "missing/parent"),
        entry("f", "nul\0byte"),
        entry("c", "device"),
        entry("b", "device"),
        entry("p", "pipe"),
        link("out", "/etc"),
        link("out", "../.."),
        dir("d") + &link("d/out", "../../x"),
        // A link, and a file that would be written through it.
        link("l", "/tmp") + &entry("f", "l/evil"),
        dir("d") + &link("d/l", "..") + &link("m", "d/l/../..") + &entry("f", "z"),
        // One path twice, as two things.
        dir("x") + &entry("f", "x"),
        entry("f", "b") + &entry("f", "a"),
        format!("f {evil} 04 1 a\n"),
        format!("f {evil} 18446744073709551616 1 a\n"),
        format!("f {evil} 4 999999999999 a\n"),
        "rubbish".to_owned(),
    ];
    for case in cases {
        let (ci, laptop) = (Machine::new(), Machine::new());
        let trust = laptop.trust("1 of ci", &[&ci]);
        let bucket = Bucket::new();
        let listing = format!("repro tree 1\n{case}");
        let record = vouched_tree(&ci, &bucket, listing.as_bytes(), 4);
        let why = laptop.pull(&bucket, &trust, record.key).expect_err(&case);
        assert!(why.contains("damaged"), "{case}: {why}");
        assert!(!laptop.warned().is_empty(), "{case}");
        assert!(!laptop.has(&record));
        assert!(
            !files_below(laptop.dir.path())
                .iter()
                .any(|f| { f.file_name().is_some_and(|n| n == "evil" || n == "device") })
        );
        assert!(!std::path::Path::new("/tmp/evil").exists());
        laptop.is_sound();
    }
}

#[test]
fn trees_that_lie_about_sizes_are_refused() {
    let evil = Digest::of(b"evil");
    for (listing, bytes_total) in [
        (format!("f {evil} 4 1 a\n"), 5),
        (format!("f {evil} 5 1 a\n"), 5),
        (format!("f {evil} 1099511627776 1 a\n"), 1 << 40),
        (format!("f {evil} 4 1 a\nf {evil} 5 1 b\n"), 9),
        (format!("f {evil} 0 1 a\nf {} 4 1 b\n", Digest::of(b"")), 4),
    ] {
        let (ci, laptop) = (Machine::new(), Machine::new());
        let trust = laptop.trust("1 of ci", &[&ci]);
        let bucket = Bucket::new();
        let text = format!("repro tree 1\n{listing}");
        let record = vouched_tree(&ci, &bucket, text.as_bytes(), bytes_total);
        assert!(
            laptop.pull(&bucket, &trust, record.key).is_err(),
            "{listing}"
        );
        assert!(!laptop.warned().is_empty(), "{listing}");
        laptop.is_sound();
    }
}

/// Names that some file systems take for one: what is laid out is what is listed, or nothing.
#[test]
fn names_that_clash_elsewhere_are_laid_out_whole_or_not_at_all() {
    let evil = Digest::of(b"evil");
    let (ci, laptop) = (Machine::new(), Machine::new());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let bucket = Bucket::new();
    let names = ["A", "CON", "a", "aux.txt", "con", "e\u{301}", "x\ny", "é"];
    let mut names = names.map(str::to_owned).to_vec();
    names.sort();
    let lines: String = names
        .iter()
        .map(|n| format!("f {evil} 4 {} {n}\n", n.len()))
        .collect();
    let listing = format!("repro tree 1\n{lines}");
    let record = vouched_tree(&ci, &bucket, listing.as_bytes(), 4 * names.len() as u64);
    laptop.pull(&bucket, &trust, record.key).unwrap();
    let target = laptop.dir.path().join("laid-out");
    match laptop
        .store
        .place(&record.outputs["tree"], &target, LinkMode::Copy)
    {
        Ok(_) => {
            let found = files_below(&target);
            assert_eq!(found.len(), names.len());
            assert!(found.iter().all(|f| std::fs::read(f).unwrap() == b"evil"));
        }
        Err(_) => assert!(!target.exists()),
    }
}

/// A million entries are a large tree, not an attack; more than the largest listing is refused by
/// its header.
#[test]
fn a_listing_of_a_million_entries() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let bucket = Bucket::new();
    let empty = Digest::of(b"");
    let mut listing = "repro tree 1\n".to_owned();
    for i in 0..1_000_000 {
        listing += &format!("f {empty} 0 7 {i:07}\n");
    }
    let record = vouched_tree(&ci, &bucket, listing.as_bytes(), 0);
    let content = record.outputs["tree"];
    put(&bucket, &Place::Object(empty), b"");
    let answer = laptop.ask(&bucket, &trust, record.key);
    assert!(matches!(answer, Answer::Hit(_)), "{answer:?}");
    let fetched =
        repro_engine::remote::fetch::fetch(&laptop.link(&bucket), &laptop.store, &[content]);
    assert_eq!(fetched.unwrap(), [Ok(())]);
}

/// Everything is what it says, and only the observation is wild.
#[test]
fn what_a_record_says_of_its_making_is_tamed() {
    let (ci, laptop) = (Machine::new(), Machine::new());
    let trust = laptop.trust("1 of ci", &[&ci]);
    let bucket = Bucket::new();
    let mut record = ci.made("all", &everything());
    ci.push(&bucket, &[&record]);
    record.observation = serde_json::json!({"host": "\u{1b}]0;x\u{7}".repeat(100), "wall_s": "1e999", "origin": null}).into();
    let envelope = ci.publication(&record).signatures[0].1.clone();
    put_head(&bucket, &record, vec![envelope]);
    let got = laptop.pull(&bucket, &trust, record.key).unwrap();
    assert!(
        !serde_json::to_string(&got.observation)
            .unwrap()
            .contains("\\u001b")
    );
    assert!(!repro_engine::trust::is_own(&got));
}

//! Hostile bundles: always an error, never a record, never a file outside, never bytes under a
//! wrong name.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::import::{Belief, Imported, import};
use crate::canonical;
use crate::digest::{Content, Digest, Domain, Shape};
use crate::store::{Listing, Node, Record, Store};
use repro_protocol::relpath::RelPath;

/// An entry as it is written, whatever it should be.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    kind: tar::EntryType,
    size: u64,
    body: Vec<u8>,
    link: Option<&'static str>,
}

impl Entry {
    fn file(name: &str, body: &[u8]) -> Entry {
        Entry {
            name: name.as_bytes().to_vec(),
            kind: tar::EntryType::Regular,
            size: body.len() as u64,
            body: body.to_vec(),
            link: None,
        }
    }
}

/// A bundle before it is packed: a manifest and the entries after it.
#[derive(Clone)]
struct Parts {
    manifest: Value,
    entries: Vec<Entry>,
}

fn file_content(bytes: &[u8]) -> Content {
    Content {
        shape: Shape::File,
        digest: Digest::of(bytes),
        bytes_total: bytes.len() as u64,
    }
}

/// One result with a tree of two files, and a project of one file and one directory.
fn good() -> Parts {
    let file = |bytes: &[u8]| Node::File {
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        executable: false,
    };
    let path = |text: &str| RelPath::new(text).unwrap();
    let listing = Listing::new(BTreeMap::from([
        (path("a"), file(b"one")),
        (path("d"), Node::Dir),
        (path("d/b"), file(b"two")),
        (path("l"), Node::Link { target: "a".into() }),
    ]))
    .unwrap();
    let tree = listing.content();
    let preimage = canonical::text(&json!({"format": 1, "salt": ""}));
    let record = Record {
        key: Digest::derive(Domain::Action, preimage.as_bytes()),
        preimage,
        outputs: BTreeMap::from([
            ("dir".to_owned(), tree),
            ("text".to_owned(), file_content(b"one")),
        ]),
        observation: json!({"host": "elsewhere"}).into(),
    };
    let text = record.to_text().unwrap();
    let pipeline = b"version: 1\n";
    let mut objects = [&b"one"[..], b"two", pipeline];
    objects.sort_by_key(|bytes| Digest::of(bytes));
    let entry = |bytes: &[u8]| json!({"digest": Digest::of(bytes), "bytes": bytes.len()});
    let manifest = json!({
        "bundle": 1,
        "name": "study",
        "pipeline": "pipeline.yaml",
        "project": {
            "data": {"content": tree},
            "pipeline.yaml": {"content": file_content(pipeline)},
        },
        "records": [{"instance": "one", "key": record.key, "result": record.result(), "bytes": text.len()}],
        "envelopes": [],
        "trees": [{"digest": tree.digest, "bytes": listing.to_bytes().len()}],
        "objects": objects.map(entry),
    });
    let mut entries = vec![
        Entry::file("records/0", text.as_bytes()),
        Entry::file(&format!("trees/{}", tree.digest), &listing.to_bytes()),
    ];
    for bytes in objects {
        entries.push(Entry::file(
            &format!("objects/{}", Digest::of(bytes)),
            bytes,
        ));
    }
    Parts { manifest, entries }
}

impl Parts {
    /// The tar archive, with headers as given.
    fn tar(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        let text = serde_json::to_vec(&self.manifest).unwrap();
        let first = Entry::file("bundle.json", &text);
        for entry in std::iter::once(&first).chain(&self.entries) {
            let mut header = tar::Header::new_gnu();
            let name = &mut header.as_old_mut().name;
            name[..entry.name.len()].copy_from_slice(&entry.name);
            header.set_size(entry.size);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_entry_type(entry.kind);
            if let Some(link) = entry.link {
                header.set_link_name(link).unwrap();
            }
            header.set_cksum();
            archive.extend_from_slice(header.as_bytes());
            archive.extend_from_slice(&entry.body);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        archive.resize(archive.len() + 1024, 0);
        archive
    }
}

fn compressed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// A store and a directory for projects, in a directory where nothing else may appear.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"))
            .unwrap()
            .with_warnings(|_| ());
        std::fs::create_dir(dir.path().join("projects")).unwrap();
        Place { dir, store }
    }

    fn study(&self) -> PathBuf {
        self.dir.path().join("projects/study")
    }

    fn import(&self, bundle: &[u8]) -> anyhow::Result<Imported> {
        let file = self.dir.path().join("bundle");
        std::fs::write(&file, bundle).unwrap();
        import(&self.store, &file, &Belief::Maker, Some(&self.study()))
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(dir))
            .into_iter()
            .flatten();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Nothing was recorded, made, or left.
    fn is_untouched(&self) -> bool {
        self.names("") == ["bundle", "projects", "store"]
            && self.names("projects").is_empty()
            && self.names("store/actions").is_empty()
            && self.names("store/objects").is_empty()
            && self.names("store/trees").is_empty()
    }
}

#[test]
fn the_good_one_is_taken() {
    let place = Place::new();
    let imported = place.import(&compressed(&good().tar())).unwrap();
    assert_eq!(imported.results, ["one"]);
    let text = |path: &str| std::fs::read_to_string(place.study().join(path)).unwrap();
    assert_eq!(
        text("data/d/b") + &text("data/l") + &text("pipeline.yaml"),
        "twooneversion: 1\n"
    );
    let key = Digest::derive(Domain::Action, br#"{"format":1,"salt":""}"#);
    let records = place.store.lookup(&key);
    assert!(
        !crate::trust::is_own(&records[0]),
        "it is known to come from elsewhere"
    );
    assert!(place.store.fsck(false).unwrap().findings.is_empty());
}

/// What is wrong with it, and how it is made from the good one.
type Attack = (&'static str, fn(&mut Parts));

const ATTACKS: [Attack; 27] = [
    ("leaves the directory", |p| {
        let data = p.manifest["project"]["data"].clone();
        p.manifest["project"]["../outside"] = data;
    }),
    ("absolute", |p| {
        let data = p.manifest["project"]["data"].clone();
        p.manifest["project"]["/tmp/repro-outside"] = data;
    }),
    ("not in normal form", |p| {
        let data = p.manifest["project"]["data"].clone();
        p.manifest["project"]["a//b"] = data;
    }),
    ("hooks of git", |p| {
        let file = p.manifest["project"]["pipeline.yaml"].clone();
        p.manifest["project"]["sub/.GIT/hooks/post-checkout"] = file;
    }),
    ("our own state", |p| {
        let file = p.manifest["project"]["pipeline.yaml"].clone();
        p.manifest["project"][".repro/index"] = file;
    }),
    ("a file through a link of a directory", |p| {
        let file = p.manifest["project"]["pipeline.yaml"].clone();
        p.manifest["project"]["data/l/x"] = file;
    }),
    ("a project file that is not there", |p| {
        p.manifest["project"]["pipeline.yaml"]["content"]["digest"] = json!(Digest::of(b"absent"));
    }),
    ("a link", |p| {
        p.entries[2].kind = tar::EntryType::Symlink;
        p.entries[2].link = Some("/etc/passwd");
    }),
    ("a hard link", |p| {
        p.entries[2].kind = tar::EntryType::Link;
        p.entries[2].link = Some("bundle.json");
    }),
    ("a device", |p| p.entries[2].kind = tar::EntryType::Block),
    ("a long name that renames the next", |p| {
        let mut long = Entry::file("././@LongLink", b"../outside\0");
        long.kind = tar::EntryType::GNULongName;
        p.entries.insert(2, long);
    }),
    ("a header that resizes the next", |p| {
        let mut pax = Entry::file("pax", b"19 size=9999999999\n");
        pax.kind = tar::EntryType::XHeader;
        p.entries.insert(2, pax);
    }),
    ("other bytes", |p| p.entries[3].body[0] ^= 1),
    ("other bytes of a listing", |p| {
        let body = &mut p.entries[1].body;
        let at = body.len() - 2;
        body[at] ^= 1;
    }),
    ("two objects swapped", |p| p.entries.swap(2, 3)),
    ("two bodies swapped", |p| {
        let body = p.entries[2].body.clone();
        p.entries[2].body = std::mem::replace(&mut p.entries[3].body, body);
    }),
    ("an object too few", |p| drop(p.entries.pop())),
    ("an object less in both", |p| {
        p.entries.remove(2);
        p.manifest["objects"].as_array_mut().unwrap().remove(0);
    }),
    ("an entry too many", |p| {
        p.entries.push(Entry::file("../outside", b"x"));
    }),
    ("larger than said", |p| {
        p.entries[2].size = 1 << 40;
    }),
    ("larger than all disks", |p| {
        p.manifest["objects"][0]["bytes"] = json!(1u64 << 60);
        p.entries[2].size = 1 << 60;
    }),
    ("more than can be counted", |p| {
        p.manifest["objects"][0]["bytes"] = json!(u64::MAX);
        p.manifest["objects"][1]["bytes"] = json!(u64::MAX);
    }),
    ("a record about another action", |p| {
        p.manifest["records"][0]["key"] = json!(Digest::of(b"other"));
    }),
    ("a record with a lying description", |p| {
        let record = Record {
            key: Digest::of(b"key"),
            preimage: "{}".into(),
            outputs: BTreeMap::from([("text".to_owned(), file_content(b"one"))]),
            observation: Value::Null.into(),
        };
        let text = record.to_text().unwrap();
        p.manifest["records"][0] = json!({"instance": "one", "key": record.key, "result": record.result(), "bytes": text.len()});
        p.entries[0] = Entry::file("records/0", text.as_bytes());
    }),
    ("a signature under no record", |p| {
        p.manifest["envelopes"] = json!([{"record": 7, "bytes": 1}]);
        p.entries.insert(1, Entry::file("envelopes/0", b"x"));
    }),
    ("unknown fields", |p| p.manifest["run"] = json!("rm -rf")),
    ("another format", |p| p.manifest["bundle"] = json!(2)),
];

#[test]
fn hostile_bundles_are_refused_whole() {
    let mut text = String::new();
    for (name, attack) in ATTACKS {
        let place = Place::new();
        let mut parts = good();
        attack(&mut parts);
        let error = match place.import(&compressed(&parts.tar())) {
            Ok(_) => panic!("{name}: taken"),
            Err(e) => format!("{e:#}"),
        };
        assert!(place.is_untouched(), "{name}: left something ({error})");
        let error = error.replace(&place.dir.path().display().to_string(), "DIR");
        let tidy: String = error
            .split(' ')
            .map(|w| {
                if w.chars().all(|c| c.is_ascii_digit()) && w.len() > 3 {
                    "<bytes>"
                } else {
                    w
                }
            })
            .collect::<Vec<_>>()
            .join(" ");
        text += &format!("{name}: {tidy}\n");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in [
        &b""[..],
        b"text",
        &compressed(b""),
        &compressed(&[0; 5000]),
        &compressed(&vec![0; 50 << 20]),
    ] {
        let place = Place::new();
        assert!(place.import(bytes).is_err());
        assert!(place.is_untouched());
    }
}

/// After whatever came in, the store is whole and everything lies where it may.
fn check_whole(place: &Place, bundle: &[u8]) {
    let imported = place.import(bundle);
    let findings = place.store.fsck(false).unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(place.names(""), ["bundle", "projects", "store"]);
    let made = place.names("projects");
    match imported {
        Ok(_) => assert_eq!(made, ["study"]),
        Err(_) => assert!(made.is_empty(), "{made:?}"),
    }
    assert!(!Path::new("/tmp/repro-outside").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any bytes of the archive changed, or its end cut off.
    #[test]
    fn altered_bundles_do_no_harm(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        inside in any::<bool>(),
    ) {
        let mut bytes = good().tar();
        if !inside {
            bytes = compressed(&bytes);
        }
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let bundle = if inside { compressed(&bytes) } else { bytes };
        check_whole(&Place::new(), &bundle);
    }

    #[test]
    fn any_manifest_is_refused_or_read(text in "[{}\\[\\]\":,a-z0-9]{0,80}") {
        let _ = serde_json::from_str::<super::bundle::Manifest>(&text);
    }
}

//! What goes in comes out; names depend on nothing but the bytes.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::digest::Shape;
use repro_protocol::relpath::RelPath;

/// A tree as data: path → what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Dir,
    File(Vec<u8>, bool),
    Link(String),
}
type Things = BTreeMap<String, Thing>;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        "[ a-b\\nü⊕\"'*-]{1,6}",
        Just("-rf".to_owned()),
        Just("x".repeat(200))
    ]
    .prop_filter("a name", |n| n != "." && n != "..")
}

/// Random trees: each path's parents become directories, links go to random names beside them.
fn things() -> impl Strategy<Value = Things> {
    let thing = prop_oneof![
        3 => (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()).prop_map(|(b, x)| Thing::File(b, x)),
        1 => Just(Thing::Dir),
        1 => name().prop_map(Thing::Link),
    ];
    proptest::collection::vec((proptest::collection::vec(name(), 1..4), thing), 0..12).prop_map(
        |list| {
            let mut things = Things::new();
            for (path, thing) in list {
                let parents_free = (1..path.len()).all(|n| {
                    things
                        .get(&path[..n].join("/"))
                        .is_none_or(|t| *t == Thing::Dir)
                });
                if parents_free && !things.contains_key(&path.join("/")) {
                    (1..path.len())
                        .for_each(|n| drop(things.insert(path[..n].join("/"), Thing::Dir)));
                    things.insert(path.join("/"), thing);
                }
            }
            // Links in a circle are refused, rightly: leave only those that end.
            let links: Vec<String> = things
                .iter()
                .filter(|(_, t)| matches!(t, Thing::Link(_)))
                .map(|(p, _)| p.clone())
                .collect();
            for path in links {
                let Some(Thing::Link(target)) = things.get(&path) else {
                    continue;
                };
                let full = path
                    .rsplit_once('/')
                    .map_or(target.clone(), |(dir, _)| format!("{dir}/{target}"));
                if matches!(things.get(&full), Some(Thing::Link(_))) {
                    things.remove(&path);
                }
            }
            things
        },
    )
}

fn make(root: &Path, things: impl Iterator<Item = (String, Thing)>) {
    fs::create_dir_all(root).unwrap();
    for (path, thing) in things {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match thing {
            Thing::Dir => fs::create_dir_all(&path).unwrap(),
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::File(bytes, executable) => {
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(
                    &path,
                    fs::Permissions::from_mode(if executable { 0o750 } else { 0o640 }),
                )
                .unwrap();
            }
        }
    }
}

fn read(root: &Path) -> Things {
    let mut things = Things::new();
    let mut todo = vec![(root.to_owned(), String::new())];
    while let Some((dir, prefix)) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let text = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let meta = entry.metadata().unwrap();
            let thing = if meta.is_dir() {
                todo.push((entry.path(), format!("{text}/")));
                Thing::Dir
            } else if meta.is_symlink() {
                Thing::Link(
                    fs::read_link(entry.path())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .into(),
                )
            } else {
                Thing::File(fs::read(entry.path()).unwrap(), meta.mode() & 0o100 != 0)
            };
            things.insert(text, thing);
        }
    }
    things
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn trees_come_back_and_order_and_times_do_not_count(things in things()) {
        let f = Fixture::new();
        make(&f.path("one"), things.clone().into_iter());
        make(&f.path("two"), things.clone().into_iter().rev());
        let cache = StatCache::load(f.dir.path(), &f.path("cache"));
        let by_cache = cache.digest_path(&RelPath::new("two").unwrap()).unwrap();
        let (copied, _) = f.store.absorb_copy(&f.path("two")).unwrap();
        let (content, staged) = f.store.absorb(&f.path("one")).unwrap();
        prop_assert_eq!(content, copied);
        prop_assert_eq!(content, by_cache);
        prop_assert_eq!(read(&f.path("two")), things.clone(), "copying leaves the source alone");
        commit_one(&f.store, record("k", &[("t", content)]), staged).unwrap();
        prop_assert!(f.reopen().has(&content).unwrap());
        for (n, mode) in [LinkMode::Copy, LinkMode::Hardlink, LinkMode::Copy].into_iter().enumerate() {
            f.store.place(&content, &f.path("placed/here"), mode).unwrap();
            prop_assert_eq!(read(&f.path("placed/here")), things.clone(), "placing {}", n);
        }
        f.store.view(&content, &f.path("view"), ViewMode::Copy).unwrap();
        prop_assert_eq!(read(&f.path("view")), things.clone());
        f.store.view(&content, &f.path("links"), ViewMode::Symlink).unwrap();
        for (path, thing) in &things {
            if let Thing::File(bytes, executable) = thing {
                prop_assert_eq!(&fs::read(f.path("links").join(path)).unwrap(), bytes);
                prop_assert_eq!(fs::symlink_metadata(f.path("links").join(path)).unwrap().is_file(), *executable);
            }
        }
        prop_assert_eq!(names(&f.path("placed")), vec!["here"], "nothing is left beside it");
        let listing = f.store.read_tree(&content.digest).unwrap();
        prop_assert_eq!(Listing::parse(&listing.to_bytes()).unwrap(), listing);
        prop_assert!(f.store.fsck(false).unwrap().findings.is_empty());
    }

    #[test]
    fn listings_from_elsewhere_are_canonical_or_refused(bytes in "(repro tree 1\n)?(d 1 a\n)?(d 3 a/[b.]\n)?(l 1 l [0-9] [./al]{1,9}\n)?(d 1 [a-z/]\n)?") {
        if let Ok(listing) = Listing::parse(bytes.as_bytes()) {
            prop_assert_eq!(listing.to_bytes(), bytes.as_bytes());
        }
    }
}

#[test]
fn golden_tree_digest() {
    let f = Fixture::new();
    make(
        &f.path("t"),
        [
            ("a b", Thing::File(b"x".to_vec(), true)),
            ("d", Thing::Dir),
            ("l\n", Thing::Link("d/../a b".into())),
        ]
        .into_iter()
        .map(|(p, t)| (p.to_owned(), t)),
    );
    let (content, staged) = f.store.absorb(&f.path("t")).unwrap();
    f.store.keep(&content, staged).unwrap();
    let listing = f.store.read_tree(&content.digest).unwrap();
    let x = Digest::of(b"x");
    let text = format!("repro tree 1\nx {x} 1 3 a b\nd 1 d\nl 2 l\n 8 d/../a b\n");
    assert_eq!(String::from_utf8(listing.to_bytes()).unwrap(), text);
    assert_eq!(
        content.digest.hex(),
        "4e03c6ca2d8c3fa67ca24c4283933f84e5ad08a29715e8bc3bdd2a0c1c0e2320"
    );
    assert_eq!(content.bytes_total, 1);
}

#[test]
fn a_part_of_a_tree_is_what_lies_there() {
    let f = Fixture::new();
    let file = |text: &str| Thing::File(text.into(), false);
    let things = [
        ("d", Thing::Dir),
        ("d-e", file("beside")),
        ("d/e", Thing::Dir),
        ("d/e/f", file("x")),
        ("d/e/up", Thing::Link("../g".into())),
        ("d/g", Thing::File(b"run".to_vec(), true)),
        ("d/l", Thing::Link("e".into())),
    ];
    make(
        &f.path("t"),
        things.into_iter().map(|(p, t)| (p.to_owned(), t)),
    );
    let (content, staged) = f.store.absorb(&f.path("t")).unwrap();
    f.store.keep(&content, staged).unwrap();
    let listing = f.store.read_tree(&content.digest).unwrap();
    let part = |path: &str| listing.part(&RelPath::new(path).unwrap());
    let content = |path: &str| match part(path).unwrap() {
        Some(Part::File(content)) => (content.shape, content.digest),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(content("d/e/f"), (Shape::File, Digest::of(b"x")));
    assert_eq!(content("d/l/f"), content("d/e/f"));
    assert_eq!(content("d/e/up"), (Shape::Program, Digest::of(b"run")));
    let Some(Part::Tree(tree)) = part("d").unwrap() else {
        panic!("no tree")
    };
    let paths: Vec<&str> = tree.nodes().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["e", "e/f", "e/up", "g", "l"]);
    assert_eq!(part("d/x").unwrap(), None);
    assert_eq!(part("d/e/f/x").unwrap(), None);
    assert!(
        part("d/l")
            .unwrap_err()
            .to_string()
            .contains("out of the tree")
    );
}

#[test]
fn a_file_moves_in_and_comes_out() {
    let f = Fixture::new();
    fs::write(f.path("out"), "hello").unwrap();
    let (content, staged) = f.store.absorb(&f.path("out")).unwrap();
    assert!(!f.path("out").exists());
    assert_eq!(
        (content.shape, content.digest, content.bytes_total),
        (Shape::File, Digest::of(b"hello"), 5)
    );
    assert!(!f.store.has(&content).unwrap(), "staged is not there yet");
    let done = commit_one(&f.store, record("k", &[("out", content)]), staged).unwrap();
    assert!(done.is_new && done.others.is_empty());
    let found = f.reopen().lookup(&key("k"));
    assert_eq!(found, vec![record("k", &[("out", content)])]);
    assert_eq!(found[0].result(), done.result);
    let mode = fs::metadata(f.store.object_path(&content.digest))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o444);
    use std::io::Read;
    let mut text = String::new();
    f.store
        .open_object(&content.digest)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "hello");
    assert!(names(&f.store.root().join("quarantine")).is_empty());
}

#[test]
fn results_are_a_set_and_the_first_observation_stays() {
    let f = Fixture::new();
    let a = f.commit_file("k", "a");
    let (b, staged) = f.store.absorb_bytes(b"b").unwrap();
    let mut second = record("k", &[("out", b)]);
    second.observation = json!({"host": "other"}).into();
    let done = commit_one(&f.store, second.clone(), staged).unwrap();
    assert_eq!(done.others, vec![record("k", &[("out", a)]).result()]);
    second.observation = json!({"host": "third"}).into();
    assert!(
        !commit_one(&f.store, second, Staged::default())
            .unwrap()
            .is_new
    );
    let found = f.store.lookup(&key("k"));
    assert_eq!(found.len(), 2);
    let of_b = found.iter().find(|r| r.outputs["out"] == b).unwrap();
    assert_eq!(of_b.observation, json!({"host": "other"}).into());
}

#[test]
fn a_record_needs_its_objects() {
    let f = Fixture::new();
    let nowhere = Content {
        shape: Shape::File,
        digest: Digest::of(b"nowhere"),
        bytes_total: 7,
    };
    let (good, staged) = f.store.absorb_bytes(b"good").unwrap();
    let outcomes = f.store.commit(vec![
        Pending {
            record: record("bad", &[("out", nowhere)]),
            staged: Staged::default(),
        },
        Pending {
            record: record("good", &[("out", good)]),
            staged,
        },
    ]);
    assert!(matches!(outcomes[0], Err(StoreError::Missing { .. })));
    assert!(outcomes[1].is_ok(), "one action's trouble is not another's");
    assert!(f.store.lookup(&key("bad")).is_empty());
}

#[test]
fn placing_replaces_whatever_is_there() {
    let f = Fixture::new();
    let file = f.commit_file("k", "new");
    fs::create_dir(f.path("t")).unwrap();
    fs::write(f.path("t/x"), "in tree").unwrap();
    let (tree, staged) = f.store.absorb(&f.path("t")).unwrap();
    f.store.keep(&tree, staged).unwrap();
    let dest = f.path("a/b/dest");
    for (content, check) in [
        (&file, "dest"),
        (&tree, "dest/x"),
        (&file, "dest"),
        (&file, "dest"),
        (&tree, "dest/x"),
        (&tree, "dest/x"),
    ] {
        for mode in [LinkMode::Copy, LinkMode::Hardlink, LinkMode::Hardlink] {
            f.store.place(content, &dest, mode).unwrap();
            assert!(f.path("a/b").join(check).is_file());
            assert_eq!(names(&f.path("a/b")), vec!["dest"]);
        }
    }
    // A link at the destination is replaced, not followed.
    fs::remove_dir_all(&dest).unwrap();
    fs::write(f.path("precious"), "precious").unwrap();
    symlink(f.path("precious"), &dest).unwrap();
    f.store.place(&file, &dest, LinkMode::Copy).unwrap();
    assert_eq!(fs::read(f.path("precious")).unwrap(), b"precious");
    // Copies are the user's own.
    fs::write(&dest, "mine").unwrap();
    f.store.verify(&file).unwrap();
}

#[test]
fn placed_artifacts_are_known_at_once() {
    let f = Fixture::new();
    let file = f.commit_file("k", "new");
    let cache = StatCache::load(f.dir.path(), &f.path("cache"));
    let rel = RelPath::new("placed").unwrap();
    f.store
        .place(&file, &f.path("placed"), LinkMode::Copy)
        .unwrap();
    cache.remember_placed(&rel, &file, None);
    assert_eq!((cache.len(), cache.digest_path(&rel).unwrap()), (1, file));
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(f.path("placed"), "old").unwrap();
    assert_eq!(cache.digest_path(&rel).unwrap().digest, Digest::of(b"old"));
}

#[test]
fn states_round_trip() {
    let f = Fixture::new();
    assert!(f.store.get_state(&key("s")).is_none());
    fs::write(f.path("state"), "weights").unwrap();
    f.store
        .put_state(&key("s"), &f.path("state"), "epoch 3")
        .unwrap();
    assert_eq!(
        fs::read(f.reopen().get_state(&key("s")).unwrap()).unwrap(),
        b"weights"
    );
    fs::write(f.path("state"), "other").unwrap();
    f.store
        .put_state(&key("s"), &f.path("state"), "epoch 3")
        .unwrap();
    assert_eq!(
        fs::read(f.store.get_state(&key("s")).unwrap()).unwrap(),
        b"other"
    );
    fs::create_dir(f.path("dir")).unwrap();
    assert!(matches!(
        f.store.put_state(&key("s"), &f.path("dir"), ""),
        Err(StoreError::Refused { .. })
    ));
}

//! `fsck` of a remote: it finds every kind of damage, and repairs what the local store can.

use repro_engine::remote::fsck::{Remedy, Report, fsck};
use repro_engine::store::Store;
use std::sync::Arc;

use super::lab::Lab;

const CLASSES: [&str; 7] = [
    "v1/objects",
    "v1/trees",
    "v1/packs",
    "/record",
    "v1/heads",
    ".dsse",
    "v1/leases",
];

fn lab() -> Lab {
    let lab = Lab::new();
    let link = lab.link();
    for what in ["one", "two"] {
        let made = lab.result(what, 3);
        lab.publish(&link, &made);
        let keys = vec![made.record.key];
        repro_engine::remote::lease::renew(&link, &"c".parse().unwrap(), keys).unwrap();
    }
    lab
}

fn checked(lab: &Lab, store: &Arc<Store>, repair: bool) -> Report {
    fsck(&lab.link(), store, repair).unwrap()
}

fn empty() -> (tempfile::TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, Arc::new(store))
}

#[test]
fn a_whole_remote_has_no_findings() {
    let lab = lab();
    let report = checked(&lab, &lab.store, false);
    assert_eq!(report.findings, []);
    // Two results: a small file, a large one of the tree; a listing and a part; a record and a head
    // each.
    assert_eq!((report.objects, report.trees, report.records), (4, 4, 4));
}

#[test]
fn every_kind_of_damage_is_found_and_repaired_from_the_store() {
    for class in CLASSES {
        for damage in [Lab::damage, Lab::alter, Lab::swap] {
            let lab = lab();
            damage(&lab, class);
            let damaged = lab.names().iter().filter(|n| n.contains(class)).count();
            let found = checked(&lab, &lab.store, false).findings;
            let named = found
                .iter()
                .filter(|f| f.name.as_str().contains(class))
                .count();
            // Of what was swapped with itself nothing is wrong; signatures are judged by whoever
            // reads them.
            if class == ".dsse" && found.is_empty() {
                continue;
            }
            assert!(named > 0 && named <= damaged, "{class}: {found:#?}");
            let repaired = checked(&lab, &lab.store, true).findings;
            assert!(
                repaired
                    .iter()
                    .all(|f| !matches!(f.remedy, Remedy::None(_))),
                "{class}: {repaired:#?}"
            );
            if ["v1/objects", "v1/trees", "v1/packs"].contains(&class) {
                assert!(
                    repaired.iter().all(|f| f.remedy == Remedy::SentAgain),
                    "{repaired:#?}"
                );
            }
            assert_eq!(checked(&lab, &lab.store, false).findings, [], "{class}");
            lab.expect_nothing_dangles();
            // A push makes everything whole again.
            for what in ["one", "two"] {
                let made = lab.result(what, 3);
                lab.publish(&lab.link(), &made);
                lab.expect_whole(&lab.link(), &made);
            }
        }
    }
}

#[test]
fn what_the_store_lacks_is_removed_with_what_points_at_it() {
    for class in ["v1/objects", "v1/trees", "v1/packs"] {
        for is_removed in [false, true] {
            let lab = lab();
            match is_removed {
                true => lab.remove(class),
                false => lab.damage(class),
            }
            let (_dir, store) = empty();
            let before = lab.names();
            let found = checked(&lab, &store, false).findings;
            assert!(
                found
                    .iter()
                    .filter(|f| f.name.as_str().contains("heads"))
                    .count()
                    == 2,
                "{found:#?}"
            );
            assert_eq!(lab.names(), before, "looking changes nothing");
            let repaired = checked(&lab, &store, true).findings;
            assert!(
                repaired.iter().all(|f| f.remedy == Remedy::Removed),
                "{repaired:#?}"
            );
            lab.expect_nothing_dangles();
            assert!(!lab.names().iter().any(|n| n.contains("heads")));
            assert_eq!(checked(&lab, &store, false).findings, []);
            // Who has it brings it back.
            for what in ["one", "two"] {
                let made = lab.result(what, 3);
                lab.publish(&lab.link(), &made);
                lab.expect_whole(&lab.link(), &made);
            }
        }
    }
}

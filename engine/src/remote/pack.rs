//! Packs: the small files of a tree in few objects, since a request costs more than they do.
//!
//! A part is the plain bytes of files one after the other, in the order of the listing, each file
//! once; where one ends is said by the listing. Which files go where follows from the listing
//! alone, so writer and reader need no index. Changing any rule here is another format.

use std::collections::HashMap;

use crate::digest::{ByDigest, Digest};
use crate::store::Listing;

/// Files up to this size are packed.
const PACKED_BYTES_MAX: u64 = 128 << 10;
/// Bytes of files after which a part ends.
const PART_BYTES: u64 = 8 << 20;
/// Files after which a part ends.
const PART_FILES: usize = 16 << 10;

/// One file: digest and size.
pub type File = (Digest, u64);

/// How a tree's files lie on a remote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packing {
    /// The parts of the pack, by number.
    pub parts: Vec<Vec<File>>,
    /// Files that are objects of their own.
    pub loose: Vec<File>,
}

impl Packing {
    /// The packing of a listing; `None` if the listing says two sizes of one file, which no tree
    /// has.
    pub fn of(listing: &Listing) -> Option<Packing> {
        let mut sizes: ByDigest<Digest, u64> = HashMap::default();
        let mut distinct = Vec::new();
        for (_, digest, bytes, _) in listing.files() {
            match sizes.insert(digest, bytes) {
                None => distinct.push((digest, bytes)),
                Some(said) if said != bytes => return None,
                Some(_) => {}
            }
        }
        let small = |file: &File| file.1 <= PACKED_BYTES_MAX;
        // One small file alone is an object like any other, and found again by other trees.
        if distinct.iter().filter(|f| small(f)).count() < 2 {
            return Some(Packing {
                parts: Vec::new(),
                loose: distinct,
            });
        }
        let (packed, loose): (Vec<File>, Vec<File>) = distinct.into_iter().partition(small);
        let mut parts: Vec<Vec<File>> = Vec::new();
        let mut bytes_in_part = 0;
        for file in packed {
            match parts.last_mut() {
                Some(part) if part.len() < PART_FILES && bytes_in_part + file.1 <= PART_BYTES => {
                    part.push(file);
                }
                _ => {
                    parts.push(vec![file]);
                    bytes_in_part = 0;
                }
            }
            bytes_in_part += file.1;
        }
        Some(Packing { parts, loose })
    }
}

/// Bytes of all files of a part.
pub fn bytes_of(part: &[File]) -> u64 {
    part.iter().map(|f| f.1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Node;
    use proptest::prelude::*;
    use repro_protocol::relpath::RelPath;
    use std::collections::BTreeMap;

    fn listing(files: &[(u8, u64)]) -> Listing {
        let node = |(digest, bytes): (u8, u64)| Node::File {
            digest: Digest([digest; 32]),
            bytes,
            executable: false,
        };
        let nodes: BTreeMap<RelPath, Node> = files
            .iter()
            .enumerate()
            .map(|(i, f)| (RelPath::new(&format!("{i:05}")).unwrap(), node(*f)))
            .collect();
        Listing::new(nodes).unwrap()
    }

    proptest! {
        #[test]
        fn every_file_lies_somewhere_once(sizes in proptest::collection::vec(prop_oneof![0u64..10, 1000u64..300_000], 0..200)) {
            // Digests repeat from the 100th on.
            let files: Vec<(u8, u64)> = sizes.iter().enumerate().map(|(i, s)| ((i % 100) as u8, if i < 100 { *s } else { sizes[i % 100] })).collect();
            let packing = Packing::of(&listing(&files)).unwrap();
            let mut found: Vec<File> = packing.parts.iter().flatten().chain(&packing.loose).copied().collect();
            let mut expected: Vec<File> = files.iter().map(|(d, s)| (Digest([*d; 32]), *s)).collect();
            for list in [&mut found, &mut expected] {
                list.sort_unstable();
            }
            expected.dedup();
            prop_assert_eq!(found, expected);
            prop_assert!(packing.parts.iter().all(|p| !p.is_empty() && bytes_of(p) <= PART_BYTES && p.len() <= PART_FILES));
        }
    }

    #[test]
    fn the_rules_are_frozen() {
        let d = |n: u8| Digest([n; 32]);
        let k = 128 << 10;
        let packing =
            Packing::of(&listing(&[(3, k + 1), (1, 10), (2, k), (1, 10), (4, 0)])).unwrap();
        assert_eq!(packing.loose, [(d(3), k + 1)]);
        assert_eq!(packing.parts, [vec![(d(1), 10), (d(2), k), (d(4), 0)]]);
        let alone = Packing::of(&listing(&[(3, k + 1), (1, 10)])).unwrap();
        assert!(alone.parts.is_empty() && alone.loose.len() == 2);
        let full: Vec<(u8, u64)> = (0..65).map(|i| (i, k)).collect();
        let packing = Packing::of(&listing(&full)).unwrap();
        assert_eq!(
            packing.parts.iter().map(Vec::len).collect::<Vec<_>>(),
            [64, 1]
        );
        assert_eq!(Packing::of(&listing(&[(1, 10), (1, 11)])), None);
    }
}

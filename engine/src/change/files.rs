//! Which files of a directory differ, and which lines of a text.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use crate::digest::Digest;
use crate::record::event::{Fate, FileChange, Hunk};
use crate::store::{Listing, Node};

/// After this, lines are compared roughly.
const PATIENCE: Duration = Duration::from_millis(200);

/// The lines that differ between two texts.
pub fn hunks(old: &str, new: &str) -> Vec<Hunk> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let deadline = Some(Instant::now() + PATIENCE);
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, deadline);
    let texts = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    let mut hunks: Vec<Hunk> = Vec::new();
    // Where an operation begins is counted here: an insertion's own word for it can be off.
    let (mut line, mut is_open) = (1, false);
    for op in &ops {
        let (_, was, is) = op.as_tag_tuple();
        if !matches!(op, DiffOp::Equal { .. }) {
            match hunks.last_mut().filter(|_| is_open) {
                Some(hunk) => {
                    hunk.old.extend(texts(&old[was.clone()]));
                    hunk.new.extend(texts(&new[is]));
                }
                None => hunks.push(Hunk {
                    line,
                    old: texts(&old[was.clone()]),
                    new: texts(&new[is]),
                }),
            }
        }
        is_open = !matches!(op, DiffOp::Equal { .. });
        line += was.len();
    }
    hunks
}

/// The files that differ between two listings: changed ones first, then those that moved, came and
/// went, each in order of their paths. `texts` knows the texts of some files.
pub fn files(
    old: &Listing,
    new: &Listing,
    texts: impl Fn(&Digest) -> Option<String>,
) -> Vec<FileChange> {
    let mut gone: BTreeMap<&str, &Node> = BTreeMap::new();
    let mut changed = Vec::new();
    let change = |path: &str, fate| FileChange {
        path: Some(path.to_owned()),
        fate,
    };
    for (path, was) in old.nodes() {
        let path = path.as_str();
        match (was, new.get(path)) {
            (was, Some(is)) if was == is => {}
            (Node::Dir, None) => {}
            (_, None) => drop(gone.insert(path, was)),
            (Node::File { digest: a, .. }, Some(Node::File { digest: b, .. })) if a != b => {
                let both = texts(a).zip(texts(b));
                let hunks = both.map_or_else(Vec::new, |(a, b)| hunks(&a, &b));
                changed.push(change(path, Fate::Changed { hunks }));
            }
            (_, Some(_)) => changed.push(change(path, Fate::OtherKind)),
        }
    }
    // Places of the same content; the first is at the end.
    let mut places: HashMap<&Node, Vec<&str>> = HashMap::new();
    for (path, was) in gone.iter().rev() {
        places.entry(was).or_default().push(path);
    }
    let (mut moved, mut came) = (Vec::new(), Vec::new());
    for (path, is) in new.nodes() {
        let path = path.as_str();
        if old.get(path).is_some() || *is == Node::Dir {
            continue;
        }
        match places.get_mut(is).and_then(Vec::pop) {
            Some(from) => {
                gone.remove(from);
                let from = from.to_owned();
                moved.push(change(path, Fate::Moved { from }));
            }
            None => came.push(change(path, Fate::New)),
        }
    }
    let went = gone.keys().map(|path| change(path, Fate::Gone));
    let mut all = changed;
    all.extend(moved);
    all.extend(came);
    all.extend(went);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listing(files: &[(&str, &str)]) -> Listing {
        let node = |text: &str| Node::File {
            digest: Digest::of(text.as_bytes()),
            bytes: text.len() as u64,
            executable: false,
        };
        let nodes = files
            .iter()
            .map(|(p, t)| (repro_protocol::relpath::RelPath::new(p).unwrap(), node(t)));
        Listing::new(nodes.collect()).unwrap()
    }

    #[test]
    fn each_file_has_its_fate() {
        let old = listing(&[
            ("a", "1\n2\n3"),
            ("b", "same"),
            ("c", "gone"),
            ("d", "moved"),
        ]);
        let new = listing(&[
            ("a", "1\nX\n3"),
            ("b", "same"),
            ("e", "moved"),
            ("f", "new"),
        ]);
        let texts = |digest: &Digest| {
            let known = ["1\n2\n3", "1\nX\n3"];
            let found = known.iter().find(|t| Digest::of(t.as_bytes()) == *digest);
            found.map(|t| (*t).to_owned())
        };
        let said: Vec<(String, Fate)> = files(&old, &new, texts)
            .into_iter()
            .map(|f| (f.path.unwrap(), f.fate))
            .collect();
        let hunk = Hunk {
            line: 2,
            old: vec!["2".into()],
            new: vec!["X".into()],
        };
        let from = "d".to_owned();
        assert_eq!(
            said,
            [
                ("a".to_owned(), Fate::Changed { hunks: vec![hunk] }),
                ("e".to_owned(), Fate::Moved { from }),
                ("f".to_owned(), Fate::New),
                ("c".to_owned(), Fate::Gone),
            ]
        );
        assert!(files(&old, &old, texts).is_empty());
    }

    proptest! {
        /// Putting the new lines in place of the old ones gives the new text.
        #[test]
        fn hunks_lead_from_one_text_to_the_other(
            old in prop::collection::vec("[ab]", 0..12),
            new in prop::collection::vec("[ab]", 0..12),
        ) {
            let mut lines = old.clone();
            for hunk in hunks(&old.join("\n"), &new.join("\n")).iter().rev() {
                let at = hunk.line - 1;
                let replaced: Vec<String> =
                    lines.splice(at..at + hunk.old.len(), hunk.new.clone()).collect();
                prop_assert_eq!(&replaced, &hunk.old);
            }
            prop_assert_eq!(lines, new);
        }
    }
}

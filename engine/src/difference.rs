//! Where two artifacts begin to differ: which file, which byte, and, where somebody understands the
//! format, which value.
//!
//! What the bytes mean is unknown here; the catalog's [`DescribeDifference`] may know.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::DescribeDifference;
use crate::digest::{Content, Shape};
use crate::store::{Node, Store};

/// The first difference between a recorded artifact and another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The file inside of a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The first byte that is not the same, from 0; `None` where there are no two files to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In words: sizes, or what the bytes mean.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "`{}`: ", path.escape_debug())?;
        }
        if let Some(offset) = self.offset {
            write!(f, "from byte {offset} on: ")?;
        }
        f.write_str(&self.what)
    }
}

/// The first difference between a recorded artifact and what lies at `found`; `None` where there is
/// none.
///
/// # Errors
/// One of them cannot be read.
pub fn first(
    store: &Store,
    recorded: &Content,
    found: &Path,
    describe: DescribeDifference,
) -> anyhow::Result<Option<Difference>> {
    let is_dir = found.is_dir();
    match (recorded.shape, is_dir) {
        (Shape::File | Shape::Program, false) => {
            store.open_object(&recorded.digest)?;
            of_files(&store.object_path(&recorded.digest), found, describe)
        }
        (Shape::File | Shape::Program, true) => Ok(Some(kinds("file", "directory"))),
        (Shape::Tree, false) => Ok(Some(kinds("directory", "file"))),
        (Shape::Tree, true) => of_trees(store, recorded, found, describe),
    }
}

fn kinds(recorded: &str, found: &str) -> Difference {
    Difference {
        path: None,
        offset: None,
        what: format!("a {recorded} is recorded, a {found} was made"),
    }
}

fn of_trees(
    store: &Store,
    recorded: &Content,
    found: &Path,
    describe: DescribeDifference,
) -> anyhow::Result<Option<Difference>> {
    let listing = store.read_tree(&recorded.digest)?;
    let at = |path: &str, what: &str| Difference {
        path: Some(path.to_owned()),
        offset: None,
        what: what.to_owned(),
    };
    for (path, node) in listing.nodes() {
        let there = path.under(found);
        let Ok(meta) = there.symlink_metadata() else {
            return Ok(Some(at(path.as_str(), "it is recorded and was not made")));
        };
        let difference = match node {
            Node::Dir if meta.is_dir() => None,
            Node::Link { target } if meta.is_symlink() => {
                let same = std::fs::read_link(&there)? == Path::new(target);
                (!same).then(|| at(path.as_str(), "the link points elsewhere"))
            }
            Node::File {
                digest, executable, ..
            } if meta.is_file() => {
                use std::os::unix::fs::MetadataExt;
                store.open_object(digest)?;
                let files = of_files(&store.object_path(digest), &there, describe)?;
                let mode = (meta.mode() & 0o100 != 0) != *executable;
                files
                    .map(|d| Difference {
                        path: Some(path.to_string()),
                        ..d
                    })
                    .or_else(|| mode.then(|| at(path.as_str(), "one of both is executable")))
            }
            _ => Some(at(path.as_str(), "it is of another kind")),
        };
        if difference.is_some() {
            return Ok(difference);
        }
    }
    // Everything recorded is there; what else was made?
    let known: std::collections::BTreeSet<PathBuf> =
        listing.nodes().map(|(path, _)| path.under(found)).collect();
    let mut todo = vec![found.to_owned()];
    while let Some(dir) = todo.pop() {
        let mut entries: Vec<PathBuf> = crate::dir::read(&dir)?
            .map(|e| e.map(|e| e.path()))
            .collect::<io::Result<_>>()?;
        entries.sort();
        for path in entries {
            if !known.contains(&path) {
                let inside = path.strip_prefix(found).unwrap_or(&path);
                return Ok(Some(at(
                    &inside.to_string_lossy(),
                    "it was made and is not recorded",
                )));
            }
            if path.symlink_metadata()?.is_dir() {
                todo.push(path);
            }
        }
    }
    Ok(None)
}

/// The first difference between two files.
///
/// # Errors
/// One of them cannot be read.
pub fn of_files(
    recorded: &Path,
    found: &Path,
    describe: DescribeDifference,
) -> anyhow::Result<Option<Difference>> {
    let open = |path: &Path| File::open(path).map(|f| BufReader::with_capacity(1 << 16, f));
    let Some(offset) = first_byte(open(recorded)?, open(found)?)? else {
        return Ok(None);
    };
    let size = |path: &Path| std::fs::metadata(path).map(|m| m.len());
    let (old, new) = (size(recorded)?, size(found)?);
    let what = describe(recorded, found).unwrap_or_else(|| match old == new {
        true => format!("{old} bytes both"),
        false => format!("{old} bytes recorded, {new} made"),
    });
    Ok(Some(Difference {
        path: None,
        offset: Some(offset),
        what,
    }))
}

fn first_byte(mut a: impl Read, mut b: impl Read) -> io::Result<Option<u64>> {
    let (mut of_a, mut of_b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut before = 0u64;
    loop {
        let (n, m) = (fill(&mut a, &mut of_a)?, fill(&mut b, &mut of_b)?);
        let both = n.min(m);
        let same = of_a[..both]
            .iter()
            .zip(&of_b[..both])
            .take_while(|(x, y)| x == y);
        let same = same.count();
        if same < both || n != m {
            return Ok(Some(before + same as u64));
        }
        if n == 0 {
            return Ok(None);
        }
        before += both as u64;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against the plain definition, across the borders of buffers.
        #[test]
        fn the_first_byte_is_the_first(len in 0usize..200_000, at in any::<proptest::sample::Index>(), cut in 0usize..3) {
            let a = vec![7u8; len];
            let mut b = a.clone();
            if len > 0 {
                let at = at.index(len);
                b[at] = 8;
                prop_assert_eq!(first_byte(&a[..], &b[..]).unwrap(), Some(at as u64));
            }
            let short = &a[..len.saturating_sub(cut)];
            let expected = (short.len() != len).then_some(short.len() as u64);
            prop_assert_eq!(first_byte(&a[..], short).unwrap(), expected);
        }
    }

    #[test]
    fn trees_are_compared_file_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let tree = dir.path().join("tree");
        let make = || {
            let _ = std::fs::remove_dir_all(&tree);
            std::fs::create_dir_all(tree.join("d")).unwrap();
            std::fs::write(tree.join("a"), "aaa").unwrap();
            std::fs::write(tree.join("d/b"), "bbb").unwrap();
            std::os::unix::fs::symlink("a", tree.join("l")).unwrap();
        };
        make();
        let (content, staged) = store.absorb_copy(&tree).unwrap();
        store.keep(&content, staged).unwrap();
        let said = |change: &dyn Fn()| {
            make();
            change();
            let nothing: DescribeDifference = |_, _| None;
            let found = first(&store, &content, &tree, nothing).unwrap();
            found.map(|d| d.to_string()).unwrap_or_default()
        };
        let remove = |path: &str| std::fs::remove_file(tree.join(path)).unwrap();
        assert_eq!(said(&|| ()), "");
        assert_eq!(
            said(&|| std::fs::write(tree.join("d/b"), "bbX!").unwrap()),
            "`d/b`: from byte 2 on: 3 bytes recorded, 4 made"
        );
        assert_eq!(
            said(&|| remove("a")),
            "`a`: it is recorded and was not made"
        );
        assert_eq!(
            said(&|| std::fs::write(tree.join("d/c"), "").unwrap()),
            "`d/c`: it was made and is not recorded"
        );
        assert_eq!(
            said(&|| {
                remove("l");
                std::os::unix::fs::symlink("d", tree.join("l")).unwrap();
            }),
            "`l`: the link points elsewhere"
        );
        assert_eq!(
            said(&|| {
                std::fs::remove_dir_all(&tree).unwrap();
                std::fs::write(&tree, "").unwrap();
            }),
            "a directory is recorded, a file was made"
        );
    }
}

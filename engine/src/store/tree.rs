//! Trees: the canonical listing of a directory, and walking a directory into one.
//!
//! A listing names every directory, file and link of a tree in byte order of their paths; file
//! bytes are named by digest. Modes are reduced to the owner's exec bit; owners and times are left
//! out, so a tree's digest depends on nothing but what a program can read from it. A listing may
//! come from elsewhere, so parsing accepts exactly what writing produces:
//!
//! ```text
//! repro tree 1
//! d <path bytes> <path>
//! f <64 hex> <file bytes> <path bytes> <path>        x instead of f: executable
//! l <path bytes> <path> <target bytes> <target>
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::digest::{Content, Digest, Domain, Shape};
use repro_protocol::relpath::RelPath;

use super::error::{StoreError, at};
use super::sys::FileStat;

const HEADER: &[u8] = b"repro tree 1\n";
/// As in the kernel: a path through more links than this is a loop.
const LINKS_MAX: usize = 40;

/// What a path in a tree is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory.
    Dir,
    /// A file.
    File {
        /// BLAKE3 of its bytes.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The owner may execute it.
        executable: bool,
    },
    /// A symbolic link that stays inside the tree.
    Link {
        /// Its text, relative.
        target: String,
    },
}

/// The content of a directory, checked: parents are listed, links stay inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<RelPath, Node>);

impl Listing {
    /// Checks what the types cannot say. The error names the entry.
    pub fn new(nodes: BTreeMap<RelPath, Node>) -> Result<Listing, BadEntry> {
        let listing = Listing(nodes);
        for (path, node) in &listing.0 {
            if let Some((parent, _)) = path.as_str().rsplit_once('/')
                && listing.get(parent) != Some(&Node::Dir)
            {
                return Err(BadEntry {
                    path: path.clone(),
                    why: "its parent is not a directory of the tree".into(),
                });
            }
            if let Node::Link { target } = node {
                listing.check_link(path, target).map_err(|why| BadEntry {
                    path: path.clone(),
                    why,
                })?;
            }
        }
        Ok(listing)
    }

    /// Entries that need not fit together; only [`Listing::check_link`] is asked of it.
    pub(super) fn unchecked(nodes: BTreeMap<RelPath, Node>) -> Listing {
        Listing(nodes)
    }

    /// What is at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        RelPath::new(path).ok().and_then(|p| self.0.get(&p))
    }

    /// Follows a link through the tree itself: going `..` through another link must not lead out
    /// either. Gives where it leads.
    pub(super) fn check_link(&self, path: &RelPath, target: &str) -> Result<String, String> {
        let mut here: Vec<&str> = path.as_str().split('/').collect();
        here.pop();
        self.follow(here, target)
    }

    fn follow<'a>(&'a self, mut here: Vec<&'a str>, target: &'a str) -> Result<String, String> {
        let mut todo: Vec<&str> = target.split('/').rev().collect();
        let mut links = 0;
        if target.is_empty() || target.contains('\0') {
            return Err("the link's target is empty or holds a NUL byte".into());
        }
        if target.starts_with('/') {
            return Err(format!(
                "the link points out of the tree, to `{target}`; copy the file there instead (`cp -L`)"
            ));
        }
        while let Some(part) = todo.pop() {
            match part {
                "" | "." => continue,
                ".." => {
                    if here.pop().is_none() {
                        return Err(format!(
                            "the link points out of the tree, to `{target}`; copy the file there instead (`cp -L`)"
                        ));
                    }
                    continue;
                }
                name => here.push(name),
            }
            if let Some(Node::Link { target: next }) = self.get(&here.join("/")) {
                links += 1;
                if links > LINKS_MAX {
                    return Err("the link leads in a circle".into());
                }
                here.pop();
                todo.extend(next.split('/').rev());
            }
        }
        Ok(here.join("/"))
    }

    /// What is at a path, links of the tree followed: a file, or a directory as a tree of its own.
    ///
    /// # Errors
    /// A link leads in a circle, or a link in the directory leads out of it.
    pub fn part(&self, path: &RelPath) -> Result<Option<Part>, BadEntry> {
        let real = self.follow(Vec::new(), path.as_str());
        let real = real.map_err(|why| BadEntry {
            path: path.clone(),
            why,
        })?;
        match self.get(&real) {
            Some(Node::File {
                digest,
                bytes,
                executable,
            }) => Ok(Some(Part::File(Content {
                shape: match executable {
                    true => Shape::Program,
                    false => Shape::File,
                },
                digest: *digest,
                bytes_total: *bytes,
            }))),
            Some(Node::Dir) => {
                let below = format!("{real}/");
                let nodes = self.0.iter().filter_map(|(path, node)| {
                    let inner = path.as_str().strip_prefix(&below)?;
                    Some((RelPath::new(inner).ok()?, node.clone()))
                });
                Listing::new(nodes.collect()).map(|tree| Some(Part::Tree(tree)))
            }
            Some(Node::Link { .. }) | None => Ok(None),
        }
    }

    /// The entries in canonical order: parents before children.
    pub fn nodes(&self) -> impl Iterator<Item = (&RelPath, &Node)> {
        self.0.iter()
    }

    /// The files, with repetitions where two paths hold the same bytes.
    pub fn files(&self) -> impl Iterator<Item = (&RelPath, Digest, u64, bool)> {
        self.0.iter().filter_map(|(path, node)| match node {
            Node::File {
                digest,
                bytes,
                executable,
            } => Some((path, *digest, *bytes, *executable)),
            _ => None,
        })
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        let text = |s: &str| format!("{} {s}", s.len());
        for (path, node) in &self.0 {
            let path = text(path.as_str());
            let line = match node {
                Node::Dir => format!("d {path}\n"),
                Node::File {
                    digest,
                    bytes,
                    executable,
                } => {
                    format!(
                        "{} {digest} {bytes} {path}\n",
                        if *executable { 'x' } else { 'f' }
                    )
                }
                Node::Link { target } => format!("l {path} {}\n", text(target)),
            };
            out.extend_from_slice(line.as_bytes());
        }
        out
    }

    /// Reads canonical bytes; anything else, however close, is refused.
    pub fn parse(bytes: &[u8]) -> Result<Listing, BadListing> {
        let mut rest = Reader { bytes, at: 0 };
        let mut nodes = BTreeMap::new();
        rest.literal(HEADER)?;
        while rest.at < bytes.len() {
            let tag = rest.take(2)?;
            let (path, node) = match tag {
                b"d " => (rest.text()?, Node::Dir),
                b"f " | b"x " => {
                    let digest = rest.word()?.parse().map_err(|_| rest.bad("not a digest"))?;
                    let bytes = rest.number()?;
                    (
                        rest.text()?,
                        Node::File {
                            digest,
                            bytes,
                            executable: tag == b"x ",
                        },
                    )
                }
                b"l " => {
                    let path = rest.text()?;
                    rest.literal(b" ")?;
                    (
                        path,
                        Node::Link {
                            target: rest.text()?.to_owned(),
                        },
                    )
                }
                _ => return Err(rest.bad("not an entry")),
            };
            let path = RelPath::new(path).map_err(|_| rest.bad("not a path"))?;
            nodes.insert(path, node);
            rest.literal(b"\n")?;
        }
        let listing = Listing::new(nodes).map_err(|e| BadListing {
            at: bytes.len(),
            why: e.to_string(),
        })?;
        // One check for order, repetition, path form and number form alike.
        if listing.to_bytes() != bytes {
            return Err(BadListing {
                at: 0,
                why: "not in canonical form".into(),
            });
        }
        Ok(listing)
    }

    /// Name and size of the tree.
    pub fn content(&self) -> Content {
        let bytes_total = self
            .files()
            .fold(0u64, |sum, (_, _, bytes, _)| sum.saturating_add(bytes));
        Content {
            shape: Shape::Tree,
            digest: Digest::derive(Domain::Tree, &self.to_bytes()),
            bytes_total,
        }
    }
}

/// A part of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A file.
    File(Content),
    /// A directory.
    Tree(Listing),
}

/// An entry that no tree can have.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {why}")]
pub struct BadEntry {
    /// Which.
    pub path: RelPath,
    /// Why not.
    pub why: String,
}

/// Bytes that are not a canonical listing.
#[derive(Debug, thiserror::Error)]
#[error("not a tree listing (byte {at}): {why}")]
pub struct BadListing {
    at: usize,
    why: String,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self, why: &str) -> BadListing {
        BadListing {
            at: self.at,
            why: why.into(),
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], BadListing> {
        let end = self
            .at
            .checked_add(n)
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(|| self.bad("it ends too early"))?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn literal(&mut self, expected: &[u8]) -> Result<(), BadListing> {
        if self.take(expected.len())? == expected {
            Ok(())
        } else {
            Err(self.bad("unexpected bytes"))
        }
    }

    fn word(&mut self) -> Result<&'a str, BadListing> {
        let rest = &self.bytes[self.at..];
        let n = rest
            .iter()
            .take(80)
            .position(|b| *b == b' ')
            .ok_or_else(|| self.bad("a space is missing"))?;
        let word = std::str::from_utf8(&rest[..n]).map_err(|_| self.bad("not UTF-8"))?;
        self.at += n + 1;
        Ok(word)
    }

    fn number(&mut self) -> Result<u64, BadListing> {
        self.word()?.parse().map_err(|_| self.bad("not a number"))
    }

    fn text(&mut self) -> Result<&'a str, BadListing> {
        let n = usize::try_from(self.number()?).map_err(|_| self.bad("not a length"))?;
        std::str::from_utf8(self.take(n)?).map_err(|_| self.bad("not UTF-8"))
    }
}

/// A directory as found on the disk, before its files are hashed.
pub(crate) struct Walk {
    pub dirs: Vec<RelPath>,
    pub files: Vec<WalkFile>,
    pub links: Vec<(RelPath, String)>,
}

/// One regular file of a [`Walk`].
pub(crate) struct WalkFile {
    pub rel: RelPath,
    pub path: PathBuf,
    pub stat: FileStat,
    pub executable: bool,
    pub links: u64,
}

impl Walk {
    /// Lists a directory whole. Everything but directories, regular files and inner links is
    /// refused, by name.
    pub fn of(root: &Path) -> Result<Walk, StoreError> {
        let mut walk = Walk {
            dirs: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
        };
        let mut todo = vec![(root.to_owned(), String::new())];
        while let Some((dir, prefix)) = todo.pop() {
            for entry in crate::dir::read(&dir).map_err(at(&dir, "list the directory"))? {
                let entry = entry.map_err(at(&dir, "list the directory"))?;
                let path = entry.path();
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    return Err(StoreError::refused(
                        &path,
                        "the name is not UTF-8; rename it",
                    ));
                };
                let text = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}/{name}")
                };
                let rel =
                    RelPath::new(&text).map_err(|e| StoreError::refused(&path, e.to_string()))?;
                let meta = entry.metadata().map_err(at(&path, "look at it"))?;
                if meta.is_dir() {
                    todo.push((path, text));
                    walk.dirs.push(rel);
                } else if meta.is_symlink() {
                    let target = fs::read_link(&path).map_err(at(&path, "read the link"))?;
                    let Some(target) = target.to_str() else {
                        return Err(StoreError::refused(&path, "the link's target is not UTF-8"));
                    };
                    walk.links.push((rel, target.to_owned()));
                } else {
                    check_regular(&path, &meta)?;
                    use std::os::unix::fs::MetadataExt;
                    walk.files.push(WalkFile {
                        rel,
                        path,
                        stat: FileStat::of(&meta),
                        executable: meta.permissions().mode() & 0o100 != 0,
                        links: meta.nlink(),
                    });
                }
            }
        }
        walk.check_links(root)?;
        Ok(walk)
    }

    /// Before the first byte is hashed: a link out of the tree must not cost an hour of reading.
    fn check_links(&self, root: &Path) -> Result<(), StoreError> {
        if self.links.is_empty() {
            return Ok(());
        }
        let nothing = self.files.iter().map(|_| Content {
            shape: Shape::File,
            digest: Digest([0; 32]),
            bytes_total: 0,
        });
        self.listing(root, &nothing.collect::<Vec<_>>()).map(|_| ())
    }

    /// The listing, given the contents of [`Walk::files`] in their order.
    pub fn listing(&self, root: &Path, contents: &[Content]) -> Result<Listing, StoreError> {
        let mut nodes = BTreeMap::new();
        nodes.extend(self.dirs.iter().map(|rel| (rel.clone(), Node::Dir)));
        nodes.extend(self.links.iter().map(|(rel, target)| {
            (
                rel.clone(),
                Node::Link {
                    target: target.clone(),
                },
            )
        }));
        nodes.extend(self.files.iter().zip(contents).map(|(file, content)| {
            let node = Node::File {
                digest: content.digest,
                bytes: content.bytes_total,
                executable: file.executable,
            };
            (file.rel.clone(), node)
        }));
        Listing::new(nodes).map_err(|e| StoreError::refused(&e.path.under(root), e.why))
    }
}

/// Refuses what has no bytes of its own.
pub(crate) fn check_regular(path: &Path, meta: &fs::Metadata) -> Result<(), StoreError> {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_symlink() {
        "a symbolic link; an output must hold its own bytes: copy the file there instead (`cp -L`)"
    } else if kind.is_fifo() {
        "a named pipe; only files, directories and inner links can be stored"
    } else if kind.is_socket() {
        "a socket; only files, directories and inner links can be stored"
    } else {
        "a device; only files, directories and inner links can be stored"
    };
    Err(StoreError::refused(path, format!("this is {what}")))
}

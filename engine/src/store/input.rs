//! Inputs that no stage makes, as they are hashed and shown: without what is ignored, and with the
//! content of what links lead to.
//!
//! A link that stays inside the directory stays a link. One that leads out of it (a cache of
//! symlinks, an annex, a link to another disk) stands for what it leads to: its file, or its whole
//! directory. So the content is the same wherever the bytes are kept.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::files::Ignore;
use repro_protocol::relpath::RelPath;

use super::copy::copy_file;
use super::error::{StoreError, at, at_users};
use super::sys::FileStat;
use super::tree::{Listing, Node, Walk, WalkFile, check_regular};

/// A directory that is an input.
pub struct InputTree {
    pub(super) walk: Walk,
    /// Where its directories are.
    dirs: BTreeMap<RelPath, PathBuf>,
    /// What does not count; a directory once, for all that is in it.
    pub ignored: Vec<RelPath>,
    /// Links that stand for what they lead to.
    pub followed: Vec<RelPath>,
}

/// How an input is put together from its parts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Links to what is whole.
    Links,
    /// Copies.
    Copies,
}

/// Device and inode: a directory, by whatever name it is reached.
type Identity = (u64, u64);

impl InputTree {
    /// Looks through a directory.
    ///
    /// # Errors
    /// What cannot be read; links that lead nowhere or in a circle; names that are not UTF-8, pipes
    /// and devices.
    pub fn of(root: &Path, ignore: &Ignore) -> Result<InputTree, StoreError> {
        let mut tree = InputTree {
            walk: Walk {
                dirs: Vec::new(),
                files: Vec::new(),
                links: Vec::new(),
            },
            dirs: BTreeMap::new(),
            ignored: Vec::new(),
            followed: Vec::new(),
        };
        let meta = fs::metadata(root).map_err(at_users(root, "look at it"))?;
        let mut way = vec![identity(&meta)];
        tree.list(root, "", ignore, &mut way, false)?;
        for (rel, target) in tree.leading_out(root) {
            let path = rel.under(root);
            // The way to a link is the way through its parents.
            let mut way: Vec<Identity> = path
                .ancestors()
                .skip(1)
                .take_while(|dir| dir.starts_with(root))
                .filter_map(|dir| fs::metadata(dir).ok())
                .map(|meta| identity(&meta))
                .collect();
            tree.follow(&rel, &path, &target, ignore, &mut way)?;
        }
        Ok(tree)
    }

    /// Its directories, and where they are.
    pub(super) fn dirs(&self) -> impl Iterator<Item = (&RelPath, &Path)> {
        self.dirs.iter().map(|(rel, path)| (rel, path.as_path()))
    }

    /// Everything in it counts, and is in it.
    pub fn is_whole(&self) -> bool {
        self.ignored.is_empty() && self.followed.is_empty()
    }

    fn list(
        &mut self,
        dir: &Path,
        prefix: &str,
        ignore: &Ignore,
        way: &mut Vec<Identity>,
        beneath_link: bool,
    ) -> Result<(), StoreError> {
        for entry in fs::read_dir(dir).map_err(at_users(dir, "list the directory"))? {
            let entry = entry.map_err(at_users(dir, "list the directory"))?;
            let path = entry.path();
            let meta = entry.metadata().map_err(at_users(&path, "look at it"))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(StoreError::refused(
                    &path,
                    "the name is not UTF-8; rename it",
                ));
            };
            let text = match prefix {
                "" => name,
                prefix => format!("{prefix}/{name}"),
            };
            let rel = RelPath::new(&text).map_err(|e| StoreError::refused(&path, e.to_string()))?;
            if ignore.ignores(&text, meta.is_dir()) {
                self.ignored.push(rel);
            } else if meta.is_dir() {
                self.dirs.insert(rel.clone(), path.clone());
                self.walk.dirs.push(rel);
                way.push(identity(&meta));
                self.list(&path, &text, ignore, way, beneath_link)?;
                way.pop();
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).map_err(at_users(&path, "read the link"))?;
                let Some(target) = target.to_str() else {
                    return Err(StoreError::refused(&path, "the link's target is not UTF-8"));
                };
                if beneath_link {
                    // Where it is shown is not where it is: its text means nothing there.
                    self.follow(&rel, &path, target, ignore, way)?;
                } else {
                    self.walk.links.push((rel, target.to_owned()));
                }
            } else {
                self.file(rel, path, &meta)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, rel: RelPath, path: PathBuf, meta: &fs::Metadata) -> Result<(), StoreError> {
        check_regular(&path, meta)?;
        self.walk.files.push(WalkFile {
            rel,
            path,
            stat: FileStat::of(meta),
            executable: meta.permissions().mode() & 0o100 != 0,
            links: meta.nlink(),
        });
        Ok(())
    }

    /// Takes the links that do not stay inside out of the list.
    fn leading_out(&mut self, root: &Path) -> Vec<(RelPath, String)> {
        if self.walk.links.is_empty() {
            return Vec::new();
        }
        let mut nodes: BTreeMap<RelPath, Node> = BTreeMap::new();
        // What a file holds does not matter for where links lead.
        let dirs = self
            .walk
            .dirs
            .iter()
            .chain(self.walk.files.iter().map(|f| &f.rel));
        nodes.extend(dirs.map(|rel| (rel.clone(), Node::Dir)));
        nodes.extend(self.walk.links.iter().map(|(rel, target)| {
            let target = target.clone();
            (rel.clone(), Node::Link { target })
        }));
        let listing = Listing::unchecked(nodes.clone());
        let all = std::mem::take(&mut self.walk.links);
        let (inside, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(rel, target)| {
            // What is there and does not count would be missing where the link is read.
            listing.check_link(rel, target).is_ok_and(|inner| {
                inner.is_empty()
                    || listing.get(&inner).is_some()
                    || fs::metadata(rel.under(root)).is_err()
            })
        });
        // A link to such a link stays one: what that one leads to will be in its place.
        nodes.extend(others.iter().map(|(rel, _)| (rel.clone(), Node::Dir)));
        let listing = Listing::unchecked(nodes);
        let (links, out): (Vec<_>, Vec<_>) = others.into_iter().partition(|(rel, target)| {
            let inner = listing.check_link(rel, target);
            inner.is_ok_and(|inner| listing.get(&inner).is_some())
        });
        self.walk.links = inside;
        self.walk.links.extend(links);
        out
    }

    fn follow(
        &mut self,
        rel: &RelPath,
        path: &Path,
        target: &str,
        ignore: &Ignore,
        way: &mut Vec<Identity>,
    ) -> Result<(), StoreError> {
        let circle = || {
            let why = format!(
                "the link leads in a circle (`{target}`); remove it, or add it to `ignore` of the input"
            );
            StoreError::refused(path, why)
        };
        let real = path.canonicalize().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let why = format!(
                    "the link leads nowhere (`{target}`): get what is missing, remove the link, or add it to `ignore` of the input"
                );
                StoreError::refused(path, why)
            }
            _ if e.raw_os_error() == Some(libc::ELOOP) => circle(),
            _ => at_users(path, "follow the link")(e),
        })?;
        let meta = fs::metadata(&real).map_err(at_users(&real, "look at it"))?;
        self.followed.push(rel.clone());
        if !meta.is_dir() {
            return self.file(rel.clone(), real, &meta);
        }
        if way.contains(&identity(&meta)) {
            return Err(circle());
        }
        self.dirs.insert(rel.clone(), real.clone());
        self.walk.dirs.push(rel.clone());
        way.push(identity(&meta));
        self.list(&real, rel.as_str(), ignore, way, true)?;
        way.pop();
        Ok(())
    }

    /// Makes a directory at `to` that shows exactly what counts. Where everything in a directory
    /// counts it is one part.
    ///
    /// # Errors
    /// The disk.
    pub fn assemble(&self, to: &Path, parts: Parts) -> Result<(), StoreError> {
        let failed = at(to, "put the input together");
        // A directory is taken apart when something in it does not count, or is somewhere else.
        let mut apart: std::collections::BTreeSet<&str> = [""].into();
        for rel in self.ignored.iter().chain(&self.followed) {
            let mut text = rel.as_str();
            while let Some((parent, _)) = text.rsplit_once('/') {
                apart.insert(parent);
                text = parent;
            }
        }
        let is_apart = |text: &str| parts == Parts::Copies || apart.contains(text);
        let parent_of = |rel: &RelPath| {
            let parent = rel.as_str().rsplit_once('/');
            parent.map_or(String::new(), |(parent, _)| parent.to_owned())
        };
        fs::create_dir_all(to).map_err(&failed)?;
        for (rel, path) in &self.dirs {
            if is_apart(rel.as_str()) {
                fs::create_dir(rel.under(to)).map_err(&failed)?;
            } else if is_apart(&parent_of(rel)) {
                symlink(path, rel.under(to)).map_err(&failed)?;
            }
        }
        for (rel, target) in &self.walk.links {
            if is_apart(&parent_of(rel)) {
                symlink(target, rel.under(to)).map_err(&failed)?;
            }
        }
        for file in &self.walk.files {
            if is_apart(&parent_of(&file.rel)) {
                match parts {
                    Parts::Links => symlink(&file.path, file.rel.under(to)).map_err(&failed)?,
                    Parts::Copies => {
                        copy_file(&file.path, &file.rel.under(to)).map_err(&failed)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn identity(meta: &fs::Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

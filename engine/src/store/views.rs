//! Views: trees of the store as directories, made once and shown to every command that reads them.
//!
//! `views/ab/<62 hex>` holds the files of a tree under their own names, as further names of its
//! objects, so a view takes no space and showing it costs a look at every file. What cannot be such
//! a name is a copy: executables, since objects have no exec bit, and bytes that the tree holds
//! twice, so that programs which tell links from files (`tar`, `du`) see what is there. Whoever
//! gets a view must not be able to write to it: commands see it through a read-only mount, or copy
//! it.
//!
//! Every file and directory of a view has a seal: files the one of their object, copies and
//! directories one of their own. What does not match is read before it is used; a view that is
//! wrong is made again. gc removes a view with its tree.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::digest::{Digest, Domain};

use super::error::{StoreError, at};
use super::objects::{Class, copy_bytes};
use super::sys::{FileStat, sync_filesystem};
use super::tree::{Listing, Node};
use super::{Store, with_parent};

const DIR: &str = "views";

/// One file of a view.
struct File<'a> {
    inner: &'a str,
    digest: Digest,
    executable: bool,
    /// The first place of these bytes in the tree.
    is_first: bool,
}

/// The name of a seal for what is no object: a place in a view.
fn seal_name(tree: &Digest, inner: &str) -> Digest {
    Digest::derive(Domain::View, format!("{}/{inner}", tree.hex()).as_bytes())
}

impl Store {
    /// The directory that shows a tree, made when it is missing. `None`: on this file system its
    /// files would have to be copied.
    ///
    /// # Errors
    /// [`StoreError::Missing`] and [`StoreError::Corrupt`] where the tree is not whole; the disk.
    pub fn tree_view(&self, tree: &Digest) -> Result<Option<PathBuf>, StoreError> {
        let path = self.named(DIR, tree);
        let listing = self.read_tree(tree)?;
        let files = files_of(&listing);
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            if self.view_holds(tree, &path, &listing, &files) {
                return Ok(Some(path));
            }
            let aside = self.scratch()?.fresh_path();
            fs::rename(&path, &aside).map_err(at(&path, "move it aside"))?;
        }
        let fresh = self.scratch()?.fresh_path();
        let built = self.build_view(&fresh, &listing, &files);
        let named = match built {
            Ok(true) => with_parent(&path, || fs::rename(&fresh, &path)),
            Ok(false) => {
                let _ = crate::dir::remove_all(&fresh);
                return Ok(None);
            }
            Err(e) => {
                let _ = crate::dir::remove_all(&fresh);
                return Err(e);
            }
        };
        if let Err(e) = named {
            let _ = crate::dir::remove_all(&fresh);
            // Somebody else was faster.
            return match self.view_holds(tree, &path, &listing, &files) {
                true => Ok(Some(path)),
                false => Err(at(&path, "put the view there")(e)),
            };
        }
        self.seal_view(tree, &path, &listing, &files)?;
        Ok(Some(path))
    }

    /// Removes the view of a tree that is gone.
    pub(super) fn remove_view(&self, tree: &Digest) {
        // What stays takes a name, no bytes that are not elsewhere or small, and goes next time.
        let _ = crate::dir::remove_all(&self.named(DIR, tree));
    }

    /// `false`: names for its objects cannot be made here.
    fn build_view(
        &self,
        at_path: &Path,
        listing: &Listing,
        files: &[File],
    ) -> Result<bool, StoreError> {
        let error = at(at_path, "make a view");
        fs::create_dir(at_path).map_err(&error)?;
        for (path, node) in listing.nodes() {
            match node {
                Node::Dir => fs::create_dir(path.under(at_path)).map_err(&error)?,
                Node::Link { target } => symlink(target, path.under(at_path)).map_err(&error)?,
                Node::File { .. } => {}
            }
        }
        // The first name tells whether there can be others.
        let can_link = files.iter().find(|f| f.may_be_name()).is_none_or(|file| {
            self.check(Class::Object, &file.digest).is_ok_and(|object| {
                self.link_sealed(&object, &file.digest, &at_path.join(file.inner))
            })
        });
        if !can_link {
            return Ok(false);
        }
        files.par_iter().try_for_each(|file| {
            let (object, to) = (
                self.check(Class::Object, &file.digest)?,
                at_path.join(file.inner),
            );
            if file.may_be_name()
                && (to.symlink_metadata().is_ok() || self.link_sealed(&object, &file.digest, &to))
            {
                return Ok(());
            }
            copy_bytes(&object, &to, 0o600, at_path)?;
            let mode = if file.executable { 0o555 } else { 0o444 };
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(&error)
        })?;
        Ok(true)
    }

    fn seal_view(
        &self,
        tree: &Digest,
        path: &Path,
        listing: &Listing,
        files: &[File],
    ) -> Result<(), StoreError> {
        let stat = |inner: &str| {
            let meta = fs::symlink_metadata(path.join(inner)).ok()?;
            Some((seal_name(tree, inner), FileStat::of(&meta)))
        };
        let copies: Vec<_> = files
            .iter()
            .filter(|f| !self.is_sealed(&f.digest, &path.join(f.inner)))
            .filter_map(|f| stat(f.inner))
            .collect();
        if !copies.is_empty() {
            // A seal says that the bytes survive a power failure.
            sync_filesystem(&self.root).map_err(at(&self.root, "flush to the disk"))?;
            self.seals.add(&copies);
        }
        let dirs: Vec<_> = dirs_of(listing).filter_map(stat).collect();
        self.seals.add(&dirs);
        Ok(())
    }

    fn is_sealed(&self, name: &Digest, path: &Path) -> bool {
        fs::symlink_metadata(path)
            .is_ok_and(|meta| self.seals.match_stat(name, &FileStat::of(&meta)))
    }

    /// Everything is there with its bytes, and nothing else is.
    fn view_holds(&self, tree: &Digest, path: &Path, listing: &Listing, files: &[File]) -> bool {
        let dirs: Vec<&str> = dirs_of(listing).collect();
        dirs.par_iter().all(|dir| {
            let name = seal_name(tree, dir);
            let full = path.join(dir);
            self.is_sealed(&name, &full)
                || self.reseal(name, &full, || names_in(&full) == names_of(listing, dir))
        }) && files.par_iter().all(|file| {
            let full = path.join(file.inner);
            let own = seal_name(tree, file.inner);
            let (first, second) = match file.may_be_name() {
                true => (file.digest, own),
                false => (own, file.digest),
            };
            let has_bytes = || Digest::of_file(&full).is_ok_and(|(found, _)| found == file.digest);
            self.is_sealed(&first, &full)
                || self.is_sealed(&second, &full)
                || (is_file(&full, file.executable) && self.reseal(own, &full, has_bytes))
        })
    }

    /// Looks, and remembers how what is right looked.
    fn reseal(&self, name: Digest, path: &Path, is_right: impl Fn() -> bool) -> bool {
        let stat = || fs::symlink_metadata(path).map(|m| FileStat::of(&m));
        let Ok(before) = stat() else { return false };
        if !is_right() {
            return false;
        }
        if stat().is_ok_and(|after| after.same_but_dev(&before)) {
            self.seals.add(&[(name, before)]);
        }
        true
    }
}

impl File<'_> {
    /// It may be a name of its object.
    fn may_be_name(&self) -> bool {
        !self.executable && self.is_first
    }
}

fn files_of(listing: &Listing) -> Vec<File<'_>> {
    let mut seen = HashSet::new();
    listing
        .files()
        .map(|(path, digest, _, executable)| File {
            inner: path.as_str(),
            digest,
            executable,
            is_first: executable || seen.insert(digest),
        })
        .collect()
}

/// The directories of a tree, its root first, as an empty text.
fn dirs_of(listing: &Listing) -> impl Iterator<Item = &str> {
    std::iter::once("").chain(listing.nodes().filter_map(|(path, node)| match node {
        Node::Dir => Some(path.as_str()),
        _ => None,
    }))
}

fn is_file(path: &Path, executable: bool) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|m| m.is_file() && (m.permissions().mode() & 0o111 != 0) == executable)
}

fn names_in(dir: &Path) -> HashSet<OsString> {
    let entries = crate::dir::read(dir).into_iter().flatten().flatten();
    entries.map(|e| e.file_name()).collect()
}

fn names_of(listing: &Listing, dir: &str) -> HashSet<OsString> {
    let below = |path: &str| {
        let inner = match dir {
            "" => Some(path),
            _ => path.strip_prefix(dir)?.strip_prefix('/'),
        };
        inner.filter(|i| !i.contains('/')).map(OsString::from)
    };
    listing
        .nodes()
        .filter_map(|(path, _)| below(path.as_str()))
        .collect()
}

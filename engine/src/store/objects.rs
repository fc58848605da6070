//! Objects: taking files and directories in (hash, stage), and making sure of what is there before
//! it is used.
//!
//! Staging moves an output into the scratch directory, where its last name is decided by its
//! bytes; giving it that name is `commit.rs`. Files with a second hard link are copied: whoever
//! holds the other name could write to the object.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use crate::digest::{Content, Digest, Domain, Shape, Stop};
use crate::regular::{self, Links};

use super::copy::copy_to_new;
use super::error::{StoreError, at};
use super::filesystem::{changes_are_seen, is_remote};
use super::scratch::write_new;
use super::sys::{self, FileStat, Seen, is_open_for_writing, now_ns};
use super::tree::{Listing, Walk, check_regular};
use super::{Store, with_parent};

/// Bytes of the largest listing that is read: ten million files.
pub(super) const LISTING_BYTES_MAX: u64 = 2 << 30;

/// Bytes in the store that have no name yet. Dropped without a commit, they are gone.
#[derive(Debug, Default)]
#[must_use = "staged bytes are dropped unless committed"]
pub struct Staged {
    pub(super) items: Vec<StagedItem>,
}

/// One file waiting for its name.
#[derive(Debug)]
pub(super) struct StagedItem {
    pub class: Class,
    pub digest: Digest,
    pub path: PathBuf,
    pub stat: FileStat,
}

impl Drop for StagedItem {
    fn drop(&mut self) {
        // After publishing there is nothing left under this name.
        let _ = fs::remove_file(&self.path);
    }
}

impl Staged {
    /// Adds another artifact's bytes.
    pub fn merge(&mut self, other: Staged) {
        self.items.extend(other.items);
    }
}

/// The two directories whose names are digests of what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    Object,
    Tree,
}

impl Class {
    pub fn dir(self) -> &'static str {
        match self {
            Class::Object => "objects",
            Class::Tree => "trees",
        }
    }

    pub fn label(self, digest: &Digest) -> String {
        match self {
            Class::Object => format!("object {digest}"),
            Class::Tree => format!("tree {digest}"),
        }
    }

    pub fn hash_file(self, path: &Path) -> io::Result<(Digest, u64)> {
        match self {
            Class::Object => Digest::of_file(path),
            Class::Tree => regular::read(path, Links::Refuse, LISTING_BYTES_MAX)
                .map(|b| (Digest::derive(Domain::Tree, &b), b.len() as u64)),
        }
    }
}

impl From<Shape> for Class {
    fn from(shape: Shape) -> Class {
        match shape {
            Shape::File | Shape::Program => Class::Object,
            Shape::Tree => Class::Tree,
        }
    }
}

/// Read-only for everybody.
const OBJECT_MODE: u32 = 0o444;

/// Whether something is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// Its bytes are right, and on the disk.
    Yes,
    /// Its bytes are right.
    No,
}

/// What has its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Published {
    /// For long.
    Durably,
    /// Since a moment ago, perhaps: it may not be on the disk. What it looked like when its bytes
    /// were right.
    Now(FileStat),
}

/// How [`Store::absorb`] gets at the bytes.
#[derive(Clone, Copy, PartialEq)]
enum Take {
    Move,
    Copy,
}

impl Store {
    /// Takes a finished output (a file or a directory in a private directory) into the store: moves
    /// and hashes it, but gives it no name yet. The files are gone from `path` afterwards.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for what cannot be stored (links out of the tree, pipes, sockets,
    /// devices, names that are not UTF-8), before anything is moved; [`StoreError::Changed`] if
    /// somebody still writes to it.
    pub fn absorb(&self, path: &Path) -> Result<(Content, Staged), StoreError> {
        self.take(path, Take::Move, &|| false)
    }

    /// As [`Store::absorb`], but gives up with [`StoreError::Cancelled`] soon after `stop` says so.
    pub fn absorb_until(
        &self,
        path: &Path,
        stop: Stop<'_>,
    ) -> Result<(Content, Staged), StoreError> {
        self.take(path, Take::Move, stop)
    }

    /// As [`Store::absorb`], but leaves `path` as it is.
    pub fn absorb_copy(&self, path: &Path) -> Result<(Content, Staged), StoreError> {
        self.take(path, Take::Copy, &|| false)
    }

    /// Takes bytes in as a file.
    pub fn absorb_bytes(&self, bytes: &[u8]) -> Result<(Content, Staged), StoreError> {
        let item = self.stage_bytes(Class::Object, Digest::of(bytes), bytes)?;
        let content = Content {
            shape: Shape::File,
            digest: item.digest,
            bytes_total: bytes.len() as u64,
        };
        Ok((content, Staged { items: vec![item] }))
    }

    fn take(
        &self,
        path: &Path,
        take: Take,
        stop: Stop<'_>,
    ) -> Result<(Content, Staged), StoreError> {
        let meta = fs::symlink_metadata(path).map_err(at(path, "look at it"))?;
        if !meta.is_dir() {
            check_regular(path, &meta)?;
            let item = self.stage_file(path, FileStat::of(&meta), meta.nlink(), take, stop)?;
            let content = Content {
                shape: Shape::of_file(meta.permissions().mode()),
                digest: item.digest,
                bytes_total: item.stat.bytes,
            };
            return Ok((content, Staged { items: vec![item] }));
        }
        let walk = Walk::of(path)?;
        let mut items: Vec<StagedItem> = walk
            .files
            .par_iter()
            .map(|file| self.stage_file(&file.path, file.stat, file.links, take, stop))
            .collect::<Result<_, _>>()?;
        let contents: Vec<Content> = items
            .iter()
            .map(|i| Content {
                shape: Shape::File,
                digest: i.digest,
                bytes_total: i.stat.bytes,
            })
            .collect();
        let listing = walk.listing(path, &contents)?;
        let content = listing.content();
        items.push(self.stage_bytes(Class::Tree, content.digest, &listing.to_bytes())?);
        Ok((content, Staged { items }))
    }

    fn stage_bytes(
        &self,
        class: Class,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<StagedItem, StoreError> {
        let path = self.scratch()?.fresh_path();
        let mut item = StagedItem {
            class,
            digest,
            path,
            stat: FileStat::default(),
        };
        write_new(&item.path, bytes).map_err(at(&self.root, "write to the store"))?;
        item.stat = seal_mode(&item.path)?;
        Ok(item)
    }

    fn stage_file(
        &self,
        from: &Path,
        seen: FileStat,
        links: u64,
        take: Take,
        stop: Stop<'_>,
    ) -> Result<StagedItem, StoreError> {
        if stop() {
            return Err(StoreError::Cancelled);
        }
        let path = self.scratch()?.fresh_path();
        let mut item = StagedItem {
            class: Class::Object,
            digest: Digest([0; 32]),
            path,
            stat: seen,
        };
        // Who holds it open for writing could change the object under its name: then it is copied,
        // like a file with another name.
        let moved = take == Take::Move
            && links == 1
            && !is_open_for_writing(from)
            && match fs::rename(from, &item.path) {
                Ok(()) => true,
                Err(e) if e.raw_os_error() == Some(libc::EXDEV) => false,
                Err(e) => return Err(at(from, "move it into the store")(e)),
            };
        if !moved {
            copy_bytes(from, &item.path, 0o600, &self.root)?;
            if take == Take::Move {
                fs::remove_file(from)
                    .map_err(at(from, "remove it after copying it into the store"))?;
            }
        }
        let before = seal_mode(&item.path)?;
        let (digest, _) = Digest::of_file_until(&item.path, stop).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => StoreError::Cancelled,
            _ => at(from, "read it")(e),
        })?;
        let after =
            FileStat::of(&fs::symlink_metadata(&item.path).map_err(at(&item.path, "look at it"))?);
        if !before.same_bytes(&after)
            || (moved && !seen.same_bytes(&after))
            || after.bytes != seen.bytes
        {
            return Err(StoreError::Changed {
                path: from.to_owned(),
            });
        }
        item.digest = digest;
        item.stat = after;
        Ok(item)
    }

    /// The object or tree is there and whole. Trusts a stat that matches its seal, hashes
    /// otherwise.
    pub(super) fn check(&self, class: Class, digest: &Digest) -> Result<PathBuf, StoreError> {
        self.check_sealed(class, digest).map(|(path, _)| path)
    }

    /// It looks as its seal says. Runs with nothing to do ask for little else, so here the system
    /// is asked from the store's directory on, and not from the root.
    fn is_as_sealed(&self, class: Class, digest: &Digest) -> bool {
        let seen = self.dir.as_ref().and_then(|dir| {
            let name =
                digest.with_hex(|hex| [class.dir(), "/", &hex[..2], "/", &hex[2..]].concat());
            Seen::at(dir, &name, Links::Refuse).ok()
        });
        seen.is_some_and(|seen| seen.is_file() && self.seals.match_stat(digest, &seen.stat))
    }

    /// As [`Store::check`]; also whether it is sealed, and so known to be durable.
    fn check_sealed(&self, class: Class, digest: &Digest) -> Result<(PathBuf, Sealed), StoreError> {
        let path = self.named(class.dir(), digest);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing {
                    what: class.label(digest),
                });
            }
            Err(e) => return Err(at(&path, "look at it")(e)),
        };
        if !meta.is_file() {
            return Err(self.quarantine(class, digest, &meta, "it is not a regular file"));
        }
        if self.seals.match_stat(digest, &FileStat::of(&meta)) {
            return Ok((path, Sealed::Yes));
        }
        let sealed = self.check_bytes_sealed(class, digest)?;
        Ok((path, sealed))
    }

    /// Hashes, whatever the seal says, and seals anew what is right.
    pub(super) fn check_bytes(&self, class: Class, digest: &Digest) -> Result<(), StoreError> {
        self.check_bytes_sealed(class, digest).map(drop)
    }

    fn check_bytes_sealed(&self, class: Class, digest: &Digest) -> Result<Sealed, StoreError> {
        let path = self.named(class.dir(), digest);
        let label = || class.label(digest);
        let missing = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { what: label() },
            _ => at(&path, "read it")(e),
        };
        let meta = fs::symlink_metadata(&path).map_err(missing)?;
        if !meta.is_file() {
            return Err(self.quarantine(class, digest, &meta, "it is not a regular file"));
        }
        let meta = set_mode_right(&path, meta);
        let (found, _) = class.hash_file(&path).map_err(missing)?;
        if found != *digest {
            return Err(self.quarantine(
                class,
                digest,
                &meta,
                &format!("its bytes hash to {found}"),
            ));
        }
        let before = FileStat::of(&meta);
        let after = FileStat::of(&fs::symlink_metadata(&path).map_err(missing)?);
        // Written to within a clock tick of now, it could be written to again without a trace.
        let settled = after.ctime_ns < now_ns() - super::stat::TICK_NS;
        if !before.same_but_dev(&after) {
            return Ok(Sealed::No);
        }
        if self.seals.match_stat(digest, &after) {
            return Ok(Sealed::Yes);
        }
        // Who gave it this name may have been killed before the disk had it: then a seal would
        // promise too much.
        if settled && self.is_durable(&path, &after) {
            self.seals.add(&[(*digest, after)]);
            return Ok(Sealed::Yes);
        }
        Ok(Sealed::No)
    }

    /// Makes sure that a file without a seal, and its name, are on the disk. The first one that
    /// asks pays for all that were there by then. That it cannot be known (a store that is only
    /// read) is no error: it has no seal then.
    fn is_durable(&self, path: &Path, stat: &FileStat) -> bool {
        if is_remote(path) {
            // Its stamps come from another clock.
            return sys::sync_file_and_name(path).is_ok();
        }
        let last_change_ns = stat.ctime_ns.max(stat.mtime_ns);
        if last_change_ns < self.synced_ns.load(Ordering::Relaxed) {
            return true;
        }
        let begun_ns = now_ns() - super::stat::TICK_NS;
        let synced = sys::sync_filesystem(&self.root).is_ok();
        if synced {
            self.synced_ns.fetch_max(begun_ns, Ordering::Relaxed);
        }
        synced && last_change_ns < begun_ns
    }

    /// Moves bad bytes aside, so that the right ones can take their name.
    fn quarantine(
        &self,
        class: Class,
        digest: &Digest,
        seen: &fs::Metadata,
        detail: &str,
    ) -> StoreError {
        let path = self.named(class.dir(), digest);
        let aside = self.quarantine_path(&format!("{}-{digest}", class.dir()));
        // Somebody may have repaired it meanwhile; that one is not the file that was hashed.
        let is_same = fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == seen.ino());
        let detail = match is_same.then(|| fs::rename(&path, &aside)) {
            Some(Ok(())) => format!("{detail}; moved to {}", aside.display()),
            Some(Err(e)) => format!("{detail}; it could not be moved aside: {e}"),
            None => detail.to_owned(),
        };
        let error = StoreError::Corrupt {
            what: class.label(digest),
            detail,
        };
        self.warning(&error.to_string());
        error
    }

    pub(super) fn quarantine_path(&self, name: &str) -> PathBuf {
        self.root
            .join("quarantine")
            .join(format!("{name}.{}", super::owner::new_name()))
    }

    /// It is in the store and whole, by [`Store::check`]'s measure; a tree with all its files. What
    /// is corrupt is moved aside with a warning, and counts as absent.
    pub fn has(&self, content: &Content) -> Result<bool, StoreError> {
        self.has_sealed(content).map(|found| found.is_some())
    }

    /// As [`Store::has`]; also whether all of it is sealed, and so known to be durable.
    pub(super) fn has_sealed(&self, content: &Content) -> Result<Option<Sealed>, StoreError> {
        let mut all = Sealed::Yes;
        let mut look = |class, digest: &Digest| {
            if self.is_as_sealed(class, digest) {
                return Ok(());
            }
            let (_, sealed) = self.check_sealed(class, digest)?;
            if sealed == Sealed::No {
                all = Sealed::No;
            }
            Ok(())
        };
        let found = match content.shape {
            Shape::File | Shape::Program => look(Class::Object, &content.digest),
            Shape::Tree => look(Class::Tree, &content.digest)
                .and_then(|()| self.read_tree(&content.digest))
                .and_then(|listing| {
                    let mut files = listing.files();
                    files.try_for_each(|(_, digest, _, _)| look(Class::Object, &digest))
                }),
        };
        match found {
            Ok(()) => Ok(Some(all)),
            Err(e) if e.is_miss() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// As [`Store::has`], after something may have written to it: where a file system keeps no
    /// trace of that, every byte is hashed.
    pub fn is_still(&self, content: &Content) -> bool {
        match changes_are_seen(&self.root) {
            true => self.has(content).unwrap_or(false),
            false => self.verify(content).is_ok(),
        }
    }

    /// Hashes every byte of it.
    pub fn verify(&self, content: &Content) -> Result<(), StoreError> {
        self.check_bytes(content.shape.into(), &content.digest)?;
        if content.shape == Shape::Tree {
            let listing = self.read_tree(&content.digest)?;
            let files: Vec<Digest> = listing.files().map(|(_, digest, _, _)| digest).collect();
            files
                .par_iter()
                .try_for_each(|digest| self.check_bytes(Class::Object, digest))?;
        }
        Ok(())
    }

    /// Where a file's bytes are. Says nothing of whether they are there.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.named("objects", digest)
    }

    /// Opens a file's bytes for reading, made sure of.
    pub fn open_object(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.check(Class::Object, digest)?;
        regular::open(&path, Links::Refuse).map_err(at(&path, "read it"))
    }

    /// The listing of a tree, made sure of.
    pub fn read_tree(&self, digest: &Digest) -> Result<Listing, StoreError> {
        let path = self.check(Class::Tree, digest)?;
        let bytes =
            regular::read(&path, Links::Refuse, LISTING_BYTES_MAX).map_err(at(&path, "read it"))?;
        Listing::parse(&bytes).map_err(|e| StoreError::Corrupt {
            what: Class::Tree.label(digest),
            detail: e.to_string(),
        })
    }

    /// Publishes under the digest's name, unless a whole one is there already. Says whether it is
    /// durable.
    pub(super) fn publish(&self, item: &StagedItem) -> Result<Published, StoreError> {
        let stat =
            FileStat::of(&fs::symlink_metadata(&item.path).map_err(at(&item.path, "look at it"))?);
        if !stat.same_bytes(&item.stat) {
            return Err(StoreError::Changed {
                path: item.path.clone(),
            });
        }
        let name = self.named(item.class.dir(), &item.digest);
        // Twice, because what is there may turn out to be corrupt, and then makes place.
        for _ in 0..2 {
            if with_parent(&name, || sys::rename_noreplace(&item.path, &name))
                .map_err(at(&name, "publish it"))?
            {
                return Ok(Published::Now(item.stat));
            }
            match self.check_sealed(item.class, &item.digest) {
                Ok((_, Sealed::Yes)) => return Ok(Published::Durably),
                Ok((path, Sealed::No)) => {
                    let meta = fs::symlink_metadata(&path).map_err(at(&path, "look at it"))?;
                    return Ok(Published::Now(FileStat::of(&meta)));
                }
                Err(e) if e.is_miss() => {}
                Err(e) => return Err(e),
            }
        }
        let detail = "it cannot be moved out of the way of a good copy".to_owned();
        Err(StoreError::Corrupt {
            what: item.class.label(&item.digest),
            detail,
        })
    }
}

/// A mode that somebody gave to an object (`chmod 000`, `chmod -R u+w`) must not make it
/// unreadable, or open to a write by accident. What is not ours stays as it is.
fn set_mode_right(path: &Path, meta: fs::Metadata) -> fs::Metadata {
    if meta.permissions().mode() & 0o777 == OBJECT_MODE {
        return meta;
    }
    fs::set_permissions(path, Permissions::from_mode(OBJECT_MODE))
        .and_then(|()| fs::symlink_metadata(path))
        .unwrap_or(meta)
}

/// Read-only for everybody: an object is never written to again.
fn seal_mode(path: &Path) -> Result<FileStat, StoreError> {
    match fs::set_permissions(path, Permissions::from_mode(OBJECT_MODE)) {
        // The seal tells of every change all the same.
        Err(e) if sys::is_modeless(&e) => {}
        other => other.map_err(at(path, "make it read-only"))?,
    }
    Ok(FileStat::of(
        &fs::symlink_metadata(path).map_err(at(path, "look at it"))?,
    ))
}

/// Copies to a new file; write errors name `target`, the directory the user knows.
pub(super) fn copy_bytes(
    from: &Path,
    to: &Path,
    mode: u32,
    target: &Path,
) -> Result<(), StoreError> {
    let mut source = regular::open(from, Links::Refuse).map_err(at(from, "read it"))?;
    copy_to_new(&mut source, to, mode).map_err(at(target, "write a file there"))
}

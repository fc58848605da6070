//! The stat cache: digests of files outside the store (project inputs, placed artifacts) without
//! reading them again.
//!
//! An entry is trusted if device, inode, size, mtime and ctime are as they were, and if it is not
//! *racy*: a file written to in the same clock tick in which it was hashed can be written to again
//! without any of these changing. Kernels stamp files with a clock that ticks every 1 to 10 ms, so
//! both times must lie 20 ms (a tick, twice) before the moment hashing began; 2 s where stamps have
//! no fractions (FAT, old ext3), or come from another machine's clock (NFS and the like). A younger
//! file is hashed again until it has aged, and a file in memory (tmpfs) always: a write through a
//! memory map leaves no trace there. It is only a cache: a lost or damaged file costs reading,
//! nothing else.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use foldhash::HashMap;
use rayon::prelude::*;

use crate::digest::{Content, Digest, Shape};
use crate::files::{Files, Location};
use crate::regular::Links;
use repro_protocol::relpath::RelPath;

use super::error::{StoreError, at_users};
use super::filesystem::{changes_are_seen, has_modes, is_remote};
use super::input::InputTree;
use super::manifest::Manifest;
use super::stat_file::{self, Entries, Entry, PathKey, read};
use super::sys::{self, FileStat, Seen, now_ns};
use super::tree::{Listing, Walk, WalkFile, check_regular};

/// Twice the slowest kernel tick.
pub(super) const TICK_NS: i64 = 20_000_000;
const COARSE_NS: i64 = 2_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// Entries nobody asked for in this long are dropped.
const KEEP_DAYS: u32 = 90;

/// What [`StatCache::look`] saw.
#[derive(Clone, Debug)]
pub struct Look {
    /// The content.
    pub content: Content,
    /// Every file and directory: inode, size, times. `None`: a directory in which something lies
    /// that does not count; its times tell of that as well.
    stamps: BTreeMap<String, Option<FileStat>>,
}

impl Look {
    /// Nothing was written between these two looks.
    pub fn is_same(&self, other: &Look) -> bool {
        let is_same = |((a, first), (b, second)): ((&String, &Option<FileStat>), _)| {
            let (b, second): (&String, &Option<FileStat>) = (b, second);
            a == b && (first.is_none() || second.is_none() || first == second)
        };
        self.content == other.content
            && self.stamps.len() == other.stamps.len()
            && self.stamps.iter().zip(&other.stamps).all(is_same)
    }
}

/// Digests of files under a directory, by path and stat.
pub struct StatCache {
    root: PathBuf,
    /// The same, open.
    dir: Option<OwnedFd>,
    file: PathBuf,
    entries: RwLock<Entries>,
    dirty: AtomicBool,
    /// Stamps are made elsewhere.
    coarse: bool,
    /// Files keep the permissions they are given.
    has_modes: bool,
    /// The device of the project.
    dev: Option<u64>,
    /// The same of other devices.
    coarse_elsewhere: RwLock<HashMap<u64, bool>>,
    /// By device: whether every change of a file there shows in its stat.
    seen: RwLock<HashMap<u64, bool>>,
    manifests: Mutex<HashMap<PathBuf, (FileStat, Arc<Manifest>)>>,
    today: u32,
    stop: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

fn today() -> u32 {
    u32::try_from(now_ns() / (86_400 * SECOND_NS)).unwrap_or(0)
}

impl StatCache {
    /// Loads the cache of the project at `root` from `file`; a missing one is empty, a damaged one
    /// is moved aside with a warning.
    pub fn load(root: &Path, file: &Path) -> StatCache {
        StatCache {
            root: root.to_owned(),
            dir: sys::open_dir(root),
            file: file.to_owned(),
            entries: RwLock::new(read(file)),
            dirty: AtomicBool::new(false),
            coarse: is_remote(root),
            has_modes: has_modes(root),
            dev: fs::metadata(root).ok().map(|meta| FileStat::of(&meta).dev),
            coarse_elsewhere: RwLock::default(),
            seen: RwLock::default(),
            manifests: Mutex::default(),
            today: today(),
            stop: OnceLock::new(),
        }
    }

    /// From now on hashing gives up, with [`StoreError::Cancelled`], soon after `stop` says so.
    /// Only the first call counts.
    pub fn stop_when(&self, stop: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.stop.set(Box::new(stop));
    }

    /// The directory whose files it knows.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Number of files known.
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(|e| e.into_inner()).len()
    }

    /// No file is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content of a file or directory of the project; what is known is not read again, the rest
    /// is read in parallel. `path` itself may be a link to anywhere; links inside a directory must
    /// stay in it.
    ///
    /// # Errors
    /// [`StoreError::Vanished`], [`StoreError::Denied`], [`StoreError::Changed`] (written to while
    /// being read), each with the path; [`StoreError::Refused`] for what has no bytes.
    pub fn digest_path(&self, path: &RelPath) -> Result<Content, StoreError> {
        self.digest(path, true)
    }

    /// The content, and what proves that it stays: two equal looks mean that nothing was written in
    /// between. A file so young that its times could not tell is waited for. Files whose times
    /// prove nothing are read at every look.
    ///
    /// # Errors
    /// As [`StatCache::digest_path`].
    pub fn look(&self, files: &Files) -> Result<Look, StoreError> {
        let mut waited = false;
        loop {
            let content = self.digest_input(files)?;
            let stamps = self.stamps(files)?;
            let times = stamps
                .values()
                .flatten()
                .map(|s| s.mtime_ns.max(s.ctime_ns));
            let youngest = times.max().unwrap_or(0);
            let slack = if self.coarse { COARSE_NS } else { TICK_NS };
            let age = now_ns().saturating_sub(youngest);
            if waited || age > slack {
                return Ok(Look { content, stamps });
            }
            waited = true;
            let wait = slack.saturating_sub(age).clamp(0, COARSE_NS) + 1_000_000;
            std::thread::sleep(std::time::Duration::from_nanos(wait.unsigned_abs()));
        }
    }

    fn stamps(&self, files: &Files) -> Result<BTreeMap<String, Option<FileStat>>, StoreError> {
        let path = files.at.path(&self.root);
        let stat = |path: &Path| {
            fs::metadata(path)
                .map(|meta| (FileStat::of(&meta), meta.is_dir()))
                .map_err(at_users(path, "look at it"))
        };
        let (own, is_dir) = stat(&path)?;
        let mut stamps = BTreeMap::from([(String::new(), Some(own))]);
        if is_dir {
            let tree = InputTree::of(&path, &files.ignore)?;
            for (dir, real) in tree.dirs() {
                stamps.insert(dir.to_string(), Some(stat(real)?.0));
            }
            let files = tree.walk.files.iter();
            stamps.extend(files.map(|f| (f.rel.to_string(), Some(f.stat))));
            for ignored in &tree.ignored {
                let parent = ignored.as_str().rsplit_once('/').map_or("", |(p, _)| p);
                stamps.insert(parent.to_owned(), None);
            }
        }
        Ok(stamps)
    }

    /// Whether what lies at `path` is this, as far as the file system can show it.
    pub fn shows(&self, path: &RelPath, content: &Content) -> bool {
        let found = self.digest_path(path);
        found.is_ok_and(|found| {
            found == *content || (!self.has_modes && found.has_same_bytes(content))
        })
    }

    /// Reads everything again and remembers what it finds.
    pub fn digest_path_anew(&self, path: &RelPath) -> Result<Content, StoreError> {
        self.digest(path, false)
    }

    /// The content of an input that no stage makes: without what it ignores, with the content of
    /// what links lead to, and by its manifest where it has one.
    ///
    /// # Errors
    /// As [`StatCache::digest_path`]; links that lead nowhere or in a circle; a file that is not as
    /// the manifest says.
    pub fn digest_input(&self, files: &Files) -> Result<Content, StoreError> {
        if let Location::Project(rel) = &files.at
            && let Some(known) = self.known_file(rel)
        {
            return Ok(known);
        }
        if let Some(listing) = self.list_input(files)? {
            return Ok(listing.content());
        }
        let path = files.at.path(&self.root);
        let meta = fs::metadata(&path).map_err(at_users(&path, "look at it"))?;
        check_regular(&path, &meta)?;
        let name = files.at.to_string();
        let content = self.file(&name, &path, FileStat::of(&meta), true)?;
        let shape = self.shape_of_file(meta.permissions().mode());
        Ok(Content { shape, ..content })
    }

    /// What is in an input that is a directory; `None` for a file.
    ///
    /// # Errors
    /// As [`StatCache::digest_input`].
    pub fn list_input(&self, files: &Files) -> Result<Option<Listing>, StoreError> {
        let path = files.at.path(&self.root);
        let meta = fs::metadata(&path).map_err(at_users(&path, "look at it"))?;
        if !meta.is_dir() {
            return Ok(None);
        }
        let name = files.at.to_string();
        let walk = InputTree::of(&path, &files.ignore)?.walk;
        let list = files.manifest.as_ref().map(|list| list.path(&self.root));
        let manifest = match &list {
            Some(list) => Some((list, self.manifest(list, &path)?)),
            None => None,
        };
        if let Some((list, manifest)) = &manifest {
            let names: HashSet<&str> = walk.files.iter().map(|f| f.rel.as_str()).collect();
            if let Some(lacking) = manifest.lacking(|inner| names.contains(inner)) {
                let why = format!("{} lists it, and it does not exist", list.display());
                return Err(StoreError::refused(&path.join(lacking), why));
            }
        }
        let contents: Vec<Content> = walk
            .files
            .par_iter()
            .map(|file| {
                let name = format!("{name}/{}", file.rel);
                match &manifest {
                    Some((list, manifest)) => self.pinned(&name, file, list, manifest),
                    None => self.file(&name, &file.path, file.stat, true),
                }
            })
            .collect::<Result<_, _>>()?;
        walk.listing(&path, &contents).map(Some)
    }

    /// A file with the digest that a manifest names: read once, and then trusted while size and
    /// time of change stay, wherever the file system is mounted.
    fn pinned(
        &self,
        name: &str,
        file: &WalkFile,
        list: &Path,
        manifest: &Manifest,
    ) -> Result<Content, StoreError> {
        let Some(digest) = manifest.get(file.rel.as_str()) else {
            let why = format!(
                "{} does not list it; write the list again, or add the file to `ignore`",
                list.display()
            );
            return Err(StoreError::refused(&file.path, why));
        };
        let pinned = Content {
            shape: Shape::File,
            digest,
            bytes_total: file.stat.bytes,
        };
        let key = PathKey::of(name);
        let known = self.entry(key).filter(|entry| {
            let (was, is) = (entry.stat, file.stat);
            entry.digest == digest && was.bytes == is.bytes && was.mtime_ns == is.mtime_ns
        });
        if let Some(entry) = known {
            self.touch(key, entry);
            return Ok(pinned);
        }
        let found = self.file(name, &file.path, file.stat, true)?;
        if found.digest != digest {
            let why = format!(
                "it is not the file that {} names (it has {}): get it again, or write the list again",
                list.display(),
                found.digest
            );
            return Err(StoreError::refused(&file.path, why));
        }
        Ok(pinned)
    }

    /// The manifest, read again when it changed.
    fn manifest(&self, list: &Path, root: &Path) -> Result<Arc<Manifest>, StoreError> {
        let meta = fs::metadata(list).map_err(at_users(list, "read the list of digests"))?;
        let stat = FileStat::of(&meta);
        let mut known = self.manifests.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((was, manifest)) = known.get(list)
            && *was == stat
        {
            return Ok(manifest.clone());
        }
        let manifest = Arc::new(Manifest::read(list, root)?);
        known.insert(list.to_owned(), (stat, manifest.clone()));
        Ok(manifest)
    }

    fn shape_of_file(&self, mode: u32) -> Shape {
        match self.has_modes {
            true => Shape::of_file(mode),
            // There every file is executable, or none.
            false => Shape::File,
        }
    }

    /// The content of a file whose stat is as it was when it was hashed. Runs with nothing to do
    /// ask for little else, so here the system is asked from the project's directory on, and not
    /// from the root.
    fn known_file(&self, rel: &RelPath) -> Option<Content> {
        let seen = Seen::at(self.dir.as_ref()?, rel.as_str(), Links::Follow).ok()?;
        let key = PathKey::of(rel.as_str());
        let digest = self.known(key, rel.as_str(), &seen.stat)?;
        let shows_changes = || self.shows_changes(seen.stat.dev, || rel.under(&self.root));
        (seen.is_file() && shows_changes()).then(|| Content {
            shape: self.shape_of_file(seen.mode),
            digest,
            bytes_total: seen.stat.bytes,
        })
    }

    fn digest(&self, rel: &RelPath, trust: bool) -> Result<Content, StoreError> {
        if trust && let Some(known) = self.known_file(rel) {
            return Ok(known);
        }
        let path = rel.under(&self.root);
        let meta = fs::metadata(&path).map_err(at_users(&path, "look at it"))?;
        if !meta.is_dir() {
            check_regular(&path, &meta)?;
            let content = self.file(rel.as_str(), &path, FileStat::of(&meta), trust)?;
            let shape = self.shape_of_file(meta.permissions().mode());
            return Ok(Content { shape, ..content });
        }
        let walk = Walk::of(&path).map_err(|e| e.where_users(&path))?;
        let contents: Vec<Content> = walk
            .files
            .par_iter()
            .map(|file| self.file(&format!("{rel}/{}", file.rel), &file.path, file.stat, trust))
            .collect::<Result<_, _>>()?;
        Ok(walk.listing(&path, &contents)?.content())
    }

    fn file(
        &self,
        name: &str,
        path: &Path,
        stat: FileStat,
        trust: bool,
    ) -> Result<Content, StoreError> {
        let key = PathKey::of(name);
        if trust
            && let Some(digest) = self.known(key, name, &stat)
            && self.shows_changes(stat.dev, || path.to_owned())
        {
            return Ok(Content {
                shape: Shape::File,
                digest,
                bytes_total: stat.bytes,
            });
        }
        let recorded_ns = now_ns();
        let (digest, bytes_total) =
            Digest::of_file_until(path, &|| self.stop.get().is_some_and(|stop| stop())).map_err(
                |e| match e.kind() {
                    std::io::ErrorKind::Interrupted => StoreError::Cancelled,
                    _ => at_users(path, "read it")(e),
                },
            )?;
        let after = FileStat::of(&fs::metadata(path).map_err(at_users(path, "look at it"))?);
        if after != stat || bytes_total != stat.bytes {
            return Err(StoreError::Changed {
                path: path.to_owned(),
            });
        }
        self.insert(
            key,
            Entry {
                stat,
                digest,
                recorded_ns,
                used_day: self.today,
            },
        );
        Ok(Content {
            shape: Shape::File,
            digest,
            bytes_total,
        })
    }

    fn shows_changes(&self, dev: u64, path: impl FnOnce() -> PathBuf) -> bool {
        let known = self.seen.read().unwrap_or_else(|e| e.into_inner());
        if let Some(seen) = known.get(&dev) {
            return *seen;
        }
        drop(known);
        let seen = changes_are_seen(&path());
        let mut known = self.seen.write().unwrap_or_else(|e| e.into_inner());
        known.insert(dev, seen);
        seen
    }

    fn known(&self, key: PathKey, name: &str, stat: &FileStat) -> Option<Digest> {
        let entry = self.entry(key)?;
        if entry.stat != *stat || self.is_racy(name, stat, entry.recorded_ns) {
            return None;
        }
        self.touch(key, entry);
        Some(entry.digest)
    }

    fn entry(&self, key: PathKey) -> Option<Entry> {
        let entries = self.entries.read().unwrap_or_else(|e| e.into_inner());
        entries.get(&key).copied()
    }

    /// It was asked for today.
    fn touch(&self, key: PathKey, entry: Entry) {
        if entry.used_day != self.today {
            let used_day = self.today;
            self.insert(key, Entry { used_day, ..entry });
        }
    }

    /// Stamps on its file system are made elsewhere. Inputs may lie on any.
    fn is_coarse(&self, name: &str, dev: u64) -> bool {
        if Some(dev) == self.dev {
            return self.coarse;
        }
        let known = self
            .coarse_elsewhere
            .read()
            .unwrap_or_else(|e| e.into_inner());
        if let Some(known) = known.get(&dev) {
            return *known;
        }
        drop(known);
        let is_remote = is_remote(&self.root.join(name));
        let mut known = self
            .coarse_elsewhere
            .write()
            .unwrap_or_else(|e| e.into_inner());
        known.insert(dev, is_remote);
        is_remote
    }

    fn is_racy(&self, name: &str, stat: &FileStat, recorded_ns: i64) -> bool {
        let no_fractions = stat.mtime_ns % SECOND_NS == 0 && stat.ctime_ns % SECOND_NS == 0;
        let slack = if no_fractions || self.is_coarse(name, stat.dev) {
            COARSE_NS
        } else {
            TICK_NS
        };
        stat.mtime_ns.max(stat.ctime_ns).saturating_add(slack) > recorded_ns
    }

    fn insert(&self, key: PathKey, entry: Entry) {
        self.entries
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .insert(key, entry);
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// Remembers an artifact just placed at `path` by [`super::Store::place`], whose listing is
    /// given for a tree. These entries are trusted at once: the bytes came from the store and had
    /// their final stamps before anybody could see them, and a writer would have to hit the very
    /// tick of the rename.
    pub fn remember_placed(&self, path: &RelPath, content: &Content, listing: Option<&Listing>) {
        let mut placed = Vec::new();
        if content.shape.is_file() {
            placed.push((
                path.as_str().to_owned(),
                content.digest,
                content.bytes_total,
            ));
        }
        for (inner, digest, bytes, _) in listing.into_iter().flat_map(|l| l.files()) {
            placed.push((format!("{path}/{inner}"), digest, bytes));
        }
        for (name, digest, bytes) in placed {
            let Ok(meta) = fs::symlink_metadata(self.root.join(&name)) else {
                continue;
            };
            let stat = FileStat::of(&meta);
            if meta.is_file() && stat.bytes == bytes {
                let recorded_ns = now_ns().saturating_add(COARSE_NS * 2);
                self.insert(
                    PathKey::of(&name),
                    Entry {
                        stat,
                        digest,
                        recorded_ns,
                        used_day: self.today,
                    },
                );
            }
        }
    }

    /// Writes the cache back, if there is news: whole or not at all. Of two processes that save,
    /// the last one's knowledge stays.
    pub fn save(&self) -> Result<(), StoreError> {
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let mut entries = self.entries.write().unwrap_or_else(|e| e.into_inner());
        entries.retain(|_, entry| entry.used_day.saturating_add(KEEP_DAYS) >= self.today);
        stat_file::write(&self.file, &entries).map_err(at_users(&self.file, "save the stat cache"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stat_file::decode;

    fn rel(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn racy_entries_are_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StatCache::load(dir.path(), &dir.path().join("cache"));
        let stat = |mtime_ns, ctime_ns| FileStat {
            dev: 1,
            ino: 1,
            bytes: 1,
            mtime_ns,
            ctime_ns,
        };
        let t = 5 * SECOND_NS + 1;
        assert!(cache.is_racy("f", &stat(t, t), t));
        assert!(cache.is_racy("f", &stat(t - TICK_NS, t), t), "ctime counts");
        assert!(
            cache.is_racy("f", &stat(t + SECOND_NS, t - TICK_NS), t),
            "a stamp from the future"
        );
        assert!(!cache.is_racy("f", &stat(t - TICK_NS, t - TICK_NS), t));
        let s = 4 * SECOND_NS;
        assert!(
            cache.is_racy("f", &stat(s, s), t),
            "whole seconds may be a coarse clock"
        );
        assert!(!cache.is_racy("f", &stat(SECOND_NS, SECOND_NS), t));
    }

    #[test]
    fn same_stat_in_the_same_tick_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StatCache::load(dir.path(), &dir.path().join("cache"));
        let path = dir.path().join("f");
        // Same size, written at once: often within one tick, and then only the rule tells.
        for round in 0..50u8 {
            fs::write(&path, [round; 4]).unwrap();
            assert_eq!(
                cache.digest_path(&rel("f")).unwrap().digest,
                Digest::of(&[round; 4])
            );
        }
    }

    #[test]
    fn known_files_are_not_read_and_survive_a_save() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/cache");
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a b"), "x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40));
        let cache = StatCache::load(dir.path(), &file);
        let content = cache.digest_path(&rel("d")).unwrap();
        cache.save().unwrap();
        // A wrong digest planted in the cache shows that it is believed.
        let again = StatCache::load(dir.path(), &file);
        assert_eq!(again.len(), 1);
        assert_eq!(again.digest_path(&rel("d")).unwrap(), content);
        let stat = FileStat::of(&fs::metadata(dir.path().join("d/a b")).unwrap());
        let planted = Digest::of(b"planted");
        again.insert(
            PathKey::of("d/a b"),
            Entry {
                stat,
                digest: planted,
                recorded_ns: now_ns(),
                used_day: again.today,
            },
        );
        assert_eq!(again.digest_path(&rel("d/a b")).unwrap().digest, planted);
        assert_eq!(again.digest_path_anew(&rel("d")).unwrap(), content);
        // mtime set back: ctime tells.
        fs::write(dir.path().join("d/a b"), "y").unwrap();
        let meta = fs::File::options()
            .write(true)
            .open(dir.path().join("d/a b"))
            .unwrap();
        meta.set_modified(
            std::time::UNIX_EPOCH + std::time::Duration::from_nanos(stat.mtime_ns as u64),
        )
        .unwrap();
        assert_eq!(
            again.digest_path(&rel("d/a b")).unwrap().digest,
            Digest::of(b"y")
        );
        // Any flipped byte makes it empty, never wrong.
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(&bad[..], 1000).unwrap().is_none());
        }
        assert!(decode(&bytes[..20], 20).unwrap().is_none());
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StatCache::load(dir.path(), &dir.path().join("cache"));
        let error = cache.digest_path(&rel("no such")).unwrap_err();
        assert!(
            matches!(error, StoreError::Vanished { .. }) && error.to_string().contains("no such")
        );
    }

    #[test]
    fn many_entries_round_trip() {
        let stat = FileStat {
            dev: 1,
            ino: 2,
            bytes: 3,
            mtime_ns: 4,
            ctime_ns: -5,
        };
        let entry = Entry {
            stat,
            digest: Digest::of(b""),
            recorded_ns: 9,
            used_day: 1,
        };
        let entries: Entries = (0..100_000)
            .map(|i| (PathKey::of(&format!("data/part/{i}.png")), entry))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cache");
        stat_file::write(&file, &entries).unwrap();
        assert!(read(&file) == entries);
    }
}

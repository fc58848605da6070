//! Seals: how each object looked (`stat`) when its bytes were last known to be right.
//!
//! An object whose stat equals its seal is trusted, any other is hashed before use. Writing to a
//! file changes its mtime, setting the mtime back changes its ctime, and nobody can set that; so a
//! changed object is found without reading it. A seal is written only after the bytes are durable,
//! so an object that a power failure emptied has none. The file is a log of fixed-size entries, the
//! last one of a digest counts; losing it costs one hash per object.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::digest::{ByDigest, Digest};
use crate::regular::{self, Links};

use super::fresh::is_same_file;
use super::sys::FileStat;

/// digest 32, inode, size, mtime, ctime 8 each, checksum 8; little-endian.
const ENTRY: usize = 72;

pub(crate) struct Seals {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    map: ByDigest<Digest, FileStat>,
    /// Which file `read_to` is a position in.
    ino: u64,
    read_to: u64,
    bad: usize,
}

fn encode(digest: &Digest, stat: &FileStat) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..32].copy_from_slice(&digest.0);
    entry[32..40].copy_from_slice(&stat.ino.to_le_bytes());
    entry[40..48].copy_from_slice(&stat.bytes.to_le_bytes());
    entry[48..56].copy_from_slice(&stat.mtime_ns.to_le_bytes());
    entry[56..64].copy_from_slice(&stat.ctime_ns.to_le_bytes());
    let check = blake3::hash(&entry[..64]);
    entry[64..].copy_from_slice(&check.as_bytes()[..8]);
    entry
}

fn decode(entry: &[u8]) -> Option<(Digest, FileStat)> {
    let word = |at: usize| entry[at..at + 8].try_into().ok().map(u64::from_le_bytes);
    let digest = Digest(entry[..32].try_into().ok()?);
    let stat = FileStat {
        dev: 0,
        ino: word(32)?,
        bytes: word(40)?,
        mtime_ns: word(48)? as i64,
        ctime_ns: word(56)? as i64,
    };
    (encode(&digest, &stat)[64..] == entry[64..]).then_some((digest, stat))
}

/// Waits for who is appending, but not for one that was stopped in it: without its seal an object
/// is hashed again.
fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

impl Seals {
    pub fn new(path: PathBuf) -> Seals {
        Seals {
            path,
            known: Mutex::default(),
        }
    }

    /// The object looks as it did when its bytes were right.
    pub fn match_stat(&self, digest: &Digest, stat: &FileStat) -> bool {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        let fits = |known: &Known| {
            known
                .map
                .get(digest)
                .is_some_and(|seal| seal.same_but_dev(stat))
        };
        // Another process may have sealed it since we read the log.
        fits(&known) || {
            self.read_news(&mut known);
            fits(&known)
        }
    }

    fn read_news(&self, known: &mut Known) {
        let Ok(mut file) = regular::open(&self.path, Links::Refuse) else {
            return;
        };
        let Ok(meta) = file.metadata() else { return };
        if meta.ino() != known.ino || meta.len() < known.read_to {
            *known = Known {
                ino: meta.ino(),
                ..Known::default()
            };
        }
        let mut news = Vec::new();
        if meta.len() == known.read_to
            || file.seek(SeekFrom::Start(known.read_to)).is_err()
            || file.read_to_end(&mut news).is_err()
        {
            return;
        }
        known.map.reserve(news.len() / ENTRY);
        for entry in news.chunks_exact(ENTRY) {
            match decode(entry) {
                Some((digest, stat)) => drop(known.map.insert(digest, stat)),
                None => known.bad += 1,
            }
        }
        known.read_to += (news.len() / ENTRY * ENTRY) as u64;
    }

    /// Adds seals. Failing is harmless (a read-only store): the objects are hashed again next time.
    pub fn add(&self, seals: &[(Digest, FileStat)]) {
        if seals.is_empty() {
            return;
        }
        let bytes: Vec<u8> = seals.iter().flat_map(|(d, s)| encode(d, s)).collect();
        let _ = self.append(&bytes);
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        known.map.extend(seals.iter().copied());
    }

    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        loop {
            let options = &mut File::options();
            options.create(true).append(true);
            let mut file = regular::open_with(&self.path, Links::Refuse, options)?;
            super::shared::give(&file, &self.path);
            match lock_soon(&file) {
                // Appending is one write; what is torn all the same costs a hash.
                Err(TryLockError::Error(e)) if super::scratch::is_lockless(&e) => {}
                other => other.map_err(std::io::Error::from)?,
            }
            if !is_same_file(&file, &self.path) {
                continue;
            }
            // A writer that died in the middle of an entry must not shift all later ones.
            let len = file.metadata()?.len();
            if len % ENTRY as u64 != 0 {
                file.set_len(len - len % ENTRY as u64)?;
            }
            let written = file.write_all(bytes);
            // Closing would do it as well, unless closing fails.
            let _ = file.unlock();
            return written;
        }
    }

    /// Rewrites the log with the seals of `keep` only. Called by gc, alone.
    pub fn compact(&self, keep: impl Fn(&Digest) -> bool) -> std::io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        self.read_news(&mut known);
        known.map.retain(|digest, _| keep(digest));
        let bytes: Vec<u8> = known.map.iter().flat_map(|(d, s)| encode(d, s)).collect();
        let tmp = self.path.with_extension("new");
        // A compaction that was killed, or somebody's link.
        crate::dir::remove_all(&tmp)?;
        let mut file = super::fresh::new_file(&tmp)?;
        file.write_all(&bytes)?;
        super::shared::give(&file, &self.path);
        std::fs::rename(&tmp, &self.path)
    }

    /// Entries of the log that are damaged.
    pub fn bad_entries(&self) -> usize {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        *known = Known::default();
        self.read_news(&mut known);
        known.bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_survives_torn_and_flipped_entries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seals");
        let stat = |n| FileStat {
            dev: 9,
            ino: n,
            bytes: 2,
            mtime_ns: 3,
            ctime_ns: -4,
        };
        let [a, b, c] = [b"a", b"b", b"c"].map(|t| Digest::of(t));
        let seals = Seals::new(path.clone());
        seals.add(&[(a, stat(1)), (b, stat(2))]);
        let other = Seals::new(path.clone());
        assert!(other.match_stat(&a, &stat(1)) && !other.match_stat(&a, &stat(7)));
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&[1; 30])
            .unwrap();
        seals.add(&[(c, stat(3)), (a, stat(5))]);
        assert!(other.match_stat(&c, &stat(3)), "the torn entry is cut off");
        assert!(
            other.match_stat(&a, &stat(5)) && !other.match_stat(&a, &stat(1)),
            "the last seal counts"
        );
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[ENTRY + 3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let fresh = Seals::new(path.clone());
        assert!(!fresh.match_stat(&b, &stat(2)) && fresh.match_stat(&c, &stat(3)));
        assert_eq!(fresh.bad_entries(), 1);
        fresh.compact(|d| *d == c).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), ENTRY as u64);
        let fresh = Seals::new(path);
        assert!(fresh.match_stat(&c, &stat(3)) && !fresh.match_stat(&a, &stat(5)));
        fresh.add(&[(b, stat(8))]);
        assert!(
            other.match_stat(&b, &stat(8)),
            "a replaced log is read from its beginning"
        );
    }
}

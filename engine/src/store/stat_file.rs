//! The file in which the stat cache is kept: entries as they are written and read.
//!
//! What cannot be read is no cache: nothing here is believed without a look at the files.

use super::sys::FileStat;
use crate::damaged;
use crate::digest::{ByDigest, Digest};
use crate::regular::{self, Links};
use crate::whole;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes of the largest cache that is read: twenty million files.
pub(super) const CACHE_BYTES_MAX: u64 = 2 << 30;

/// What is read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes of the shortest row: two texts.
const ROW_BYTES_MIN: u64 = 48;
/// Bytes of the longest row: two texts with their lengths, and seven numbers of at most ten bytes.
const ROW_BYTES_MAX: usize = 1 + 16 + 1 + 32 + 7 * 10;

pub(super) const MAGIC: &[u8; 16] = b"repro stat 1\0\0\0\0";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) stat: FileStat,
    pub(super) digest: Digest,
    /// When hashing began.
    pub(super) recorded_ns: i64,
    /// When it was last asked for, in days since 1970.
    pub(super) used_day: u32,
}

pub(super) fn read(file: &Path) -> Entries {
    let opened = match regular::open(file, Links::Refuse) {
        Ok(opened) => opened,
        Err(e) if damaged::is_damage(&e) => {
            damaged::set_aside(file, &e.to_string());
            return Entries::default();
        }
        // Missing, or the disk's fault.
        Err(_) => return Entries::default(),
    };
    let bytes_total = opened.metadata().map_or(0, |meta| meta.len());
    match decode(opened, bytes_total) {
        Ok(Some(entries)) => entries,
        Ok(None) => {
            damaged::set_aside(file, "its checksum is wrong");
            Entries::default()
        }
        Err(_) => Entries::default(),
    }
}

/// Stands for a path: 128 bits of its BLAKE3. Nobody lists the paths, and 100,000 strings cost more
/// to load than all the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PathKey([u8; 16]);

impl PathKey {
    pub(super) fn of(path: &str) -> PathKey {
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]);
        PathKey(key)
    }
}

pub(super) type Entries = ByDigest<PathKey, Entry>;

/// An entry on the disk, borrowed from the bytes read.
#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow, serialize_with = "as_bytes")]
    path: &'a [u8],
    #[serde(borrow, serialize_with = "as_bytes")]
    digest: &'a [u8],
    stat: FileStat,
    recorded_ns: i64,
    used_day: u32,
}

pub(super) fn as_bytes<S: serde::Serializer>(
    bytes: &&[u8],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Magic, BLAKE3 of the rest, number of rows (8 bytes), rows.
pub(super) fn write(file: &Path, entries: &Entries) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    whole::write_checked(file, dir, MAGIC, |body| {
        body.write_all(&(entries.len() as u64).to_le_bytes())?;
        for (path, e) in entries {
            let row = Row {
                path: &path.0,
                digest: &e.digest.0,
                stat: e.stat,
                recorded_ns: e.recorded_ns,
                used_day: e.used_day,
            };
            postcard::to_io(&row, &mut *body).map_err(io::Error::other)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// `None`: this is no such file, or it is damaged. It is never in memory as a whole.
pub(super) fn decode(file: impl Read, bytes_total: u64) -> io::Result<Option<Entries>> {
    let mut file = file.take(CACHE_BYTES_MAX);
    let mut head = [0; MAGIC.len() + 32];
    let mut count = [0; 8];
    for part in [&mut head[..], &mut count] {
        if let Err(e) = file.read_exact(part) {
            return match e.kind() {
                io::ErrorKind::UnexpectedEof => Ok(None),
                _ => Err(e),
            };
        }
    }
    let Some(check) = head.strip_prefix(MAGIC) else {
        return Ok(None);
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&count);
    let count = u64::from_le_bytes(count);
    // The count is not believed before the checksum is: no more room than the file warrants.
    let room = usize::try_from(count.min(bytes_total / ROW_BYTES_MIN)).unwrap_or(0);
    let mut entries = Entries::with_capacity_and_hasher(room, Default::default());
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        let kept = piece.len();
        (&mut file)
            .take((PIECE_BYTES - kept) as u64)
            .read_to_end(&mut piece)?;
        hasher.update(&piece[kept..]);
        let is_end = piece.len() < PIECE_BYTES;
        let mut rest = &piece[..];
        while rest.len() >= ROW_BYTES_MAX || (is_end && !rest.is_empty()) {
            let Ok((row, after)) = postcard::take_from_bytes::<Row>(rest) else {
                return Ok(None);
            };
            let (Ok(path), Ok(digest)) = (row.path.try_into(), row.digest.try_into()) else {
                return Ok(None);
            };
            let entry = Entry {
                stat: row.stat,
                digest: Digest(digest),
                recorded_ns: row.recorded_ns,
                used_day: row.used_day,
            };
            entries.insert(PathKey(path), entry);
            rest = after;
        }
        if is_end {
            break;
        }
        let done = piece.len() - rest.len();
        piece.drain(..done);
    }
    let is_whole =
        hasher.finalize() == blake3::Hash::from_slice(check).unwrap_or_else(|_| [0; 32].into());
    Ok((is_whole && entries.len() as u64 == count).then_some(entries))
}

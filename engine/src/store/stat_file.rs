//! The file in which the stat cache is kept: entries as they are written and read.
//!
//! What cannot be read is no cache: nothing here is believed without a look at the files.

use super::sys::FileStat;
use crate::damaged;
use crate::digest::{ByDigest, Digest};
use crate::regular::{self, Links};
use crate::whole;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// Bytes of the largest cache that is read: twenty million files.
pub(super) const CACHE_BYTES_MAX: u64 = 2 << 30;

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
    let why = match regular::read(file, Links::Refuse, CACHE_BYTES_MAX) {
        Ok(bytes) => match decode(&bytes) {
            Some(entries) => return entries,
            None => "its checksum is wrong".to_owned(),
        },
        Err(e) if damaged::is_damage(&e) => e.to_string(),
        // Missing, or the disk's fault.
        Err(_) => return Entries::default(),
    };
    damaged::set_aside(file, &why);
    Entries::default()
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

pub(super) fn decode(bytes: &[u8]) -> Option<Entries> {
    let (check, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(32)?;
    if blake3::hash(body).as_bytes() != check {
        return None;
    }
    let (count, mut rest) = body.split_first_chunk::<8>()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    // A row is at least 48 bytes long: no count can ask for more memory than the file warrants.
    let mut entries =
        Entries::with_capacity_and_hasher(count.min(body.len() / 48), Default::default());
    for _ in 0..count {
        let row: Row;
        (row, rest) = postcard::take_from_bytes(rest).ok()?;
        let digest = Digest(row.digest.try_into().ok()?);
        let entry = Entry {
            stat: row.stat,
            digest,
            recorded_ns: row.recorded_ns,
            used_day: row.used_day,
        };
        entries.insert(PathKey(row.path.try_into().ok()?), entry);
    }
    rest.is_empty().then_some(entries)
}

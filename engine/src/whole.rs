//! Files that are replaced whole: readers see the old bytes or the new ones.

use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::digest::Digest;

/// What is hashed at once.
const PIECE_BYTES: usize = 64 << 10;

/// Replaces a file that can be made again: whether it outlives a power failure matters little. What
/// a kill leaves half written lies in `scratch_dir`, which is on the same file system and made
/// where it is missing.
pub fn write(path: &Path, scratch_dir: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(scratch_dir)?;
    beside(path, scratch_dir, 0o644, |mut file| file.write_all(bytes))
}

/// As [`write()`], of bytes that are never in memory as a whole.
pub fn write_in_pieces(
    path: &Path,
    scratch_dir: &Path,
    pieces: impl FnOnce(&mut BufWriter<&fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    fs::create_dir_all(scratch_dir)?;
    beside(path, scratch_dir, 0o644, |file| {
        let mut file = BufWriter::new(file);
        pieces(&mut file)?;
        file.flush()
    })
}

/// As [`write_in_pieces()`], with `head` and the BLAKE3 of the pieces before them. Gives that back.
pub fn write_checked(
    path: &Path,
    scratch_dir: &Path,
    head: &[u8],
    pieces: impl FnOnce(&mut BufWriter<Hashing<'_>>) -> io::Result<()>,
) -> io::Result<Digest> {
    fs::create_dir_all(scratch_dir)?;
    let mut check = Digest([0; 32]);
    beside(path, scratch_dir, 0o644, |mut file| {
        file.write_all(head)?;
        file.write_all(&check.0)?;
        let hasher = blake3::Hasher::new();
        let mut body = BufWriter::with_capacity(PIECE_BYTES, Hashing { file, hasher });
        pieces(&mut body)?;
        let body = body.into_inner().map_err(io::IntoInnerError::into_error)?;
        check = Digest(*body.hasher.finalize().as_bytes());
        file.seek(SeekFrom::Start(head.len() as u64))?;
        file.write_all(&check.0)
    })?;
    Ok(check)
}

/// Hashes what is written to a file.
pub struct Hashing<'f> {
    file: &'f fs::File,
    hasher: blake3::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// As [`write()`]; nobody else can read the file.
pub fn write_private(path: &Path, scratch_dir: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(scratch_dir)?;
    beside(path, scratch_dir, 0o600, |mut file| file.write_all(bytes))
}

/// As [`write()`], in the directory of the file.
pub fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, dir_of(path), bytes)
}

/// Replaces a file that people wrote: it keeps its mode, and the new bytes are on the disk before
/// the old ones go.
pub fn write_lasting(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(0o644, |m| m.permissions().mode() & 0o777);
    beside(path, dir_of(path), mode, |mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    })
}

fn dir_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn beside(
    path: &Path,
    dir: &Path,
    mode: u32,
    fill: impl FnOnce(&fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(dir)?;
    // Where the file system keeps no permissions it shows every file alike.
    let _ = file.as_file().set_permissions(Permissions::from_mode(mode));
    fill(file.as_file())?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

//! Copying bytes from file to file: shared blocks where the file system can, and holes stay holes,
//! so that a sparse file of a terabyte is copied in the time and space of what it holds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom as Seeking, seek};
use rustix::io::Errno;

/// The unit of [`MetadataExt::blocks`].
const BLOCK: u64 = 512;

/// Copies a file to a new one, which can be executed if the first one can.
///
/// # Errors
/// Of the system; something is at `to` already.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode() & 0o777;
    copy_to_new(&mut source, to, mode)
}

/// Copies all of `from` to a new file. The mode is asked for when that is made: a file system may
/// refuse to change one.
pub(super) fn copy_to_new(from: &mut File, to: &Path, mode: u32) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode);
    copy_contents(from, &mut options.open(to)?)
}

/// Copies all of `from` to `to`, which is empty.
///
/// # Errors
/// Of the system.
pub fn copy_contents(from: &mut File, to: &mut File) -> io::Result<()> {
    // Once blocks could not be shared it is not tried again: one call and one error less per file.
    static NO_CLONES: AtomicBool = AtomicBool::new(false);
    if !NO_CLONES.load(Ordering::Relaxed) {
        match reflink_copy::reflink_file(&*from, &*to) {
            Ok(()) => return Ok(()),
            Err(_) => NO_CLONES.store(true, Ordering::Relaxed),
        }
    }
    let meta = from.metadata()?;
    // Far fewer blocks than bytes: there are holes, or the file system compresses, and then looking
    // costs little.
    match meta.blocks().saturating_mul(BLOCK) < meta.len() {
        true => copy_sparse(from, to, meta.len()),
        false => io::copy(from, to).map(drop),
    }
}

fn copy_sparse(from: &mut File, to: &mut File, bytes_total: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes_total {
        let begin = match seek(&*from, Seeking::Data(at)) {
            Ok(begin) => begin,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // The file system does not tell where its holes are.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e.into()),
        };
        let end = match seek(&*from, Seeking::Hole(begin)) {
            Ok(end) => end,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => bytes_total,
            Err(e) => return Err(e.into()),
        };
        from.seek(SeekFrom::Start(begin))?;
        to.seek(SeekFrom::Start(begin))?;
        let copied = io::copy(&mut (&mut *from).take(end - begin), to)?;
        if copied == 0 {
            break;
        }
        at = begin + copied;
    }
    // A hole at the end is made by the length alone. Who cut the file meanwhile is found out by its
    // stat.
    to.set_len(bytes_total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn case_61_holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let new = |name: &str| {
            let options = &mut File::options();
            options.read(true).write(true).create(true).truncate(true);
            options.open(path(name)).unwrap()
        };
        for (name, pieces, bytes_total) in [
            ("empty", vec![], 0),
            ("full", vec![(0, 3 << 20)], 3 << 20),
            ("hole", vec![], 2u64 << 30),
            ("ends in a hole", vec![(0, 5000)], 2 << 30),
            ("begins with one", vec![((2 << 30) - 7, 7)], 2 << 30),
            ("islands", vec![(1 << 20, 100_000), (1 << 30, 1)], 2 << 30),
        ] {
            let mut from = new("from");
            for (at, bytes) in &pieces {
                let piece: Vec<u8> = (0..*bytes as u32).map(|i| i as u8 | 1).collect();
                from.write_all_at(&piece, *at).unwrap();
            }
            from.set_len(bytes_total).unwrap();
            let mut to = new("to");
            copy_contents(&mut from, &mut to).unwrap();
            let (a, b) = (from.metadata().unwrap(), to.metadata().unwrap());
            assert_eq!((b.len(), a.len()), (bytes_total, bytes_total), "{name}");
            assert!(b.blocks() <= a.blocks() + 128, "{name}: {}", b.blocks());
            for (at, bytes) in pieces {
                let mut piece = vec![0; bytes as usize];
                to.read_exact_at(&mut piece, at).unwrap();
                let is_same = piece.iter().enumerate().all(|(i, b)| *b == i as u8 | 1);
                assert!(is_same, "{name}");
            }
        }
    }
}

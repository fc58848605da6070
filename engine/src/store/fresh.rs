//! Files that are new, and files that are still the same.

use std::fs::{self, File};
use std::path::Path;

/// Makes a file that must not exist.
pub(crate) fn new_file(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

/// The path still names the open file: nobody has removed it between open and lock.
pub(crate) fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(a), Ok(b)) if a.ino() == b.ino() && a.dev() == b.dev())
}

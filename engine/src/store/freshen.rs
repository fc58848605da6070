//! What is used becomes young again, so that no collection takes it.

use std::fs;
use std::path::Path;

/// Using a record makes it young again, at most once in this time.
const FRESHEN_S: u64 = 3600;

/// Makes a used record young again. Failing is harmless as long as a lease names it.
pub(super) fn freshen(path: &Path, meta: &fs::Metadata) {
    let is_old = meta
        .modified()
        .ok()
        .and_then(|t| t.elapsed().ok())
        .is_some_and(|age| age.as_secs() > FRESHEN_S);
    if is_old {
        let _ = super::sys::touch(path);
    }
}

//! Which files of the project a command got as copies that hold what their digests say: whatever
//! happens to the originals while it runs, that is what it read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::placing::Placed;
use super::{InputOrigin, Request};
use crate::store::StatCache;

/// The originals of such copies. What was mounted or linked, even in part, is none of them, nor
/// what differs.
pub fn faithful(request: &Request, work: &Path, placed: &Placed) -> BTreeSet<PathBuf> {
    // Digests only: nothing is remembered.
    let stats = StatCache::load(work, Path::new(""));
    let mut found = BTreeSet::new();
    for input in &request.inputs {
        let (InputOrigin::ProjectFile(origin)
        | InputOrigin::Outside(origin)
        | InputOrigin::Assembled { of: origin, .. }) = &input.origin
        else {
            continue;
        };
        let at = input.placed_at.under(work);
        let is_own = fs::symlink_metadata(&at).is_ok_and(|meta| !meta.is_symlink())
            && placed.input_at(&at).is_none();
        let is_faithful = || {
            let content = stats.digest_path(&input.placed_at);
            content.is_ok_and(|content| content.to_string() == input.digest)
        };
        if is_own && is_faithful() {
            found.insert(origin.clone());
        }
    }
    found
}

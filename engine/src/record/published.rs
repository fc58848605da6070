//! What a remote is known to have of this project's results: a run that publishes need not ask for
//! each of them, each time.
//!
//! ```text
//! .repro/published/<remote>   which storage this is about, and since when; 32 bytes for each result
//! ```
//!
//! Only a memory: losing it costs a question for each result. It ends after a week, since a remote
//! can be emptied or lost.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::{Content, Digest};
use crate::regular::{self, Links};
use crate::whole;

/// What was heard before is asked again.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of the largest file that is read: two million results.
const BYTES_MAX: u64 = 64 << 20;

/// See the module.
#[derive(Debug)]
pub struct OnRemote {
    path: PathBuf,
    head: String,
    known: HashSet<Digest>,
    has_news: bool,
}

impl OnRemote {
    /// What is known of the remote of that name, while it is `storage`.
    pub fn load(state_dir: &Path, name: &str, storage: &str) -> OnRemote {
        let path = state_dir.join("published").join(name);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let known = read(&path, storage, now);
        let has_news = false;
        let (since, known) = known.unwrap_or((now, HashSet::new()));
        let head = format!("{}\n{since}\n", storage.escape_debug());
        OnRemote {
            path,
            head,
            known,
            has_news,
        }
    }

    /// The name of a result: its action, and what that gave.
    pub fn name<'a>(key: &Digest, outputs: impl Iterator<Item = &'a Content>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key.0);
        for content in outputs {
            hasher.update(content.to_string().as_bytes());
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// The remote has it.
    pub fn has(&self, name: &Digest) -> bool {
        self.known.contains(name)
    }

    /// The remote has it from now on.
    pub fn add(&mut self, name: Digest) {
        self.has_news |= self.known.insert(name);
    }

    /// Writes it back. What cannot be kept costs questions.
    pub fn save(&mut self) {
        let (true, Some(dir)) = (self.has_news, self.path.parent()) else {
            return;
        };
        self.has_news = false;
        let mut bytes = self.head.clone().into_bytes();
        let mut all: Vec<&Digest> = self.known.iter().collect();
        all.sort_unstable();
        bytes.extend(all.into_iter().flat_map(|name| name.0));
        let _ = whole::write(&self.path, dir, &bytes);
    }
}

/// Since when, and what; `None` where that says nothing of this storage, now.
fn read(path: &Path, storage: &str, now: u64) -> Option<(u64, HashSet<Digest>)> {
    let bytes = regular::read(path, Links::Refuse, BYTES_MAX).ok()?;
    let head = format!("{}\n", storage.escape_debug());
    let rest = bytes.strip_prefix(head.as_bytes())?;
    let end = rest.iter().position(|b| *b == b'\n')?;
    let since: u64 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let age = now.checked_sub(since)?;
    let names = rest[end + 1..].chunks_exact(32);
    let names = names.filter_map(|name| Some(Digest(name.try_into().ok()?)));
    (age < AGE_MAX.as_secs()).then(|| (since, names.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_2_what_a_remote_has_is_remembered_for_that_storage_only() {
        let dir = tempfile::tempdir().unwrap();
        let name = Digest::of(b"a");
        let load = |storage| OnRemote::load(dir.path(), "lab", storage);
        let mut known = load("s3://a");
        assert!(!known.has(&name));
        known.add(name);
        known.save();
        assert!(load("s3://a").has(&name));
        assert!(!load("s3://b").has(&name));
        // Not for ever, and nothing from a clock that was wrong.
        let path = dir.path().join("published/lab");
        let now = 2_000_000_000;
        for (since, is_known) in [
            (now, true),
            (now - 6 * 86_400, true),
            (now - 8 * 86_400, false),
            (now + 1, false),
        ] {
            let mut bytes = format!("s3://a\n{since}\n").into_bytes();
            bytes.extend(name.0);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path, "s3://a", now).is_some(), is_known, "{since}");
        }
        std::fs::write(&path, "s3://a\nx").unwrap();
        assert!(!load("s3://a").has(&name));
    }
}

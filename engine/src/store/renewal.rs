//! Lock files that are held are stamped anew all the while; an owner that cannot be asked after and
//! has been silent for long is dead.
//!
//! That decides only where a lock says nothing: on file systems that grant it to every machine for
//! itself, or have none.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::fresh::new_file;
use super::owner;
use super::sys::{FileStat, touch_open};

/// One small write to a server per lock; a dozen of them may fail, or come late, before anybody
/// takes the owner for dead.
pub(super) const INTERVAL: Duration = Duration::from_secs(20);

/// Thirty intervals: longer than a server restarts, than clients remember old times (a minute, NFS)
/// and than the clocks of one cluster differ, where the machines' own clocks stamp the files
/// (Lustre, GPFS, SMB).
const SILENCE: Duration = Duration::from_secs(600);

/// How long a look at a file system's clock serves: waiting for a lock asks every 100 ms.
const CLOCK_SERVES: Duration = Duration::from_secs(60);

/// A lock file that is stamped while this lives.
#[derive(Debug)]
pub(super) struct Renewed(Arc<File>);

impl Renewed {
    pub fn new(file: File) -> Renewed {
        let file = Arc::new(file);
        let mut held = HELD.lock().unwrap_or_else(|e| e.into_inner());
        held.files.push(Arc::downgrade(&file));
        if !held.is_renewing {
            // Without a thread the locks grow old, which matters on odd file systems only.
            let thread = std::thread::Builder::new().name("renewal".to_owned());
            held.is_renewing = thread.spawn(renew_while_held).is_ok();
        }
        Renewed(file)
    }

    pub fn file(&self) -> &File {
        &self.0
    }
}

struct Held {
    files: Vec<Weak<File>>,
    is_renewing: bool,
}

/// Of all stores of this process: they may be many, in tests, and one thread is enough.
static HELD: Mutex<Held> = Mutex::new(Held {
    files: Vec::new(),
    is_renewing: false,
});

fn renew_while_held() {
    loop {
        std::thread::sleep(INTERVAL);
        let mut held = HELD.lock().unwrap_or_else(|e| e.into_inner());
        held.files.retain(|file| file.strong_count() > 0);
        if held.files.is_empty() {
            held.is_renewing = false;
            return;
        }
        drop(held);
        renew();
    }
}

/// Stamps what is held. A server that does not answer keeps nobody else waiting.
fn renew() {
    let held = HELD.lock().unwrap_or_else(|e| e.into_inner());
    let files = held.files.clone();
    drop(held);
    for file in files.iter().filter_map(Weak::upgrade) {
        // The next time may go better.
        let _ = touch_open(&file);
    }
}

/// Whether nobody has stamped this file of `dir` for long, by the clock of its file system. Where
/// that cannot be read (a store that is only read) nobody is silent.
pub(super) fn is_silent(file: &File, dir: &Path) -> bool {
    let Ok(meta) = file.metadata() else {
        return false;
    };
    let silence_ns = i64::try_from(SILENCE.as_nanos()).unwrap_or(i64::MAX);
    clock_ns(dir).is_some_and(|now| now.saturating_sub(FileStat::of(&meta).mtime_ns) > silence_ns)
}

/// What the clock says that stamps files in `dir`.
fn clock_ns(dir: &Path) -> Option<i64> {
    static SEEN: Mutex<Option<HashMap<PathBuf, (Instant, i64)>>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(|e| e.into_inner());
    let seen = seen.get_or_insert_default();
    if let Some((at, then_ns)) = seen.get(dir)
        && at.elapsed() < CLOCK_SERVES
    {
        return then_ns.checked_add(i64::try_from(at.elapsed().as_nanos()).ok()?);
    }
    // Named as a lock, so that it is swept if we die here.
    let path = dir.join(format!("{}.lock", owner::new_name()));
    let file = new_file(&path).ok()?;
    let at = Instant::now();
    // As locks are stamped: it may be another clock that stamps new files.
    let stamped = touch_open(&file).and_then(|()| file.metadata());
    let _ = fs::remove_file(&path);
    let now_ns = FileStat::of(&stamped.ok()?).mtime_ns;
    seen.insert(dir.to_owned(), (at, now_ns));
    Some(now_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn case_48_what_is_held_is_stamped_and_what_was_left_falls_silent() {
        let dir = tempfile::tempdir().unwrap();
        let old = |name: &str| {
            let file = File::create(dir.path().join(name)).unwrap();
            let then = SystemTime::now() - SILENCE * 2;
            file.set_modified(then).unwrap();
            file
        };
        let (held, left) = (Renewed::new(old("held")), old("left"));
        let dropped = Renewed::new(old("dropped")).file().try_clone().unwrap();
        assert!(is_silent(held.file(), dir.path()));
        renew();
        assert!(!is_silent(held.file(), dir.path()));
        assert!(is_silent(&left, dir.path()));
        assert!(is_silent(&dropped, dir.path()));
        // No clock, no verdict.
        assert!(!is_silent(&left, &dir.path().join("none")));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}

//! Leases: what a running process uses, so that gc in another process leaves it alone.
//!
//! A lease is a file that its owner holds a flock on and appends roots to. No flock, no lease: the
//! kernel ends it with its owner (where flocks mean nothing: `owner.rs`). Its first line is the
//! time it began; whatever was made since is kept too.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::dead::take_dead;
use super::error::{StoreError, at};
use super::owner::new_name;
use super::renewal::Renewed;
use super::scratch::lock_new;
use super::sys::now_ns;
use super::{Root, Store};
use crate::regular::{self, Links};
use foldhash::HashSet;

/// Bytes of the largest lease that is read: more roots than any plan has.
const LEASE_BYTES_MAX: u64 = 1 << 30;

/// A live claim on parts of the store.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    file: Renewed,
    roots: HashSet<Root>,
    pass: Option<Pass>,
}

/// Many look-ups in a row: gc is held off once for all of them, and the lease is written once.
#[derive(Debug)]
struct Pass {
    _gc_held_off: File,
    unwritten: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Lease {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn add(&self, root: Root) {
        let held = &mut *self.held();
        if !held.roots.insert(root) {
            return;
        }
        match &mut held.pass {
            Some(pass) => root.push_line(&mut pass.unwritten),
            // Failing (a full disk) only means that a gc at this very time could cost a re-run.
            None => {
                let mut line = String::new();
                root.push_line(&mut line);
                drop(held.file.file().write_all(line.as_bytes()));
            }
        }
    }

    /// Gc is held off already.
    pub(super) fn is_in_pass(&self) -> bool {
        self.held().pass.is_some()
    }
}

/// What the live leases of a store say.
#[derive(Debug, Default)]
pub(super) struct LeasedRoots {
    pub roots: HashSet<Root>,
    /// The beginning of the oldest.
    pub since_ns: Option<i64>,
}

impl Store {
    /// From now until this `Store` is dropped or the process ends, gc keeps what this process looks
    /// up, commits or names with [`Store::use_root`]. A store that cannot be written has no gc
    /// either, so failing is no danger there.
    pub fn start_lease(&self) -> Result<(), StoreError> {
        if self.lease.get().is_some() {
            return Ok(());
        }
        let _gc_held_off = self.hold_gc_off()?;
        loop {
            let path = self.root.join("leases").join(new_name());
            let Some(mut file) = lock_new(&path)? else {
                continue;
            };
            file.write_all(format!("since {}\n", now_ns()).as_bytes())
                .map_err(at(&path, "write the lease"))?;
            // If another thread was faster its lease serves, and this one is dropped.
            let _ = self.lease.set(Lease {
                path,
                held: Mutex::new(Held {
                    file: Renewed::new(file),
                    roots: HashSet::default(),
                    pass: None,
                }),
            });
            return Ok(());
        }
    }

    /// From now until [`Store::end_pass`] gc waits, so that look-ups cost no lock each. Without a
    /// lease nothing changes.
    pub fn begin_pass(&self) {
        if let Some(lease) = self.lease.get()
            && let Ok(lock) = self.hold_gc_off()
        {
            lease.held().pass = Some(Pass {
                _gc_held_off: lock,
                unwritten: String::new(),
            });
        }
    }

    /// What was looked up in the pass is in the lease now, and gc may work.
    pub fn end_pass(&self) {
        let Some(lease) = self.lease.get() else {
            return;
        };
        let held = &mut *lease.held();
        if let Some(pass) = held.pass.take() {
            // As in `add`. The lock goes after the writing.
            let _ = held.file.file().write_all(pass.unwritten.as_bytes());
        }
    }

    /// Looks whether something is there. With a lease it is named in there first, and no gc comes
    /// in between: what was seen, stays.
    pub fn look_leased<T>(&self, root: Root, look: impl FnOnce() -> T) -> T {
        let Some(lease) = self.lease.get() else {
            return look();
        };
        let _gc_held_off = match lease.is_in_pass() {
            true => None,
            false => self.hold_gc_off().ok(),
        };
        lease.add(root);
        look()
    }

    /// Adds to the lease, if there is one.
    pub fn use_root(&self, root: Root) {
        if let Some(lease) = self.lease.get() {
            lease.add(root);
        }
    }

    /// Reads the live leases and removes the dead. The caller keeps everybody else from adding.
    pub(super) fn live_leases(&self) -> Result<LeasedRoots, StoreError> {
        let dir = self.root.join("leases");
        let mut leased = LeasedRoots::default();
        for entry in crate::dir::read(&dir).map_err(at(&dir, "list the leases"))? {
            let path = entry.map_err(at(&dir, "list the leases"))?.path();
            if let Some(_dead) = take_dead(&path) {
                let _ = fs::remove_file(&path);
                continue;
            }
            read_lease(&path, &mut leased)?;
        }
        Ok(leased)
    }
}

fn read_lease(path: &Path, leased: &mut LeasedRoots) -> Result<(), StoreError> {
    let text = match regular::read_text(path, Links::Refuse, LEASE_BYTES_MAX) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(at(path, "read the lease")(e)),
    };
    // A lease without its first line has just begun.
    let since_ns = text
        .lines()
        .next()
        .and_then(|l| l.strip_prefix("since ")?.parse().ok())
        .unwrap_or_else(now_ns);
    leased.since_ns = Some(leased.since_ns.map_or(since_ns, |s| s.min(since_ns)));
    leased.roots.extend(
        text.lines()
            .skip(1)
            .filter_map(|line| line.parse::<Root>().ok()),
    );
    Ok(())
}

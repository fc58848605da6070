//! Leases: what a running process uses, so that gc in another process leaves it alone.
//!
//! A lease is a file that its owner holds a flock on and appends roots to. No flock, no lease: the kernel ends it with its
//! owner. Its first line is the time it began; whatever was made since is kept too.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::{StoreError, at};
use super::session::{lock_new, owner_name, take_dead};
use super::sys::now_ns;
use super::{Root, Store};

/// A live claim on parts of the store.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    held: Mutex<(File, HashSet<Root>)>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Lease {
    pub(super) fn add(&self, root: Root) {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        if held.1.insert(root) {
            // Failing (a full disk) only means that a gc at this very time could cost a re-run.
            let _ = held.0.write_all(format!("{root}\n").as_bytes());
        }
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
    /// From now until this `Store` is dropped or the process ends, gc keeps what this process looks up, commits or names
    /// with [`Store::use_root`]. A store that cannot be written has no gc either, so failing is no danger there.
    pub fn start_lease(&self) -> Result<(), StoreError> {
        if self.lease.get().is_some() {
            return Ok(());
        }
        let _gc_held_off = self.hold_gc_off()?;
        loop {
            let path = self.root.join("leases").join(owner_name());
            let Some(mut file) = lock_new(&path)? else {
                continue;
            };
            file.write_all(format!("since {}\n", now_ns()).as_bytes())
                .map_err(at(&path, "write the lease"))?;
            // If another thread was faster its lease serves, and this one is dropped.
            let _ = self.lease.set(Lease {
                path,
                held: Mutex::new((file, HashSet::new())),
            });
            return Ok(());
        }
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
        for entry in fs::read_dir(&dir).map_err(at(&dir, "list the leases"))? {
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
    let text = match fs::read_to_string(path) {
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

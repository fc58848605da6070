//! Commit: finished actions become results, many at once.
//!
//! Order is everything here. (1) Every staged file gets its name. (2) One `syncfs` makes names and
//! bytes of the whole batch durable. (3) Seals and records are written. So a record exists only if
//! what it names is durable (I1); a crash before (3) leaves unsealed objects nobody names, which
//! the next owner of the same bytes hashes before using them, and makes durable before a record
//! names them: a seal, and nothing else, says that something is on the disk.
//!
//! All the while gc is held off, so an object found to be there already cannot be swept before its
//! record is written.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};

use crate::digest::{Content, Digest};

use super::error::{StoreError, at};
use super::objects::{Class, Published, Sealed, Staged};
use super::sys::{FileStat, sync_file_and_name, sync_filesystem};
use super::{Record, Root, Store, crash_point};

/// A finished action that waits for its commit.
#[derive(Debug)]
pub struct Pending {
    /// What will be recorded.
    pub record: Record,
    /// The bytes of its outputs, as far as they are new.
    pub staged: Staged,
}

/// What became of a [`Pending`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The name of the result.
    pub result: Digest,
    /// The result was not known for this key before.
    pub is_new: bool,
    /// Other results known for the same key: the action is not deterministic.
    pub others: Vec<Digest>,
}

/// What a commit has given names, or found to have them.
#[derive(Default)]
struct PublishedSet {
    names: HashMap<(Class, Digest), Published>,
    /// Something else that records name was found without a seal.
    others_need_sync: bool,
}

impl PublishedSet {
    fn needs_sync(&self) -> bool {
        self.others_need_sync || self.unsynced().next().is_some()
    }

    /// What may not be durable, and how it looked when its bytes were right.
    fn unsynced(&self) -> impl Iterator<Item = (Class, Digest, FileStat)> + '_ {
        self.names
            .iter()
            .filter_map(|(id, published)| match published {
                Published::Now(stat) => Some((id.0, id.1, *stat)),
                Published::Durably => None,
            })
    }
}

impl Store {
    /// Makes results of finished actions, with one wait for the disk. The answers are in the order
    /// of the batch; one action's trouble (an output changed meanwhile) does not touch the others.
    pub fn commit(&self, batch: Vec<Pending>) -> Vec<Result<Committed, StoreError>> {
        let mut outcomes: Vec<Result<(), StoreError>> = Vec::with_capacity(batch.len());
        let Ok(gc_held_off) = self.hold_gc_off() else {
            return batch
                .iter()
                .map(|_| Err(self.hold_gc_off().err().unwrap_or(StoreError::Cancelled)))
                .collect();
        };
        let mut published = PublishedSet::default();
        for pending in &batch {
            outcomes.push(self.publish_all(pending, &mut published));
        }
        crash_point("commit.published");
        if published.needs_sync()
            && let Err(e) = sync_filesystem(&self.root)
        {
            let mut error = Some(at(&self.root, "flush to the disk")(e));
            let again = || StoreError::Io {
                path: self.root.clone(),
                doing: "flush to the disk",
                source: std::io::Error::other("the batch failed as a whole"),
            };
            return batch
                .iter()
                .map(|_| Err(error.take().unwrap_or_else(again)))
                .collect();
        }
        crash_point("commit.synced");
        self.seal(&published);
        let commits = batch.iter().zip(outcomes).map(|(pending, outcome)| {
            outcome?;
            let is_new = self.write_record(&pending.record)?;
            if let Some(lease) = self.lease.get() {
                lease.add(Root::Action(pending.record.key));
            }
            let others = self.other_results(&pending.record);
            Ok(Committed {
                result: pending.record.result(),
                is_new,
                others,
            })
        });
        let commits = commits.collect();
        crash_point("commit.done");
        drop(gc_held_off);
        commits
    }

    fn publish_all(
        &self,
        pending: &Pending,
        published: &mut PublishedSet,
    ) -> Result<(), StoreError> {
        for item in &pending.staged.items {
            let id = (item.class, item.digest);
            if let std::collections::hash_map::Entry::Vacant(e) = published.names.entry(id) {
                e.insert(self.publish(item)?);
                crash_point("commit.one_published");
            }
        }
        let given: HashSet<(Class, Digest)> = pending
            .staged
            .items
            .iter()
            .map(|i| (i.class, i.digest))
            .collect();
        for content in pending.record.outputs.values() {
            // Staged with the action: then all of it was. Otherwise it must have been here before.
            if !given.contains(&(content.shape.into(), content.digest)) {
                match self.has_sealed(content)? {
                    Some(Sealed::Yes) => {}
                    Some(Sealed::No) => published.others_need_sync = true,
                    None => {
                        let what = content.to_string();
                        return Err(StoreError::Missing { what });
                    }
                }
            }
        }
        Ok(())
    }

    /// Seals what was published and is durable by now, if it still is what was hashed.
    fn seal(&self, published: &PublishedSet) {
        let seals = published.unsynced().filter_map(|(class, digest, hashed)| {
            let stat = FileStat::of(&fs::symlink_metadata(self.named(class.dir(), &digest)).ok()?);
            stat.same_bytes(&hashed).then_some((digest, stat))
        });
        self.seals.add(&seals.collect::<Vec<_>>());
    }

    /// Gives staged bytes their names without a record, durably: for states, and for artifacts
    /// fetched from elsewhere.
    pub fn keep(&self, content: &Content, staged: Staged) -> Result<(), StoreError> {
        let _gc_held_off = self.hold_gc_off()?;
        if let Some(lease) = self.lease.get() {
            lease.add(Root::Content(content.shape, content.digest));
        }
        let mut published = PublishedSet::default();
        for item in &staged.items {
            let now = self.publish(item)?;
            let names = &mut published.names;
            names.entry((item.class, item.digest)).or_insert(now);
        }
        let new: Vec<_> = published.unsynced().collect();
        match new[..] {
            [] => {}
            // One large file: no reason to wait for everybody else's.
            [(class, digest, _)] => {
                let path = self.named(class.dir(), &digest);
                sync_file_and_name(&path).map_err(at(&path, "flush to the disk"))?;
            }
            _ => sync_filesystem(&self.root).map_err(at(&self.root, "flush to the disk"))?,
        }
        self.seal(&published);
        Ok(())
    }

    /// While the answer lives, no gc removes anything.
    pub(super) fn hold_gc_off(&self) -> Result<File, StoreError> {
        let lock = self.gc_lock()?;
        match lock.lock_shared() {
            Err(e) if !super::scratch::is_lockless(&e) => {
                Err(at(&self.root.join("gc.lock"), "lock")(e))
            }
            _ => Ok(lock),
        }
    }
}

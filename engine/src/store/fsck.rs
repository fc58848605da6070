//! Checking a whole store: every byte is read, every name compared, every reference followed.
//!
//! Repairing moves what is wrong to `quarantine/`: what needs it is a miss then, and runs again.
//! Nothing is deleted.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::digest::{Content, Digest, Shape};
use crate::regular::{self, Links};

use super::actions::read_records;
use super::error::{StoreError, at};
use super::objects::{Class, LISTING_BYTES_MAX};
use super::{Listing, Store, states};

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file in the store.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What was done about it.
    pub remedy: Remedy,
}

/// See [`Finding::remedy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: repairing was not asked for, or failed for this reason.
    None(Option<String>),
    /// It is in `quarantine/` now; what needs it runs again.
    MovedAside,
    /// Made right in place.
    Fixed,
    /// It does no harm and is none of ours.
    LeftAlone,
}

/// What fsck did.
#[derive(Clone, Debug, Default)]
pub struct FsckReport {
    /// Files hashed.
    pub objects: usize,
    /// Tree listings read.
    pub trees: usize,
    /// Records read.
    pub records: usize,
    /// States read.
    pub states: usize,
    /// Bytes hashed.
    pub bytes_total: u64,
    /// What is wrong, in the order of paths.
    pub findings: Vec<Finding>,
}

struct Check<'a> {
    store: &'a Store,
    repair: bool,
    report: FsckReport,
    objects: HashSet<Digest>,
    trees: BTreeMap<Digest, Listing>,
}

impl Store {
    /// Reads everything. `repair`: moves aside what is wrong.
    pub fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError> {
        // A gc beside it would look like damage. A store that cannot be written has no gc.
        let _gc_held_off = match self.hold_gc_off() {
            Err(e) if !e.is_write_refused() => return Err(e),
            other => other.ok(),
        };
        let report = FsckReport::default();
        let mut check = Check {
            store: self,
            repair,
            report,
            objects: HashSet::new(),
            trees: BTreeMap::new(),
        };
        // Records first: while others commit, what a record names was there before it, so it is
        // still found afterwards.
        let records = check.records()?;
        let states = check.states()?;
        check.named(Class::Tree)?;
        check.named(Class::Object)?;
        check.trees_complete();
        check.references(records, "record");
        check.references(states, "state");
        check.seals();
        check.report.findings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(check.report)
    }
}

/// A file and what it names.
type References = Vec<(PathBuf, Vec<Content>)>;

impl Check<'_> {
    fn finding(&mut self, path: &Path, problem: impl Into<String>, remedy: Remedy) {
        self.report.findings.push(Finding {
            path: path.to_owned(),
            problem: problem.into(),
            remedy,
        });
    }

    fn bad(&mut self, path: &Path, problem: impl Into<String>) {
        let remedy = if self.repair {
            let name = path
                .strip_prefix(&self.store.root)
                .unwrap_or(path)
                .to_string_lossy()
                .replace('/', "-");
            match fs::rename(path, self.store.quarantine_path(&name)) {
                Ok(()) => Remedy::MovedAside,
                Err(e) => Remedy::None(Some(e.to_string())),
            }
        } else {
            Remedy::None(None)
        };
        self.finding(path, problem, remedy);
    }

    /// Entries with a good name; the others are told of.
    fn entries(
        &mut self,
        dir: &str,
        want_dir: bool,
    ) -> Result<Vec<(PathBuf, Digest, fs::Metadata)>, StoreError> {
        let mut good = Vec::new();
        for (path, digest, meta) in self.store.named_entries(dir)? {
            match digest {
                Some(digest) if meta.is_dir() == want_dir && (want_dir || meta.is_file()) => {
                    good.push((path, digest, meta));
                }
                Some(_) => self.bad(&path, "this should be a regular file"),
                None => self.finding(&path, "this name means nothing here", Remedy::LeftAlone),
            }
        }
        Ok(good)
    }

    fn records(&mut self) -> Result<References, StoreError> {
        let mut references = Vec::new();
        for (dir, key, _) in self.entries("actions", true)? {
            for found in read_records(&dir, &key).map_err(at(&dir, "read the records"))? {
                self.report.records += 1;
                match found.record {
                    Ok(record) => {
                        references.push((found.path, record.outputs.values().copied().collect()));
                    }
                    Err(why) => self.bad(&found.path, format!("the record is corrupt: {why}")),
                }
            }
        }
        Ok(references)
    }

    fn states(&mut self) -> Result<References, StoreError> {
        let mut references = Vec::new();
        for (path, key, _) in self.entries("states", false)? {
            self.report.states += 1;
            let text = regular::read(&path, Links::Refuse, states::STATE_BYTES_MAX)
                .map_err(at(&path, "read it"))?;
            match states::decode(&text, &key) {
                Ok(state) => references.push((path, vec![state.content])),
                Err(why) => self.bad(&path, format!("the state is corrupt: {why}")),
            }
        }
        Ok(references)
    }

    fn named(&mut self, class: Class) -> Result<(), StoreError> {
        let entries = self.entries(class.dir(), false)?;
        let hashed: Vec<_> = entries
            .par_iter()
            .map(|(path, _, _)| class.hash_file(path))
            .collect();
        for ((path, digest, meta), hashed) in entries.iter().zip(hashed) {
            match class {
                Class::Object => self.report.objects += 1,
                Class::Tree => self.report.trees += 1,
            }
            match hashed {
                Ok((found, bytes)) => {
                    self.report.bytes_total += bytes;
                    if found != *digest {
                        self.bad(path, format!("its bytes hash to {found}"));
                        continue;
                    }
                }
                Err(e) => {
                    self.bad(path, format!("it cannot be read: {e}"));
                    continue;
                }
            }
            if meta.permissions().mode() & 0o222 != 0 {
                self.writable(path);
            }
            match class {
                Class::Object => drop(self.objects.insert(*digest)),
                Class::Tree => match regular::read(path, Links::Refuse, LISTING_BYTES_MAX)
                    .map_err(|e| e.to_string())
                    .and_then(|b| Listing::parse(&b).map_err(|e| e.to_string()))
                {
                    Ok(listing) => drop(self.trees.insert(*digest, listing)),
                    Err(why) => self.bad(path, why),
                },
            }
        }
        Ok(())
    }

    fn writable(&mut self, path: &Path) {
        let remedy = match self
            .repair
            .then(|| fs::set_permissions(path, Permissions::from_mode(0o444)))
        {
            Some(Ok(())) => Remedy::Fixed,
            Some(Err(e)) => Remedy::None(Some(e.to_string())),
            None => Remedy::None(None),
        };
        self.finding(
            path,
            "it is writable, so it could be changed by accident",
            remedy,
        );
    }

    /// A tree that lacks a file is as good as absent.
    fn trees_complete(&mut self) {
        let lacking: Vec<(Digest, String)> = self
            .trees
            .iter()
            .filter_map(|(tree, listing)| {
                let (path, digest, _, _) = listing
                    .files()
                    .find(|(_, digest, _, _)| !self.objects.contains(digest))?;
                Some((
                    *tree,
                    format!("its file `{path}` ({digest}) is missing or corrupt"),
                ))
            })
            .collect();
        for (tree, problem) in lacking {
            self.trees.remove(&tree);
            let path = self.store.named(Class::Tree.dir(), &tree);
            self.bad(&path, problem);
        }
    }

    fn references(&mut self, references: References, what: &str) {
        for (path, contents) in references {
            let lacking = contents.iter().find(|content| match content.shape {
                Shape::File | Shape::Program => !self.objects.contains(&content.digest),
                Shape::Tree => !self.trees.contains_key(&content.digest),
            });
            if let Some(content) = lacking {
                self.bad(
                    &path,
                    format!("the {what} names {content}, which is missing or corrupt"),
                );
            }
        }
    }

    fn seals(&mut self) {
        let bad = self.store.seals.bad_entries();
        if bad > 0 {
            let path = self.store.root.join("seals");
            let remedy = match self.repair.then(|| self.store.seals.compact(|_| true)) {
                Some(Ok(())) => Remedy::Fixed,
                Some(Err(e)) => Remedy::None(Some(e.to_string())),
                None => Remedy::None(None),
            };
            self.finding(
                &path,
                format!(
                    "{bad} entries are damaged; the objects they are about are hashed before use"
                ),
                remedy,
            );
        }
    }
}

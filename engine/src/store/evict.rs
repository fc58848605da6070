//! Bringing the store below a size, for machines whose disk is a cache.
//!
//! What goes first is what is cheap to make again for its size and was not used for long: a
//! result's worth is the measured seconds of its execution per byte it alone keeps, divided by the
//! time since its last use. That is GreedyDual-Size with ages in place of an inflating floor, which
//! would have to be remembered between processes. Pinned results, and what running processes use,
//! stay.

use foldhash::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::{Content, Digest, Shape};

use super::actions::read_records;
use super::error::{StoreError, at};
use super::gc::mtime_ns;
use super::objects::Class;
use super::sys::now_ns;
use super::{GcPlan, GoneAction, Root, Store};

/// Seconds every result is taken to cost at least: looking it up and starting a process.
const COST_MIN_S: f64 = 0.05;
/// Bytes every result is taken to keep at least: its record.
const BYTES_MIN: u64 = 4096;

struct Candidate {
    path: PathBuf,
    gone: GoneAction,
    files: Vec<(Class, Digest)>,
    idle_h: f64,
    stays: bool,
}

impl Store {
    /// Removes results until objects and listings take no more than `bytes_max`, or says which it
    /// would remove. It may end above, where what stays is more.
    ///
    /// # Errors
    /// Of the store; nothing that stays is damaged.
    pub fn evict(&self, bytes_max: u64, really: bool) -> Result<GcPlan, StoreError> {
        let lock = self.gc_lock()?;
        let path = self.root.join("gc.lock");
        match really {
            true => lock.lock().map_err(at(&path, "lock"))?,
            false => lock.lock_shared().map_err(at(&path, "lock"))?,
        }
        let plan = self.plan_eviction(bytes_max)?;
        if really {
            self.carry_out(&plan, Duration::MAX)?;
        }
        Ok(plan)
    }

    fn plan_eviction(&self, bytes_max: u64) -> Result<GcPlan, StoreError> {
        let leased = self.live_leases()?;
        let mut keep: HashSet<Root> = leased.roots;
        keep.extend(self.pins()?);
        // A second of slack: files are stamped by a clock that ticks, sometimes in seconds.
        let since_ns = leased
            .since_ns
            .map(|since| since.saturating_sub(1_000_000_000));
        let is_in_use = |ns: i64| since_ns.is_some_and(|since| ns >= since);
        let mut plan = GcPlan::default();
        let mut sizes: HashMap<(Class, Digest), (PathBuf, u64, bool)> = HashMap::default();
        for class in [Class::Tree, Class::Object] {
            for (path, digest, meta) in self.named_files(class.dir())? {
                plan.bytes_before += meta.len();
                let in_use = is_in_use(mtime_ns(&meta));
                sizes.insert((class, digest), (path, meta.len(), in_use));
            }
        }
        let mut owners: HashMap<(Class, Digest), usize> = HashMap::default();
        for root in &keep {
            if let Root::Content(shape, digest) = root {
                for file in self.files_of(*shape, *digest) {
                    *owners.entry(file).or_default() += 1;
                }
            }
        }
        let mut candidates = self.eviction_candidates(&keep, is_in_use)?;
        for file in candidates.iter().flat_map(|c| &c.files) {
            *owners.entry(*file).or_default() += 1;
        }
        let mut bytes_left = plan.bytes_before;
        let remove = |file: &(Class, Digest), plan: &mut GcPlan, bytes_left: &mut u64| {
            if let Some((path, bytes, in_use)) = sizes.get(file)
                && !in_use
            {
                plan.add_file(file.0, path.clone(), *bytes);
                *bytes_left -= bytes;
            }
        };
        // What no record names serves nobody but the computation that left it; states are among
        // that.
        if bytes_left > bytes_max {
            let mut unnamed: Vec<(Class, Digest)> = sizes
                .keys()
                .filter(|file| !owners.contains_key(*file))
                .copied()
                .collect();
            unnamed.sort_unstable();
            for file in &unnamed {
                remove(file, &mut plan, &mut bytes_left);
            }
            self.states_without(&mut plan)?;
        }
        let worth = |candidate: &Candidate| {
            let alone = candidate
                .files
                .iter()
                .filter(|f| owners.get(*f) == Some(&1));
            let bytes: u64 = alone.filter_map(|f| Some(sizes.get(f)?.1)).sum();
            let cost_s = candidate.gone.wall_s.unwrap_or(0.0).max(COST_MIN_S);
            cost_s / bytes.max(BYTES_MIN) as f64 / (candidate.idle_h + 1.0)
        };
        candidates.retain(|candidate| !candidate.stays);
        let mut ordered: Vec<(f64, Candidate)> = candidates
            .into_iter()
            .map(|candidate| (worth(&candidate), candidate))
            .collect();
        ordered.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.path.cmp(&b.1.path)));
        for (_, candidate) in ordered {
            if bytes_left <= bytes_max {
                break;
            }
            plan.add_record(candidate.path, candidate.gone);
            for file in candidate.files {
                let left = owners.entry(file).or_insert(1);
                *left -= 1;
                if *left == 0 {
                    remove(&file, &mut plan, &mut bytes_left);
                }
            }
        }
        Ok(plan)
    }

    fn eviction_candidates(
        &self,
        keep: &HashSet<Root>,
        is_in_use: impl Fn(i64) -> bool,
    ) -> Result<Vec<Candidate>, StoreError> {
        let now_ns = now_ns();
        let mut candidates = Vec::new();
        for (dir, key) in self.named_dirs("actions")? {
            for found in read_records(&dir, &key).map_err(at(&dir, "read the records"))? {
                let used_ns = mtime_ns(&found.meta);
                let Ok(record) = found.record else { continue };
                let files: HashSet<(Class, Digest)> = record
                    .outputs
                    .values()
                    .flat_map(|content: &Content| self.files_of(content.shape, content.digest))
                    .collect();
                candidates.push(Candidate {
                    path: found.path,
                    files: files.into_iter().collect(),
                    idle_h: now_ns.saturating_sub(used_ns).max(0) as f64 / 3.6e12,
                    stays: keep.contains(&Root::Action(key)) || is_in_use(used_ns),
                    gone: GoneAction {
                        key,
                        wall_s: record.wall_s(),
                        preimage: record.preimage,
                    },
                });
            }
        }
        Ok(candidates)
    }

    /// A file, or a tree's listing with all its files.
    fn files_of(&self, shape: Shape, digest: Digest) -> HashSet<(Class, Digest)> {
        let mut marks = super::gc::Marks::default();
        self.mark(shape, digest, &mut marks);
        let objects = marks.objects.into_iter().map(|d| (Class::Object, d));
        let trees = marks.trees.into_iter().map(|d| (Class::Tree, d));
        objects.chain(trees).collect()
    }
}

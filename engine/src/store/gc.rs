//! Garbage collection: what may go, and sweeping it.
//!
//! Kept are the caller's roots, pins, what live leases name, and whatever is younger than the grace
//! age or than the oldest live lease; from kept records everything they name, through trees. While
//! gc works it holds `gc.lock` exclusively: commits and leased look-ups wait (a second, for a large
//! store), so nothing can come into use between marking and sweeping. What goes, goes in an order
//! that keeps I1 at every moment: states, records, (sync), trees, objects.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::digest::{Digest, Shape};
use crate::regular::{self, Links};

use super::actions::read_records;
use super::error::{StoreError, at};
use super::objects::{Class, LISTING_BYTES_MAX};
use super::sys::{FileStat, now_ns, sync_filesystem};
use super::{Listing, Store, crash_point, states};

/// Something gc has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// An action's records and all they name.
    Action(Digest),
    /// An artifact.
    Content(Shape, Digest),
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, digest) = self.parts();
        write!(f, "{word}:{digest}")
    }
}

impl Root {
    fn parts(&self) -> (&'static str, &Digest) {
        match self {
            Root::Action(key) => ("action", key),
            Root::Content(shape, digest) => (shape.word(), digest),
        }
    }

    /// Adds it to a list with one per line; every instance of a run is on one.
    pub(super) fn push_line(&self, lines: &mut String) {
        let (word, digest) = self.parts();
        lines.push_str(word);
        lines.push(':');
        digest.with_hex(|hex| lines.push_str(hex));
        lines.push('\n');
    }
}

impl FromStr for Root {
    type Err = String;
    fn from_str(text: &str) -> Result<Root, String> {
        let bad = || format!("`{text}` is not action:, file:, program: or tree: and a digest");
        let (kind, digest) = text.split_once(':').ok_or_else(bad)?;
        let digest = digest.parse().map_err(|_| bad())?;
        match kind {
            "action" => Ok(Root::Action(digest)),
            word => match Shape::from_word(word) {
                Some(shape) => Ok(Root::Content(shape, digest)),
                None => Err(bad()),
            },
        }
    }
}

/// How old things must be to go.
#[derive(Clone, Copy, Debug)]
pub struct GcPolicy {
    /// Records, and bytes that no record names.
    pub grace: Duration,
    /// Resumable states.
    pub states_grace: Duration,
}

/// A result that goes.
#[derive(Clone, Debug, PartialEq)]
pub struct GoneAction {
    /// Its key.
    pub key: Digest,
    /// Its pre-image, to tell what it was.
    pub preimage: String,
    /// What making it again would cost: `wall_s` of the observation, where it has one.
    pub wall_s: Option<f64>,
}

impl GoneAction {
    /// Seconds that making all of them again would cost, as far as that is known.
    pub fn cost_s(all: &[GoneAction]) -> f64 {
        let known = all.iter().filter_map(|action| action.wall_s);
        // The sum of nothing is -0.
        known.fold(0.0, |sum, wall_s| sum + wall_s)
    }
}

/// What gc removes, or would.
#[derive(Clone, Debug, Default)]
pub struct GcPlan {
    /// Results.
    pub actions: Vec<GoneAction>,
    /// Number of states.
    pub states: usize,
    /// Number of files' bytes.
    pub objects: usize,
    /// Number of tree listings.
    pub trees: usize,
    /// Size of the objects and listings.
    pub bytes_total: u64,
    /// Size of all objects and listings before.
    pub bytes_before: u64,
    paths: Paths,
}

#[derive(Clone, Debug, Default)]
struct Paths {
    states: Vec<PathBuf>,
    records: Vec<PathBuf>,
    trees: Vec<PathBuf>,
    objects: Vec<PathBuf>,
}

/// What must stay.
#[derive(Default)]
pub(super) struct Marks {
    pub objects: HashSet<Digest>,
    pub trees: HashSet<Digest>,
}

impl GcPlan {
    /// Objects and trees that go.
    fn bytes_gone(&self) -> HashSet<Digest> {
        let paths = self.paths.trees.iter().chain(&self.paths.objects);
        paths.filter_map(|path| digest_of(path)).collect()
    }

    pub(super) fn add_record(&mut self, path: PathBuf, gone: GoneAction) {
        self.actions.push(gone);
        self.paths.records.push(path);
    }

    pub(super) fn add_state(&mut self, path: PathBuf) {
        self.states += 1;
        self.paths.states.push(path);
    }

    pub(super) fn add_file(&mut self, class: Class, path: PathBuf, bytes: u64) {
        self.bytes_total += bytes;
        match class {
            Class::Object => {
                self.objects += 1;
                self.paths.objects.push(path);
            }
            Class::Tree => {
                self.trees += 1;
                self.paths.trees.push(path);
            }
        }
    }
}

impl Store {
    /// What [`Store::gc`] would remove now. Touches nothing.
    pub fn gc_plan(&self, roots: &HashSet<Root>, policy: &GcPolicy) -> Result<GcPlan, StoreError> {
        let _gc_held_off = self.hold_gc_off()?;
        self.plan(roots, policy)
    }

    /// Removes what nothing needs, and says what that was. Waits for commits under way. Empty
    /// directories stay.
    pub fn gc(&self, roots: &HashSet<Root>, policy: &GcPolicy) -> Result<GcPlan, StoreError> {
        let lock = self.gc_lock()?;
        lock.lock()
            .map_err(at(&self.root.join("gc.lock"), "lock"))?;
        let plan = self.plan(roots, policy)?;
        self.carry_out(&plan, policy.grace)?;
        Ok(plan)
    }

    /// Removes what a plan names. The caller keeps committers out.
    pub(super) fn carry_out(&self, plan: &GcPlan, grace: Duration) -> Result<(), StoreError> {
        let remove = |paths: &[PathBuf]| {
            paths
                .iter()
                .try_for_each(|path| match fs::remove_file(path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        Err(at(path, "remove it")(e))
                    }
                    _ => Ok(()),
                })
        };
        remove(&plan.paths.states)?;
        remove(&plan.paths.records)?;
        // A power failure must not bring a record back without its objects.
        if !plan.paths.records.is_empty() {
            sync_filesystem(&self.root).map_err(at(&self.root, "flush to the disk"))?;
        }
        crash_point("gc.records_gone");
        remove(&plan.paths.trees)?;
        for tree in plan.paths.trees.iter().filter_map(|p| digest_of(p)) {
            self.remove_view(&tree);
        }
        crash_point("gc.trees_gone");
        remove(&plan.paths.objects)?;
        let gone = plan.bytes_gone();
        let _ = self.seals.compact(|digest| !gone.contains(digest));
        super::scratch::sweep(&self.root.join("tmp"));
        self.sweep_locks();
        self.sweep_quarantine(grace);
        self.sweep_notes(grace);
        Ok(())
    }

    /// Lock files of processes that died.
    fn sweep_locks(&self) {
        for entry in crate::dir::read(self.root.join("locks"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Some(_dead) = super::dead::take_dead(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Corrupt bytes that nobody cared to look at. A rename keeps mtime, so the age is that of the
    /// move, by ctime.
    fn sweep_quarantine(&self, grace: Duration) {
        for entry in crate::dir::read(self.root.join("quarantine"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let moved_ns = entry
                .metadata()
                .map_or(i64::MAX, |m| FileStat::of(&m).ctime_ns);
            if u128::try_from(now_ns().saturating_sub(moved_ns))
                .is_ok_and(|age| age > grace.as_nanos())
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn plan(&self, roots: &HashSet<Root>, policy: &GcPolicy) -> Result<GcPlan, StoreError> {
        let leased = self.live_leases()?;
        let mut keep: HashSet<Root> = roots.iter().copied().chain(leased.roots).collect();
        keep.extend(self.pins()?);
        let young_ns = |grace: Duration| {
            let limit =
                now_ns().saturating_sub(i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX));
            // A second of slack: files are stamped by a clock that ticks, sometimes in seconds.
            leased.since_ns.map_or(limit, |since| {
                limit.min(since.saturating_sub(1_000_000_000))
            })
        };
        let mut plan = GcPlan::default();
        let mut marks = Marks::default();
        for root in &keep {
            if let Root::Content(shape, digest) = root {
                self.mark(*shape, *digest, &mut marks);
            }
        }
        self.plan_records(&keep, young_ns(policy.grace), &mut plan, &mut marks)?;
        self.plan_states(young_ns(policy.states_grace), &mut plan, &mut marks)?;
        for (path, digest, meta) in self.named_files(Class::Tree.dir())? {
            plan.bytes_before += meta.len();
            if marks.trees.contains(&digest) {
                continue;
            }
            if mtime_ns(&meta) >= young_ns(policy.grace) {
                self.mark(Shape::Tree, digest, &mut marks);
                continue;
            }
            plan.trees += 1;
            plan.bytes_total += meta.len();
            plan.paths.trees.push(path);
        }
        for (path, digest, meta) in self.named_files(Class::Object.dir())? {
            plan.bytes_before += meta.len();
            if !marks.objects.contains(&digest) && mtime_ns(&meta) < young_ns(policy.grace) {
                plan.objects += 1;
                plan.bytes_total += meta.len();
                plan.paths.objects.push(path);
            }
        }
        Ok(plan)
    }

    fn plan_records(
        &self,
        keep: &HashSet<Root>,
        young_ns: i64,
        plan: &mut GcPlan,
        marks: &mut Marks,
    ) -> Result<(), StoreError> {
        for (dir, key) in self.named_dirs("actions")? {
            for found in read_records(&dir, &key).map_err(at(&dir, "read the records"))? {
                let stays = keep.contains(&Root::Action(key)) || mtime_ns(&found.meta) >= young_ns;
                match found.record {
                    Ok(record) if stays => {
                        record
                            .outputs
                            .values()
                            .for_each(|content| self.mark(content.shape, content.digest, marks));
                    }
                    Ok(record) => {
                        let wall_s = record.wall_s();
                        plan.actions.push(GoneAction {
                            key,
                            preimage: record.preimage,
                            wall_s,
                        });
                        plan.paths.records.push(found.path);
                    }
                    // What it named is unknown, and it is a miss anyway; fsck tells of it.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn plan_states(
        &self,
        young_ns: i64,
        plan: &mut GcPlan,
        marks: &mut Marks,
    ) -> Result<(), StoreError> {
        for (path, key, meta) in self.named_files("states")? {
            let state = regular::read(&path, Links::Refuse, states::STATE_BYTES_MAX)
                .map_err(|e| e.to_string())
                .and_then(|text| states::decode(&text, &key));
            match state {
                Ok(state) if mtime_ns(&meta) >= young_ns => {
                    self.mark(state.content.shape, state.content.digest, marks);
                }
                _ => {
                    plan.states += 1;
                    plan.paths.states.push(path);
                }
            }
        }
        Ok(())
    }

    pub(super) fn mark(&self, shape: Shape, digest: Digest, marks: &mut Marks) {
        match shape {
            Shape::File | Shape::Program => drop(marks.objects.insert(digest)),
            Shape::Tree => {
                if marks.trees.insert(digest)
                    && let Some(listing) = regular::read(
                        &self.named("trees", &digest),
                        Links::Refuse,
                        LISTING_BYTES_MAX,
                    )
                    .ok()
                    .and_then(|b| Listing::parse(&b).ok())
                {
                    marks
                        .objects
                        .extend(listing.files().map(|(_, digest, _, _)| digest));
                }
            }
        }
    }

    /// Adds the states whose bytes the plan removes.
    pub(super) fn states_without(&self, plan: &mut GcPlan) -> Result<(), StoreError> {
        let gone = plan.bytes_gone();
        for (path, key, _) in self.named_files("states")? {
            let state = regular::read(&path, Links::Refuse, states::STATE_BYTES_MAX)
                .map_err(|e| e.to_string())
                .and_then(|text| states::decode(&text, &key));
            if !state.is_ok_and(|state| !gone.contains(&state.content.digest)) {
                plan.add_state(path);
            }
        }
        Ok(())
    }

    /// Keeps something until [`Store::unpin`].
    pub fn pin(&self, root: Root) -> Result<(), StoreError> {
        let path = self.root.join("pins").join(root.to_string());
        let options = &mut File::options();
        regular::open_with(&path, Links::Refuse, options.create(true).append(true))
            .map(drop)
            .map_err(at(&path, "write the pin"))
    }

    /// Ends a pin; `false` if there was none.
    pub fn unpin(&self, root: Root) -> Result<bool, StoreError> {
        let path = self.root.join("pins").join(root.to_string());
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(at(&path, "remove the pin")(e)),
        }
    }

    /// All pins.
    pub fn pins(&self) -> Result<Vec<Root>, StoreError> {
        let dir = self.root.join("pins");
        let entries = crate::dir::read(&dir).map_err(at(&dir, "list the pins"))?;
        let mut pins: Vec<Root> = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect();
        pins.sort();
        Ok(pins)
    }

    /// Everything named `<dir>/ab/<62 hex>`. Other names are left alone; fsck tells of them.
    pub(super) fn named_entries(
        &self,
        dir: &str,
    ) -> Result<Vec<(PathBuf, Option<Digest>, fs::Metadata)>, StoreError> {
        let top = self.root.join(dir);
        let mut found = Vec::new();
        for half in crate::dir::read(&top).map_err(at(&top, "list it"))? {
            let half = half.map_err(at(&top, "list it"))?.path();
            if !half.is_dir() {
                let meta = fs::symlink_metadata(&half).map_err(at(&half, "look at it"))?;
                found.push((half, None, meta));
                continue;
            }
            for entry in crate::dir::read(&half).map_err(at(&half, "list it"))? {
                let entry = entry.map_err(at(&half, "list it"))?;
                let path = entry.path();
                match entry.metadata() {
                    Ok(meta) => found.push((path.clone(), digest_of(&path), meta)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(at(&path, "look at it")(e)),
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    pub(super) fn named_files(
        &self,
        dir: &str,
    ) -> Result<impl Iterator<Item = (PathBuf, Digest, fs::Metadata)>, StoreError> {
        Ok(self
            .named_entries(dir)?
            .into_iter()
            .filter(|e| e.2.is_file())
            .filter_map(|(p, d, m)| Some((p, d?, m))))
    }

    pub(super) fn named_dirs(
        &self,
        dir: &str,
    ) -> Result<impl Iterator<Item = (PathBuf, Digest)>, StoreError> {
        Ok(self
            .named_entries(dir)?
            .into_iter()
            .filter(|e| e.2.is_dir())
            .filter_map(|(p, d, _)| Some((p, d?))))
    }
}

fn digest_of(path: &Path) -> Option<Digest> {
    let tail = path.file_name()?.to_str()?;
    let head = path.parent()?.file_name()?.to_str()?;
    (head.len() == 2).then(|| format!("{head}{tail}").parse().ok())?
}

pub(super) fn mtime_ns(meta: &fs::Metadata) -> i64 {
    FileStat::of(meta).mtime_ns
}

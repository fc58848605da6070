//! The walls around one process: what it may touch, what it sees, and where its temporary files
//! lie.
//!
//! Two mechanisms together, each by itself where the other is missing. A ruleset (`sandbox.rs`)
//! makes undeclared reads and writes fail. A room (`room.rs`) shows inputs under their own names
//! without a copy, makes all that is not the command's own unchangeable (also its mode, its times
//! and its attributes, which a ruleset does not know), and gives it `/tmp` and shared memory of its
//! own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::namespaces;
use super::placing::{Means, Mount};
use super::private_dir::PrivateDir;
use super::room::Namespaces;
use super::room::{Access, Room, Shared};
use super::sandbox::{self, Allowed, SHARED_MEMORY};
use super::{Cause, InputOrigin, Request, SandboxReport};
use crate::plan::{Network, Sandbox};

/// The directory for temporary files that programs know by name.
const TMP: &str = "/tmp";
/// A socket's path has at most 107 bytes, of which programs take up to 70 for names of their own.
const TMP_PATH_MAX: usize = 36;

/// See the module.
pub struct Walls {
    /// To be applied between fork and exec.
    pub ruleset: Option<OwnedFd>,
    /// What is to be said of them.
    pub report: SandboxReport,
    /// How inputs are to be placed.
    pub means: Means,
    tmp: Tmp,
    plan: Option<Plan>,
}

/// Where temporary files go.
enum Tmp {
    /// `/tmp`, the stage's own.
    Private(PathBuf),
    /// A directory whose path is short.
    Short(PathBuf),
    /// A directory made for the purpose, since the private one lies too deep.
    Made(tempfile::TempDir),
}

/// What the room will be like.
struct Plan {
    namespaces: Namespaces,
    shared: Shared,
    /// Only inputs are mounted: the sandbox is off.
    is_open: bool,
    /// Directories that hold something else inside.
    covers: Vec<PathBuf>,
    /// What a cover would hide and must not.
    shown: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

/// What a process beside its inputs and the system may touch.
#[derive(Default)]
pub struct Needs<'a> {
    /// Tools, its shell or interpreter.
    pub programs: Vec<&'a str>,
    /// To read.
    pub read: Vec<&'a Path>,
    /// To write, beside the directory of temporary files.
    pub write: Vec<&'a Path>,
    /// Inputs are read where they lie, not from the working directory.
    pub inputs_in_place: bool,
}

impl Walls {
    /// Decides what this machine and the stage's policy allow.
    ///
    /// # Errors
    /// The network is to be off and cannot be; a directory for temporary files cannot be made.
    pub fn around(request: &Request, dir: &PrivateDir, needs: Needs) -> Result<Walls, Cause> {
        let is_open = request.policy.sandbox == Sandbox::Off;
        let is_offline = request.policy.network == Network::Off;
        if is_offline {
            namespaces::without_network().map_err(|why| Cause::NetworkStaysOn { why })?;
        }
        let namespaces = namespaces::available();
        let covers = match (&namespaces, is_open) {
            (Ok(_), false) => covers(),
            _ => Vec::new(),
        };
        let tmp = match covers.first() {
            Some(_) => Tmp::Private(dir.tmp.clone()),
            None => Tmp::short(dir).map_err(|source| Cause::Io {
                what: "making a directory for temporary files".into(),
                source,
            })?,
        };
        let mut links = Vec::new();
        let mut read = needs.read;
        // A command's inputs lie in its private directory; a link there leads to where they are.
        let in_place = needs.inputs_in_place || namespaces.is_err();
        for input in request.inputs.iter().filter(|_| in_place) {
            let path = input.origin.path();
            if needs.inputs_in_place || !matches!(input.origin, InputOrigin::ProjectFile(_)) {
                read.push(path);
            }
            if matches!(
                input.origin,
                InputOrigin::TreeView(_) | InputOrigin::Assembled { .. }
            ) {
                linked_files(path, &request.store_roots, &mut links);
            }
        }
        read.extend(links.iter().map(AsRef::<Path>::as_ref));
        let mut write = needs.write.clone();
        write.push(tmp.outside());
        let allowed = Allowed {
            project_root: &request.project_root,
            programs: needs.programs,
            read,
            read_unlisted: if in_place { &request.store_roots } else { &[] },
            write,
            gpus: request.policy.gpus > 0,
            // In a room it is another one, which the room allows by itself.
            shared_memory: covers.is_empty() && !holds_ours(Path::new(SHARED_MEMORY), request),
        };
        let plan = match &namespaces {
            Err(_) => None,
            Ok(namespaces) => Some(Plan {
                namespaces: *namespaces,
                shared: match (is_offline, is_open) {
                    (true, _) => Shared::Nothing,
                    (false, true) => Shared::All,
                    (false, false) => Shared::Network,
                },
                is_open,
                shown: sandbox::readable_below(&allowed, &covers)
                    .into_iter()
                    .collect(),
                // What is under a cover is put there by itself.
                write: match covers.is_empty() {
                    true => allowed.write.iter().map(|p| (*p).to_owned()).collect(),
                    false => needs.write.iter().map(|p| (*p).to_owned()).collect(),
                },
                covers,
            }),
        };
        let (ruleset, report) = if is_open {
            (None, SandboxReport::Off)
        } else {
            match (sandbox::ruleset(&allowed), &namespaces) {
                (Ok(ruleset), Ok(_)) => (Some(ruleset), SandboxReport::Enforced),
                (Ok(ruleset), Err(why)) => {
                    let text = format!(
                        "{why}, so inputs are copies, or links where they are large, and {TMP} and shared memory are the machine's"
                    );
                    (Some(ruleset), SandboxReport::Degraded(text))
                }
                (Err(reason), _) => (None, SandboxReport::Unavailable(reason)),
            }
        };
        let means = match (&plan, &ruleset) {
            (Some(_), _) => Means::Mounts,
            (None, Some(_)) => Means::Links,
            (None, None) => Means::Copies,
        };
        Ok(Walls {
            ruleset,
            report,
            means,
            tmp,
            plan,
        })
    }

    /// What `TMPDIR` is for the process.
    pub fn tmp(&self) -> &Path {
        self.tmp.inside()
    }

    /// The same directory as this program sees it.
    pub fn tmp_outside(&self) -> &Path {
        self.tmp.outside()
    }

    /// The room, in which these mounts show the inputs; `None` where there is nothing to set up.
    ///
    /// # Errors
    /// A path cannot be given to the system.
    pub fn room(&self, work: &Path, mounts: &[Mount]) -> Result<Option<Room>, Cause> {
        let Some(plan) = &self.plan else {
            return Ok(None);
        };
        if plan.is_open && mounts.is_empty() && plan.shared == Shared::All {
            return Ok(None);
        }
        plan.furnish(&self.tmp, work, mounts)
            .map(Some)
            .map_err(|source| Cause::Io {
                what: "preparing what it sees".into(),
                source,
            })
    }
}

impl Tmp {
    fn short(dir: &PrivateDir) -> std::io::Result<Tmp> {
        if dir.tmp.as_os_str().len() <= TMP_PATH_MAX {
            return Ok(Tmp::Short(dir.tmp.clone()));
        }
        tempfile::Builder::new()
            .prefix("repro-")
            .tempdir()
            .map(Tmp::Made)
    }

    fn inside(&self) -> &Path {
        match self {
            Tmp::Private(_) => Path::new(TMP),
            Tmp::Short(path) => path,
            Tmp::Made(dir) => dir.path(),
        }
    }

    fn outside(&self) -> &Path {
        match self {
            Tmp::Private(path) | Tmp::Short(path) => path,
            Tmp::Made(dir) => dir.path(),
        }
    }
}

impl Plan {
    fn furnish(&self, tmp: &Tmp, work: &Path, mounts: &[Mount]) -> std::io::Result<Room> {
        let mut room = Room::new(self.namespaces, self.shared);
        let mut placed = Vec::with_capacity(mounts.len());
        for mount in mounts {
            placed.push((room.hold(&mount.from, Access::ReadOnly)?, &mount.at));
        }
        if !self.is_open {
            let mut shown = Vec::new();
            for path in &self.write {
                shown.push((room.hold(path, Access::AsOutside)?, path));
            }
            let is_inside = |path: &Path| self.write.iter().any(|w| path.starts_with(w));
            for path in self.shown.iter().filter(|p| !is_inside(p)) {
                shown.push((room.hold(path, Access::ReadOnly)?, path));
            }
            let tmp = room.hold(tmp.outside(), Access::AsOutside)?;
            room.everything_read_only();
            for cover in &self.covers {
                if cover == Path::new(SHARED_MEMORY) {
                    room.cover_by_memory(cover)?;
                } else {
                    room.put(tmp, cover)?;
                }
            }
            // Outer before inner.
            shown.sort_by(|a, b| a.1.cmp(b.1));
            for (slot, path) in shown {
                self.make_way(&mut room, path)?;
                room.put(slot, path)?;
            }
        }
        for (slot, at) in placed {
            room.put(slot, at)?;
        }
        room.go_to(work)?;
        Ok(room)
    }

    /// Makes what a mount needs to be put on, where a cover hides what was there.
    fn make_way(&self, room: &mut Room, path: &Path) -> std::io::Result<()> {
        let Some(cover) = self.covers.iter().find(|c| path.starts_with(c)) else {
            return Ok(());
        };
        let mut dirs: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|dir| dir != cover)
            .collect();
        dirs.reverse();
        for dir in dirs {
            room.make_dir(dir)?;
        }
        if path.is_dir() {
            room.make_dir(path)
        } else {
            room.make_file(path)
        }
    }
}

/// `/tmp` and shared memory, where they are directories; the first one decides. They stay what they
/// are.
fn covers() -> Vec<PathBuf> {
    static COVERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let real = |path: &str| Path::new(path).canonicalize().ok().filter(|p| p.is_dir());
    let find = || match real(TMP) {
        Some(tmp) => std::iter::once(tmp).chain(real(SHARED_MEMORY)).collect(),
        None => Vec::new(),
    };
    COVERS.get_or_init(find).clone()
}

/// Something lies there that a process must not write.
fn holds_ours(dir: &Path, request: &Request) -> bool {
    let mut ours = vec![&request.project_root, &request.dir];
    ours.extend(request.store_roots.iter());
    ours.iter().any(|path| {
        let real = path.canonicalize();
        path.starts_with(dir) || real.is_ok_and(|r| r.starts_with(dir))
    })
}

/// The files a view of a tree links to, outside of the roots that are allowed anyway.
fn linked_files(dir: &Path, roots: &[PathBuf], found: &mut Vec<PathBuf>) {
    for entry in crate::dir::read(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => linked_files(&path, roots, found),
            Ok(kind) if kind.is_symlink() => {
                let is_known = |t: &Path| roots.iter().any(|r| t.starts_with(r));
                // The usual link names its object outright: that is seen without asking the disk
                // again.
                if std::fs::read_link(&path).is_ok_and(|t| is_known(&t)) {
                    continue;
                }
                let target = path.canonicalize().ok();
                found.extend(target.filter(|t| !t.starts_with(dir) && !is_known(t)));
            }
            _ => {}
        }
    }
}

//! The sandbox: a Landlock allowlist that makes an undeclared read fail.
//!
//! Allowed are the system's directories, the installations of tools, the declared inputs (read),
//! and the private directory (write). The rest of the project and of the home directory is denied,
//! wherever these lie. The network is left alone. This is a check on declarations, not a wall
//! against hostile programs. Rulesets are built in the parent; the child only applies one.
//!
//! Landlock looks at files, not at names: where a room (`room.rs`) shows a file or a directory in
//! another place as well, the rules of both places hold. What only a mount forbids (changing modes,
//! times and attributes) it does not know.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope, make_bitflags,
};

use super::searched;

/// Reads, writes, renames and truncates are checked; newer kernels could also check ioctls and
/// sockets, which no declaration speaks of.
const CHECKED: ABI = ABI::V3;
/// Where the kernel can (6.12), signals and abstract sockets stay among the processes of one stage.
const SCOPED: ABI = ABI::V6;

/// Directories every program may read. What of them holds the project or the home directory is left
/// out.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/nix",
    "/gnu",
    "/snap",
    "/var/lib",
    "/var/cache",
];
/// Devices every program may write.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];
/// Where POSIX shared memory lies.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// What one process may touch beside the system.
pub struct Allowed<'a> {
    /// The project: denied but for what follows.
    pub project_root: &'a Path,
    /// Programs it names: tools, its shell.
    pub programs: Vec<&'a str>,
    /// Files and directories to read.
    pub read: Vec<&'a Path>,
    /// Directories whose files may be read, but which cannot be listed.
    pub read_unlisted: &'a [PathBuf],
    /// Directories to write.
    pub write: Vec<&'a Path>,
    /// Devices of GPUs too.
    pub gpus: bool,
    /// Shared memory may be written: it is private, or at least holds nothing of the project or the
    /// store.
    pub shared_memory: bool,
}

type Rights = BitFlags<AccessFs>;
type Rules = Vec<(PathFd, Rights)>;

fn reading() -> Rights {
    make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir})
}

/// The ruleset for a process, to be applied between fork and exec.
///
/// # Errors
/// Why this machine cannot enforce it, as a clause: `this kernel has no Landlock`.
pub fn ruleset(allowed: &Allowed) -> Result<OwnedFd, String> {
    #[cfg(test)]
    if tests_only::UNAVAILABLE.get() {
        return Err("a test says so".into());
    }
    let failed = |e: &dyn std::fmt::Display| format!("Landlock failed: {e}");
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(CHECKED))
        .and_then(|rules| rules.scope(Scope::from_all(SCOPED)))
        .and_then(Ruleset::create)
        .map_err(|e| failed(&e))?;
    for (fd, rights) in &system(allowed.project_root).rules {
        rules = rules
            .add_rule(PathBeneath::new(fd, *rights))
            .map_err(|e| failed(&e))?;
    }
    let mut more = BTreeSet::new();
    for program in &allowed.programs {
        more.extend(installation(program, allowed.project_root).iter().cloned());
    }
    for dir in &more {
        rules = add(rules, dir, reading()).map_err(|e| failed(&e))?;
    }
    for path in &allowed.read {
        if !allowed
            .read_unlisted
            .iter()
            .any(|root| path.starts_with(root))
        {
            rules = add(rules, path, reading()).map_err(|e| failed(&e))?;
        }
    }
    for path in allowed.read_unlisted {
        rules = add(rules, path, make_bitflags!(AccessFs::{Execute | ReadFile}))
            .map_err(|e| failed(&e))?;
    }
    for path in &allowed.write {
        rules = add(rules, path, writing()).map_err(|e| failed(&e))?;
    }
    if allowed.shared_memory {
        rules = add(rules, Path::new(SHARED_MEMORY), writing()).map_err(|e| failed(&e))?;
    }
    if allowed.gpus {
        for device in gpu_devices() {
            rules = add(rules, &device, writing()).map_err(|e| failed(&e))?;
        }
    }
    Option::<OwnedFd>::from(rules)
        .ok_or_else(|| "this kernel has no Landlock, or it is switched off".to_owned())
}

/// What a process may read that lies in one of these directories, outermost only: what a room must
/// still show where it covers them. The entries of `PATH` are among it as they are written, since
/// symlinks may lead there.
pub fn readable_below(allowed: &Allowed, covers: &[PathBuf]) -> BTreeSet<PathBuf> {
    // Asked first: it costs nothing, and most paths lie elsewhere.
    let is_covered = |p: &Path| covers.iter().any(|c| p.starts_with(c) && p != c);
    let system = system(allowed.project_root);
    let of_program = |program: &&str| installation(program, allowed.project_root);
    let programs: Vec<_> = allowed.programs.iter().map(of_program).collect();
    let installed = || {
        let more = programs.iter().flat_map(|dirs| dirs.iter());
        system.dirs.iter().chain(more)
    };
    let path = searched::path();
    let searched = std::env::split_paths(&path).filter(|dir| {
        is_covered(dir)
            && dir
                .canonicalize()
                .is_ok_and(|real| installed().any(|s| real.starts_with(s)))
    });
    let mut paths: BTreeSet<PathBuf> = searched.collect();
    let rest = installed()
        .map(PathBuf::as_path)
        .chain(allowed.read.iter().copied())
        .chain(allowed.read_unlisted.iter().map(PathBuf::as_path));
    let rest = rest.filter(|p| is_covered(p) && p.exists());
    paths.extend(rest.map(Path::to_owned));
    let all = paths.clone();
    paths.retain(|p| !p.ancestors().skip(1).any(|outer| all.contains(outer)));
    paths
}

/// The rights of a directory that may be written, as the kernel takes them: all, then those of
/// older kernels.
pub fn writing_bits() -> [u64; 3] {
    [ABI::V3, ABI::V2, ABI::V1].map(|abi| (writing() & AccessFs::from_all(abi)).bits())
}

fn writing() -> Rights {
    AccessFs::from_all(CHECKED) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock})
}

/// The directories of a program outside the system's. Remembered where there is one, because
/// finding them asks the disk fifty questions and most actions use the same shell; a program that
/// is installed later is still found.
fn installation(program: &str, project_root: &Path) -> Arc<BTreeSet<PathBuf>> {
    type Known = HashMap<(PathBuf, String), Arc<BTreeSet<PathBuf>>>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (project_root.to_owned(), program.to_owned());
    if let Some(dirs) = known().as_ref().and_then(|k| k.get(&key)) {
        return dirs.clone();
    }
    let mut dirs = searched::installation(program, &keep_out(project_root));
    let found = !dirs.is_empty();
    dirs.retain(|dir| !is_system(dir));
    let dirs = Arc::new(dirs);
    if found {
        known().get_or_insert_default().insert(key, dirs.clone());
    }
    dirs
}

/// Adds a rule; a path that does not exist needs none.
fn add(
    rules: RulesetCreated,
    path: &Path,
    rights: Rights,
) -> Result<RulesetCreated, landlock::RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => rules.add_rule(PathBeneath::new(fd, rights)),
        Err(_) => Ok(rules),
    }
}

/// The project, then the home directory; a home that is the root directory or holds the system
/// protects nothing.
fn keep_out(project_root: &Path) -> Vec<PathBuf> {
    let real = |p: PathBuf| p.canonicalize().unwrap_or(p);
    let mut dirs = vec![real(project_root.to_owned())];
    if let Some(home) = std::env::home_dir() {
        let home = real(home);
        if home.is_absolute() && !SYSTEM.iter().any(|s| Path::new(s).starts_with(&home)) {
            dirs.push(home);
        }
    }
    dirs
}

/// It lies where every command may read.
pub fn is_system(dir: &Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/etc"]
        .iter()
        .any(|s| dir.starts_with(s))
}

/// What is the same for every process of a project.
struct System {
    dirs: BTreeSet<PathBuf>,
    rules: Rules,
}

/// Its directories stay open for the whole run.
fn system(project_root: &Path) -> Arc<System> {
    static CACHE: Mutex<Option<(PathBuf, Arc<System>)>> = Mutex::new(None);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((root, system)) = &*cache
        && root == project_root
    {
        return system.clone();
    }
    let keep_out = keep_out(project_root);
    let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
    for dir in SYSTEM {
        allow_but(Path::new(dir), &keep_out, &mut dirs);
    }
    for dir in std::env::split_paths(&searched::path()) {
        for dir in searched::prefix(&dir, &keep_out) {
            allow_but(&dir, &keep_out, &mut dirs);
        }
    }
    for program in ["python3", "python"] {
        dirs.extend(searched::installation(program, &keep_out));
    }
    let mut rules: Rules = dirs
        .iter()
        .filter_map(|dir| Some((PathFd::new(dir).ok()?, reading())))
        .collect();
    rules.extend(
        DEVICES
            .iter()
            .filter_map(|dev| Some((PathFd::new(dev).ok()?, writing()))),
    );
    let system = Arc::new(System { dirs, rules });
    *cache = Some((project_root.to_owned(), system.clone()));
    system
}

/// Allows `dir`, but for the directories in `keep_out`: where it holds one, its other entries are
/// allowed one by one.
fn allow_but(dir: &Path, keep_out: &[PathBuf], dirs: &mut BTreeSet<PathBuf>) {
    let Ok(real) = dir.canonicalize() else { return };
    if keep_out.contains(&real) {
        return;
    }
    if !keep_out.iter().any(|k| k.starts_with(&real)) {
        dirs.insert(real);
        return;
    }
    for entry in crate::dir::read(&real).into_iter().flatten().flatten() {
        // A symlink here would lead out of the directory that was meant.
        if !entry.file_type().is_ok_and(|t| t.is_symlink()) {
            allow_but(&entry.path(), keep_out, dirs);
        }
    }
}

fn gpu_devices() -> Vec<PathBuf> {
    let entries = crate::dir::read("/dev").into_iter().flatten().flatten();
    let is_gpu = |name: &str| name.starts_with("nvidia") || name == "dri" || name == "kfd";
    entries
        .filter(|e| e.file_name().to_str().is_some_and(is_gpu))
        .map(|e| e.path())
        .collect()
}

#[cfg(test)]
pub mod tests_only {
    thread_local! {
        /// Makes [`super::ruleset`] report that it cannot enforce anything.
        pub static UNAVAILABLE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_directory_that_holds_the_project_is_allowed_but_for_it() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        for dir in ["opt/tool/bin", "opt/labs/project/src", "opt/labs/other"] {
            std::fs::create_dir_all(base.join(dir)).unwrap();
        }
        std::os::unix::fs::symlink(base.join("opt/labs/project"), base.join("opt/way-in")).unwrap();
        let mut dirs = BTreeSet::new();
        allow_but(
            &base.join("opt"),
            &[base.join("opt/labs/project")],
            &mut dirs,
        );
        assert_eq!(
            dirs,
            BTreeSet::from([base.join("opt/labs/other"), base.join("opt/tool")])
        );
        allow_but(
            &base.join("opt/labs/project"),
            &[base.join("opt/labs/project")],
            &mut dirs,
        );
        assert_eq!(dirs.len(), 2);
    }
}

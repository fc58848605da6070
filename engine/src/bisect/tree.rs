//! Two states of a project as directories, and a third one that is mixed of both.
//!
//! Commits are written out by git into `.repro/bisect`; the repository's own index and files stay
//! as they are. Of runs those files are written that differ from now, or from the other run. Files
//! that git does not track (data, environments) have no second state: the mixed
//! directory links to them. All of it is removed when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::state::{self, AtRun, Options, State};
use super::unit::{self, Unit};
use crate::git;
use crate::open::Opening;
use crate::project::Project;
use crate::spec::yaml::{Node, Report, read_all};
use crate::store::copy_file;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The first.
    Before,
    /// The second.
    After,
}

/// See the module.
#[derive(Debug)]
pub struct Mixed {
    /// Where all of it is.
    dir: PathBuf,
    /// The pipeline file, relative to the repository.
    pipeline: PathBuf,
    /// Its directory, relative to the repository.
    project: PathBuf,
    /// The options on both sides, where they are part of the question.
    options: Option<[Options; 2]>,
}

impl Drop for Mixed {
    fn drop(&mut self) {
        // Links are removed, not what they lead to.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Mixed {
    /// Of two states of a project.
    ///
    /// # Errors
    /// No repository, no such commit, a run that cannot be put together, a run beside a commit, or
    /// the file system's.
    pub fn new(opening: &Opening, project: &Project, sides: &[State; 2]) -> anyhow::Result<Mixed> {
        let dir = project.state().join("bisect");
        // A killed one may have left it.
        match fs::remove_dir_all(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => anyhow::bail!("cannot remove {}: {e}", dir.display()),
        }
        fs::create_dir_all(&dir)?;
        let has = |is: fn(&State) -> bool| sides.iter().any(is);
        match has(|side| matches!(side, State::Run(_))) {
            true if has(|side| matches!(side, State::Commit(_))) => {
                let _ = fs::remove_dir_all(&dir);
                anyhow::bail!("a run and a commit are not compared; name two runs, or two commits")
            }
            true => Mixed::of_runs(opening, project, sides, dir),
            false => Mixed::of_commits(project, sides, dir),
        }
    }

    fn of_commits(project: &Project, sides: &[State; 2], dir: PathBuf) -> anyhow::Result<Mixed> {
        let top = git::ask(&project.root, &["rev-parse", "--show-toplevel"]);
        let Some(top) = top.map(|top| PathBuf::from(top.trim_end_matches('\n'))) else {
            let _ = fs::remove_dir_all(&dir);
            anyhow::bail!(
                "`{}` is in no git repository: bisect compares commits, or runs (`repro log`)",
                project.root.display()
            );
        };
        let inside = |path: &Path| path.strip_prefix(&top).map(Path::to_owned);
        let mixed = Mixed {
            pipeline: inside(&project.pipeline)?,
            project: inside(&project.root)?,
            dir,
            options: None,
        };
        for (side, state) in [Side::Before, Side::After].into_iter().zip(sides) {
            let to = mixed.dir.join(side.name());
            fs::create_dir(&to)?;
            match state {
                State::Commit(commit) => mixed.check_out(&top, commit, &to)?,
                State::Run(_) | State::Now => copy_tracked(&top, &to)?,
            }
        }
        let to = mixed.dir.join("mixed");
        copy_dir(&mixed.dir.join(Side::Before.name()), &to)?;
        link_untracked(&top, &to)?;
        Ok(mixed)
    }

    fn of_runs(
        opening: &Opening,
        project: &Project,
        sides: &[State; 2],
        dir: PathBuf,
    ) -> anyhow::Result<Mixed> {
        let mut mixed = Mixed {
            pipeline: PathBuf::from(project.file_name().unwrap_or_default()),
            project: PathBuf::new(),
            dir,
            options: None,
        };
        let mut found = [AtRun::default(), AtRun::default()];
        for ((at, state), side) in found.iter_mut().zip(sides).zip([Side::Before, Side::After]) {
            let scratch = mixed.dir.join(format!("plan-{}", side.name()));
            *at = match state {
                State::Run(run) => AtRun::of(opening, project, run, &scratch)?,
                State::Commit(_) | State::Now => AtRun {
                    file: project.file_name().unwrap_or_default(),
                    files: written_now(project),
                    options: Options::of(&opening.profiles, &opening.sets),
                },
            };
        }
        anyhow::ensure!(
            found[0].file == found[1].file,
            "the two sides are of different pipelines: {} and {}",
            found[0].file,
            found[1].file
        );
        mixed.pipeline = PathBuf::from(&found[0].file);
        // What one side has otherwise than now, the other may have as it is now.
        let names: BTreeSet<PathBuf> = found
            .iter()
            .flat_map(|at| at.files.keys().cloned())
            .collect();
        for at in &mut found {
            for name in &names {
                if !at.files.contains_key(name)
                    && let Ok(bytes) = fs::read(project.root.join(name))
                {
                    at.files.insert(name.clone(), bytes);
                }
            }
        }
        for (side, at) in [Side::Before, Side::After].into_iter().zip(&found) {
            state::write_all(&at.files, &mixed.dir.join(side.name()))?;
        }
        let to = mixed.dir.join("mixed");
        copy_dir(&mixed.dir.join(Side::Before.name()), &to)?;
        state::link_rest(&project.root, &to)?;
        mixed.options = Some(found.map(|at| at.options));
        Ok(mixed)
    }

    fn check_out(&self, top: &Path, commit: &str, to: &Path) -> anyhow::Result<()> {
        let is_name = !commit.starts_with('-');
        let name = format!("{commit}^{{commit}}");
        let id = is_name
            .then(|| git::ask(top, &["rev-parse", "--verify", "-q", &name]))
            .flatten();
        let Some(id) = id else {
            anyhow::bail!("`{commit}` is no commit of this repository");
        };
        // An index of its own: the user's is not touched.
        let index = self.dir.join("index");
        let git = |args: &[&str]| -> anyhow::Result<()> {
            let output = Command::new("git")
                .arg("-C")
                .arg(top)
                .args(["--no-pager", "-c", "core.fsmonitor=false"])
                .args(args)
                .env("GIT_INDEX_FILE", &index)
                .stdin(Stdio::null())
                .output()?;
            let why = String::from_utf8_lossy(&output.stderr);
            anyhow::ensure!(output.status.success(), "git {}: {}", args[0], why.trim());
            Ok(())
        };
        git(&["read-tree", id.trim()])?;
        let prefix = format!("--prefix={}/", to.display());
        git(&["checkout-index", "--all", "--force", &prefix])?;
        fs::remove_file(&index)?;
        Ok(())
    }

    /// Where a file of one side is.
    fn path(&self, side: Side, file: &Path) -> PathBuf {
        self.dir.join(side.name()).join(file)
    }

    /// The pipeline file of the mixed plan.
    pub fn pipeline(&self) -> PathBuf {
        self.dir.join("mixed").join(&self.pipeline)
    }

    /// The files that the pipeline of either side is written in: these are compared field by field.
    /// Any other file counts with its bytes.
    fn pipeline_files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        for side in [Side::Before, Side::After] {
            let root = self.path(side, &self.project);
            let pipeline = self.path(side, &self.pipeline);
            // Mistakes are told when a plan is made of them.
            let (_, read) = read_all(&pipeline, &root, &mut Report::default());
            files.extend(read.iter().map(|file| self.project.join(file)));
        }
        files
    }

    /// All changes between the two sides, in the order of the files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn units(&self) -> anyhow::Result<Vec<Unit>> {
        let mut units = Vec::new();
        if let Some([before, after]) = &self.options {
            units.extend(unit::options(before, after));
        }
        let pipelines = self.pipeline_files();
        for file in self.changed()? {
            let sides = [Side::Before, Side::After].map(|side| self.path(side, &file));
            let is_in = [&sides[0], &sides[1]].map(|path| path.symlink_metadata().is_ok());
            if pipelines.contains(&file)
                && let [Some(before), Some(after)] = sides.map(|path| unit::tree_of(&path))
            {
                unit::fields(&file, &before, &after, &mut Vec::new(), &mut units);
            } else {
                units.push(Unit::File { file, is_in });
            }
        }
        Ok(units)
    }

    /// Files that differ, sorted; without the lock file, which no plan is made of.
    fn changed(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = BTreeSet::new();
        for side in [Side::Before, Side::After] {
            let root = self.dir.join(side.name());
            list(&root, Path::new(""), &mut files)?;
        }
        let lock = self.project.join("repro.lock");
        let mut changed = Vec::new();
        for file in files {
            let [a, b] = [Side::Before, Side::After].map(|s| content(&self.path(s, &file)));
            if a? != b? && file != lock {
                changed.push(file);
            }
        }
        Ok(changed)
    }

    /// The options of the first side with these changes; `None`: those of the command line.
    pub fn options(&self, chosen: &[&Unit]) -> Option<Options> {
        let [before, _] = self.options.as_ref()?;
        let mut mixed = before.clone();
        for unit in chosen {
            if let Unit::Option { name, after, .. } = unit {
                unit::vary(&mut mixed, name, after.as_deref());
            }
        }
        Some(mixed)
    }

    /// Makes the mixed directory the first side with these changes.
    pub fn set(&mut self, all: &[Unit], chosen: &[&Unit]) -> anyhow::Result<()> {
        type Fields<'a> = BTreeMap<&'a Path, Vec<(&'a [String], Option<&'a Node>)>>;
        let mut fields: Fields = BTreeMap::new();
        for unit in all {
            let is_chosen = chosen.iter().any(|c| std::ptr::eq(*c, unit));
            match unit {
                Unit::Field {
                    file, path, after, ..
                } => {
                    let own = fields.entry(file).or_default();
                    own.extend(is_chosen.then_some((&path[..], after.as_ref())));
                }
                Unit::Option { .. } => {}
                Unit::File { file, .. } => {
                    let side = if is_chosen { Side::After } else { Side::Before };
                    replace(&self.path(side, file), &self.dir.join("mixed").join(file))?;
                }
            }
        }
        for (file, chosen) in fields {
            let first = unit::tree_of(&self.path(Side::Before, file));
            let first = first.ok_or_else(|| anyhow::anyhow!("{} has changed", file.display()))?;
            let text = unit::with(&first, &chosen);
            let path = self.dir.join("mixed").join(file);
            fs::write(&path, text)?;
        }
        Ok(())
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::After => "after",
        }
    }
}

/// What is compared of a file: its bytes, or where a link leads, and whether it can be executed.
fn content(path: &Path) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(match found.is_symlink() {
        true => (fs::read_link(path)?.as_os_str().as_bytes().to_vec(), false),
        false => (fs::read(path)?, found.permissions().mode() & 0o100 != 0),
    }))
}

/// Puts a file, or its absence, in the place of another.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::remove_file(to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    match fs::symlink_metadata(from) {
        Ok(found) => {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            match found.is_symlink() {
                true => symlink(fs::read_link(from)?, to),
                false => copy_file(from, to),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn list(root: &Path, below: &Path, files: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => list(root, &path, files)?,
            false => drop(files.insert(path)),
        }
    }
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    let mut files = BTreeSet::new();
    list(from, Path::new(""), &mut files)?;
    files
        .iter()
        .try_for_each(|file| replace(&from.join(file), &to.join(file)))
}

/// Paths that git names, separated by zeros.
fn named(top: &Path, args: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let said = git::ask(top, args);
    let said = said.ok_or_else(|| anyhow::anyhow!("git {} failed", args[0]))?;
    let paths = said.split('\0').filter(|p| !p.is_empty());
    Ok(paths.map(PathBuf::from).collect())
}

/// The tracked files as they are now.
fn copy_tracked(top: &Path, to: &Path) -> anyhow::Result<()> {
    for file in named(top, &["ls-files", "-z", "--cached"])? {
        let from = top.join(&file);
        if !from.is_dir() {
            replace(&from, &to.join(&file))?;
        }
    }
    Ok(())
}

/// The files that the pipeline is written in, as they are now.
fn written_now(project: &Project) -> BTreeMap<PathBuf, Vec<u8>> {
    let (_, read) = read_all(&project.pipeline, &project.root, &mut Report::default());
    let file = |path: PathBuf| Some((path.clone(), fs::read(project.root.join(path)).ok()?));
    read.into_iter().filter_map(file).collect()
}

/// What git does not track, as links; without what `repro` itself keeps there.
fn link_untracked(top: &Path, to: &Path) -> anyhow::Result<()> {
    let others = named(top, &["ls-files", "-z", "--others", "--directory"])?;
    for path in others {
        let is_ours = path.components().any(|c| {
            let name = c.as_os_str();
            name == ".repro" || name == "artifacts" || name == ".git"
        });
        let link = to.join(&path);
        let link = PathBuf::from(link.to_string_lossy().trim_end_matches('/'));
        if is_ours || link.symlink_metadata().is_ok() {
            continue;
        }
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        symlink(top.join(&path), link)?;
    }
    Ok(())
}

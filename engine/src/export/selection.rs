//! What is exported: results, the project's files behind them, and what is private.

use crate::digest::{Content, Shape};
use crate::graph::Graph;
use crate::plan::{Instance, InstanceIndex, Source, Work};
use crate::session::Session;
use crate::store::{InputTree, Parts, Record};
use crate::survey::{Standing, Survey};
use anyhow::Context as _;
use repro_protocol::relpath::RelPath;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One result that is exported.
pub struct Piece {
    /// Whose.
    pub index: InstanceIndex,
    /// The result.
    pub record: Record,
    /// Signatures under it.
    pub envelopes: Vec<Vec<u8>>,
    /// It was asked for; else it is what such a one needs.
    pub is_target: bool,
}

/// A file or directory of the project that goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectPath {
    /// Its content, which the store has now.
    pub content: Content,
    /// A file that its owner may execute.
    pub executable: bool,
}

/// What is exported.
pub struct Selection<'a> {
    /// Of this project.
    pub session: &'a Session,
    /// In the order of the plan.
    pub pieces: Vec<Piece>,
    /// The pipeline, what it includes, the lock file, the trust file, and inputs.
    pub project: BTreeMap<RelPath, ProjectPath>,
}

impl<'a> Selection<'a> {
    /// These instances with all they need; without any, those nothing else needs.
    ///
    /// # Errors
    /// One of them has no result, an input cannot be read, or a file the pipeline is made of lies
    /// outside of the project.
    pub fn of(session: &'a Session, targets: &[InstanceIndex]) -> anyhow::Result<Selection<'a>> {
        let is_all = targets.is_empty();
        let mut targets: BTreeSet<InstanceIndex> = match targets {
            [] => finals(session),
            some => some.iter().copied().collect(),
        };
        let survey = Survey::of(session, &Vec::from_iter(targets.iter().copied()))?;
        // What no claim has asked for is no part of the results.
        let is_held = |index| {
            survey
                .get(index)
                .is_some_and(|seen| seen.state == Standing::Held)
        };
        targets.retain(|index| !(is_all && is_held(*index)));
        let asked: Vec<InstanceIndex> = targets.iter().copied().collect();
        let wanted = Graph::new(&session.plan).wanted(&asked);
        let mut pieces = Vec::new();
        for index in (0..).map(InstanceIndex).take(wanted.len()) {
            if !wanted[index.0 as usize] {
                continue;
            }
            let instance = session.plan.instance(index);
            let hit = survey.get(index).and_then(|seen| seen.hit.as_ref());
            let remembered = hit.and_then(|hit| session.remembered(instance, hit));
            let remembered = remembered.with_context(|| {
                format!(
                    "the result of `{}` is not here; `repro run` makes it, `repro pull {}` gets it",
                    instance.id, instance.id
                )
            })?;
            pieces.push(Piece {
                index,
                envelopes: remembered.envelopes,
                is_target: targets.contains(&index),
                record: remembered.record,
            });
        }
        let mut selection = Selection {
            session,
            pieces,
            project: BTreeMap::new(),
        };
        selection.take_project()?;
        Ok(selection)
    }

    /// All bytes that are exported, with those that may be on a remote only.
    pub fn contents(&self) -> Vec<Content> {
        let outputs = self.pieces.iter().flat_map(|p| p.record.outputs.values());
        outputs.copied().collect()
    }

    /// The instance of a piece.
    pub fn instance(&self, piece: &Piece) -> &Instance {
        self.session.plan.instance(piece.index)
    }

    /// The pipeline file, in the project.
    ///
    /// # Errors
    /// Its name is not UTF-8.
    pub fn pipeline(&self) -> anyhow::Result<RelPath> {
        inside(&self.session.project.root, &self.session.project.pipeline)
    }

    fn take_project(&mut self) -> anyhow::Result<()> {
        let session = self.session;
        let root = &session.project.root;
        let mut paths = BTreeSet::from([self.pipeline()?]);
        let mut ignores = BTreeMap::new();
        for file in &session.plan.files {
            paths.insert(inside(root, file)?);
        }
        for name in ["repro.lock", crate::trust::FILE_NAME] {
            if root.join(name).is_file() {
                paths.insert(RelPath::new(name)?);
            }
        }
        for piece in &self.pieces {
            let instance = session.plan.instance(piece.index);
            for item in instance.needs.iter().flat_map(|need| &need.items) {
                if let Source::Files(files) = &item.source
                    && let Some(path) = files.in_project()
                {
                    paths.insert(path.clone());
                    ignores.insert(path.clone(), files.ignore.clone());
                }
            }
            if let Work::Kind { kind, .. } = &instance.work
                && let crate::catalog::Program::External { path, .. } = &kind.program
            {
                paths.insert(inside(root, path)?);
            }
        }
        for path in paths {
            anyhow::ensure!(
                !is_private(&path),
                "`{path}` belongs to git or to repro itself and is not exported"
            );
            let place = path.under(root);
            // An input may be a link to where the data are.
            let place =
                std::fs::canonicalize(&place).with_context(|| format!("cannot read `{path}`"))?;
            let ignore = ignores.get(&path).filter(|_| place.is_dir());
            let tree = ignore.map(|i| InputTree::of(&place, i)).transpose()?;
            let parts = tempfile::tempdir()?;
            // What does not count is not exported, and links to elsewhere are what they lead to.
            let place = match tree.filter(|tree| !tree.is_whole()) {
                Some(tree) => {
                    tree.assemble(parts.path(), Parts::Copies)?;
                    parts.path().to_owned()
                }
                None => place,
            };
            let (content, staged) = session.store.absorb_copy(&place)?;
            session.store.keep(&content, staged)?;
            let meta = std::fs::metadata(&place)?;
            let executable = meta.is_file() && meta.permissions().mode() & 0o100 != 0;
            self.project.insert(
                path,
                ProjectPath {
                    content,
                    executable,
                },
            );
        }
        // What lies in a directory that goes along, goes along with it.
        let dirs: Vec<RelPath> = self
            .project
            .iter()
            .filter(|(_, p)| p.content.shape == Shape::Tree)
            .map(|(path, _)| path.clone())
            .collect();
        self.project
            .retain(|path, _| !dirs.iter().any(|dir| path != dir && path.is_within(dir)));
        Ok(())
    }
}

/// Instances nothing else needs.
pub(super) fn finals(session: &Session) -> BTreeSet<InstanceIndex> {
    let all = || (0..session.plan.instances.len() as u32).map(InstanceIndex);
    let needed: BTreeSet<InstanceIndex> = all()
        .flat_map(|index| session.plan.producers(index))
        .collect();
    all().filter(|index| !needed.contains(index)).collect()
}

pub(super) fn inside(root: &Path, path: &Path) -> anyhow::Result<RelPath> {
    let absolute = root.join(path);
    let relative = absolute
        .strip_prefix(root)
        .ok()
        .and_then(Path::to_str)
        .and_then(|text| RelPath::new(text).ok());
    relative.with_context(|| {
        format!(
            "{} lies outside of the project {}, so it cannot go along; move it inside",
            absolute.display(),
            root.display()
        )
    })
}

/// Paths whose mere presence can make other programs do things, and our own state: neither given
/// away nor taken in.
pub fn is_private(path: &RelPath) -> bool {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) || parts[0] == ".repro"
}

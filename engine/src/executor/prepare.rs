//! An order made ready on this machine: a request with paths, and what has to be shown and watched
//! for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::guard::{Watched, WatchedEnvironment};
use super::places::Places;
use super::{Job, Order, Origin, Site};
use crate::catalog::Program;
use crate::digest::{Content, Shape};
use crate::exec::{self, Grant, InputOrigin, PlacedInput, Request};
use crate::files::{Files, Location};
use crate::plan::Command;
use crate::session::surroundings;
use crate::store::{InputTree, Parts, Store, ViewMode};

/// A request whose inputs are still to be shown, by [`place`].
pub struct Prepared {
    /// For [`exec::execute`].
    pub request: Request,
    /// What is to be shown.
    pub shown: Shown,
    /// What it depends on beside artifacts, as its key has it.
    pub(super) watched: Watched,
}

/// Inputs that cannot be used where they lie, by their position in the request.
#[derive(Default)]
pub struct Shown {
    /// Artifacts.
    pub(super) views: Vec<(usize, Content)>,
    /// Directories that no stage makes: without what does not count.
    trees: Vec<(usize, Arc<Files>)>,
}

impl Site {
    /// Makes an order ready, with these devices.
    ///
    /// # Errors
    /// Its kind is not known here.
    pub fn prepare(
        &self,
        order: &Order,
        places: &Places,
        grant: &Grant,
    ) -> anyhow::Result<Prepared> {
        let (mut watched, mut shown) = (Watched::default(), Shown::default());
        let mut inputs = Vec::with_capacity(order.inputs.len());
        for (position, input) in order.inputs.iter().enumerate() {
            let origin = match &input.origin {
                Origin::Files(files) => {
                    let path = files.at.path(&self.root);
                    let origin = match files.at {
                        Location::Project(_) => InputOrigin::ProjectFile(path),
                        Location::Outside(_) => InputOrigin::Outside(path),
                    };
                    if input.content.shape == Shape::Tree {
                        shown.trees.push((position, files.clone()));
                    }
                    watched.inputs.push((files.clone(), input.content));
                    origin
                }
                Origin::Stored => {
                    shown.views.push((position, input.content));
                    InputOrigin::Object(PathBuf::new())
                }
            };
            inputs.push(PlacedInput {
                need: input.need.clone(),
                many: input.many,
                group: input.group.clone(),
                axes: input.axes.clone(),
                placed_at: input.placed_at.clone(),
                origin,
                called: input.called.clone(),
                digest: input.content.to_string(),
                kin: input.kin.clone(),
            });
        }
        let work = self.work(&order.job, &mut watched)?;
        let request = Request {
            id: order.instance.clone(),
            surroundings: match &work {
                exec::Work::Command(command) => surroundings(command, &self.environments),
                exec::Work::Kind { .. } => exec::Surroundings::default(),
            },
            work,
            inputs,
            outputs: order.outputs.clone(),
            policy: order.policy.clone(),
            grant: grant.clone(),
            dir: places.dir.clone(),
            scratch_dir: places.scratch.clone(),
            mirrors: order.mirrors.clone(),
            pins: order.pins.clone(),
            offline: order.offline,
            device: order.device,
            resume: None,
            project_root: self.root.clone(),
            executable: self.executable.clone(),
            afterwards: places.afterwards,
            store_roots: self.store.object_roots(),
        };
        Ok(Prepared {
            request,
            shown,
            watched,
        })
    }

    fn work(&self, job: &Job, watched: &mut Watched) -> anyhow::Result<exec::Work> {
        Ok(match job {
            Job::Kind { kind: name, params } => {
                let kind = self.kinds.get(name).cloned();
                let kind =
                    kind.ok_or_else(|| anyhow::anyhow!("BUG: no kind is called `{}`", name.name))?;
                if let Program::External { path, digest } = &kind.program {
                    watched.program = Some((path.clone(), *digest));
                }
                let params = params.clone();
                exec::Work::Kind { kind, params }
            }
            Job::Command(command) => {
                self.watch(command, watched);
                exec::Work::Command(command.clone())
            }
        })
    }

    /// What a command depends on beside its inputs.
    fn watch(&self, command: &Command, watched: &mut Watched) {
        watched.tools = command.setup.tools.clone();
        let environments = command.setup.environments.iter();
        let watch = |environment| {
            Some(WatchedEnvironment {
                environment: Clone::clone(environment),
                captured: self.environments.get(environment)?.clone(),
                stamps: self.stamps.get(environment)?.clone(),
                root: self.root.clone(),
            })
        };
        watched.environments = environments.filter_map(watch).collect();
    }
}

/// Shows what cannot be used where it lies, in `dir` where it has to be put together.
///
/// # Errors
/// Of the store and of the disk.
pub fn place(
    store: &Store,
    request: &mut Request,
    shown: &Shown,
    dir: &Path,
) -> anyhow::Result<()> {
    for (position, content) in &shown.views {
        request.inputs[*position].origin = view(store, content, &dir.join(position.to_string()))?;
    }
    // Directories that are not whole, or hold links to elsewhere, are put together from links to
    // what counts.
    for (position, files) in &shown.trees {
        let input = &mut request.inputs[*position];
        let of = input.origin.path().to_owned();
        let tree = InputTree::of(&of, &files.ignore)?;
        if !tree.is_whole() {
            let view = dir.join(position.to_string());
            tree.assemble(&view, Parts::Links)?;
            input.origin = InputOrigin::Assembled { of, view };
        }
    }
    Ok(())
}

/// Files of the store are used where they lie; trees are shown by the store, or as directories of
/// links.
fn view(store: &Store, content: &Content, view: &Path) -> anyhow::Result<InputOrigin> {
    let make = |mode| -> anyhow::Result<PathBuf> {
        if let Some(dir) = view.parent() {
            std::fs::create_dir_all(dir)?;
        }
        store.view(content, view, mode)?;
        Ok(view.to_owned())
    };
    Ok(match content.shape {
        Shape::File => InputOrigin::Object(store.object_path(&content.digest)),
        // Objects have no exec bit, so a program is a copy that has one.
        Shape::Program => InputOrigin::Object(make(ViewMode::Copy)?),
        Shape::Tree => InputOrigin::TreeView(match store.tree_view(&content.digest)? {
            Some(view) => view,
            None => make(ViewMode::Symlink)?,
        }),
    })
}

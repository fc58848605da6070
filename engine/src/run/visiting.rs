//! Visiting: a shell where a command runs, or where it failed, without running, recording or publishing anything.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::failed::FailedDir;
use super::flight::{self, Prepared, Terms};
use super::replay::check_inputs;
use crate::digest::Content;
use crate::exec::{self, Afterwards, Site, Work};
use crate::lineage::Lineage;
use crate::plan::Instance;
use crate::session::Session;

/// What a visitor is told at the door.
pub struct Door {
    /// The working directory.
    pub work: PathBuf,
    /// New, or left by a failure.
    pub site: Site,
    /// The failure was of another key: inputs, or what the stage says, have changed since.
    pub has_changed: bool,
    /// How to run the stage's command from inside.
    pub how_to_run: String,
}

/// Opens the directory of the last failure, or a new one with the inputs, and runs a program there; without words a shell.
///
/// # Errors
/// It is no command; an input is not in the store; the program cannot be started; the store, the disk.
pub fn visit(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    executable: PathBuf,
    words: &[String],
    greet: &mut dyn FnMut(&Door),
) -> anyhow::Result<ExitStatus> {
    check_inputs(session, instance, contents)?;
    let key = session.key(instance, contents, &Lineage::new()).digest;
    let state = session.project.state();
    let left = FailedDir::of(&instance.id, &state, session.store.root()).find();
    let fresh = tempfile::Builder::new()
        .prefix("visit-")
        .tempdir_in(session.store.work_dir()?)?;
    let (dir, site, has_changed) = match left {
        Some(kept) => (kept.dir, Site::Left, kept.key != Some(key)),
        None => (fresh.path().join("run"), Site::Fresh, false),
    };
    // Who asks for a shell wants it now.
    let (grant, _gpus) = super::resources::alone(&instance.policy, || ControlFlow::Break(()));
    let terms = Terms {
        policy: flight::policy_with(&instance.policy, instance.policy.cpus.unwrap_or(1)),
        grant,
        dir,
        scratch_dir: state.join("scratch").join(key.short()),
        pins: Default::default(),
        offline: false,
        executable,
        afterwards: Afterwards::Kept,
        // Only kinds count their inputs, and a visitor sees commands only.
        lineage: Lineage::new(),
    };
    let Prepared {
        mut request,
        views,
        trees,
        ..
    } = flight::prepare(session, instance, contents, terms);
    let Work::Command(command) = request.work.clone() else {
        anyhow::bail!(
            "`{}` is a kind, not a command; `repro replay --keep DIR '{}'` executes it and leaves its directory",
            instance.id,
            instance.id
        );
    };
    let views_dir = fresh.path().join("inputs");
    flight::place_views(&session.store, &mut request, &views, &views_dir)?;
    flight::place_trees(&mut request, &trees, &views_dir)?;
    let visit = exec::visit(&request, &command, site)?;
    greet(&Door {
        work: visit.work.clone(),
        site,
        has_changed,
        how_to_run: visit.how_to_run(&command),
    });
    let status = visit.run(&request, &command, words);
    if site == Site::Fresh {
        // What cannot be removed now is swept with the session.
        let _ = exec::discard(&request.dir);
    }
    Ok(status?)
}

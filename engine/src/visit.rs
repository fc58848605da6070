//! Visiting: a shell where a command runs, or where it failed, without running, recording or
//! publishing anything.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::digest::Content;
use crate::exec::{self, Work, WorkDir};
use crate::executor::{
    self, FailedDir, Order, OrderId, Places, Prepared, Purpose, Terms, alone, check_inputs, place,
};
use crate::lineage::Lineage;
use crate::plan::Instance;
use crate::session::Session;

/// What a visitor is told at the door.
pub struct Door {
    /// The working directory.
    pub work: PathBuf,
    /// New, or left by a failure.
    pub site: WorkDir,
    /// The failure was of another key: inputs, or what the stage says, have changed since.
    pub has_changed: bool,
    /// How to run the stage's command from inside.
    pub how_to_run: String,
}

/// Opens the directory of the last failure, or a new one with the inputs, and runs a program there;
/// without words a shell.
///
/// # Errors
/// It is no command; an input is not in the store; the program cannot be started; the store, the
/// disk.
pub fn visit(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    executable: PathBuf,
    words: &[String],
    greet: &mut dyn FnMut(&Door),
) -> anyhow::Result<ExitStatus> {
    check_inputs(session, instance, contents)?;
    // Only kinds count their inputs, and a visitor sees commands only.
    let lineage = Lineage::new();
    let key = session.key(instance, contents, &lineage);
    let digest = key.digest;
    let state = session.project.state();
    let left = FailedDir::of(&instance.id, &state, session.store.root()).find();
    let fresh = tempfile::Builder::new()
        .prefix("visit-")
        .tempdir_in(session.store.work_dir()?)?;
    let (dir, site, has_changed) = match left {
        Some(kept) => (kept.dir, WorkDir::Left, kept.key != Some(digest)),
        None => (fresh.path().join("run"), WorkDir::Fresh, false),
    };
    // Who asks for a shell wants it now.
    let granted = alone(&instance.policy, || ControlFlow::Break(()));
    let terms = Terms {
        id: OrderId(0),
        run: String::new(),
        purpose: Purpose::Compare,
        pins: BTreeMap::new(),
        policy: instance.policy.with_cpus(instance.policy.cpus.unwrap_or(1)),
        threads: granted.grant.threads,
        offline: false,
        device: None,
    };
    let order = Order::of(session, instance, key, contents, &lineage, terms);
    let scratch = state.join("scratch").join(digest.short());
    let places = Places::of_visit(dir, fresh.path().join("inputs"), scratch);
    let here = executor::Site::of(session, &executable);
    let Prepared {
        mut request, shown, ..
    } = here.prepare(&order, &places, &granted.grant)?;
    let Work::Command(command) = request.work.clone() else {
        anyhow::bail!(
            "`{}` is a kind, not a command; `repro replay --keep DIR '{}'` executes it and leaves its directory",
            instance.id,
            instance.id
        );
    };
    place(&session.store, &mut request, &shown, &places.views)?;
    let visit = exec::visit(&request, &command, site)?;
    greet(&Door {
        work: visit.work.clone(),
        site,
        has_changed,
        how_to_run: visit.how_to_run(&command),
    });
    let status = visit.run(&request, &command, words);
    if site == WorkDir::Fresh {
        // What cannot be removed now is swept with the session.
        let _ = exec::discard(&request.dir);
    }
    Ok(status?)
}

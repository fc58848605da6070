//! Logs: what an instance wrote while it was executed.

use std::fs::File;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::record::history;
use crate::regular::{self, Links};
use crate::session::Session;
use crate::survey::Survey;

/// A log, to be read from its beginning.
#[derive(Debug)]
pub struct Log {
    /// What was written.
    pub file: File,
    /// The key of the execution that writes it now; `None`: it is whole.
    pub growing: Option<Digest>,
}

/// The log of the one instance that `name` stands for: of the execution under way, else of the
/// present key, else of the last execution recorded here, failed ones too.
///
/// # Errors
/// Not one instance has that name; no log of it is kept here; the store or a journal cannot be
/// read.
pub fn log_of(session: &Session, name: &str) -> anyhow::Result<Log> {
    let targets = session.targets(&[name.to_owned()])?;
    let index = session.only(name, &targets)?;
    let survey = Survey::of(session, &targets)?;
    let id = &*session.plan.instance(index).id;
    let key = survey.get(index).and_then(|s| s.key);
    if let Some(key) = key
        && let Some(path) = live_log(session, &key)
    {
        let file = regular::open(&path, Links::Refuse)?;
        let growing = Some(key);
        return Ok(Log { file, growing });
    }
    let last = || -> anyhow::Result<Option<Digest>> {
        let executions = history::last_executions(&session.runs_dir(), usize::MAX, &[id])?;
        Ok(executions.get(id).and_then(|e| e.key.parse().ok()))
    };
    let kept = |key: &Digest| regular::open(&session.log_path(key), Links::Refuse).ok();
    let log = match key.as_ref().and_then(kept) {
        Some(log) => Some(log),
        None => last()?.as_ref().and_then(kept),
    };
    let Some(file) = log else {
        anyhow::bail!("no log of `{id}` is kept here: it was executed elsewhere, or never");
    };
    let growing = None;
    Ok(Log { file, growing })
}

/// The log of an execution under way, in the private directory of whatever process it is. Of one
/// elsewhere, what is heard of it lies where its log will be.
fn live_log(session: &Session, key: &Digest) -> Option<PathBuf> {
    if !is_running(session, key) {
        return None;
    }
    let sessions = crate::dir::read(session.store.root().join("tmp")).ok()?;
    let works = sessions
        .flatten()
        .filter_map(|s| crate::dir::read(s.path().join("work")).ok());
    let begins = format!("{}-", key.short());
    let mut dirs = works
        .flatten()
        .flatten()
        .filter(|d| d.file_name().to_string_lossy().starts_with(&begins))
        .peekable();
    if dirs.peek().is_none() {
        return Some(session.log_path(key)).filter(|log| log.is_file());
    }
    dirs.map(|d| d.path().join("log")).find(|log| log.is_file())
}

/// Whether a process executes the action of a key now.
pub fn is_running(session: &Session, key: &Digest) -> bool {
    let running = session.store.running_actions();
    running.iter().any(|(running, _)| running == key)
}

//! Whether a record in the common store serves this project.
//!
//! A store is shared by all projects of a user, and what one of them took in (pulled, imported) is
//! there for all. So a record that was not made here is judged by the trust file of the project
//! that asks, each time it would serve: one project's faith is no other's. What was made here needs
//! nobody's word.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::judge::{Judgement, Reason, Trust};
use crate::digest::Digest;
use crate::remote::layout::Scope;
use crate::store::{Record, Store};

/// Bytes of the largest list of accepted results.
const ACCEPTED_BYTES_MAX: u64 = 256 << 20;

/// Whom a project believes, read when it first matters. Cheap to clone.
#[derive(Clone)]
pub struct Believer(Arc<Inner>);

struct Inner {
    project_root: PathBuf,
    accepted: PathBuf,
    scope: Scope,
    trust: OnceLock<Result<Trust, String>>,
    accepted_read: OnceLock<HashSet<(Digest, Digest)>>,
}

impl Believer {
    /// The project with this root, whose state lies in `state`. In `scope` its requirement holds
    /// too.
    pub fn of(project_root: &Path, state: &Path, scope: Scope) -> Believer {
        Believer(Arc::new(Inner {
            project_root: project_root.to_owned(),
            accepted: accepted_path(state),
            scope,
            trust: OnceLock::new(),
            accepted_read: OnceLock::new(),
        }))
    }

    /// The same project, asking for what is in `scope` too.
    #[must_use]
    pub fn in_scope(&self, scope: Scope) -> Believer {
        let inner = &self.0;
        Believer(Arc::new(Inner {
            project_root: inner.project_root.clone(),
            accepted: inner.accepted.clone(),
            scope,
            trust: OnceLock::new(),
            accepted_read: OnceLock::new(),
        }))
    }

    fn trust(&self) -> Result<&Trust, Reason> {
        let read = || Trust::read(&self.0.project_root).map_err(|e| format!("{e:#}"));
        let trust = self.0.trust.get_or_init(read);
        trust
            .as_ref()
            .map_err(|why| Reason::UnreadablePolicy(why.clone()))
    }

    /// Changes with everything that decides whom the project believes.
    pub fn stamp(&self) -> Digest {
        let mut text = match self.trust() {
            Ok(trust) => trust.stamp().hex(),
            Err(reason) => reason.to_string(),
        };
        let accepted = std::fs::metadata(&self.0.accepted).map_or(0, |meta| meta.len());
        text.push_str(&format!(" {accepted}"));
        Digest::of(text.as_bytes())
    }

    /// Whether a record of the store serves.
    ///
    /// # Errors
    /// Why not.
    pub fn believes_recorded(&self, store: &Store, record: &Record) -> Result<(), Reason> {
        if record.origin().is_none() {
            return Ok(());
        }
        self.believes(record, &store.envelopes(&record.key, &record.result()))
    }

    /// Whether a record that was made elsewhere serves, with these signatures under it.
    ///
    /// # Errors
    /// Why not.
    pub fn believes(&self, record: &Record, envelopes: &[Vec<u8>]) -> Result<(), Reason> {
        if self.has_accepted(record) {
            return Ok(());
        }
        let trust = self.trust()?;
        let reason = match trust.judge(record, envelopes) {
            Judgement::Believed { .. } => return Ok(()),
            Judgement::Disbelieved { reason } => reason,
        };
        match (
            &self.0.scope,
            trust.judge_in(&self.0.scope, record, envelopes),
        ) {
            (Scope::Of(_), Judgement::Believed { .. }) => Ok(()),
            _ => Err(reason),
        }
    }

    fn has_accepted(&self, record: &Record) -> bool {
        let accepted = self
            .0
            .accepted_read
            .get_or_init(|| read_accepted(&self.0.accepted));
        !accepted.is_empty() && accepted.contains(&(record.key, record.result()))
    }
}

fn accepted_path(state: &Path) -> PathBuf {
    state.join("accepted")
}

/// Anything but a file of ours is an empty list: it costs an execution.
fn read_accepted(path: &Path) -> HashSet<(Digest, Digest)> {
    let read = || -> Option<String> {
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let mut text = String::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(ACCEPTED_BYTES_MAX)
            .read_to_string(&mut text)
            .ok()?;
        Some(text)
    };
    let text = read().unwrap_or_default();
    let pair = |line: &str| {
        let (key, result) = line.split_once(' ')?;
        Some((key.parse().ok()?, result.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// Notes in the state of a project that its user takes these results as they are, signed or not.
///
/// # Errors
/// The note cannot be written.
pub fn accept(state: &Path, results: &[(Digest, Digest)]) -> std::io::Result<()> {
    std::fs::create_dir_all(state)?;
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(accepted_path(state))?;
    let lines: String = results
        .iter()
        .map(|(key, result)| format!("{} {}\n", key.hex(), result.hex()))
        .collect();
    file.write_all(lines.as_bytes())
}

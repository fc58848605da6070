//! The parts of this machine and this project that a local execution uses.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::KindName;
use crate::catalog::Kind;
use crate::digest::Digest;
use crate::energy::{Meter, Stated};
use crate::environment::Captured;
use crate::exec::Stamp;
use crate::plan::{Environment, Work};
use crate::session::{Session, log_in};
use crate::store::{StatCache, Store};
use crate::trust::Believer;

/// See the module.
pub struct Site {
    pub(super) store: Arc<Store>,
    pub(super) stats: Arc<StatCache>,
    pub(super) believer: Believer,
    pub(super) kinds: HashMap<KindName, Arc<Kind>>,
    pub(super) environments: BTreeMap<Environment, Captured>,
    pub(super) stamps: BTreeMap<Environment, Vec<Option<Stamp>>>,
    /// The project.
    pub(super) root: PathBuf,
    /// The directory of its state.
    pub(super) state: PathBuf,
    /// This program: it runs workers.
    pub(super) executable: PathBuf,
    /// Measures the energy of executions, if it is wanted.
    pub(super) meter: Option<Arc<Meter>>,
    /// Nobody looks around here afterwards.
    pub(super) is_left_behind: bool,
}

impl Site {
    /// Where an open project is.
    pub fn of(session: &Session, executable: &Path) -> Site {
        let root = &session.project.root;
        let mut kinds: HashMap<KindName, Arc<Kind>> = HashMap::new();
        for stage in session.plan.instances.chunk_by(|a, b| a.stage == b.stage) {
            if let Work::Kind { kind, .. } = &stage[0].work {
                kinds.insert(KindName::of(kind, root), kind.clone());
            }
        }
        Site {
            store: session.store.clone(),
            stats: session.stats.clone(),
            believer: session.believer.clone(),
            kinds,
            environments: session.environments.clone(),
            stamps: session.environment_stamps.clone(),
            root: root.clone(),
            state: session.project.state(),
            executable: executable.to_owned(),
            meter: None,
            is_left_behind: false,
        }
    }

    /// The same on a machine that is left when the work is done: the directory of a failure is not
    /// kept, and nobody is told of it.
    pub fn left_behind(self) -> Site {
        Site {
            is_left_behind: true,
            ..self
        }
    }

    /// As [`Site::of`], and the energy of every execution is measured.
    ///
    /// # Errors
    /// What the environment states of energy is no number.
    pub fn metered(session: &Session, executable: &Path) -> anyhow::Result<Site> {
        let stated = Stated::of_environment(|name| std::env::var(name).ok())?;
        Ok(Site {
            meter: Some(Meter::here(stated)),
            ..Site::of(session, executable)
        })
    }

    /// Where the log of an action is kept.
    pub(super) fn log(&self, key: &Digest) -> PathBuf {
        log_in(&self.state, key)
    }
}

//! Which remote is meant, and the way to it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::notice::{Notice, RemoteUse, Tell};
use crate::record::elsewhere::WayBack;
use crate::remote::config::Remotes;
use crate::remote::layout::Scope;
use crate::remote::link::Link;
use crate::session::Session;

/// How often it is told how much was moved.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Which remote, and whose part of it.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// As `repro.remotes.toml` calls it; the default one when absent.
    pub remote: Option<String>,
    /// What is published there, and read beside what everybody reads.
    pub scope: Scope,
}

impl Which {
    /// By the names people use.
    ///
    /// # Errors
    /// The scope is no name of one.
    pub fn named(remote: Option<&str>, scope: Option<&str>) -> anyhow::Result<Which> {
        let remote = remote.map(str::to_owned);
        let Some(scope) = scope else {
            let scope = Scope::Shared;
            return Ok(Which { remote, scope });
        };
        let named = scope.parse().map_err(|_| {
            anyhow::anyhow!("`{scope}` is no scope; write `a-z`, `0-9`, `_`, `-`, e.g. `pr-12`")
        })?;
        let scope = Scope::Of(named);
        Ok(Which { remote, scope })
    }
}

/// A remote, ready to be used.
pub struct Way {
    /// The way to it.
    pub link: Arc<Link>,
    /// What it warns of, until told.
    pub warnings: Arc<Mutex<Vec<String>>>,
}

impl Way {
    /// To the remote that is meant. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no such remote, or its credentials are plainly missing.
    pub fn to(project_root: &Path, which: &Which) -> anyhow::Result<Way> {
        let remotes = Remotes::read(project_root)?;
        let (name, _) = remotes.get(which.remote.as_deref())?;
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = warnings.clone();
        let warn = move |text: &str| {
            let mut heard = heard.lock().unwrap_or_else(|e| e.into_inner());
            heard.push(text.to_owned());
        };
        let backend = remotes.open(which.remote.as_deref())?;
        let link = Arc::new(Link::new(backend, name, which.scope.clone(), warn));
        Ok(Way { link, warnings })
    }

    /// To the remote that results known here came from, as far as they are not here.
    ///
    /// # Errors
    /// As [`Way::to`].
    pub fn back(session: &Session) -> anyhow::Result<Way> {
        let root = &session.project.root;
        let which = match session.elsewhere.way_back() {
            Some(WayBack { remote, scope }) => {
                // It may have been renamed or removed since.
                let is_there = Remotes::read(root)?.get(Some(&remote)).is_ok();
                Which::named(Some(&*remote).filter(|_| is_there), scope.as_deref())?
            }
            None => Which::default(),
        };
        Way::to(root, &which)
    }

    /// Tells what it warned of so far.
    pub fn tell_warnings(&self, tell: Tell) {
        self.link.tell_doubts();
        let mut warnings = self.warnings.lock().unwrap_or_else(|e| e.into_inner());
        for text in std::mem::take(&mut *warnings) {
            tell(Notice::Warning(text));
        }
    }

    /// Does `work` and tells meanwhile what is moved; `total` is about how many bytes that will be.
    pub fn watch<T: Send>(
        &self,
        total: u64,
        moved: fn(&Link) -> u64,
        tell: Tell,
        work: impl FnOnce() -> T + Send,
    ) -> T {
        let before = moved(&self.link);
        let done = std::thread::scope(|scope| {
            let working = scope.spawn(work);
            while !working.is_finished() {
                let done = (moved(&self.link) - before).min(total);
                tell(Notice::Moving { done, total });
                std::thread::sleep(LOOK_EVERY);
            }
            working.join()
        });
        tell(Notice::Moved);
        self.tell_warnings(tell);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// What was done so far.
    pub fn used(&self) -> RemoteUse {
        let moved = self.link.moved();
        RemoteUse {
            name: self.link.name().to_owned(),
            requests: moved.requests,
            bytes_received: moved.received,
            bytes_sent: moved.sent,
            warnings: moved.warnings,
        }
    }
}

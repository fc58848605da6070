//! Opening: where bytes travel, what an earlier run left, and that nobody else waits for the same
//! jobs.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use repro_engine::digest::Digest;
use repro_engine::exec::CancelLevel;
use repro_engine::executor::Tell;
use repro_engine::remote::config::{Remote, Remotes};
use repro_engine::remote::layout::Scope;
use repro_engine::remote::{Backend, BackendError, Body, Location, PutMode};
use repro_engine::store::{ActionLock, FileSystem, Reach};
use repro_engine::trust::Trust;

use super::nodes::Nodes;
use super::{Call, Element, Manager, Place, Sent};
use crate::desk::{Desk, Road};
use crate::inquiry;
use crate::journal::{Journal, Wave};
use crate::parts::Reader;
use crate::ticket::names;

impl Manager {
    /// Gets ready, and takes up what an earlier run left. Also what people should know.
    ///
    /// # Errors
    /// The remote or the journal cannot be used; another run waits for the same jobs, and was not
    /// waited for.
    pub fn open(
        place: Place,
        tell: Tell,
        calls: Sender<Call>,
    ) -> anyhow::Result<(Manager, Vec<String>)> {
        place.is_used.store(true, Ordering::SeqCst);
        let alone = alone(&place)?;
        let journal = Journal::of(&place.state, &place.name);
        let remotes = Remotes::read(&place.root)?;
        let before = journal.campaign()?;
        // What is under way is where it was sent.
        let wanted = before
            .as_ref()
            .map(|c| c.remote.clone())
            .or_else(|| place.settings.remote.clone());
        let (remote_name, remote) = remotes.get(wanted.as_deref()).with_context(|| {
            format!(
                "`{}` needs a remote, through which bytes travel",
                place.name
            )
        })?;
        let (location, settings) = remote.resolve(&place.root)?;
        let mut complete = Remote::at(&location, &settings);
        complete.found = remote.found;
        let is_new = before.is_none();
        let campaign = match before {
            Some(campaign) => campaign,
            None => journal.begin(remote_name)?,
        };
        let (key_pem, public) = journal.key()?;
        let scope: Scope = Scope::Of(campaign.scope.parse()?);
        let road = || Road {
            remote: complete.clone(),
            name: remote_name.to_owned(),
            scope: scope.clone(),
        };
        let backend = road().backend()?;
        let news = calls.clone();
        let tell_news = move |told| drop(news.send(Call::News(told)));
        let inquiry = inquiry::start(place.system.clone(), tell_news)?;
        let reply = move |reply| drop(calls.send(Call::Desk(reply)));
        let desk = Desk::start(
            road(),
            Trust::of_key(&public),
            place.store.clone(),
            tell.clone(),
            reply,
        )?;
        let late = match &location {
            Location::Directory(dir) if FileSystem::of(dir).reach == Reach::Local => {
                Duration::from_secs(2)
            }
            _ => place.settings.poll.late.0,
        };
        let now = Instant::now();
        let mut manager = Manager {
            reader: Reader::of(&campaign.scope),
            array_max: place.settings.array,
            ask_every: place.settings.poll.first.0,
            remote: complete.clone(),
            road: road(),
            late: late.min(place.settings.poll.late.0),
            place,
            tell,
            journal,
            campaign,
            key_pem,
            backend,
            desk,
            inquiry,
            is_asking: false,
            _alone: alone,
            orders: HashMap::new(),
            by_index: HashMap::new(),
            sent: Vec::new(),
            covered: HashMap::new(),
            early: HashMap::new(),
            counts: HashMap::new(),
            nodes: Nodes::default(),
            first_pending: None,
            last_begun: now,
            busy_until: None,
            busy_for: Duration::ZERO,
            told_busy: String::new(),
            waves: 0,
            has_history: !is_new,
            look_at: now,
            looked: None,
            ask_at: now,
            heard_at: now,
            told_silence: false,
            started: HashMap::new(),
            live: HashMap::new(),
        };
        let mut told = Vec::new();
        for wave in manager.journal.waves()? {
            manager.take_up(wave);
        }
        let jobs: usize = manager
            .sent
            .iter()
            .map(|s| s.elements.iter().filter(|e| !e.is_closed).count())
            .sum();
        if jobs > 0 {
            let jobs = match jobs {
                1 => "a job".to_owned(),
                _ => format!("{jobs} jobs"),
            };
            told.push(format!(
                "{jobs} of an earlier run may still be on `{}`; what this run wants of it is taken",
                manager.place.name
            ));
        } else {
            let written = can_be_written(&*manager.backend, &manager.campaign.scope);
            written.with_context(|| {
                format!(
                    "`{}` sends through the remote `{remote_name}`, which cannot be written to",
                    manager.place.name
                )
            })?;
        }
        Ok((manager, told))
    }

    /// A submission of an earlier run.
    fn take_up(&mut self, wave: Wave) {
        let number = wave
            .name
            .trim_start_matches('w')
            .parse::<u32>()
            .unwrap_or(0);
        self.waves = self.waves.max(number + 1);
        let at = self.sent.len();
        let mut elements = Vec::with_capacity(wave.elements.len());
        for (number, items) in (0..).zip(&wave.elements) {
            let is_closed = wave.over.contains(&number);
            let items = items
                .iter()
                .filter_map(|(id, key)| Some((*self.place.outlook.by_id.get(id)?, *key)));
            let element = Element::of(items.collect(), is_closed);
            if !is_closed {
                self.covered.extend(
                    element
                        .items
                        .iter()
                        .map(|(index, _)| (*index, (at, number))),
                );
            }
            elements.push(element);
        }
        self.sent.push(Sent {
            wave,
            elements,
            is_dirty: false,
        });
    }
}

/// A remote that refuses now refuses later, and jobs would be waited for that are never submitted.
/// One that does not answer may answer later.
fn can_be_written(remote: &dyn Backend, scope: &str) -> Result<(), BackendError> {
    let written = remote.put(&names::begun(scope), Body::Bytes(b""), PutMode::Overwrite);
    match written {
        Err(e) if !e.cause.is_transient() => Err(e),
        _ => Ok(()),
    }
}

/// The name of the lock of whoever waits for the jobs of a project on an executor.
pub fn lock_key(root: &Path, name: &str) -> Digest {
    Digest::of(format!("cluster {} {name}", root.display()).as_bytes())
}

/// One run at a time waits for the jobs of a project.
fn alone(place: &Place) -> anyhow::Result<ActionLock> {
    let key = lock_key(&place.root, &place.name);
    let mut told = false;
    let taken = place.store.lock_action(&key, |other| {
        if !std::mem::replace(&mut told, true) {
            let pid = other.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            let host = other.host.map_or_else(String::new, |host| format!(" on {host}"));
            log::warn!("another run{pid}{host} waits for jobs of this project; this one goes on when it has ended");
        }
        match place.cancel.level() {
            CancelLevel::None => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    Ok(taken?)
}

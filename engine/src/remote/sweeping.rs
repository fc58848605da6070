//! Notes that a collection leaves on a remote while it works: that things are being removed, and
//! what time it is there. Who may remove what is decided in [`super::gc`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::backend::{BackendError, BackendFault, Body, PutMode};
use super::backends::unique_word;
use super::layout::{Area, Place, Segment};
use super::link::Link;
use super::name::Name;

/// Says that things are being removed. Between looking at a thing and removing it somebody may make
/// it young; who did so waits until no such marker is there ([`await_sweeps`]), and then looks
/// whether it still is.
pub(super) struct Sweeping {
    pub(super) name: Name,
    renewed: Mutex<Instant>,
}

impl Sweeping {
    pub fn begin(link: &Link) -> Result<Sweeping, BackendError> {
        let sweeping = Sweeping {
            name: note(link, SWEEP)?,
            renewed: Mutex::new(Instant::now()),
        };
        link.put(&sweeping.name, Body::Bytes(b"0\n"), PutMode::Overwrite)?;
        Ok(sweeping)
    }

    /// A marker that does not change is taken for that of a dead process.
    pub fn renew(&self, link: &Link) -> Result<(), BackendError> {
        let mut renewed = self.renewed.lock().unwrap_or_else(|e| e.into_inner());
        if renewed.elapsed() > link.silence() / 8 {
            let word = format!("{}\n", unique_word());
            link.put(&self.name, Body::Bytes(word.as_bytes()), PutMode::Overwrite)?;
            *renewed = Instant::now();
        }
        Ok(())
    }
}

/// Waits until every sweep that goes on now has ended, or its process has died.
///
/// # Errors
/// The remote does not answer.
pub(super) fn await_sweeps(link: &Link) -> Result<(), BackendError> {
    let prefix = link.scope().area(Area::Gc);
    let sweeps = || -> Result<BTreeMap<Name, SystemTime>, BackendError> {
        let mut found = BTreeMap::new();
        let listed = link.list(&prefix, &mut |entry| {
            if is_note_of(&entry.name, SWEEP) {
                found.insert(entry.name, entry.modified);
            }
            ControlFlow::Continue(())
        });
        match listed {
            // Where nothing can be listed nothing is collected.
            Err(e) if e.cause == BackendFault::Unsupported => Ok(BTreeMap::new()),
            listed => listed.map(|()| found),
        }
    };
    let mut going_on = sweeps()?;
    if going_on.is_empty() {
        return Ok(());
    }
    let now = storage_now(link)?;
    going_on.retain(|_, modified| !is_dead(link, *modified, now));
    let mut changed = Instant::now();
    while !going_on.is_empty() && changed.elapsed() < link.silence() {
        std::thread::sleep((link.silence() / 40).min(Duration::from_secs(1)));
        let now = sweeps()?;
        going_on.retain(|name, _| now.contains_key(name));
        for (name, modified) in &mut going_on {
            if now[name] != *modified {
                *modified = now[name];
                changed = Instant::now();
            }
        }
    }
    Ok(())
}

/// Whether a marker was left by a process that died. One that lives renews it far more often.
pub(super) fn is_dead(link: &Link, modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified)
        .is_ok_and(|age| age > link.silence() * 10)
}

pub(super) const SWEEP: &str = "sweep";
pub(super) const TOMBSTONES: &str = "tombstones";

pub(super) fn note(link: &Link, epoch: &'static str) -> Result<Name, BackendError> {
    let id: Segment = unique_word().parse().map_err(|e| BackendError {
        cause: BackendFault::Local,
        doing: "write",
        what: "a note".to_owned(),
        why: format!("{e}"),
    })?;
    let epoch = Segment::of_word(epoch);
    Ok(link.scope().name(&Place::Gc { epoch, id }))
}

pub(super) fn is_note_of(name: &Name, wanted: &str) -> bool {
    matches!(Place::of(name), Some((_, Place::Gc { epoch, .. })) if epoch.as_str() == wanted)
}

/// What time it is, by the clock that stamps objects.
pub(super) fn storage_now(link: &Link) -> Result<SystemTime, BackendError> {
    let name = note(link, "clock")?;
    link.put(&name, Body::Bytes(b"now\n"), PutMode::Overwrite)?;
    let stamped = link.head(&name);
    link.delete(&name)?;
    Ok(stamped?.modified)
}

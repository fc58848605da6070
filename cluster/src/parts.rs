//! Reports of an element: what it says goes to the remote as numbered files of lines, and is read
//! there, each once. Nobody asks for a file that was not listed: some file systems remember for long
//! that a name was not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use repro_engine::digest::Digest;
use repro_engine::exec::Note;
use repro_engine::executor::Outcome;
use repro_engine::remote::{Backend, Body, Entry, Name, PutMode};
use serde::{Deserialize, Serialize};

use crate::ticket::names;

/// The largest report that is read.
const BYTES_MAX: u64 = 64 << 20;

/// What an element says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Line {
    /// It has begun.
    Begun {
        /// The machine.
        node: String,
    },
    /// An action is executed from now on.
    Started {
        /// Which.
        id: Arc<str>,
    },
    /// Of an action that is executed.
    Note {
        /// Which.
        id: Arc<str>,
        /// What.
        note: Note,
    },
    /// An action came to an end. One that was made is on the remote by now.
    Ended {
        /// Which.
        id: Arc<str>,
        /// Its key.
        key: Digest,
        /// How.
        outcome: Box<Outcome>,
        /// The end of its log.
        log: Option<String>,
    },
    /// The remote had its result.
    Found {
        /// Which.
        id: Arc<str>,
        /// Its key.
        key: Digest,
    },
    /// The element is done; nothing follows.
    Over {
        /// Those that were ended by the clock or by a signal, and whether they left a state.
        cut: Vec<(Arc<str>, bool)>,
        /// Why nothing at all could be done.
        trouble: Option<String>,
        /// What ended it before it was done.
        stopped: Option<Stopped>,
    },
}

/// What ends an element before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stopped {
    /// A signal: it is preempted, requeued, cancelled.
    Signal,
    /// Its time is over soon.
    Clock,
}

/// Which element, in which of its beginnings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The wave.
    pub wave: String,
    /// The element.
    pub index: u32,
    /// The beginning.
    pub attempt: String,
}

/// Reads reports of a campaign, each once.
pub struct Reader {
    scope: String,
    seen: BTreeMap<Source, BTreeSet<u32>>,
}

impl Reader {
    /// From the beginning.
    pub fn of(scope: &str) -> Reader {
        Reader {
            scope: scope.to_owned(),
            seen: BTreeMap::new(),
        }
    }

    /// What is new. A report that was read is removed; that it stays costs nothing but a look.
    ///
    /// # Errors
    /// The remote does not answer.
    pub fn read(&mut self, remote: &dyn Backend) -> Result<Vec<(Source, Line)>, String> {
        let mut there: BTreeMap<(Source, u32), Name> = BTreeMap::new();
        let listed = remote.list(&names::parts(&self.scope), &mut |entry: Entry| {
            there.extend(source_of(&entry.name).map(|part| (part, entry.name)));
            ControlFlow::Continue(())
        });
        listed.map_err(|e| e.to_string())?;
        let mut lines = Vec::new();
        for ((source, number), name) in there {
            let seen = self.seen.entry(source.clone()).or_default();
            if seen.contains(&number) {
                continue;
            }
            let Ok(text) = text(remote, &name) else {
                // The next look may find it whole.
                continue;
            };
            seen.insert(number);
            // A line that another version wrote tells nothing.
            let read = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.extend(read.map(|line| (source.clone(), line)));
            let _ = remote.delete(&name);
        }
        Ok(lines)
    }
}

fn source_of(name: &Name) -> Option<(Source, u32)> {
    let parts: Vec<&str> = name.as_str().split('/').collect();
    let ["jobs", _, "parts", wave, index, attempt, number] = parts[..] else {
        return None;
    };
    let source = Source {
        wave: wave.to_owned(),
        index: index.parse().ok()?,
        attempt: attempt.to_owned(),
    };
    Some((source, number.parse().ok()?))
}

/// All of a small file on the remote.
///
/// # Errors
/// It cannot be had: in words.
pub fn text(remote: &dyn Backend, name: &Name) -> Result<String, String> {
    let reading = remote.get(name, 0).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let read = reading.body.take(BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|e| format!("cannot read `{name}`: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes reports of one beginning of an element.
pub struct Writer {
    remote: Box<dyn Backend>,
    scope: String,
    source: Source,
    number: u32,
    unsent: String,
}

impl Writer {
    /// Nothing is written yet.
    pub fn of(remote: Box<dyn Backend>, scope: &str, source: Source) -> Writer {
        Writer {
            remote,
            scope: scope.to_owned(),
            source,
            number: 0,
            unsent: String::new(),
        }
    }

    /// Adds lines to what is sent next.
    pub fn add(&mut self, lines: &[Line]) {
        for line in lines {
            if let Ok(text) = serde_json::to_string(line) {
                self.unsent += &text;
                self.unsent.push('\n');
            }
        }
    }

    /// Sends what was added; what could not be sent is sent with the next. Says whether all is
    /// sent.
    pub fn send(&mut self) -> bool {
        if self.unsent.is_empty() {
            return true;
        }
        let Source {
            wave,
            index,
            attempt,
        } = &self.source;
        let name = names::part(&self.scope, wave, *index, attempt, self.number);
        let put = self.remote.put(
            &name,
            Body::Bytes(self.unsent.as_bytes()),
            PutMode::Overwrite,
        );
        // What was not answered may have arrived, and may be read already.
        self.number += 1;
        if put.is_ok() {
            self.unsent.clear();
        }
        put.is_ok()
    }
}

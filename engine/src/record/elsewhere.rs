//! What is known of results whose bytes may be on a remote only: the record and the signatures, as
//! they were believed.
//!
//! ```text
//! .repro/elsewhere/ab/<62 hex of the key>   one result
//! .repro/elsewhere/remote                   the remote they came from, and its scope
//! ```
//!
//! A record in the store promises that its bytes are there, so these are kept with the project.
//! Losing one costs a question to the remote. A key that the project has no use for any more,
//! because inputs changed or its bytes are here now, is swept.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dir;
use crate::store::Record;
use crate::whole;

/// Bytes of the largest file that is read.
const BYTES_MAX: u64 = 512 << 20;

/// No run goes on for so long after it has heard of a result.
const YOUNG: Duration = Duration::from_secs(24 * 3600);

/// See the module.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    dir: PathBuf,
}

/// A result that was believed, with the signatures under it.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// What was executed, and what it gave.
    pub record: Record,
    /// Who vouches; DSSE.
    pub envelopes: Vec<Vec<u8>>,
}

/// Where results came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// The remote, as `repro.remotes.toml` calls it.
    pub remote: String,
    /// Of the remote, where it was named.
    pub scope: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    result: Digest,
    record: String,
    envelopes: Vec<String>,
}

impl Elsewhere {
    /// Of the project whose state lies here.
    pub fn of(state: &Path) -> Elsewhere {
        Elsewhere {
            dir: state.join("elsewhere"),
        }
    }

    fn path(&self, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    /// Remembers a result.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remember(&self, record: &Record, envelopes: &[Vec<u8>]) -> io::Result<()> {
        let file = File {
            result: record.result(),
            record: record.to_text().map_err(io::Error::other)?,
            envelopes: envelopes.iter().map(|e| STANDARD.encode(e)).collect(),
        };
        whole::write_beside(&self.path(&record.key), &serde_json::to_vec(&file)?)
    }

    /// What is remembered of this action. What cannot be read was never known.
    pub fn get(&self, key: &Digest) -> Option<Remembered> {
        let file: File = serde_json::from_slice(&read(&self.path(key))?).ok()?;
        let decode = |text: &String| STANDARD.decode(text).ok();
        Some(Remembered {
            record: Record::parse(file.record.as_bytes(), key, &file.result).ok()?,
            envelopes: file.envelopes.iter().filter_map(decode).collect(),
        })
    }

    /// Its bytes are here now, and the store knows it.
    pub fn forget(&self, key: &Digest) {
        let _ = fs::remove_file(self.path(key));
    }

    /// Removes what is remembered of results that `is_wanted` does not know. What is younger than a
    /// day stays: a run that goes on has not said yet what it wants. How many went.
    pub fn sweep(&self, is_wanted: impl Fn(&Digest) -> bool) -> usize {
        let mut gone = 0;
        for dir in dir::read(&self.dir).into_iter().flatten().flatten() {
            let prefix = dir.file_name();
            for file in dir::read(dir.path()).into_iter().flatten().flatten() {
                let rest = file.file_name();
                let hex = format!("{}{}", prefix.display(), rest.display());
                // A name that is no key is what a killed process was writing.
                let is_wanted = hex.parse().is_ok_and(|key| is_wanted(&key));
                let modified = file.metadata().and_then(|meta| meta.modified()).ok();
                let age = modified.and_then(|time| time.elapsed().ok());
                if !is_wanted
                    && age.is_some_and(|age| age > YOUNG)
                    && fs::remove_file(file.path()).is_ok()
                {
                    gone += 1;
                }
            }
            // One that is not empty stays.
            let _ = fs::remove_dir(dir.path());
        }
        gone
    }

    /// Notes from which remote results came last.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_way(&self, way: &WayBack) -> io::Result<()> {
        if self.way_back().as_ref() == Some(way) {
            return Ok(());
        }
        let scope = way.scope.as_deref().unwrap_or_default();
        whole::write_beside(
            &self.dir.join("remote"),
            format!("{}\n{scope}\n", way.remote).as_bytes(),
        )
    }

    /// The remote results came from last.
    pub fn way_back(&self) -> Option<WayBack> {
        let text = String::from_utf8(read(&self.dir.join("remote"))?).ok()?;
        let mut lines = text.lines();
        Some(WayBack {
            remote: lines.next()?.to_owned(),
            scope: lines.next().filter(|s| !s.is_empty()).map(str::to_owned),
        })
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // Never a pipe, which would not end.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= BYTES_MAX).then_some(bytes)
}

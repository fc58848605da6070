//! The journal: one append-only JSONL file per run under `.repro/runs/`.
//!
//! Each event is one `write`, so a killed run leaves at most one torn last line, which readers ignore. Cached
//! instances are listed only where the key is another than before or outputs were put back, else just counted in the
//! summary: a run that does nothing writes two lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::event::Event;

/// The journal of the run under way.
pub struct Journal {
    file: Option<File>,
    /// Name of the run; sorts by time.
    pub run: String,
}

impl Journal {
    /// Opens the journal of a new run. A directory that cannot be written gives a journal that keeps nothing, and the
    /// error as a text for one warning.
    pub fn create(dir: &Path) -> (Journal, Option<String>) {
        let now = jiff::Timestamp::now();
        let run = format!(
            "{}-{}",
            now.strftime("%Y%m%dT%H%M%S%3fZ"),
            std::process::id()
        );
        let path = dir.join(format!("{run}.jsonl"));
        let opened = fs::create_dir_all(dir)
            .and_then(|()| OpenOptions::new().append(true).create_new(true).open(&path));
        match opened {
            Ok(file) => (
                Journal {
                    file: Some(file),
                    run,
                },
                None,
            ),
            Err(e) => (
                Journal { file: None, run },
                Some(format!(
                    "this run is not journalled: {}: {e}",
                    path.display()
                )),
            ),
        }
    }

    /// Keeps nothing: for runs that only look.
    pub fn none() -> Journal {
        Journal {
            file: None,
            run: String::new(),
        }
    }

    /// Appends an event, unless it is of a sort that is not kept.
    pub fn note(&mut self, event: &Event) -> io::Result<()> {
        let keep = match event {
            Event::Progress { .. } | Event::Planned { .. } | Event::Transfer { .. } => false,
            Event::Cached {
                restored, changed, ..
            } => *restored || *changed,
            _ => true,
        };
        if let (true, Some(file)) = (keep, &mut self.file) {
            let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        Ok(())
    }
}

/// Names of all recorded runs, oldest first.
pub fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut runs = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                if let Some(run) = entry?
                    .file_name()
                    .to_str()
                    .and_then(|n| n.strip_suffix(".jsonl"))
                {
                    runs.push(run.to_owned());
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    runs.sort();
    Ok(runs)
}

/// Where a run's journal is.
pub fn path(dir: &Path, run: &str) -> PathBuf {
    dir.join(format!("{run}.jsonl"))
}

/// All whole events of a run; torn or foreign lines are left out.
pub fn read(dir: &Path, run: &str) -> io::Result<Vec<Event>> {
    let bytes = fs::read(path(dir, run))?;
    Ok(bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::event::Summary;

    #[test]
    fn a_torn_last_line_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, warning) = Journal::create(dir.path());
        assert_eq!(warning, None);
        journal
            .note(&Event::Warning {
                instance: None,
                text: "a".into(),
            })
            .unwrap();
        journal
            .note(&Event::Summary(Summary {
                executed: 3,
                ..Summary::default()
            }))
            .unwrap();
        let runs = list(dir.path()).unwrap();
        assert_eq!(runs, [journal.run.clone()]);
        let file = path(dir.path(), &runs[0]);
        let whole = fs::read(&file).unwrap();
        let events = read(dir.path(), &runs[0]).unwrap();
        assert_eq!(events.len(), 2);
        for cut in 1..whole.len() {
            fs::write(&file, &whole[..whole.len() - cut]).unwrap();
            let kept = read(dir.path(), &runs[0]).unwrap();
            let whole_lines = whole[..whole.len() - cut]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            // A line that lacks only its line feed is whole all the same.
            assert!(
                kept.len() >= whole_lines && kept == events[..kept.len()],
                "cut {cut}: {kept:?}"
            );
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_costs_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let (mut journal, warning) = Journal::create(&file.join("runs"));
        assert!(warning.unwrap().contains("not journalled"));
        journal
            .note(&Event::Warning {
                instance: None,
                text: "a".into(),
            })
            .unwrap();
    }
}

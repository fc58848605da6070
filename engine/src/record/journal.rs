//! The journal: one append-only JSONL file per run under `.repro/runs/`.
//!
//! Each event is one `write`, so a killed run leaves at most one torn last line, which readers
//! ignore. Cached instances are listed only where the key is another than before or outputs were
//! put back, else just counted in the summary: a run that does nothing writes two lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::event::Event;
use crate::damaged;
use crate::regular::{self, Links};

/// Bytes after which a journal takes nothing but its summary any more: half a million executions.
const BYTES_MAX: u64 = 256 << 20;
/// Bytes of the largest summary.
const SUMMARY_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the longest line.
const LINE_BYTES_MAX: u64 = SUMMARY_BYTES_MAX;
/// Lines that are no events, after which a file with more of them than events is no journal.
const BAD_LINES_MAX: u64 = 100;

/// The journal of the run under way.
pub struct Journal {
    file: Option<File>,
    bytes_written: u64,
    /// Name of the run; sorts by time.
    pub run: String,
}

impl Journal {
    /// Opens the journal of a new run. A directory that cannot be written gives a journal that
    /// keeps nothing, and the error as a text for one warning.
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
                    bytes_written: 0,
                    run,
                },
                None,
            ),
            Err(e) => (
                Journal {
                    file: None,
                    bytes_written: 0,
                    run,
                },
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
            bytes_written: 0,
            run: String::new(),
        }
    }

    /// Appends an event, unless it is of a sort that is not kept.
    pub fn note(&mut self, event: &Event) -> io::Result<()> {
        let keep = match event {
            Event::Progress { .. }
            | Event::Said { .. }
            | Event::Planned { .. }
            | Event::Transfer { .. } => false,
            Event::Cached {
                restored, changed, ..
            } => *restored || *changed,
            _ => true,
        };
        if let (true, Some(file)) = (keep, &mut self.file) {
            let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
            line.push(b'\n');
            let is_over = matches!(event, Event::Summary(_));
            if is_over || self.bytes_written + line.len() as u64 <= BYTES_MAX {
                self.bytes_written += line.len() as u64;
                file.write_all(&line)?;
            }
        }
        Ok(())
    }
}

/// Names of all recorded runs, oldest first.
pub fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut runs = Vec::new();
    match crate::dir::read(dir) {
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

/// Gives every whole event of a run to `take`, in order; torn or foreign lines are left out. What
/// is no journal at all (not a file, too large, without a line that is an event) is moved aside
/// with a warning, and has no events.
///
/// # Errors
/// It cannot be read.
pub fn each(dir: &Path, run: &str, take: &mut dyn FnMut(Event)) -> io::Result<()> {
    let path = path(dir, run);
    match read_each(&path, take) {
        Err(e) if damaged::is_damage(&e) => damaged::set_aside(&path, &e.to_string()),
        other => return other,
    }
    Ok(())
}

fn read_each(path: &Path, take: &mut dyn FnMut(Event)) -> io::Result<()> {
    let file = open(path)?;
    let mut reader = BufReader::new(file.take(BYTES_MAX + SUMMARY_BYTES_MAX));
    let (mut good, mut bad) = (0u64, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(());
        }
        if n as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            let why = format!("it has a line of more than {LINE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        match serde_json::from_slice(&line) {
            Ok(event) => {
                good += 1;
                take(event);
            }
            Err(_) => bad += 1,
        }
        if bad > BAD_LINES_MAX && bad > good {
            let why = "its lines are not events";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = regular::open(path, Links::Refuse)?;
    match file.metadata()?.len() {
        n if n > BYTES_MAX + SUMMARY_BYTES_MAX => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {n} bytes"),
        )),
        _ => Ok(file),
    }
}

/// All whole events of a run, as [`each`].
pub fn read(dir: &Path, run: &str) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    each(dir, run, &mut |event| events.push(event))?;
    Ok(events)
}

/// The first and the last event of a run, without what lies between; as far as they are whole.
///
/// # Errors
/// It cannot be read.
pub fn ends(dir: &Path, run: &str) -> io::Result<(Option<Event>, Option<Event>)> {
    let path = path(dir, run);
    let read = || {
        let file = open(&path)?;
        let bytes_total = file.metadata()?.len();
        let piece = |from: u64| {
            let mut bytes = vec![0; (bytes_total - from).min(SUMMARY_BYTES_MAX) as usize];
            file.read_exact_at(&mut bytes, from).map(|()| bytes)
        };
        let head = piece(0)?;
        let tail = piece(bytes_total.saturating_sub(SUMMARY_BYTES_MAX))?;
        let lines = |bytes: &[u8]| -> Option<Event> { serde_json::from_slice(bytes).ok() };
        let first = head.split(|b| *b == b'\n').next().and_then(lines);
        let mut last = tail.rsplit(|b| *b == b'\n').filter(|line| !line.is_empty());
        let last = last.next().and_then(lines);
        if first.is_none() && last.is_none() && bytes_total > 0 {
            let why = "its lines are not events";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok((first, last))
    };
    match read() {
        Err(e) if damaged::is_damage(&e) => {
            damaged::set_aside(&path, &e.to_string());
            Ok((None, None))
        }
        other => other,
    }
}

/// The newest of these runs (oldest first) whose journals have so many bytes together: what is read
/// at once.
pub fn newest<'a>(dir: &Path, runs: &'a [String], bytes_max: u64) -> &'a [String] {
    let mut bytes_left = bytes_max;
    let fits = runs.iter().rev().take_while(|run| {
        let meta = fs::symlink_metadata(path(dir, run)).ok();
        let bytes = meta.filter(|m| m.is_file()).map_or(0, |m| m.len());
        let fits = bytes <= bytes_left;
        bytes_left = bytes_left.saturating_sub(bytes);
        fits
    });
    &runs[runs.len() - fits.count()..]
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
    fn case_47_what_is_no_journal_is_moved_aside_and_costs_little() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| path(dir.path(), name);
        let event = serde_json::to_string(&Event::Warning {
            instance: None,
            text: "a".into(),
        });
        let event = event.unwrap() + "\n";
        fs::write(file("garbage"), b"\xff\n".repeat(1 << 20)).unwrap();
        fs::write(file("one line"), b"[".repeat(20 << 20)).unwrap();
        fs::create_dir(file("dir")).unwrap();
        let holes = File::create(file("holes")).unwrap();
        holes.set_len(1 << 40).unwrap();
        fs::write(file("mended"), event.repeat(200) + &"x\n".repeat(150)).unwrap();
        let bad = ["dir", "garbage", "holes", "one line"];
        for name in bad {
            assert_eq!(read(dir.path(), name).unwrap(), [], "{name}");
            assert!(!file(name).exists(), "{name} is moved aside");
        }
        assert_eq!(read(dir.path(), "mended").unwrap().len(), 200);
        assert_eq!(list(dir.path()).unwrap(), ["mended"]);
        fs::write(file("garbage"), b"\xff\n".repeat(1 << 10)).unwrap();
        assert_eq!(ends(dir.path(), "garbage").unwrap(), (None, None));
        assert_eq!(list(dir.path()).unwrap(), ["mended"]);
        let (first, last) = ends(dir.path(), "mended").unwrap();
        assert!(first.is_some() && last.is_none());
        let runs = ["a", "b", "c"].map(str::to_owned);
        for run in &runs {
            fs::write(file(run), "12345").unwrap();
        }
        assert_eq!(newest(dir.path(), &runs, 11), &runs[1..]);
        assert_eq!(newest(dir.path(), &runs, 15), &runs[..]);
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

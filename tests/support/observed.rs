//! What a run did, told three ways (events, summary, exit code) that must agree, and what it left
//! in the project.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Said, TestSpace, instances};

/// One finished `run --json`.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// All events.
    pub events: Vec<Value>,
    /// The last event.
    pub summary: Value,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Reads what `run --json` said. The events must be well formed and their counts must be those
    /// of the summary.
    #[track_caller]
    pub fn of(said: Said) -> Ran {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|e| panic!("no JSON: {e}: {line}\n{}", said.err))
        };
        let events: Vec<Value> = said.out.lines().map(parse).collect();
        let Some(summary) = events.last().filter(|e| e["event"] == "summary").cloned() else {
            panic!(
                "no summary (exit code {})\n--- stdout\n{}\n--- stderr\n{}",
                said.code, said.out, said.err
            );
        };
        let ran = Ran {
            code: said.code,
            events,
            summary,
            err: said.err,
        };
        if ran.summary["dry_run"] != true {
            for (sort, count) in [
                ("finished", "executed"),
                ("cached", "cached"),
                ("failed", "failed"),
                ("unstable", "unstable"),
            ] {
                assert_eq!(
                    ran.all(sort).len() as u64,
                    ran.count(count),
                    "{sort}: events and summary differ: {ran:#?}"
                );
            }
        }
        ran
    }

    /// A count of the summary.
    pub fn count(&self, name: &str) -> u64 {
        self.summary[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no `{name}` in {}", self.summary))
    }

    /// The instances of all events of one sort, sorted.
    pub fn all(&self, sort: &str) -> Vec<String> {
        let mut all = instances(&self.events, sort);
        all.sort();
        all
    }

    /// The first event of one sort about an instance.
    #[track_caller]
    pub fn event(&self, sort: &str, instance: &str) -> &Value {
        let found = self
            .events
            .iter()
            .find(|e| e["event"] == sort && e["instance"] == instance);
        found.unwrap_or_else(|| panic!("no `{sort}` about `{instance}`: {self:#?}"))
    }

    /// The texts of all warnings, and standard error: everything a person is told beside the
    /// results.
    pub fn talk(&self) -> String {
        let texts = self
            .events
            .iter()
            .filter(|e| e["event"] == "warning")
            .filter_map(|e| e["text"].as_str());
        texts
            .chain([self.err.as_str()])
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// It succeeded, and executed exactly these instances.
    #[track_caller]
    pub fn executes(&self, wanted: &[&str]) -> &Ran {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(self.code, 0, "{self:#?}");
        assert_eq!(self.all("started"), wanted, "{self:#?}");
        assert_eq!(self.all("finished"), wanted, "{self:#?}");
        self
    }

    /// It failed with this code, and the `failed` event of this instance says all of these, in its
    /// message or hint.
    #[track_caller]
    pub fn fails(&self, code: i32, instance: &str, says: &[&str]) -> &Ran {
        assert_eq!(self.code, code, "{self:#?}");
        let event = self.event("failed", instance);
        let text = format!(
            "{}\n{}",
            event["message"].as_str().unwrap_or(""),
            event["hint"].as_str().unwrap_or("")
        );
        for part in says {
            assert!(
                text.contains(part),
                "`{part}` is not in:\n{text}\n{}",
                self.err
            );
        }
        self
    }
}

impl TestSpace {
    /// Runs `run --json` with these further arguments.
    #[track_caller]
    pub fn ran(&self, args: &[&str]) -> Ran {
        self.ran_command(self.command(&[&["run", "--json"], args].concat()))
    }

    /// The same in another project of this space.
    #[track_caller]
    pub fn ran_in(&self, dir: &Path, args: &[&str]) -> Ran {
        let mut command = self.command(&[&["run", "--json"], args].concat());
        command.current_dir(dir);
        self.ran_command(command)
    }

    /// The same for a prepared command.
    #[track_caller]
    pub fn ran_command(&self, command: Command) -> Ran {
        Ran::of(self.run_command(command))
    }

    /// Writes an executable file of the project.
    pub fn write_program(&self, path: &str, text: &str) -> &TestSpace {
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).expect("its mode");
        self
    }

    /// Every file and link below `artifacts/`, with its bytes.
    pub fn artifacts(&self) -> BTreeMap<String, Vec<u8>> {
        files_below(&self.path("artifacts"))
    }
}

/// Every file and link below a directory, with its bytes (a link's are its target).
pub fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("its type"));
            let name = path
                .strip_prefix(root)
                .expect("inside")
                .to_string_lossy()
                .into_owned();
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_symlink() {
                files.insert(
                    name,
                    fs::read_link(&path)
                        .expect("a link")
                        .to_string_lossy()
                        .into_owned()
                        .into_bytes(),
                );
            } else {
                files.insert(
                    name,
                    fs::read(&path)
                        .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display())),
                );
            }
        }
    }
    files
}

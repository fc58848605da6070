//! Executions with real processes. Here: how a test sets one up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::plan::{Command, Sandbox, Setup};
use crate::skipped::skipped;

mod commands;
mod confinement;
mod death;
mod kinds;

/// A project with a store beside it, and one request to be changed at will.
pub struct Bench {
    pub root: tempfile::TempDir,
    pub request: Request,
    pub cancel: Cancel,
    pub notes: Vec<Note>,
}

impl Bench {
    /// A command stage `a` without inputs; `outputs` are paths, named after themselves.
    pub fn new(script: &str, outputs: &[&str]) -> Bench {
        let root = tempfile::tempdir().unwrap();
        for dir in ["project", "store"] {
            std::fs::create_dir(root.path().join(dir)).unwrap();
        }
        let shell = ["bash", "-euo", "pipefail", "-c"].map(String::from).into();
        let command = Command {
            script: script.into(),
            setup: Arc::new(Setup {
                shell,
                ..Setup::default()
            }),
        };
        let policy = Policy {
            cpus: Some(1),
            ..Policy::default()
        };
        let request = Request {
            id: "a".into(),
            work: Work::Command(Arc::new(command)),
            inputs: Vec::new(),
            surroundings: Default::default(),
            outputs: specs(outputs),
            policy: Arc::new(policy),
            grant: Grant::default(),
            dir: root.path().join("project/.repro/work/1"),
            scratch_dir: root.path().join("scratch"),
            mirrors: Vec::new(),
            pins: BTreeMap::new(),
            offline: true,
            device: None,
            afterwards: Afterwards::Discarded,
            resume: None,
            project_root: root.path().join("project"),
            executable: PathBuf::from("/bin/false"),
            store_roots: Arc::new([]),
        };
        Bench {
            root,
            request,
            cancel: Cancel::new().unwrap(),
            notes: Vec::new(),
        }
    }

    pub fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Bench {
        change(Arc::make_mut(&mut self.request.policy));
        self
    }

    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Declares `origin` as an input.
    pub fn need(&mut self, name: &str, placed_at: &str, origin: InputOrigin) {
        self.request.inputs.push(PlacedInput {
            need: name.into(),
            many: false,
            group: "".into(),
            axes: Arc::new([]),
            placed_at: RelPath::new(placed_at).unwrap(),
            origin,
            called: name.into(),
            digest: "file:00".into(),
            kin: Default::default(),
        });
    }

    /// Writes a project file and declares it.
    pub fn project_file(&mut self, name: &str, path: &str, text: &str) -> PathBuf {
        let file = self.file(&format!("project/{path}"), text);
        self.need(name, path, InputOrigin::ProjectFile(file.clone()));
        file
    }

    pub fn run(&mut self) -> Result<Finished, Box<Failure>> {
        let notes = &mut self.notes;
        execute(&self.request, &self.cancel, &mut |note| notes.push(note))
    }

    /// Runs, expecting success, and reads an output.
    pub fn output(&mut self, name: &str) -> String {
        let finished = self.run().unwrap_or_else(|f| panic!("{f}"));
        std::fs::read_to_string(&finished.outputs[name]).unwrap()
    }

    pub fn fails(&mut self) -> Box<Failure> {
        match self.run() {
            Ok(_) => panic!("it should fail"),
            Err(failure) => failure,
        }
    }

    pub fn lines(&self) -> Vec<&str> {
        self.notes
            .iter()
            .filter_map(|n| {
                if let Note::Line(l) = n {
                    Some(l.as_str())
                } else {
                    None
                }
            })
            .collect()
    }
}

pub fn specs(paths: &[&str]) -> Arc<[OutputSpec]> {
    paths
        .iter()
        .map(|p| OutputSpec {
            name: (*p).into(),
            path: RelPath::new(p).unwrap(),
        })
        .collect()
}

/// Whether this machine can confine processes; tests of the sandbox say that they cannot check
/// otherwise.
pub fn has_landlock() -> bool {
    let allowed = sandbox::Allowed {
        project_root: Path::new("/nonexistent"),
        programs: Vec::new(),
        read: Vec::new(),
        read_unlisted: &[],
        write: Vec::new(),
        shared_memory: true,
        gpus: false,
    };
    match sandbox::ruleset(&allowed) {
        Ok(_) => true,
        Err(reason) => {
            skipped(reason);
            false
        }
    }
}

/// Waits until `done`, for what happens in another process.
pub fn eventually(what: &str, done: impl Fn() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what}: not after 30 s");
}

/// Whether a process runs; a zombie does not.
pub fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z") || rest.starts_with(" X"))
    })
}

/// The process numbers a script wrote to a file, one per line.
pub fn pids(file: &Path) -> Vec<i32> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.trim().parse().ok())
        .collect()
}

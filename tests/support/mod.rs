//! A project and a store in temporary directories, and the real program run in them.
//!
//! Every end-to-end test file says `mod support;` and uses what it needs of [`TestSpace`]. The
//! environment of the program is cleared to `PATH`, `HOME` (a temporary one) and the store, so no
//! test sees the machine's own settings.

// Each test file is a crate of its own that uses a part of this.
#![allow(dead_code)]

pub mod bucket;
pub mod git;
pub mod lab;
pub mod machines;
pub mod network;
pub mod npm;
pub mod nvml;
pub mod observed;
pub mod processes;
pub mod python;
pub mod servers;
pub mod skipped;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest any command may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pipeline with these stages, one per line of `NAME: {...}`.
pub fn stages(lines: &str) -> String {
    let lines: String = lines
        .trim()
        .lines()
        .map(|l| format!("  {}\n", l.trim()))
        .collect();
    format!("version: 1\nstages:\n{lines}")
}

/// A project with these [`stages`].
pub fn space(lines: &str) -> TestSpace {
    TestSpace::with_pipeline(&stages(lines))
}

/// A project directory, a store and a home, all gone when dropped.
pub struct TestSpace {
    _dir: tempfile::TempDir,
    /// The project.
    pub project: PathBuf,
    /// The store (`REPRO_STORE`).
    pub store: PathBuf,
    home: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; -1 when it was killed by a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl TestSpace {
    /// An empty project and an empty store.
    pub fn new() -> TestSpace {
        let dir = tempfile::Builder::new()
            .prefix("repro-test-")
            .tempdir()
            .expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("its path");
        let (project, store, home) = (root.join("project"), root.join("store"), root.join("home"));
        for made in [&project, &home] {
            fs::create_dir(made).expect("a directory");
        }
        TestSpace {
            _dir: dir,
            project,
            store,
            home,
            env: BTreeMap::new(),
        }
    }

    /// An empty project that holds this `pipeline.yaml`.
    pub fn with_pipeline(yaml: &str) -> TestSpace {
        let space = TestSpace::new();
        space.write("pipeline.yaml", yaml);
        space
    }

    /// A second project on the same store, in `name` beside the first.
    pub fn other_project(&self, name: &str) -> PathBuf {
        let dir = self.project.with_file_name(name);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// Sets a variable for all later commands.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) -> &mut TestSpace {
        self.env.insert(name.into(), value.into());
        self
    }

    /// What [`TestSpace::set_env`] has set.
    pub fn variables(&self) -> &BTreeMap<OsString, OsString> {
        &self.env
    }

    /// A path in the project.
    pub fn path(&self, path: &str) -> PathBuf {
        self.project.join(path)
    }

    /// Whether there is something at a path of the project (a dangling link too).
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Writes a file of the project; its directories are made.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &TestSpace {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        self
    }

    /// Replaces text in a file of the project; it must be there.
    pub fn edit(&self, path: &str, from: &str, to: &str) -> &TestSpace {
        let text = self.read(path);
        assert!(
            text.contains(from),
            "{path} does not contain {from:?}:\n{text}"
        );
        self.write(path, text.replace(from, to))
    }

    /// Reads a file of the project.
    pub fn read(&self, path: &str) -> String {
        let bytes = fs::read(self.path(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
        String::from_utf8(bytes).expect("text")
    }

    /// Removes a file or directory of the project.
    pub fn remove(&self, path: &str) -> &TestSpace {
        let path = self.path(path);
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.unwrap_or_else(|e| panic!("cannot remove {}: {e}", path.display()));
        self
    }

    /// The program with these arguments, not yet started; its working directory is the project.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_repro"));
        command.args(args).current_dir(&self.project).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", &self.home)
            .env("REPRO_STORE", &self.store)
            .env("NO_COLOR", "1");
        command.envs(&self.env).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        self.run_command(self.command(args))
    }

    /// Runs the program in another directory.
    pub fn run_in(&self, dir: &Path, args: &[&str]) -> Said {
        let mut command = self.command(args);
        command.current_dir(dir);
        self.run_command(command)
    }

    /// Runs a prepared command to its end; a command that does not end is a failed test.
    pub fn run_command(&self, mut command: Command) -> Said {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        said(wait(child))
    }

    /// Starts the program and does not wait; its output is thrown away.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    }

    /// Runs the program, which must succeed, and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).expect(0, args).out
    }

    /// Runs the program with `--json`, which must succeed, and parses its standard output as one
    /// value.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let out = self.ok(&args);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?} wrote no JSON: {e}\n{out}"))
    }

    /// Runs `run --json` with these further arguments and gives all its events, whatever the exit
    /// code.
    pub fn events(&self, args: &[&str]) -> (i32, Vec<Value>) {
        let mut all = vec!["run", "--json"];
        all.extend(args);
        let said = self.run(&all);
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|e| panic!("no JSON: {e}: {line}\n{}", said.err))
        };
        (said.code, said.out.lines().map(parse).collect())
    }

    /// Runs `run` (which must succeed) and gives the instances it executed, sorted.
    pub fn executed(&self, args: &[&str]) -> Vec<String> {
        let (code, events) = self.events(args);
        assert_eq!(code, 0, "{events:#?}");
        let mut executed = instances(&events, "finished");
        executed.sort();
        executed
    }

    /// Waits until there is something at a path of the project.
    pub fn wait_for(&self, path: &str) {
        let started = Instant::now();
        while !self.exists(path) {
            assert!(started.elapsed() < PATIENCE, "`{path}` never appeared");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the journals of the project hold a text so many times.
    pub fn wait_for_journals(&self, text: &str, times: usize) {
        let started = Instant::now();
        let found = || -> usize {
            let files = fs::read_dir(self.path(".repro/runs")).into_iter().flatten();
            let texts = files
                .flatten()
                .map(|f| fs::read(f.path()).unwrap_or_default());
            texts
                .map(|t| String::from_utf8_lossy(&t).matches(text).count())
                .sum()
        };
        while found() < times {
            assert!(started.elapsed() < PATIENCE, "no journal says `{text}`");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Files of the store under `dir` (`objects`, `actions` ...), sorted.
    pub fn store_files(&self, dir: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.store.join(dir)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
                if is_dir {
                    dirs.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
        files
    }
}

impl Said {
    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32, what: &[&str]) -> Said {
        assert_eq!(
            self.code, code,
            "repro {what:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.out, self.err
        );
        self
    }
}

/// Runs a `run --json`, however long that takes; it must succeed. Gives its events, the summary
/// last.
#[track_caller]
pub fn events_to_the_end(command: &mut Command) -> Vec<Value> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    assert!(
        status.success(),
        "{command:?}: {status}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    let stdout = String::from_utf8(stdout).expect("UTF-8");
    let parse = |line| serde_json::from_str(line).expect("an event");
    stdout.lines().map(parse).collect()
}

/// The `instance` of every event of one sort, in order.
pub fn instances(events: &[Value], sort: &str) -> Vec<String> {
    events
        .iter()
        .filter(|e| e["event"] == sort)
        .filter_map(|e| Some(e["instance"].as_str()?.to_owned()))
        .collect()
}

/// Waits for a child, and fails the test when that takes too long.
pub fn wait(mut child: Child) -> Output {
    // The pipes are read all the while, or a talkative child would wait for ever.
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let out = read(child.stdout.take().map(|p| Box::new(p) as _));
    let err = read(child.stderr.take().map(|p| Box::new(p) as _));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "the program did not end in {PATIENCE:?}; stderr:\n{}",
                String::from_utf8_lossy(&err.join().unwrap_or_default())
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Output {
        status,
        stdout: out.join().unwrap_or_default(),
        stderr: err.join().unwrap_or_default(),
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

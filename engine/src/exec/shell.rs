//! A shell, or another program, where a command runs or failed: the same directory, inputs,
//! environment and walls, and the terminal of whoever asks.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::command::memory_limit;
use super::placing::Ground;
use super::private_dir::PrivateDir;
use super::secrets::Secrets;
use super::setting::Setting;
use super::start::Start;
use super::{Cause, Request};
use crate::plan::Command;

/// The file in the directory of temporary files that holds the text of the stage's command.
const COMMAND_FILE: &str = "command";

/// A setting with the text of the command in it, for somebody to look around in.
pub struct Visit {
    setting: Setting,
    secrets: Secrets,
    /// The working directory.
    pub work: PathBuf,
    /// The file with the command, as the visitor sees it.
    pub command_file: PathBuf,
}

/// Where a visit takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkDir {
    /// In a new directory with the inputs.
    Fresh,
    /// In the directory that a failed execution left.
    Left,
}

/// Prepares a visit to `request.dir`.
///
/// # Errors
/// What is missing, or cannot be made.
pub fn visit(request: &Request, command: &Command, site: WorkDir) -> Result<Visit, Cause> {
    let secrets = Secrets::of(&request.policy.secrets)?;
    let io = |source| Cause::Io {
        what: format!("opening the directory {}", request.dir.display()),
        source,
    };
    let (dir, ground) = match site {
        WorkDir::Fresh => (PrivateDir::create(&request.dir), Ground::Empty),
        WorkDir::Left => (PrivateDir::open(&request.dir), Ground::AsLeft),
    };
    let dir = dir.map_err(io)?;
    dir.for_command().map_err(io)?;
    let setting = Setting::of(request, command, dir, ground)?;
    std::fs::write(
        setting.walls.tmp_outside().join(COMMAND_FILE),
        &*command.script,
    )
    .map_err(io)?;
    Ok(Visit {
        work: setting.dir.work.clone(),
        command_file: setting.walls.tmp().join(COMMAND_FILE),
        setting,
        secrets,
    })
}

impl Visit {
    /// Runs a program with the terminal, or the stage's shell where none is named, and waits for
    /// it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(
        mut self,
        request: &Request,
        command: &Command,
        words: &[String],
    ) -> Result<ExitStatus, Cause> {
        let shell = command.setup.shell.first().map_or("sh", String::as_str);
        let (program, arguments) = match words {
            [] => (shell, words),
            [program, arguments @ ..] => (program.as_str(), arguments),
        };
        let mut process = self
            .setting
            .process(program, request, command, &self.secrets);
        process.args(arguments);
        if let Some(term) = std::env::var_os("TERM") {
            process.env("TERM", term);
        }
        if words.is_empty() {
            process.env("PS1", format!("[{}] \\w\\$ ", request.id));
        }
        let ruleset = self.setting.walls.ruleset.take();
        let start = Start {
            program: process,
            memory_bytes: memory_limit(request),
            cores: Vec::new(),
            room: self.setting.room.take(),
        };
        let result = start.attend(ruleset);
        self.setting.placed.leave_links();
        result.map_err(|source| Cause::Spawn {
            program: program.to_owned(),
            source,
        })
    }

    /// How to run the stage's command from inside.
    pub fn how_to_run(&self, command: &Command) -> String {
        let mut words: Vec<&str> = command.setup.shell.iter().map(String::as_str).collect();
        if words.last().is_some_and(|w| *w == "-c") {
            words.pop();
        }
        format!("{} {}", words.join(" "), self.command_file.display())
    }
}

/// The working directory inside of a private directory, for messages.
pub fn work_in(dir: &Path) -> PathBuf {
    dir.join("work")
}

//! `Failure`: why an execution did not make its outputs, in one clear message with a remedy and the
//! end of the log.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;

use super::{Request, Usage, denied};

/// An execution that failed.
#[derive(Debug)]
pub struct Failure {
    /// The instance.
    pub id: Arc<str>,
    /// What happened.
    pub cause: Cause,
    /// The log file, once there is one.
    pub log: Option<PathBuf>,
    /// The last lines of the log, at most 40.
    pub tail: Vec<String>,
    /// What it used until then.
    pub usage: Usage,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The command ended with another code than 0.
    #[error("it exited with code {code}")]
    Exit {
        /// The code, 1 to 255.
        code: i32,
    },
    /// The process was killed by a signal nobody here sent.
    #[error("it was killed by signal {signal} ({name})")]
    Signal {
        /// Its number.
        signal: i32,
        /// Its name.
        name: &'static str,
    },
    /// It ran longer than `timeout:` allows.
    #[error("it ran longer than its timeout of {timeout_s} s and was stopped")]
    TimedOut {
        /// The limit.
        timeout_s: f64,
    },
    /// A process it started lives on: SIGKILL does not end it.
    #[error("its process {pid} cannot be ended, and may still write to its outputs")]
    NotEnded {
        /// The process.
        pid: i32,
    },
    /// It asked for more memory than `memory:` allows.
    #[error("it ran out of memory: the declared limit is {} per process", ByteSize(*.limit_bytes))]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// A declared output was not written.
    #[error("it did not write its output `{name}` ({path})")]
    OutputMissing {
        /// The output.
        name: Arc<str>,
        /// Its declared path.
        path: String,
        /// What it wrote in its place: files that are neither input nor output.
        wrote: Vec<String>,
    },
    /// A declared output is not a file or directory of its own.
    #[error("its output `{name}` cannot be kept: {problem}")]
    BadOutput {
        /// The output.
        name: Arc<str>,
        /// What is wrong with it.
        problem: String,
    },
    /// The worker says what is wrong.
    #[error("{message}")]
    Worker {
        /// One sentence.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The worker ended without a usable answer.
    #[error("its worker broke down: {how}")]
    Crash {
        /// How it ended and what is missing.
        how: String,
    },
    /// It wanted a file of the project it does not declare.
    #[error("it {} `{path}`, which it does not declare", if *.wanted { "read" } else { "names" })]
    Undeclared {
        /// Relative to the project.
        path: String,
        /// The log shows the failed read; otherwise only the command text names the file.
        wanted: bool,
        /// What to add to the stage, e.g. `needs: {helper: {file: helper.py}}`.
        line_to_add: String,
        /// How the command ended.
        ended: String,
    },
    /// Its Python lacks a module.
    #[error(
        "its Python has no module `{module}`{}",
        python.as_ref().map_or_else(String::new, |python| format!(" ({} ran it)", python.display()))
    )]
    ModuleMissing {
        /// The first part of its name.
        module: String,
        /// The program that ran it, where the command's text names it.
        python: Option<PathBuf>,
        /// The environment that the stage declares.
        declared: Option<String>,
        /// How the command ended.
        ended: String,
    },
    /// A shell would not run a file that is its input.
    #[error("`{path}`, its input `{need}`, was not run")]
    NotRun {
        /// The need.
        need: Arc<str>,
        /// Where the file is placed.
        path: String,
        /// How the command ended.
        ended: String,
        /// What to do.
        remedy: String,
    },
    /// The sandbox denied it a file outside the project.
    #[error(
        "it {} `{path}`, which lies outside the project and the system's directories",
        if *.wrote_perhaps { "was refused" } else { "read" }
    )]
    Denied {
        /// The file.
        path: String,
        /// It lies where programs write temporary files, and the message does not say what was
        /// tried.
        wrote_perhaps: bool,
        /// How the command ended.
        ended: String,
    },
    /// `network: off`, and this machine cannot.
    #[error("its network cannot be switched off on this machine: {why}")]
    NetworkStaysOn {
        /// A clause.
        why: String,
    },
    /// A secret it declares has no value here.
    #[error("its secret `{name}` is not set")]
    SecretMissing {
        /// The environment variable.
        name: Arc<str>,
    },
    /// An output holds a secret.
    #[error(
        "its output `{output}` holds the value of the secret `{secret}` ({path}) and is not kept"
    )]
    Spilled {
        /// The output.
        output: Arc<str>,
        /// The file.
        path: String,
        /// The environment variable.
        secret: Arc<str>,
    },
    /// It wanted a directory for temporary files that is not its own here.
    #[error("it was refused `{path}`: the directory is not its own on this machine")]
    SharedTmp {
        /// The file.
        path: String,
        /// How the command ended.
        ended: String,
    },
    /// The process could not be started.
    #[error("`{program}` cannot be started: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// An input could not be placed.
    #[error("its input `{need}` cannot be placed: {path}: {source}")]
    Input {
        /// The need.
        need: Arc<str>,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It renamed the place of an input, or put something else there.
    #[error("it moved or replaced its input `{need}`, which is only shown there")]
    InputMoved {
        /// The need.
        need: Arc<str>,
    },
    /// The private directory, log or process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The run was stopped.
    #[error("it was cancelled")]
    Cancelled,
}

impl Cause {
    /// What was said could not be kept.
    pub(super) fn of_log(source: std::io::Error) -> Cause {
        let what = "writing its log".into();
        Cause::Io { what, source }
    }

    /// Another try may end differently. Undeclared inputs, bad outputs and cancelled runs stay what
    /// they are.
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(
            self,
            Cause::Exit { .. }
                | Cause::Signal { .. }
                | Cause::TimedOut { .. }
                | Cause::OutOfMemory { .. }
                | Cause::Worker { .. }
                | Cause::Crash { .. }
                | Cause::OutputMissing { .. }
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Cause::Undeclared { line_to_add, .. } => format!("add to the stage: {line_to_add}"),
            Cause::Denied { wrote_perhaps: true, .. } => {
                "what it writes belongs below `$TMPDIR`; what it reads is no input until it is declared: copy it into the project \
                 and declare it under `needs:`, or set `sandbox: off` for this stage"
                    .into()
            }
            Cause::Denied { .. } => {
                "a result may not depend on it unseen: copy it into the project and declare it under `needs:`, fetch it in a \
                 download stage, or set `sandbox: off` for this stage"
                    .into()
            }
            Cause::NotRun { remedy, .. } => remedy.clone(),
            Cause::ModuleMissing { module, python, declared, .. } => {
                let program = python.as_ref().map_or_else(|| "python3".into(), |p| p.display().to_string());
                let install = format!("`{program} -m pip install {}`", package_of(module));
                match declared {
                    Some(declared) => format!("install the package into the declared environment ({declared}): {install}"),
                    None => format!(
                        "install the package ({install}), or declare an environment that has it, so that it is part of the key: `python: .venv`"
                    ),
                }
            }
            Cause::OutOfMemory { .. } => "raise `memory:` of the stage, or make it need less".into(),
            Cause::NotEnded { .. } => {
                "it belongs to another user (`sudo`, a setuid program), or waits for a disk that does not answer; start nothing \
                 of the kind in a stage"
                    .into()
            }
            Cause::InputMoved { .. } => "inputs are read-only: let it copy what it wants to move or change".into(),
            Cause::TimedOut { .. } => "raise `timeout:` of the stage".into(),
            Cause::Signal { signal: libc::SIGKILL, .. } => {
                "the kernel does this when memory runs out: see `dmesg`, and declare `memory:` so that fewer stages run at once".into()
            }
            Cause::OutputMissing { name, path, wrote } if !wrote.is_empty() => {
                // The same name at another place is what is meant most often.
                let file = |path: &str| path.rsplit('/').next().map(str::to_owned);
                let same = wrote.iter().find(|w| file(w) == file(path));
                let meant = same.unwrap_or(&wrote[0]);
                let named: Vec<String> = wrote.iter().map(|w| format!("`{w}`")).collect();
                format!(
                    "it wrote {}, which nobody declared: write to ${{outputs.{name}}}, or declare `outputs: {{{name}: {}}}`",
                    named.join(", "),
                    denied::yaml(meant)
                )
            }
            Cause::OutputMissing { path, .. } => {
                format!("paths are relative to the directory the stage runs in; write {path} there, or correct `outputs:`")
            }
            Cause::SharedTmp { .. } => {
                "let it write below `$TMPDIR`; where the machine allows namespaces, /tmp and /dev/shm are private to every stage".into()
            }
            Cause::NetworkStaysOn { .. } => {
                "let the administrator allow user namespaces, run it elsewhere, or remove `network: off`: it is no part of the key".into()
            }
            Cause::SecretMissing { name } => format!("run with `{name}=... repro run`, or export it before"),
            Cause::Spilled { .. } => {
                "results are stored and shared; let the stage write what it made without the secret".into()
            }
            Cause::Exit { code: 141 } => {
                "141 is SIGPIPE: a program of a pipe wrote on when the next one had read enough (`... | head`); if that is \
                 intended, write `(PROGRAM || true) | head`, or `shell: sh`, which does not look at pipes"
                    .into()
            }
            Cause::Spawn { source, program } if source.kind() == std::io::ErrorKind::NotFound => {
                let mut text = String::from("install it, or put its directory on PATH");
                if program == "bash" {
                    text.push_str("; `shell: sh` runs the command by `sh -eu -c`, which does not notice failures inside a pipe");
                }
                text
            }
            Cause::Io { source, .. } | Cause::Input { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                "the disk is full: `repro gc` frees what nothing refers to".into()
            }
            Cause::Worker { hint, .. } => return hint.clone(),
            _ => return None,
        })
    }
}

/// The package that has a module, where it is called otherwise.
fn package_of(module: &str) -> &str {
    match module {
        "bs4" => "beautifulsoup4",
        "cv2" => "opencv-python",
        "dateutil" => "python-dateutil",
        "PIL" => "pillow",
        "skimage" => "scikit-image",
        "sklearn" => "scikit-learn",
        "yaml" => "pyyaml",
        other => other,
    }
}

impl Failure {
    /// What happened and the end of the log, without the instance and the remedy, which an event
    /// has fields for.
    pub fn account(&self) -> String {
        let mut text = self.cause.to_string();
        if let Cause::Undeclared { ended, .. }
        | Cause::NotRun { ended, .. }
        | Cause::ModuleMissing { ended, .. }
        | Cause::Denied { ended, .. }
        | Cause::SharedTmp { ended, .. } = &self.cause
        {
            text.push_str(&format!(" ({ended})"));
        }
        if !self.untold().is_empty() {
            text.push_str("\n  the end of its log:");
            for line in self.untold() {
                text.push_str("\n    ");
                text.push_str(line);
            }
        }
        text
    }

    /// The end of the log without what the message says already: a worker writes its error to its
    /// log as well.
    fn untold(&self) -> &[String] {
        let Cause::Worker { message, .. } = &self.cause else {
            return &self.tail;
        };
        let said = format!("error: {message}");
        let lines = said.lines().count();
        match self.tail.len().checked_sub(lines) {
            Some(before) if self.tail[before..].iter().eq(said.lines()) => &self.tail[..before],
            _ => &self.tail,
        }
    }

    /// A failure before there was a log.
    pub(super) fn early(request: &Request, cause: Cause) -> Box<Failure> {
        Box::new(Failure {
            id: request.id.clone(),
            cause,
            log: None,
            tail: Vec::new(),
            usage: Usage::default(),
        })
    }
}

impl fmt::Display for Failure {
    /// The message, the hint, and the end of the log, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage `{}`: {}", self.id, self.cause)?;
        if let Cause::Undeclared { ended, .. }
        | Cause::NotRun { ended, .. }
        | Cause::ModuleMissing { ended, .. }
        | Cause::Denied { ended, .. }
        | Cause::SharedTmp { ended, .. } = &self.cause
        {
            write!(f, " ({ended})")?;
        }
        if let Some(hint) = self.cause.hint() {
            write!(f, "\n  help: {hint}")?;
        }
        if !self.untold().is_empty() {
            write!(f, "\n  the end of its log:")?;
            for line in self.untold() {
                write!(f, "\n    {line}")?;
            }
        }
        if let Some(log) = &self.log {
            write!(f, "\n  log: {}", log.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The name of a signal, for messages.
pub(super) fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => "SIGABRT: it aborted itself",
        libc::SIGBUS => "SIGBUS: a mapped file was cut short or the disk is full",
        libc::SIGFPE => "SIGFPE: an arithmetic error",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL: an instruction this processor does not have",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGSEGV => "SIGSEGV: a wrong memory access",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXFSZ => "SIGXFSZ: a file grew over its limit",
        _ => "unnamed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str, tail: &[&str]) -> Failure {
        Failure {
            id: "a".into(),
            cause: Cause::Worker {
                message: message.into(),
                hint: None,
            },
            log: None,
            tail: tail.iter().map(|l| (*l).to_owned()).collect(),
            usage: Usage::default(),
        }
    }

    /// The message of a failed download once stood twice on the screen.
    #[test]
    fn a_worker_error_is_told_once() {
        let told = failure("no file:\n  here", &["before", "error: no file:", "  here"]).account();
        assert_eq!(told, "no file:\n  here\n  the end of its log:\n    before");
        let told = failure("no file", &["error: no file"]).account();
        assert_eq!(told, "no file");
        let told = failure("no file", &["error: no file", "and more"]).account();
        assert!(told.contains("and more"), "{told}");
    }
}

//! Short questions to programs: what kind one is, whether parameters are right, which version a
//! tool has.
//!
//! A program is asked confined: it may read the project, the system and its own installation,
//! writes nothing but a directory that is gone afterwards, and sees `PATH`, `HOME`, `TMPDIR`,
//! `LANG` and `TZ`. Commands that only look ([`Asking::Memory`]) run none of the project's code:
//! they go by what a run has heard ([`Memory`]).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::{self, Said};
use super::sandbox::{self, Allowed};
use super::searched;
use super::start::Program;
use crate::digest::Digest;
use crate::regular::{self, Links};

/// A program answers within moments; one that hangs is stopped.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Toolchains that a program on `PATH` may be a mere door to, below the home directory.
const TOOLCHAINS: &[&str] = &[
    ".rustup",
    ".pyenv",
    ".rbenv",
    ".nvm",
    ".asdf",
    ".sdkman",
    ".julia/juliaup",
    ".juliaup",
    ".ghcup",
    ".elan",
    ".local/share/mise",
    ".local/share/uv",
    ".local/lib",
];

/// Whether a program may be run to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It may: the command executes stages anyway, or was told to.
    Programs,
    /// It may not: the command only looks.
    Memory,
}

/// How a file looked, to tell whether it was replaced or written to since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    real: PathBuf,
    ino: u64,
    bytes: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// Of the file that a path leads to; `None` when there is none.
    pub fn of(path: &Path) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let real = path.canonicalize().ok()?;
        let meta = fs::metadata(&real).ok()?;
        Some(Stamp {
            real,
            ino: meta.ino(),
            bytes: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// The file, links resolved.
    pub fn real(&self) -> &Path {
        &self.real
    }
}

/// A question to a program.
pub struct Question<'a> {
    /// The program and its arguments.
    pub words: &'a [&'a str],
    /// What it reads on standard input.
    pub input: &'a [u8],
    /// What it may read beside the system.
    pub read: &'a [&'a Path],
    /// The project, which it may read where that is among `read`.
    pub project_root: &'a Path,
    /// Where it looks for files of its own: a home directory, or its private directory.
    pub home: Option<&'a Path>,
    /// More of an answer is cut off.
    pub bytes_max: usize,
}

/// Asks.
///
/// # Errors
/// It cannot be started (`NotFound`: there is no such program) or waited for.
pub fn ask(question: &Question) -> io::Result<Said> {
    let Some((program, arguments)) = question.words.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = tempfile::Builder::new().prefix("repro-ask-").tempdir()?;
    let room = dir.path().canonicalize()?;
    let home = question.home.unwrap_or(&room);
    let toolchains: Vec<PathBuf> = std::env::home_dir()
        .map(|home| TOOLCHAINS.iter().map(|t| home.join(t)).collect())
        .unwrap_or_default();
    let mut programs = vec![*program];
    let interpreter = searched::interpreter(Path::new(program));
    programs.extend(interpreter.as_deref());
    let mut read = question.read.to_vec();
    read.extend(toolchains.iter().map(PathBuf::as_path));
    let allowed = Allowed {
        project_root: question.project_root,
        programs,
        read,
        read_unlisted: &[],
        write: vec![&room],
        gpus: false,
        shared_memory: false,
    };
    // Not the directory of the project: version managers look for their settings upwards from
    // there, and a command cannot see those.
    let mut asked = Program::new(program, &room);
    asked
        .args(arguments)
        .env("PATH", searched::path())
        .env("HOME", home)
        .env("TMPDIR", &room)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC");
    // Without Landlock it is asked all the same, as its stages are run; they say so.
    let ruleset = sandbox::ruleset(&allowed).ok();
    let input = process::input_of(question.input)?;
    process::ask(asked, input, ruleset, TIMEOUT, question.bytes_max)
}

/// What programs have answered, kept in a file of the project. Lost or damaged it costs a question.
pub struct Memory {
    file: Option<PathBuf>,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    known: BTreeMap<String, Answer>,
    has_news: bool,
}

/// One answer, and of which program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The file of the program, so that its successor is known for one.
    pub program: String,
    /// What it said.
    pub text: String,
}

/// Bytes of the largest memory that is read.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

impl Memory {
    /// Reads what earlier runs have heard.
    pub fn load(file: &Path) -> Memory {
        let known = regular::read(file, Links::Refuse, MEMORY_BYTES_MAX)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let has_news = false;
        Memory {
            file: Some(file.to_owned()),
            answers: Mutex::new(Answers { known, has_news }),
        }
    }

    /// Remembers nothing.
    pub fn none() -> Memory {
        Memory {
            file: None,
            answers: Mutex::default(),
        }
    }

    /// The name of a question: to whom, and which.
    pub fn name(whom: &str, what: &[&[u8]]) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(&whom.as_bytes()).chain(what) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest(*hasher.finalize().as_bytes()).short()
    }

    /// What was answered last.
    pub fn get(&self, name: &str) -> Option<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.known.get(name).cloned()
    }

    /// Remembers an answer.
    pub fn set(&self, name: String, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = answers
            .known
            .get(&name)
            .is_some_and(|a| a.program == answer.program && a.text == answer.text);
        if !is_known {
            answers.known.insert(name, answer);
            answers.has_news = true;
        }
    }

    /// Writes it back, whole or not at all. What cannot be kept costs a question.
    pub fn save(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(file), true) = (&self.file, answers.has_news) else {
            return;
        };
        answers.has_news = false;
        if let Ok(text) = serde_json::to_vec(&answers.known) {
            let _ = crate::whole::write_beside(file, &text);
        }
    }
}

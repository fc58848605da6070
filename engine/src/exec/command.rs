//! Runs a command stage: a shell in its private directory, with what it declares and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::denied::{self, Scene};
use super::failure::signal_name;
use super::log::Log;
use super::placing::Ground;
use super::private_dir::PrivateDir;
use super::process::{self, Ended, Heard, Launch, Stop};
use super::secrets::Secrets;
use super::setting::Setting;
use super::start::Start;
use super::{
    Afterwards, Cancel, Cause, Failure, Finished, Note, Request, Usage, outputs, searched,
};
use crate::plan;
use repro_protocol::job::Event;

/// Runs it to its end.
pub fn execute(
    request: &Request,
    command: &plan::Command,
    cancel: &Cancel,
    notes: &mut dyn FnMut(Note),
) -> Result<Finished, Box<Failure>> {
    let early = |cause| Failure::early(request, cause);
    let secrets = Secrets::of(&request.policy.secrets).map_err(early)?;
    let dir = prepare(request, PrivateDir::for_command).map_err(early)?;
    let mut setting = Setting::of(request, command, dir, Ground::Empty).map_err(early)?;
    let copied = super::copies::faithful(request, &setting.dir.work, &setting.placed);
    if let Some(text) = undeclared_environment(command, request) {
        notes(Note::Event(Event::Warning { text }));
    }
    let (program, flags) = match &*command.setup.shell {
        [program, flags @ ..] => (program.as_str(), flags),
        [] => ("", &[][..]),
    };
    let mut process = setting.process(program, request, command, &secrets);
    process.args(flags).arg(&*command.script);
    let mut log = open_log(&setting.dir, &secrets).map_err(early)?;
    let launch = Launch {
        start: Start {
            program: process,
            memory_bytes: memory_limit(request),
            cores: request.grant.cores.clone(),
            room: setting.room.take(),
        },
        input: None,
        ruleset: setting.walls.ruleset.take(),
        timeout: timeout(request),
        grace: grace(request),
        apart: false,
    };
    let Setting {
        dir, walls, placed, ..
    } = setting;
    let result = process::run(launch, Some(cancel), &mut |heard| match heard {
        Heard::Out(bytes) | Heard::Err(bytes) => {
            log.append(bytes, &mut |line| notes(Note::Line(line.to_owned())));
        }
        Heard::Stopped(pid) => notes(has_stopped(request, pid)),
    });
    let (tail, logged) = log.finish();
    let fail = |cause, usage| {
        placed.leave_links();
        Box::new(Failure {
            id: request.id.clone(),
            cause,
            log: Some(dir.log.clone()),
            tail: tail.clone(),
            usage,
        })
    };
    let ended = match result {
        Ok(ended) => ended,
        Err(source) => {
            let program = command.setup.shell.first().cloned().unwrap_or_default();
            return Err(fail(Cause::Spawn { program, source }, Usage::default()));
        }
    };
    let usage = ended.usage;
    if let Some(cause) = cause_of(request, &ended, &tail) {
        let cause = match cause {
            Cause::Exit { .. } => {
                let scene = Scene {
                    request,
                    work: &dir.work,
                    script: &command.script,
                    tail: &tail,
                    ended: cause.to_string(),
                    enforced: walls.report.is_enforced(),
                };
                denied::wanted(&scene).unwrap_or(cause)
            }
            other => other,
        };
        return Err(fail(cause, usage));
    }
    logged.map_err(|source| fail(Cause::of_log(source), usage))?;
    let outputs = outputs::check(&request.outputs, &dir.work, &placed, &secrets, |o| {
        o.path.under(&dir.work)
    })
    .map_err(|cause| {
        let cause = match cause {
            Cause::OutputMissing { name, path, .. } => Cause::OutputMissing {
                name,
                path,
                wrote: outputs::undeclared(request, &dir.work)
                    .into_iter()
                    .map(|path| secrets.masked(path))
                    .collect(),
            },
            other => other,
        };
        fail(cause, usage)
    })?;
    let warning = outputs::keep_secrets_out(&outputs, &secrets, &dir.work)
        .map_err(|cause| fail(cause, usage))?;
    for text in warning
        .into_iter()
        .chain(outputs::extras(request, &dir.work))
    {
        let text = secrets.masked(text);
        notes(Note::Event(Event::Warning { text }));
    }
    if request.afterwards == Afterwards::Kept {
        placed.leave_links();
    }
    Ok(Finished {
        outputs,
        copied,
        pins: BTreeMap::new(),
        figures: BTreeMap::new(),
        device: None,
        log: dir.log,
        usage,
        sandbox: walls.report,
    })
}

/// A sentence about an activated environment that a command uses without declaring it; said once
/// per process.
fn undeclared_environment(command: &plan::Command, request: &Request) -> Option<String> {
    static SAID: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !command.setup.environments.is_empty() || !searched::leads_around() {
        return None;
    }
    let is_name = |w: &&str| {
        w.len() < 64
            && w.chars()
                .all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    let words: BTreeSet<&str> = command
        .script
        .split(|c: char| c.is_whitespace() || ";|&()`'\"".contains(c))
        .filter(|w| !w.is_empty() && is_name(w))
        .take(200)
        .collect();
    let (word, found) = words
        .into_iter()
        .find_map(|w| Some((w, searched::around(&searched::find(w)?)?)))?;
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.insert(found.dir.clone()) {
        return None;
    }
    Some(format!(
        "`{word}` is that of the activated environment {}, whose packages are not part of the key; add to the stage: {}",
        found.dir.display(),
        denied::environment_line(request, &found)
    ))
}

/// Makes the private directory.
pub(super) fn prepare(
    request: &Request,
    more: fn(&PrivateDir) -> std::io::Result<()>,
) -> Result<PrivateDir, Cause> {
    let made = PrivateDir::create(&request.dir).and_then(|dir| more(&dir).map(|()| dir));
    made.map_err(|source| Cause::Io {
        what: format!("making the private directory {}", request.dir.display()),
        source,
    })
}

/// Starts the log.
pub(super) fn open_log(dir: &PrivateDir, secrets: &Secrets) -> Result<Log, Cause> {
    let log = Log::create(&dir.log).map_err(|source| Cause::Io {
        what: format!("making the log {}", dir.log.display()),
        source,
    })?;
    Ok(log.masked_by(secrets.mask()))
}

/// The enforced memory limit. A CUDA process writes to memory mapped in sizes that mean nothing, so
/// none with GPUs.
pub(super) fn memory_limit(request: &Request) -> Option<u64> {
    request
        .policy
        .memory_bytes
        .filter(|_| request.policy.gpus == 0)
}

/// The time limit; one that is no positive number of seconds is none.
pub(super) fn timeout(request: &Request) -> Option<Duration> {
    request
        .policy
        .timeout_s
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
}

/// From SIGTERM to SIGKILL.
pub(super) fn grace(request: &Request) -> Duration {
    Duration::try_from_secs_f64(request.policy.grace_s).unwrap_or(Duration::MAX)
}

/// A process that stopped itself, or waits for a terminal, hangs the run: whoever watches should
/// know.
pub(super) fn has_stopped(request: &Request, pid: i32) -> Note {
    let then = match timeout(request) {
        Some(_) => "its `timeout:` ends it",
        None => "without a `timeout:` it stays so",
    };
    Note::Event(Event::Warning {
        text: format!(
            "its process {pid} has stopped (SIGSTOP) and does nothing; `kill -CONT {pid}` lets it go on, {then}"
        ),
    })
}

/// What an end other than success means; `None` for success.
pub(super) fn cause_of(request: &Request, ended: &Ended, tail: &[String]) -> Option<Cause> {
    match ended.stopped {
        Some(Stop::Cancelled) => return Some(Cause::Cancelled),
        Some(Stop::TimedOut) => {
            return Some(Cause::TimedOut {
                timeout_s: request.policy.timeout_s.unwrap_or_default(),
            });
        }
        None => {}
    }
    if let Some(pid) = ended.left {
        return Some(Cause::NotEnded { pid });
    }
    if ended.status.success() {
        return None;
    }
    if let Some(limit_bytes) = memory_limit(request)
        && looks_out_of_memory(ended.status, tail)
    {
        return Some(Cause::OutOfMemory { limit_bytes });
    }
    Some(match (ended.status.code(), ended.status.signal()) {
        (Some(code), _) => Cause::Exit { code },
        (None, Some(signal)) => Cause::Signal {
            signal,
            name: signal_name(signal),
        },
        (None, None) => Cause::Exit { code: -1 },
    })
}

fn looks_out_of_memory(status: ExitStatus, tail: &[String]) -> bool {
    const SIGNS: &[&str] = &[
        "memory allocation of",
        "memoryerror",
        "cannot allocate memory",
        "out of memory",
        "bad_alloc",
        "memory exhausted",
    ];
    let said = tail
        .iter()
        .map(|l| l.to_lowercase())
        .any(|l| SIGNS.iter().any(|s| l.contains(s)));
    said || status.signal() == Some(libc::SIGKILL)
}

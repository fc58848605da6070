//! Runs a kind: writes `job.json`, starts the worker, hears its events, reads `outcome.json`.
//!
//! A built-in kind is this program, `EXECUTABLE worker job.json`, and reads what its job names. A
//! program of the project is called the same way and confined like a command, since only its own
//! file is part of the key. The environment is `PATH`, `HOME` and `TMPDIR` (private ones), `LANG`,
//! `TZ`, proxy and certificate settings, `REPRO_SIMD`, where drivers of devices are, and the number of
//! threads.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::command::{cause_of, grace, has_stopped, memory_limit, open_log, prepare, timeout};
use super::denied::{self, Scene};
use super::log::Log;
use super::placing::Placed;
use super::private_dir::PrivateDir;
use super::process::{self, Heard, Launch};
use super::secrets::Secrets;
use super::start::{self, Start};
use super::walls::{Needs, Walls};
use super::{
    Cancel, Cause, Failure, Finished, Note, Request, SandboxReport, Usage, outputs, searched,
};
use crate::catalog::{Kind, Program};
use repro_protocol::job::{Device, Event, FORMAT, Job, JobInput, Outcome};
use repro_protocol::kind::OutputSpec;

/// An event line longer than this is log.
const EVENT_BYTES: usize = 1 << 20;
/// A larger `outcome.json` is refused.
const OUTCOME_BYTES: u64 = 64 << 20;

/// Of the program's own environment a worker gets these: what downloads need, and how to compute
/// and to tell.
const PASSED: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_BACKTRACE",
    "REPRO_SIMD",
    // What drivers of devices take: without it a worker would see others than `doctor` does.
    "OPENCL_DYLIB_PATH",
    "OCL_ICD_VENDORS",
    "CUDA_DEVICE_ORDER",
    "GPU_DEVICE_ORDINAL",
    "HSA_OVERRIDE_GFX_VERSION",
    "POCL_DEVICES",
    "POCL_MAX_PTHREAD_COUNT",
    "POCL_MEMORY_LIMIT",
    "ZE_AFFINITY_MASK",
];

/// Runs it to its end.
pub fn execute(
    request: &Request,
    kind: &Kind,
    params: &Arc<Value>,
    cancel: &Cancel,
    notes: &mut dyn FnMut(Note),
) -> Result<Finished, Box<Failure>> {
    let early = |cause| Failure::early(request, cause);
    let secrets = Secrets::of(&request.policy.secrets).map_err(early)?;
    let dir = prepare(request, PrivateDir::for_worker).map_err(early)?;
    let out_path = |o: &OutputSpec| o.path.under(&dir.work.join("out"));
    write_job(request, kind, params, &dir, &out_path).map_err(|source| {
        early(Cause::Io {
            what: "writing job.json".into(),
            source,
        })
    })?;
    let (program, mut walls) = match &kind.program {
        Program::BuiltIn => (request.executable.as_path(), None),
        // Who executes stages has asked.
        Program::Unasked { why } => {
            let (message, hint) = (why.clone(), None);
            return Err(early(Cause::Worker { message, hint }));
        }
        Program::External { path, .. } => {
            let interpreter = searched::interpreter(path);
            let needs = needs_of(request, path, interpreter.as_deref(), &dir);
            let walls = Walls::around(request, &dir, needs).map_err(early)?;
            (path.as_path(), Some(walls))
        }
    };
    let room = match &walls {
        Some(walls) => walls.room(&dir.work, &[]).map_err(early)?,
        None => None,
    };
    let mut process = start::Program::new(program, &dir.work);
    process.arg("worker").arg(dir.work.join("job.json"));
    process.envs(std::env::vars_os().filter(|(n, v)| is_passed(n, v, &kind.program)));
    process
        .env("PATH", searched::path())
        .env("HOME", walls.as_ref().map_or(dir.tmp.as_path(), Walls::tmp))
        .env(
            "TMPDIR",
            walls.as_ref().map_or(dir.tmp.as_path(), Walls::tmp),
        )
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC");
    process.envs(request.grant.variables());
    if matches!(kind.program, Program::BuiltIn) && device(request).is_some() {
        process.envs(of_drivers());
    }
    process.envs(secrets.pairs());
    process.env("RAYON_NUM_THREADS", request.policy.threads().to_string());
    let launch = Launch {
        start: Start {
            program: process,
            memory_bytes: memory_limit(request),
            cores: request.grant.cores.clone(),
            room,
        },
        input: None,
        ruleset: walls.as_mut().and_then(|w| w.ruleset.take()),
        timeout: timeout(request),
        grace: grace(request),
        apart: true,
    };
    let sandbox = walls
        .as_ref()
        .map_or(SandboxReport::NotNeeded, |w| w.report.clone());

    let mut ears = Ears {
        log: open_log(&dir, &secrets).map_err(early)?,
        line: Vec::new(),
        skipping: false,
        dir: &dir,
    };
    let mut events = secrets.mask();
    let result = process::run(launch, Some(cancel), &mut |heard| match heard {
        Heard::Out(bytes) => ears.hear(&events.feed(bytes), notes),
        Heard::Err(bytes) => ears
            .log
            .append(bytes, &mut |line| notes(Note::Line(line.to_owned()))),
        Heard::Stopped(pid) => notes(has_stopped(request, pid)),
    });
    ears.hear(&events.finish(), notes);
    ears.hear(b"\n", notes);
    let (tail, logged) = ears.log.finish();
    let fail = |cause, usage| {
        Box::new(Failure {
            id: request.id.clone(),
            cause,
            log: Some(dir.log.clone()),
            tail: tail.clone(),
            usage,
        })
    };
    let ended = result.map_err(|source| {
        fail(
            Cause::Spawn {
                program: program.display().to_string(),
                source,
            },
            Usage::default(),
        )
    })?;
    let usage = ended.usage;
    let outcome = read_outcome(&dir.work.join("outcome.json"));
    let bad_end = cause_of(request, &ended, &tail);
    if let Some(
        cause @ (Cause::Cancelled
        | Cause::TimedOut { .. }
        | Cause::OutOfMemory { .. }
        | Cause::NotEnded { .. }),
    ) = bad_end
    {
        return Err(fail(cause, usage));
    }
    let outcome = match (outcome, bad_end) {
        (
            Ok(Outcome {
                error: Some(error), ..
            }),
            _,
        ) => {
            return Err(fail(
                Cause::Worker {
                    message: secrets.masked(error.message),
                    hint: error.hint.map(|hint| secrets.masked(hint)),
                },
                usage,
            ));
        }
        (Ok(outcome), None) => outcome,
        (Ok(_), Some(end)) => {
            return Err(fail(
                Cause::Crash {
                    how: format!("{end}, though its outcome.json reports success"),
                },
                usage,
            ));
        }
        (Err(missing), end) => {
            let ended = end.map_or_else(|| "it exited with code 0".to_owned(), |c| c.to_string());
            let enforced = sandbox.is_enforced();
            let scene = Scene {
                request,
                work: &dir.work,
                script: "",
                tail: &tail,
                ended: ended.clone(),
                enforced,
            };
            let wanted = enforced.then(|| denied::wanted(&scene)).flatten();
            return Err(fail(
                wanted.unwrap_or_else(|| Cause::Crash {
                    how: format!("{ended}, and {missing}"),
                }),
                usage,
            ));
        }
    };
    logged.map_err(|source| fail(Cause::of_log(source), usage))?;
    let outputs = outputs::check(
        &request.outputs,
        &dir.work,
        &Placed::default(),
        &secrets,
        out_path,
    )
    .map_err(|cause| fail(cause, usage))?;
    let warning = outputs::keep_secrets_out(&outputs, &secrets, &dir.work)
        .map_err(|cause| fail(cause, usage))?;
    if let Some(text) = warning {
        let text = secrets.masked(text);
        notes(Note::Event(Event::Warning { text }));
    }
    let pins = outcome.pins.into_iter();
    Ok(Finished {
        outputs,
        copied: BTreeSet::new(),
        pins: pins.map(|(k, v)| (k, secrets.masked(v))).collect(),
        figures: outcome.figures,
        device: outcome.device.map(|device| secrets.masked(device)),
        log: dir.log,
        usage,
        sandbox,
    })
}

/// What a program of the project reads and writes: its inputs lie where its job says.
fn needs_of<'a>(
    request: &'a Request,
    program: &'a Path,
    interpreter: Option<&'a str>,
    dir: &'a PrivateDir,
) -> Needs<'a> {
    let mut read = vec![program];
    read.extend(request.resume.iter().map(|r| r.path.as_path()));
    let mirrors = request.mirrors.iter().map(Path::new);
    read.extend(mirrors.filter(|m| m.is_absolute()));
    Needs {
        programs: interpreter.into_iter().collect(),
        read,
        write: vec![&dir.work, &dir.states, &request.scratch_dir],
        inputs_in_place: true,
    }
}

/// A program of the project does not get a proxy's password.
fn is_passed(name: &OsStr, value: &OsStr, program: &Program) -> bool {
    let holds_password = value.as_encoded_bytes().contains(&b'@');
    name.to_str().is_some_and(|n| PASSED.contains(&n))
        && (matches!(program, Program::BuiltIn) || !holds_password)
}

/// Where it computes: as the run says, else on a GPU where it has one to itself or a share of one.
fn device(request: &Request) -> Option<Device> {
    let by_resources = (request.policy.gpus > 0).then_some(Device::Auto);
    request.device.or(by_resources)
}

/// What it has of a GPU, if that is not all of it.
fn share(request: &Request) -> Option<f64> {
    let share = request.policy.share_of_each_gpu();
    (share > 0.0 && share < 1.0).then_some(share)
}

/// What drivers of devices need: where libraries lie, as some of them are found by it alone, and the
/// user's own places for compiled kernels, as a worker's home ends with it, and the next one would
/// compile them again.
fn of_drivers() -> impl Iterator<Item = (&'static str, OsString)> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = |path: &str| Some(Path::new(&named("HOME")?).join(path).into_os_string());
    let caches = named("XDG_CACHE_HOME").map(|dir| Path::new(&dir).join("pocl/kcache").into());
    let all = [
        ("LD_LIBRARY_PATH", named("LD_LIBRARY_PATH")),
        (
            "POCL_CACHE_DIR",
            named("POCL_CACHE_DIR")
                .or(caches)
                .or_else(|| home(".cache/pocl/kcache")),
        ),
        (
            "CUDA_CACHE_PATH",
            named("CUDA_CACHE_PATH").or_else(|| home(".nv/ComputeCache")),
        ),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

fn write_job(
    request: &Request,
    kind: &Kind,
    params: &Arc<Value>,
    dir: &PrivateDir,
    out_path: &dyn Fn(&OutputSpec) -> PathBuf,
) -> std::io::Result<()> {
    let mut inputs: BTreeMap<String, Vec<JobInput>> = BTreeMap::new();
    for input in &request.inputs {
        inputs
            .entry(input.need.to_string())
            .or_default()
            .push(JobInput {
                group: input.group.to_string(),
                axes: input
                    .axes
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.value.clone()))
                    .collect(),
                path: input.origin.path().to_owned(),
                digest: input.digest.clone(),
                from: input.called.to_string(),
                chain: input.kin.chain,
                sources: input.kin.sources.clone(),
            });
    }
    let outputs: BTreeMap<_, _> = request
        .outputs
        .iter()
        .map(|o| (o.name.to_string(), out_path(o)))
        .collect();
    for parent in outputs.values().filter_map(|p| p.parent()) {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::create_dir_all(&request.scratch_dir)?;
    let job = Job {
        version: FORMAT,
        kind: kind.name.clone(),
        revision: kind.revision,
        params: (**params).clone(),
        inputs,
        outputs,
        threads: request.policy.threads(),
        resume: request.resume.clone(),
        states_dir: dir.states.clone(),
        mirrors: request.mirrors.clone(),
        pins: request.pins.clone(),
        offline: request.offline,
        scratch_dir: request.scratch_dir.clone(),
        device: device(request),
        gpu_share: share(request),
    };
    std::fs::write(dir.work.join("job.json"), serde_json::to_vec(&job)?)
}

/// The answer, or what is wrong with it as a clause.
fn read_outcome(path: &Path) -> Result<Outcome, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    // A pipe in its place would be read for ever.
    let read = crate::regular::open(path, crate::regular::Links::Follow)
        .and_then(|f| f.take(OUTCOME_BYTES).read_to_end(&mut bytes));
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err("it wrote no outcome.json".into());
        }
        Err(e) => return Err(format!("its outcome.json cannot be read: {e}")),
        Ok(_) => {}
    }
    let outcome: Outcome =
        serde_json::from_slice(&bytes).map_err(|e| format!("its outcome.json is garbled: {e}"))?;
    if outcome.version == FORMAT {
        Ok(outcome)
    } else {
        Err(format!(
            "its outcome.json has version {}, not {FORMAT}",
            outcome.version
        ))
    }
}

/// Tells events from log on a worker's standard output.
struct Ears<'a> {
    log: Log,
    line: Vec<u8>,
    /// Inside a line that is too long to be an event: its rest goes to the log as it comes.
    skipping: bool,
    dir: &'a PrivateDir,
}

impl Ears<'_> {
    fn hear(&mut self, bytes: &[u8], notes: &mut dyn FnMut(Note)) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            self.line.extend_from_slice(piece);
            let is_ended = piece.ends_with(b"\n");
            if !is_ended && self.line.len() <= EVENT_BYTES {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match if self.skipping || !is_ended {
                None
            } else {
                self.event(&line)
            } {
                Some(event) => notes(Note::Event(event)),
                None if line == b"\n" && !self.skipping => {}
                None => self
                    .log
                    .append(&line, &mut |text| notes(Note::Line(text.to_owned()))),
            }
            self.skipping = !is_ended;
        }
    }

    fn event(&self, line: &[u8]) -> Option<Event> {
        if line.first() != Some(&b'{') {
            return None;
        }
        match serde_json::from_slice(line).ok()? {
            Event::State { label, path } => {
                let path = self.dir.work.join(path);
                let real = path.canonicalize().ok();
                if real.is_some_and(|r| r.starts_with(&self.dir.states)) {
                    Some(Event::State { label, path })
                } else {
                    let text = format!(
                        "state `{label}` is not kept: {} is not in its directory of states",
                        path.display()
                    );
                    Some(Event::Warning { text })
                }
            }
            event => Some(event),
        }
    }
}

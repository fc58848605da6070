//! The worker: one process runs one job. `job.json` in, `outcome.json` beside it out.
//!
//! Decides how failures are reported; does not know what a kind computes. A panic of a kind is a
//! failure like any other.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};

use crate::device;
use crate::failure::Failure;
use crate::kind::BuiltIn;
use crate::kinds;
use crate::task::Task;
use repro_protocol::job::{Event, FORMAT, Job, Outcome, OutcomeError};

/// Runs the job described by `job_json`, which lies in the current directory or is given with its
/// path; relative paths in it are relative to the current directory. Exits with 0 if `outcome.json`
/// reports success, else with 1.
pub fn work(job_json: &Path) -> ExitCode {
    work_with(job_json, kinds::find)
}

fn work_with(job_json: &Path, find: impl Fn(&str) -> Option<BuiltIn>) -> ExitCode {
    let mut outcome = Outcome {
        version: FORMAT,
        ..Outcome::default()
    };
    let done = read_job(job_json).and_then(|job| run(job, find, &mut outcome));
    if let Err(error) = done {
        // The log gets the cause too, for readers of the log alone. If it cannot be written, the
        // outcome has it.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        outcome.error = Some(describe(&error));
    }
    let path = job_json.with_file_name("outcome.json");
    if let Err(error) = write_whole(&path, &outcome) {
        let place = path.display();
        let _ = writeln!(std::io::stderr(), "error: cannot write {place}: {error:#}");
        return ExitCode::FAILURE;
    }
    if outcome.error.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn read_job(path: &Path) -> anyhow::Result<Job> {
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the job {}", path.display()))?;
    // The version comes first: a job of another format need not parse as this one.
    let version = serde_json::from_slice::<serde_json::Value>(&bytes)
        .with_context(|| format!("the job {} is not JSON", path.display()))?
        .get("version")
        .and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(FORMAT)) {
        let found = version.map_or("no version".to_owned(), |v| format!("version {v}"));
        bail!(
            Failure::new(format!(
                "the job {} has {found}; this worker speaks version {FORMAT}",
                path.display()
            ))
            .hint("use the same `repro` for the run and its workers")
        );
    }
    serde_json::from_slice(&bytes)
        .with_context(|| format!("the job {} cannot be understood", path.display()))
}

fn run(
    job: Job,
    find: impl Fn(&str) -> Option<BuiltIn>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let Some(kind) = find(&job.kind) else {
        bail!(
            Failure::new(format!("this worker knows no kind `{}`", job.kind))
                .hint("`repro kinds` lists those it knows")
        );
    };
    if kind.revision != job.revision {
        let message = format!(
            "the job wants revision {} of `{}`, this worker has {}",
            job.revision, kind.name, kind.revision
        );
        bail!(Failure::new(message).hint("use the same `repro` for the run and its workers"));
    }
    ensure!(job.threads >= 1, "the job gives no thread");
    // A wrong REPRO_SIMD is reported before anything is computed.
    repro_numerics::kernels::Path::from_env()?;
    // Fails only if a pool exists already (tests); results never depend on the number of threads.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(job.threads as usize)
        .build_global();
    device::wish(job.device, job.gpu_share)?;
    let mut task = Task {
        job,
        pins: Default::default(),
        figures: Default::default(),
        events: Some(std::io::stdout()),
    };
    // On a thread of the pool: from outside, every parallel kernel would have to be handed over and
    // waited for.
    let inside = || rayon::scope(|_| (kind.run)(&mut task));
    let done = catch_unwind(AssertUnwindSafe(inside));
    outcome.device = device::used();
    if let Some(text) = device::note() {
        task.send(&Event::Warning { text });
    }
    outcome.pins = std::mem::take(&mut task.pins);
    // JSON has no NaN or infinity; such figures are left out.
    outcome.figures = std::mem::take(&mut task.figures)
        .into_iter()
        .filter(|(_, v)| v.is_finite())
        .collect();
    match done {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            bail!(
                Failure::new(format!("the kind `{}` panicked: {text}", kind.name))
                    .hint("this is a bug in repro; the place is in the log (`repro logs`)")
            )
        }
    }
}

/// The whole chain of causes in one message, and the remedy of the outermost [`Failure`] in it.
fn describe(error: &anyhow::Error) -> OutcomeError {
    let hint = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .and_then(|f| f.hint.clone());
    OutcomeError {
        message: format!("{error:#}"),
        hint,
    }
}

/// Writes a temporary file and renames it, so that nobody reads half an outcome.
fn write_whole(path: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer_pretty(&mut file, outcome)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{InputSpec, Kind, Outputs, ParamProblem};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    struct Odd;

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Params {
        does: String,
    }

    impl Kind for Odd {
        type Params = Params;
        const NAME: &'static str = "odd";
        const REVISION: u32 = 7;
        const SUMMARY: &'static str = "";
        const DOC: &'static str = "";
        const INPUTS: &'static [InputSpec] = &[];
        fn outputs(_: &Params) -> Outputs {
            Ok(Vec::new())
        }
        fn validate(_: &Params, _: &[String]) -> Vec<ParamProblem> {
            Vec::new()
        }
        fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
            task.pins.insert("seen".into(), params.does.clone());
            task.figures
                .extend([("speed".to_owned(), 2.5), ("nothing".to_owned(), f64::NAN)]);
            match params.does.as_str() {
                "panic" => panic!("out of {}", "ideas"),
                "fail" => Err(
                    anyhow::Error::from(Failure::new("no luck").hint("try again"))
                        .context("in the middle"),
                ),
                "chain" => std::fs::read("/no/such/file")
                    .map(|_| ())
                    .context("cannot read it"),
                _ => Ok(()),
            }
        }
    }

    /// What `outcome.json` says of a job changed by `change`.
    fn outcome(change: impl FnOnce(&mut Value)) -> (Value, bool) {
        let dir = tempfile::tempdir().unwrap();
        let mut job = json!({
            "version": 1, "kind": "odd", "revision": 7, "params": {"does": "well"}, "inputs": {}, "outputs": {}, "threads": 1,
            "resume": null, "states_dir": "s", "mirrors": [], "pins": {}, "offline": true, "scratch_dir": "s",
        });
        change(&mut job);
        let path = dir.path().join("job.json");
        std::fs::write(
            &path,
            if job.is_null() {
                "{\"version".to_owned()
            } else {
                job.to_string()
            },
        )
        .unwrap();
        let code = work_with(&path, |name| (name == "odd").then(BuiltIn::of::<Odd>));
        let found: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(found.len(), 2, "nothing temporary stays: {found:?}");
        let outcome: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("outcome.json")).unwrap())
                .unwrap();
        (
            outcome,
            format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS),
        )
    }

    #[test]
    fn success() {
        let (outcome, ok) = outcome(|_| ());
        assert!(ok);
        assert_eq!(
            outcome,
            json!({"version": 1, "pins": {"seen": "well"}, "figures": {"speed": 2.5}})
        );
    }

    #[test]
    fn every_failure_is_told() {
        let told = |change: &dyn Fn(&mut Value)| {
            let (outcome, ok) = outcome(change);
            assert!(!ok);
            let text = |key: &str| outcome["error"][key].as_str().unwrap_or("").to_owned();
            (text("message"), text("hint"))
        };
        let does =
            |what: &'static str| told(&move |job: &mut Value| job["params"]["does"] = json!(what));
        assert_eq!(
            does("fail"),
            ("in the middle: no luck".into(), "try again".into())
        );
        assert_eq!(does("panic").0, "the kind `odd` panicked: out of ideas");
        let chain = does("chain");
        assert!(
            chain.0.starts_with("cannot read it: No such file"),
            "{}",
            chain.0
        );
        assert!(
            told(&|job| job["version"] = json!(2))
                .0
                .contains("has version 2")
        );
        assert!(
            told(&|job| job["kind"] = json!("even"))
                .0
                .contains("knows no kind `even`")
        );
        assert!(
            told(&|job| job["revision"] = json!(8))
                .0
                .contains("revision 8 of `odd`, this worker has 7")
        );
        assert!(
            told(&|job| job["surprise"] = json!(8))
                .0
                .contains("unknown field `surprise`")
        );
        assert!(
            told(&|job| job["params"] = json!({"does": 1}))
                .0
                .contains("at `does`")
        );
        assert!(told(&|job| *job = Value::Null).0.contains("is not JSON"));
    }
}

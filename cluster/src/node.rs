//! An element of a job on its node: the project is put up in a directory of its own, the ordinary
//! scheduler executes what the bundle lists, results and reports go to the remote, and the program
//! ends. Nothing of it stays.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use repro_engine::catalog::Catalog;
use repro_engine::credentials;
use repro_engine::digest::Digest;
use repro_engine::exchange::{Which, Wishes, in_run};
use repro_engine::exec::{Cancel, CancelLevel};
use repro_engine::executor::Site;
use repro_engine::open::Opening;
use repro_engine::record::event::Event;
use repro_engine::remote::config::Remotes;
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::layout::Scope;
use repro_engine::run::{OnFailure, RunOptions, run_on};
use repro_engine::store::{LinkMode, Store, host_name};
use repro_engine::trust::{FILE_NAME, KEY_VARIABLE, SecretKey, Signer, Trust, of_one_key};
use repro_engine::watched;

use crate::courier::{Baggage, Courier, Nowhere};
use crate::desk::Road;
use crate::parts::{Line, Source, Stopped, Writer, text};
use crate::ticket::{Bundle, FORMAT, Item, SCRATCH, Ticket, VARIABLE, names};

/// What the remote is called on a node.
const REMOTE: &str = "cluster";
/// Before the end of a job, what runs is asked to save, and results are sent.
const RESERVE: Duration = Duration::from_secs(90);

/// What this program has.
pub struct Program {
    /// The kinds.
    pub catalog: Arc<Catalog>,
    /// This program.
    pub executable: std::path::PathBuf,
    /// Raised by signals.
    pub cancel: Arc<Cancel>,
}

/// Executes an element.
///
/// # Errors
/// This process was not started by a job; the remote cannot be reached.
pub fn work(program: &Program, index: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    let ticket = std::env::var(VARIABLE);
    let ticket = ticket
        .with_context(|| format!("{VARIABLE} is not set: jobs of `repro run --on` call this"))?;
    let ticket: Ticket = serde_json::from_str(&ticket).with_context(|| VARIABLE.to_owned())?;
    anyhow::ensure!(
        ticket.version == FORMAT,
        "the job has format {}, this program knows {FORMAT}: `program` in repro.executors.toml names another version",
        ticket.version
    );
    let road = Road {
        remote: ticket.remote.clone(),
        name: REMOTE.to_owned(),
        scope: Scope::Of(ticket.scope.parse()?),
    };
    let millis = jiff::Timestamp::now().as_millisecond();
    let source = Source {
        wave: ticket.wave.clone(),
        index,
        attempt: format!("a{millis:x}-{:x}", std::process::id()),
    };
    let (report, lines) = channel();
    let writer = Writer::of(road.backend()?, &ticket.scope, source);
    let every = Duration::try_from_secs_f64(ticket.report_s).unwrap_or(Duration::from_secs(5));
    let reporter = watched::spawn("reporter", move || send_all(writer, &lines, every))?;
    let _ = report.send(Line::Begun { node: host_name() });
    let clock = Arc::new(AtomicBool::new(false));
    let cut = Arc::default();
    let element = Element {
        ticket: &ticket,
        index,
        road: &road,
        begun,
        report: &report,
        cut: &cut,
        clock: &clock,
    };
    let done = execute(program, &element);
    let trouble = done.as_ref().err().map(|e| format!("{e:#}"));
    let cut = std::mem::take(&mut *cut.lock().unwrap_or_else(PoisonError::into_inner));
    let stopped = match program.cancel.level() {
        CancelLevel::None => None,
        _ if clock.load(Ordering::SeqCst) => Some(Stopped::Clock),
        _ => Some(Stopped::Signal),
    };
    let _ = report.send(Line::Over {
        cut,
        trouble,
        stopped,
    });
    drop(report);
    let _ = reporter.join();
    done
}

fn send_all(mut writer: Writer, lines: &Receiver<Line>, every: Duration) {
    let mut due = Instant::now();
    let mut misses = 0;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        match lines.recv_timeout(wait) {
            Ok(line) => writer.add(&[line]),
            Err(RecvTimeoutError::Timeout) => {
                writer.send();
                due = Instant::now() + every;
            }
            Err(RecvTimeoutError::Disconnected) => {
                if writer.send() || misses > 5 {
                    return;
                }
                misses += 1;
                std::thread::sleep(Duration::from_millis(500 << misses));
            }
        }
    }
}

fn bundle(road: &Road, ticket: &Ticket) -> anyhow::Result<Bundle> {
    let backend = road.backend()?;
    let name = names::bundle(&ticket.scope, &ticket.wave);
    let mut tries = 0;
    loop {
        match text(&*backend, &name) {
            Ok(text) if Digest::of(text.as_bytes()) == ticket.bundle => {
                let bundle: Bundle = serde_json::from_str(&text)?;
                anyhow::ensure!(
                    bundle.version == FORMAT,
                    "the bundle has format {}",
                    bundle.version
                );
                return Ok(bundle);
            }
            Ok(_) => anyhow::bail!(
                "`{name}` is not what was submitted: somebody else changed it, or it is damaged"
            ),
            Err(why) if tries >= 6 => anyhow::bail!("the bundle cannot be read: {why}"),
            Err(_) => tries += 1,
        }
        std::thread::sleep(Duration::from_millis(250 << tries));
    }
}

/// What is known of an element when it begins.
struct Element<'a> {
    ticket: &'a Ticket,
    index: u32,
    road: &'a Road,
    begun: Instant,
    report: &'a Sender<Line>,
    cut: &'a Arc<Mutex<Vec<(Arc<str>, bool)>>>,
    /// It was the clock that stopped it.
    clock: &'a Arc<AtomicBool>,
}

fn execute(program: &Program, element: &Element<'_>) -> anyhow::Result<()> {
    let Element {
        ticket,
        index,
        road,
        begun,
        report,
        cut,
        clock,
    } = *element;
    let bundle = bundle(road, ticket)?;
    let items = bundle.elements.get(index as usize);
    let items = items.with_context(|| format!("the bundle has no element {index}"))?;
    let pem =
        credentials::var(KEY_VARIABLE).with_context(|| format!("{KEY_VARIABLE} is not set"))?;
    let signer = Arc::new(Signer::with_key(SecretKey::from_pem(&pem, None)?));
    let scratch = std::env::var(SCRATCH).ok().filter(|dir| !dir.is_empty());
    let scratch = scratch.unwrap_or_else(|| "/tmp".to_owned());
    let home = tempfile::Builder::new()
        .prefix("repro-job-")
        .tempdir_in(&scratch);
    let home = home.with_context(|| {
        format!("no directory can be made in `{scratch}` (`scratch` of the executor)")
    })?;
    let home_path = fs::canonicalize(home.path())?;
    let (root, store_dir) = (home_path.join("project"), home_path.join("store"));
    put_up(&bundle, road, &store_dir, &root)?;
    fs::write(root.join(FILE_NAME), of_one_key(&signer.public()))?;
    // The project may have had one of its own among its inputs.
    let _ = fs::remove_file(root.join(repro_engine::remote::config::FILE));
    let mut remotes = Remotes::read(&root)?;
    remotes.set(REMOTE, road.remote.clone(), true)?;
    remotes.write()?;
    let opening = Opening {
        file: Some(root.join(&bundle.pipeline)),
        profiles: bundle.profiles.clone(),
        sets: bundle.sets.clone(),
        store: Some(store_dir),
        ..Opening::new(program.catalog.clone())
    };
    let mut session = opening.session_to_run()?;
    session.link_mode = LinkMode::Hardlink;
    session.believer = session.believer.in_scope(road.scope.clone());
    let wishes = Wishes {
        which: Which {
            remote: Some(REMOTE.to_owned()),
            scope: road.scope.clone(),
        },
        pull: true,
        push: false,
        offline: false,
    };
    let (sharing, why_no_remote) = in_run(&session, &wishes, &mut |_| Ok(None))?;
    let time = Duration::from_secs(ticket.time_s);
    let reserve = RESERVE.min(time / 4);
    watch_clock(&program.cancel, clock, begun + time.saturating_sub(reserve))?;
    let options = RunOptions {
        targets: items.iter().map(|item| item.id.to_string()).collect(),
        on_failure: OnFailure::KeepGoing,
        offline: bundle.offline,
        sharing,
        why_no_remote,
        given: bundle.given.clone(),
        ..RunOptions::new(
            Vec::new(),
            program.cancel.clone(),
            program.executable.clone(),
        )
    };
    let by_id: HashMap<Arc<str>, Item> = items
        .iter()
        .map(|item| (item.id.clone(), item.clone()))
        .collect();
    let baggage = Baggage {
        store: session.store.clone(),
        state: session.project.state(),
        link: road.link()?,
        remote: road.backend()?,
        scope: ticket.scope.clone(),
        trust: Arc::new(Trust::of_key(&signer.public())),
        signer,
        items: by_id.clone().into_iter().collect(),
        until: begun + time.saturating_sub(reserve),
        report: report.clone(),
    };
    let site = Site::metered(&session, &program.executable)?.left_behind();
    let mut sink = |event: &Event| match event {
        Event::Cached { instance, key, .. } => {
            let key = key.parse().ok();
            if let (Some(item), Some(key)) = (by_id.get(&**instance), key) {
                let _ = report.send(Line::Found {
                    id: item.id.clone(),
                    key,
                });
            }
        }
        Event::Failed {
            instance,
            key,
            message,
            hint,
        } => {
            // What failed before it was begun is told by nobody else.
            let key = key.as_ref().and_then(|key| key.parse().ok());
            if let Some(item) = by_id.get(&**instance) {
                let failed = repro_engine::executor::Failed {
                    message: message.clone(),
                    hint: hint.clone(),
                    lacked_memory: false,
                };
                let _ = report.send(Line::Ended {
                    id: item.id.clone(),
                    key: key
                        .or(item.action.as_ref().map(|a| a.key))
                        .unwrap_or(Digest([0; 32])),
                    outcome: Box::new(repro_engine::executor::Outcome::Failed(failed)),
                    log: None,
                });
            }
        }
        Event::Warning { text, .. } => log::warn!("{text}"),
        _ => {}
    };
    let cancel = program.cancel.clone();
    let mut broken = None;
    let place = |tell: repro_engine::executor::Tell| -> Box<dyn repro_engine::executor::Executor> {
        match Courier::new(site, cancel, baggage, tell, cut.clone()) {
            Ok(courier) => Box::new(courier),
            Err(e) => {
                broken = Some(e);
                Box::new(Nowhere)
            }
        }
    };
    run_on(&mut session, &options, &mut sink, place)?;
    match broken {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

/// Makes the project, from the bytes on the remote.
fn put_up(bundle: &Bundle, road: &Road, store_dir: &Path, root: &Path) -> anyhow::Result<()> {
    let store = Arc::new(Store::open(store_dir)?);
    let link = road.link()?;
    let mut tries = 0;
    loop {
        match fetch(&link, &store, &[bundle.project])?.pop() {
            Some(Ok(())) | None => break,
            Some(Err(why)) if tries >= 4 => anyhow::bail!("the project cannot be fetched: {why}"),
            Some(Err(_)) => tries += 1,
        }
        std::thread::sleep(Duration::from_millis(250 << tries));
    }
    store.place(&bundle.project, root, LinkMode::Copy)?;
    for (at, path) in &bundle.links {
        let at = root.join(at);
        if at.symlink_metadata().is_err() {
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent)?;
            }
            std::os::unix::fs::symlink(path, &at)?;
        }
    }
    Ok(())
}

/// Near the end of the job the clock decides, not a signal: sites send different ones, or none.
fn watch_clock(
    cancel: &Arc<Cancel>,
    clock: &Arc<AtomicBool>,
    until: Instant,
) -> anyhow::Result<()> {
    let (cancel, clock) = (Arc::downgrade(cancel), clock.clone());
    watched::spawn("clock", move || {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(cancel) = cancel.upgrade() else {
                return;
            };
            if left.is_zero() {
                clock.fetch_or(cancel.level() == CancelLevel::None, Ordering::SeqCst);
                return cancel.raise(CancelLevel::Now);
            }
            drop(cancel);
            std::thread::sleep(left.min(Duration::from_secs(1)));
        }
    })?;
    Ok(())
}

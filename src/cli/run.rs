//! `repro run`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::IsTerminal;
use std::rc::Rc;
use std::sync::Arc;

use clap::Args;

use super::sharing::RemoteArgs;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::terminal::{self, Colour, Unwritten};
use crate::tools;
use crate::ui::style::counted;
use crate::ui::{Bars, Lines, Planned, notices, once, verdicts};
use repro_cluster::config::{Executors, HERE, config_dir};
use repro_cluster::{Asked, Detach, Left, destinations, is_elsewhere, jobs, settings_of};
use repro_engine::exchange::needed::announce;
use repro_engine::exchange::{Way, Wishes, in_run};
use repro_engine::exec::{Cancel, CancelLevel};
use repro_engine::record::event::{Event, Summary, Verdict};
use repro_engine::run::{self, OnFailure, Reuse, RunOptions};
use repro_engine::session::Session;
use repro_protocol::job::Device;

/// Run the stages that have no recorded result, and show all outputs under artifacts/.
///
/// A stage is executed if no result is recorded for its key: its kind or command, its parameters
/// and the contents of its inputs. Everything else comes from the store. Outputs appear under
/// artifacts/<stage>/, keys and digests in repro.lock. The first Ctrl-C lets running stages finish,
/// the second stops them (they have their `grace:` to save), and the third kills them. The next run
/// continues from there.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The pipeline file (ends in .yaml or .yml), then stages (`train`), instances
    /// (`train[seed=1]`) or claims; by default all. What they need is run too.
    #[arg(value_name = "TARGETS", add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only say what would be executed, and why.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Execute the targets even if results are recorded, and compare the results.
    #[arg(short, long)]
    force: bool,
    /// With --dry-run: name every instance, instead of one line for all that have the same cause.
    #[arg(long, requires = "dry_run")]
    all: bool,
    /// After a failure, continue with everything that does not need the failed result.
    #[arg(short, long)]
    keep_going: bool,
    /// Use this many cores; by default all.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Look on the remote for results before executing anything. Results signed by anyone named in
    /// repro.trust.toml are used, if they meet its `require`. Bytes are fetched only for what
    /// artifacts/ shows (results that no other stage needs) and for what an execution needs.
    /// Results that were pulled once are fetched when needed, also without this option.
    #[arg(long)]
    pull: bool,
    /// Publish on the remote what is executed, signed with your key, while other stages run.
    /// Results that were already here but are missing there are published too.
    #[arg(long)]
    push: bool,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Never use the network, not even for --pull and --push; what would need it fails.
    #[arg(long)]
    offline: bool,
    /// Where built-in kinds compute; results have the same bits and the same keys everywhere. `gpu`
    /// fails where there is no GPU. `auto` takes a GPU, but the CPU where there is none or where the
    /// CPU was faster before. An instance has a GPU to itself, or the share that its stage asks for
    /// (`resources: {gpus: 0.25}`). Without this option, stages that ask for a GPU have `auto`, and
    /// all others the CPU (docs/devices.md, `repro doctor`).
    #[arg(long, value_name = "DEVICE", value_parser = ["cpu", "gpu", "auto"])]
    device: Option<String>,
    /// Execute on this executor of repro.executors.toml (docs/cluster.md) instead of this machine:
    /// what has no result is submitted in bundles, and results come back with the same keys. After
    /// Ctrl-C its jobs go on, and the next run takes their results; `repro jobs` lists them, `repro
    /// cancel` ends them. A stage whose `executor` names another one is executed there; with `here`
    /// everything is executed on this machine.
    #[arg(long, value_name = "NAME")]
    on: Option<String>,
    /// Submit what is ready, and leave. A job that is chained behind the others calls this command
    /// again: it takes their results and submits what follows, until everything is done.
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    detach: bool,
    /// Treat a refuted claim as a failure (exit code 4).
    #[arg(long)]
    strict: bool,
    /// Write one JSON event per line to standard output; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// Show only what went wrong, and the claims.
    #[arg(short, long)]
    quiet: bool,
}

/// One of the words that clap lets through.
fn device(word: &str) -> Device {
    match word {
        "cpu" => Device::Cpu,
        "gpu" => Device::Gpu,
        _ => Device::Auto,
    }
}

/// Where built-in kinds compute, once it is known whether there is a GPU. `auto` without one is the
/// CPU, and says so: nobody waits for a GPU that nobody can use.
///
/// # Errors
/// The device cannot be had: said before anything begins.
fn place(session: &mut Session, wish: Device, is_elsewhere: bool) -> anyhow::Result<Device> {
    anyhow::ensure!(
        !is_elsewhere,
        "--device says where this machine computes, and stages of this run are executed \
         elsewhere; there a stage computes on a GPU if it asks for one (`resources: {{gpus: 1}}`). \
         `--on {HERE}` executes everything here"
    );
    if wish == Device::Cpu {
        return Ok(wish);
    }
    match tools::expect_gpu()? {
        Ok(()) => Ok(wish),
        Err(why) if wish == Device::Auto => {
            let told = format!("{why}; built-in kinds compute on the CPU");
            session.plan.warnings.push(told);
            Ok(Device::Cpu)
        }
        Err(why) => anyhow::bail!("{why}; {}", tools::WITHOUT_A_GPU),
    }
}

/// Runs the command.
pub fn main(context: &Context, args: &RunArgs) -> anyhow::Result<Exit> {
    let (targets, pipeline) = targets_and_file(args)?;
    let mut session = match args.dry_run {
        true => {
            let session = pipeline.opening(context).session()?;
            match &session.unknown.trouble {
                None => session,
                // The run would end at it.
                Some(why) => anyhow::bail!("{why}"),
            }
        }
        false => pipeline.opening(context).session_to_run()?,
    };
    let on = args.on.as_deref();
    let is_elsewhere = is_elsewhere(&session, on);
    let asks = args.dry_run || args.device.is_some();
    let there = match is_elsewhere && asks {
        true => destinations(&session, &targets, on)?,
        false => HashMap::new(),
    };
    if args.dry_run && is_elsewhere {
        // The run would end at it.
        let executors = Executors::read(&session.project.root, config_dir().as_deref())?;
        for name in there.values().collect::<BTreeSet<_>>() {
            settings_of(&executors, &session, on, name)?;
        }
    }
    let device = args.device.as_deref().map(device);
    let device = device.map(|wish| place(&mut session, wish, !there.is_empty()));
    let device = device.transpose()?;
    let which = args.remote.which()?;
    session.believer = session.believer.in_scope(which.scope.clone());
    let cancel = Arc::new(Cancel::new()?);
    // Events are for programs; whoever sits before them reads standard error.
    let told = match args.json {
        true => Told::Here,
        false => Told::ByTheRun,
    };
    watch_signals(&cancel, told)?;
    let wishes = Wishes {
        which,
        pull: args.pull,
        // A dry run sends nothing.
        push: args.push && !args.dry_run,
        offline: args.offline,
    };
    let (sharing, why_no_remote) = in_run(&session, &wishes, &mut terminal::ask_passphrase)?;
    let options = RunOptions {
        targets,
        jobs: args.jobs,
        on_failure: if args.keep_going {
            OnFailure::KeepGoing
        } else {
            OnFailure::Stop
        },
        reuse: if args.force {
            Reuse::ForceTargets
        } else {
            Reuse::Recorded
        },
        dry_run: args.dry_run,
        offline: args.offline,
        device,
        sharing,
        why_no_remote,
        ..RunOptions::new(context.args.clone(), cancel, std::env::current_exe()?)
    };
    let publishes = options.sharing.as_ref().filter(|s| s.push.is_some());
    let publishes = publishes.map(|s| (s.link.clone(), s.warnings.clone()));
    let unwritten = Rc::new(Cell::new(None));
    let mut show = display(args, &session, &unwritten);
    if args.dry_run && !args.json && !args.quiet {
        show = counting(show, there);
    }
    let is_elsewhere = is_elsewhere && !args.dry_run;
    anyhow::ensure!(
        is_elsewhere || !args.detach,
        "--detach leaves jobs on a cluster: say which one with --on, or with `executor` of a stage"
    );
    let (report, left) = match is_elsewhere {
        true => {
            let executors = Executors::read(&session.project.root, config_dir().as_deref())?;
            let asked = asked(context, args, &pipeline)?;
            repro_cluster::run(&mut session, &options, &executors, on, &asked, &mut *show)?
        }
        false => (run::run(&mut session, &options, &mut *show)?, Vec::new()),
    };
    drop(show);
    let mut is_detached = false;
    for left in &left {
        is_detached |= left.closing.is_some();
        leave_or_cancel(&session, left)?;
    }
    if let Some((link, warnings)) = publishes {
        let way = Way { link, warnings };
        announce(&way.link, &session.project, &[]);
        way.tell_warnings(&mut notices());
    }
    // The process is about to end. Freeing every small piece of a large plan would take a tenth of
    // the run.
    std::mem::forget(std::mem::take(&mut session.plan.instances));
    std::mem::forget(std::mem::take(&mut session.index));
    if !args.json {
        let table = verdicts(&report.summary.claims, Colour::of(&std::io::stdout()));
        output::text(&table)?;
    }
    let exit = match exit(&report.summary, report.store_broken, args.strict) {
        // It was asked for.
        Exit::Interrupted if is_detached => Exit::Done,
        other => other,
    };
    match unwritten.take() {
        // Whoever read has seen enough; the run went on.
        Some(Unwritten(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(exit),
        Some(e) if exit == Exit::Done => Err(e.into()),
        Some(e) => {
            crate::say!("error: {:#}", anyhow::Error::new(e));
            Ok(exit)
        }
        None => Ok(exit),
    }
}

/// How the pipeline was asked for.
fn asked(context: &Context, args: &RunArgs, pipeline: &PipelineArgs) -> anyhow::Result<Asked> {
    let detach = match args.detach {
        true => Some(Detach {
            args: context.args.iter().skip(1).cloned().collect(),
            dir: std::env::current_dir()?,
        }),
        false => None,
    };
    Ok(Asked {
        profiles: pipeline.profile.clone(),
        sets: pipeline.set.clone(),
        detach,
    })
}

/// The run was interrupted, and jobs go on. A person is asked what is to become of them.
fn leave_or_cancel(session: &Session, left: &Left) -> anyhow::Result<()> {
    let name = &left.name;
    let goes = if left.jobs == 1 { "goes" } else { "go" };
    let what = format!("{} {goes} on on `{name}`", counted(left.jobs, "job"));
    if let Some(job) = &left.closing {
        terminal::say(&format!(
            "{what}; job {job} takes their results and goes on: `repro jobs` lists them, `repro cancel` ends them"
        ));
        return Ok(());
    }
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        // Another Ctrl-C leaves them as well; nothing is to be finished any more.
        let _ = signal_hook::flag::register_conditional_shutdown(
            signal_hook::consts::SIGINT,
            Exit::Interrupted.code().into(),
            Arc::new(true.into()),
        );
        terminal::say(&format!(
            "{what}: `repro run --on {name}` takes their results. Cancel them? [y/N]"
        ));
        let mut answer = String::new();
        // No answer leaves them.
        let _ = std::io::stdin().read_line(&mut answer);
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            let done = jobs::cancel(&session.project.root, &session.project.state(), Some(name))?;
            terminal::say(&format!("{} cancelled", counted(done.jobs, "job")));
            return Ok(());
        }
    }
    terminal::say(&format!(
        "{what}: `repro run --on {name}` takes their results, `repro cancel` ends them"
    ));
    Ok(())
}

/// `repro run pipeline.yaml` names the file as people do.
fn targets_and_file(args: &RunArgs) -> anyhow::Result<(Vec<String>, PipelineArgs)> {
    let mut pipeline = args.pipeline.clone();
    let mut targets = Vec::new();
    for target in &args.targets {
        let is_file = [".yaml", ".yml"].iter().any(|end| target.ends_with(end));
        match (is_file, &pipeline.file) {
            (true, None) => pipeline.file = Some(target.into()),
            (true, Some(file)) => {
                anyhow::bail!("two pipeline files: `{}` and `{target}`", file.display())
            }
            (false, _) => targets.push(target.clone()),
        }
    }
    Ok((targets, pipeline))
}

/// How events are shown. Events that standard output did not accept are missing from the output;
/// `unwritten` says why.
fn display(
    args: &RunArgs,
    session: &Session,
    unwritten: &Rc<Cell<Option<Unwritten>>>,
) -> Box<dyn FnMut(&Event)> {
    let colour = Colour::of(&std::io::stderr());
    if args.json {
        let unwritten = unwritten.clone();
        return Box::new(move |event| {
            if matches!(event, Event::Said { .. }) {
                return;
            }
            let line = serde_json::to_string(event).map_err(std::io::Error::from);
            let written = line
                .map_err(Unwritten::from)
                .and_then(|line| terminal::print_bytes((line + "\n").as_bytes()));
            if let Err(e) = written {
                // The first one tells the cause.
                let first = unwritten.take().unwrap_or(e);
                unwritten.set(Some(first));
            }
        });
    }
    if args.quiet {
        let mut lines = Lines::new(colour);
        return once(move |event| {
            if matches!(
                event,
                Event::Failed { .. } | Event::Unstable { .. } | Event::Warning { .. }
            ) {
                lines.show(event);
            }
        });
    }
    if std::io::stderr().is_terminal() && !args.dry_run {
        let seconds = |id: &str| session.index.get(id).map(|k| f64::from(k.wall_s));
        let expected: BTreeMap<String, f64> = session
            .plan
            .instances
            .iter()
            .filter_map(|i| Some((i.id.to_string(), seconds(&i.id)?)))
            .collect();
        let cores = args
            .jobs
            .unwrap_or_else(|| repro_engine::machine::Machine::here().cpus);
        let mut bars = Bars::new(colour, expected, cores);
        return once(move |event| bars.show(event));
    }
    let mut lines = Lines::new(colour);
    if args.dry_run && !args.all {
        let mut planned = Planned::new(colour);
        return Box::new(move |event| {
            if planned.take(event) {
                return;
            }
            if matches!(event, Event::Summary(_)) {
                planned.lines().iter().for_each(|line| terminal::say(line));
            }
            lines.show(event);
        });
    }
    once(move |event| lines.show(event))
}

/// Of what a dry run would execute, how much would be submitted to which executor.
fn counting(
    mut show: Box<dyn FnMut(&Event)>,
    there: HashMap<Arc<str>, String>,
) -> Box<dyn FnMut(&Event)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    Box::new(move |event| {
        if let Event::Planned { instance, .. } = event
            && let Some(executor) = there.get(&**instance)
        {
            *counts.entry(executor.clone()).or_default() += 1;
        }
        show(event);
        if matches!(event, Event::Summary(_)) {
            for (executor, count) in &counts {
                terminal::say(&format!(
                    "{count} of these would be submitted to `{executor}`"
                ));
            }
        }
    })
}

/// Who reports what a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The thread that receives the signal, at once.
    Here,
    /// The run, with everything else it reports: bars on the terminal must not be overwritten.
    ByTheRun,
}

/// The first Ctrl-C lets running stages finish. The second, or SIGTERM, asks them to end. One more
/// Ctrl-C kills them; other signals do not, because they come in pairs (a closed terminal sends
/// SIGHUP twice). A signal that the parent process ignores (`nohup`, a shell's `&`) stays ignored.
pub(super) fn watch_signals(cancel: &Arc<Cancel>, told: Told) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let heard = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|s| !is_ignored(*s));
    let mut signals = signal_hook::iterator::Signals::new(heard)?;
    let cancel = cancel.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                let level = match cancel.level() {
                    CancelLevel::None if signal == SIGINT => CancelLevel::Graceful,
                    CancelLevel::None | CancelLevel::Graceful => CancelLevel::Now,
                    CancelLevel::Now if signal == SIGINT => CancelLevel::Kill,
                    CancelLevel::Now | CancelLevel::Kill => continue,
                };
                cancel.raise(level);
                if told == Told::Here {
                    terminal::say(run::interruption(level));
                }
            }
        })?;
    Ok(())
}

/// The disposition that the program was started with.
fn is_ignored(signal: i32) -> bool {
    // rustix asks for no dispositions. SAFETY: sigaction is plain data for which zero is valid;
    // only the old disposition is asked for.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}

/// The most important of what happened.
fn exit(summary: &Summary, store_broken: bool, strict: bool) -> Exit {
    let refuted = summary.claims.iter().any(|c| c.verdict == Verdict::Refuted);
    match summary {
        _ if store_broken => Exit::StoreBroken,
        s if s.interrupted => Exit::Interrupted,
        s if s.failed > 0 => Exit::StageFailed,
        s if s.unstable > 0 => Exit::Unstable,
        _ if refuted && strict => Exit::Diverged,
        _ => Exit::Done,
    }
}

//! The command line: one file per command, whose doc comment is its manual; exit codes are decided
//! here.
//!
//! Results go to standard output, everything else to standard error.

mod bisect;
mod cancel;
mod claims;
mod clean;
mod completing;
mod dag;
mod diff;
mod doctor;
mod export;
mod from;
mod fsck;
mod gc;
mod gc_args;
mod gc_remote;
mod gone;
mod init;
mod jobs;
mod kinds;
mod log;
mod logs;
mod man;
mod metrics;
mod output;
mod pin;
mod plot;
mod pull;
mod push;
mod remote;
mod replay;
mod report;
mod run;
mod run_bundle;
mod sharing;
mod shell;
mod show;
mod status;
mod tables;
#[cfg(test)]
mod tests;
mod trust;
mod verify;
mod why;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::terminal::Unwritten;
use repro_engine::catalog::Catalog;
use repro_engine::open::Opening;
use repro_engine::similar;
use repro_report::Tools;

/// A reproducible research pipeline: declared stages, content-hashed results, claims as tests.
#[derive(Debug, Parser)]
#[command(name = "repro", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 a stage failed · 2 usage or pipeline error · 3 an input changed during the run · \
4 verification diverged, or a claim was refuted under --strict · 5 store or remote broken · 130 interrupted.";

/// Where the pipeline is and how it is varied. All commands that read a pipeline share these.
#[derive(Debug, Clone, Default, Args)]
pub struct PipelineArgs {
    /// Pipeline file or its directory; by default the nearest pipeline.yaml in this directory or
    /// above.
    #[arg(short = 'C', long, value_name = "FILE")]
    pub(crate) file: Option<std::path::PathBuf>,
    /// Apply a profile of the pipeline. Can be given several times; later profiles win.
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// Set a variable (`epochs=3`) or any field (`stages.train.with.seed=1`). Values are YAML.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl PipelineArgs {
    /// The same as the engine's type.
    fn opening(&self, context: &Context) -> Opening {
        Opening {
            file: self.file.clone(),
            profiles: self.profile.clone(),
            sets: self.set.clone(),
            ..Opening::new(context.catalog.clone())
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Why(why::WhyArgs),
    Dag(dag::DagArgs),
    Metrics(metrics::MetricsArgs),
    Claims(claims::ClaimsArgs),
    Diff(diff::DiffArgs),
    Bisect(bisect::BisectArgs),
    Log(log::LogArgs),
    Show(show::ShowArgs),
    Logs(logs::LogsArgs),
    Jobs(jobs::JobsArgs),
    Cancel(cancel::CancelArgs),
    Shell(shell::ShellArgs),
    Report(report::ReportArgs),
    Plot(plot::PlotArgs),
    Replay(replay::ReplayArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Remote(remote::RemoteArgs),
    Verify(verify::VerifyArgs),
    Trust(trust::TrustArgs),
    Export(export::ExportArgs),
    Import(export::ImportArgs),
    Gc(gc_args::GcArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Fsck(fsck::FsckArgs),
    Clean(clean::CleanArgs),
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Kinds(kinds::KindsArgs),
    Schema(kinds::SchemaArgs),
    Completions(kinds::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
    #[command(hide = true)]
    RunBundle(run_bundle::RunBundleArgs),
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done,
    /// A stage failed.
    StageFailed,
    /// Wrong usage, or an error in the pipeline.
    Usage,
    /// An input changed during the run.
    Unstable,
    /// Verification diverged, or a claim was refuted under `--strict`.
    Diverged,
    /// The store or a remote is broken.
    StoreBroken,
    /// Stopped by the user.
    Interrupted,
}

impl Exit {
    /// The exit code; documented, never changed.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::StageFailed => 1,
            Exit::Usage => 2,
            Exit::Unstable => 3,
            Exit::Diverged => 4,
            Exit::StoreBroken => 5,
            Exit::Interrupted => 130,
        }
    }
}

/// What every command receives.
#[derive(Clone)]
pub struct Context {
    catalog: Arc<Catalog>,
    tools: Tools,
    args: Vec<String>,
}

impl Context {
    /// The project of a file or directory; by default the one found from here.
    fn opening(&self, file: Option<&std::path::Path>) -> Opening {
        Opening {
            file: file.map(Into::into),
            ..Opening::new(self.catalog.clone())
        }
    }
}

/// Runs the command line of this process.
pub fn main(catalog: fn() -> Catalog, tools: Tools) -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    // Hidden: `run` starts these. They stay out of clap so that a worker starts without building a
    // parser.
    match args.get(1).map(String::as_str) {
        Some("worker") if args.len() == 3 => {
            return (catalog().work)(std::path::Path::new(&args[2]));
        }
        Some("starter") if args.len() == 2 => return repro_engine::exec::starter::main(),
        Some(crate::tools::ASK_DRIVERS) if args.len() == 2 => return crate::tools::ask_drivers(),
        Some("keeper") if args.len() == 2 => return repro_engine::exec::keeper::main(),
        _ => {}
    }
    match completing::answered(catalog) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(Exit::Usage.code());
        }
    }
    repro_engine::watched::tell_panics(crate::terminal::say);
    crate::terminal::tell_warnings();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() => {
            let e = without_hidden(e);
            let _ = e.print();
            if let Some(tip) = meant(&e, &args) {
                let _ = writeln!(std::io::stderr(), "\n{tip}");
            }
            return ExitCode::from(Exit::Usage.code());
        }
        // Help and version are results, too.
        Err(e) => {
            let printed = e.print().map_err(|e| Unwritten(e).into());
            let exit = printed.map_or_else(|e| failed(&e), |()| Exit::Done);
            return ExitCode::from(exit.code());
        }
    };
    let context = Context {
        catalog: Arc::new(catalog()),
        tools,
        args,
    };
    // The hook has reported a panic already.
    let exit = repro_engine::watched::caught(|| command(&context, cli.command));
    let exit = exit.map_or(Exit::StoreBroken, |exit| {
        exit.unwrap_or_else(|e| failed(&e))
    });
    ExitCode::from(exit.code())
}

fn command(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => run::main(context, &args),
        Command::Status(args) => status::main(context, &args),
        Command::Why(args) => why::main(context, &args),
        Command::Dag(args) => dag::main(context, &args),
        Command::Metrics(args) => metrics::main(context, &args),
        Command::Claims(args) => claims::main(context, &args),
        Command::Diff(args) => diff::main(context, &args),
        Command::Bisect(args) => bisect::main(context, &args),
        Command::Log(args) => log::main(context, &args),
        Command::Show(args) => show::main(context, &args),
        Command::Logs(args) => logs::main(context, &args),
        Command::Jobs(args) => jobs::main(context, &args),
        Command::Cancel(args) => cancel::main(context, &args),
        Command::Shell(args) => shell::main(context, &args),
        Command::Report(args) => report::main(context, &args),
        Command::Plot(args) => plot::main(context, &args),
        Command::Replay(args) => replay::main(context, &args),
        Command::Push(args) => push::main(context, &args),
        Command::Pull(args) => pull::main(context, &args),
        Command::Remote(args) => remote::main(context, &args),
        Command::Verify(args) => verify::main(context, &args),
        Command::Trust(args) => trust::main(context, &args),
        Command::Export(args) => export::export(context, &args),
        Command::Import(args) => export::import(context, &args),
        Command::Gc(args) => gc::main(context, &args),
        Command::Pin(args) => pin::main(context, &args),
        Command::Unpin(args) => pin::unpin(context, &args),
        Command::Fsck(args) => fsck::main(context, &args),
        Command::Clean(args) => clean::main(context, &args),
        Command::Init(args) => init::main(context, &args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Kinds(args) => kinds::main(context, &args),
        Command::Schema(args) => kinds::schema(context, &args),
        Command::Completions(args) => kinds::completions(context, &args),
        Command::Man(args) => man::main(context, &args),
        Command::RunBundle(args) => run_bundle::main(context, &args),
    }
}

/// Takes commands that are not for people out of the parser's suggestions.
fn without_hidden(mut error: clap::Error) -> clap::Error {
    use clap::CommandFactory;
    use clap::error::{ContextKind, ContextValue};
    let kind = ContextKind::SuggestedSubcommand;
    if let Some(ContextValue::Strings(names)) = error.get(kind) {
        let cli = Cli::command();
        let is_hidden = |name: &String| {
            let command = cli.get_subcommands().find(|c| c.get_name() == name);
            command.is_some_and(clap::Command::is_hide_set)
        };
        let shown: Vec<String> = names.iter().filter(|n| !is_hidden(n)).cloned().collect();
        match shown.is_empty() {
            true => drop(error.remove(kind)),
            false => drop(error.insert(kind, ContextValue::Strings(shown))),
        }
    }
    error
}

/// The most likely command for one that does not exist, where the parser has no suggestion.
fn meant(error: &clap::Error, args: &[String]) -> Option<String> {
    use clap::CommandFactory;
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let mut command = Cli::command();
    for arg in args.iter().skip(1) {
        let inner = command
            .get_subcommands()
            .find(|c| c.get_name() == arg)
            .cloned();
        command = match inner {
            Some(inner) => inner,
            None => break,
        };
    }
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    let names = shown.map(clap::Command::get_name);
    match similar::nearest(word, names, (word.chars().count() / 3).max(1)) {
        Some(name) => Some(format!("  tip: did you mean `{name}`?")),
        None if command.get_name() == "repro" => {
            Some(format!("  tip: a stage is run with `repro run {word}`"))
        }
        None => None,
    }
}

/// Prints an error and decides its exit code.
fn failed(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Done;
    }
    if let Some(diagnostics) = error.downcast_ref::<repro_engine::spec::Diagnostics>() {
        let colour =
            crate::ui::style::Colour::of(&std::io::stderr()) == crate::ui::style::Colour::On;
        crate::say!("{}", diagnostics.render(colour));
        return Exit::Usage;
    }
    crate::say!("error: {error:#}");
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<repro_engine::store::StoreError>()
            || cause.is::<repro_engine::remote::BackendError>()
            || cause.is::<repro_engine::remote::stopped::Stopped>()
            || cause.is::<Unwritten>()
            || cause.is::<repro_engine::run::BrokenDown>()
            || cause.is::<repro_engine::executor::StoreBroken>()
            || is_disk_trouble(cause)
    };
    if error.chain().any(broken) {
        Exit::StoreBroken
    } else {
        Exit::Usage
    }
}

/// The project's own disk is full or cannot be written.
fn is_disk_trouble(cause: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    cause
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| matches!(e.kind(), StorageFull | ReadOnlyFilesystem | QuotaExceeded))
}

/// The reader of standard output has seen enough (`repro log | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

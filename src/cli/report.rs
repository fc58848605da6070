//! `repro report`.

mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::from::FromArgs;
use super::sharing::network;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::notices;
use repro_engine::notice::Tell;
use repro_engine::session::Session;
use repro_engine::whole;
use repro_report::collect::collect;
use repro_report::previous::Memory;
use repro_report::{Study, Tools, markdown, page};

/// Write the report of the study: one page with verdicts, figures, stages and runs.
///
/// The page is one HTML file that loads nothing from anywhere: it can be opened from disk, sent by
/// mail, or put on a server. Nothing is executed; what has no result yet is reported as open.
/// Figures are chosen by the shape of the tables; `figures:` in the pipeline asks for others (see
/// docs/report.md). `--from FILE` shows a study whose results are not here, as far as its file of
/// last values goes.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    from: FromArgs,
    /// Where to write it; by default `.repro/report.html`, with `--md` the directory `report`.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Write Markdown with SVGs into a directory instead, for a repository.
    #[arg(long)]
    md: bool,
    /// Show the page in a browser, and go on showing what comes while a run is under way. Only this
    /// machine can read it. Ctrl-C ends it.
    #[arg(long, conflicts_with_all = ["md", "output", "from"])]
    watch: bool,
    /// The port for `--watch`; by default one that is free.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true,
        requires = "watch"
    )]
    port: u16,
    /// Never use the network: what is only on a remote is left out.
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &ReportArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    if args.watch {
        return watch(context.clone(), args.clone(), &session);
    }
    let study = study(&session, &context.tools, (&args.from, args.offline))?;
    warn_of_undrawn(&study);
    if args.md {
        let default = session.project.root.join("report");
        let dir = args.output.as_ref().unwrap_or(&default);
        let files = markdown::write(&study, dir)?;
        crate::say!("{} files; begin with:", files.len());
        output::text(&format!("{}\n", files[0].display()))?;
        return Ok(Exit::Done);
    }
    let default = session.project.state().join("report.html");
    let path = args.output.as_ref().unwrap_or(&default);
    let page = page::page(&study, page::BUDGET);
    whole::write_beside(path, page.as_bytes())
        .map_err(|e| anyhow::anyhow!("cannot write {}: {e}", path.display()))?;
    output::text(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}

/// Shows the page until the program is ended. What changed is told relative to the last report that
/// was written, so nothing is remembered of what is shown.
fn watch(context: Context, args: ReportArgs, session: &Session) -> anyhow::Result<Exit> {
    let state = session.project.state();
    let of = vec![
        session.project.root.join(&session.project.pipeline),
        state.join("runs"),
        state.join("index"),
    ];
    let memory = state.join("report.json");
    let make = move || {
        let session = args.pipeline.opening(&context).session()?;
        let (mut memory, network) = (Memory::read(&memory), network(args.offline));
        let mut silent = |_| {};
        let way = (network, &mut silent as Tell);
        let study = collect(&session, &context.tools, None, way, &mut memory)?;
        Ok(page::live(&study, page::BUDGET))
    };
    let told = |at: SocketAddr| crate::say!("http://{at}/ shows the report; Ctrl-C ends it");
    watch::Watched::new(of, make).serve(args.port, told)?;
    Ok(Exit::Done)
}

/// Everything that a report tells; what it says is remembered for the next one.
pub fn study(
    session: &Session,
    tools: &Tools,
    (from, offline): (&FromArgs, bool),
) -> anyhow::Result<Study> {
    let given = from.read(session)?;
    let file = session.project.state().join("report.json");
    let mut memory = Memory::read(&file);
    let mut tell = notices();
    let way = (network(offline), &mut tell as Tell);
    let study = collect(session, tools, given.as_ref(), way, &mut memory)?;
    if let Err(e) = memory.write(&file) {
        crate::say!("warning: the next report will not know what changed since this one: {e:#}");
    }
    Ok(study)
}

/// Says which figures cannot be drawn. Only something that has results can lack what a figure is
/// about.
pub fn warn_of_undrawn(study: &Study) {
    if !study.arms.is_empty() {
        for undrawn in &study.undrawn {
            crate::say!("warning: {undrawn}");
        }
    }
}

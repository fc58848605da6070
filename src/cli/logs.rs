//! `repro logs`: what a stage wrote while it was executed.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use clap::Args;

use super::{Context, Exit, PipelineArgs, completing};
use crate::terminal;
use repro_cluster::jobs::submitted;
use repro_engine::digest::Digest;
use repro_engine::results::logs::{is_running, log_of};
use repro_engine::session::Session;

/// The interval at which a growing log is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Show the log of an instance: everything its last execution wrote.
///
/// This is the log of the current key, or else of the last execution recorded here, failed ones
/// too. With -f, the log of an instance that is being executed is followed to its end. Control
/// characters are shown as `\x1b` and the like, because a terminal would obey them. Colours are
/// kept on a terminal.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The instance, or a stage that has only one.
    #[arg(value_name = "INSTANCE", add = completing::targets())]
    instance: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Follow the log of a running execution.
    #[arg(short, long)]
    follow: bool,
    /// Write the bytes of the log unchanged, including control characters.
    #[arg(long)]
    raw: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &LogsArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let log = log_of(&session, &args.instance).map_err(|e| {
        let all = submitted(&session.project.state());
        match all.get(args.instance.as_str()) {
            Some(its) => e.context(format!(
                "`{}` was submitted to `{}`, and no log of it has come back yet; `repro jobs` tells \
                 how its job is",
                args.instance, its.executor
            )),
            None => e,
        }
    })?;
    let growing = log.growing.as_ref().filter(|_| args.follow);
    let bytes_total = copy(log.file, args.raw, growing.map(|key| (&session, key)))?;
    if bytes_total == 0 {
        crate::say!("`{}` wrote nothing", args.instance);
    }
    Ok(Exit::Done)
}

/// A line that is longer is shown in pieces.
const LINE_BYTES: usize = 1 << 20;

/// Copies to standard output, `follow` until the action is no longer executed; returns how much.
fn copy(mut log: File, raw: bool, follow: Option<(&Session, &Digest)>) -> anyhow::Result<u64> {
    let mut bytes_total = 0;
    let mut buffer = vec![0; 1 << 16];
    // The end of what was read, until its line is complete: half a code or half a letter cannot be
    // judged.
    let mut open_line = Vec::new();
    loop {
        // This is asked before reading, so everything written until the end is still read.
        let goes_on = follow.is_some_and(|(session, key)| is_running(session, key));
        loop {
            let n = log.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            bytes_total += n as u64;
            if raw {
                terminal::print_bytes(&buffer[..n])?;
                continue;
            }
            open_line.extend_from_slice(&buffer[..n]);
            let whole = match open_line.iter().rposition(|b| *b == b'\n') {
                Some(at) => at + 1,
                None if open_line.len() > LINE_BYTES => open_line.len(),
                None => 0,
            };
            show(&open_line[..whole])?;
            open_line.drain(..whole);
        }
        if !goes_on {
            show(&open_line)?;
            return Ok(bytes_total);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// At a carriage return a terminal begins the line again (a progress bar). Here each state of such
/// a line is a line.
fn show(bytes: &[u8]) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    Ok(terminal::print(&text.replace('\r', "\n"))?)
}

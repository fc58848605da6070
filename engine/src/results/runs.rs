//! Runs: what was asked of this project when, and how it ended.

use std::path::Path;

use crate::record::event::Event;
use crate::record::history::Run;
use crate::record::journal;
use crate::session::Session;

/// The last `n` runs, the newest first: of each how it began and ended.
///
/// # Errors
/// A journal cannot be read.
pub fn latest(runs_dir: &Path, n: usize) -> anyhow::Result<Vec<Run>> {
    let names = journal::list(runs_dir)?;
    let runs = names.iter().rev().take(n);
    runs.map(|name| Run::read_ends(runs_dir, name))
        // One that was no journal at all.
        .filter(|run| run.as_ref().map_or(true, |run| !run.events.is_empty()))
        .collect()
}

/// The beginning of a run's name that no other of `names` has, to the minute at least: it is taken
/// for the run everywhere.
pub fn short_name<'a>(name: &'a str, names: &[String]) -> &'a str {
    let is_unique = |short: &str| names.iter().filter(|n| n.starts_with(short)).count() == 1;
    let mut shorter = (13..name.len()).filter_map(|end| name.get(..end));
    shorter.find(|short| is_unique(short)).unwrap_or(name)
}

/// `--set` and `--profile` of the last run that executed or showed anything, with their values.
pub fn options_of_last(session: &Session) -> Vec<(&'static str, String)> {
    let dir = session.runs_dir();
    let events = || {
        let runs = journal::list(&dir).ok()?;
        journal::read(&dir, runs.last()?).ok()
    };
    let events = events().unwrap_or_default();
    let args = events.iter().find_map(|event| match event {
        Event::RunStarted { args, .. } => Some(args),
        _ => None,
    });
    args.map(|args| options_in(args)).unwrap_or_default()
}

/// `--set` and `--profile` in a command line, with their values.
pub fn options_in(args: &[String]) -> Vec<(&'static str, String)> {
    let mut args = args.iter();
    let mut options = Vec::new();
    while let Some(arg) = args.next() {
        for option in ["--set", "--profile"] {
            if arg == option {
                options.push((option, args.next().cloned().unwrap_or_default()));
            } else if let Some(value) = arg.strip_prefix(option).and_then(|v| v.strip_prefix('=')) {
                options.push((option, value.to_owned()));
            }
        }
    }
    options
}

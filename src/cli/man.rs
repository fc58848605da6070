//! `repro man`: the help texts as manual pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory};

use super::{Cli, Context, Exit};

/// Write a manual page for every command.
///
/// For example `repro man ~/.local/share/man/man1`; then `man repro-metrics` shows one.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The directory; it is made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs the command.
pub fn main(_context: &Context, args: &ManArgs) -> anyhow::Result<Exit> {
    let cannot = || format!("cannot write to {}", args.dir.display());
    std::fs::create_dir_all(&args.dir).with_context(cannot)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).with_context(cannot)?;
    Ok(Exit::Done)
}

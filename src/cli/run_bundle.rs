//! `repro run-bundle`: what a job of `repro run --on` calls on its node.

use std::sync::Arc;

use clap::Args;

use super::run::{Told, watch_signals};
use super::{Context, Exit};
use repro_cluster::node;
use repro_engine::exec::Cancel;

/// Execute an element of a job on this node. Jobs of `repro run --on` call it.
#[derive(Debug, Clone, Args)]
pub struct RunBundleArgs {
    /// The number of the element.
    #[arg(long, value_name = "N")]
    index: u32,
}

/// Runs the command.
pub fn main(context: &Context, args: &RunBundleArgs) -> anyhow::Result<Exit> {
    let cancel = Arc::new(Cancel::new()?);
    watch_signals(&cancel, Told::ByTheRun)?;
    let program = node::Program {
        catalog: context.catalog.clone(),
        executable: std::env::current_exe()?,
        cancel,
    };
    node::work(&program, args.index)?;
    Ok(Exit::Done)
}

//! The engine of `repro`: it reads a pipeline file, gives every stage instance a key made of
//! everything that can influence its result, runs what has no cached result, and keeps what it made
//! in a content-addressed store.
//!
//! Data moves one way; the modules are listed in that order. No module names what a stage computes.
//! The engine prints nothing: use cases take typed options, return data, tell what they do through
//! callbacks, and warn through [`log`].
//!
//! A pipeline is opened ([`open::Opening`]), run ([`run::run`]) and asked ([`results::Results`]):
//!
//! ```
//! use std::sync::Arc;
//!
//! use repro_engine::catalog::{Catalog, Table};
//! use repro_engine::exchange::Network;
//! use repro_engine::exec::Cancel;
//! use repro_engine::open::Opening;
//! use repro_engine::results::Results;
//! use repro_engine::results::metrics::Rows;
//! use repro_engine::run::{RunOptions, run};
//! use repro_protocol::table::Row;
//!
//! # fn main() -> anyhow::Result<()> {
//! let dir = tempfile::tempdir()?;
//! let pipeline = r#"
//! version: 1
//! stages:
//!   measure:
//!     run: echo '{"accuracy":0.9}' > metrics.json
//!     outputs: {metrics: metrics.json}
//! "#;
//! std::fs::write(dir.path().join("pipeline.yaml"), pipeline)?;
//!
//! // What a table is, the engine is told; here one JSON object with numbers.
//! let catalog = Catalog::without_kinds(|path| {
//!     let values: std::collections::BTreeMap<String, f64> =
//!         serde_json::from_slice(&std::fs::read(path)?)?;
//!     let rows = values.into_iter().map(|(name, value)| Row { name, value, ..Row::default() });
//!     Ok(Table { rows: rows.collect(), is_own: false })
//! });
//! let opening = Opening {
//!     file: Some(dir.path().join("pipeline.yaml")),
//!     store: Some(dir.path().join("store")),
//!     ..Opening::new(Arc::new(catalog))
//! };
//!
//! let mut session = opening.session_to_run()?;
//! // Runs built-in kinds and watches over a run; see `catalog::Catalog::work` and `exec::keeper`.
//! let executable = "true".into();
//! let options = RunOptions::new(vec!["example".into()], Arc::new(Cancel::new()?), executable);
//! let report = run(&mut session, &options, &mut |event| println!("{event:?}"))?;
//! assert_eq!((report.summary.executed, report.summary.failed), (1, 0));
//!
//! let results = Results::of(&session, &["measure".into()])?;
//! let tables = results.tables(Network::Off, &mut |_| {})?;
//! let metric = &tables[0].values(Rows::Last)[0];
//! assert_eq!((metric.instance, &*metric.row.name, metric.row.value), ("measure", "accuracy", 0.9));
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod canonical;
pub mod damaged;
pub mod digest;
pub mod dir;
pub mod filename;
pub mod files;
pub mod git;
pub mod handwritten;
pub mod regular;
pub mod similar;
pub mod size;
pub mod watched;
pub mod whole;

pub mod catalog;
pub mod graph;
pub mod lineage;
pub mod outline;
pub mod plan;
pub mod spec;

pub mod artifacts;
pub mod change;
pub mod key;
pub mod project;

pub mod store;

pub mod placement;

pub mod difference;
pub mod remote;
pub mod trust;

pub mod lookup;

pub mod credentials;
pub mod energy;
pub mod environment;
pub mod exec;
pub mod machine;

pub mod demand;
pub mod index;
pub mod open;
pub mod record;
pub mod session;
pub mod survey;
pub mod targets;
pub mod verdicts;

pub mod executor;
pub mod run;

pub mod bisect;
pub mod clean;
pub mod collect;
pub mod exchange;
pub mod explain;
pub mod export;
pub mod notice;
pub mod results;
pub mod verify;
pub mod visit;

/// The tests of every package say in one way that they cannot run.
#[cfg(test)]
#[path = "../../tests/support/skipped.rs"]
mod skipped;

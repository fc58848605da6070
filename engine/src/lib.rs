//! The engine of `repro`: it reads a pipeline file, gives every stage instance a key made of everything that can
//! influence its result, runs what has no cached result, and keeps what it made in a content-addressed store.
//!
//! Data moves one way; the modules are listed in that order. No module names what a stage computes.

pub mod canonical;
pub mod digest;
pub mod dir;
pub mod filename;
pub mod files;
pub mod regular;
pub mod watched;

pub mod catalog;
pub mod graph;
pub mod lineage;
pub mod plan;
pub mod spec;

pub mod artifacts;
pub mod explain;
pub mod key;
pub mod project;

pub mod store;

pub mod difference;
pub mod remote;
pub mod trust;

pub mod credentials;
pub mod environment;
pub mod exec;

pub mod index;
pub mod open;
pub mod record;
pub mod session;
pub mod survey;
pub mod targets;

pub mod run;

pub mod exchange;
pub mod export;
pub mod notice;
pub mod results;

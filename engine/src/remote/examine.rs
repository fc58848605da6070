//! Examining a remote of a project: what it can do now, whatever was found before.

use std::path::Path;

use super::backends;
use super::config::Remote;
use super::name::Name;
use super::probe::{Probe, probe_in_time};

/// Tries what a remote can do, and says what is wrong with it.
///
/// # Errors
/// What is written of it is wrong.
pub fn examine(project_root: &Path, remote: &Remote) -> anyhow::Result<Probe> {
    let mut fresh = remote.clone();
    // What was found before must not hide what is so now.
    fresh.found = None;
    let (location, settings) = fresh.resolve(project_root)?;
    let backend = match backends::open(&location, &settings, &backends::process_env) {
        Ok(backend) => backend,
        Err(e) => {
            return Ok(Probe {
                error: Some(e),
                ..Probe::default()
            });
        }
    };
    let place: Name = format!("v1/gc/probe/{}", backends::unique_word()).parse()?;
    Ok(probe_in_time(backend, &place, backends::silence() * 3 / 2))
}

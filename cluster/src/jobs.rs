//! What is on clusters of this project: a list, and the end of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use repro_engine::digest::Digest;
use repro_engine::remote::config::Remotes;
use serde::Serialize;

use crate::config::{Executors, config_dir};
use crate::journal::{Journal, Wave};
use crate::manager::clear;
use crate::system::{State, System, Told};

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The executor.
    pub executor: String,
    /// What the batch system calls it; `12_3`.
    pub job: String,
    /// The batch system's word for how it is; `unknown` where it says nothing.
    pub state: String,
    /// Why it waits, or where it runs.
    pub about: String,
    /// What it executes.
    pub instances: Vec<String>,
}

/// What is on the clusters, and what could not be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Jobs {
    /// All that may be there.
    pub jobs: Vec<Listed>,
    /// Clusters that did not answer.
    pub silent: Vec<String>,
}

fn ask(system: &System, waves: &[Wave]) -> Result<Vec<Told>, String> {
    let names: Vec<String> = waves.iter().map(|w| w.job_name.clone()).collect();
    let jobs: Vec<String> = waves
        .iter()
        .map(|w| w.job.clone().unwrap_or_default())
        .collect();
    system.ask(&names, &jobs)
}

fn is_of(told: &Told, wave: &Wave) -> bool {
    match &told.name {
        Some(name) => *name == wave.job_name,
        None => told.job.is_some() && told.job == wave.job,
    }
}

/// The jobs of a project that may still be there.
///
/// # Errors
/// The journal or the configuration cannot be read.
pub fn list(root: &Path, state: &Path) -> anyhow::Result<Jobs> {
    let executors = Executors::read(root, config_dir().as_deref())?;
    let mut all = Jobs::default();
    for name in Journal::all(state) {
        let waves = Journal::of(state, &name).waves()?;
        let closing = Journal::of(state, &name).closing()?;
        if waves.is_empty() && closing.is_none() {
            continue;
        }
        let system = executors.get(&name)?.system()?;
        if let Some(closing) = closing {
            all.jobs.push(Listed {
                executor: name.clone(),
                job: closing.job.unwrap_or(closing.job_name),
                state: "chained".to_owned(),
                about: "it takes the results of the others".to_owned(),
                instances: Vec::new(),
            });
        }
        let told = match ask(&system, &waves) {
            Ok(told) => told,
            Err(why) => {
                all.silent.push(format!("`{name}`: {why}"));
                Vec::new()
            }
        };
        for wave in &waves {
            for (number, items) in wave.living() {
                let its = told
                    .iter()
                    .find(|t| is_of(t, wave) && t.index.unwrap_or(0) == number);
                let job = wave.job.clone().unwrap_or_else(|| wave.job_name.clone());
                all.jobs.push(Listed {
                    executor: name.clone(),
                    job: if system.has_arrays() {
                        format!("{job}_{number}")
                    } else {
                        job
                    },
                    state: its.map_or_else(|| "unknown".to_owned(), |t| t.word.to_lowercase()),
                    about: its.map_or_else(String::new, |t| match t.state {
                        State::Waiting => t.why.clone(),
                        _ => t.node.clone(),
                    }),
                    instances: items.iter().map(|(id, _)| id.to_string()).collect(),
                });
            }
        }
    }
    Ok(all)
}

/// Where an instance was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Submitted {
    /// The executor.
    pub executor: String,
    /// What the batch system calls the job, where that is known.
    pub job: Option<String>,
    /// The key that it was submitted with, where it was known.
    #[serde(skip)]
    pub key: Option<Digest>,
}

/// Instances of a project whose jobs may not be over, by what was written down. No batch system is
/// asked, and what cannot be read says nothing: [`list`] does both.
pub fn submitted(state: &Path) -> BTreeMap<Arc<str>, Submitted> {
    let mut found = BTreeMap::new();
    for executor in Journal::all(state) {
        for wave in Journal::of(state, &executor).waves().unwrap_or_default() {
            for (id, key) in wave.living().flat_map(|(_, items)| items) {
                let its = Submitted {
                    executor: executor.clone(),
                    job: wave.job.clone(),
                    key: *key,
                };
                found.insert(id.clone(), its);
            }
        }
    }
    found
}

/// What was cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cancelled {
    /// Jobs, as [`list`] counts them: each element of an array.
    pub jobs: usize,
    /// What could not be.
    pub failed: Vec<String>,
}

/// Ends all jobs of a project, on the executor that is named or on all.
///
/// # Errors
/// The journal or the configuration cannot be read.
pub fn cancel(root: &Path, state: &Path, only: Option<&str>) -> anyhow::Result<Cancelled> {
    let executors = Executors::read(root, config_dir().as_deref())?;
    if let Some(name) = only {
        executors.get(name)?;
    }
    let mut done = Cancelled::default();
    for name in Journal::all(state)
        .into_iter()
        .filter(|name| only.is_none_or(|only| only == name))
    {
        let journal = Journal::of(state, &name);
        let Some(campaign) = journal.campaign()? else {
            continue;
        };
        // A run that waits for them must not submit them again.
        journal.ask_to_cancel()?;
        let system = executors.get(&name)?.system()?;
        let waves = journal.waves()?;
        let mut is_all = true;
        if let Some(closing) = journal.closing()?.filter(|c| !c.is_this_process()) {
            // Where it goes on it finds nothing to do.
            let job = closing.job.unwrap_or_default();
            done.jobs += usize::from(system.cancel(&job, &closing.job_name).is_ok());
        }
        for wave in &waves {
            // One that was never seen has a name only.
            let seen = match &wave.job {
                Some(job) => Some(job.clone()),
                None => ask(&system, std::slice::from_ref(wave))
                    .ok()
                    .and_then(|told| told.into_iter().find(|t| is_of(t, wave))?.job),
            };
            let Some(job) = seen else { continue };
            match system.cancel(&job, &wave.job_name) {
                Ok(()) => done.jobs += wave.living().count(),
                Err(why) => {
                    is_all = false;
                    done.failed.push(format!("job {job} on `{name}`: {why}"));
                }
            }
        }
        if is_all {
            let remotes = Remotes::read(root)?;
            if let Ok(backend) = remotes.open(Some(&campaign.remote)) {
                clear(&*backend, &campaign.scope);
            }
            journal.end();
        }
    }
    Ok(done)
}

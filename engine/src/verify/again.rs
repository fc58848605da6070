//! One recorded action executed again, far from the cache.
//!
//! Nothing is recorded or shown: the only traces are the private directory, where it is asked for,
//! and the answer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::Context as _;

use crate::digest::Content;
use crate::exec::{Cancel, CancelLevel, Usage};
use crate::executor::{
    Aside, Executor, Failed, Heard, Local, Order, OrderId, Outcome, Purpose, Site, StoreBroken,
    Terms, alone, check_inputs,
};
use crate::lineage::Lineage;
use crate::plan::Instance;
use crate::record::lockfile::LockFile;
use crate::run::GPUS_ARE_TAKEN;
use crate::session::Session;
use repro_protocol::job::Device;

/// What came of an execution.
#[derive(Debug)]
pub enum Again<T> {
    /// It ended, and was compared.
    Done(T),
    /// It failed.
    Failed(Failed),
    /// It was cancelled.
    Cancelled,
}

impl<T> Again<T> {
    /// With something else in the place of what was found.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Again<U> {
        match self {
            Again::Done(found) => Again::Done(f(found)),
            Again::Failed(failure) => Again::Failed(failure),
            Again::Cancelled => Again::Cancelled,
        }
    }
}

/// What a second execution gave.
pub struct Replayed {
    /// The new content of every output.
    pub outputs: BTreeMap<Arc<str>, Content>,
    /// Where they lie.
    pub aside: Aside,
    /// Time and memory of it.
    pub usage: Usage,
}

/// Where and how.
pub struct ReplayTerms {
    /// Leave the private directory here; it must not exist.
    pub keep: Option<PathBuf>,
    /// Cores it may use.
    pub cpus: u32,
    /// The network may not be used.
    pub offline: bool,
    /// This program.
    pub executable: PathBuf,
    /// What its inputs have in common, as it was hashed.
    pub lineage: Lineage,
}

/// Executes an instance whose inputs have these contents.
///
/// # Errors
/// An input is not in the store; the store, the disk.
pub fn replay(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    terms: ReplayTerms,
    cancel: &Arc<Cancel>,
) -> anyhow::Result<Again<Replayed>> {
    check_inputs(session, instance, contents)?;
    let pins = LockFile::read(&session.project.lock_file())?
        .blocks
        .remove(&*instance.id)
        .map(|block| block.pins)
        .unwrap_or_default();
    let mut is_told = false;
    let granted = alone(&instance.policy, || {
        if !std::mem::replace(&mut is_told, true) {
            log::warn!("{GPUS_ARE_TAKEN}");
        }
        match cancel.level() {
            CancelLevel::None => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    let id = OrderId(0);
    let order = Order::of(
        session,
        instance,
        session.key(instance, contents, &terms.lineage),
        contents,
        &terms.lineage,
        Terms {
            id,
            run: String::new(),
            purpose: Purpose::Compare,
            pins,
            policy: instance.policy.with_cpus(terms.cpus),
            threads: granted.grant.threads,
            offline: terms.offline,
            // Who checks a result does so where its bits are defined.
            device: Some(Device::Cpu),
        },
    );
    let (to_here, outcomes) = channel();
    let tell = move |_, heard| {
        if let Heard::Outcome(outcome) = heard {
            let _ = to_here.send(*outcome);
        }
    };
    let site = Site::of(session, &terms.executable);
    let local = Local::new(site, cancel.clone(), Arc::new(tell));
    let mut local = local.keeping(terms.keep.as_deref());
    local.grant(id, granted);
    local.begin(order)?;
    let outcome = outcomes.recv()?;
    let aside = local.aside(id);
    let made = match outcome {
        Outcome::Made(made) => *made,
        Outcome::Failed(failed) => return Ok(Again::Failed(failed)),
        Outcome::Cancelled => return Ok(Again::Cancelled),
        Outcome::StoreBroken { message } => return Err(StoreBroken(message).into()),
        other => anyhow::bail!("BUG: {other:?} of an action that is only compared"),
    };
    let aside = aside.context("BUG: nothing is kept of what was made")?;
    let names = instance.outputs.iter().map(|o| o.name.clone());
    Ok(Again::Done(Replayed {
        outputs: names.zip(made.outputs).collect(),
        aside,
        usage: made.usage,
    }))
}

//! The states of an instance in a run, what is known in each, and which state may follow which.
//!
//! ```text
//! Waiting ─┬─▶ Asking ─┬─▶ Gathering ─▶ Ready ─▶ Running ─▶ Committing ─▶ Done
//!          │           └─▶ Done            (each step may be left out)
//!          └─▶ Done; in a dry run Planned, Foreseen
//! ```
//! Each state before Done may also end in Failed or Skipped. An instance that a claim asks for
//! during the run goes from Unwanted to Waiting. One that must open a directory first goes from
//! Waiting to Opening and back. An instance goes back to Waiting if it has to be looked at again:
//! somebody else executed its action, or the bytes of its result cannot be had; then all that wait
//! for it go back too.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ready::QueuePlace;
use crate::digest::{Content, Digest};
use crate::executor::OrderId;
use crate::index::Known;
use crate::plan::Policy;
use crate::record::event::{Event, Reason};
use crate::store::Record;

/// An action that has no result yet. The text of its key is made again when it starts: of a plan,
/// most actions wait for long.
#[derive(Debug)]
pub struct Miss {
    pub key: Digest,
    pub reason: Reason,
    pub contents: Vec<Vec<Content>>,
}

/// A result on its way into the store.
#[derive(Debug, Clone)]
pub struct Unrecorded {
    /// To be told once it is recorded.
    pub event: Event,
    pub known: Known,
    /// To be published once it is recorded.
    pub to_publish: Option<Record>,
}

/// See the module.
#[derive(Debug)]
pub enum State {
    /// This run does not want it, or not yet.
    Unwanted,
    /// So many producers have no result; with none missing it is looked at next.
    Waiting { missing: u32 },
    /// It takes a part of directories that are fetched from the remote, and its key is known only
    /// when these are here.
    Opening { open: BTreeSet<Content> },
    /// The remote is asked whether it has a result.
    Asking { miss: Arc<Miss> },
    /// It must be executed, and these inputs of it are fetched from the remote.
    Gathering {
        miss: Arc<Miss>,
        open: BTreeSet<Content>,
    },
    /// It must be executed and waits for resources.
    Ready {
        miss: Arc<Miss>,
        place: QueuePlace,
        policy: Arc<Policy>,
    },
    /// It is executed.
    Running {
        order: OrderId,
        key: Digest,
        /// With the cores it was given.
        policy: Arc<Policy>,
    },
    /// Its result is being recorded.
    Committing {
        order: OrderId,
        result: Arc<Unrecorded>,
    },
    /// It has a result.
    Done {
        key: Digest,
        outputs: Arc<[Content]>,
    },
    /// In a dry run: it waits for what would be executed, and has this result if that gives again
    /// what repro.lock says it gave.
    Foreseen {
        key: Digest,
        outputs: Arc<[Content]>,
    },
    /// It would be executed, were this no dry run; what it would give, if that is known.
    Planned { foreseen: Option<Arc<[Content]>> },
    /// It has no result and gets none in this run.
    Failed,
    /// Not reached because of another, or stopped.
    Skipped,
}

/// A [`State`] without what is known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Unwanted,
    Waiting,
    Opening,
    Asking,
    Gathering,
    Ready,
    Running,
    Committing,
    Done,
    Foreseen,
    Planned,
    Failed,
    Skipped,
}

impl Phase {
    /// How many there are.
    pub const COUNT: usize = Phase::Skipped as usize + 1;

    /// Whether a way leads from here to there.
    pub fn leads_to(self, next: Phase) -> bool {
        use Phase::*;
        match self {
            Waiting => !matches!(next, Unwanted | Running | Committing),
            Opening => matches!(next, Waiting | Skipped),
            Asking => matches!(next, Waiting | Gathering | Ready | Done | Planned | Skipped),
            Gathering => matches!(next, Waiting | Ready | Skipped),
            Ready => matches!(next, Waiting | Running | Skipped),
            Running => matches!(next, Waiting | Committing | Failed | Skipped),
            Committing => matches!(next, Done | Failed),
            Done => matches!(next, Waiting),
            Foreseen => matches!(next, Planned),
            // A claim asks for it after all.
            Unwanted => matches!(next, Waiting),
            Planned | Failed | Skipped => false,
        }
    }
}

impl State {
    pub fn phase(&self) -> Phase {
        match self {
            State::Unwanted => Phase::Unwanted,
            State::Waiting { .. } => Phase::Waiting,
            State::Opening { .. } => Phase::Opening,
            State::Asking { .. } => Phase::Asking,
            State::Gathering { .. } => Phase::Gathering,
            State::Ready { .. } => Phase::Ready,
            State::Running { .. } => Phase::Running,
            State::Committing { .. } => Phase::Committing,
            State::Done { .. } => Phase::Done,
            State::Foreseen { .. } => Phase::Foreseen,
            State::Planned { .. } => Phase::Planned,
            State::Failed => Phase::Failed,
            State::Skipped => Phase::Skipped,
        }
    }

    /// The result, also one that is only foreseen.
    pub fn outputs(&self) -> Option<&Arc<[Content]>> {
        match self {
            State::Done { outputs, .. } | State::Foreseen { outputs, .. } => Some(outputs),
            State::Planned { foreseen } => foreseen.as_ref(),
            _ => None,
        }
    }

    /// The order that is executed, or whose result is recorded.
    pub fn order(&self) -> Option<OrderId> {
        match self {
            State::Running { order, .. } | State::Committing { order, .. } => Some(*order),
            _ => None,
        }
    }

    /// The key of its action, where that is known.
    pub fn key(&self) -> Option<Digest> {
        match self {
            State::Asking { miss } | State::Gathering { miss, .. } | State::Ready { miss, .. } => {
                Some(miss.key)
            }
            State::Running { key, .. } | State::Done { key, .. } | State::Foreseen { key, .. } => {
                Some(*key)
            }
            State::Committing { result, .. } => Some(result.known.key),
            State::Unwanted
            | State::Waiting { .. }
            | State::Opening { .. }
            | State::Planned { .. }
            | State::Failed
            | State::Skipped => None,
        }
    }
}

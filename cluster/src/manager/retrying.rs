//! Retrying: whether what has no result is executed again, how often, and what it is given more of.

use std::collections::BTreeMap;
use std::time::Instant;

use bytesize::ByteSize;
use repro_engine::executor::{Failed, OrderId, Outcome};

use super::{At, Manager};
use crate::system::End;

/// How often things went wrong with an instance.
#[derive(Default)]
pub(super) struct Counts {
    of: BTreeMap<End, u32>,
    /// Ended by the clock without a new state.
    overtime: u32,
    more_memory: u32,
    more_time: u32,
}

impl Manager {
    /// What an instance gets of memory: as it is said of it, and more after it had too little.
    pub(super) fn memory(&self, index: u32) -> Option<u64> {
        let settings = &self.place.settings;
        let declared = self.place.outlook.at(index).policy.memory_bytes;
        let said = declared.or(settings.defaults.memory.map(|m| m.0))?;
        let times = self.counts.get(&index).map_or(0, |c| c.more_memory);
        Some((said as f64 * more(settings.retry.memory, times)) as u64)
    }

    /// How long its job may take, in whole minutes: as of [`Manager::memory`].
    pub(super) fn minutes(&self, index: u32) -> u64 {
        let settings = &self.place.settings;
        let times = self.counts.get(&index).map_or(0, |c| c.more_time);
        let seconds = settings.time().as_secs_f64() * more(settings.retry.time, times);
        (seconds / 60.0).ceil().max(1.0) as u64
    }

    /// Its job is no more, and there is no result: it is executed again, where that makes sense.
    pub(super) fn again(&mut self, id: OrderId, end: End, why: &str) {
        let retry = self.place.settings.retry;
        let may_ask = |name: &str| !self.place.settings.without.iter().any(|w| w == name);
        let (may_ask_memory, may_ask_time) = (may_ask("memory"), may_ask("time"));
        let index = self.orders.get(&id).map(|open| open.index);
        let has_memory = index.is_some_and(|index| self.memory(index).is_some());
        let Some(open) = self.orders.get_mut(&id) else {
            return;
        };
        open.at = At::Pending;
        open.asked = None;
        open.made = None;
        self.live.remove(&id);
        let counts = self.counts.entry(open.index).or_default();
        let count = counts.of.entry(end).or_insert(0);
        *count += 1;
        let count = *count;
        let more = |done: &mut u32| {
            let may = *done < retry.times;
            *done += u32::from(may);
            may
        };
        let (goes_on, hint) = match end {
            End::Done => (true, ""),
            End::Preempted => (
                count <= 100,
                "it is preempted again and again: another partition or qos may suit it better",
            ),
            End::Node => (
                count <= 10,
                "its nodes fail again and again: see whether it is it that makes them fail",
            ),
            End::Vanished => (
                count <= 5,
                "the batch system forgets its jobs: is its controller restarted without its state?",
            ),
            End::Failed => (
                count <= 2,
                "see what its job said; `program` and `scratch` of the executor may not suit the nodes",
            ),
            End::Cancelled => (
                count <= 1,
                "somebody cancels its jobs; ask them, and run again",
            ),
            End::Time => {
                counts.overtime += 1;
                let is_allowed = may_ask_time && more(&mut counts.more_time);
                // Once more with the same: it may have begun late in its job.
                (
                    is_allowed || counts.overtime <= 1,
                    "raise `defaults.time` of the executor, or let it keep states to go on from",
                )
            }
            // The same again would end in the same way.
            End::Memory if !may_ask_memory => (
                false,
                "this site is not told of memory (`without`): `resources.cpus` may bring more of it, or another partition",
            ),
            End::Memory if !has_memory => (
                false,
                "nothing says how much memory it needs: declare `resources.memory` of the stage, or `defaults.memory` of the executor",
            ),
            End::Memory => (
                more(&mut counts.more_memory),
                "raise `resources.memory` of the stage, or allow more with `retry` of the executor",
            ),
        };
        if !goes_on {
            let failed = Failed {
                message: why.to_owned(),
                hint: Some(hint.to_owned()),
                lacked_memory: end == End::Memory,
            };
            return self.answer(id, Outcome::Failed(failed));
        }
        if end != End::Done {
            let with = self.with_more(id, end);
            self.say(id, format!("it is submitted again{with}: {why}"));
        }
        let now = Instant::now();
        self.last_begun = now;
        self.first_pending.get_or_insert(now);
    }

    /// What it is given more of the next time, in words.
    fn with_more(&self, id: OrderId, end: End) -> String {
        let Some(index) = self.orders.get(&id).map(|open| open.index) else {
            return String::new();
        };
        let has_more_time = self.counts.get(&index).is_some_and(|c| c.more_time > 0);
        match (end, self.memory(index)) {
            (End::Memory, Some(bytes)) => format!(" with {} of memory", ByteSize(bytes)),
            (End::Time, _) if has_more_time => format!(" with {} minutes", self.minutes(index)),
            _ => String::new(),
        }
    }
}

/// A factor that counts so many times.
fn more(factor: f64, times: u32) -> f64 {
    factor.powi(i32::try_from(times).unwrap_or(i32::MAX))
}

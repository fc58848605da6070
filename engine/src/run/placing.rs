//! What a run knows of where its instances compute: recorded times, what was decided by them
//! ([`crate::placement`] decides), and who has GPUs for how long.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::ready::ByTime;
use crate::digest::Digest;
use crate::executor::OrderId;
use crate::placement::{self, On, Placement, Recorded, Wait};
use crate::plan::InstanceIndex;
use crate::record::times::Times;

/// What a run knows of where its instances compute.
pub(super) struct Placing {
    pub(super) times: Times,
    /// Decided by times, of those that are ready or executed.
    pub(super) placed: HashMap<InstanceIndex, Placement>,
    /// What those do that are executed.
    pub(super) works: HashMap<InstanceIndex, Digest>,
    /// Who has GPUs.
    holders: HashMap<OrderId, Holder>,
    /// Something could not start because others have the GPUs.
    pub(super) misses_gpus: bool,
    /// That was told.
    pub(super) gpus_told: bool,
    /// Stages of which it was told that there is no GPU.
    pub(super) told_without_gpu: BTreeSet<Arc<str>>,
}

/// Who has GPUs.
struct Holder {
    since: Instant,
    /// Seconds that it took before, if it did.
    expected_s: Option<f64>,
}

impl Placing {
    /// Of a run in a project whose state is there.
    pub(super) fn of(state: &Path) -> Placing {
        Placing {
            times: Times::of(state),
            placed: HashMap::new(),
            works: HashMap::new(),
            holders: HashMap::new(),
            misses_gpus: false,
            gpus_told: false,
            told_without_gpu: BTreeSet::new(),
        }
    }

    /// How long those that have GPUs have them: until the first of them ends.
    fn wait(&self) -> Wait {
        let mut first: Option<f64> = None;
        for holder in self.holders.values() {
            let Some(expected_s) = holder.expected_s else {
                return Wait::Unknown;
            };
            let left = (expected_s - holder.since.elapsed().as_secs_f64()).max(0.0);
            first = Some(first.map_or(left, |first| first.min(left)));
        }
        first.map_or(Wait::Unknown, Wait::For)
    }

    /// The CPU, if that ends before a GPU is free and does it.
    pub(super) fn instead(&self, times: ByTime) -> Option<Placement> {
        let placed = placement::place(times.recorded(), self.wait())?;
        (placed.on == On::Cpu).then_some(placed)
    }

    /// An order has GPUs from now on, for so many seconds if that is known.
    pub(super) fn holds(&mut self, order: OrderId, expected_s: Option<f64>) {
        let since = Instant::now();
        self.holders.insert(order, Holder { since, expected_s });
    }

    /// An order is over.
    pub(super) fn ended(&mut self, order: OrderId) {
        self.holders.remove(&order);
    }

    /// Keeps what was learnt. Without it later runs know less, and nothing else.
    pub(super) fn save(&mut self) {
        let _ = self.times.save();
    }
}

impl ByTime {
    /// Where both are known.
    pub(super) fn of(recorded: Recorded) -> Option<ByTime> {
        let ms = |seconds: f64| (seconds * 1e3).round() as u64;
        Some(ByTime {
            cpu_ms: ms(recorded.cpu_s?),
            gpu_ms: ms(recorded.gpu_s?),
        })
    }

    fn recorded(self) -> Recorded {
        Recorded {
            cpu_s: Some(self.cpu_ms as f64 / 1e3),
            gpu_s: Some(self.gpu_ms as f64 / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn placing(expected: &[Option<f64>]) -> Placing {
        let mut placing = Placing::of(Path::new("/nonexistent"));
        for (order, expected_s) in (0..).map(OrderId).zip(expected) {
            placing.holds(order, *expected_s);
        }
        placing
    }

    #[test]
    fn the_cpu_is_taken_where_it_ends_before_a_gpu_is_free_and_does_it() {
        let times = ByTime {
            cpu_ms: 50_000,
            gpu_ms: 5_000,
        };
        let on_cpu = |expected: &[Option<f64>]| placing(expected).instead(times).is_some();
        assert!(on_cpu(&[Some(1000.0), Some(2000.0)]));
        // The first of them ends in time.
        assert!(!on_cpu(&[Some(1000.0), Some(20.0)]));
        // Nobody knows when one of them ends, or who has them.
        assert!(!on_cpu(&[Some(1000.0), None]));
        assert!(!on_cpu(&[]));
        let placed = placing(&[Some(1000.0)]).instead(times).unwrap();
        assert_eq!((placed.cpu_s, placed.gpu_s), (50.0, 5.0));
        assert!(placed.gpu_free_in_s > Some(900.0));

        // One that is late is said to end at once, and one that has ended has none.
        let mut placing = placing(&[Some(1000.0), Some(10.0)]);
        let late = placing.holders.get_mut(&OrderId(1)).unwrap();
        late.since = Instant::now().checked_sub(Duration::from_secs(20)).unwrap();
        assert_eq!(placing.wait(), Wait::For(0.0));
        placing.ended(OrderId(1));
        assert!(placing.instead(times).is_some());
    }
}

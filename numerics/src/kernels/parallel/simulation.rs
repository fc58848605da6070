//! How long sections would take on more threads than there are.
//!
//! While a [`Simulation`] lives, the sections of its thread run their tasks in order on that thread
//! and time each. Workers take the tasks as list scheduling does (Graham 1969): in order, each by
//! the worker that is free first. So a step on `n` threads takes what was measured, less the tasks,
//! and the spans in their place. What the simulation does not know: waking and joining threads, and
//! that they share caches and memory.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Threads that can be simulated.
pub const MOST_THREADS: usize = 64;

/// What tells the time: of this thread, so that others do not count. Only differences matter.
pub type Clock = fn() -> Duration;

/// Simulations that live, on any thread: while there are none, a section costs one look at this.
static LIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Simulated threads of this thread's sections; 0 without a simulation.
    static THREADS: Cell<usize> = const { Cell::new(0) };
    /// Whether a section is being run: those within are part of its task.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
    static BOOKS: RefCell<Books> = const { RefCell::new(Books::EMPTY) };
}

/// The number of threads of the simulation of this thread, if there is one.
pub(super) fn simulated() -> Option<usize> {
    if LIVE.load(Ordering::Relaxed) == 0 {
        return None;
    }
    Some(THREADS.get()).filter(|threads| *threads > 0)
}

/// What the sections of a simulation came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Sections, without those within a task.
    pub sections: u64,
    /// Their tasks.
    pub tasks: u64,
    /// Time of all tasks.
    pub busy: Duration,
    /// Time of all sections, had their tasks run on the simulated threads.
    pub spans: Duration,
    /// Time that looking at the clock took: part of what is measured around the simulation, but of
    /// no task.
    pub looking: Duration,
}

struct Books {
    clock: Clock,
    /// What a look at the clock takes.
    look: Duration,
    /// When the last task ended.
    last: Duration,
    /// When a worker is free again, from the begin of the section.
    free: [Duration; MOST_THREADS],
    report: Report,
}

impl Books {
    const EMPTY: Books = Books {
        clock: || Duration::ZERO,
        look: Duration::ZERO,
        last: Duration::ZERO,
        free: [Duration::ZERO; MOST_THREADS],
        report: Report {
            sections: 0,
            tasks: 0,
            busy: Duration::ZERO,
            spans: Duration::ZERO,
            looking: Duration::ZERO,
        },
    };

    /// A task of this time goes to the worker that is free first.
    fn assign(&mut self, threads: usize, time: Duration) {
        self.report.tasks += 1;
        self.report.busy += time;
        let first = self.free[..threads].iter_mut().min();
        *first.expect("a simulation has threads") += time;
    }

    /// All workers are free again.
    fn finish(&mut self, threads: usize) {
        let free = &mut self.free[..threads];
        self.report.sections += 1;
        self.report.spans += *free.iter().max().expect("a simulation has threads");
        free.fill(Duration::ZERO);
    }
}

/// Sections of this thread are simulated as long as it lives.
#[derive(Debug)]
pub struct Simulation {
    /// It belongs to its thread.
    here: PhantomData<*const ()>,
}

impl Simulation {
    /// With so many threads.
    ///
    /// # Panics
    /// No threads, or more than [`MOST_THREADS`]; a simulation that lives on this thread.
    pub fn begin(threads: usize, clock: Clock) -> Simulation {
        assert!(
            (1..=MOST_THREADS).contains(&threads),
            "1 to {MOST_THREADS} threads"
        );
        assert_eq!(THREADS.get(), 0, "one simulation at a time");
        BOOKS.with_borrow_mut(|books| {
            *books = Books {
                clock,
                look: cost(clock),
                ..Books::EMPTY
            }
        });
        THREADS.set(threads);
        LIVE.fetch_add(1, Ordering::Relaxed);
        Simulation { here: PhantomData }
    }

    /// What this thread's simulation saw since it began; zeros without one.
    pub fn report() -> Report {
        BOOKS.with_borrow(|books| books.report)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        THREADS.set(0);
        BOOKS.with_borrow_mut(|books| books.report = Report::default());
    }
}

/// What a look at a clock takes: the median of many.
fn cost(clock: Clock) -> Duration {
    let mut looks = [Duration::ZERO; 255];
    let mut last = clock();
    for look in &mut looks {
        let now = clock();
        *look = now.saturating_sub(last);
        last = now;
    }
    looks.sort_unstable();
    looks[looks.len() / 2]
}

/// A section while its tasks run, one after the other.
pub(super) struct Section {
    outermost: bool,
}

impl Section {
    pub(super) fn begin() -> Section {
        let outermost = !WITHIN.replace(true);
        if outermost {
            BOOKS.with_borrow_mut(|books| {
                books.last = (books.clock)();
                books.report.looking += books.look;
            });
        }
        Section { outermost }
    }

    /// Runs a task. One ends where the next begins.
    pub(super) fn task<R>(&self, work: impl FnOnce() -> R) -> R {
        let result = work();
        if self.outermost {
            BOOKS.with_borrow_mut(|books| {
                let now = (books.clock)();
                let time = now.saturating_sub(books.last).saturating_sub(books.look);
                books.last = now;
                books.report.looking += books.look;
                books.assign(THREADS.get(), time);
            });
        }
        result
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        if self.outermost {
            WITHIN.set(false);
            BOOKS.with_borrow_mut(|books| books.finish(THREADS.get().max(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Halves, chunks, halves, indices, threads};
    use super::*;
    use crate::exact::rng::Stream;

    thread_local! {
        /// A clock that stands still but for what tasks add.
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn now() -> Duration {
        Duration::from_nanos(NOW.get())
    }

    fn spend(time: u64) {
        NOW.set(NOW.get() + time);
    }

    fn nanos(time: Duration) -> u64 {
        u64::try_from(time.as_nanos()).unwrap()
    }

    /// Graham's bounds, and that of one worker.
    #[test]
    fn a_span_is_within_the_bounds_of_list_scheduling() {
        let mut random = Stream::new(1, "simulation test", 0, 0);
        for case in 0..200 {
            let threads = 1 + case % 17;
            let times: Vec<u64> = (0..random.below(60) + 2)
                .map(|_| u64::from(random.below(1000)))
                .collect();
            let simulation = Simulation::begin(threads, now);
            indices(times.len(), true, |i| spend(times[i]));
            let report = Simulation::report();
            drop(simulation);
            let (sum, longest) = (times.iter().sum::<u64>(), *times.iter().max().unwrap());
            let (n, span) = (threads as u64, nanos(report.spans));
            assert_eq!((nanos(report.busy), report.sections), (sum, 1));
            assert_eq!(report.tasks, times.len() as u64);
            assert!(span >= longest && span * n >= sum && span <= sum);
            assert!(span * n <= sum + (n - 1) * longest, "{times:?}");
            if threads == 1 {
                assert_eq!(span, sum);
            }
        }
    }

    #[test]
    fn tasks_go_in_order_to_the_worker_that_is_free_first() {
        let _simulation = Simulation::begin(2, now);
        // 5 | 2 3 → both free at 5; 4 | 1, then 6 behind the 1.
        let times = [5, 2, 3, 4, 1, 6];
        indices(times.len(), true, |i| spend(times[i]));
        assert_eq!(nanos(Simulation::report().spans), 12);
    }

    #[test]
    fn what_is_outside_of_sections_and_sections_within_tasks_do_not_count_apart() {
        let _simulation = Simulation::begin(4, now);
        assert_eq!(threads(), 4);
        spend(100);
        indices(1, true, |_| spend(10));
        indices(8, false, |_| spend(10));
        assert_eq!(Simulation::report(), Report::default());
        indices(2, true, |_| {
            chunks(&mut [0u8; 6], 2, true, |_, _| spend(5));
            spend(1);
        });
        let report = Simulation::report();
        assert_eq!((report.sections, report.tasks), (1, 2));
        assert_eq!((nanos(report.busy), nanos(report.spans)), (32, 16));
        // Halves of halves are tasks of one section.
        let cut = |count: u64| match count {
            1 => Halves::One(1),
            _ => Halves::Two(count / 2, count - count / 2),
        };
        halves(5, &cut, &|_| spend(7));
        let report = Simulation::report();
        assert_eq!((report.sections, report.tasks), (2, 7));
        assert_eq!(nanos(report.spans), 16 + 14);
    }

    #[test]
    fn it_ends_with_its_guard_and_is_its_threads_own() {
        let before = threads();
        let simulation = Simulation::begin(37, now);
        assert_eq!(threads(), 37);
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(threads).join().unwrap();
            assert_ne!(elsewhere, 37);
        });
        drop(simulation);
        assert_eq!(threads(), before);
    }
}

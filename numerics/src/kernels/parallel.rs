//! Where work is shared among threads: every section of kernels and training that may run on
//! several is one of these.
//!
//! A section is cut into tasks by its caller, from shapes and [`threads`] alone; no two tasks write
//! the same number, so that who runs which task when decides no bit. Threads are those of the
//! ambient rayon pool, or those of a [`Simulation`], which runs the tasks one after the other and
//! says how long the section would have taken. Knows no kernel.

mod simulation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::Yield;
use rayon::iter::plumbing::{Producer, ProducerCallback};
use rayon::prelude::*;

pub use self::simulation::{Clock, MOST_THREADS, Report, Simulation};
use self::simulation::{Section, simulated};

/// How many threads there are to share work among.
pub(crate) fn threads() -> usize {
    simulated().unwrap_or_else(rayon::current_num_threads)
}

/// Runs `work` on one of the threads: from outside, each of its sections would have to be handed
/// over and waited for. Meanwhile the others stay awake, for a while: between two sections of a
/// small network lies less time than waking a thread takes.
pub fn inside<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if simulated().is_some() {
        return work();
    }
    rayon::scope(|scope| {
        let done = Arc::new(AtomicBool::new(false));
        for _ in 1..rayon::current_num_threads() {
            let done = Arc::clone(&done);
            scope.spawn(move |_| stay_awake(&done));
        }
        let _end = End(done);
        work()
    })
}

/// Time without work after which a thread goes to sleep after all: more than lies between the
/// sections of a step.
const PATIENCE: Duration = Duration::from_micros(200);

/// Takes part in the sections of others until there will be no more, or none for a while. That it
/// ends by itself matters: a thread may come here while it waits for a part of its own section.
fn stay_awake(done: &AtomicBool) {
    let mut idle_since = Instant::now();
    while !done.load(Ordering::Relaxed) && idle_since.elapsed() < PATIENCE {
        match rayon::yield_now() {
            Some(Yield::Executed) => idle_since = Instant::now(),
            _ => std::hint::spin_loop(),
        }
    }
}

/// Tells the others, also when the work panics.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work(number of the chunk, chunk)` on the consecutive chunks of `len` elements, of which
/// the last may be shorter: a section of one task per chunk if `spread`, else on this thread.
pub fn chunks<T: Send>(
    of: &mut [T],
    len: usize,
    spread: bool,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if spread && of.len() > len {
        each(of.par_chunks_mut(len).enumerate(), |(i, of)| work(i, of));
    } else {
        of.chunks_mut(len)
            .enumerate()
            .for_each(|(i, of)| work(i, of));
    }
}

/// As [`chunks`] for slices that are cut side by side, each into chunks of its own length.
pub fn chunks_of_two<A: Send, B: Send>(
    (a, len_a): (&mut [A], usize),
    (b, len_b): (&mut [B], usize),
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    if a.len() <= len_a {
        return work(0, a, b);
    }
    let both = a.par_chunks_mut(len_a).zip(b.par_chunks_mut(len_b));
    each(both.enumerate(), |(i, (a, b))| work(i, a, b));
}

/// As [`chunks_of_two`].
pub fn chunks_of_three<A: Send, B: Send, C: Send>(
    (a, len_a): (&mut [A], usize),
    (b, len_b): (&mut [B], usize),
    (c, len_c): (&mut [C], usize),
    work: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync,
) {
    if a.len() <= len_a {
        return work(0, a, b, c);
    }
    let all = (a.par_chunks_mut(len_a), b.par_chunks_mut(len_b));
    let all = all.0.zip(all.1).zip(c.par_chunks_mut(len_c));
    each(all.enumerate(), |(i, ((a, b), c))| work(i, a, b, c));
}

/// Runs `work` on 0, 1, .. `count - 1`: a section of one task for each if `spread`, else on this
/// thread.
pub(crate) fn indices(count: usize, spread: bool, work: impl Fn(usize) + Sync) {
    if spread && count > 1 {
        each((0..count).into_par_iter(), work);
    } else {
        (0..count).for_each(work);
    }
}

/// Folds `of(chunk)` of the chunks of `len` elements with `and`, which is associative: a section of
/// one task per chunk.
pub(crate) fn fold<T: Sync, R: Copy + Send + Sync>(
    values: &[T],
    len: usize,
    none: R,
    of: impl Fn(&[T]) -> R + Sync,
    and: impl Fn(R, R) -> R + Sync,
) -> R {
    if simulated().is_none() {
        let each = values.par_chunks(len).map(&of);
        return each.reduce(|| none, &and);
    }
    let section = Section::begin();
    let tasks = values.chunks(len).map(|chunk| section.task(|| of(chunk)));
    tasks.fold(none, and)
}

/// What [`halves`] finds of a piece of work.
pub(crate) enum Halves<T> {
    /// It is cut in two.
    Two(T, T),
    /// It is one task.
    One(T),
}

/// A section whose work is cut in two again and again by `cut`, until a task is left for `work`.
pub(crate) fn halves<T: Send>(
    whole: T,
    cut: &(impl Fn(T) -> Halves<T> + Sync),
    work: &(impl Fn(T) + Sync),
) {
    fn shared<T: Send>(
        whole: T,
        cut: &(impl Fn(T) -> Halves<T> + Sync),
        work: &(impl Fn(T) + Sync),
    ) {
        match cut(whole) {
            Halves::Two(a, b) => {
                rayon::join(|| shared(a, cut, work), || shared(b, cut, work));
            }
            Halves::One(task) => work(task),
        }
    }
    fn in_turns<T>(section: &Section, whole: T, cut: &impl Fn(T) -> Halves<T>, work: &impl Fn(T)) {
        match cut(whole) {
            Halves::Two(a, b) => {
                in_turns(section, a, cut, work);
                in_turns(section, b, cut, work);
            }
            Halves::One(task) => section.task(|| work(task)),
        }
    }
    // What cannot be cut is no section.
    match cut(whole) {
        Halves::One(task) => work(task),
        Halves::Two(a, b) if simulated().is_some() => {
            let section = Section::begin();
            in_turns(&section, a, cut, work);
            in_turns(&section, b, cut, work);
        }
        Halves::Two(a, b) => {
            rayon::join(|| shared(a, cut, work), || shared(b, cut, work));
        }
    }
}

/// A section with these tasks.
fn each<I: IndexedParallelIterator>(tasks: I, work: impl Fn(I::Item) + Sync) {
    if simulated().is_none() {
        return tasks.for_each(&work);
    }
    tasks.with_producer(InTurns(work));
}

/// Runs the tasks in order, on this thread.
struct InTurns<W>(W);

impl<T, W: Fn(T)> ProducerCallback<T> for InTurns<W> {
    type Output = ();

    fn callback<P: Producer<Item = T>>(self, tasks: P) {
        let section = Section::begin();
        for task in tasks.into_iter() {
            section.task(|| self.0(task));
        }
    }
}

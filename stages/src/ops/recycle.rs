//! Memory that is used again: the values of activations and gradients on the CPU.
//!
//! A training step makes and drops the same buffers every time. Given back to the system, each of
//! them would be mapped, faulted in page by page and filled with zeros again; here a dropped buffer
//! waits in its [`Pool`] for the next request of about its size and is handed out **as it was
//! left**. What becomes of stale values is the op's business: it writes every element, or says
//! [`Accumulate::First`](super::Accumulate::First).

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Elements of a cache line: buffers begin at one, so that no vector straddles two.
const LINE: usize = 16;

/// Waiting buffers, shared by everything that takes from it; freed with the last holder.
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Mutex<Shelves>>);

#[derive(Debug, Default)]
struct Shelves {
    /// By length. A shelf once made stays, empty or not.
    waiting: BTreeMap<usize, Vec<Vec<f32>>>,
    /// Elements of all buffers that live, waiting or not.
    held: usize,
}

impl Pool {
    /// A buffer of `len` elements of any value: a waiting one that is at most twice as long, or
    /// else a new one.
    pub fn take(&self, len: usize) -> Values {
        let mut shelves = self.shelves();
        let waiting = shelves
            .waiting
            .range_mut(len + LINE..=2 * len + LINE)
            .find_map(|(_, shelf)| shelf.pop());
        let data = waiting.unwrap_or_else(|| {
            shelves.held += len + LINE;
            vec![0.0; len + LINE]
        });
        Values::new(data, len, self.clone())
    }

    /// Elements in all buffers made here that were not freed.
    pub fn held(&self) -> usize {
        self.shelves().held
    }

    /// The lock; a panic elsewhere leaves the shelves whole.
    fn shelves(&self) -> std::sync::MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of a [`Pool`], to which it goes back when dropped.
#[derive(Debug)]
pub struct Values {
    data: Vec<f32>,
    first: usize,
    len: usize,
    home: Pool,
}

impl Values {
    fn new(data: Vec<f32>, len: usize, home: Pool) -> Values {
        // The offset is a promise of speed only, and may be refused.
        let first = data.as_ptr().align_offset(LINE * size_of::<f32>());
        let first = if first <= LINE { first } else { 0 };
        Values {
            data,
            first,
            len,
            home,
        }
    }

    /// The bare memory, for a place that can hold nothing else; [`Values::from_raw`] takes it back.
    pub(super) fn into_raw(mut self) -> Vec<f32> {
        std::mem::take(&mut self.data)
    }

    /// What [`Values::into_raw`] gave away, `len` elements long as before.
    ///
    /// # Panics
    /// Memory that is too short: it came from elsewhere.
    pub(super) fn from_raw(data: Vec<f32>, len: usize, home: &Pool) -> Values {
        assert!(len + LINE <= data.len(), "a buffer of the pool");
        Values::new(data, len, home.clone())
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        if !data.is_empty() {
            let mut shelves = self.home.shelves();
            shelves.waiting.entry(data.len()).or_default().push(data);
        }
    }
}

impl Deref for Values {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data[self.first..][..self.len]
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.first..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_serves_again_as_it_was_left() {
        let pool = Pool::default();
        let mut a = pool.take(100);
        a.fill(7.0);
        let place = a.as_ptr();
        assert_eq!(place as usize % 64, 0, "begins at a cache line");
        drop(a);
        let b = pool.take(60);
        assert_eq!((b.as_ptr(), b.len(), b[59]), (place, 60, 7.0));
        let c = pool.take(60);
        assert_ne!(c.as_ptr(), place, "nobody shares memory");
        drop((b, c));
        assert_eq!(pool.held(), 100 + 60 + 2 * LINE);
        pool.take(10);
        assert_eq!(pool.held(), 170 + 3 * LINE, "far too long is not used");
    }

    #[test]
    fn bare_memory_keeps_its_place() {
        let pool = Pool::default();
        let mut a = pool.take(5);
        a.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        let a = Values::from_raw(a.into_raw(), 5, &pool);
        assert_eq!(&*a, [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(pool.take(0).is_empty());
    }
}

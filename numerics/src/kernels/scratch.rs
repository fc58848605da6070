//! Working memory of a thread that outlives the call: kernels pack and pad into it without asking
//! the allocator again.

use std::cell::RefCell;

/// A cache line: panels begin on one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    /// Buffers not in use; several, for a thread that waits within a kernel may start another.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `len` numbers, whose values are whatever an earlier use left there, beginning on a cache
/// line.
pub(super) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let lines = len.div_ceil(16);
    let mut buffer = FREE.with_borrow_mut(|free| {
        // The smallest that is large enough, else the largest, which then grows.
        let fits = |b: &Vec<Line>| (b.len() < lines, b.len().abs_diff(lines));
        let best = (0..free.len()).min_by_key(|&i| fits(&free[i]));
        best.map(|i| free.swap_remove(i)).unwrap_or_default()
    });
    if buffer.len() < lines {
        // Powers of two, so that growing ends soon.
        buffer = vec![Line([0.0; 16]); lines.next_power_of_two()];
    }
    // SAFETY: a `Line` is 16 numbers without padding, and all of them are initialised.
    let numbers = unsafe {
        std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<f32>(), buffer.len() * 16)
    };
    let result = work(&mut numbers[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_apart_and_kept() {
        let first = with(100, |a| {
            a.fill(1.0);
            with(50, |b| {
                b.fill(2.0);
                assert_ne!(a.as_ptr(), b.as_ptr());
            });
            assert!(
                a.iter().all(|v| *v == 1.0),
                "the inner loan is another buffer"
            );
            assert_eq!(a.as_ptr() as usize % 64, 0);
            a.as_ptr() as usize
        });
        let again = with(100, |a| a.as_ptr() as usize);
        assert_eq!(first, again);
        assert_eq!(with(0, |a| a.len()), 0);
    }
}

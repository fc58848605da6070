//! Outputs that several tasks of one kernel write at once.

use std::marker::PhantomData;

/// A slice whose elements are shared out among tasks, in whatever pattern.
#[derive(Debug)]
pub(crate) struct Out<'a> {
    first: *mut f32,
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut [f32]`; copies exist only by `share`, whose caller promises that no
// element has two users.
unsafe impl Send for Out<'_> {}
// SAFETY: as above; through a shared reference nothing can be done but `share`.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// All of a slice.
    pub(crate) fn new(of: &'a mut [f32]) -> Out<'a> {
        Out {
            first: of.as_mut_ptr(),
            len: of.len(),
            of: PhantomData,
        }
    }

    /// A second handle on the same elements.
    ///
    /// # Safety
    /// As long as both live, no element is used through both.
    pub(crate) unsafe fn share(&self) -> Out<'a> {
        Out {
            first: self.first,
            len: self.len,
            of: PhantomData,
        }
    }

    /// The elements from `first` on; none beyond the end.
    pub(crate) fn from(self, first: usize) -> Out<'a> {
        let first = first.min(self.len);
        Out {
            first: self.first.wrapping_add(first),
            len: self.len - first,
            of: PhantomData,
        }
    }

    /// The first `len` elements as a slice.
    ///
    /// # Panics
    /// Fewer elements.
    pub(crate) fn slice(self, len: usize) -> &'a mut [f32] {
        assert!(len <= self.len, "out: length");
        // SAFETY: the elements are part of the slice this was made of, and nobody else uses them,
        // as `share`'s callers promised.
        unsafe { std::slice::from_raw_parts_mut(self.first, len) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place of an element; the caller must not use it beyond the end.
    pub(crate) fn place(&mut self, at: usize) -> *mut f32 {
        self.first.wrapping_add(at)
    }
}

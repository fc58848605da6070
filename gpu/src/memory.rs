//! Values in a device's memory, used again as the host's are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::Device;
use crate::driver::Handle;
use crate::fault::Fault;

/// Blocks that wait to be used again; clones are handles of the same.
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Mutex<BTreeMap<usize, Vec<Block>>>>);

impl Pool {
    fn shelves(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<Block>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of a device's memory; freed when dropped.
#[derive(Debug)]
struct Block {
    device: Device,
    handle: Handle,
    words: usize,
}

/// What so many words take of the device: drivers give memory in pieces.
fn bytes(words: usize) -> u64 {
    const PIECE: u64 = 512;
    (words.max(1) as u64 * size_of::<u32>() as u64).next_multiple_of(PIECE)
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the handle came from this device's driver, and this is its end.
        unsafe { self.device.driver().free(self.handle) };
        self.device.give_back(bytes(self.words));
    }
}

/// Values in a device's memory. Their block goes back to its pool when they are dropped.
#[derive(Debug)]
pub struct Memory {
    block: Option<Block>,
    handle: Handle,
    len: usize,
    home: Pool,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.home
                .shelves()
                .entry(block.words)
                .or_default()
                .push(block);
        }
    }
}

impl Memory {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }
}

impl Device {
    /// Memory for `len` values, which are what they happen to be: a waiting block of at most twice
    /// the length, or else a new one.
    ///
    /// # Errors
    /// It has no more; it is first freed of what waits in the pool. They are more than kernels
    /// count to.
    pub fn values(&self, pool: &Pool, len: usize) -> Result<Memory, Fault> {
        if i32::try_from(len).is_err() {
            return Err(Fault::Count {
                device: self.name().to_owned(),
                len,
            });
        }
        let waiting = {
            let mut shelves = pool.shelves();
            let shelf = shelves
                .range_mut(len..=2 * len)
                .find(|(_, shelf)| !shelf.is_empty());
            shelf.and_then(|(_, shelf)| shelf.pop())
        };
        let block = match waiting {
            Some(block) if block.device.is(self) => block,
            _ => self.block(len).or_else(|_| {
                pool.shelves().clear();
                self.block(len)
            })?,
        };
        Ok(Memory {
            handle: block.handle,
            block: Some(block),
            len,
            home: pool.clone(),
        })
    }

    fn block(&self, words: usize) -> Result<Block, Fault> {
        self.take(bytes(words))?;
        let allocated = self.driver().allocate(words);
        let handle = allocated.inspect_err(|_| self.give_back(bytes(words)))?;
        Ok(Block {
            device: self.clone(),
            handle,
            words,
        })
    }

    /// Values that the host has.
    ///
    /// # Errors
    /// The device's own.
    pub fn upload(&self, pool: &Pool, values: &[f32]) -> Result<Memory, Fault> {
        let mut memory = self.values(pool, values.len())?;
        self.write(values, &mut memory)?;
        Ok(memory)
    }

    /// Numbers of the host, as they are.
    ///
    /// # Errors
    /// The device's own.
    pub fn upload_words(&self, pool: &Pool, words: &[u32]) -> Result<Memory, Fault> {
        let memory = self.values(pool, words.len())?;
        // SAFETY: the memory is live and of that length.
        unsafe { self.driver().write(memory.handle, words)? };
        Ok(memory)
    }

    /// Replaces values by those of the host.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn write(&self, values: &[f32], to: &mut Memory) -> Result<(), Fault> {
        assert_eq!(values.len(), to.len, "write: lengths");
        // SAFETY: an f32 may be read as the word it is; the memory is live and of that length.
        unsafe {
            let words = std::slice::from_raw_parts(values.as_ptr().cast::<u32>(), values.len());
            self.driver().write(to.handle, words)
        }
    }

    /// Copies values to the host.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn read(&self, from: &Memory, values: &mut [f32]) -> Result<(), Fault> {
        assert_eq!(values.len(), from.len, "read: lengths");
        // SAFETY: every word is an f32; the memory is live and of that length.
        unsafe {
            let words =
                std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u32>(), values.len());
            self.driver().read(from.handle, words)
        }
    }

    /// A copy of values.
    ///
    /// # Errors
    /// The device's own.
    pub fn copy(&self, from: &Memory, pool: &Pool) -> Result<Memory, Fault> {
        let to = self.values(pool, from.len)?;
        // SAFETY: both are live, of that length, and two: one was made here.
        unsafe { self.driver().copy(from.handle, to.handle, from.len)? };
        Ok(to)
    }
}

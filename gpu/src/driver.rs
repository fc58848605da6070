//! What a driver can do: devices, memory, copies, launches. CUDA's and OpenCL's implement this over
//! the same kernels.

use std::fmt::Debug;

use crate::fault::Fault;

/// A device that a driver lists, by the name that it has there.
#[derive(Debug, Clone)]
pub(crate) struct Listed<I> {
    pub id: I,
    /// As its maker calls it.
    pub name: String,
    /// The way to it, and versions.
    pub driver: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Its multiprocessors, or what it has in their place: each runs a group of items or more.
    pub units: usize,
    /// Bytes of the cache that these share; 0 where it is not known.
    pub cache: u64,
    /// Items of a group that shares memory ([`ITEMS`](crate::text::ITEMS) on a GPU).
    pub items: usize,
    /// Why it cannot give the CPU's bits, if it cannot.
    pub lacks: Option<String>,
}

/// A piece of the device's memory, as its driver names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(pub u64);

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument {
    Memory(Handle),
    Int(i32),
    Word(u32),
    Float(f32),
}

/// The same bits: zeros of both signs differ.
impl PartialEq for Argument {
    fn eq(&self, other: &Argument) -> bool {
        match (self, other) {
            (Argument::Memory(a), Argument::Memory(b)) => a == b,
            (Argument::Int(a), Argument::Int(b)) => a == b,
            (Argument::Word(a), Argument::Word(b)) => a == b,
            (Argument::Float(a), Argument::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

/// How many items run: `groups` of `items`, in two dimensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub groups: [usize; 2],
    pub items: [usize; 2],
}

/// One device. What is asked happens in the order of the calls.
///
/// # Safety
/// Handles that an implementation gives out are those of memory of at least the length asked for,
/// until they are freed.
pub(crate) unsafe trait Driver: Debug + Send + Sync {
    /// Memory for this many words of 32 bits, which are what they happen to be.
    fn allocate(&self, words: usize) -> Result<Handle, Fault>;

    /// Bytes of its memory that nobody has, where the driver tells.
    fn left(&self) -> Option<u64>;

    /// # Safety
    /// The handle is one of this driver, and is not used again.
    unsafe fn free(&self, handle: Handle);

    /// Returns when the words may change.
    ///
    /// # Safety
    /// The handle is live, and its memory as long as the words.
    unsafe fn write(&self, to: Handle, words: &[u32]) -> Result<(), Fault>;

    /// Returns when the words are there.
    ///
    /// # Safety
    /// The handle is live, and its memory as long as the words.
    unsafe fn read(&self, from: Handle, words: &mut [u32]) -> Result<(), Fault>;

    /// # Safety
    /// Both handles are live and differ, and their memory is of that length.
    unsafe fn copy(&self, from: Handle, to: Handle, words: usize) -> Result<(), Fault>;

    /// # Safety
    /// The arguments are those of the kernel of that name, with live handles, whose memory is as
    /// long as the kernel reaches.
    unsafe fn launch(
        &self,
        kernel: &'static str,
        extent: Extent,
        arguments: &[Argument],
    ) -> Result<(), Fault>;
}

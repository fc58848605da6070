//! A launch of a kernel, argument by argument: memory is checked to be as long as the op says that
//! the kernel reaches.

use crate::device::Device;
use crate::driver::{Argument, Extent};
use crate::fault::Fault;
use crate::memory::Memory;

/// Items of a group where each has one element.
const ITEMS: usize = 256;
/// Of a small one: two warps of NVIDIA's GPUs, or one of AMD's.
const WARPS: usize = 64;

/// Arguments are given in the order of the kernel's text.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    device: &'a Device,
    kernel: &'static str,
    arguments: Vec<Argument>,
}

impl Device {
    pub(crate) fn kernel(&self, kernel: &'static str) -> Launch<'_> {
        Launch {
            device: self,
            kernel,
            arguments: Vec::with_capacity(16),
        }
    }
}

impl<'a> Launch<'a> {
    fn with(mut self, argument: Argument) -> Launch<'a> {
        self.arguments.push(argument);
        self
    }

    fn memory(self, memory: &Memory, len: usize) -> Launch<'a> {
        assert_eq!(
            memory.len(),
            len,
            "{}: the length of argument {}",
            self.kernel,
            self.arguments.len()
        );
        self.with(Argument::Memory(memory.handle()))
    }

    /// Memory that is read.
    pub(crate) fn reads(self, memory: &Memory, len: usize) -> Launch<'a> {
        self.memory(memory, len)
    }

    /// Memory that is written.
    pub(crate) fn writes(self, memory: &mut Memory, len: usize) -> Launch<'a> {
        self.memory(memory, len)
    }

    /// Memory that is read, of a length that the op has checked.
    pub(crate) fn reads_all(self, memory: &Memory) -> Launch<'a> {
        self.memory(memory, memory.len())
    }

    /// As [`Launch::reads_all`], for memory that is written.
    pub(crate) fn writes_all(self, memory: &mut Memory) -> Launch<'a> {
        self.memory(memory, memory.len())
    }

    /// Memory that is read, and whether there is any; without, the kernel does not look at it.
    pub(crate) fn reads_some(self, memory: Option<&Memory>, len: usize) -> Launch<'a> {
        match memory {
            Some(memory) => self.memory(memory, len).int(1),
            None => self.again().int(0),
        }
    }

    /// As [`Launch::reads_some`], for memory that is written.
    pub(crate) fn writes_some(self, memory: Option<&mut Memory>, len: usize) -> Launch<'a> {
        self.reads_some(memory.as_deref(), len)
    }

    /// The memory that was given last.
    pub(crate) fn again(self) -> Launch<'a> {
        let last = self
            .arguments
            .iter()
            .rev()
            .find(|a| matches!(a, Argument::Memory(_)));
        let last = *last.expect("a launch begins with memory that is there");
        self.with(last)
    }

    /// A whole number.
    ///
    /// # Panics
    /// One that kernels do not count to: no op has 2³¹ values.
    pub(crate) fn int(self, value: usize) -> Launch<'a> {
        let value = i32::try_from(value).expect("fewer than 2^31 values");
        self.with(Argument::Int(value))
    }

    /// A whole number that may be negative.
    ///
    /// # Panics
    /// As [`Launch::int`].
    pub(crate) fn signed(self, value: isize) -> Launch<'a> {
        let value = i32::try_from(value).expect("fewer than 2^31 values");
        self.with(Argument::Int(value))
    }

    /// 32 bits.
    pub(crate) fn word(self, value: u32) -> Launch<'a> {
        self.with(Argument::Word(value))
    }

    /// A number.
    pub(crate) fn float(self, value: f32) -> Launch<'a> {
        self.with(Argument::Float(value))
    }

    /// Runs an item for each of `n` elements, if there are any.
    pub(crate) fn for_each(self, n: usize) -> Result<(), Fault> {
        // Few items with much to do each are spread over all units. To a CPU the number of items is
        // another kernel to compile.
        let is_few = n < ITEMS * self.device.units() && self.device.items() > 1;
        let items = if is_few { WARPS } else { ITEMS };
        self.run([n.div_ceil(items), 1], [items, 1])
    }

    /// Runs items that have neighbouring channels of so many elements, if there are any.
    pub(crate) fn for_lanes(self, n: usize) -> Result<(), Fault> {
        let lanes = self.device.lanes();
        self.for_each(n / lanes)
    }

    /// Runs groups of items in two dimensions, if there are any.
    pub(crate) fn run(self, groups: [usize; 2], items: [usize; 2]) -> Result<(), Fault> {
        if groups.contains(&0) {
            return Ok(());
        }
        let extent = Extent { groups, items };
        // SAFETY: handles are live, as their memory is borrowed until here, and a driver keeps
        // memory until what was launched is done. That the arguments are the kernel's, and their
        // lengths those that it reaches, is what the ops are for: each has the kernel's text beside
        // it, and a test over odd shapes.
        unsafe {
            self.device
                .driver()
                .launch(self.kernel, extent, &self.arguments)
        }
    }
}

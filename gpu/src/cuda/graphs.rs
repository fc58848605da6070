//! Launches that come again and again, as one. A step of a small network is a hundred kernels of
//! microseconds, and to ask for each takes the host as long as it takes the GPU. So launches wait here
//! until there are many or the host needs something; a sequence that came before, kernel by kernel,
//! is one graph, in which the arguments that differ are exchanged.
//!
//! What is computed, and in which order, stays the same: a graph's kernels follow one another as they
//! were asked for. A driver without these functions (before CUDA 12) gets each launch by itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_uint, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr;

use cudarc::driver::result;
use cudarc::driver::sys::{
    self, CUDA_KERNEL_NODE_PARAMS, CUgraph, CUgraphExec, CUgraphNode, CUstream,
};

use super::{Failed, Kernel, at};
use crate::driver::{Argument, Handle};

/// Functions of the driver for graphs.
const CALLED: [&str; 7] = [
    "cuGraphAddKernelNode_v2",
    "cuGraphCreate",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphExecKernelNodeSetParams_v2",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
];

/// A GPU has something to do before the host has asked for so many.
const LONGEST: usize = 64;
/// Fewer are launched one by one.
const SHORTEST: usize = 4;
/// Sequences that are known at a time.
const KNOWN: usize = 256;

/// A launch.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub kernel: Kernel,
    /// Groups and their items, in two dimensions.
    pub groups: [c_uint; 2],
    pub items: [c_uint; 2],
    pub arguments: Vec<Argument>,
}

impl Asked {
    /// All but the values of the arguments: what a node of a graph cannot exchange.
    fn shape(&self) -> (usize, [c_uint; 2], [c_uint; 2], usize) {
        let kernel = self.kernel.0.addr();
        (kernel, self.groups, self.items, self.arguments.len())
    }

    /// Where its arguments are, for a call during which they stay there.
    fn places(&self) -> Vec<*mut c_void> {
        let place = |argument: &Argument| -> *mut c_void {
            match argument {
                Argument::Memory(Handle(address)) => ptr::from_ref(address).cast_mut().cast(),
                Argument::Int(value) => ptr::from_ref(value).cast_mut().cast(),
                Argument::Word(value) => ptr::from_ref(value).cast_mut().cast(),
                Argument::Float(value) => ptr::from_ref(value).cast_mut().cast(),
            }
        };
        self.arguments.iter().map(place).collect()
    }

    /// Launches it by itself.
    ///
    /// # Safety
    /// As for [`Graphs::ask`] when it was asked for, and the context is current.
    unsafe fn launch(&self, stream: CUstream) -> Result<(), Failed> {
        let [[columns, rows], [wide, high]] = [self.groups, self.items];
        let mut places = self.places();
        // SAFETY: the driver copies the arguments during the call and writes to none; that they are
        // the kernel's is the caller's promise.
        let launched = unsafe {
            result::launch_kernel(
                self.kernel.0,
                (columns, rows, 1),
                (wide, high, 1),
                0,
                stream,
                &mut places,
            )
        };
        launched.map_err(at("cuLaunchKernel"))
    }

    /// As a node of a graph, with arguments at these places.
    fn node(&self, places: &mut [*mut c_void]) -> CUDA_KERNEL_NODE_PARAMS {
        CUDA_KERNEL_NODE_PARAMS {
            func: self.kernel.0,
            gridDimX: self.groups[0],
            gridDimY: self.groups[1],
            gridDimZ: 1,
            blockDimX: self.items[0],
            blockDimY: self.items[1],
            blockDimZ: 1,
            sharedMemBytes: 0,
            kernelParams: places.as_mut_ptr(),
            extra: ptr::null_mut(),
            kern: ptr::null_mut(),
            ctx: ptr::null_mut(),
        }
    }
}

/// A sequence that came before.
#[derive(Debug)]
enum Known {
    /// Once.
    Seen,
    Graph(Graph),
}

/// What waits, and what came before.
#[derive(Debug)]
pub(super) struct Graphs {
    /// The driver has them.
    are_known: bool,
    waiting: Vec<Asked>,
    /// By their shape's hash.
    known: HashMap<u64, Known>,
}

impl Graphs {
    /// Of a driver that has these functions.
    pub(super) fn new(has: impl Fn(&str) -> bool) -> Graphs {
        Graphs {
            are_known: CALLED.iter().all(|name| has(name)),
            waiting: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Asks for a launch.
    ///
    /// # Safety
    /// The context of the stream is current. The arguments are those of the kernel, and its memory is
    /// that until [`Graphs::send`] was called and what it sent is done.
    pub(super) unsafe fn ask(&mut self, asked: Asked, stream: CUstream) -> Result<(), Failed> {
        self.waiting.push(asked);
        match self.waiting.len() < LONGEST {
            true => Ok(()),
            // SAFETY: the caller's promise.
            false => unsafe { self.send(stream) },
        }
    }

    /// Whether something that waits has this memory.
    pub(super) fn uses(&self, memory: Handle) -> bool {
        let has = |argument: &Argument| matches!(argument, Argument::Memory(m) if *m == memory);
        self.waiting.iter().any(|one| one.arguments.iter().any(has))
    }

    /// Sends what waits to the stream. After an error nothing waits, either.
    ///
    /// # Safety
    /// The context of the stream is current.
    pub(super) unsafe fn send(&mut self, stream: CUstream) -> Result<(), Failed> {
        let waiting = std::mem::take(&mut self.waiting);
        let one_by_one = |waiting: &[Asked]| {
            // SAFETY: what was promised for each launch, and by the caller.
            let launch = |one: &Asked| unsafe { one.launch(stream) };
            waiting.iter().try_for_each(launch)
        };
        if !self.are_known || waiting.len() < SHORTEST {
            return one_by_one(&waiting);
        }
        let mut hasher = DefaultHasher::new();
        waiting.iter().for_each(|one| one.shape().hash(&mut hasher));
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        match self.known.entry(hasher.finish()) {
            Entry::Vacant(place) => {
                place.insert(Known::Seen);
                one_by_one(&waiting)
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                // SAFETY: as above.
                Known::Graph(graph) if graph.is_like(&waiting) => unsafe {
                    if let Err(failed) = graph.exchange(waiting) {
                        place.remove();
                        return Err(failed);
                    }
                    graph.launch(stream)
                },
                known => {
                    // SAFETY: as above.
                    let graph = unsafe { Graph::of(waiting)? };
                    *known = Known::Graph(graph);
                    let Known::Graph(graph) = known else {
                        return Ok(());
                    };
                    // SAFETY: as above.
                    unsafe { graph.launch(stream) }
                }
            },
        }
    }

    /// Forgets all graphs.
    ///
    /// # Safety
    /// The context is current.
    pub(super) unsafe fn free(&mut self) {
        self.waiting.clear();
        self.known.clear();
    }
}

/// Launches, one after the other, that are asked for by one call.
#[derive(Debug)]
struct Graph {
    graph: CUgraph,
    executable: CUgraphExec,
    nodes: Vec<CUgraphNode>,
    /// With their newest arguments.
    asked: Vec<Asked>,
}

impl Graph {
    /// # Safety
    /// As for [`Graphs::ask`] for each.
    unsafe fn of(asked: Vec<Asked>) -> Result<Graph, Failed> {
        let mut made = Graph {
            graph: ptr::null_mut(),
            executable: ptr::null_mut(),
            nodes: Vec::with_capacity(asked.len()),
            asked,
        };
        // SAFETY: the driver writes a graph, and for each launch a node of it, that depends on the one
        // before. It copies kernels' arguments, which stay where they are during the call. The context
        // is the current one, as none is named.
        unsafe {
            let created = sys::cuGraphCreate(&raw mut made.graph, 0);
            created.result().map_err(at("cuGraphCreate"))?;
            for one in &made.asked {
                let mut places = one.places();
                let (description, mut node) = (one.node(&mut places), ptr::null_mut());
                let before = made.nodes.last();
                let added = sys::cuGraphAddKernelNode_v2(
                    &raw mut node,
                    made.graph,
                    before.map_or(ptr::null(), ptr::from_ref),
                    usize::from(before.is_some()),
                    &raw const description,
                );
                added.result().map_err(at("cuGraphAddKernelNode_v2"))?;
                made.nodes.push(node);
            }
            let ready = sys::cuGraphInstantiateWithFlags(&raw mut made.executable, made.graph, 0);
            ready.result().map_err(at("cuGraphInstantiateWithFlags"))?;
        }
        Ok(made)
    }

    /// Whether these are the same launches but for arguments.
    fn is_like(&self, others: &[Asked]) -> bool {
        let (own, others) = (self.asked.iter(), others.iter());
        own.map(Asked::shape).eq(others.map(Asked::shape))
    }

    /// Takes the arguments of these launches.
    ///
    /// # Safety
    /// They are like its own; as for [`Graphs::ask`] for each.
    unsafe fn exchange(&mut self, others: Vec<Asked>) -> Result<(), Failed> {
        for ((own, other), node) in self.asked.iter_mut().zip(others).zip(&self.nodes) {
            if *own == other {
                continue;
            }
            *own = other;
            let mut places = own.places();
            let description = own.node(&mut places);
            // SAFETY: the node is the graph's, and is of this kernel; see `of`. What was launched
            // before keeps its arguments.
            let exchanged = unsafe {
                sys::cuGraphExecKernelNodeSetParams_v2(
                    self.executable,
                    *node,
                    &raw const description,
                )
            };
            exchanged
                .result()
                .map_err(at("cuGraphExecKernelNodeSetParams_v2"))?;
        }
        Ok(())
    }

    /// # Safety
    /// The context of the stream is current; as for [`Graphs::ask`] for each.
    unsafe fn launch(&self, stream: CUstream) -> Result<(), Failed> {
        // SAFETY: the graph lives as long as `self`.
        let launched = unsafe { sys::cuGraphLaunch(self.executable, stream) };
        launched.result().map_err(at("cuGraphLaunch"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: these are its own, and this is their end; the driver keeps what is under way. Errors
        // cannot be helped here.
        unsafe {
            if !self.executable.is_null() {
                let _ = sys::cuGraphExecDestroy(self.executable);
            }
            if !self.graph.is_null() {
                let _ = sys::cuGraphDestroy(self.graph);
            }
        }
    }
}

//! CUDA: NVIDIA's GPUs, through the interface of their driver alone. Its library is opened when it
//! is first asked for something. No toolkit is needed: the driver compiles the PTX that is part of
//! this program (`text.rs`).
//!
//! All work goes to one stream, so it happens in the order of the calls; launches that come again and
//! again go there as one (`graphs.rs`).

mod graphs;
mod staging;

use std::collections::HashMap;
use std::error::Error as _;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute, CUjit_option, CUresult};

use self::graphs::{Asked, Graphs};
use self::staging::Staging;
use crate::driver::{Argument, Driver, Extent, Handle, Listed};
use crate::fault::Fault;
use crate::text;

/// The number of a device in the driver's list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ordinal(c_int);

/// The first driver that reads our PTX: of CUDA 11.4.
const DRIVER: c_int = 11_040;
/// The first GPUs that run it: Volta's.
const CAPABILITY: (i32, i32) = (7, 0);

/// What is called here and in `staging.rs`, and has to be there. cudarc panics at a function that the
/// library lacks, so they are looked for first.
const CALLED: [&str; 30] = [
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
];

/// A call of the driver that failed.
type Failed = (&'static str, DriverError);

fn at(call: &'static str) -> impl Fn(DriverError) -> Failed {
    move |error| (call, error)
}

fn text_of(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    }
}

/// All devices, or why there are none.
pub(crate) fn list() -> Result<Vec<Listed<Ordinal>>, String> {
    let version = version()?;
    let failed =
        |(call, error): Failed| format!("CUDA's driver: {call} failed: {}", text_of(error));
    let count = || -> Result<c_int, Failed> {
        result::init().map_err(at("cuInit"))?;
        result::device::get_count().map_err(at("cuDeviceGetCount"))
    };
    let of = |ordinal| listed(ordinal, version).map_err(failed);
    (0..count().map_err(failed)?).map(of).collect()
}

/// Whether the library, which can be opened, has this function.
fn has(name: &str) -> bool {
    // SAFETY: a function is looked for, and not called.
    unsafe {
        let library = sys::culib();
        library.get::<unsafe extern "C" fn()>(name).is_ok()
    }
}

/// The driver's version, if it can be used.
fn version() -> Result<c_int, String> {
    // SAFETY: the library is NVIDIA's, and nothing has to precede its initialisers.
    if !unsafe { sys::is_culib_present() } {
        // SAFETY: as above.
        let opened = unsafe { libloading::Library::new("libcuda.so.1") };
        let why = opened
            .err()
            .and_then(|error| Some(error.source()?.to_string()));
        return Err(format!(
            "CUDA's driver cannot be opened: {}",
            why.as_deref().unwrap_or("libcuda.so.1")
        ));
    }
    if let Some(name) = CALLED.iter().find(|name| !has(name)) {
        return Err(format!("CUDA's driver cannot be used: it lacks {name}"));
    }
    let mut version = 0;
    // SAFETY: it writes one number, and may be called before all else.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    match asked.result() {
        Err(error) => Err(format!("CUDA's driver: {}", text_of(error))),
        Ok(()) if version < DRIVER => Err(format!(
            "CUDA's driver is of CUDA {}; {} or later is needed",
            dotted(version),
            dotted(DRIVER)
        )),
        Ok(()) => Ok(version),
    }
}

fn dotted(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn listed(ordinal: c_int, version: c_int) -> Result<Listed<Ordinal>, Failed> {
    let device = result::device::get(ordinal).map_err(at("cuDeviceGet"))?;
    let attribute = |which| {
        // SAFETY: the device is the driver's.
        let value = unsafe { result::device::get_attribute(device, which) };
        value.map_err(at("cuDeviceGetAttribute"))
    };
    let capability = (
        attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let (major, minor) = capability;
    let cache = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?;
    let units = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    // SAFETY: the device is the driver's.
    let memory = unsafe { result::device::total_mem(device) }.map_err(at("cuDeviceTotalMem"))?;
    Ok(Listed {
        id: Ordinal(ordinal),
        name: result::device::get_name(device).map_err(at("cuDeviceGetName"))?,
        driver: format!(
            "CUDA {}, compute capability {major}.{minor}",
            dotted(version)
        ),
        memory: memory as u64,
        units: usize::try_from(units).unwrap_or_default(),
        cache: u64::try_from(cache).unwrap_or_default(),
        items: text::ITEMS,
        lacks: (capability < CAPABILITY).then(|| {
            format!(
                "it has compute capability {major}.{minor}, and the kernels need {}.{}",
                CAPABILITY.0, CAPABILITY.1
            )
        }),
    })
}

/// A device with its compiled kernels.
#[derive(Debug)]
pub(crate) struct Cuda {
    name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    module: sys::CUmodule,
    /// Those that were launched.
    kernels: Mutex<HashMap<&'static str, Kernel>>,
    staging: Mutex<Staging>,
    /// What was asked for and waits.
    graphs: Mutex<Graphs>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Kernel(sys::CUfunction);

// SAFETY: the driver's objects may be used by any thread in which their context is current, and each
// call here makes it so.
unsafe impl Send for Cuda {}
// SAFETY: as above; what is no object of the driver is under a lock.
unsafe impl Sync for Cuda {}

/// The lock; a panic elsewhere leaves what it guards whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cuda {
    pub(crate) fn open(name: &str, Ordinal(ordinal): Ordinal) -> Result<Cuda, Fault> {
        let fault = |(call, error): Failed| fault(name, call, error);
        let device = result::device::get(ordinal).map_err(|e| fault(("cuDeviceGet", e)))?;
        // SAFETY: the device is the driver's.
        let context = unsafe { result::primary_ctx::retain(device) };
        let mut cuda = Cuda {
            name: name.to_owned(),
            device,
            context: context.map_err(|e| fault(("cuDevicePrimaryCtxRetain", e)))?,
            stream: ptr::null_mut(),
            module: ptr::null_mut(),
            kernels: Mutex::default(),
            staging: Mutex::default(),
            graphs: Mutex::new(Graphs::new(has)),
        };
        cuda.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        cuda.stream = stream.map_err(|e| fault(("cuStreamCreate", e)))?;
        cuda.module = cuda.compile()?;
        Ok(cuda)
    }

    /// Makes the context that of this thread.
    fn enter(&self) -> Result<(), Fault> {
        // SAFETY: the context is retained until the end of `self`.
        let entered = unsafe { result::ctx::set_current(self.context) };
        entered.map_err(|e| self.fault(("cuCtxSetCurrent", e)))
    }

    fn fault(&self, (call, error): Failed) -> Fault {
        fault(&self.name, call, error)
    }

    fn compile(&self) -> Result<sys::CUmodule, Fault> {
        let mut log = vec![0_u8; 1 << 14];
        let mut options = [
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values: [*mut c_void; 2] = [
            log.as_mut_ptr().cast(),
            ptr::without_provenance_mut(log.len()),
        ];
        let mut module = ptr::null_mut();
        // SAFETY: the context is current, the PTX ends with a zero, and the log has the length that
        // is said. The driver reads and writes them during the call.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut module,
                text::PTX.as_ptr().cast(),
                options.len() as c_uint,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|error| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[..end]);
            Fault::Compiler {
                device: self.name.clone(),
                log: format!("{}\n{}", text_of(error), said.trim()),
            }
        })?;
        Ok(module)
    }

    /// The kernel of that name, looked up when it is first asked for.
    fn kernel(&self, name: &'static str) -> Result<Kernel, Fault> {
        let mut kernels = lock(&self.kernels);
        if let Some(kernel) = kernels.get(name) {
            return Ok(*kernel);
        }
        let text = CString::new(name).unwrap_or_default();
        // SAFETY: the module is loaded until the end of `self`.
        let found = unsafe { result::module::get_function(self.module, text) };
        let kernel = Kernel(found.map_err(|e| self.fault(("cuModuleGetFunction", e)))?);
        kernels.insert(name, kernel);
        Ok(kernel)
    }

    /// Sends what waits to the stream.
    fn send(&self) -> Result<(), Fault> {
        // SAFETY: the context is current, as every caller sees to.
        let sent = unsafe { lock(&self.graphs).send(self.stream) };
        sent.map_err(|failed| self.fault(failed))
    }

    /// Waits until all that was asked for is done.
    fn finish(&self) -> Result<(), Fault> {
        self.send()?;
        // SAFETY: the stream lives as long as `self`.
        let done = unsafe { result::stream::synchronize(self.stream) };
        done.map_err(|e| self.fault(("cuStreamSynchronize", e)))
    }

    fn no_memory(&self, asked: usize) -> Fault {
        let (free, total) = match result::mem_get_info() {
            Ok(left) => left,
            Err(error) => return self.fault(("cuMemGetInfo", error)),
        };
        Fault::Memory {
            device: self.name.clone(),
            asked: asked as u64,
            free: Some(free as u64),
            total: total as u64,
            share: None,
        }
    }
}

fn fault(device: &str, call: &'static str, error: DriverError) -> Fault {
    Fault::Call {
        device: device.to_owned(),
        call,
        why: text_of(error),
    }
}

// SAFETY: memory is of the length that was asked for until it is freed.
unsafe impl Driver for Cuda {
    fn allocate(&self, words: usize) -> Result<Handle, Fault> {
        self.enter()?;
        // Memory of no length is an error in CUDA.
        let bytes = words.max(1) * size_of::<u32>();
        // SAFETY: the context is current. What is in the memory is not promised.
        match unsafe { result::malloc_sync(bytes) } {
            Ok(address) => Ok(Handle(address)),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(self.no_memory(bytes)),
            Err(error) => Err(self.fault(("cuMemAlloc", error))),
        }
    }

    fn left(&self) -> Option<u64> {
        self.enter().ok()?;
        let (free, _) = result::mem_get_info().ok()?;
        Some(free as u64)
    }

    unsafe fn free(&self, Handle(address): Handle) {
        // What was launched may still use it. Errors cannot be helped here.
        if self.enter().and_then(|()| self.finish()).is_ok() {
            // SAFETY: the caller's promise, and nothing is under way.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    unsafe fn write(&self, Handle(to): Handle, words: &[u32]) -> Result<(), Fault> {
        self.enter()?;
        // Words overtake what waits, where that has nothing to do with them.
        if lock(&self.graphs).uses(Handle(to)) {
            self.send()?;
        }
        // SAFETY: the caller's promise on the memory; context and stream are this device's.
        let sent = unsafe { lock(&self.staging).send(words, to, self.stream) };
        sent.map_err(|failed| self.fault(failed))
    }

    unsafe fn read(&self, Handle(from): Handle, words: &mut [u32]) -> Result<(), Fault> {
        if words.is_empty() {
            return Ok(());
        }
        self.enter()?;
        self.send()?;
        // SAFETY: the caller's promise on the memory; the words are borrowed until all is done.
        let asked = unsafe { result::memcpy_dtoh_async(words, from, self.stream) };
        let finished = self.finish();
        asked.map_err(|e| self.fault(("cuMemcpyDtoHAsync", e)))?;
        finished
    }

    unsafe fn copy(
        &self,
        Handle(from): Handle,
        Handle(to): Handle,
        words: usize,
    ) -> Result<(), Fault> {
        if words == 0 {
            return Ok(());
        }
        self.enter()?;
        self.send()?;
        let bytes = words * size_of::<u32>();
        // SAFETY: the caller's promise.
        let asked = unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) };
        asked.map_err(|e| self.fault(("cuMemcpyDtoDAsync", e)))
    }

    unsafe fn launch(
        &self,
        name: &'static str,
        extent: Extent,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        self.enter()?;
        let kernel = self.kernel(name)?;
        // A number that is too large stays so: the driver refuses it.
        let count = |n: usize| c_uint::try_from(n).unwrap_or(c_uint::MAX);
        let asked = Asked {
            kernel,
            groups: extent.groups.map(count),
            items: extent.items.map(count),
            arguments: arguments.to_vec(),
        };
        // SAFETY: the kernel is of a loaded module; that the arguments are the kernel's is the caller's
        // promise. Memory is freed only after all that waits was sent and is done.
        let launched = unsafe { lock(&self.graphs).ask(asked, self.stream) };
        launched.map_err(|failed| self.fault(failed))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Errors cannot be helped here; what follows is tried all the same.
        let _ = self.enter().and_then(|()| self.finish());
        // SAFETY: these were made by `open`, if they were, and are given back once; nothing is under
        // way, and no memory is left, as each piece of it keeps the device open.
        unsafe {
            lock(&self.staging).free();
            lock(&self.graphs).free();
            if !self.module.is_null() {
                let _ = result::module::unload(self.module);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

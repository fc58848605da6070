//! OpenCL: devices of AMD, Intel and NVIDIA, and POCL, which makes one of the CPU's cores. The
//! library is opened when it is first asked for something.

use std::collections::HashMap;
use std::error::Error as _;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cl3::command_queue::{
    create_command_queue, enqueue_copy_buffer, enqueue_nd_range_kernel, enqueue_read_buffer,
    enqueue_write_buffer, release_command_queue,
};
use cl3::context::{create_context, release_context};
use cl3::device::{
    CL_DEVICE_DOUBLE_FP_CONFIG, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, CL_DEVICE_GLOBAL_MEM_SIZE,
    CL_DEVICE_MAX_COMPUTE_UNITS, CL_DEVICE_NAME, CL_DEVICE_SINGLE_FP_CONFIG, CL_DEVICE_TYPE,
    CL_DEVICE_TYPE_ALL, CL_DEVICE_TYPE_CPU, CL_DEVICE_VERSION, CL_DRIVER_VERSION,
    CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT, CL_FP_DENORM, CL_FP_FMA, CL_FP_INF_NAN,
    CL_FP_ROUND_TO_NEAREST, get_device_ids, get_device_info,
};
use cl3::error_codes::{
    CL_INVALID_BUFFER_SIZE, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_OUT_OF_HOST_MEMORY,
    CL_OUT_OF_RESOURCES, DLOPEN_FUNCTION_NOT_AVAILABLE, DLOPEN_RUNTIME_LOAD_FAILED, error_text,
};
use cl3::event::release_event;
use cl3::kernel::{create_kernel, release_kernel, set_kernel_arg};
use cl3::memory::{CL_MEM_READ_WRITE, create_buffer, release_mem_object};
use cl3::platform::get_platform_ids;
use cl3::program::{
    CL_PROGRAM_BUILD_LOG, build_program, create_program_with_source, get_program_build_info,
    release_program,
};
use cl3::types::{
    CL_TRUE, cl_command_queue, cl_context, cl_event, cl_int, cl_kernel, cl_mem, cl_program,
};

use crate::driver::{Argument, Driver, Extent, Handle, Listed};
use crate::fault::Fault;
use crate::text;

/// A device's name in the library.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id(*mut c_void);

// SAFETY: a device's name is valid as long as the process, on every thread.
unsafe impl Send for Id {}
// SAFETY: as above.
unsafe impl Sync for Id {}

/// All devices, or why there are none.
pub(crate) fn list() -> Result<Vec<Listed<Id>>, String> {
    // Else another one would be opened in its place, without a word.
    if let Some(paths) = std::env::var(LIBRARY)
        .ok()
        .filter(|paths| !paths.is_empty())
    {
        let mut why = None;
        if !paths.split(';').any(|path| {
            why = unopened(path);
            why.is_none()
        }) {
            let why = why.unwrap_or_default();
            return Err(format!(
                "{LIBRARY} is `{paths}`, which cannot be opened: {why}"
            ));
        }
    }
    let platforms = get_platform_ids().map_err(|code| match code {
        DLOPEN_FUNCTION_NOT_AVAILABLE => {
            format!("what was opened as OpenCL's library is another one ({LIBRARY}?)")
        }
        DLOPEN_RUNTIME_LOAD_FAILED => {
            let why = unopened("libOpenCL.so.1").unwrap_or_default();
            format!("OpenCL's library cannot be opened: {why}")
        }
        code => format!("OpenCL lists no platform: {}", error_text(code)),
    })?;
    let mut listed = Vec::new();
    for platform in platforms {
        // A platform without devices says so by an error.
        for id in get_device_ids(platform, CL_DEVICE_TYPE_ALL).unwrap_or_default() {
            let text = |what| {
                get_device_info(id, what)
                    .map(String::from)
                    .unwrap_or_default()
            };
            let number = |what| get_device_info(id, what).map(u64::from).unwrap_or_default();
            listed.push(Listed {
                id: Id(id),
                name: text(CL_DEVICE_NAME).trim().to_owned(),
                driver: format!(
                    "{}, driver {}",
                    text(CL_DEVICE_VERSION).trim(),
                    text(CL_DRIVER_VERSION).trim()
                ),
                memory: number(CL_DEVICE_GLOBAL_MEM_SIZE),
                cache: number(CL_DEVICE_GLOBAL_MEM_CACHE_SIZE),
                items: match number(CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU {
                    0 => text::ITEMS,
                    _ => 1,
                },
                units: get_device_info(id, CL_DEVICE_MAX_COMPUTE_UNITS)
                    .map_or(1, |units| u32::from(units) as usize),
                lacks: lacks(
                    number(CL_DEVICE_SINGLE_FP_CONFIG),
                    number(CL_DEVICE_DOUBLE_FP_CONFIG),
                ),
            });
        }
    }
    match listed.is_empty() {
        true => Err("OpenCL is installed, and its drivers list no device".to_owned()),
        false => Ok(listed),
    }
}

/// Names OpenCL's library, or several behind semicolons, of which the first that can be opened counts.
const LIBRARY: &str = "OPENCL_DYLIB_PATH";

/// Why a library cannot be opened, if it cannot.
fn unopened(path: &str) -> Option<String> {
    // SAFETY: it is OpenCL's library, by the user's word or its name, and nothing has to precede its
    // initialisers.
    let opened = unsafe { libloading::Library::new(path) };
    let error = opened.err()?;
    let source = error.source().map(ToString::to_string);
    Some(source.unwrap_or_else(|| error.to_string()))
}

/// What of IEEE 754 is missing, by what the device says of its f32 and f64.
fn lacks(single: u64, double: u64) -> Option<String> {
    let of_both = [
        (CL_FP_ROUND_TO_NEAREST, "rounding to nearest"),
        (CL_FP_DENORM, "subnormal numbers"),
        (CL_FP_INF_NAN, "infinities and NaN"),
        (CL_FP_FMA, "fused multiply-add"),
    ];
    let exact_division = (CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT, "exact division");
    if double == 0 {
        return Some("it has no f64".to_owned());
    }
    let of = |name: &str, has: u64, wanted: &[(u64, &str)]| -> Vec<String> {
        let missing = wanted.iter().filter(|(bit, _)| has & bit == 0);
        missing
            .map(|(_, what)| format!("{what} in {name}"))
            .collect()
    };
    let mut missing = of("f32", single, &of_both);
    missing.extend(of("f32", single, &[exact_division]));
    missing.extend(of("f64", double, &of_both));
    (!missing.is_empty()).then(|| format!("it has no {}", missing.join(", no ")))
}

/// A device with its compiled kernels.
#[derive(Debug)]
pub(crate) struct OpenCl {
    name: String,
    memory: u64,
    context: cl_context,
    queue: cl_command_queue,
    program: cl_program,
    /// Those that were launched. A kernel's arguments are set one by one, so it is one at a time.
    kernels: Mutex<HashMap<&'static str, Kernel>>,
}

#[derive(Debug)]
struct Kernel(cl_kernel);

// SAFETY: OpenCL's objects may be used by any thread; a kernel is used under the lock of `kernels`.
unsafe impl Send for OpenCl {}
// SAFETY: as above.
unsafe impl Sync for OpenCl {}

impl OpenCl {
    pub(crate) fn open(name: &str, memory: u64, items: usize, Id(id): Id) -> Result<OpenCl, Fault> {
        let failed = |call| failure(name, call);
        let context = create_context(&[id], ptr::null(), None, ptr::null_mut())
            .map_err(failed("clCreateContext"))?;
        let mut device = OpenCl {
            name: name.to_owned(),
            memory,
            context,
            queue: ptr::null_mut(),
            program: ptr::null_mut(),
            kernels: Mutex::default(),
        };
        // SAFETY: the context is the device's.
        let queue = unsafe { create_command_queue(context, id, 0) };
        device.queue = queue.map_err(failed("clCreateCommandQueue"))?;
        let text = text::program();
        device.program = create_program_with_source(context, &[&text])
            .map_err(failed("clCreateProgramWithSource"))?;
        let options = CString::new(format!("{OPTIONS} -DITEMS={items}")).unwrap_or_default();
        let built = build_program(device.program, &[id], &options, None, ptr::null_mut());
        built.map_err(|code| {
            let log =
                get_program_build_info(device.program, id, CL_PROGRAM_BUILD_LOG).map(String::from);
            let log = log.unwrap_or_else(|_| error_text(code).to_string());
            Fault::Compiler {
                device: name.to_owned(),
                log: explained(log.trim()),
            }
        })?;
        Ok(device)
    }

    fn fault(&self, call: &'static str) -> impl Fn(cl_int) -> Fault {
        failure(&self.name, call)
    }

    /// The kernel of that name, made when it is first asked for.
    fn kernel(
        &self,
        kernels: &mut HashMap<&'static str, Kernel>,
        name: &'static str,
    ) -> Result<cl_kernel, Fault> {
        if let Some(Kernel(kernel)) = kernels.get(name) {
            return Ok(*kernel);
        }
        let text = CString::new(name).unwrap_or_default();
        let kernel = create_kernel(self.program, &text).map_err(self.fault("clCreateKernel"))?;
        kernels.insert(name, Kernel(kernel));
        Ok(kernel)
    }
}

/// What a compiler says. It has no word of where it fails for want of a place for its files.
fn explained(log: &str) -> String {
    let lower = log.to_lowercase();
    match ["error", "fatal"].iter().any(|word| lower.contains(word)) {
        true => log.to_owned(),
        false => format!(
            "{log}\nThe log names no error. A driver that cannot write compiled kernels to its \
             cache (POCL: POCL_CACHE_DIR) fails so"
        ),
    }
}

/// Divisions and roots are rounded to nearest, as all else is by default.
const OPTIONS: &str = "-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt";

fn failure(device: &str, call: &'static str) -> impl Fn(cl_int) -> Fault + use<> {
    let device = device.to_owned();
    move |code| Fault::Call {
        device: device.clone(),
        call,
        why: error_text(code).to_string(),
    }
}

fn mem(Handle(handle): Handle) -> cl_mem {
    handle as usize as cl_mem
}

/// Nobody waits for it: calls are made in order.
fn forget(event: cl_event) {
    // SAFETY: the event comes from the call before, and is not used again.
    let _ = unsafe { release_event(event) };
}

// SAFETY: a buffer is of the length that was asked for until it is released.
unsafe impl Driver for OpenCl {
    fn allocate(&self, words: usize) -> Result<Handle, Fault> {
        // A buffer of no length is an error in OpenCL.
        let bytes = words.max(1) * size_of::<u32>();
        // SAFETY: the context is live, and no memory of the host is given.
        let made =
            unsafe { create_buffer(self.context, CL_MEM_READ_WRITE, bytes, ptr::null_mut()) };
        match made {
            Ok(buffer) => Ok(Handle(buffer as usize as u64)),
            Err(CL_MEM_OBJECT_ALLOCATION_FAILURE | CL_OUT_OF_RESOURCES | CL_OUT_OF_HOST_MEMORY) => {
                Err(Fault::Memory {
                    device: self.name.clone(),
                    asked: bytes as u64,
                    free: None,
                    total: self.memory,
                    share: None,
                })
            }
            Err(CL_INVALID_BUFFER_SIZE) => Err(Fault::Piece {
                device: self.name.clone(),
                asked: bytes as u64,
            }),
            Err(code) => Err(self.fault("clCreateBuffer")(code)),
        }
    }

    fn left(&self) -> Option<u64> {
        None
    }

    unsafe fn free(&self, handle: Handle) {
        // SAFETY: the caller's promise. OpenCL keeps the memory until what was asked before is done.
        let _ = unsafe { release_mem_object(mem(handle)) };
    }

    unsafe fn write(&self, to: Handle, words: &[u32]) -> Result<(), Fault> {
        if words.is_empty() {
            return Ok(());
        }
        let from = words.as_ptr().cast();
        // SAFETY: the caller's promise; the call returns when the words were read.
        let event = unsafe {
            enqueue_write_buffer(
                self.queue,
                mem(to),
                CL_TRUE,
                0,
                size_of_val(words),
                from,
                0,
                ptr::null(),
            )
        };
        event
            .map(forget)
            .map_err(self.fault("clEnqueueWriteBuffer"))
    }

    unsafe fn read(&self, from: Handle, words: &mut [u32]) -> Result<(), Fault> {
        if words.is_empty() {
            return Ok(());
        }
        let to = words.as_mut_ptr().cast();
        // SAFETY: the caller's promise; the call returns when the words are there.
        let event = unsafe {
            enqueue_read_buffer(
                self.queue,
                mem(from),
                CL_TRUE,
                0,
                size_of_val(words),
                to,
                0,
                ptr::null(),
            )
        };
        event.map(forget).map_err(self.fault("clEnqueueReadBuffer"))
    }

    unsafe fn copy(&self, from: Handle, to: Handle, words: usize) -> Result<(), Fault> {
        if words == 0 {
            return Ok(());
        }
        let bytes = words * size_of::<u32>();
        // SAFETY: the caller's promise.
        let event = unsafe {
            enqueue_copy_buffer(self.queue, mem(from), mem(to), 0, 0, bytes, 0, ptr::null())
        };
        event.map(forget).map_err(self.fault("clEnqueueCopyBuffer"))
    }

    unsafe fn launch(
        &self,
        name: &'static str,
        extent: Extent,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = self.kernel(&mut kernels, name)?;
        for (index, argument) in arguments.iter().enumerate() {
            let set = |len: usize, value: *const c_void| {
                // SAFETY: the value is alive and of that length; OpenCL copies it.
                unsafe { set_kernel_arg(kernel, index as u32, len, value) }
            };
            let done = match argument {
                Argument::Memory(handle) => {
                    set(size_of::<cl_mem>(), ptr::from_ref(&mem(*handle)).cast())
                }
                Argument::Int(value) => set(4, ptr::from_ref(value).cast()),
                Argument::Word(value) => set(4, ptr::from_ref(value).cast()),
                Argument::Float(value) => set(4, ptr::from_ref(value).cast()),
            };
            done.map_err(self.fault("clSetKernelArg"))?;
        }
        let [columns, rows] = extent.items;
        let all = [extent.groups[0] * columns, extent.groups[1] * rows];
        let items = extent.items;
        // SAFETY: the caller's promise on the arguments; sizes are those of two dimensions.
        let event = unsafe {
            enqueue_nd_range_kernel(
                self.queue,
                kernel,
                2,
                ptr::null(),
                all.as_ptr(),
                items.as_ptr(),
                0,
                ptr::null(),
            )
        };
        event
            .map(forget)
            .map_err(self.fault("clEnqueueNDRangeKernel"))
    }
}

impl Drop for OpenCl {
    fn drop(&mut self) {
        let kernels = std::mem::take(
            self.kernels
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        // SAFETY: these were made by `open` and `kernel`, if they were, and are released once.
        // Errors cannot be helped here.
        unsafe {
            for Kernel(kernel) in kernels.into_values() {
                let _ = release_kernel(kernel);
            }
            if !self.program.is_null() {
                let _ = release_program(self.program);
            }
            if !self.queue.is_null() {
                let _ = release_command_queue(self.queue);
            }
            let _ = release_context(self.context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_lacks_is_named() {
        let all = CL_FP_ROUND_TO_NEAREST | CL_FP_DENORM | CL_FP_INF_NAN | CL_FP_FMA;
        let exact = all | CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
        assert_eq!(lacks(exact, all), None);
        assert_eq!(lacks(exact, 0).unwrap(), "it has no f64");
        assert_eq!(lacks(all, all).unwrap(), "it has no exact division in f32");
        assert_eq!(
            lacks(exact & !CL_FP_DENORM, all & !CL_FP_FMA).unwrap(),
            "it has no subnormal numbers in f32, no fused multiply-add in f64"
        );
    }
}

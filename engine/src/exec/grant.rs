//! What of the machine one execution was given, and how it gets to know.
//!
//! Libraries of linear algebra take a thread per processor unless told otherwise, so a declared number of `cpus` becomes the
//! variables they read, and the processors it may run on. GPUs are named one by one: two executions never see the same.

use std::sync::Arc;

/// Variables by which libraries are told how many threads to use.
const THREADS: &[&str] = &[
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "RAYON_NUM_THREADS",
];
/// Variables by which programs are told which GPUs they see, of either maker.
const GPUS: &[&str] = &["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"];

/// A run in a stage has the GPUs of the stage, and asks nobody for them.
pub const GRANTED_GPUS: &str = "REPRO_GRANTED_GPUS";

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The number of `cpus` it declares.
    pub threads: Option<u32>,
    /// The processors it runs on; any where there is none.
    pub cores: Vec<u32>,
    /// The GPUs it sees; `None` where the machine shows none, and nothing is said.
    pub gpus: Option<Vec<Arc<str>>>,
}

impl Grant {
    /// For the environment of the process; what a stage declares itself comes after.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(threads) = self.threads {
            variables.extend(THREADS.iter().map(|name| (*name, threads.to_string())));
        }
        if let Some(gpus) = &self.gpus {
            variables.extend(GPUS.iter().map(|name| (*name, gpus.join(","))));
            if !gpus.is_empty() {
                variables.push((GRANTED_GPUS, gpus.join(",")));
            }
        }
        variables
    }

    /// The processors as the kernel takes them.
    #[cfg(target_os = "linux")]
    pub(super) fn processors(&self) -> Option<libc::cpu_set_t> {
        if self.cores.is_empty() {
            return None;
        }
        // SAFETY: the set is plain data for which zero is valid.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for core in &self.cores {
            if let Ok(core) = usize::try_from(*core)
                && core < libc::CPU_SETSIZE as usize
            {
                // SAFETY: the macro writes a bit inside the set.
                unsafe { libc::CPU_SET(core, &mut set) };
            }
        }
        Some(set)
    }
}

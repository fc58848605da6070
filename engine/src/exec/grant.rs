//! What one execution was given of the machine, and how its programs are told.
//!
//! Libraries of linear algebra take a thread per processor unless told otherwise. So a declared
//! number of `cpus` becomes the variables they read, and the processors the execution may run on.
//! GPUs are named one by one: two executions never see the same one unless they share it.

use std::sync::Arc;

use crate::machine::Maker;

#[cfg(target_os = "linux")]
use rustix::thread::CpuSet;

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
/// A run in a stage has the GPUs of the stage, and asks nobody for them.
pub const GRANTED_GPUS: &str = "REPRO_GRANTED_GPUS";

/// How CUDA numbers GPUs.
const CUDA_ORDER: &str = "CUDA_DEVICE_ORDER";

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The number of `cpus` it declares.
    pub threads: Option<u32>,
    /// The processors it runs on; any where there is none.
    pub cores: Vec<u32>,
    /// The GPUs it sees; `None` where the machine shows none, and nothing is said.
    pub gpus: Option<Vec<Arc<str>>>,
    /// Who made them.
    pub maker: Maker,
}

impl Grant {
    /// For the environment of the process; what a stage declares itself comes after.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(threads) = self.threads {
            variables.extend(THREADS.iter().map(|name| (*name, threads.to_string())));
        }
        if let Some(gpus) = &self.gpus {
            let names = self.maker.variables();
            variables.extend(names.iter().map(|name| (*name, gpus.join(","))));
            if !gpus.is_empty() {
                variables.push((GRANTED_GPUS, gpus.join(",")));
                // GPUs may be named by number, and this says what numbers mean.
                let order = std::env::var(CUDA_ORDER).ok();
                variables.extend(order.map(|order| (CUDA_ORDER, order)));
            }
        }
        variables
    }

    /// Processors as the kernel takes them.
    #[cfg(target_os = "linux")]
    pub(super) fn processors(cores: &[u32]) -> Option<CpuSet> {
        let mut set = CpuSet::new();
        for core in cores.iter().map(|core| *core as usize) {
            if core < CpuSet::MAX_CPU {
                set.set(core);
            }
        }
        (!cores.is_empty()).then_some(set)
    }
}

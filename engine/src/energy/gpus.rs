//! The energy of the GPUs that an execution was given, by their own counters.
//!
//! NVIDIA's GPUs since Volta count millijoules, and their library (NVML) reads the counter. The
//! library is opened when an execution is first given a GPU, and never before: a run without GPUs
//! pays nothing. A GPU is found by its UUID. One that is known by a number only is not counted, as
//! CUDA and NVML may number GPUs differently.

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use nvml_wrapper::Nvml;

use crate::machine::Maker;

/// What it is called wherever the driver is installed; without the number it belongs to the toolkit.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// The GPUs of an execution, read when it began.
#[derive(Debug)]
pub struct Gpus {
    /// Each with its millijoules; none where one of them cannot be read.
    begun: Option<Vec<(Arc<str>, u64)>>,
    /// What the execution has of each.
    share: f64,
}

/// What the GPUs of an execution used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GpuEnergy {
    /// Joules of all of them.
    Counted(f64),
    /// One of them cannot be read.
    Uncounted,
}

impl Gpus {
    /// Reads these GPUs, of each of which an execution that begins has a share; nothing where it
    /// was given none.
    pub fn begin(gpus: &[Arc<str>], maker: Maker, share: f64) -> Option<Gpus> {
        let first = gpus.first()?;
        // Nobody else's library knows them, so it need not be opened.
        let is_known = maker == Maker::Nvidia && first.starts_with("GPU-");
        let read = |gpu: &Arc<str>| Some((gpu.clone(), millijoules(gpu)?));
        Some(Gpus {
            begun: is_known.then(|| gpus.iter().map(read).collect()).flatten(),
            share,
        })
    }

    /// What they used until now.
    pub fn end(self) -> GpuEnergy {
        self.end_by(millijoules)
    }

    fn end_by(self, now: impl Fn(&str) -> Option<u64>) -> GpuEnergy {
        // A counter begins again at 0 with its driver; what it had counted is not known then.
        let used = |(gpu, begun): &(Arc<str>, u64)| now(gpu)?.checked_sub(*begun);
        let counters = self.begun.as_deref();
        let used: Option<Vec<u64>> = counters.and_then(|gpus| gpus.iter().map(used).collect());
        match used {
            Some(used) => {
                GpuEnergy::Counted(used.into_iter().sum::<u64>() as f64 / 1e3 * self.share)
            }
            None => GpuEnergy::Uncounted,
        }
    }
}

/// What a GPU has counted.
fn millijoules(gpu: &str) -> Option<u64> {
    // Kept until the program ends: opening it anew for every execution would take longer than
    // reading.
    static OPEN: OnceLock<Option<Nvml>> = OnceLock::new();
    let open = || Nvml::builder().lib_path(OsStr::new(LIBRARY)).init().ok();
    let gpu = OPEN.get_or_init(open).as_ref()?.device_by_uuid(gpu).ok()?;
    gpu.total_energy_consumption().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(counters: &[(&str, u64)], share: f64) -> Gpus {
        let begun = counters.iter().map(|(gpu, mj)| (Arc::from(*gpu), *mj));
        Gpus {
            begun: Some(begun.collect()),
            share,
        }
    }

    #[test]
    fn the_share_of_what_all_of_them_counted_is_used() {
        let now = |gpu: &str| match gpu {
            "GPU-a" => Some(5_000),
            "GPU-b" => Some(70_000),
            _ => None,
        };
        let both = [("GPU-a", 1_000), ("GPU-b", 10_000)];
        assert_eq!(begun(&both, 1.0).end_by(now), GpuEnergy::Counted(64.0));
        let quarter = begun(&both[..1], 0.25).end_by(now);
        assert_eq!(quarter, GpuEnergy::Counted(1.0));
        // Half of the truth is none, and a counter that went back says nothing.
        let lost = begun(&[("GPU-a", 0), ("GPU-c", 0)], 1.0).end_by(now);
        assert_eq!(lost, GpuEnergy::Uncounted);
        let reset = begun(&[("GPU-a", 5_001)], 1.0).end_by(now);
        assert_eq!(reset, GpuEnergy::Uncounted);
    }

    #[test]
    fn who_has_no_gpu_has_nothing_to_say_of_them() {
        assert!(Gpus::begin(&[], Maker::Nvidia, 1.0).is_none());
        let ended = |name: &str, maker| Gpus::begin(&[name.into()], maker, 1.0).unwrap().end();
        assert_eq!(
            ended("GPU-00000000000000ff", Maker::Amd),
            GpuEnergy::Uncounted
        );
        assert_eq!(ended("0", Maker::Nvidia), GpuEnergy::Uncounted);
    }
}

//! Every op on every device that drivers list, against the CPU's kernels, bit for bit: odd shapes,
//! and numbers of all kinds.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod cuda;
mod dense;
mod depthwise;
mod elementwise;
mod functions;
mod group_norm;
mod images;
mod losses;
mod optimizers;
mod pictures;
mod recurrent;
mod stand_in;

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use repro_gpu::{Device, Fault, Memory, NormGradients, Pool, found};
use repro_numerics::exact::rng::Stream;

/// Runs `test` on every device, or says that there is none. One test at a time: the compilers of
/// some drivers (POCL 3.1) bear no second one in the same process.
fn everywhere(test: impl Fn(&On)) {
    static DEVICES: Mutex<Option<Vec<On>>> = Mutex::new(None);
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    let devices = devices.get_or_insert_with(|| {
        let found = found().unwrap_or_default();
        let fit = found.iter().filter(|found| found.lacks.is_none());
        fit.map(|found| On {
            device: found.open().unwrap(),
            pool: Pool::default(),
        })
        .collect()
    });
    if devices.is_empty() {
        skip("no OpenCL device (apt install pocl-opencl-icd)");
    }
    devices.iter().for_each(test);
}

/// Past the capture of the test harness: whoever reads the log is to know.
fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}

/// A device, and its memory.
struct On {
    device: Device,
    pool: Pool,
}

impl On {
    fn there(&self, values: &[f32]) -> Memory {
        self.device.upload(&self.pool, values).unwrap()
    }

    fn here(&self, memory: &Memory) -> Vec<f32> {
        let mut values = vec![0.0; memory.len()];
        self.device.read(memory, &mut values).unwrap();
        values
    }
}

/// Of a device with room for it, too: a place beyond would be one of other memory.
#[test]
fn longer_arrays_than_kernels_count_to_are_refused() {
    everywhere(|on| {
        let fault = on.device.values(&on.pool, 1 << 31).unwrap_err();
        assert!(matches!(fault, Fault::Count { .. }), "{fault}");
    });
}

/// The self-test that every use of a device begins with.
#[test]
fn the_self_test_passes() {
    everywhere(|on| repro_gpu::check(&on.device).unwrap());
}

/// Numbers around 1; harsh ones are of all sizes, with zeros of both signs, subnormal and huge ones.
fn values(len: usize, seed: u64, harsh: bool) -> Vec<f32> {
    let mut stream = Stream::new(seed, "test", 0, 0);
    let mut one = |_| {
        let plain = stream.normal();
        let rare = stream.below(16);
        match rare {
            0 if harsh => 0.0,
            1 if harsh => -0.0,
            2 if harsh => plain * 1e-41,
            3 if harsh => plain * 1e30,
            4 if harsh => plain * 1e-20,
            _ => plain,
        }
    };
    (0..len).map(&mut one).collect()
}

/// The bits, but that a NaN is a NaN: which one is no part of the contract.
fn bits(values: &[f32]) -> Vec<u32> {
    let bits = |v: &f32| {
        if v.is_nan() {
            f32::NAN.to_bits()
        } else {
            v.to_bits()
        }
    };
    values.iter().map(bits).collect()
}

#[track_caller]
fn same(what: &str, there: &[f32], here: &[f32]) {
    assert_eq!(there.len(), here.len(), "{what}: lengths");
    let (there_bits, here_bits) = (bits(there), bits(here));
    let wrong: Vec<usize> = (0..here.len())
        .filter(|i| there_bits[*i] != here_bits[*i])
        .collect();
    if let Some(first) = wrong.first() {
        let (there, here) = (there[*first], here[*first]);
        panic!(
            "{what}: {} of {} differ, the first at {first}: {there:e}, the CPU has {here:e}",
            wrong.len(),
            here_bits.len()
        );
    }
}

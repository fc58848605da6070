//! How many multiply-adds a processor can do: a loop that touches nothing but registers.

use std::hint::black_box;
use std::time::Instant;

use repro_numerics::kernels::Path;

/// Independent accumulators: enough to hide the latency of two units, few enough for 16 registers.
const CHAINS: usize = 12;
const STEPS: usize = 4_000_000;

/// GFLOP/s of `threads` threads at once with the instructions of `path`, where they have a fused
/// multiply-add.
pub fn gflops(path: Path, threads: usize) -> Option<f64> {
    let lanes = match path.name() {
        "avx512" => 16,
        "avx2" => 8,
        _ => return None,
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| black_box(run(lanes, black_box(0.999))));
        }
    });
    let flops = (threads * STEPS * CHAINS * lanes * 2) as f64;
    Some(flops / begun.elapsed().as_secs_f64() / 1e9)
}

#[cfg(target_arch = "x86_64")]
fn run(lanes: usize, x: f32) -> f32 {
    // SAFETY: a path of that name exists only where the processor has the instructions.
    unsafe {
        match lanes {
            16 => avx512(x),
            _ => avx2(x),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn run(_: usize, x: f32) -> f32 {
    x
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(x: f32) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let factor = _mm512_set1_ps(x);
    let mut sums = [factor; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, factor);
        }
    }
    sums.iter().map(|s| _mm512_reduce_add_ps(*s)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(x: f32) -> f32 {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let factor = _mm256_set1_ps(x);
    let mut sums = [factor; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, factor);
        }
    }
    sums.iter().map(|s| _mm256_cvtss_f32(*s)).sum()
}

//! Speed of the kernels per path: `cargo bench -p repro-numerics --bench kernels [-- NAME..]` prints
//! GFLOP/s (a fused multiply-add counts as two) of the fastest of several runs: on one thread by
//! the processor's time, so that a busy machine disturbs little; with `RAYON_NUM_THREADS` set by
//! the clock on the wall.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

use std::hint::black_box;
use std::time::Instant;

use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::{Path, conv, dense};
use repro_numerics::shape::{ConvShape, Image};

fn main() {
    // Cargo adds flags of its own.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let threads = std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a thread pool");
    let epoch = Instant::now();
    println!("GFLOP/s, {threads} thread(s)");
    print!("{:<34}", "kernel");
    Path::all().iter().for_each(|p| print!("{:>10}", p.name()));
    println!();
    pool.install(|| {
        let mut row = |name: &str, flops: usize, run: &mut dyn FnMut(Path)| {
            if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
                return;
            }
            print!("{name:<34}");
            for path in Path::all() {
                let seconds = || {
                    if threads == 1 {
                        computed()
                    } else {
                        epoch.elapsed().as_secs_f64()
                    }
                };
                print!(
                    "{:>10.2}",
                    flops as f64 / fastest(seconds, || run(path)) / 1e9
                );
            }
            println!();
        };
        for (n, i, o) in [(128, 784, 256), (128, 256, 128), (128, 128, 10)] {
            dense_layer(&mut row, n, i, o);
        }
        // Few channels in, or out, and the usual.
        for (size, c, o, k, stride) in [
            (28, 1, 16, 3, 1),
            (32, 3, 16, 3, 1),
            (28, 1, 8, 5, 1),
            (14, 8, 8, 3, 1),
            (14, 16, 32, 3, 1),
            (8, 64, 64, 3, 1),
            (16, 16, 32, 3, 2),
            (16, 32, 4, 1, 1),
        ] {
            conv_layer(&mut row, size, c, o, k, stride);
        }
    });
}

type Row<'a> = &'a mut dyn FnMut(&str, usize, &mut dyn FnMut(Path));

fn dense_layer(row: Row<'_>, n: usize, i: usize, o: usize) {
    let (x, w, b, dy) = (
        values(n * i, 1),
        values(i * o, 2),
        values(o, 3),
        values(n * o, 4),
    );
    let (mut y, mut dx, mut dw) = (vec![0.0; n * o], vec![0.0; n * i], vec![0.0; i * o]);
    let flops = 2 * n * i * o;
    let name = format!("dense {n}x{i}x{o}");
    row(&format!("{name} forward"), flops, &mut |path| {
        dense::forward(path, i, o, &x, &w, Some(&b), black_box(&mut y));
    });
    row(&format!("{name} dx"), flops, &mut |path| {
        dense::input_gradient(path, i, o, &w, &dy, black_box(&mut dx));
    });
    row(&format!("{name} dw"), flops, &mut |path| {
        dense::weight_gradient(path, i, o, &x, &dy, black_box(&mut dw));
    });
}

fn conv_layer(row: Row<'_>, size: usize, c: usize, o: usize, k: usize, stride: usize) {
    let image = Image {
        height: size,
        width: size,
        channels: c,
    };
    let shape = ConvShape::new(image, o, (k, k), stride, k / 2).expect("a sound shape");
    let n = 64;
    let (x, w, b, dy) = (
        values(n * image.features(), 1),
        values(shape.weights(), 2),
        values(o, 3),
        values(n * shape.output().features(), 4),
    );
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    let flops = 2 * n * shape.output().positions() * shape.weights();
    let name = format!("conv {size}x{size}x{c}>{o} k{k} s{stride}");
    row(&format!("{name} forward"), flops, &mut |path| {
        conv::forward(path, &shape, &x, &w, Some(&b), black_box(&mut y));
    });
    row(&format!("{name} dx"), flops, &mut |path| {
        conv::input_gradient(path, &shape, &w, &dy, black_box(&mut dx));
    });
    row(&format!("{name} dw"), flops, &mut |path| {
        conv::weight_gradient(path, &shape, &x, &dy, black_box(&mut dw));
    });
}

/// Seconds of the fastest of at least 3 runs within about 60 ms.
fn fastest(seconds: impl Fn() -> f64, mut run: impl FnMut()) -> f64 {
    let begin = seconds();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < 3 || seconds() - begin < 0.06 {
        let start = seconds();
        run();
        best = best.min(seconds() - start);
        runs += 1;
    }
    best
}

/// Seconds this process has computed.
fn computed() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place to write to; on failure it stays as it is.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Stream::new(seed, "kernel bench", 0, 0);
    (0..len).map(|_| random.normal()).collect()
}

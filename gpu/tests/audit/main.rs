//! What NVIDIA's compiler makes of the kernels, without a GPU: only operations that are rounded to
//! nearest, none that flushes or approximates, and multiply-adds only where the text asks for them.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod made;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use repro_gpu::{CUDA_OPTIONS, program};

/// From Volta to Blackwell.
const ARCHITECTURES: [&str; 4] = ["70", "80", "90", "100"];

/// The PTX, what the compiler said against the text, or nothing where there is no compiler.
fn ptx(text: &str, options: &[&str]) -> Option<Result<String, String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("../target/python/bin/python");
    let python = if own.exists() { own } else { "python3".into() };
    let mut compiler = Command::new(python)
        .arg(root.join("tests/audit/nvrtc.py"))
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = compiler.stdin.take().unwrap();
    // It reads nothing where there is no NVRTC.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let done = compiler.wait_with_output().unwrap();
    let of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match done.status.code() {
        Some(0) => Some(Ok(of(done.stdout))),
        Some(77) => None,
        _ => Some(Err(of(done.stderr))),
    }
}

/// Arithmetic of the PTX that `exact-f32-v1` does not know.
fn foreign(ptx: &str) -> BTreeSet<String> {
    let known = [
        "add.rn.f32",
        "sub.rn.f32",
        "mul.rn.f32",
        "div.rn.f32",
        "rcp.rn.f32",
        "rcp.rn.f64",
        "sqrt.rn.f32",
        "fma.rn.f32",
        "add.rn.f64",
        "sub.rn.f64",
        "mul.rn.f64",
        "div.rn.f64",
        "cvt.rn.f32.f64",
        "cvt.rn.f32.u32",
        "cvt.rn.f32.s32",
        "cvt.rn.f64.s32",
        "cvt.f64.f32",
        "cvt.u32.u64",
        "cvt.u64.u32",
        "cvt.s64.s32",
        "cvt.u32.u16",
        "cvt.u16.u32",
        "cvt.s32.s64",
    ];
    // They move bits, or compare them.
    let exact = [
        "mov", "ld", "st", "setp", "selp", "neg", "abs", "cvta", "bra",
    ];
    let mut foreign = BTreeSet::new();
    for line in ptx.lines() {
        let line = line.trim();
        let words = line
            .strip_prefix('@')
            .and_then(|l| l.split_once(' '))
            .map_or(line, |(_, rest)| rest.trim());
        let name = words.split([' ', ';', '\t']).next().unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        let floats = name.contains(".f32") || name.contains(".f64") || name.contains(".f16");
        let approximates =
            name.contains(".ftz") || name.contains(".approx") || name.contains(".full");
        let counts = (floats && !exact.contains(&stem)) || approximates;
        if counts && !known.contains(&name) {
            foreign.insert(name.to_owned());
        }
    }
    foreign
}

/// Fused operations in the PTX.
fn fused(ptx: &str) -> usize {
    ptx.matches("fma.rn.f32").count()
        + ptx.matches("fma.rn.f64").count()
        + ptx.matches("mad.rn").count()
}

const NO_NVRTC: &str = "no NVRTC (pip install nvidia-cuda-nvrtc into target/python)";

fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}

fn with<'a>(architecture: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![architecture];
    all.extend(options);
    all
}

#[test]
fn only_exact_operations_on_every_architecture() {
    for architecture in ARCHITECTURES {
        let architecture = format!("--gpu-architecture=compute_{architecture}");
        let Some(made) = ptx(&program(), &with(&architecture, CUDA_OPTIONS)) else {
            return skip(NO_NVRTC);
        };
        let made = made.unwrap();
        assert!(
            made.contains("fma.rn.f32")
                && made.contains("div.rn.f32")
                && made.contains("sqrt.rn.f32")
        );
        let foreign = foreign(&made);
        assert!(foreign.is_empty(), "{architecture}: {foreign:?}");
    }
}

/// Without the word FMA in the text there is no fused operation: none that nobody asked for.
#[test]
fn nothing_is_fused_that_the_text_does_not_fuse() {
    let text = program().replace("__fmaf_rn(a, b, c)", "((a) * (b) + (c))");
    let Some(made) = ptx(&text, &with("--gpu-architecture=compute_90", CUDA_OPTIONS)) else {
        return skip(NO_NVRTC);
    };
    assert_eq!(fused(&made.unwrap()), 0);
}

/// The audit sees what it is for: fast mathematics, and a product that the compiler fuses.
#[test]
fn the_audit_can_fail() {
    let architecture = "--gpu-architecture=compute_80";
    let Some(fast) = ptx(&program(), &[architecture, "--use_fast_math"]) else {
        return skip(NO_NVRTC);
    };
    let foreign = foreign(&fast.unwrap());
    assert!(
        foreign.iter().any(|name| name.contains(".ftz")),
        "{foreign:?}"
    );
    assert!(
        foreign
            .iter()
            .any(|name| name.contains(".approx") || name.contains(".full")),
        "{foreign:?}"
    );

    let text = program().replace("__fmaf_rn(a, b, c)", "((a) * (b) + (c))");
    let contracted = ptx(&text, &[architecture]).unwrap().unwrap();
    assert!(fused(&contracted) > 0);
}

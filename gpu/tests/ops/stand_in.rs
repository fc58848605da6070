//! Builds the stand-in for NVIDIA's driver (`stand_in.cpp`) from the text of the kernels, and starts
//! this program again with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use repro_gpu::program;

/// The folder that has the library, or nothing where there is no compiler for this program's
/// processor: under an emulator the compiler's is another one.
pub fn folder() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let machine = Command::new("c++").arg("-dumpmachine").output().ok()?;
    if !machine
        .stdout
        .starts_with(std::env::consts::ARCH.as_bytes())
    {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
    std::fs::create_dir_all(&folder).unwrap();
    let text = program();
    let mut names = String::new();
    for kernel in text.split("\nKERNEL ").skip(1) {
        let kernel = kernel.trim_start_matches("OF_ITEMS(ITEMS) ");
        let name = kernel.split('(').next().unwrap();
        // Who shares memory with its group waits for it.
        let waits = kernel.contains("LOCAL ") || kernel.contains(" PRODUCT(");
        writeln!(names, "NAMED({name}, {waits})").unwrap();
    }
    std::fs::write(folder.join("kernels.inc"), text).unwrap();
    std::fs::write(folder.join("names.inc"), names).unwrap();
    std::fs::write(folder.join("stand_in.cpp"), include_str!("stand_in.cpp")).unwrap();
    // Whoever uses the one that is there goes on with it.
    let new = folder.join(format!("libcuda.{}", std::process::id()));
    let built = Command::new("c++")
        .args(["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC"])
        .arg("-I")
        .arg(&folder)
        .arg(folder.join("stand_in.cpp"))
        .arg("-o")
        .arg(&new)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    std::fs::rename(new, folder.join("libcuda.so.1")).unwrap();
    Some(folder)
}

/// What this program prints with such arguments and variables, where the stand-in is NVIDIA's driver
/// and there is no other; nothing where it cannot be built.
pub fn with_stand_in(arguments: &[&str], variables: &[(&str, &str)]) -> Option<Output> {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(arguments)
        .env("LD_LIBRARY_PATH", folder()?)
        .env("OCL_ICD_VENDORS", "/nonexistent")
        .envs(variables.iter().copied());
    Some(again.output().unwrap())
}

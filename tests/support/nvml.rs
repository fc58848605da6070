//! A stand-in for the library of NVIDIA that reads counters of energy (`nvml.c`). Its counters are
//! files.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::skipped::skipped;

/// A folder with the stand-in as NVIDIA calls it, or nothing where there is no compiler.
pub fn library(name: &str, options: &[&str]) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/nvml.c");
    let own = tempfile::tempdir_in(&folder).unwrap();
    let built = own.path().join("built.so");
    let said = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1"])
        .args(options)
        .arg(source)
        .arg("-o")
        .arg(&built)
        .output();
    let Ok(said) = said else {
        skipped("there is no C compiler (cc)");
        return None;
    };
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
    // Whole at once: other tests may be opening it.
    std::fs::rename(built, folder.join("libnvidia-ml.so.1")).unwrap();
    Some(folder)
}

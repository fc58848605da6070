//! The PTX that is part of the program (`ptx/sm_70.ptx`): that it is of this text, and what NVRTC
//! makes of it. `REPRO_BLESS=1` makes it anew.

use std::path::PathBuf;

use super::*;

/// What drivers of CUDA 11.4 read. NVRTC writes its own version, which drivers before it refuse,
/// though it uses nothing that is newer than 6.0 (as its `ptxas` says).
const ISA: &str = ".version 7.4";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx/sm_70.ptx")
}

/// The line that says which text it was made of.
fn mark() -> String {
    format!(
        "// Made of the kernels' text with BLAKE3 digest {}\n",
        blake3::hash(program().as_bytes())
    )
}

/// The line that names a compiler.
fn compiler(ptx: &str) -> Option<&str> {
    ptx.lines().find(|line| line.contains("release"))
}

/// NVRTC 12.9 names the registers of a large kernel by where its memory lies, which differs from
/// process to process: of twelve, seven made one text and five another.
const TRIES: u32 = 32;

#[test]
fn the_ptx_is_of_this_text() {
    if std::env::var_os("REPRO_BLESS").is_none() {
        let ptx = std::fs::read_to_string(file()).unwrap();
        assert!(
            ptx.starts_with(&mark()),
            "the kernels changed: with NVRTC installed, REPRO_BLESS=1 cargo test -p repro-gpu --test audit"
        );
    }
}

#[test]
fn the_ptx_is_what_nvrtc_makes() {
    for _ in 0..TRIES {
        let options = with("--gpu-architecture=compute_70", CUDA_OPTIONS);
        let Some(made) = ptx(&program(), &options) else {
            return skip(NO_NVRTC);
        };
        let made = made.unwrap();
        let own = made.lines().find(|line| line.starts_with(".version"));
        let made = mark() + &made.replacen(own.unwrap(), ISA, 1);
        if std::env::var_os("REPRO_BLESS").is_some() {
            return std::fs::write(file(), made).unwrap();
        }
        let committed = std::fs::read_to_string(file()).unwrap();
        if compiler(&committed) != compiler(&made) {
            return skip(
                "another NVRTC than the one that made the PTX (tests/python/requirements.txt)",
            );
        }
        if made == committed {
            return;
        }
    }
    panic!("REPRO_BLESS=1 cargo test -p repro-gpu --test audit");
}

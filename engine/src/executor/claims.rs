//! What runs of one user on one machine agree on: who has which processor, and which GPU.
//!
//! Each device is a file, and whoever holds its lock has the device. The kernel frees it with the
//! process, however that ends. The files lie in a fixed place, since a user who is logged in and a
//! job of the night must meet there.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::exec::GRANTED_GPUS;

/// A device that another process has, or one that is the caller's, as far as that can be known.
#[derive(Debug)]
pub enum Claim {
    /// Nobody else has it while this is kept.
    Held(File),
    /// Another run has it.
    Taken,
    /// There is no place to agree: every run sees to itself.
    Unknown,
}

/// Claims a GPU, unless the stage that this run is part of has it already.
pub fn claim_gpu(name: &str) -> Claim {
    let granted = std::env::var(GRANTED_GPUS).unwrap_or_default();
    match granted.split(',').any(|g| g == name) {
        true => Claim::Unknown,
        false => claim("gpu", name),
    }
}

/// Claims a processor.
pub fn claim_processor(number: u32) -> Claim {
    claim("processor", &number.to_string())
}

fn claim(kind: &str, name: &str) -> Claim {
    match directory() {
        Some(dir) => claim_in(&dir, kind, name),
        None => Claim::Unknown,
    }
}

fn claim_in(dir: &Path, kind: &str, name: &str) -> Claim {
    // A name comes from a variable, and may hold what a file's name must not.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name: String = name
        .chars()
        .take(100)
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let path = dir.join(format!("{kind}-{name}"));
    let Ok(file) = File::options().create(true).append(true).open(path) else {
        return Claim::Unknown;
    };
    match file.try_lock() {
        Ok(()) => Claim::Held(file),
        Err(TryLockError::WouldBlock) => Claim::Taken,
        Err(TryLockError::Error(_)) => Claim::Unknown,
    }
}

fn directory() -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let dir = PathBuf::from(format!("/tmp/.repro-devices-{user}"));
    let _ = fs::DirBuilder::new().mode(0o700).create(&dir);
    // Somebody else's directory of that name, or a link to one, is none of ours.
    let meta = fs::symlink_metadata(&dir).ok()?;
    (meta.is_dir() && meta.uid() == user).then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_24_a_device_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let claim = |name: &str| claim_in(dir.path(), "gpu", name);
        let Claim::Held(first) = claim("GPU-1/../x") else {
            panic!("nobody else knows of the directory");
        };
        assert!(matches!(claim("GPU-1/../x"), Claim::Taken));
        assert!(matches!(claim("GPU-2"), Claim::Held(_)));
        drop(first);
        assert!(matches!(claim("GPU-1/../x"), Claim::Held(_)));
        let missing = dir.path().join("missing");
        assert!(matches!(claim_in(&missing, "gpu", "0"), Claim::Unknown));
    }
}

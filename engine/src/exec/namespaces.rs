//! Which namespaces this machine lets a command have. Found out by making some, once per process.
//!
//! Root has them for the asking. Everybody else needs a user namespace, in which they are
//! themselves and nobody else is: files of other users seem to belong to `nobody` there. Containers
//! and some distributions forbid both.

use std::process::Command;
use std::sync::OnceLock;

use super::room::{Access, Namespaces, Room, Shared};

/// Switches namespaces off when it is `off`: for machines where they are there and do harm, and for
/// tests.
const SWITCH: &str = "REPRO_NAMESPACES";

/// Namespaces for mounts and shared memory.
///
/// # Errors
/// Why a command cannot have them here, as a clause: `namespaces cannot be made here: ...`.
pub fn available() -> Result<Namespaces, String> {
    #[cfg(test)]
    if tests_only::UNAVAILABLE.get() {
        return Err("a test says so".into());
    }
    static FOUND: OnceLock<Result<Namespaces, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            if std::env::var_os(SWITCH).is_some_and(|v| v == "off") {
                return Err(format!("{SWITCH} is off"));
            }
            find(Shared::Network)
        })
        .clone()
}

/// A network that is empty but for the loopback device, beside what [`available`] gives.
///
/// # Errors
/// As above.
pub fn without_network() -> Result<Namespaces, String> {
    available()?;
    static FOUND: OnceLock<Result<Namespaces, String>> = OnceLock::new();
    FOUND.get_or_init(|| find(Shared::Nothing)).clone()
}

fn find(shared: Shared) -> Result<Namespaces, String> {
    if rustix::process::geteuid().is_root() && attempt(Namespaces::OfRoot, shared).is_ok() {
        return Ok(Namespaces::OfRoot);
    }
    attempt(Namespaces::OfUser, shared)
        .map(|()| Namespaces::OfUser)
        .map_err(|e| format!("namespaces cannot be made here: {e}"))
}

/// Enters a room in a process that does nothing else.
fn attempt(namespaces: Namespaces, shared: Shared) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut room = Room::new(namespaces, shared);
    let root = std::path::Path::new("/");
    room.hold(&root.join("dev"), Access::ReadOnly)?;
    room.everything_read_only();
    room.cover_by_memory(root)?;
    let mut command = Command::new("repro-never-started");
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    // SAFETY: `enter` and `_exit` make system calls only.
    unsafe {
        command.pre_exec(move || {
            room.enter(None)?;
            libc::_exit(0)
        })
    };
    command.status().map(drop)
}

#[cfg(test)]
pub mod tests_only {
    thread_local! {
        /// Makes [`super::available`] report that there are none.
        pub static UNAVAILABLE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
}

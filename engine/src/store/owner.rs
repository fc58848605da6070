//! Owners: which process made something, and whether it is dead.
//!
//! A lock that the kernel drops with its owner says so best, where there are such locks. Some file
//! systems grant them to every machine, or to everybody: then the owner's name decides. It holds
//! the boot and process space it lives in, its number there, and when it began. An owner of this
//! space can be asked after. One of another cannot, and where other machines may write, it counts
//! as alive until it has been silent for long (`renewal.rs`): taking the directory of a live one
//! would cost it its work.

use std::fs::{self};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::digest::Digest;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner<'a> {
    space: &'a str,
    pub pid: u32,
    pub(super) start: u64,
}

/// `<space>.<pid>.<start>.<n>`, unlike any other name.
pub(crate) fn new_name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}", own(), NAMES.fetch_add(1, Ordering::Relaxed))
}

/// `<space>.<pid>.<start>` of this process.
pub(super) fn own() -> &'static str {
    static OWN: OnceLock<String> = OnceLock::new();
    OWN.get_or_init(|| {
        let pid = std::process::id();
        format!("{}.{pid}.{}", space(), start_time(pid).unwrap_or(0))
    })
}

/// How this machine calls itself.
pub fn host_name() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    let ask = || fs::read_to_string("/proc/sys/kernel/hostname");
    NAME.get_or_init(|| ask().map_or_else(|_| "unknown".to_owned(), |h| h.trim().to_owned()))
        .clone()
}

/// The boot and the process-number space, as hexadecimal digits.
pub(super) fn space() -> &'static str {
    static SPACE: OnceLock<String> = OnceLock::new();
    SPACE.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Digest::of(format!("{boot} {}", space.display()).as_bytes()).short()
    })
}

/// When a process started, in ticks since boot; `None` if there is none of that number.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the start time is field 22.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

impl<'a> Owner<'a> {
    /// Reads the beginning of a name; `None` for one that no version of this program gives.
    pub fn parse(name: &'a str) -> Option<Owner<'a>> {
        let mut parts = name.split('.');
        let (space, pid, start) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Owner {
            space,
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    /// Whether it lives; `None` where that cannot be known: another machine, another boot, another
    /// container.
    pub fn is_alive(&self) -> Option<bool> {
        if self.space != space() {
            return None;
        }
        match start_time(std::process::id()) {
            // Without /proc nobody can be asked after.
            None => None,
            Some(_) if self.start == 0 => None,
            Some(_) => Some(start_time(self.pid) == Some(self.start)),
        }
    }
}

/// Whether something of this name, on the file system of several machines or not, was left by a
/// process that is gone. For what no lock guards.
pub(super) fn is_left_behind(name: &str, age: Option<Duration>, foreign_age: Duration) -> bool {
    match Owner::parse(name).map(|owner| owner.is_alive()) {
        Some(Some(alive)) => !alive,
        Some(None) => age.is_some_and(|age| age > foreign_age),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_48_an_owner_is_asked_after_where_that_is_possible() {
        let me = new_name();
        assert_ne!(me, new_name());
        let owner = Owner::parse(&me).unwrap();
        assert_eq!(
            (owner.pid, owner.is_alive()),
            (std::process::id(), Some(true))
        );
        // The same number, another process.
        let reused = format!("{}.{}.{}.0", space(), owner.pid, owner.start + 1);
        assert_eq!(Owner::parse(&reused).unwrap().is_alive(), Some(false));
        let foreign = format!("000000000000.{}.{}.0", owner.pid, owner.start);
        assert_eq!(Owner::parse(&foreign).unwrap().is_alive(), None);
        assert_eq!(Owner::parse("0123456789ab-77-0"), None);
        let day = Duration::from_secs(24 * 3600);
        assert!(!is_left_behind(&me, Some(day * 9), day));
        assert!(is_left_behind(&reused, None, day));
        assert!(is_left_behind(&foreign, Some(day * 2), day));
        assert!(!is_left_behind(&foreign, Some(day / 2), day));
    }
}

//! What the program was started with is nobody else's to see.
//!
//! `/proc/PID/environ` shows the environment a process was started with, as long as it lives, to
//! every process of the same user and to root; and a copy of the process shows it too. No list of
//! names knows every secret. So [`hide`], the first thing the program does, moves all values out of
//! that block (the bytes there become zeros), and takes the key that signs results and its
//! passphrase out of the environment altogether: whoever needs these asks [`var`].

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::sync::OnceLock;

#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;

/// Never in the environment of anything the program starts.
const TAKEN: &[&str] = &["REPRO_SIGNING_KEY", "REPRO_KEY_PASSPHRASE"];

static HIDDEN: OnceLock<BTreeMap<&'static str, String>> = OnceLock::new();

/// A variable of the environment the program was started with. Empty is not set.
pub fn var(name: &str) -> Option<String> {
    let hidden = HIDDEN.get().and_then(|h| h.get(name)).cloned();
    hidden
        .or_else(|| std::env::var(name).ok())
        .filter(|v| !v.is_empty())
}

/// See the module. To be called once, before the process has a second thread.
pub fn hide() {
    #[cfg(unix)]
    // SAFETY: the caller has the only thread, so nobody reads or changes the environment meanwhile.
    unsafe {
        let mut taken = BTreeMap::new();
        for (name, value) in first_block() {
            match TAKEN.iter().find(|taken| name == **taken) {
                Some(name) => {
                    // What is no text is no key.
                    taken.extend(value.into_string().ok().map(|value| (*name, value)));
                    std::env::remove_var(name);
                }
                // Sets a copy on the heap in the place of the entry in the block.
                None => std::env::set_var(name, value),
            }
        }
        let _ = HIDDEN.set(taken);
    }
    #[cfg(target_os = "linux")]
    // The heap that now holds them is nobody's to read either.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The environment, whose values are zeros in the block afterwards. Of two values of one name the
/// first counts.
///
/// # Safety
/// No other thread exists, and each entry is replaced before it is read again.
#[cfg(unix)]
unsafe fn first_block() -> Vec<(OsString, OsString)> {
    use std::os::unix::ffi::OsStringExt;
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    let mut found = Vec::new();
    let mut names = HashSet::new();
    // SAFETY: `environ` is a list of strings that ends in a null pointer; each string lies in
    // memory of this process that can be written, since programs may change it (`putenv`).
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            let entry = *at;
            at = at.add(1);
            let text = std::ffi::CStr::from_ptr(entry).to_bytes();
            let Some(split) = text.iter().position(|b| *b == b'=') else {
                continue;
            };
            let (name, value) = (text[..split].to_vec(), text[split + 1..].to_vec());
            let (first, length) = (split + 1, value.len());
            for i in 0..length {
                entry.add(first + i).write_volatile(0);
            }
            if !name.is_empty() && names.insert(name.clone()) {
                found.push((OsString::from_vec(name), OsString::from_vec(value)));
            }
        }
    }
    found
}

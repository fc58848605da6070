//! Credentials in the program's own environment: nobody else gets to see them.
//!
//! `/proc/PID/environ` shows the environment a process was started with, as long as it lives, to every process of the same user
//! and to root; and what a process starts inherits it. So [`hide`], the first thing the program does, moves the values of
//! credentials out of that block (the bytes there become zeros), and takes the key that signs results and its passphrase out
//! of the environment altogether: whoever needs these asks [`var`].

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::spec::is_credential;

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
    let mut found = false;
    #[cfg(unix)]
    // SAFETY: the caller has the only thread, so nobody reads or changes the environment meanwhile.
    unsafe {
        let mut taken = BTreeMap::new();
        for (name, value) in first_block() {
            found = true;
            match TAKEN.iter().find(|t| **t == name) {
                Some(name) => {
                    taken.insert(*name, value);
                    std::env::remove_var(name);
                }
                // Sets a copy on the heap in the place of the entry in the block.
                None => std::env::set_var(name, value),
            }
        }
        let _ = HIDDEN.set(taken);
    }
    #[cfg(target_os = "linux")]
    if found {
        // The heap that now holds them is nobody's to read either.
        // SAFETY: a system call on plain values.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong, 0, 0, 0) };
    }
    let _ = found;
}

/// A credential by its name, or an address with a password in it (`http://me:secret@proxy`).
fn is_secret(name: &str, value: &str) -> bool {
    let holds_password = value.split_once("://").is_some_and(|(_, rest)| {
        rest.split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
    });
    is_credential(name) || holds_password
}

/// Names and values of the credentials in the environment, whose bytes are zeros afterwards.
///
/// # Safety
/// No other thread exists, and each entry is replaced before it is read again.
#[cfg(unix)]
unsafe fn first_block() -> Vec<(String, String)> {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    let mut found = Vec::new();
    // SAFETY: `environ` is a list of strings that ends in a null pointer; each string lies in memory of this process that can be
    // written, since programs may change it (`putenv`).
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            let entry = *at;
            at = at.add(1);
            let text = std::ffi::CStr::from_ptr(entry).to_bytes();
            let Some(split) = text.iter().position(|b| *b == b'=') else {
                continue;
            };
            let (name, value) = (&text[..split], &text[split + 1..]);
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
            else {
                continue;
            };
            if name.is_empty() || value.is_empty() || !is_secret(name, value) {
                continue;
            }
            found.push((name.to_owned(), value.to_owned()));
            let (first, length) = (split + 1, value.len());
            for i in 0..length {
                entry.add(first + i).write_volatile(0);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn case_53_what_is_hidden() {
        for (name, value, expected) in [
            ("REPRO_SIGNING_KEY", "x", true),
            ("REPRO_KEY_PASSPHRASE", "x", true),
            ("HTTPS_PROXY", "http://me:secret@proxy:80/", true),
            ("HTTPS_PROXY", "http://proxy:80/a@b", false),
            ("REPRO_STORE", "/tmp/store", false),
        ] {
            assert_eq!(is_secret(name, value), expected, "{name}");
        }
    }
}

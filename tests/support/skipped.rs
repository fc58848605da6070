//! A test that cannot run here, or only in part, says so where the test harness does not capture
//! it: `.ci/run` counts and names these lines.

use std::fmt::Display;
use std::io::Write as _;

/// `why` names what is missing: "strace is not installed".
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

//! What git answers about the repository that a project lies in. Reads only.

use std::path::Path;
use std::process::{Command, Stdio};

/// The standard output of git in a directory; `None` where there is no git, no repository, or
/// nothing of that name. Nothing is asked of the user, and no program that the repository names is
/// started.
pub fn ask(dir: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["--no-pager", "-c", "core.fsmonitor=false"])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

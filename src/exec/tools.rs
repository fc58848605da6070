//! The versions of declared tools: what goes into the key of a command that uses them.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};

use super::process::{self, Said, Stop};
use super::searched;
use crate::plan::Tool;

/// A version command takes milliseconds; one that hangs is stopped.
const TIMEOUT: Duration = Duration::from_secs(30);
/// More than this is no version.
const VERSION_BYTES: usize = 16 << 10;

/// What the tool says its version is, white space at the ends removed: standard output, or standard error where that is
/// empty (`java -version`). Asked once per process.
///
/// # Errors
/// When the program is missing, fails, hangs, or says nothing.
pub fn tool_version(tool: &Tool) -> anyhow::Result<String> {
    static KNOWN: Mutex<Option<HashMap<Vec<String>, String>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known().as_ref().and_then(|k| k.get(&tool.version_command)) {
        return Ok(version.clone());
    }
    let version = ask(&tool.version_command)
        .with_context(|| format!("the version of tool `{}` cannot be found out", tool.program))?;
    known()
        .get_or_insert_default()
        .insert(tool.version_command.clone(), version.clone());
    Ok(version)
}

fn ask(words: &[String]) -> anyhow::Result<String> {
    let Some((program, arguments)) = words.split_first() else {
        bail!("its version command is empty")
    };
    let shown = words.join(" ");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("PATH", searched::path())
        .env("LANG", "C.UTF-8")
        .env_remove("LC_ALL");
    // Not the project: version managers look for their settings upwards from here, and a command cannot see those.
    command.current_dir(std::env::temp_dir());
    let answer = process::ask(command, None, TIMEOUT, VERSION_BYTES);
    let Said { ended, out, err } = match answer {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("`{program}` is not on PATH; install it, or correct `tools:`")
        }
        other => other.with_context(|| format!("`{shown}` cannot be run"))?,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ended.stopped == Some(Stop::TimedOut) {
        bail!("`{shown}` did not end within {} s", TIMEOUT.as_secs());
    }
    if !ended.status.success() {
        bail!("`{shown}` failed ({}): {}", ended.status, text(&err));
    }
    let version = if text(&out).is_empty() {
        text(&err)
    } else {
        text(&out)
    };
    if version.is_empty() {
        bail!("`{shown}` says nothing; name another command under `version:`");
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(words: &[&str]) -> Tool {
        Tool {
            program: words[0].into(),
            version_command: words.iter().map(|w| (*w).to_owned()).collect(),
        }
    }

    #[test]
    fn versions_and_their_absence() {
        assert_eq!(
            tool_version(&tool(&["sh", "-c", "echo ' 1.2 '"])).unwrap(),
            "1.2"
        );
        assert_eq!(
            tool_version(&tool(&["sh", "-c", "echo 3 >&2"])).unwrap(),
            "3"
        );
        let message = |words: &[&str]| format!("{:#}", tool_version(&tool(words)).unwrap_err());
        assert!(message(&["no-such-tool-here", "--version"]).contains("is not on PATH"));
        assert!(message(&["sh", "-c", "echo why >&2; exit 2"]).contains("why"));
        assert!(message(&["true"]).contains("says nothing"));
    }
}

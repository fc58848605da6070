//! The versions of declared tools: what goes into the key of a command that uses them.
//!
//! `python3 --version` asks a program of the machine, and every command may do that. Another
//! version command, or a program that lies in the project, is the project's code: who only looks
//! goes by what a run has heard.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use super::asking::{self, Answer, Asking, Memory, Question, Stamp, TIMEOUT};
use super::process::{Said, Stop};
use super::searched;
use crate::plan::Tool;

/// More than this is no version.
const VERSION_BYTES: usize = 16 << 10;

/// Version command → version, and how the program looked before it was asked.
type Known = HashMap<Vec<String>, (String, Option<Stamp>)>;

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known(words: &[String]) -> Option<(String, Option<Stamp>)> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.as_ref()?.get(words).cloned()
}

/// A version, and what is to be said about it.
pub struct Version {
    /// What the tool says its version is.
    pub text: String,
    /// It may be out of date, and why.
    pub doubt: Option<String>,
}

/// The version of a tool that may not be asked, and that no run has asked.
#[derive(Debug, thiserror::Error)]
#[error(
    "the version of tool `{0}` is not known here: its `version:` runs code of the project, and this command runs none; \
     `repro run` asks it"
)]
pub struct Unasked(String);

/// What the tool says its version is, white space at the ends removed: standard output, or standard
/// error where that is empty (`java -version`). Asked once per process.
///
/// # Errors
/// When the program is missing, fails, hangs, or says nothing; [`Unasked`] when it may not be asked
/// and no run has asked it.
pub fn tool_version(
    tool: &Tool,
    asking: Asking,
    memory: &Memory,
    project_root: &Path,
) -> anyhow::Result<Version> {
    let certain = |text| Version { text, doubt: None };
    if let Some((version, _)) = known(&tool.version_command) {
        return Ok(certain(version));
    }
    let words: Vec<&[u8]> = tool.version_command.iter().map(|w| w.as_bytes()).collect();
    let name = Memory::name("version of a tool", &words);
    let stamp = stamp(tool);
    let program = serde_json::to_string(&stamp)?;
    if asking == Asking::Memory && !is_of_the_machine(tool, stamp.as_ref(), project_root) {
        let Some(answer) = memory.get(&name) else {
            return Err(Unasked(tool.program.clone()).into());
        };
        let doubt = (answer.program != program).then(|| {
            format!(
                "the tool `{}` has changed since a run asked its version: the states of its stages are certain only after `repro run`",
                tool.program
            )
        });
        let text = answer.text;
        return Ok(Version { text, doubt });
    }
    let version = ask(&tool.version_command, project_root).with_context(|| {
        format!(
            "the version of tool `{}` cannot be determined",
            tool.program
        )
    })?;
    let text = version.clone();
    memory.set(name, Answer { program, text });
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    all.get_or_insert_default()
        .insert(tool.version_command.clone(), (version.clone(), stamp));
    Ok(certain(version))
}

/// The program is the file that was asked for its version, unchanged.
pub fn is_tool_as_asked(tool: &Tool) -> bool {
    known(&tool.version_command).is_none_or(|(_, asked)| asked == stamp(tool))
}

fn stamp(tool: &Tool) -> Option<Stamp> {
    searched::find(&tool.program).and_then(|path| Stamp::of(&path))
}

/// `PROGRAM --version`, of a program outside the project.
fn is_of_the_machine(tool: &Tool, stamp: Option<&Stamp>, project_root: &Path) -> bool {
    let root = project_root.canonicalize();
    let is_plain = matches!(tool.version_command.as_slice(), [program, flag] if *program == tool.program && flag.starts_with('-'));
    is_plain && stamp.is_none_or(|s| root.is_ok_and(|root| !s.real().starts_with(root)))
}

fn ask(words: &[String], project_root: &Path) -> anyhow::Result<String> {
    let Some(program) = words.first() else {
        bail!("its version command is empty")
    };
    let shown = words.join(" ");
    let answer = asking::ask(&Question {
        words: &words.iter().map(String::as_str).collect::<Vec<_>>(),
        input: &[],
        read: &[project_root],
        project_root,
        home: std::env::home_dir().as_deref(),
        bytes_max: VERSION_BYTES,
    });
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
        bail!("`{shown}` prints nothing; name another command under `version:`");
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

    fn version(words: &[&str]) -> anyhow::Result<String> {
        let root = std::env::temp_dir();
        let asked = tool_version(&tool(words), Asking::Programs, &Memory::none(), &root);
        asked.map(|v| v.text)
    }

    #[test]
    fn versions_and_their_absence() {
        assert_eq!(version(&["sh", "-c", "echo ' 1.2 '"]).unwrap(), "1.2");
        assert_eq!(version(&["sh", "-c", "echo 3 >&2"]).unwrap(), "3");
        let message = |words: &[&str]| format!("{:#}", version(words).unwrap_err());
        assert!(message(&["no-such-tool-here", "--version"]).contains("is not on PATH"));
        assert!(message(&["sh", "-c", "echo why >&2; exit 2"]).contains("why"));
        assert!(message(&["true"]).contains("prints nothing"));
    }
}

//! Calls to programs of a batch system: they end, whatever the controller does.
//!
//! What they write goes to files, so that one that hangs while it writes hangs nobody. Knows no
//! batch system.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The longest answer that is read.
const BYTES_MAX: u64 = 64 << 20;

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// It says it did well.
    pub is_ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// What it complained of, in one line.
    pub fn complaint(&self) -> String {
        let text = if self.err.trim().is_empty() {
            &self.out
        } else {
            &self.err
        };
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        lines.join("; ").chars().take(400).collect()
    }
}

/// Calls a program, with `input` on its standard input, and waits no longer than `patience`.
///
/// # Errors
/// It is not there, or did not end: in words.
pub fn call(words: &[String], input: &str, patience: Duration) -> Result<Answer, String> {
    let Some((program, args)) = words.split_first() else {
        return Err("there is nothing to call".to_owned());
    };
    let failed = |e: std::io::Error| format!("`{program}` cannot be called: {e}");
    let mut given = tempfile::tempfile().map_err(failed)?;
    given.write_all(input.as_bytes()).map_err(failed)?;
    given.seek(SeekFrom::Start(0)).map_err(failed)?;
    let (mut out, mut err) = (
        tempfile::tempfile().map_err(failed)?,
        tempfile::tempfile().map_err(failed)?,
    );
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::from(given))
        .stdout(Stdio::from(out.try_clone().map_err(failed)?))
        .stderr(Stdio::from(err.try_clone().map_err(failed)?))
        .spawn()
        .map_err(failed)?;
    let begun = Instant::now();
    let mut pause = Duration::from_millis(2);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if begun.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "`{program}` did not answer within {} s",
                patience.as_secs()
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    Ok(Answer {
        is_ok: status.success(),
        out: text(&mut out).map_err(failed)?,
        err: text(&mut err).map_err(failed)?,
    })
}

fn text(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &str, patience_ms: u64) -> Result<Answer, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        call(&words, input, Duration::from_millis(patience_ms))
    }

    #[test]
    fn what_is_called_answers_or_is_given_up() {
        let answer = sh("cat; echo b >&2; exit 3", "a\n", 60_000).unwrap();
        assert_eq!(
            (answer.is_ok, &*answer.out, &*answer.err),
            (false, "a\n", "b\n")
        );
        assert_eq!(answer.complaint(), "b");
        let hung = sh("exec sleep 1000", "", 50).unwrap_err();
        assert!(hung.contains("did not answer"), "{hung}");
        let none = call(
            &["/nonexistent/squeue".to_owned()],
            "",
            Duration::from_secs(9),
        );
        assert!(none.unwrap_err().contains("cannot be called"));
    }
}

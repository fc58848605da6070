//! The log of one execution: a file, the last lines in memory, and a live view.
//!
//! Memory stays bounded whatever a process writes: lines are cut at [`LINE_BYTES`], the tail holds
//! [`TAIL_LINES`] lines, and the file stops growing at [`FILE_BYTES`] (it says so and ends with the
//! tail). Bytes that are no UTF-8 reach the file unchanged and the tail as replacement characters.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::secrets::Mask;

/// Lines kept for a failure message.
pub const TAIL_LINES: usize = 40;
/// A longer line is split in the tail and the live view.
pub const LINE_BYTES: usize = 4096;
/// The file grows no further than this, but for the tail.
pub const FILE_BYTES: u64 = 256 << 20;

/// An open log.
pub struct Log {
    file: File,
    limit_bytes: u64,
    written_bytes: u64,
    cut: bool,
    tail: VecDeque<String>,
    partial: Vec<u8>,
    error: Option<io::Error>,
    mask: Mask,
}

impl Log {
    /// Starts a new log at `path`.
    pub fn create(path: &Path) -> io::Result<Log> {
        Log::with_limit(path, FILE_BYTES)
    }

    pub(super) fn with_limit(path: &Path, limit_bytes: u64) -> io::Result<Log> {
        let file = File::create(path)?;
        let tail = VecDeque::with_capacity(TAIL_LINES);
        Ok(Log {
            file,
            limit_bytes,
            written_bytes: 0,
            cut: false,
            tail,
            partial: Vec::new(),
            error: None,
            mask: Mask::default(),
        })
    }

    /// Nothing this mask hides reaches the file, the tail or the live view.
    pub fn masked_by(mut self, mask: Mask) -> Log {
        self.mask = mask;
        self
    }

    /// Takes a piece of output. `live` gets the lines that ended in it, at most [`TAIL_LINES`].
    ///
    /// A write error (a full disk) is kept for [`Log::finish`]: the process goes on, and its tail
    /// is still known.
    pub fn append(&mut self, bytes: &[u8], live: &mut dyn FnMut(&str)) {
        let mut mask = std::mem::take(&mut self.mask);
        self.take(&mask.feed(bytes), live);
        self.mask = mask;
    }

    fn take(&mut self, bytes: &[u8], live: &mut dyn FnMut(&str)) {
        if !self.cut && self.error.is_none() {
            let room = usize::try_from(self.limit_bytes - self.written_bytes)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.error = self.file.write_all(&bytes[..room]).err();
            self.written_bytes += room as u64;
            self.cut = room < bytes.len();
        }
        let mut fresh = 0;
        for piece in bytes.split_inclusive(|&b| b == b'\n' || b == b'\r') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (piece, false),
            };
            let mut rest = text;
            while self.partial.len() + rest.len() > LINE_BYTES {
                let (head, after) = rest.split_at(LINE_BYTES - self.partial.len());
                self.partial.extend_from_slice(head);
                fresh += self.end_line();
                rest = after;
            }
            self.partial.extend_from_slice(rest);
            if ended {
                fresh += self.end_line();
            }
        }
        for line in self
            .tail
            .iter()
            .skip(self.tail.len() - fresh.min(self.tail.len()))
        {
            live(line);
        }
    }

    /// Moves the open line to the tail; an empty one (the `\n` after a `\r`) is nothing.
    fn end_line(&mut self) -> usize {
        if self.partial.is_empty() {
            return 0;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail
            .push_back(String::from_utf8_lossy(&self.partial).into_owned());
        self.partial.clear();
        1
    }

    /// Ends the log and returns its tail.
    ///
    /// # Errors
    /// The first error in writing the file.
    pub fn finish(mut self) -> (Vec<String>, io::Result<()>) {
        let held = self.mask.finish();
        self.take(&held, &mut |_| {});
        self.end_line();
        if self.cut && self.error.is_none() {
            let mut end = format!(
                "\n[repro: the log was cut at {} bytes; its last lines follow]\n",
                self.limit_bytes
            );
            for line in &self.tail {
                end.push_str(line);
                end.push('\n');
            }
            self.error = self.file.write_all(end.as_bytes()).err();
        }
        (self.tail.into(), self.error.map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_tolerant() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::with_limit(&dir.path().join("log"), 1000).unwrap();
        let mut seen = Vec::new();
        log.append(b"one\r\ntwo\xff", &mut |l| seen.push(l.to_owned()));
        assert_eq!(seen, ["one"]);
        log.append(b"!\n", &mut |l| seen.push(l.to_owned()));
        assert_eq!(seen, ["one", "two\u{fffd}!"]);
        log.append(&vec![b'x'; 3 * LINE_BYTES + 5], &mut |_| {});
        for i in 0..200 {
            log.append(format!("line {i}\n").as_bytes(), &mut |_| {});
        }
        let (tail, result) = log.finish();
        result.unwrap();
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.last().unwrap(), "line 199");
        let text = std::fs::read(dir.path().join("log")).unwrap();
        assert!(text.starts_with(b"one\r\ntwo\xff!\n") && text.ends_with(b"line 199\n"));
        assert!(text.len() < 2500, "{}", text.len());
    }
}

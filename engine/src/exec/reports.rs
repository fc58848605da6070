//! What a reaper and the program say to one another, and the socket they say it through.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What the program tells the reaper.
#[derive(Clone, Copy)]
pub enum Order {
    /// SIGTERM to all; who stopped itself goes on, to hear it.
    Terminate = b'T' as isize,
    /// SIGKILL to all.
    Kill = b'K' as isize,
}

/// What the reaper tells the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A process has been stopped (SIGSTOP and its like) for a while.
    Stopped {
        /// Which.
        pid: i32,
    },
    /// All is over.
    Ended(End),
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The command's process number, which nobody has any more.
    pub leader: i32,
    /// The command's, as `wait` gives it.
    pub status: i32,
    /// A process that could not be ended.
    pub left: Option<i32>,
    /// User and system time of all that were waited for.
    pub cpu: Duration,
    /// The largest resident set of any one process, in the unit of `getrusage`.
    pub max_rss: u64,
}

pub(super) const RECORD: usize = 40;

/// A report as bytes.
pub(super) fn encode(report: Report) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let mut word = |at: usize, value: i32| {
        record[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    match report {
        Report::Stopped { pid } => {
            word(0, 1);
            word(4, pid);
        }
        Report::Ended(end) => {
            word(0, 2);
            word(4, end.left.unwrap_or(0));
            word(8, end.status);
            word(12, end.leader);
            let us = end.cpu.as_micros() as u64;
            record[16..24].copy_from_slice(&us.to_le_bytes());
            record[24..32].copy_from_slice(&end.max_rss.to_le_bytes());
        }
    }
    record
}

pub(super) fn decode(record: &[u8; RECORD]) -> Option<Report> {
    let word = |at: usize| -> i32 {
        i32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
    };
    let long = |at: usize| record[at..at + 8].try_into().map(u64::from_le_bytes);
    let pid = word(4);
    match word(0) {
        1 => Some(Report::Stopped { pid }),
        2 => Some(Report::Ended(End {
            leader: word(12),
            status: word(8),
            left: (pid > 0).then_some(pid),
            cpu: Duration::from_micros(long(16).ok()?),
            max_rss: long(24).ok()?,
        })),
        _ => None,
    }
}

/// The program's end of the line.
pub struct Line {
    socket: UnixStream,
    record: [u8; RECORD],
    filled: usize,
}

impl Line {
    /// A line and the reaper's end of it, for [`stand_between`].
    pub fn new() -> io::Result<(Line, UnixStream)> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let line = Line {
            socket,
            record: [0; RECORD],
            filled: 0,
        };
        Ok((line, theirs))
    }

    /// Ready when there is something to [`Line::hear`].
    pub fn fd(&self) -> RawFd {
        use std::os::fd::AsRawFd;
        self.socket.as_raw_fd()
    }

    /// Gives an order. A reaper that is gone needs none.
    pub fn tell(&self, order: Order) {
        let _ = (&self.socket).write(&[order as u8]);
    }

    /// Has everything killed, and waits until the reaper is gone.
    pub fn close(mut self) {
        let quiet = self.socket.shutdown(Shutdown::Write).is_ok()
            && self.socket.set_nonblocking(false).is_ok();
        while quiet && self.hear().is_ok() {}
    }

    /// The next report; `None` when there is none yet.
    ///
    /// # Errors
    /// `UnexpectedEof`: the reaper was killed.
    pub fn hear(&mut self) -> io::Result<Option<Report>> {
        loop {
            match self.socket.read(&mut self.record[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            }
            if self.filled == RECORD {
                self.filled = 0;
                return Ok(decode(&self.record));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_pass_through_the_line() {
        let (mut line, theirs) = Line::new().unwrap();
        assert_eq!(line.hear().unwrap(), None);
        let end = End {
            leader: 5,
            status: 256,
            left: Some(7),
            cpu: Duration::from_millis(1500),
            max_rss: 42,
        };
        let record = encode(Report::Ended(end));
        (&theirs).write_all(&record[..11]).unwrap();
        assert_eq!(line.hear().unwrap(), None, "half a record is none");
        (&theirs).write_all(&record[11..]).unwrap();
        let stopped = encode(Report::Stopped { pid: 9 });
        (&theirs).write_all(&stopped).unwrap();
        assert_eq!(line.hear().unwrap(), Some(Report::Ended(end)));
        assert_eq!(line.hear().unwrap(), Some(Report::Stopped { pid: 9 }));
        drop(theirs);
        assert!(line.hear().is_err());
    }
}

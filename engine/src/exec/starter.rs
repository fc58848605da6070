//! The starter: one small process per run from which the processes of stages are forked.
//!
//! A fork copies the page tables of the process that forks, and after it every page that one
//! writes. An execution takes two forks, one for its [`reaper`](super::reaper) and one for the
//! command: of a program that holds a plan of 100,000 instances that is 24 ms of the kernel's time
//! per execution, of this process it is less than one.
//!
//! The program sends what it wants started ([`Start`]) with the open files it needs ([`Handles`])
//! over a socket, one at a time, and hears a number: 0, or that of the system's error. What was
//! started hangs on its line to the program, not on this process: it lives on when this one is
//! killed, and the [`spawner`](super::spawner) then forks from the program.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::start::{Handles, Nursery, Start};

/// The program's side of the socket, and whether the starter has said that it is one.
static STARTER: Mutex<Option<Starter>> = Mutex::new(None);

/// What it says once, before the first order.
const READY: [u8; 4] = *b"ok\r\n";
/// The most open files that go with an order.
const HANDLES_MAX: usize = 6;

struct Starter {
    socket: UnixStream,
    is_ready: bool,
}

/// Which of the [`Handles`] that may be missing are there; `out`, `err` and `line` come first.
#[derive(Serialize, Deserialize)]
struct Shape {
    input: bool,
    ruleset: bool,
    keeper: bool,
}

/// Starts the starter of this process: `command` must end up in [`main`] (`EXECUTABLE starter`).
/// Once per process; later calls do nothing. Executions work without it, at a higher price.
///
/// # Errors
/// When the process cannot be started.
pub fn start(mut command: Command) -> io::Result<()> {
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if starter.is_some() {
        return Ok(());
    }
    let (socket, theirs) = UnixStream::pair()?;
    // Its own group: Ctrl-C on the terminal goes to the program alone. Root directory: it holds no
    // mount busy.
    command
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()?;
    let is_ready = false;
    *starter = Some(Starter { socket, is_ready });
    Ok(())
}

/// What became of an order to the starter.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each process that is started"
)]
pub enum Asked {
    /// It was carried out, or could not be; what [`Start::begin`] says.
    Done(io::Result<()>),
    /// There is no starter, and nothing was started.
    Nobody(Start, Handles),
}

/// Lets the starter start a process.
pub fn ask(start: Start, handles: Handles, patience: Duration) -> Asked {
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(there) = &mut *starter else {
        return Asked::Nobody(start, handles);
    };
    if !there.is_ready {
        if there.hear(patience).ok() != Some(READY) {
            *starter = None;
            return Asked::Nobody(start, handles);
        }
        there.is_ready = true;
    }
    if there.order(&start, &handles, patience).is_err() {
        // Of an order that did not arrive whole nothing was started.
        *starter = None;
        return Asked::Nobody(start, handles);
    }
    match there.hear(patience) {
        Ok(said) => Asked::Done(match i32::from_le_bytes(said) {
            0 => Ok(()),
            number => Err(io::Error::from_raw_os_error(number)),
        }),
        Err(e) => {
            *starter = None;
            // Whatever it has started ends with its line, which nobody holds on to.
            let said = format!("the process that starts stages does not answer: {e}");
            Asked::Done(Err(io::Error::new(e.kind(), said)))
        }
    }
}

impl Starter {
    fn order(&mut self, start: &Start, handles: &Handles, patience: Duration) -> io::Result<()> {
        let mut files = vec![
            handles.out.as_fd(),
            handles.err.as_fd(),
            handles.line.as_fd(),
        ];
        let more = [&handles.input, &handles.ruleset, &handles.keeper];
        files.extend(more.into_iter().flatten().map(AsFd::as_fd));
        let shape = Shape {
            input: handles.input.is_some(),
            ruleset: handles.ruleset.is_some(),
            keeper: handles.keeper.is_some(),
        };
        let text = postcard::to_stdvec(&(shape, start)).map_err(io::Error::other)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.socket.set_write_timeout(Some(patience))?;
        send_with(&self.socket, &length.to_le_bytes(), &files)?;
        self.socket.write_all(&text)
    }

    fn hear(&mut self, patience: Duration) -> io::Result<[u8; 4]> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut said = [0; 4];
        self.socket.read_exact(&mut said)?;
        Ok(said)
    }
}

/// The starter's whole life; what the hidden subcommand runs.
pub fn main() -> ExitCode {
    // SAFETY: standard input is this process's own, and nothing else here uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(io::stdin().as_raw_fd()) };
    let mut socket = UnixStream::from(socket);
    let mut nursery = Nursery::default();
    let mut said = READY;
    // A program that is gone is no error.
    while socket.write_all(&said).is_ok() {
        let Ok((start, handles)) = receive(&mut socket) else {
            break;
        };
        let number = match nursery.begin(start, handles) {
            Ok(()) => 0,
            Err(e) => e.raw_os_error().unwrap_or(libc::EINVAL),
        };
        said = number.to_le_bytes();
    }
    ExitCode::SUCCESS
}

fn receive(socket: &mut UnixStream) -> io::Result<(Start, Handles)> {
    let mut length = [0; 4];
    let mut files = receive_with(socket, &mut length)?.into_iter();
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut text)?;
    let (shape, start): (Shape, Start) = postcard::from_bytes(&text).map_err(io::Error::other)?;
    let mut next = || files.next().ok_or(io::ErrorKind::InvalidData);
    let (out, err, line) = (next()?, next()?, next()?);
    let mut next_if = |there: bool| there.then(&mut next).transpose();
    let handles = Handles {
        out,
        err,
        line,
        input: next_if(shape.input)?,
        ruleset: next_if(shape.ruleset)?,
        keeper: next_if(shape.keeper)?,
    };
    Ok((start, handles))
}

/// Sends a few bytes, and open files with them.
fn send_with(socket: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let slices = [IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(socket, &slices, &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Fills `bytes`, and takes the open files that come with them.
fn receive_with(socket: &UnixStream, bytes: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(bytes)];
    let flags = RecvFlags::WAITALL;
    let received = loop {
        match rustix::net::recvmsg(socket, &mut slices, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            files.extend(fds);
        }
    }
    for file in &files {
        // Nothing is forked between the line above and this one.
        rustix::io::fcntl_setfd(file, FdFlags::CLOEXEC)?;
    }
    if received.bytes == bytes.len() {
        Ok(files)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

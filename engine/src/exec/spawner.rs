//! The thread that starts every child process.
//!
//! `PR_SET_PDEATHSIG` sends its signal when the *thread* that forked ends, not the process. A child
//! started from a scheduler's thread would be killed when that thread goes; this thread lives as
//! long as the program.
//!
//! One thread, one child at a time, also spares a race: between fork and exec a child holds every
//! file the program has open, among them the script another thread is just writing, and running
//! that script would fail as "text file busy". Here a fork comes only after the exec of the child
//! before.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starting a program takes milliseconds. One that takes so long has met a fault of the system.
const PATIENCE: Duration = Duration::from_secs(15);

/// Starts `command` on the spawner thread. The command, with the pipe ends it holds, is dropped
/// once it runs.
///
/// # Errors
/// What [`Command::spawn`] says; [`io::ErrorKind::TimedOut`] when the system neither starts it nor
/// says why not. The thread that waits for it is left behind then, and the next command gets a new
/// one.
pub fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: Mutex<Option<Sender<Order>>> = Mutex::new(None);
    let current = || ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = || io::Error::other("the spawner thread has ended");
    let (reply, answer) = sync_channel(1);
    {
        let mut orders = current();
        let sender = match &*orders {
            Some(sender) => sender.clone(),
            None => orders.insert(start()?).clone(),
        };
        sender.send((command, reply)).map_err(|_| {
            *orders = None;
            gone()
        })?;
    }
    match answer.recv_timeout(PATIENCE) {
        Ok(child) => child,
        Err(RecvTimeoutError::Disconnected) => {
            *current() = None;
            Err(gone())
        }
        Err(RecvTimeoutError::Timeout) => {
            *current() = None;
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it has not begun after {} s", PATIENCE.as_secs()),
            ))
        }
    }
}

fn start() -> io::Result<Sender<Order>> {
    let (sender, receiver) = channel::<Order>();
    crate::watched::spawn("spawner", move || {
        for (mut command, reply) in receiver {
            let child = command.spawn();
            drop(command);
            // Who asked may have given up.
            if let Err(SendError(Ok(mut child))) = reply.send(child) {
                let _ = child.kill().and_then(|()| child.wait());
            }
        }
    })?;
    Ok(sender)
}

//! The thread that has every process of a stage started: by the [`starter`], or by itself where
//! there is none.
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
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::start::{Handles, Nursery, Start};
use super::starter::{self, Asked};

type Order = (Start, Handles, SyncSender<io::Result<()>>);

/// Starting a program takes milliseconds. One that takes so long has met a fault of the system.
const PATIENCE: Duration = Duration::from_secs(15);

/// Has a process started. This program's copies of its handles are closed once it runs.
///
/// # Errors
/// What [`Start::begin`] says; [`io::ErrorKind::TimedOut`] when the system neither starts it nor
/// says why not. The thread that waits for it is left behind then, and the next process gets a new
/// one.
pub fn spawn(start: Start, handles: Handles) -> io::Result<()> {
    static ORDERS: Mutex<Option<Sender<Order>>> = Mutex::new(None);
    let current = || ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = || io::Error::other("the spawner thread has ended");
    let (reply, answer) = sync_channel(1);
    {
        let mut orders = current();
        let sender = match &*orders {
            Some(sender) => sender.clone(),
            None => orders.insert(listen()?).clone(),
        };
        sender.send((start, handles, reply)).map_err(|_| {
            *orders = None;
            gone()
        })?;
    }
    match answer.recv_timeout(PATIENCE) {
        Ok(started) => started,
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

fn listen() -> io::Result<Sender<Order>> {
    let (sender, receiver) = channel::<Order>();
    crate::watched::spawn("spawner", move || {
        let mut nursery = Nursery::default();
        for (start, handles, reply) in receiver {
            let started = match starter::ask(start, handles, PATIENCE) {
                Asked::Done(started) => started,
                Asked::Nobody(start, handles) => nursery.begin(start, handles),
            };
            // Who asked may have given up; its line is closed then, and ends what was started.
            let _ = reply.send(started);
        }
    })?;
    Ok(sender)
}

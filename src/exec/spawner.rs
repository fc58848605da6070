//! The thread that starts every child process.
//!
//! `PR_SET_PDEATHSIG` sends its signal when the *thread* that forked ends, not the process. A child started from a
//! scheduler's thread would be killed when that thread goes; this thread lives as long as the program.
//!
//! One thread, one child at a time, also spares a race: between fork and exec a child holds every file the program has
//! open, among them the script another thread is just writing, and running that script would fail as "text file busy".
//! Here a fork comes only after the exec of the child before.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts `command` on the spawner thread. The command, with the pipe ends it holds, is dropped once it runs.
///
/// # Errors
/// What [`Command::spawn`] says.
pub fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Result<Sender<Order>, io::ErrorKind>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in receiver {
                    let child = command.spawn();
                    drop(command);
                    // The asker waits below; it cannot be gone.
                    let _ = reply.send(child);
                }
            })
            .map(|_| sender)
            .map_err(|e| e.kind())
    });
    let gone = || io::Error::other("the spawner thread has ended");
    let orders = orders.as_ref().map_err(|kind| io::Error::from(*kind))?;
    let (reply, answer) = sync_channel(1);
    orders.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

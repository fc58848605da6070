//! The undertaker: a thread that waits for processes whose end matters to nobody any more.
//!
//! A reaper that has told the end is the last process of its room, and the kernel takes the room
//! apart before it is gone: network, shared memory, every mount, and then a pause until no
//! processor can still be looking at one of them. That can take longer than the command did.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Sender, channel};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

/// Waits for a child of this process on another thread.
pub fn bury(child: i32) {
    static CHILDREN: Mutex<Option<Sender<i32>>> = Mutex::new(None);
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*children {
        Some(sender) => Some(sender.clone()),
        None => start().inspect(|sender| *children = Some(sender.clone())),
    };
    drop(children);
    if sender.is_none_or(|sender| sender.send(child).is_err()) {
        wait_for(child);
    }
}

fn start() -> Option<Sender<i32>> {
    let (sender, receiver) = channel();
    let work = move || receiver.into_iter().for_each(wait_for);
    crate::watched::spawn("undertaker", work).ok()?;
    Some(sender)
}

/// Waits for a child of this process. One that is gone needs no waiting.
pub fn wait_for(child: i32) {
    let Some(child) = Pid::from_raw(child) else {
        return;
    };
    while let Err(Errno::INTR) = rustix::process::waitpid(Some(child), WaitOptions::empty()) {}
}

//! A wave: the same for many things at once, on so many threads. Who waits for it waits no longer
//! than the remote answers: threads that hang are left behind.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::link::Link;

/// Threads of a wave: requests spend their time waiting.
const WIDTH: usize = 32;

/// Does `work` for every item; `each` hears the answers as they come, by position. When the remote
/// hangs, or no answer comes for longer than `patience`, it is given up, and the rest is never
/// answered.
pub(crate) fn wave<T, R>(
    link: &Arc<Link>,
    items: Vec<T>,
    patience: Option<Duration>,
    work: impl Fn(&Arc<Link>, T) -> R + Send + Sync + 'static,
    mut each: impl FnMut(usize, R),
) where
    T: Send + 'static,
    R: Send + 'static,
{
    let width = items.len().min(WIDTH);
    let queue = Arc::new(Mutex::new(items.into_iter().enumerate()));
    let work = Arc::new(work);
    let (answers, heard) = channel();
    link.be_patient(0);
    for _ in 0..width {
        let (queue, work, answers) = (queue.clone(), work.clone(), answers.clone());
        let its_link = link.clone();
        let started = std::thread::Builder::new()
            .name("remote".into())
            .spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(|e| e.into_inner()).next();
                    let Some((position, item)) = next else { return };
                    if answers.send((position, work(&its_link, item))).is_err() {
                        return;
                    }
                }
            });
        if let Err(e) = started {
            // With fewer threads it takes longer; with none at all nothing is answered.
            link.warning(&format!("no thread can be started: {e}"));
            break;
        }
    }
    drop(answers);
    let mut last = Instant::now();
    loop {
        match heard.recv_timeout(Duration::from_millis(200)) {
            Ok((position, answer)) => {
                last = Instant::now();
                each(position, answer);
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout)
                if link.hangs() || patience.is_some_and(|p| last.elapsed() > p) =>
            {
                link.give_up("it does not answer");
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

//! Whose turn it is to change what a project remembers. What is changed is not known here.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::regular::{self, Links};

/// A turn at changing what a project remembers: held for as long as it takes to read, change and
/// write a file.
pub struct Turn(Option<File>);

/// Whoever holds a turn for so long has been stopped in it, or its machine is gone.
const TURN_MAX: Duration = Duration::from_secs(30);

impl Turn {
    /// Waits for the turn, a while. Where there are no locks nobody waits, and of two who write at
    /// the same moment one is first.
    pub fn take(state_dir: &Path) -> Turn {
        let path = state_dir.join("turn");
        let options = &mut File::options();
        options.create(true).append(true);
        let opened = std::fs::create_dir_all(state_dir)
            .and_then(|()| regular::open_with(&path, Links::Refuse, options));
        let Ok(file) = opened else { return Turn(None) };
        let begun = Instant::now();
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            if begun.elapsed() > TURN_MAX {
                return Turn(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Turn(Some(file))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Closing would do it as well, unless closing fails.
            let _ = file.unlock();
        }
    }
}

//! What a terminal writes by itself: after `^C` the cursor is not where the bars left it, and a
//! line of them would stay.

use std::io::{IsTerminal, Stdin};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// While this lives the terminal shows no `^C`.
pub(super) struct Quiet {
    before: Termios,
}

impl Quiet {
    /// `None` if there is nothing to do: no terminal, or a terminal of another job (a job in the
    /// background may not change it).
    pub fn begin() -> Option<Quiet> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let terminal = std::io::stdin();
        if !is_ours(&terminal) {
            return None;
        }
        let before = termios::tcgetattr(&terminal).ok()?;
        if !before.local_modes.contains(LocalModes::ECHOCTL) {
            return None;
        }
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHOCTL;
        termios::tcsetattr(&terminal, OptionalActions::Now, &quiet).ok()?;
        Some(Quiet { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let terminal = std::io::stdin();
        // A terminal that was taken away meanwhile (the job went to the background) must not stop
        // us.
        if is_ours(&terminal) {
            let _ = termios::tcsetattr(&terminal, OptionalActions::Now, &self.before);
        }
    }
}

fn is_ours(terminal: &Stdin) -> bool {
    termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

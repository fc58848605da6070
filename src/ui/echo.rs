//! What a terminal writes by itself: after `^C` the cursor is not where the bars left it, and a
//! line of them would stay.

use std::io::IsTerminal;

/// While this lives the terminal shows no `^C`.
pub(super) struct Quiet {
    before: libc::termios,
}

impl Quiet {
    /// `None` if there is nothing to do: no terminal, or a terminal of another job (a job in the
    /// background may not change it).
    pub fn begin() -> Option<Quiet> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        // SAFETY: termios is plain data for which zero is valid, tcgetattr fills it where it
        // returns 0, and the calls touch no other memory of ours.
        unsafe {
            if libc::tcgetpgrp(libc::STDIN_FILENO) != libc::getpgrp() {
                return None;
            }
            let mut before: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(libc::STDIN_FILENO, &mut before) != 0
                || before.c_lflag & libc::ECHOCTL == 0
            {
                return None;
            }
            let mut quiet = before;
            quiet.c_lflag &= !libc::ECHOCTL;
            let is_set = libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &quiet) == 0;
            is_set.then_some(Quiet { before })
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: as above. A terminal that was taken away meanwhile (the job went to the
        // background) must not stop us.
        unsafe {
            if libc::tcgetpgrp(libc::STDIN_FILENO) == libc::getpgrp() {
                libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &self.before);
            }
        }
    }
}

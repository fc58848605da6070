//! The terminal that bars are drawn on. One that takes nothing any more (it was hung up, its window is closed) must not end
//! the run: what cannot be drawn is not drawn.

use std::io;

use console::Term;
use indicatif::TermLike;

/// Standard error; writing to it never fails.
#[derive(Debug)]
pub(super) struct Patient(Term);

impl Patient {
    pub fn stderr() -> Patient {
        Patient(Term::buffered_stderr())
    }
}

/// Drawing goes on as if it had worked.
fn whatever(_: io::Result<()>) -> io::Result<()> {
    Ok(())
}

impl TermLike for Patient {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        whatever(self.0.move_cursor_up(n))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        whatever(self.0.move_cursor_down(n))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        whatever(self.0.move_cursor_right(n))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        whatever(self.0.move_cursor_left(n))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        whatever(self.0.write_line(text))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        whatever(self.0.write_str(text))
    }

    fn clear_line(&self) -> io::Result<()> {
        whatever(self.0.clear_line())
    }

    fn flush(&self) -> io::Result<()> {
        whatever(self.0.flush())
    }
}

//! The terminal that bars are drawn on. A terminal that takes nothing any more (it was hung up, or
//! its window was closed) must not end the run: what cannot be drawn is skipped.
//!
//! `indicatif` fills every line with spaces to the terminal's width, so that the next text begins
//! in the next row. What the terminal itself writes (`^C`, a key that was pressed) would begin in
//! the next row too, and the line above would never be cleared. So here lines end with a line feed,
//! and the last one with nothing: what is echoed comes after it and is erased with it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use console::Term;
use indicatif::TermLike;

use super::width::columns;

/// Standard error; writing to it never fails.
#[derive(Debug)]
pub(super) struct Patient {
    term: Term,
    /// Texts of the present drawing: in turn a line, and the spaces behind it.
    texts: AtomicUsize,
}

impl Patient {
    pub fn stderr() -> Patient {
        Patient {
            term: Term::buffered_stderr(),
            texts: AtomicUsize::new(0),
        }
    }

    /// The terminal, for anything else than the next text of a drawing.
    fn anew(&self) -> &Term {
        self.texts.store(0, Ordering::Relaxed);
        &self.term
    }
}

/// What is written for the text of this number in a drawing.
fn shown(number: usize, text: &str) -> Option<String> {
    match number {
        0 => Some(text.to_owned()),
        n if n.is_multiple_of(2) => Some(format!("\n{text}")),
        _ => None,
    }
}

/// Drawing continues as if it had worked.
fn whatever(_: io::Result<()>) -> io::Result<()> {
    Ok(())
}

impl TermLike for Patient {
    fn width(&self) -> u16 {
        let usual = || self.term.size().1;
        columns(io::stderr()).unwrap_or_else(usual)
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        whatever(self.anew().move_cursor_up(n))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        whatever(self.anew().move_cursor_down(n))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        whatever(self.anew().move_cursor_right(n))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        whatever(self.anew().move_cursor_left(n))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        whatever(self.anew().write_line(text))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let number = self.texts.fetch_add(1, Ordering::Relaxed);
        match shown(number, text) {
            Some(text) => whatever(self.term.write_str(&text)),
            None => Ok(()),
        }
    }

    fn clear_line(&self) -> io::Result<()> {
        whatever(self.anew().clear_line())
    }

    fn flush(&self) -> io::Result<()> {
        whatever(self.anew().flush())
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn case_26_lines_are_not_filled_with_spaces() {
        let texts = ["first", "     ", "   ", "", "last", "      "];
        let drawn: String = (0..).zip(texts).filter_map(|(n, t)| shown(n, t)).collect();
        assert_eq!(drawn, "first\n   \nlast");
    }
}

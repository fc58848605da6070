//! What reaches a terminal: text from others is made harmless here, and the program goes on when
//! nobody reads it.
//!
//! A log, a file name or a remote's answer may hold escape codes that move the cursor, set the
//! title, or answer in the user's name. Colours pass if the terminal takes them; every other
//! control character is shown as text (`\x1b`). If standard error is closed, full or gone, what is
//! written to it is lost, and nothing else happens. Standard output is what the user asked for, so
//! failing to write it is an error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use repro_engine::trust::Passphrase;

/// Whether a stream takes colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Escape codes.
    On,
    /// Plain text.
    Off,
}

impl Colour {
    /// For a stream of this program: a terminal, unless `NO_COLOR` is set to anything or `TERM` is
    /// `dumb`.
    pub fn of(stream: &impl IsTerminal) -> Colour {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        if stream.is_terminal() && !refused {
            Colour::On
        } else {
            Colour::Off
        }
    }
}

/// Writes a line to standard error; `format!` on the way.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::say(&format!($($text)*)) };
}

/// Writes a text and a line feed to standard error, in one write.
pub fn say(text: &str) {
    let mut line = safe(text, Colour::of(&io::stderr())).into_owned();
    line.push('\n');
    say_bytes(line.as_bytes());
}

/// Writes a question to standard error, without a line feed.
pub fn ask(text: &str) {
    say_bytes(safe(text, Colour::of(&io::stderr())).as_bytes());
}

/// Asks on the terminal without showing what is typed; `None` where there is none.
///
/// # Errors
/// The terminal cannot be read.
pub fn ask_passphrase(question: &str) -> anyhow::Result<Option<Passphrase>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    ask(question);
    let typed = console::Term::stderr().read_secure_line()?;
    Ok(Some(Passphrase::new(&typed)))
}

fn say_bytes(bytes: &[u8]) {
    let mut err = io::stderr().lock();
    // Closed, full or hung up: nobody is there to be told.
    let _ = err.write_all(bytes).and_then(|()| err.flush());
}

/// Shows the warnings of the engine from now on. Logs of its dependencies are not shown.
pub fn tell_warnings() {
    if log::set_logger(&Warnings).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Says a line above what is drawn.
type Above = Box<dyn Fn(&str) + Send>;

static ABOVE: Mutex<Option<Above>> = Mutex::new(None);

/// While something is drawn on standard error, warnings go through this: a line inside a drawing
/// would spoil it.
pub fn say_warnings_above(above: Option<Above>) {
    *ABOVE.lock().unwrap_or_else(|e| e.into_inner()) = above;
}

struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("repro")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("warning: {}", record.args());
            let above = ABOVE.lock().unwrap_or_else(|e| e.into_inner());
            match above.as_ref() {
                Some(above) => above(&line),
                None => say(&line),
            }
        }
    }

    fn flush(&self) {}
}

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct Unwritten(#[from] pub io::Error);

/// Writes a text for people to standard output.
///
/// # Errors
/// It cannot be written: a closed pipe, a full disk.
pub fn print(text: &str) -> Result<(), Unwritten> {
    print_bytes(safe(text, Colour::of(&io::stdout())).as_bytes())
}

/// Writes bytes for programs to standard output, as they are.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Unwritten> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(bytes).and_then(|()| out.flush())?)
}

/// The text without anything that a terminal would obey, except colours.
pub fn safe(text: &str, colour: Colour) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut is_coloured = false;
    while let Some(c) = rest.chars().next() {
        if let Some((code, after)) = colour_code(rest) {
            if colour == Colour::On && is_harmless(code) {
                out.push_str(&rest[..rest.len() - after.len()]);
                is_coloured = !matches!(code, "" | "0");
            }
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' if rest.starts_with('\n') => {}
            // A colour ends with its line, even if the text does not end it.
            '\n' if is_coloured => {
                out.push_str("\x1b[0m\n");
                is_coloured = false;
            }
            c if !is_obeyed(c) => out.push(c),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push_str(&c.escape_unicode().to_string()),
        }
    }
    if is_coloured {
        out.push_str("\x1b[0m");
    }
    Cow::Owned(out)
}

/// Control characters except line feed and tab, and characters that turn the direction of writing,
/// so that a text reads as another.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// `ESC [ numbers m` at the beginning: the numbers, and what follows.
fn colour_code(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix("\x1b[")?;
    let end = inner
        .bytes()
        .position(|b| !b.is_ascii_digit() && b != b';' && b != b':')?;
    (inner.as_bytes()[end] == b'm').then(|| (&inner[..end], &inner[end + 1..]))
}

/// Colours and weights; nothing that blinks or hides.
fn is_harmless(code: &str) -> bool {
    let mut numbers = code.split([';', ':']);
    while let Some(number) = numbers.next() {
        match number.parse::<u8>() {
            Err(_) if number.is_empty() => {}
            Ok(38 | 48) => match numbers.next() {
                Some("5") => drop(numbers.next()),
                Some("2") => drop(numbers.nth(2)),
                _ => return false,
            },
            Ok(0..=4 | 7 | 9 | 22..=24 | 27 | 29..=49 | 90..=107) => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_61_only_colours_pass() {
        for (text, on, off) in [
            ("plain ä\tb\nc", "plain ä\tb\nc", "plain ä\tb\nc"),
            ("a\r\nb", "a\nb", "a\nb"),
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m", "red"),
            (
                "\x1b[1;31mred\nnext",
                "\x1b[1;31mred\x1b[0m\nnext",
                "red\nnext",
            ),
            ("\x1b[38;5;8mx", "\x1b[38;5;8mx\x1b[0m", "x"),
            ("\x1b[38;2;5;8;5mx", "\x1b[38;2;5;8;5mx\x1b[0m", "x"),
            // Hidden and blinking text, the screen, the title, the cursor, C1 controls, a bell, an
            // escape at the end.
            ("\x1b[8mx\x1b[0;5my", "xy", "xy"),
            ("\x1b[2J", "\\x1b[2J", "\\x1b[2J"),
            ("\x1b]0;t\x07", "\\x1b]0;t\\x07", "\\x1b]0;t\\x07"),
            ("a\x1b[1A\rb", "a\\x1b[1A\\x0db", "a\\x1b[1A\\x0db"),
            ("\u{9b}31m\x7f", "\\x9b31m\\x7f", "\\x9b31m\\x7f"),
            ("\u{202e}x", "\\u{202e}x", "\\u{202e}x"),
            ("\x1b", "\\x1b", "\\x1b"),
            ("\x1b[", "\\x1b[", "\\x1b["),
            ("\x1b[31", "\\x1b[31", "\\x1b[31"),
        ] {
            assert_eq!(safe(text, Colour::On), on, "{text:?}");
            assert_eq!(safe(text, Colour::Off), off, "{text:?}");
        }
    }
}

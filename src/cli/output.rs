//! How results reach standard output: a closed pipe becomes an error that `main` takes for "seen
//! enough", never a panic.

use serde::Serialize;

use crate::terminal::{self, Colour};

/// Writes a text.
pub fn text(text: &str) -> anyhow::Result<()> {
    Ok(terminal::print(text)?)
}

/// Writes a value as indented JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    Ok(terminal::print_bytes(text.as_bytes())?)
}

/// Whether standard output shows colours.
pub fn colour() -> Colour {
    Colour::of(&std::io::stdout())
}

/// A time of a journal, to the minute, in the user's time zone; unchanged if it cannot be read.
pub fn when(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(time) => time
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M")
            .to_string(),
        Err(_) => at.to_owned(),
    }
}

/// Asks on the terminal. Without a terminal the answer is no.
pub fn confirmed(question: &str) -> anyhow::Result<bool> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    terminal::ask(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

//! How wide a line may be, and texts that are cut to it.

/// Where talk goes to a file, a pipe or CI.
const USUAL: usize = 80;
/// Narrower terminals are written to as if they had this.
const NARROWEST: usize = 40;

/// Characters of a line of standard output: what `COLUMNS` says (0: any number), or else the
/// terminal's width. Programs read and search files and pipes, so nothing is cut there.
pub fn width() -> usize {
    width_of(columns(std::io::stdout()), usize::MAX)
}

/// The same of standard error, which has 80 where there is no terminal.
pub fn width_of_talk() -> usize {
    width_of(columns(std::io::stderr()), USUAL)
}

/// The columns of a terminal that knows how many it has. Some know no rows: a size of 0 is no size,
/// and says nothing of the other.
pub(super) fn columns(terminal: impl std::os::fd::AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}

fn width_of(terminal: Option<u16>, elsewhere: usize) -> usize {
    let said = std::env::var("COLUMNS").ok();
    match (said.and_then(|text| text.trim().parse().ok()), terminal) {
        (Some(0), _) => usize::MAX,
        // The current width of a terminal counts more than what it was at the start.
        (_, Some(columns)) => usize::from(columns).max(NARROWEST),
        (Some(columns), None) => std::cmp::max(columns, NARROWEST),
        (None, None) => elsewhere,
    }
}

/// The text, or its beginning and its end with `…` between them.
pub fn shortened(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    let mut short: String = text.chars().take(head).collect();
    short.push('…');
    short.extend(text.chars().skip(count - tail));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_it_hurts_least() {
        assert_eq!(shortened("train[seed=1]", 13), "train[seed=1]");
        assert_eq!(
            shortened("train[lr=0.1,seed=1]", 13),
            "train[…seed=1]".replace("…seed", "…eed")
        );
        assert_eq!(shortened("abc", 0), "…");
    }
}

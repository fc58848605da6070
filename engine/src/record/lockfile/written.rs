//! The text of the lock file as it is written here: read many times faster than TOML, and block by
//! block. Whatever else TOML allows is not understood here.

use std::borrow::Cow;

use super::{FORMAT, HEADER};
use crate::digest::{Content, Digest};

/// The tables of a block, in the order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Outputs,
    Pins,
}

impl Table {
    const ALL: [Table; 2] = [Table::Outputs, Table::Pins];

    /// How its heading ends.
    pub(super) fn heading_end(self) -> &'static str {
        match self {
            Table::Outputs => ".outputs]",
            Table::Pins => ".pins]",
        }
    }
}

/// The blocks of a text, each without the end of its last line; `None` if it is not written here.
pub(super) fn blocks(text: &str) -> Option<impl Iterator<Item = &str>> {
    let rest = text.strip_prefix(HEADER)?.strip_prefix("version = ")?;
    let (version, rest) = rest.split_once('\n')?;
    if version.parse() != Ok(FORMAT) {
        return None;
    }
    let pieces = match rest.is_empty() {
        true => None,
        false => Some(rest.strip_prefix('\n')?.strip_suffix('\n')?),
    };
    Some(pieces.into_iter().flat_map(|pieces| pieces.split("\n\n")))
}

/// The instance of a block.
pub(super) fn instance(block: &str) -> Option<Cow<'_, str>> {
    let (id, rest) = unquoted(block.strip_prefix("[instance.")?)?;
    rest.starts_with("]\n").then_some(id)
}

/// Goes through a block: what each table holds is told to `entry`, which may refuse. `None` for
/// anything that is not written here.
pub(super) fn walk<'t>(
    block: &'t str,
    mut entry: impl FnMut(Table, Cow<'t, str>, Cow<'t, str>) -> bool,
) -> Option<Digest> {
    let mut lines = block.split('\n').peekable();
    let line = lines.next()?;
    let heading = line.strip_suffix(']')?;
    let (_, end) = unquoted(heading.strip_prefix("[instance.")?)?;
    let (key, after) = unquoted(lines.next()?.strip_prefix("key = ")?)?;
    if !end.is_empty() || !after.is_empty() {
        return None;
    }
    for table in Table::ALL {
        let begins = |line: &&str| line.strip_prefix(heading) == Some(table.heading_end());
        if lines.next_if(begins).is_none() {
            continue;
        }
        // Names are written in order, so a name that is there twice is seen without a map.
        let mut last: Option<Cow<str>> = None;
        while let Some(line) = lines.next_if(|l| !l.starts_with('[')) {
            let (name, rest) = unquoted(line)?;
            let (value, end) = unquoted(rest.strip_prefix(" = ")?)?;
            let in_order = last.as_ref().is_none_or(|last| *last < name);
            let names_content = table != Table::Outputs || Content::named(&value).is_some();
            last = Some(name.clone());
            if !in_order || !names_content || !end.is_empty() || !entry(table, name, value) {
                return None;
            }
        }
        last?;
    }
    match lines.next() {
        Some(_) => None,
        None => key.parse().ok(),
    }
}

/// Writes the beginning of a block, which its tables follow.
pub(super) fn begin(text: &mut String, quoted_id: &str, key: &Digest) {
    text.push_str("[instance.");
    text.push_str(quoted_id);
    text.push_str("]\nkey = \"");
    key.with_hex(|hex| text.push_str(hex));
    text.push('"');
}

/// Writes a table of a block; nothing if it is empty. Entries come in the order of their names.
pub(super) fn table<N: AsRef<str>, V: AsRef<str>>(
    text: &mut String,
    quoted_id: &str,
    table: Table,
    entries: impl IntoIterator<Item = (N, V)>,
) {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_none() {
        return;
    }
    heading(text, quoted_id, table);
    for (name, value) in entries {
        text.push('\n');
        text.push_str(&quoted(name.as_ref()));
        text.push_str(" = ");
        text.push_str(&quoted(value.as_ref()));
    }
}

/// Writes the line that begins a table, after the line before.
pub(super) fn heading(text: &mut String, quoted_id: &str, table: Table) {
    text.push_str("\n[instance.");
    text.push_str(quoted_id);
    text.push_str(table.heading_end());
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    crate::canonical::write_str(text, &mut out);
    // TOML also forbids a bare DEL.
    match out.contains('\u{7f}') {
        true => out.replace('\u{7f}', "\\u007f"),
        false => out,
    }
}

/// The text that begins a line in quotes, and what follows it. Only what [`quoted`] writes.
fn unquoted(line: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = line.strip_prefix('"')?;
    let mut end = inner.find('"')?;
    if inner[..end].contains('\\') {
        let mut escaped = false;
        end = inner.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        })?;
    }
    let (text, rest) = (&inner[..end], &inner[end + 1..]);
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return None;
    }
    if !text.contains('\\') {
        return Some((Cow::Borrowed(text), rest));
    }
    let written = &line[..end + 2];
    // JSON and TOML agree on the escapes that are written, not on all there are.
    let text: String = serde_json::from_str(written)
        .ok()
        .filter(|text: &String| quoted(text) == written)?;
    Some((Cow::Owned(text), rest))
}

//! The common part of YAML, read quickly: a pipeline of thousands of stages is written by a
//! program.
//!
//! Understands maps and lists in both styles, scalars of one line (plain, or quoted without
//! escapes) and comments, in ASCII. For such a text it gives the events of `saphyr-parser`, with
//! their places. It gives up at everything else, and at every mistake: then `saphyr-parser` reads
//! the text from its beginning and says what is wrong.

use saphyr_parser::{Event, ScalarStyle};

/// Reads a document, and gives each event with its place to `take`. `None`: this must be read by
/// the whole parser, or `take` wants no more.
pub fn read<'t>(
    text: &'t str,
    take: impl FnMut(Event<'t>, std::ops::Range<usize>) -> Option<()>,
) -> Option<()> {
    let is_plain = |b: u8| (b == b'\n') | (b' '..0x7f).contains(&b);
    if !text.bytes().fold(true, |all, b| all & is_plain(b)) {
        return None;
    }
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        line: 0,
        take,
    };
    reader.next_line()?;
    match reader.byte() {
        b'{' | b'[' if reader.column() == 0 => {
            reader.flow(None)?;
            reader.end_line()?;
            reader.next_line()?;
        }
        _ if reader.column() == 0 => reader.block(0)?,
        _ => return None,
    }
    (reader.at == text.len()).then_some(())
}

/// A scalar and where it begins and ends.
struct Scalar<'t> {
    text: &'t str,
    style: ScalarStyle,
    from: usize,
    to: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Block,
    Flow,
}

struct Reader<'t, F> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    /// Where the line begins.
    line: usize,
    take: F,
}

impl<'t, F: FnMut(Event<'t>, std::ops::Range<usize>) -> Option<()>> Reader<'t, F> {
    /// The byte at a position; a line break at the end.
    fn byte_at(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(b'\n')
    }

    fn byte(&self) -> u8 {
        self.byte_at(self.at)
    }

    fn column(&self) -> usize {
        self.at - self.line
    }

    fn skip_spaces(&mut self) {
        while self.byte() == b' ' {
            self.at += 1;
        }
    }

    /// From the end of a value to the end of its line: only a comment may stand there.
    fn end_line(&mut self) -> Option<()> {
        self.at = self.after_space(self.at);
        (self.byte() == b'\n').then_some(())
    }

    /// After the spaces that begin there, and the comment that follows them. `saphyr-parser` counts
    /// both to the place of a bracket or of a text in quotes.
    fn after_space(&self, from: usize) -> usize {
        let mut at = from;
        while self.byte_at(at) == b' ' {
            at += 1;
        }
        match self.byte_at(at) == b'#' && at > from {
            true => self.end_of_line(at),
            false => at,
        }
    }

    fn end_of_line(&self, from: usize) -> usize {
        let rest = &self.bytes[from..];
        from + memchr::memchr(b'\n', rest).unwrap_or(rest.len())
    }

    /// From the end or beginning of a line to the next thing that is no comment.
    fn next_line(&mut self) -> Option<()> {
        loop {
            self.skip_spaces();
            match self.byte() {
                b'#' => self.at = self.end_of_line(self.at),
                b'\n' if self.at < self.bytes.len() => {
                    self.at += 1;
                    self.line = self.at;
                }
                _ => break,
            }
        }
        // Marks of documents.
        let is_mark = self.column() == 0
            && matches!(
                self.bytes.get(self.at..),
                Some([b'-' | b'.', b'-' | b'.', b'-' | b'.', ..])
            );
        (!is_mark).then_some(())
    }

    fn block(&mut self, indent: usize) -> Option<()> {
        match self.is_item() {
            true => self.block_list(indent),
            false => self.block_map(indent),
        }
    }

    fn is_item(&self) -> bool {
        self.byte() == b'-' && self.byte_at(self.at + 1) == b' '
    }

    /// Whether a collection that is indented so far goes on after the line.
    fn goes_on(&mut self, indent: usize) -> Option<bool> {
        self.next_line()?;
        if self.at == self.bytes.len() || self.column() < indent {
            return Some(false);
        }
        (self.column() == indent).then_some(true)
    }

    fn block_map(&mut self, indent: usize) -> Option<()> {
        (self.take)(Event::MappingStart(0, None), self.at..self.at)?;
        loop {
            let key = self.scalar(Style::Block)?;
            self.skip_spaces();
            // The longest key that YAML allows before a colon has 1024 characters.
            if !self.is_colon() || self.at - key.from > 1000 {
                return None;
            }
            self.give(key)?;
            self.at += 1;
            self.skip_spaces();
            match self.byte() {
                b'\n' | b'#' => {
                    self.next_line()?;
                    if self.at == self.bytes.len() || self.column() <= indent {
                        return None;
                    }
                    let indent = self.column();
                    self.block(indent)?;
                }
                _ => {
                    self.value(indent)?;
                    self.end_line()?;
                }
            }
            if !self.goes_on(indent)? {
                break;
            }
        }
        (self.take)(Event::MappingEnd, self.at..self.at)
    }

    fn block_list(&mut self, indent: usize) -> Option<()> {
        (self.take)(Event::SequenceStart(0, None), self.at..self.at)?;
        loop {
            if !self.is_item() {
                return None;
            }
            self.at += 1;
            self.skip_spaces();
            let from = self.at;
            // Is it the first key of a map?
            let is_map = !matches!(self.byte(), b'{' | b'[') && {
                self.scalar(Style::Block)?;
                self.skip_spaces();
                self.is_colon()
            };
            self.at = from;
            match is_map {
                true => self.block_map(self.column())?,
                false => {
                    self.value(indent)?;
                    self.end_line()?;
                }
            }
            if !self.goes_on(indent)? {
                break;
            }
        }
        (self.take)(Event::SequenceEnd, self.at..self.at)
    }

    /// A value that begins on the line of its key or dash.
    fn value(&mut self, indent: usize) -> Option<()> {
        match self.byte() {
            b'{' | b'[' => self.flow(Some(indent)),
            _ => {
                let scalar = self.scalar(Style::Block)?;
                self.give(scalar)
            }
        }
    }

    /// A colon that ends a key.
    fn is_colon(&self) -> bool {
        self.byte() == b':' && matches!(self.byte_at(self.at + 1), b' ' | b'\n')
    }

    /// A list or map in brackets, inside a collection that is indented so far.
    fn flow(&mut self, indent: Option<usize>) -> Option<()> {
        let is_map = self.byte() == b'{';
        let begin = match is_map {
            true => Event::MappingStart(0, None),
            false => Event::SequenceStart(0, None),
        };
        self.bracket(begin)?;
        loop {
            self.flow_space(indent)?;
            match (self.byte(), is_map) {
                (b'}', true) => return self.bracket(Event::MappingEnd),
                (b']', false) => return self.bracket(Event::SequenceEnd),
                _ => {
                    if is_map {
                        self.flow_key()?;
                        self.flow_space(indent)?;
                    }
                    match self.byte() {
                        b'{' | b'[' => self.flow(indent)?,
                        _ => {
                            let scalar = self.scalar(Style::Flow)?;
                            self.give(scalar)?;
                        }
                    }
                    self.flow_space(indent)?;
                    match self.byte() {
                        b',' => {
                            self.at += 1;
                            self.flow_space(indent)?;
                            // `saphyr-parser` says that such a map ends with its last comma.
                            if self.byte() == b'}' {
                                return None;
                            }
                        }
                        b'}' | b']' => {}
                        _ => return None,
                    }
                }
            }
        }
    }

    fn bracket(&mut self, event: Event<'t>) -> Option<()> {
        let at = self.at..self.after_space(self.at + 1);
        self.at += 1;
        (self.take)(event, at)
    }

    fn flow_key(&mut self) -> Option<()> {
        let key = self.scalar(Style::Flow)?;
        let is_quoted = key.style != ScalarStyle::Plain;
        self.give(key)?;
        // `{"a":1}`, as in JSON.
        if !(is_quoted && self.byte() == b':') {
            self.skip_spaces();
            if !self.is_colon() {
                return None;
            }
        }
        self.at += 1;
        Some(())
    }

    /// Spaces, lines and comments between brackets.
    fn flow_space(&mut self, indent: Option<usize>) -> Option<()> {
        let line = self.line;
        self.at = self.after_space(self.at);
        if self.byte() == b'\n' {
            self.next_line()?;
        }
        let is_inside = self.line == line || indent.is_none_or(|indent| self.column() > indent);
        (is_inside && self.at < self.bytes.len()).then_some(())
    }

    fn give(&mut self, scalar: Scalar<'t>) -> Option<()> {
        let Scalar {
            text,
            style,
            from,
            to,
        } = scalar;
        (self.take)(Event::Scalar(text.into(), style, 0, None), from..to)
    }

    fn scalar(&mut self, style: Style) -> Option<Scalar<'t>> {
        let from = self.at;
        match self.byte() {
            quote @ (b'"' | b'\'') => {
                let rest = &self.bytes[from + 1..];
                let end = memchr::memchr3(quote, b'\\', b'\n', rest)? + from + 1;
                if self.byte_at(end) != quote || self.byte_at(end + 1) == quote {
                    return None;
                }
                self.at = end + 1;
                Some(Scalar {
                    text: &self.text[from + 1..end],
                    style: match quote {
                        b'"' => ScalarStyle::DoubleQuoted,
                        _ => ScalarStyle::SingleQuoted,
                    },
                    from,
                    to: self.after_space(end + 1),
                })
            }
            b'-' if !self.byte_at(from + 1).is_ascii_alphanumeric() => None,
            b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|'
            | b'>' | b'%' | b'@' | b'`' | b'\n' => None,
            _ => {
                let mut end = from;
                loop {
                    match self.byte() {
                        b'\n' => break,
                        b' ' => {
                            self.at += 1;
                            continue;
                        }
                        b':' if matches!(self.byte_at(self.at + 1), b' ' | b'\n') => break,
                        b'#' if self.at > end => break,
                        b':' | b'-'
                            if style == Style::Flow && is_flow(self.byte_at(self.at + 1)) =>
                        {
                            return None;
                        }
                        b if style == Style::Flow && is_flow(b) => break,
                        _ => {}
                    }
                    self.at += 1;
                    end = self.at;
                }
                self.at = end;
                Some(Scalar {
                    text: &self.text[from..end],
                    style: ScalarStyle::Plain,
                    from,
                    to: end,
                })
            }
        }
    }
}

fn is_flow(b: u8) -> bool {
    matches!(b, b',' | b'[' | b']' | b'{' | b'}')
}

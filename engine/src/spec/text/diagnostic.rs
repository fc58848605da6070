//! What is wrong with a pipeline file: problems with their places, and how they are shown.
//!
//! A problem knows a span and says what is wrong and what would be right; the field path and the
//! line are found from the document when it is shown. Knows nothing of what a pipeline means.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::node::{Data, Node};
use super::problem::{FoundIn, Names, Problem, Span};
use crate::plan::Place;

/// Problems shown in full on a screen; the JSON form has all.
const SHOWN: usize = 50;

/// A text with spans: a file, or the value of a `--set`.
#[derive(Debug)]
pub struct Source {
    /// As the user knows it.
    pub name: Arc<str>,
    /// The text, without a byte order mark.
    pub text: String,
    /// Its document, once parsed: field paths are found in it.
    pub root: Option<Node>,
    /// What paths inside it are relative to (`vars.epochs` for a `--set`).
    pub prefix: String,
    ascii: bool,
    /// Character and byte position of the start of each line.
    lines: Vec<(u32, u32)>,
}

impl Source {
    /// A source, its lines counted.
    pub fn new(name: &str, text: String, prefix: String) -> Source {
        let ascii = text.is_ascii();
        let mut lines = vec![(0, 0)];
        if ascii {
            lines.extend(
                text.bytes()
                    .enumerate()
                    .filter(|&(_, b)| b == b'\n')
                    .map(|(i, _)| (i as u32 + 1, i as u32 + 1)),
            );
        } else {
            lines.extend(
                text.char_indices()
                    .enumerate()
                    .filter(|(_, (_, c))| *c == '\n')
                    .map(|(i, (byte, _))| (i as u32 + 1, byte as u32 + 1)),
            );
        }
        Source {
            name: name.into(),
            text,
            root: None,
            prefix,
            ascii,
            lines,
        }
    }

    /// The line a character is in, from 0.
    fn line_of(&self, at: u32) -> usize {
        self.lines
            .partition_point(|&(start, _)| start <= at)
            .saturating_sub(1)
    }

    fn byte_of(&self, at: u32) -> usize {
        if self.ascii {
            return (at as usize).min(self.text.len());
        }
        let (start, byte) = self.lines[self.line_of(at)];
        let rest = &self.text[byte as usize..];
        let skip = rest
            .char_indices()
            .nth((at - start) as usize)
            .map_or(rest.len(), |(i, _)| i);
        byte as usize + skip
    }

    /// Where a character is.
    pub fn place(&self, at: u32) -> Place {
        let line = self.line_of(at);
        Place {
            file: self.name.clone(),
            line: line as u32 + 1,
            column: at - self.lines[line].0 + 1,
        }
    }

    /// The text of a span.
    pub fn slice(&self, span: Span) -> &str {
        let (start, end) = (self.byte_of(span.start), self.byte_of(span.end));
        self.text.get(start..end.max(start)).unwrap_or("")
    }

    /// The part of a span that reads `needle`, or the span.
    pub fn narrow(&self, span: Span, needle: &str) -> Span {
        let text = self.slice(span);
        // A reference inside arithmetic has no braces of its own.
        let bare = || needle.strip_prefix("${").and_then(|n| n.strip_suffix('}'));
        let found = match text.find(needle) {
            Some(byte) => Some((byte, needle)),
            None => bare().and_then(|bare| Some((text.find(bare)?, bare))),
        };
        match found {
            Some((byte, needle)) => {
                let start = span.start + text[..byte].chars().count() as u32;
                Span {
                    source: span.source,
                    start,
                    end: start + needle.chars().count() as u32,
                }
            }
            None => span,
        }
    }

    /// The field a span belongs to: `stages.train.with.lr`.
    fn path(&self, span: Span) -> String {
        let mut path = self.prefix.clone();
        let Some(mut node) = self.root.as_ref() else {
            return path;
        };
        let inside = |outer: Span| {
            outer.source == span.source && outer.start <= span.start && span.end <= outer.end
        };
        loop {
            let next = match &node.data {
                Data::Map(entries) => entries.iter().find_map(|(key, value)| {
                    let whole = Span {
                        end: key.span.end.max(value.span.end),
                        ..key.span
                    };
                    inside(whole).then(|| (key.name.to_string(), value, inside(value.span)))
                }),
                Data::Seq(items) => items
                    .iter()
                    .enumerate()
                    .find(|(_, item)| inside(item.span))
                    .map(|(i, item)| (format!("[{i}]"), item, true)),
                _ => None,
            };
            let Some((step, child, deeper)) = next else {
                return path;
            };
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(&step);
            if !deeper {
                return path;
            }
            node = child;
        }
    }
}

/// Everything that is wrong with a specification.
pub struct Diagnostics {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

/// Collects sources and problems while a specification is read.
#[derive(Default)]
pub struct Report {
    /// All texts read so far.
    pub sources: Vec<Source>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    /// Adds a source and returns its number.
    pub fn source(&mut self, source: Source) -> u32 {
        self.sources.push(source);
        self.sources.len() as u32 - 1
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds problems.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    /// Adds what is hardly meant and not wrong.
    pub fn warn(&mut self, warnings: impl IntoIterator<Item = Problem>) {
        self.warnings.extend(warnings);
    }

    /// All warnings, in file order, one line each.
    pub fn warnings(&mut self) -> Vec<String> {
        let warnings = settled(std::mem::take(&mut self.warnings));
        let line = |w: Problem| {
            let source = &self.sources[w.span.source as usize];
            let Place { file, line, column } = source.place(w.span.start);
            let mut text = format!("{file}:{line}:{column}: ");
            let path = source.path(w.span);
            if !path.is_empty() {
                text.push_str(&format!("{path}: "));
            }
            text.push_str(&w.message);
            let help = w.help.iter().map(String::as_str);
            for more in w.label.as_deref().into_iter().chain(help) {
                text.push_str(&format!("; {more}"));
            }
            printable(&text)
        };
        warnings.into_iter().map(line).collect()
    }

    /// Nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Where a span starts.
    pub fn place(&self, span: Span) -> Place {
        self.sources[span.source as usize].place(span.start)
    }

    /// See [`Source::narrow`].
    pub fn narrow(&self, span: Span, needle: &str) -> Span {
        self.sources[span.source as usize].narrow(span, needle)
    }

    /// All problems, in file order, each once.
    pub fn finish(mut self) -> Diagnostics {
        self.problems
            .retain(|p| !p.message.contains(super::node::FOLLOWS));
        let mut problems = settled(self.problems);
        drop_followers(&mut problems, &self.sources);
        Diagnostics {
            sources: self.sources,
            problems,
        }
    }
}

/// What is missing only because its name is misspelt is told once: where it is written.
fn drop_followers(problems: &mut Vec<Problem>, sources: &[Source]) {
    let path = |p: &Problem| sources[p.span.source as usize].path(p.span);
    let misspelt = problems.iter().filter_map(|p| match p.names.as_deref()? {
        Names::Meant(name) => Some((name.clone(), path(p))),
        Names::Lacks(_) => None,
    });
    let misspelt: Vec<(String, String)> = misspelt.collect();
    problems.retain(|p| {
        let Some(Names::Lacks(lacks)) = p.names.as_deref() else {
            return true;
        };
        let place = path(p);
        let inside = |other: &str| {
            let rest = other.strip_prefix(&place);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let told = |(name, place): &(String, String)| lacks.contains(name) && inside(place);
        !misspelt.iter().any(told)
    });
}

/// In file order, each once. What is wrong with many instances in the same way is said of the
/// first, with their number.
fn settled(mut problems: Vec<Problem>) -> Vec<Problem> {
    // What was found in instances stays in their order.
    let order = |p: &Problem| match p.found_in {
        Some(_) => String::new(),
        None => p.message.clone(),
    };
    problems.sort_by(|a, b| a.span.cmp(&b.span).then_with(|| order(a).cmp(&order(b))));
    problems.dedup();
    let mut kept: Vec<Problem> = Vec::with_capacity(problems.len());
    let mut known: HashMap<(Span, String), usize> = HashMap::new();
    for problem in problems {
        let Some(found) = problem.found_in.clone() else {
            kept.push(problem);
            continue;
        };
        match known.get(&(problem.span, problem.sort())) {
            Some(&at) => {
                if let Some(first) = &mut kept[at].found_in {
                    first.count = first.count.saturating_add(found.count).min(first.of);
                }
            }
            None => {
                known.insert((problem.span, problem.sort()), kept.len());
                kept.push(problem);
            }
        }
    }
    for problem in &mut kept {
        if let (None, Some(found)) = (&problem.label, &problem.found_in) {
            let FoundIn { first, count, of } = &**found;
            let text = match count {
                1 => format!("in `{first}`"),
                n if n == of => format!("in all {of} instances, such as `{first}`"),
                n => format!("in `{first}` and {} more of {of} instances", n - 1),
            };
            problem.label = Some(text.into_boxed_str());
        }
    }
    kept
}

impl Diagnostics {
    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// There are none (never so for what [`crate::spec::load`] returns).
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The text for people: a snippet with a caret for every problem.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for problem in self.problems.iter().take(SHOWN) {
            text.push_str(&self.render_one(&renderer, problem));
            text.push_str("\n\n");
        }
        if self.problems.len() > SHOWN {
            text.push_str(&format!("... and {} more\n", self.problems.len() - SHOWN));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn render_one(&self, renderer: &Renderer, problem: &Problem) -> String {
        let source = &self.sources[problem.span.source as usize];
        let path = source.path(problem.span);
        let title = if path.is_empty() {
            problem.message.clone()
        } else {
            format!("{path}: {}", problem.message)
        };
        let title = printable(&title);
        // Every annotation gets a window of its own lines, so that a large file costs nothing to
        // show.
        let window = |span: Span, kind: AnnotationKind, label: Option<&str>| {
            let source = &self.sources[span.source as usize];
            let line = source.line_of(span.start);
            let from = source.lines[line].1 as usize;
            let to = source
                .lines
                .get(line + 1)
                .map_or(source.text.len(), |l| l.1 as usize);
            let shown = source.text[from..to].trim_end_matches(['\n', '\r']);
            let start = (source.byte_of(span.start) - from).min(shown.len());
            let end = (source.byte_of(span.end).max(from) - from).clamp(start, shown.len());
            // A very long line is shown around the place only.
            let (shown, start, end) = clip(shown, start, end);
            let mut annotation = kind.span(start..end);
            if let Some(label) = label {
                annotation = annotation.label(printable(label));
            }
            Snippet::source(shown.to_owned())
                .line_start(line + 1)
                .path(source.name.to_string())
                .annotation(annotation)
        };
        let mut group = Level::ERROR.primary_title(title).element(window(
            problem.span,
            AnnotationKind::Primary,
            problem.label.as_deref(),
        ));
        for (span, label) in &problem.also {
            group = group.element(window(*span, AnnotationKind::Context, Some(label)));
        }
        for help in &problem.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        renderer.render(&[group])
    }

    /// One object per problem: `file`, `line`, `column`, `path`, `message`, `help`, `related`.
    pub fn to_json(&self) -> Value {
        let place = |span: Span| self.sources[span.source as usize].place(span.start);
        Value::Array(
            self.problems
                .iter()
                .map(|p| {
                    let at = place(p.span);
                    let related: Vec<Value> = p
                        .also
                        .iter()
                        .map(|(span, label)| {
                            let at = place(*span);
                            json!({"file": &*at.file, "line": at.line, "column": at.column, "label": label})
                        })
                        .collect();
                    json!({
                        "file": &*at.file, "line": at.line, "column": at.column,
                        "path": self.sources[p.span.source as usize].path(p.span),
                        "message": p.message, "label": p.label, "help": p.help, "related": related,
                    })
                })
                .collect(),
        )
    }
}

/// At most 160 bytes around a range, cut at characters.
fn clip(line: &str, start: usize, end: usize) -> (&str, usize, usize) {
    const LONG: usize = 160;
    if line.len() <= LONG {
        return (line, start, end);
    }
    let floor = |mut at: usize| {
        while !line.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let from = floor(start.saturating_sub(LONG / 2));
    let to = floor((from + LONG).min(line.len())).max(from);
    (&line[from..to], start - from, end.min(to) - from)
}

/// Control characters shown as escapes, so that a message stays a message.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_debug().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

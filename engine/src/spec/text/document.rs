//! YAML text to a tree in which every value and key knows its place.
//!
//! Decides what a scalar means (the core schema of YAML 1.2: `no` is a text, `010` is ten), and
//! what is refused: duplicate keys, merge keys, several documents, foreign tags, anything deep or
//! large enough to be an attack. Knows nothing of pipelines.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::node::{Data, FOLLOWS, Key, Node};
use super::problem::{Problem, Span};
use super::quick;
use super::scalar::scalar;

/// The largest file that is read.
pub const MAX_BYTES: u64 = 16 << 20;
/// The deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 128;
/// Nodes that aliases may add to those written.
const MAX_ALIASED: u64 = 200_000;
/// Keys that are compared with one another, one by one.
const SMALL: usize = 8;

enum Frame {
    Seq {
        span: Span,
        anchor: usize,
        items: Vec<Node>,
        size: u64,
    },
    Map {
        span: Span,
        anchor: usize,
        entries: Vec<(Key, Node)>,
        key: Option<Key>,
        size: u64,
    },
}

struct Builder {
    source: u32,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, u64)>,
    aliased: u64,
    root: Option<Node>,
    problems: Vec<Problem>,
}

/// Parses one document. The node is there when the text has one that can be used in spite of the
/// problems.
pub fn parse(source: u32, text: &str) -> (Option<Node>, Vec<Problem>) {
    quickly(source, text).unwrap_or_else(|| wholly(source, text))
}

/// `None`: the text is for the whole parser.
fn quickly(source: u32, text: &str) -> Option<(Option<Node>, Vec<Problem>)> {
    let mut builder = Builder::new(source);
    quick::read(text, |event, at| {
        let span = Span {
            source,
            start: at.start as u32,
            end: at.end as u32,
        };
        builder.event(event, span).ok()
    })?;
    Some((builder.root, builder.problems))
}

fn wholly(source: u32, text: &str) -> (Option<Node>, Vec<Problem>) {
    let mut builder = Builder::new(source);
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, at) = match event {
            Ok(pair) => pair,
            Err(e) => {
                let at = u32::try_from(e.marker().index()).unwrap_or(u32::MAX);
                let span = Span {
                    source,
                    start: at,
                    end: at.saturating_add(1),
                };
                builder.problems.push(Problem::new(
                    span,
                    format!("this is not valid YAML: {}", e.info()),
                ));
                return (None, builder.problems);
            }
        };
        let span = Span {
            source,
            start: at.start.index() as u32,
            end: at.end.index() as u32,
        };
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                builder.problems.push(
                    Problem::new(span, "the file holds more than one YAML document")
                        .help("keep one, and put the others into files named under `include:`"),
                );
                break;
            }
            continue;
        }
        if let Err(problem) = builder.event(event, span) {
            builder.problems.push(problem);
            return (None, builder.problems);
        }
    }
    (builder.root, builder.problems)
}

impl Builder {
    fn new(source: u32) -> Builder {
        Builder {
            source,
            stack: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            root: None,
            problems: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // No command, path or variable can hold one, and in messages it has a meaning.
                if text.contains(FOLLOWS) {
                    return Err(Problem::new(span, "a text cannot hold a NUL character")
                        .help("remove `\\0`"));
                }
                if self.wants_key() {
                    return self.key(&text, style, span);
                }
                let data = match scalar(&text, style, tag.as_deref()) {
                    Ok(data) => data,
                    Err((message, help)) => {
                        self.problems.push(Problem::new(span, message).help(help));
                        Data::Broken
                    }
                };
                self.value(Node { span, data }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                self.enter(span, tag.as_deref(), "seq")?;
                self.stack.push(Frame::Seq {
                    span,
                    anchor,
                    items: Vec::new(),
                    size: 1,
                });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.enter(span, tag.as_deref(), "map")?;
                self.stack.push(Frame::Map {
                    span,
                    anchor,
                    entries: Vec::new(),
                    key: None,
                    size: 1,
                });
                Ok(())
            }
            Event::SequenceEnd => match self.stack.pop() {
                Some(Frame::Seq {
                    span: start,
                    anchor,
                    items,
                    size,
                }) => {
                    // A flow list ends with its bracket, a block list with its last item.
                    let end = items
                        .last()
                        .map_or(start.end, |n| n.span.end)
                        .max(if span.end > span.start { span.end } else { 0 });
                    self.value(
                        Node {
                            span: Span { end, ..start },
                            data: Data::Seq(items.into()),
                        },
                        anchor,
                        size,
                    )
                }
                _ => Err(Problem::new(
                    span,
                    "this is not valid YAML: a list ends that never began",
                )),
            },
            Event::MappingEnd => match self.stack.pop() {
                Some(Frame::Map {
                    span: start,
                    anchor,
                    entries,
                    size,
                    ..
                }) => {
                    let end = entries
                        .last()
                        .map_or(start.end, |(k, n)| k.span.end.max(n.span.end))
                        .max(if span.end > span.start { span.end } else { 0 });
                    let entries = self.unique(entries);
                    self.value(
                        Node {
                            span: Span { end, ..start },
                            data: Data::Map(entries.into()),
                        },
                        anchor,
                        size,
                    )
                }
                _ => Err(Problem::new(
                    span,
                    "this is not valid YAML: a map ends that never began",
                )),
            },
            Event::Alias(id) => {
                if self.wants_key() {
                    return Err(Problem::new(span, "an alias cannot be a key"));
                }
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(Problem::new(span, "this alias is inside what it refers to"));
                };
                self.aliased = self.aliased.saturating_add(size);
                if self.aliased > MAX_ALIASED {
                    return Err(Problem::new(
                        span,
                        format!(
                            "the aliases of this file stand for more than {MAX_ALIASED} values"
                        ),
                    )
                    .help(
                        "write the values once under `vars:` and refer to them with `${vars.name}`",
                    ));
                }
                self.value(node, 0, size)
            }
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn enter(&mut self, span: Span, tag: Option<&Tag>, expected: &str) -> Result<(), Problem> {
        if self.wants_key() {
            return Err(
                Problem::new(span, "a key must be a plain text, not a list or map")
                    .help("quote the key if it begins with `[` or `{`"),
            );
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(Problem::new(
                span,
                format!("lists and maps are nested more than {MAX_DEPTH} deep"),
            ));
        }
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            self.problems.push(
                Problem::new(span, format!("the tag `{tag}` is not supported"))
                    .help("remove the tag"),
            );
        }
        Ok(())
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Problem> {
        if text == "<<" && style == ScalarStyle::Plain {
            return Err(Problem::new(span, "merge keys (`<<`) are not supported")
                .help("they are not part of YAML 1.2; write the shared values once under `vars:` and refer to them with `${vars.name}`"));
        }
        if let Some(Frame::Map { key, .. }) = self.stack.last_mut() {
            *key = Some(Key {
                name: text.into(),
                span,
            });
        }
        Ok(())
    }

    fn value(&mut self, node: Node, anchor: usize, size: u64) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::Seq {
                items, size: total, ..
            }) => {
                items.push(node);
                *total = total.saturating_add(size);
            }
            Some(Frame::Map {
                entries,
                key,
                size: total,
                ..
            }) => {
                let Some(key) = key.take() else {
                    return Err(Problem::new(node.span, "this value has no key"));
                };
                entries.push((key, node));
                *total = total.saturating_add(size);
            }
        }
        Ok(())
    }

    /// Reports keys given twice and keeps the first of each.
    fn unique(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let names = || entries.iter().map(|(key, _)| &*key.name);
        // Almost every map is small.
        if entries.len() <= SMALL
            && (1..entries.len()).all(|i| names().take(i).all(|n| n != &*entries[i].0.name))
        {
            return entries;
        }
        let mut first: HashMap<Arc<str>, Span> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            match first.get(&key.name) {
                Some(&earlier) => self.problems.push(
                    Problem::new(
                        Span {
                            source: self.source,
                            ..key.span
                        },
                        format!("the key `{}` is given twice", key.name),
                    )
                    .label("given again here")
                    .also(earlier, "first given here"),
                ),
                None => {
                    first.insert(key.name.clone(), key.span);
                    kept.push((key, node));
                }
            }
        }
        kept
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use std::cell::Cell;

    #[test]
    fn aliases_are_shared_and_bombs_refused() {
        let (node, problems) = parse(0, "a: &x {b: [1, 2]}\nc: *x\n");
        assert!(problems.is_empty());
        assert_eq!(
            node.unwrap().get("c").unwrap().get("b").unwrap().describe(),
            "a list"
        );
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..40 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let (node, problems) = parse(0, &bomb);
        assert!(node.is_none());
        assert!(problems[0].message.contains("aliases"), "{problems:?}");
        let (_, problems) = parse(0, "a: &x [*x]\n");
        assert!(!problems.is_empty());
    }

    /// Lines and pieces of lines that are put together at random: much of it is no YAML.
    fn text() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            8 => "[a-c]{1,2}|[0-9]{1,2}|-?1e-3|true|~|a b|a:b|a#b|\\$\\{a.b\\}|/x|-a|\\.\\.\\.|---|\\$x, y",
            2 => "\"[ab:#'{]{0,3}\"|'[ab:#\"{]{0,3}'|\"\\\\n\"|'a''b'",
            1 => "[-:,#&*!|>%@`?.{}\\[\\]=<]{1,2}|<<|é|\t|\r",
        ];
        let flow = word.prop_recursive(3, 12, 4, move |inner| {
            let between = || {
                prop_oneof![
                    6 => Just(", "),
                    1 => Just(","),
                    1 => Just(" ,"),
                    1 => Just(",\n    "),
                    1 => Just(", # c\n      "),
                    1 => Just("\n"),
                ]
            };
            let colon = prop_oneof![
                6 => Just(": "),
                1 => Just(":"),
                1 => Just(" : "),
                1 => Just(":\n  "),
            ];
            let key = prop_oneof![
                Just("a".to_owned()),
                "[a-d]{1,2}",
                "\"[a-d]\"",
                inner.clone()
            ];
            let pair = (key, colon, inner.clone())
                .prop_map(|(key, colon, value)| format!("{key}{colon}{value}"));
            let end = "|,|\n ";
            prop_oneof![
                (proptest::collection::vec(inner, 0..4), between(), end)
                    .prop_map(|(items, between, end)| format!("[{}{end}]", items.join(between))),
                (proptest::collection::vec(pair, 0..4), between(), end)
                    .prop_map(|(pairs, between, end)| format!("{{{}{end}}}", pairs.join(between))),
            ]
        });
        let colon = prop_oneof![6 => Just(": "), 1 => Just(":"), 1 => Just(" :  ")];
        let line = prop_oneof![
            6 => ("[a-f]{1,3}", colon, flow.clone()).prop_map(|(k, c, v)| format!("{k}{c}{v}")),
            2 => "[a-f]{1,3}:",
            2 => flow.clone().prop_map(|v| format!("- {v}")),
            2 => ("[a-f]{1,2}", flow.clone()).prop_map(|(k, v)| format!("- {k}: {v}")),
            1 => flow.clone(),
            1 => " *# c",
            1 => Just(String::new()),
        ];
        let indent = prop_oneof![5 => Just(0usize), 5 => Just(2), 3 => Just(4), 1 => 0usize..6];
        let line = (indent, line, "|| |# c| # c")
            .prop_map(|(indent, line, end)| format!("{:indent$}{line}{end}\n", ""));
        let lines = proptest::collection::vec(line, 1..7).prop_map(|lines| lines.concat());
        prop_oneof![9 => lines, 1 => flow.prop_map(|v| v + "\n")]
    }

    /// The quick reader gives what the whole parser gives, or gives up.
    #[test]
    fn what_is_read_quickly_is_read_the_same() {
        let (read, all) = (Cell::new(0), Cell::new(0));
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 5_000,
            ..ProptestConfig::default()
        });
        let is_same = |text: String| {
            all.set(all.get() + 1);
            if let Some(quick) = quickly(0, &text) {
                read.set(read.get() + 1);
                prop_assert_eq!(format!("{quick:?}"), format!("{:?}", wholly(0, &text)));
            }
            Ok(())
        };
        runner.run(&text(), is_same).unwrap();
        // About one in twenty: enough of them, however the cases fall.
        assert!(
            read.get() * 100 > all.get(),
            "{} of {}",
            read.get(),
            all.get()
        );
    }

    #[test]
    fn depth_is_limited() {
        let (node, problems) = parse(0, &"[".repeat(100_000));
        assert!(node.is_none());
        assert!(!problems.is_empty());
    }
}

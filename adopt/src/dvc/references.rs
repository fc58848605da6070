//! Texts of a stage with references, and what these stand for.
//!
//! Texts keep their references beside the values, so that a pipeline can be written with them.

use repro_engine::spec::yaml::{Data, Node, Problem, Span};

use super::file::Text;
use super::scope::{Scope, follow, shown};
use super::words::Word;

/// A part of a text of one stage.
#[derive(Clone, Debug)]
pub enum Bit {
    /// As it is.
    Text(String),
    /// A single value.
    Value {
        root: Root,
        /// The way to it; of an item from the item on.
        steps: Vec<String>,
        node: Node,
        /// In quotes of the shell, because its text has characters that a shell would read.
        quoted: bool,
    },
}

/// Whose a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Of the whole file.
    Shared,
    /// Of the stage's own `vars`.
    Own,
    /// Of the item.
    Item,
    /// The name of the item.
    Key,
}

/// The text of bits, as DVC writes it.
pub fn text(bits: &[Bit]) -> String {
    bits.iter().map(Bit::text).collect()
}

impl Bit {
    fn text(&self) -> String {
        match self {
            Bit::Text(text) => text.clone(),
            Bit::Value { node, quoted, .. } => {
                let text = shown(node).unwrap_or_default();
                if *quoted {
                    crate::shell::word(&text)
                } else {
                    text
                }
            }
        }
    }
}

/// How DVC writes maps into commands (`[parsing]` of `.dvc/config`).
#[derive(Clone, Copy, Default)]
pub struct Unpacking {
    /// `--no-x` for a value that is false.
    pub negates: bool,
    /// `--x a --x b` for a list.
    pub repeats: bool,
}

/// One item.
pub struct Item {
    pub key: String,
    pub value: Node,
    pub has_key: bool,
    /// Of a matrix: the position in each axis.
    pub picks: Vec<usize>,
}

/// What is said of a reference that leads nowhere.
pub fn unknown(steps: &[String], scope: &Scope, span: Span) -> Problem {
    let head = steps.first().map_or("", String::as_str);
    let problem = Problem::new(span, format!("`${{{}}}` has no value", steps.join(".")));
    let names = scope.map.iter().map(|(k, _)| &*k.name);
    match scope.map.iter().any(|(k, _)| *k.name == *head) {
        true => problem.help("the rest of the way does not exist in its value"),
        false => problem
            .suggest(head, names)
            .help("values come from params.yaml and from `vars`"),
    }
}

/// Where values are looked for.
pub struct Looking<'a> {
    pub scope: &'a Scope,
    /// The item that `${item}` and `${key}` mean.
    pub item: Option<&'a Item>,
}

impl<'a> Looking<'a> {
    /// Values of the file alone.
    pub fn shared(scope: &'a Scope) -> Looking<'a> {
        Looking { scope, item: None }
    }

    /// Whose value a reference means, the way to it, and the value.
    pub fn find(&self, steps: &[String]) -> Option<(Root, Vec<String>, Node)> {
        let (head, rest) = steps.split_first()?;
        match (self.item, head.as_str()) {
            (Some(item), "item") => {
                let node = follow(&item.value, rest)?.clone();
                Some((Root::Item, rest.to_vec(), node))
            }
            (Some(item), "key") if item.has_key => {
                let node = Node {
                    span: item.value.span,
                    data: Data::String(item.key.as_str().into()),
                };
                rest.is_empty().then_some((Root::Key, Vec::new(), node))
            }
            _ => {
                let node = self.scope.find(steps)?.clone();
                let root = match self.scope.is_local(head) {
                    true => Root::Own,
                    false => Root::Shared,
                };
                Some((root, steps.to_vec(), node))
            }
        }
    }
}

/// The bits of a text; `None` when a problem was reported.
pub fn bits(
    text: &Text,
    looking: &Looking,
    is_cmd: bool,
    how: Unpacking,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Bit>> {
    let mut bits = Vec::new();
    for part in &text.words.parts {
        match part {
            Word::Text(text) => bits.push(Bit::Text(text.clone())),
            Word::Ref(steps) => {
                let Some((root, steps, node)) = looking.find(steps) else {
                    problems.push(unknown(steps, looking.scope, text.span));
                    return None;
                };
                match &node.data {
                    Data::Map(_) if is_cmd => {
                        let mut words = Vec::new();
                        if let Err(why) = unpack(root, &steps, &node, how, &mut words) {
                            problems.push(Problem::new(text.span, why));
                            return None;
                        }
                        bits.extend(words);
                    }
                    Data::Map(_) | Data::Seq(_) => {
                        problems.push(
                            Problem::new(
                                text.span,
                                format!(
                                    "`${{{}}}` is {}: it cannot be part of a text",
                                    steps.join("."),
                                    node.describe()
                                ),
                            )
                            .help("pick one value of it; DVC writes maps into `cmd` only"),
                        );
                        return None;
                    }
                    _ => bits.push(Bit::Value {
                        root,
                        steps,
                        node,
                        quoted: false,
                    }),
                }
            }
        }
    }
    Some(bits)
}

/// A map as options of a command: `--name value` for each of its values.
fn unpack(
    root: Root,
    steps: &[String],
    node: &Node,
    how: Unpacking,
    words: &mut Vec<Bit>,
) -> Result<(), String> {
    let mut options = Vec::new();
    flatten(node, &mut Vec::new(), &mut options);
    let value = |inner: &[String], node: &Node| Bit::Value {
        root,
        steps: [steps, inner].concat(),
        node: node.clone(),
        quoted: node.as_str().is_some_and(|s| crate::shell::word(s) != s),
    };
    let mut first = true;
    let mut option = |name: &str, words: &mut Vec<Bit>| {
        let space = if std::mem::take(&mut first) { "" } else { " " };
        words.push(Bit::Text(format!("{space}--{name}")));
    };
    for (inner, node) in &options {
        let name = inner.join(".");
        match &node.data {
            Data::Bool(b) if b.value => option(&name, words),
            Data::Bool(_) if how.negates => option(&format!("no-{name}"), words),
            Data::Bool(_) => {}
            Data::Seq(items) => {
                for (i, item) in items.iter().enumerate() {
                    if shown(item).is_none() {
                        return Err(format!(
                            "`{name}` is a list of lists or maps, which DVC cannot write into a command"
                        ));
                    }
                    if i == 0 || how.repeats {
                        option(&name, words);
                    }
                    words.push(Bit::Text(" ".to_owned()));
                    let at = [inner.as_slice(), &[i.to_string()]].concat();
                    words.push(value(&at, item));
                }
            }
            _ => {
                option(&name, words);
                words.push(Bit::Text(" ".to_owned()));
                words.push(value(inner, node));
            }
        }
    }
    Ok(())
}

fn flatten(node: &Node, way: &mut Vec<String>, into: &mut Vec<(Vec<String>, Node)>) {
    for (key, value) in node.entries() {
        way.push(key.name.to_string());
        match &value.data {
            Data::Map(entries) if !entries.is_empty() => flatten(value, way, into),
            Data::Map(_) => {}
            _ => into.push((way.clone(), value.clone())),
        }
        way.pop();
    }
}

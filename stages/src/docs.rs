//! The reference of a kind, written from its types: `repro kinds NAME` and docs/kinds.md show the
//! same text.
//!
//! Reads the JSON Schema of the parameters as a tree of fields and choices; knows no particular
//! kind. A type that many kinds take, such as that of a network, is described by one of them.

use std::cell::RefCell;
use std::fmt::Write;

use serde_json::Value;

use repro_protocol::kind::Description;

/// Deeper nesting is not shown.
const DEPTH_MAX: usize = 8;
/// A shared type with fewer lines is described wherever it is taken.
const SHARED_LINES: usize = 12;
/// Columns of the text.
const WIDTH: usize = 100;

/// The Markdown reference of a kind: what it does, inputs, outputs, every parameter with type,
/// default and meaning. What `home` describes at length is not described again.
pub fn reference(info: &Description, home: &Description) -> String {
    let schema = &*info.schema;
    let mut text = format!(
        "## `{}`\n\n{}\n\n{}\n",
        info.name,
        info.summary,
        info.doc.trim()
    );
    text.push_str("\n### Inputs\n\n");
    if info.inputs.is_empty() {
        text.push_str("None.\n");
    }
    for input in &info.inputs {
        let name = if input.name == "*" {
            "any name".to_owned()
        } else {
            format!("`{}`", input.name)
        };
        let count = if input.many { "one or more" } else { "one" };
        let required = if input.required { ", **required**" } else { "" };
        item(
            &format!("{name} ({count}{required}): {}", input.doc),
            0,
            &mut text,
        );
    }
    text.push_str("\n### Outputs\n\n");
    match outputs(info, schema) {
        Some(outputs) => outputs.iter().for_each(|(name, path)| {
            let _ = writeln!(text, "- `{name}`: `{path}`");
        }),
        None => text.push_str("They depend on the parameters; see above.\n"),
    }
    text.push_str("\n### Parameters\n\n");
    let before = text.len();
    let mut tree = Tree::new(schema);
    tree.home = (info.name != home.name).then_some(home);
    tree.fields(schema, 0, &mut text);
    if text.len() == before {
        text.push_str("None.\n");
    }
    let _ = writeln!(text, "\nRevision {} of the kind.", info.revision);
    text
}

/// The outputs of the example in the schema, or of the least parameters it allows, if those pass
/// the kind's checks.
fn outputs(info: &Description, schema: &Value) -> Option<Vec<(String, String)>> {
    let sample = Tree::new(schema).sample(schema, 0);
    let needs: Vec<String> = info
        .inputs
        .iter()
        .map(|i| i.name.clone().into_owned())
        .collect();
    let checked = (info.check)(&sample, &needs).ok()?;
    Some(
        checked
            .outputs
            .into_iter()
            .map(|o| (o.name.to_string(), o.path.to_string()))
            .collect(),
    )
}

struct Tree<'a> {
    /// Holds the `$defs`.
    root: &'a Value,
    /// The schemas that are being written: one that contains itself is written once.
    open: RefCell<Vec<&'a Value>>,
    /// The kind that describes shared types.
    home: Option<&'a Description>,
}

impl<'a> Tree<'a> {
    fn new(root: &'a Value) -> Tree<'a> {
        Tree {
            root,
            open: RefCell::default(),
            home: None,
        }
    }

    /// Follows references and looks through "or null".
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        self.follow(schema).1
    }

    /// The same, with the name of the type if it has one.
    fn follow(&self, mut schema: &'a Value) -> (Option<&'a str>, &'a Value) {
        let mut name = None;
        for _ in 0..DEPTH_MAX {
            if let Some((path, target)) = schema["$ref"]
                .as_str()
                .and_then(|r| r.strip_prefix('#'))
                .and_then(|r| Some((r, self.root.pointer(r)?)))
            {
                name = path.strip_prefix("/$defs/");
                schema = target;
            } else if let Some(one) = schema["allOf"].as_array().filter(|all| all.len() == 1) {
                schema = &one[0];
            } else if let Some([one, null]) = schema["anyOf"].as_array().map(Vec::as_slice)
                && null["type"] == "null"
            {
                schema = one;
            } else {
                break;
            }
        }
        (name, schema)
    }

    /// The kind that describes this type, if it is not this one.
    fn described_by(&self, name: Option<&str>, schema: &'a Value) -> Option<&str> {
        let home = self.home?;
        if home.schema["$defs"].get(name?) != Some(schema) {
            return None;
        }
        let mut text = String::new();
        Tree::new(self.root).inside(schema, 1, &mut text);
        (text.lines().count() >= SHARED_LINES).then_some(&*home.name)
    }

    /// Lines for the fields or choices of a schema.
    fn inside(&self, schema: &'a Value, depth: usize, text: &mut String) {
        self.open.borrow_mut().push(schema);
        self.fields(schema, depth, text);
        for choice in choices(schema) {
            self.choice(choice, depth, text);
        }
        self.open.borrow_mut().pop();
    }

    /// One line per field of a map, required ones first, each followed by what is inside it.
    fn fields(&self, schema: &'a Value, depth: usize, text: &mut String) {
        let Some(fields) = schema["properties"].as_object() else {
            return;
        };
        let is_required = |name: &str| {
            schema["required"]
                .as_array()
                .is_some_and(|r| r.iter().any(|n| n == name))
        };
        let (first, second): (Vec<_>, Vec<_>) =
            fields.iter().partition(|(name, _)| is_required(name));
        for (name, field) in first.into_iter().chain(second) {
            let default = match &field["default"] {
                _ if is_required(name) => Some("**required**".to_owned()),
                Value::Null => Some("optional".to_owned()),
                value => Some(format!("default `{}`", yaml(value))),
            };
            self.line(
                name,
                field,
                field["description"].as_str(),
                default,
                depth,
                text,
            );
        }
    }

    /// One line for a field or a choice, and lines for what is inside it.
    fn line(
        &self,
        name: &str,
        field: &'a Value,
        about: Option<&str>,
        note: Option<String>,
        depth: usize,
        text: &mut String,
    ) {
        let (mut type_name, inner) = self.follow(field);
        let mut inside = inner;
        if inner["type"] == "array" {
            (type_name, inside) = self.follow(&inner["items"]);
        }
        if inside["additionalProperties"].is_object() {
            (type_name, inside) = self.follow(&inside["additionalProperties"]);
        }
        let is_open = self.open.borrow().iter().any(|s| std::ptr::eq(*s, inside));
        let home = match is_open || depth >= DEPTH_MAX {
            true => None,
            false => self.described_by(type_name, inside),
        };
        let elsewhere = match (is_open, home) {
            (true, _) => Some("as above".to_owned()),
            (false, home) => home.map(|kind| format!("as in [`{kind}`](#{kind})")),
        };
        let notes: Vec<String> = [Some(self.type_of(inner, 0)), elsewhere, note]
            .into_iter()
            .flatten()
            .filter(|n| !n.is_empty())
            .collect();
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!(" ({})", notes.join(", "))
        };
        let about = sentence(about.or(inner["description"].as_str()));
        item(&format!("`{name}`{notes}{about}"), depth, text);
        if depth < DEPTH_MAX && !is_open && home.is_none() {
            self.inside(inside, depth + 1, text);
        }
    }

    /// A choice is a word or a map of one key.
    fn choice(&self, choice: &'a Value, depth: usize, text: &mut String) {
        let about = choice["description"].as_str();
        let mut word = |word: &str| {
            item(&format!("`{word}`{}", sentence(about)), depth, text);
        };
        if let Some(name) = choice["const"].as_str() {
            word(name);
        } else if let Some(names) = choice["enum"].as_array() {
            names.iter().filter_map(Value::as_str).for_each(word);
        } else if let Some((name, content)) = choice["properties"]
            .as_object()
            .and_then(|p| p.iter().next())
        {
            self.line(name, content, about, None, depth, text);
        }
    }

    fn type_of(&self, schema: &'a Value, depth: usize) -> String {
        if depth > DEPTH_MAX {
            return "any".to_owned();
        }
        let limits = |kind: &str| match (&schema["minimum"], &schema["maximum"]) {
            (Value::Null, Value::Null) => kind.to_owned(),
            (low, Value::Null) => format!("{kind}, at least {low}"),
            (Value::Null, high) => format!("{kind}, at most {high}"),
            (low, high) => format!("{kind}, {low} to {high}"),
        };
        let basic = match &schema["type"] {
            Value::Array(types) => types
                .iter()
                .find_map(|t| t.as_str().filter(|t| *t != "null")),
            other => other.as_str(),
        };
        match basic {
            _ if choices(schema).next().is_some() => "one of".to_owned(),
            Some("integer") => limits("whole number"),
            Some("number") => limits("number"),
            Some("string") => "text".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("array") => match self
                .type_of(self.resolve(&schema["items"]), depth + 1)
                .as_str()
            {
                "" => "list".to_owned(),
                "one of" => "list, each one of".to_owned(),
                items => format!("list of {items}"),
            },
            Some("object") => match &schema["additionalProperties"] {
                Value::Object(_) => {
                    let content =
                        self.type_of(self.resolve(&schema["additionalProperties"]), depth + 1);
                    format!("map from names to {content}")
                }
                _ => "map".to_owned(),
            },
            _ => {
                let any = schema["anyOf"].as_array().into_iter().flatten();
                any.map(|s| self.type_of(self.resolve(s), depth + 1))
                    .collect::<Vec<_>>()
                    .join(" or ")
            }
        }
    }

    /// The example a schema carries, or the least value it allows.
    fn sample(&self, schema: &'a Value, depth: usize) -> Value {
        let schema = self.resolve(schema);
        if let Some(example) = schema["examples"].get(0) {
            return example.clone();
        }
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(choice) = choices(schema).next() {
            return match (&choice["const"], choice["enum"].get(0)) {
                (Value::Null, None) => self.sample(choice, depth + 1),
                (Value::Null, Some(word)) => word.clone(),
                (word, _) => word.clone(),
            };
        }
        match schema["type"].as_str() {
            Some("integer") => schema["minimum"].as_i64().unwrap_or(0).max(1).into(),
            Some("number") => 0.5.into(),
            Some("string") => "x".into(),
            Some("boolean") => false.into(),
            Some("array") => vec![self.sample(&schema["items"], depth + 1)].into(),
            Some("object") => {
                let required = schema["required"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                required
                    .map(|name| {
                        (
                            name.to_owned(),
                            self.sample(&schema["properties"][name], depth + 1),
                        )
                    })
                    .collect()
            }
            _ => schema["anyOf"]
                .get(0)
                .map_or(Value::Null, |first| self.sample(first, depth + 1)),
        }
    }
}

/// An item of a list, in lines of [`WIDTH`].
fn item(words: &str, depth: usize, text: &mut String) {
    let (begin, rest) = ("  ".repeat(depth) + "- ", "  ".repeat(depth + 1));
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(&begin)
        .subsequent_indent(&rest)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    for line in textwrap::wrap(words, options) {
        text.push_str(&line);
        text.push('\n');
    }
}

/// The alternatives of a choice; none where the schema is not one.
fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let own = schema["enum"].is_array().then_some(schema);
    schema["oneOf"].as_array().into_iter().flatten().chain(own)
}

/// A description on one line, set apart from the name before it.
fn sentence(about: Option<&str>) -> String {
    let words: Vec<&str> = about.unwrap_or("").split_whitespace().collect();
    if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join(" "))
    }
}

/// A value as one writes it in YAML, on one line.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(yaml).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(map) => {
            format!(
                "{{{}}}",
                map.iter()
                    .map(|(k, v)| format!("{k}: {}", yaml(v)))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn reference_of(kind: &str) -> String {
        let find = |name| kinds::find(name).unwrap();
        reference(&find(kind), &find("train"))
    }

    #[test]
    fn of_summarise() {
        let text = reference_of("summarise");
        let (_, parameters) = text.split_once("### Inputs").unwrap();
        assert_eq!(
            parameters,
            "

- `tables` (one or more, **required**): The metrics tables, one or more; groups keep stages apart.

### Outputs

- `table`: `summary.parquet`
- `text`: `summary.md`

### Parameters

- `of` (text or list of text, **required**): The values to summarise: `test_accuracy` is `accuracy`
  of the split `test`; a name alone works if only one split has it.
- `at` (one of, default `last`): Which of the values over the training is read.
  - `last`: The last recorded value.
  - `best` (one of): The best value of all. On a test set this is optimistic: it selects by what it
    reports.
    - `max`: The larger value.
    - `min`: The smaller value.
  - `mean_of_last` (whole number, at least 1): The mean of this many last recorded values.
  - `epoch` (whole number): The value recorded after this many epochs.
- `confidence` (number, 0.0 to 1.0, default `0.95`): The confidence of the intervals, above 0 and
  below 1.
- `over` (text or list of text, default `[seed]`): The axes that only repeat the experiment. Means
  are taken over them; every other axis gets rows of its own.
- `within` (text or list of text, optional): Axes of runs within one repetition. They are averaged
  first and do not count in `n`.

Revision 1 of the kind.
"
        );
    }

    #[test]
    fn layers_within_layers_are_described_once() {
        let text = reference_of("train");
        let lists = text.matches("- `layers` (list, each one of").count();
        assert_eq!(
            (lists, text.matches("each one of, as above").count()),
            (2, 1),
            "{text}"
        );
        assert_eq!(text.matches("- `depthwise`").count(), 1);
    }

    #[test]
    fn a_network_is_described_by_one_kind() {
        let text = reference_of("perturb");
        assert!(
            text.contains("`model` (one of, as in [`train`](#train), **required**)"),
            "{text}"
        );
        assert!(!text.contains("depthwise"), "{text}");
        assert!(reference_of("train").contains("depthwise"));
    }

    #[test]
    fn every_kind_has_one() {
        for kind in kinds::all().into_iter().chain([kinds::claim()]) {
            let text = reference(&kind, &kinds::find("train").unwrap());
            assert!(
                text.contains(&kind.summary) && text.contains("### Parameters\n\n- `"),
                "{text}"
            );
        }
    }
}

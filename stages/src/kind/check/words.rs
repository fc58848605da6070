//! What people are told of a value of the wrong type: what belongs there, what was found, and what
//! to write.
//!
//! serde names Rust types; the JSON Schema of the parameters says what to write instead.

use serde_json::{Map, Value};

use super::at;
use crate::kind::unlike::show;
use crate::spelling::nearest;
use repro_protocol::expected::expected;

/// Fields by which other libraries name a choice beside its fields.
const NAMING: [&str; 7] = [
    "name",
    "type",
    "kind",
    "class",
    "method",
    "_target_",
    "algorithm",
];
/// What other libraries call a field.
const ALIASES: [(&str, &str); 13] = [
    ("learning_rate", "lr"),
    ("learningrate", "lr"),
    ("epoch", "epochs"),
    ("num_epochs", "epochs"),
    ("n_epochs", "epochs"),
    ("max_epochs", "epochs"),
    ("num_steps", "steps"),
    ("max_steps", "steps"),
    ("wd", "weight_decay"),
    ("bs", "batch_size"),
    ("batch", "batch_size"),
    ("random_state", "seed"),
    ("random_seed", "seed"),
];

/// What other libraries call a choice, in lower case and without `_`.
const CHOICES: [(&str, &str); 19] = [
    ("xavier", "glorot_uniform"),
    ("xavieruniform", "glorot_uniform"),
    ("xaviernormal", "glorot_normal"),
    ("glorot", "glorot_uniform"),
    // Where there is a `kaiming_normal` it is meant itself.
    ("kaimingnormal", "he_normal"),
    ("kaiminguniform", "he_uniform"),
    ("kaiming", "kaiming_normal"),
    ("msra", "kaiming_normal"),
    ("he", "he_normal"),
    ("lecun", "lecun_normal"),
    ("eye", "identity"),
    ("dirac", "identity"),
    ("cosineannealing", "cosine"),
    ("cosineannealinglr", "cosine"),
    ("cosinedecay", "cosine"),
    ("multistep", "step"),
    ("multisteplr", "step"),
    ("exponentiallr", "exponential"),
    ("exponentialdecay", "exponential"),
];

/// Message and hint for a value that serde refuses, at `path` or, where the path leads on into a
/// choice, above it. The path is cut to what is there.
pub fn refused(
    schema: &Value,
    whole: &mut Value,
    path: &mut Vec<String>,
    said: &str,
) -> (String, Option<String>) {
    while !path.is_empty() && at(whole, path).is_none() {
        path.pop();
    }
    let found = at(whole, path).cloned().unwrap_or_default();
    // A choice without fields was given some: the path ends inside the choice.
    if let Some((last, parent)) = path.split_last()
        && let Some(choices) = locate(schema, parent).and_then(|node| choices(schema, node))
        && choices
            .iter()
            .any(|(name, content)| name == last && content.is_none())
    {
        return (
            format!("`{last}` has no fields of its own"),
            Some(format!("write `{last}` alone")),
        );
    }
    let node = locate(schema, path);
    if let Some(choices) = node.and_then(|node| choices(schema, node))
        && let Some(answer) = choice(schema, &choices, &found)
    {
        return answer;
    }
    // A rule of the type itself, over fields of which each is right.
    let is_rule = !said.contains(", expected ") && !said.starts_with("data did not match");
    if is_rule && found.is_object() {
        return (said.to_owned(), None);
    }
    let (expected, is_whole) = expected(said);
    let hint = remedy(&found, &expected, is_whole).or_else(|| {
        let node = resolve(schema, node?);
        let wants_map = node.get("properties").is_some() && !found.is_object();
        wants_map.then(|| format!("write `{}`", example(schema, node)))
    });
    (
        format!("expected {expected}, found {}", show_found(&found)),
        hint,
    )
}

/// What a name that other programs use is called here.
pub fn alias(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let mut all = ALIASES.iter();
    all.find(|(other, _)| *other == lower)
        .map(|(_, ours)| *ours)
}

fn squashed(name: &str) -> String {
    name.to_lowercase().replace('_', "")
}

/// The choice that an unknown one means for certain: other libraries call it so, or the two differ
/// by case and `_` alone.
pub fn same_choice<'a>(name: &str, expected: &'a [String]) -> Option<&'a str> {
    let name = squashed(name);
    let alias = CHOICES.iter().find(|(other, _)| *other == name);
    let is_ours = |choice: &&String| {
        squashed(choice) == name || alias.is_some_and(|(_, ours)| choice.as_str() == *ours)
    };
    expected.iter().find(is_ours).map(String::as_str)
}

/// An unknown choice at `path` that is one of another choice there, spelled out. `exactly`: by just
/// this name, else whatever its case and `_`.
pub fn choice_within(schema: &Value, path: &[String], name: &str, exactly: bool) -> Option<String> {
    let all = choices(schema, locate(schema, path)?)?;
    all.into_iter().find_map(|(outer, content)| {
        let inner = choices(schema, content?)?;
        let (name, content) = inner.into_iter().find(|(choice, _)| match exactly {
            true => choice == name,
            false => squashed(choice) == squashed(name),
        })?;
        Some(match content {
            None => format!("{{{outer}: {name}}}"),
            Some(content) => format!("{{{outer}: {{{name}: {}}}}}", example(schema, content)),
        })
    })
}

/// Where an unknown field of a map most likely belongs: a field of that name one level deeper, or
/// else two.
pub fn deeper(schema: &Value, parent: &[String], name: &str) -> Option<String> {
    let node = resolve(schema, locate(schema, parent)?);
    let fields = node.get("properties")?.as_object()?;
    for wanted in [Some(name), alias(name)].into_iter().flatten() {
        if fields.contains_key(wanted) {
            return Some(format!("did you mean `{wanted}`?"));
        }
        let is_near = |content| inside(schema, resolve(schema, content), wanted);
        if let Some((field, _)) = fields.iter().find(|(_, content)| is_near(content)) {
            return Some(format!("write `{field}: {{{wanted}: ...}}`"));
        }
        for (field, content) in fields {
            for (choice, content) in choices(schema, content).into_iter().flatten() {
                if content.is_some_and(|c| inside(schema, resolve(schema, c), wanted)) {
                    return Some(format!(
                        "it belongs to `{field}`: write `{field}: {{{choice}: {{{wanted}: ...}}}}`"
                    ));
                }
            }
        }
    }
    None
}

fn inside(schema: &Value, node: &Value, name: &str) -> bool {
    let field = node.get("properties").and_then(|p| p.get(name)).is_some();
    field || choices(schema, node).is_some_and(|all| all.iter().any(|(choice, _)| choice == name))
}

/// What to write for a choice that has fields, where only its name was given.
pub fn spelled_out(schema: &Value, path: &[String], name: &str) -> Option<String> {
    let all = choices(schema, locate(schema, path)?)?;
    let (_, content) = all.into_iter().find(|(choice, _)| choice == name)?;
    Some(format!("{{{name}: {}}}", example(schema, content?)))
}

/// The choices of a node and the schema of what each holds; `None` where it is none.
type Choices<'a> = Vec<(String, Option<&'a Value>)>;

fn choices<'a>(schema: &'a Value, node: &'a Value) -> Option<Choices<'a>> {
    let node = resolve(schema, node);
    let mut all = Vec::new();
    let alternatives = node.get("oneOf").or_else(|| node.get("anyOf"));
    let alternatives = match alternatives.and_then(Value::as_array) {
        Some(list) => list.iter().collect(),
        None => vec![node],
    };
    for one in alternatives {
        let names = one
            .get("enum")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let names = names.chain(one.get("const")).filter_map(Value::as_str);
        let truths: &[&str] = match one.get("type").and_then(Value::as_str) {
            Some("boolean") if node.get("type").is_none() => &["true", "false"],
            _ => &[],
        };
        let names = truths.iter().copied().chain(names);
        all.extend(names.map(|name| (name.to_owned(), None)));
        if let (Some(required), Some(fields)) = (
            one.get("required").and_then(Value::as_array),
            one.get("properties").and_then(Value::as_object),
        ) && required.len() == 1
            && fields.len() == 1
            && node.get("properties").is_none()
        {
            all.extend(
                fields
                    .iter()
                    .map(|(name, content)| (name.clone(), Some(content))),
            );
        }
    }
    (!all.is_empty()).then_some(all)
}

fn choice(schema: &Value, choices: &Choices, found: &Value) -> Option<(String, Option<String>)> {
    let names: Vec<String> = choices.iter().map(|(name, _)| name.clone()).collect();
    let of = |name: &str| choices.iter().find(|(choice, _)| choice == name);
    let list = || {
        let shown: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        format!("one of {}", shown.join(", "))
    };
    match found {
        Value::String(name) => {
            let (name, content) = of(name)?;
            let example = example(schema, (*content)?);
            Some((
                format!("`{name}` needs its fields"),
                Some(format!("write `{{{name}: {example}}}`")),
            ))
        }
        Value::Object(map) if map.len() != 1 || is_named(map, &names) => {
            let named = NAMING.iter().find_map(|field| {
                let name = nearest(map.get(*field)?.as_str()?, &names)?;
                Some((*field, name.to_owned()))
            });
            let (name, fields): (String, Map<String, Value>) = match named {
                Some((field, name)) => {
                    let rest = map.iter().filter(|(key, _)| *key != field);
                    (name, rest.map(|(k, v)| (k.clone(), v.clone())).collect())
                }
                None => {
                    let mut given = map.keys().filter(|key| of(key).is_some());
                    let one = given.next().filter(|_| given.next().is_none());
                    let Some(name) = one else {
                        let count = map.len();
                        let message = format!("expected {}, found a map of {count} fields", list());
                        let hint = match map.keys().any(|key| of(key).is_some()) {
                            true => "keep one of them".to_owned(),
                            false => format!("write `{}`", first(schema, choices)),
                        };
                        return Some((message, Some(hint)));
                    };
                    let mut fields = map.get(name).and_then(Value::as_object).cloned();
                    let rest = map.iter().filter(|(key, _)| *key != name);
                    let rest = rest.map(|(k, v)| (k.clone(), v.clone()));
                    fields.get_or_insert_default().extend(rest);
                    (name.clone(), fields.unwrap_or_default())
                }
            };
            let written = match of(&name).map(|(_, content)| *content) {
                Some(None) if fields.is_empty() => name.clone(),
                Some(Some(content)) if fields.is_empty() => {
                    format!("{{{name}: {}}}", example(schema, content))
                }
                _ => format!("{{{name}: {}}}", show(&Value::Object(fields))),
            };
            Some((
                "a choice is a map of one key, with its fields inside".to_owned(),
                Some(format!("write `{written}`")),
            ))
        }
        Value::Object(_) => None,
        other => {
            let taking = choices.iter().filter(|(_, content)| {
                let node = content.map(|content| resolve(schema, content));
                let sort = node.and_then(|node| node.get("type")?.as_str());
                matches!(
                    (sort, other),
                    (Some("number" | "integer"), Value::Number(_))
                        | (Some("boolean"), Value::Bool(_))
                        | (Some("array"), Value::Array(_))
                )
            });
            let taking: Vec<String> = taking
                .map(|(name, _)| format!("`{{{name}: {}}}`", show(other)))
                .collect();
            let written = match taking.is_empty() {
                true => format!("`{}`", first(schema, choices)),
                false => taking.join(" or "),
            };
            Some((
                format!("expected {}, found {}", list(), show_found(other)),
                Some(format!("write {written}")),
            ))
        }
    }
}

/// `{name: sgd}`: the choice is named by a field, and nothing else is given.
fn is_named(map: &Map<String, Value>, names: &[String]) -> bool {
    NAMING.iter().any(|field| {
        let name = map.get(*field).and_then(Value::as_str);
        name.is_some_and(|name| nearest(name, names).is_some())
    })
}

/// Message and hint for a choice that is named by a field, at `path`.
pub fn named(
    schema: &Value,
    whole: &mut Value,
    path: &[String],
) -> Option<(String, Option<String>)> {
    let found = at(whole, path)?.clone();
    let choices = choices(schema, locate(schema, path)?)?;
    let names: Vec<String> = choices.iter().map(|(name, _)| name.clone()).collect();
    let map = found.as_object()?;
    is_named(map, &names).then(|| choice(schema, &choices, &found))?
}

fn first(schema: &Value, choices: &Choices) -> String {
    match choices.first() {
        Some((name, Some(content))) => format!("{{{name}: {}}}", example(schema, content)),
        Some((name, None)) => name.clone(),
        None => String::new(),
    }
}

/// What a value of this schema may look like: what is required, else the first field with its
/// default.
fn example(schema: &Value, node: &Value) -> String {
    let node = resolve(schema, node);
    let Some(fields) = node.get("properties").and_then(Value::as_object) else {
        if let Some(choices) = choices(schema, node) {
            return first(schema, &choices);
        }
        return match node.get("type").and_then(Value::as_str) {
            Some("object") => "{}".to_owned(),
            Some("array") => "[...]".to_owned(),
            _ => "...".to_owned(),
        };
    };
    let required: Vec<String> = node
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|name| format!("{name}: ..."))
        .collect();
    if !required.is_empty() {
        return format!("{{{}}}", required.join(", "));
    }
    // `lr` before `betas`: a field with a single number explains most.
    let default = |(name, field): (&String, &Value)| {
        let default = field.get("default").filter(|d| d.is_number())?;
        Some((name != "lr", format!("{{{name}: {default}}}")))
    };
    let best = fields.iter().filter_map(default).min();
    best.map_or_else(|| "{}".to_owned(), |(_, text)| text)
}

fn resolve<'a>(schema: &'a Value, mut node: &'a Value) -> &'a Value {
    // A circle of references must end.
    for _ in 0..32 {
        let target = node.get("$ref").and_then(Value::as_str);
        let next = match target.and_then(|t| t.strip_prefix("#/$defs/")) {
            Some(name) => schema.get("$defs").and_then(|d| d.get(name)),
            None => {
                let any = node.get("anyOf").and_then(Value::as_array);
                let present = |list: &'a Vec<Value>| {
                    let mut some = list
                        .iter()
                        .filter(|s| s.get("type") != Some(&"null".into()));
                    some.next().filter(|_| some.next().is_none())
                };
                let all = node.get("allOf").and_then(Value::as_array);
                any.and_then(present).or_else(|| all.and_then(present))
            }
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

fn locate<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |node, step| {
        let node = resolve(schema, node);
        if let Some(field) = node.get("properties").and_then(|p| p.get(step)) {
            return Some(field);
        }
        if let Some((_, content)) = choices(schema, node)
            .into_iter()
            .flatten()
            .find(|(name, _)| name == step)
        {
            return content;
        }
        if step.parse::<usize>().is_ok()
            && let Some(items) = node.get("items")
        {
            return Some(items);
        }
        node.get("additionalProperties")
            .filter(|more| more.is_object())
    })
}

fn remedy(found: &Value, expected: &str, is_whole: bool) -> Option<String> {
    let number = is_whole || expected == "a number";
    match found {
        Value::Null => Some("give it a value, or leave the field out".to_owned()),
        Value::String(text) if number => {
            let fits = |text: &str| match is_whole {
                true => text.parse::<i64>().is_ok(),
                false => text.parse::<f64>().is_ok_and(f64::is_finite),
            };
            let plain = text.replace('_', "");
            let point = text.replace(',', ".");
            match text.trim() {
                t if fits(t) => Some(format!("remove the quotes: `{t}`")),
                _ if fits(&plain) => Some(format!("write `{plain}`: a number has no `_`")),
                _ if fits(&point) => Some(format!("write `{point}`: the decimal point is a point")),
                _ => None,
            }
        }
        Value::Number(n) if is_whole => {
            let whole = n
                .as_f64()
                .filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x))?;
            n.is_f64().then(|| format!("write `{whole}`"))
        }
        Value::String(text) if expected == "true or false" => match text.to_lowercase().as_str() {
            "yes" | "on" | "true" | "y" | "1" => Some("write `true`".to_owned()),
            "no" | "off" | "false" | "n" | "0" => Some("write `false`".to_owned()),
            _ => None,
        },
        Value::Number(n) if expected == "true or false" => match n.as_u64()? {
            1 => Some("write `true`".to_owned()),
            0 => Some("write `false`".to_owned()),
            _ => None,
        },
        Value::Number(_) | Value::Bool(_) if expected.starts_with("a text") => {
            Some(format!("put it in quotes: `\"{found}\"`"))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) if expected.starts_with("a list") => {
            Some(format!("write a list: `[{}]`", show(found)))
        }
        _ => None,
    }
}

fn show_found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Number(n) => n.to_string(),
        Value::String(s) if s.chars().count() <= 40 => format!("the text \"{s}\""),
        Value::String(_) => "a long text".to_owned(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "a map".to_owned(),
    }
}

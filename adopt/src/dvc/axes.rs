//! The axes of a stage that stands for several: `foreach` and `matrix` as `matrix:`.
//!
//! Decides what the values of an axis are called, and which reference stands for `${item}` and
//! `${key}`.

use repro_engine::spec::yaml::{Data, Key, Node, Written};

use super::expand::Items;
use super::file::{Each, Stage};
use super::references::Root;
use super::scope::{python, shown};
use super::words;
use crate::yaml;

/// The matrix of a stage.
pub struct Axes {
    /// The text after `matrix: `.
    pub text: String,
    /// In order.
    pub list: Vec<Axis>,
    /// Names of variables that its text refers to.
    pub heads: Vec<String>,
    item: ItemIs,
}

/// An axis.
pub struct Axis {
    pub name: String,
    /// What the value of each instance is called.
    pub labels: Vec<String>,
    /// The value of each instance, as joins compare it.
    pub values: Vec<Node>,
    /// Its values keep the form in which a file writes them.
    pub by_reference: bool,
}

/// What `${item}` is here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemIs {
    /// `${matrix.item}`.
    Value,
    /// `${matrix.item.value}`, and `${matrix.item}` is the key.
    NamedValue,
    /// `${matrix.item.x}`, and `${matrix.item}` is the key.
    NamedMap,
    /// `${matrix.item}`, and `${matrix.key}` is the key.
    Beside,
    /// `${item.x}` is `${matrix.x}`; where names are those of DVC, `${key}` is all of them.
    Axes { as_named: bool },
}

/// The variable that stands for a whole value.
fn steps_of(node: &Node) -> Option<Vec<String>> {
    let words = words::read(node.as_str()?).ok()?;
    words.whole().map(<[String]>::to_vec)
}

/// Whether a reference can name it.
pub fn is_name(step: &str) -> bool {
    !step.is_empty()
        && step
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// The steps of a reference into a value: `.a[0]`; `None` where a reference cannot say it.
pub fn way(mut node: &Node, steps: &[String]) -> Option<String> {
    let mut text = String::new();
    for step in steps {
        match &node.data {
            Data::Seq(items) => {
                let at: usize = step.parse().ok()?;
                node = items.get(at)?;
                text.push_str(&format!("[{at}]"));
            }
            _ => {
                node = node.get(step)?;
                if !is_name(step) {
                    return None;
                }
                text.push_str(&format!(".{step}"));
            }
        }
    }
    Some(text)
}

/// What a value of an axis is called here: as `tying/axis.rs` of the engine does it.
fn label(node: &Node, at: usize) -> String {
    let named = node.get("name").or(node.get("label")).and_then(shown);
    match (named, node.entries()) {
        (Some(name), _) => name,
        (None, [(key, _)]) => key.name.to_string(),
        _ => at.to_string(),
    }
}

/// Numbers as DVC writes them into texts.
fn number(node: &Node) -> String {
    shown(node).unwrap_or_default()
}

/// How a number of a file is written there, where the engine would not have it as an axis value.
fn loses_zeros(node: &Node) -> bool {
    let Data::Number(n) = &node.data else {
        return false;
    };
    let form = n.text();
    let digits = form.trim_start_matches(['-', '+']);
    let plain = !form.contains(['e', 'E', 'x', 'o']);
    plain
        && ((digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0."))
            || (form.contains('.') && form.ends_with('0') && !form.ends_with(".0"))
            || form.ends_with('.')
            || form.starts_with('+')
            || digits.starts_with('.'))
}

fn distinct(labels: &[String]) -> bool {
    let mut sorted: Vec<&String> = labels.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|w| w[0] != w[1])
}

/// Whether a name can stand in `stage[axis=name]`.
fn can_be_picked(label: &str) -> bool {
    !label.is_empty()
        && label != "*"
        && label
            .chars()
            .all(|c| c.is_alphanumeric() || "_-./+ :@".contains(c))
        && label.trim() == label
}

/// The values of one axis.
struct Values {
    text: String,
    heads: Vec<String>,
    labels: Vec<String>,
    by_reference: bool,
}

/// A list as the values of an axis. `node` is what is written, `list` what it stands for.
fn values(node: &Node, list: &[Node], find: &dyn Fn(&[String]) -> Option<Node>) -> Option<Values> {
    let maps = list.iter().any(|n| matches!(n.data, Data::Map(_)));
    if list.is_empty()
        || list
            .iter()
            .any(|n| matches!(n.data, Data::Seq(_) | Data::Null | Data::Broken))
    {
        return None;
    }
    let labels: Vec<String> = list
        .iter()
        .enumerate()
        .map(|(i, n)| match maps {
            true => shown(n).unwrap_or_else(|| label(n, i)),
            false => shown(n).unwrap_or_default(),
        })
        .collect();
    if !distinct(&labels) || !labels.iter().all(|l| can_be_picked(l)) {
        return None;
    }
    if let Some(steps) = steps_of(node) {
        let root = find(&steps[..1])?;
        let way = is_name(&steps[0])
            .then(|| way(&root, &steps[1..]))
            .flatten();
        if let (Some(way), false) = (way, list.iter().any(loses_zeros)) {
            let labels = list.iter().zip(labels).map(|(n, l)| match &n.data {
                Data::Number(_) | Data::Bool(_) => written(n),
                _ => l,
            });
            return Some(Values {
                text: yaml::quoted(&format!("${{vars.{}{way}}}", steps[0])),
                heads: vec![steps[0].clone()],
                labels: labels.collect(),
                by_reference: true,
            });
        }
    }
    let items: Vec<String> = list.iter().map(|n| yaml::value(n, &number)).collect();
    Some(Values {
        text: format!("[{}]", items.join(", ")),
        heads: Vec::new(),
        labels,
        by_reference: false,
    })
}

/// Maps and lists as the values of an axis, called as DVC calls them: the axis with a number. Maps
/// that have a name of their own keep it.
fn wrapped(
    axis: &str,
    node: &Node,
    list: &[Node],
    find: &dyn Fn(&[String]) -> Option<Node>,
) -> Option<(Values, Vec<Node>)> {
    let plain = |n: &Node| match &n.data {
        Data::Seq(_) => true,
        Data::Map(_) => n.get("name").is_none() && n.get("label").is_none(),
        _ => false,
    };
    if list.is_empty() || !list.iter().all(plain) {
        return None;
    }
    let steps = steps_of(node);
    let mut heads = Vec::new();
    let mut texts = Vec::new();
    let mut labels = Vec::new();
    let mut values = Vec::new();
    for (at, value) in list.iter().enumerate() {
        let name = format!("{axis}{at}");
        let mut fields = vec![format!("name: {name}")];
        // Where the list is a variable, its values are referred to: they follow its changes.
        let mut field = |rest: Option<&str>, node: &Node| {
            let reference = steps.as_ref().and_then(|steps| {
                let root = find(&steps[..1])?;
                let mut all = steps[1..].to_vec();
                all.push(at.to_string());
                all.extend(rest.map(str::to_owned));
                let way = is_name(&steps[0]).then(|| way(&root, &all)).flatten()?;
                heads.push(steps[0].clone());
                Some(yaml::quoted(&format!("${{vars.{}{way}}}", steps[0])))
            });
            reference.unwrap_or_else(|| yaml::value(node, &number))
        };
        match &value.data {
            Data::Map(entries) => {
                for (key, node) in entries.iter() {
                    fields.push(format!(
                        "{}: {}",
                        yaml::text(&key.name),
                        field(Some(&key.name), node)
                    ));
                }
            }
            _ => fields.push(format!("value: {}", field(None, value))),
        }
        texts.push(format!("{{{}}}", fields.join(", ")));
        values.push(with_name(value, &name));
        labels.push(name);
    }
    let by_reference = !heads.is_empty();
    let text = format!("[{}]", texts.join(", "));
    Some((
        Values {
            text,
            heads,
            labels,
            by_reference,
        },
        values,
    ))
}

/// A value as joins compare it: with the name that it has here.
fn with_name(value: &Node, name: &str) -> Node {
    let span = value.span;
    let key = |text: &str| Key {
        name: text.into(),
        span,
    };
    let name = Node {
        span,
        data: Data::String(name.into()),
    };
    let entries = [(key("name"), name), (key("value"), value.clone())];
    Node {
        span,
        data: Data::Map(entries.into()),
    }
}

/// A number or truth value as a text has it here.
pub fn written(node: &Node) -> String {
    match &node.data {
        Data::Number(n) => n.text(),
        Data::Bool(b) => b.text(),
        _ => shown(node).unwrap_or_default(),
    }
}

/// The axes of a stage; `None`: its items cannot be values of axes.
pub fn axes(
    stage: &Stage,
    items: &Items,
    find: &dyn Fn(&[String]) -> Option<Node>,
) -> Option<Axes> {
    if items.all.is_empty() {
        return None;
    }
    match &stage.each {
        Each::Once => None,
        Each::Foreach(node) => match &items.axes.first()?.1.data {
            Data::Map(_) => named(node, items, find),
            _ => {
                let list: Vec<Node> = items.all.iter().map(|i| i.value.clone()).collect();
                // Maps and single values in one list have no names in common.
                let maps = list
                    .iter()
                    .filter(|n| matches!(n.data, Data::Map(_)))
                    .count();
                if maps > 0 && maps < list.len() {
                    return None;
                }
                let full = match &items.axes.first()?.1.data {
                    Data::Seq(all) => all.len() == list.len(),
                    _ => false,
                };
                let literal = Node {
                    span: node.span,
                    data: Data::Null,
                };
                let found = values(if full { node } else { &literal }, &list, find)?;
                Some(Axes {
                    text: format!("{{item: {}}}", found.text),
                    list: vec![Axis {
                        name: "item".to_owned(),
                        labels: found.labels,
                        values: list,
                        by_reference: found.by_reference,
                    }],
                    heads: found.heads,
                    item: ItemIs::Value,
                })
            }
        },
        Each::Matrix(written) => {
            let mut parts = Vec::new();
            let mut heads = Vec::new();
            let mut list = Vec::new();
            let mut count = 1usize;
            let mut as_named = true;
            for (at, ((key, node), (name, resolved))) in written.iter().zip(&items.axes).enumerate()
            {
                let Data::Seq(all) = &resolved.data else {
                    return None;
                };
                if !key
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
                    || matches!(name.as_str(), "zip" | "include" | "exclude" | "round")
                {
                    return None;
                }
                count = count.saturating_mul(all.len());
                let wrapped = wrapped(name, node, all, find);
                as_named &= wrapped.is_some() || all.iter().all(|n| shown(n).is_some());
                let (found, all) = match wrapped {
                    Some((found, all)) => (found, all),
                    None => (values(node, all, find)?, all.to_vec()),
                };
                parts.push(format!("{name}: {}", found.text));
                heads.extend(found.heads);
                let pick = |labels: &[String]| {
                    items
                        .all
                        .iter()
                        .map(|i| labels[i.picks[at]].clone())
                        .collect()
                };
                list.push(Axis {
                    name: name.clone(),
                    labels: pick(&found.labels),
                    values: items.all.iter().map(|i| all[i.picks[at]].clone()).collect(),
                    by_reference: found.by_reference,
                });
            }
            // Combinations that DVC takes for one.
            if count != items.all.len() || parts.is_empty() {
                return None;
            }
            Some(Axes {
                text: format!("{{{}}}", parts.join(", ")),
                list,
                heads,
                item: ItemIs::Axes { as_named },
            })
        }
    }
}

/// A map of items: the key is the name of a value.
fn named(node: &Node, items: &Items, find: &dyn Fn(&[String]) -> Option<Node>) -> Option<Axes> {
    let keys: Vec<String> = items.all.iter().map(|i| i.key.clone()).collect();
    if !keys.iter().all(|k| can_be_picked(k))
        || items
            .all
            .iter()
            .any(|i| matches!(i.value.data, Data::Seq(_) | Data::Null | Data::Broken))
    {
        return None;
    }
    let maps = items
        .all
        .iter()
        .filter(|i| matches!(i.value.data, Data::Map(_)))
        .count();
    if maps > 0 && maps < items.all.len() {
        return None;
    }
    let steps = steps_of(node);
    let mut heads = Vec::new();
    // Where the map is a variable, its values are referred to: they follow its changes.
    let mut value = |key: &str, rest: Option<&str>, node: &Node| {
        let reference = steps.as_ref().and_then(|steps| {
            let root = find(&steps[..1])?;
            let mut all = steps[1..].to_vec();
            all.push(key.to_owned());
            all.extend(rest.map(str::to_owned));
            let way = way(&root, &all)?;
            is_name(&steps[0]).then(|| {
                heads.push(steps[0].clone());
                yaml::quoted(&format!("${{vars.{}{way}}}", steps[0]))
            })
        });
        reference.unwrap_or_else(|| yaml::value(node, &number))
    };
    let has_name = items.all.iter().any(|i| i.value.get("name").is_some());
    if maps > 0 && has_name {
        let values: Vec<String> = items
            .all
            .iter()
            .map(|i| value(&i.key, None, &i.value))
            .collect();
        let names: Vec<String> = keys.iter().map(|k| yaml::text(k)).collect();
        let text = format!(
            "{{zip: {{key: [{}], item: [{}]}}}}",
            names.join(", "),
            values.join(", ")
        );
        let labels: Vec<String> = items
            .all
            .iter()
            .enumerate()
            .map(|(i, item)| label(&item.value, i))
            .collect();
        if !distinct(&labels) || !labels.iter().all(|l| can_be_picked(l)) {
            return None;
        }
        let key = |k: &String| Node {
            span: node.span,
            data: Data::String(k.as_str().into()),
        };
        return Some(Axes {
            text,
            list: vec![
                Axis {
                    name: "key".to_owned(),
                    values: keys.iter().map(key).collect(),
                    labels: keys,
                    by_reference: false,
                },
                Axis {
                    name: "item".to_owned(),
                    values: items.all.iter().map(|i| i.value.clone()).collect(),
                    labels,
                    by_reference: true,
                },
            ],
            heads,
            item: ItemIs::Beside,
        });
    }
    let mut texts = Vec::new();
    for item in &items.all {
        let mut fields = vec![format!("name: {}", yaml::text(&item.key))];
        if maps > 0 {
            for (key, node) in item.value.entries() {
                fields.push(format!(
                    "{}: {}",
                    yaml::text(&key.name),
                    value(&item.key, Some(&key.name), node)
                ));
            }
        } else {
            fields.push(format!("value: {}", value(&item.key, None, &item.value)));
        }
        texts.push(format!("{{{}}}", fields.join(", ")));
    }
    Some(Axes {
        text: format!("{{item: [{}]}}", texts.join(", ")),
        list: vec![Axis {
            name: "item".to_owned(),
            values: items
                .all
                .iter()
                .map(|i| with_name(&i.value, &i.key))
                .collect(),
            labels: keys,
            by_reference: true,
        }],
        heads,
        item: if maps > 0 {
            ItemIs::NamedMap
        } else {
            ItemIs::NamedValue
        },
    })
}

impl Axes {
    /// The reference that stands for a part of an item, or for its key.
    pub fn reference(
        &self,
        root: Root,
        steps: &[String],
        item: &[(String, Node)],
    ) -> Option<String> {
        let first = item.first().map(|(_, node)| node)?;
        match (self.item, root) {
            (ItemIs::Value, Root::Item) => Some(format!("matrix.item{}", way(first, steps)?)),
            (ItemIs::NamedValue, Root::Item) if steps.is_empty() => {
                Some("matrix.item.value".to_owned())
            }
            (ItemIs::NamedMap | ItemIs::Beside, Root::Item) if !steps.is_empty() => {
                Some(format!("matrix.item{}", way(first, steps)?))
            }
            (ItemIs::NamedValue | ItemIs::NamedMap, Root::Key) => Some("matrix.item".to_owned()),
            (ItemIs::Beside, Root::Key) => Some("matrix.key".to_owned()),
            (ItemIs::Axes { .. }, Root::Item) => {
                let (name, rest) = steps.split_first()?;
                let (_, node) = item.iter().find(|(n, _)| n == name)?;
                let value = if matches!(node.data, Data::Seq(_)) {
                    ".value"
                } else {
                    ""
                };
                Some(format!("matrix.{name}{value}{}", way(node, rest)?))
            }
            (ItemIs::Axes { as_named: true }, Root::Key) => {
                let names: Vec<String> = self
                    .list
                    .iter()
                    .map(|a| format!("${{matrix.{}}}", a.name))
                    .collect();
                // The braces around it are written by whoever writes a reference.
                let text = names.join("-");
                text.strip_prefix("${")
                    .and_then(|t| t.strip_suffix('}'))
                    .map(str::to_owned)
            }
            _ => None,
        }
    }
}

/// A number that two ways of writing would put into a text differently.
pub fn differs(node: &Node) -> Option<(String, String)> {
    let (here, there) = match &node.data {
        Data::Number(n) => (n.text(), python(&n.value)),
        Data::Bool(Written { value, .. }) => (written(node), value.to_string()),
        _ => return None,
    };
    (here != there).then_some((here, there))
}

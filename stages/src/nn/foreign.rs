//! Tensors of other programs, under the names they have there, as those of a network of ours:
//! PyTorch's state dicts.
//!
//! Layouts are the same ([`super::layout`]); what differs is names. They are taken as they are,
//! then with wrappers and synonyms translated; else layers of one sort are matched in order, where
//! shapes and names leave one way only. Two layers of one shape whose order nobody can tell are an
//! error, not a guess.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::architecture::Architecture;
use crate::failure::Failure;
use crate::weights::{NamedTensor, NamedTensors, TensorFile};

/// What wraps a network and lengthens all names.
const WRAPPERS: [&str; 6] = [
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "state_dict.",
];
/// Parts of names that mean what ours mean.
const SYNONYMS: [(&str, &str); 3] = [
    ("linear", "fc"),
    ("shortcut", "downsample"),
    ("classifier", "fc"),
];
/// Differences listed.
const SHOWN: usize = 8;

/// The tensors of `architecture` from those of a file, called `of` in messages.
///
/// # Errors
/// A [`Failure`] that lists what does not match.
pub fn adopt(
    architecture: &Architecture,
    tensors: NamedTensors,
    of: &str,
) -> Result<NamedTensors, Failure> {
    let mut theirs: NamedTensors = tensors
        .into_iter()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
        .collect();
    // What was taken off all names, to name tensors as the file does.
    let mut taken = String::new();
    loop {
        if architecture.check(&theirs, of).is_ok() {
            return Ok(theirs);
        }
        let wrapper = WRAPPERS
            .iter()
            .find(|w| !theirs.is_empty() && theirs.keys().all(|name| name.starts_with(**w)));
        let Some(wrapper) = wrapper else { break };
        taken.push_str(wrapper);
        theirs = theirs
            .into_iter()
            .map(|(name, tensor)| (name[wrapper.len()..].to_owned(), tensor))
            .collect();
    }
    let translated: NamedTensors = theirs
        .iter()
        .map(|(name, tensor)| (translate(name), tensor.clone()))
        .collect();
    if translated.len() == theirs.len() && architecture.check(&translated, of).is_ok() {
        return Ok(translated);
    }
    let ours: Vec<(&str, &[usize])> = architecture
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.shape.as_slice()))
        .collect();
    let names = matched(&ours, &theirs, &taken).map_err(|what| what.failure(of))?;
    Ok(names
        .into_iter()
        .filter_map(|(theirs_name, our_name)| Some((our_name, theirs.remove(&theirs_name)?)))
        .collect())
}

/// The tensors of a file with those that it does not repeat: what `safetensors.torch.save_model`
/// leaves out because it is another tensor too, the metadata name.
pub fn untied(file: TensorFile) -> NamedTensors {
    let mut tensors = file.tensors;
    for (name, same) in file.metadata {
        if let Some(tensor) = tensors.get(&same).cloned() {
            tensors.entry(name).or_insert(tensor);
        }
    }
    tensors
}

fn translate(name: &str) -> String {
    let part = |part: &str| {
        let known = SYNONYMS.iter().find(|(theirs, _)| *theirs == part);
        known.map_or(part, |(_, ours)| ours).to_owned()
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Why tensors do not fit.
enum Mismatch {
    /// Layers without a partner on either side.
    Alone {
        ours: Vec<String>,
        theirs: Vec<String>,
    },
    /// Layers of one shape whose order cannot be told.
    Ambiguous(Vec<String>),
}

impl Mismatch {
    fn failure(self, of: &str) -> Failure {
        let listed = |names: &[String]| {
            let more = names.len().saturating_sub(SHOWN);
            let mut text = names[..names.len() - more].join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            if text.is_empty() {
                "nothing".to_owned()
            } else {
                text
            }
        };
        match self {
            Mismatch::Alone { ours, theirs } => Failure::new(format!(
                "{of} is not the network that `model` says: without a partner are, of the network, {}; of the file, {}",
                listed(&ours),
                listed(&theirs)
            ))
            .hint("`model`, the size of the images and the number of classes must be those the weights were made with"),
            Mismatch::Ambiguous(names) => Failure::new(format!(
                "{of}: which comes first of {}? They have one shape, and their names do not say",
                listed(&names)
            ))
            .hint("number them in their order (`fc1`, `fc2` ...), or give them the names of the network: see the guide to `train`"),
        }
    }
}

/// A layer: the tensors with one name before the last dot.
type Layers<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a [usize]>>;

/// What tells sorts of layers apart: their tensors' last names and shapes.
type Signature<'a> = Vec<(&'a str, &'a [usize])>;

/// Their tensor → our tensor.
fn matched(
    ours: &[(&str, &[usize])],
    theirs: &NamedTensors,
    taken: &str,
) -> Result<Vec<(String, String)>, Mismatch> {
    let mut order: Vec<&str> = Vec::new();
    let mut our_layers = Layers::new();
    for (name, shape) in ours {
        let (layer, last) = split(name);
        if !order.contains(&layer) {
            order.push(layer);
        }
        our_layers.entry(layer).or_default().insert(last, shape);
    }
    let mut their_layers = Layers::new();
    for (name, NamedTensor { shape, .. }) in theirs {
        let (layer, last) = split(name);
        their_layers.entry(layer).or_default().insert(last, shape);
    }
    let mut sorts: BTreeMap<Signature, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for layer in &order {
        let key = our_layers[layer].iter().map(|(n, s)| (*n, *s)).collect();
        sorts.entry(key).or_default().0.push(layer);
    }
    for (layer, tensors) in &their_layers {
        let key = tensors.iter().map(|(n, s)| (*n, *s)).collect();
        sorts.entry(key).or_default().1.push(layer);
    }
    let told = |before: &str, layers: &[&str], key: &Signature| -> Vec<String> {
        let tensor = |layer: &str| {
            let shapes: Vec<String> = key
                .iter()
                .map(|(last, shape)| format!("{before}{} {shape:?}", joined(layer, last)))
                .collect();
            shapes.join(" + ")
        };
        layers.iter().map(|l| tensor(l)).collect()
    };
    let (mut alone_ours, mut alone_theirs) = (Vec::new(), Vec::new());
    for (key, (mine, other)) in &sorts {
        if mine.len() != other.len() {
            alone_ours.extend(told("", mine, key));
            alone_theirs.extend(told(taken, other, key));
        }
    }
    if !(alone_ours.is_empty() && alone_theirs.is_empty()) {
        return Err(Mismatch::Alone {
            ours: alone_ours,
            theirs: alone_theirs,
        });
    }
    let mut names = Vec::new();
    for (key, (mine, mut other)) in sorts {
        other.sort_by(|a, b| in_order(a, b));
        if let Some(pair) = other.windows(2).find(|pair| !is_ordered(pair[0], pair[1])) {
            return Err(Mismatch::Ambiguous(
                pair.iter().map(|n| format!("`{taken}{n}`")).collect(),
            ));
        }
        for (mine, other) in mine.into_iter().zip(other) {
            let tensors = key.iter();
            names.extend(tensors.map(|(last, _)| (joined(other, last), joined(mine, last))));
        }
    }
    Ok(names)
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

fn joined(layer: &str, last: &str) -> String {
    match layer {
        "" => last.to_owned(),
        layer => format!("{layer}.{last}"),
    }
}

/// Where the parts of a network with these names stand: features before classifiers.
fn rank(layer: &str) -> u8 {
    let first = layer.split('.').next().unwrap_or_default();
    match first.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "stem" | "conv" | "features" | "backbone" | "encoder" | "body" => 0,
        "classifier" | "head" | "fc" | "linear" | "out" | "output" => 2,
        _ => 1,
    }
}

/// Text and numbers of a name, in turn.
fn pieces(name: &str) -> Vec<(String, u64)> {
    let mut pieces: Vec<(String, u64)> = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (text, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (number, tail) = tail.split_at(end);
        pieces.push((text.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    pieces
}

/// Numbers by size, all else by letters; features before classifiers.
fn in_order(a: &str, b: &str) -> Ordering {
    rank(a)
        .cmp(&rank(b))
        .then_with(|| pieces(a).cmp(&pieces(b)))
}

/// The names say which comes first: they part at a number, or one is of the features and one of the
/// classifier.
fn is_ordered(a: &str, b: &str) -> bool {
    let (p, q) = (pieces(a), pieces(b));
    let first = p.iter().zip(&q).find(|(x, y)| x != y);
    rank(a) != rank(b) || first.is_some_and(|(x, y)| x.0 == y.0)
}

#[cfg(test)]
mod tests;

//! Names of parameters as people write them, with `*` for any characters.
//!
//! A pattern that ends in `.weight` or `.bias` is held against names of parameters, biases and
//! norms included; any other against names of layers, whose weights it means: `conv*` is every
//! convolution without its bias. Of several patterns for one parameter the most specific counts:
//! one without `*`, else the one with more characters beside its `*`.

use std::collections::BTreeMap;

use super::super::architecture::Architecture;
use super::super::layer::Parameter;
use crate::failure::Failure;

/// Whether the text is the pattern's.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether a pattern means a parameter.
pub(super) fn means(pattern: &str, parameter: &Parameter) -> bool {
    let (role, name) = (parameter.role, &*parameter.name);
    if pattern.ends_with(".weight") || pattern.ends_with(".bias") {
        return role.is_trained() && matches(pattern, name);
    }
    let layer = name.strip_suffix(".weight");
    role.is_weight() && layer.is_some_and(|layer| matches(pattern, layer))
}

/// Which parameters belong to layers that a pattern names, statistics of batch norm included; a
/// pattern of parameters means these alone.
///
/// # Errors
/// A pattern that names nothing.
pub fn whole_layers(
    patterns: &[String],
    architecture: &Architecture,
) -> Result<Vec<bool>, Failure> {
    let mut named = vec![false; architecture.parameters.len()];
    for pattern in patterns {
        let of_parameters = pattern.ends_with(".weight") || pattern.ends_with(".bias");
        let named_here = |parameter: &Parameter| match parameter.name.rsplit_once('.') {
            Some((layer, _)) if !of_parameters => matches(pattern, layer),
            _ => matches(pattern, &parameter.name),
        };
        let mut is_idle = true;
        for (named, parameter) in named.iter_mut().zip(&architecture.parameters) {
            if named_here(parameter) {
                (*named, is_idle) = (true, false);
            }
        }
        if is_idle {
            let layer = |p: &Parameter| p.name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
            let mut layers: Vec<String> =
                architecture.parameters.iter().filter_map(layer).collect();
            layers.dedup();
            return Err(
                Failure::new(format!("`{pattern}` names no layer of this network"))
                    .hint(format!("all there are: {}", layers.join(", "))),
            );
        }
    }
    Ok(named)
}

/// What is said of each parameter by the names of [`whole_layers`], the most specific first.
///
/// # Errors
/// A pattern that names nothing, or two equally specific ones for one parameter: one of them.
pub fn by_layer<'a, T>(
    said: &'a BTreeMap<String, T>,
    architecture: &Architecture,
) -> Result<Vec<Option<&'a T>>, (String, Failure)> {
    let mut best: Vec<Option<(&str, &T)>> = vec![None; architecture.parameters.len()];
    let mut as_good: Vec<Option<&str>> = vec![None; best.len()];
    for (pattern, what) in said {
        let named = whole_layers(std::slice::from_ref(pattern), architecture)
            .map_err(|failure| (pattern.clone(), failure))?;
        let named = named.into_iter().enumerate().filter(|(_, is)| *is);
        for (i, _) in named {
            match best[i].map(|(best, _)| rank(pattern).cmp(&rank(best))) {
                Some(std::cmp::Ordering::Less) => {}
                Some(std::cmp::Ordering::Equal) => as_good[i] = Some(pattern),
                _ => (best[i], as_good[i]) = (Some((pattern.as_str(), what)), None),
            }
        }
    }
    for ((best, other), parameter) in best.iter().zip(as_good).zip(&architecture.parameters) {
        if let (Some((one, _)), Some(other)) = (best, other) {
            let text = format!(
                "`{one}` and `{other}` both mean `{}`, and neither is more specific",
                parameter.name
            );
            let failure = Failure::new(text).hint("say which by a longer name");
            return Err(((*one).to_owned(), failure));
        }
    }
    Ok(best.into_iter().map(|b| b.map(|(_, what)| what)).collect())
}

/// Without `*` first, then by the characters beside it.
fn rank(pattern: &str) -> (bool, usize) {
    let stars = pattern.matches('*').count();
    (stars == 0, pattern.chars().count() - stars)
}

/// What is said of a parameter, and by which pattern.
///
/// # Errors
/// Two patterns are equally specific: both.
pub(super) fn most_specific<'a, T>(
    said: &'a BTreeMap<String, T>,
    parameter: &Parameter,
) -> Result<Option<(&'a str, &'a T)>, [&'a str; 2]> {
    let mut best: Option<(&str, &T)> = None;
    let mut as_good = None;
    for (pattern, what) in said.iter().filter(|(p, _)| means(p, parameter)) {
        match best.map(|(best, _)| rank(pattern).cmp(&rank(best))) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Equal) => as_good = Some(pattern.as_str()),
            _ => (best, as_good) = (Some((pattern.as_str(), what)), None),
        }
    }
    match (best, as_good) {
        (Some((one, _)), Some(other)) => Err([one, other]),
        (best, _) => Ok(best),
    }
}

/// A pattern that means no parameter.
pub(super) fn idle<'a, T>(
    said: &'a BTreeMap<String, T>,
    architecture: &Architecture,
) -> Option<(&'a str, Failure)> {
    let unused = |pattern: &&String| !architecture.parameters.iter().any(|p| means(pattern, p));
    let pattern = said.keys().find(unused)?;
    let trained = architecture
        .parameters
        .iter()
        .filter(|p| p.role.is_trained());
    let names: Vec<&str> = trained.map(|p| p.name.as_str()).collect();
    let failure =
        Failure::new(format!("`{pattern}` means no weight of this network")).hint(format!(
            "a layer's name means its weight; all there are: {}",
            names.join(", ")
        ));
    Some((pattern, failure))
}

#[cfg(test)]
mod tests {
    use super::super::super::architecture::tests::architecture;
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, want) in [
            ("fc1", "fc1", true),
            ("fc1", "fc10", false),
            ("fc*", "fc10", true),
            ("*conv*", "layer1.0.conv1", true),
            ("a*a", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn the_most_specific_counts() {
        let mlp = serde_json::json!({"mlp": {"hidden": [3], "batch_norm": {}}});
        let a = architecture(mlp, (1, 2, 1), 2);
        let said = |patterns: &[&str]| -> BTreeMap<String, usize> {
            let numbered = patterns.iter().enumerate();
            numbered.map(|(i, p)| ((*p).to_owned(), i)).collect()
        };
        let of = |name: &str, patterns: &[&str]| {
            let parameter = a.parameters.iter().find(|p| p.name == name).unwrap();
            let said = said(patterns);
            let found = most_specific(&said, parameter).map(|f| f.map(|(_, i)| *i));
            found.map_err(|two| two.map(str::to_owned))
        };
        assert_eq!(of("fc1.weight", &["*", "fc*", "fc1"]), Ok(Some(2)));
        assert_eq!(of("fc2.weight", &["*", "fc*", "fc1"]), Ok(Some(1)));
        assert_eq!(
            of("fc1.bias", &["*", "fc*", "fc1"]),
            Ok(None),
            "layers mean weights"
        );
        assert_eq!(of("fc1.bias", &["*.bias", "fc1"]), Ok(Some(0)));
        assert_eq!(of("bn1.weight", &["*"]), Ok(None), "a gain is no weight");
        assert_eq!(of("bn1.weight", &["bn*.weight"]), Ok(Some(0)));
        assert_eq!(
            of("fc1.weight", &["fc*", "*c1"]),
            Err(["*c1", "fc*"].map(str::to_owned))
        );
        assert!(idle(&said(&["fc1", "bn1.bias"]), &a).is_none());
        assert_eq!(idle(&said(&["fc1", "bn1"]), &a).unwrap().0, "bn1");
        assert!(idle(&said(&["bn1.running_mean"]), &a).is_some());
    }

    #[test]
    fn a_layer_is_everything_in_it() {
        let mlp = serde_json::json!({"mlp": {"hidden": [3], "batch_norm": {}}});
        let a = architecture(mlp, (1, 2, 1), 2);
        let named = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            let named = whole_layers(&patterns, &a)?;
            let names = a.parameters.iter().zip(named).filter(|(_, named)| *named);
            Ok::<_, Failure>(names.map(|(p, _)| p.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(
            named(&["bn*"]).unwrap(),
            [
                "bn1.weight",
                "bn1.bias",
                "bn1.running_mean",
                "bn1.running_var"
            ]
        );
        assert_eq!(
            named(&["fc2", "fc1.bias"]).unwrap(),
            ["fc1.bias", "fc2.weight", "fc2.bias"]
        );
        assert_eq!(named(&["*"]).unwrap().len(), a.parameters.len());
        let why = named(&["fc2", "fc3"]).unwrap_err();
        assert_eq!(why.message, "`fc3` names no layer of this network");
        assert_eq!(why.hint.unwrap(), "all there are: fc1, bn1, fc2");
    }
}

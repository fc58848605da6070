//! How a stage is run: resources, time limit, retries, sandbox, with the file's defaults filled in.
//!
//! Decides how sizes and times are written. Nothing here is part of a key.

use std::sync::Arc;

use crate::plan::{Network, ONE_GPU, Policy, Sandbox, Scratch};
use crate::size;
use crate::spec::text::decode::{Field, Raw};
use crate::spec::text::model::{Defaults, NetworkSetting, Resources, SandboxSetting, Stage};
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::Problem;

/// The defaults of a file.
pub fn from_defaults(defaults: Option<&Defaults>, problems: &mut Vec<Problem>) -> Policy {
    let mut policy = Policy::default();
    if let Some(d) = defaults {
        apply(
            &mut policy,
            d.resources.as_ref(),
            d.timeout.as_ref(),
            d.grace.as_ref(),
            d.retries.as_ref(),
            d.sandbox.as_ref(),
            problems,
        );
        policy.network = network(d.network.as_ref(), policy.network);
    }
    policy
}

/// A stage's policy over the defaults of its file.
pub fn of_stage(stage: &Stage, defaults: &Policy, problems: &mut Vec<Problem>) -> Policy {
    let mut policy = defaults.clone();
    apply(
        &mut policy,
        stage.resources.as_ref(),
        stage.timeout.as_ref(),
        stage.grace.as_ref(),
        stage.retries.as_ref(),
        stage.sandbox.as_ref(),
        problems,
    );
    policy.network = network(stage.network.as_ref(), policy.network);
    policy.scratch = match stage.scratch.as_ref().and_then(|s| s.value) {
        Some(true) => Scratch::Kept,
        Some(false) | None => Scratch::None,
    };
    let executor = stage.executor.as_ref().and_then(|e| e.value.as_deref());
    policy.executor = executor.map(Arc::from).or(policy.executor);
    policy.secrets = crate::spec::text::secrets::names(stage.secrets.as_ref(), problems);
    policy
}

fn network(field: Option<&Field<NetworkSetting>>, otherwise: Network) -> Network {
    match field.and_then(|f| f.value) {
        Some(NetworkSetting::On) => Network::On,
        Some(NetworkSetting::Off) => Network::Off,
        None => otherwise,
    }
}

fn apply(
    policy: &mut Policy,
    resources: Option<&Field<Resources>>,
    timeout: Option<&Raw>,
    grace: Option<&Raw>,
    retries: Option<&Field<u32>>,
    sandbox: Option<&Field<SandboxSetting>>,
    problems: &mut Vec<Problem>,
) {
    if let Some(Resources {
        cpus,
        memory,
        gpus,
        mutex,
    }) = resources.and_then(|r| r.value.as_ref())
    {
        if let Some(field) = cpus {
            match field.value {
                Some(0) => problems.push(Problem::new(field.span, "a stage needs at least 1 CPU")),
                Some(n) => policy.cpus = Some(n),
                None => {}
            }
        }
        if let Some(Raw(node)) = gpus {
            match gpus_in(node) {
                Ok(gpus) => policy.gpus = gpus,
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(names) = mutex {
            policy.mutexes = names
                .0
                .iter()
                .filter_map(|n| n.value.as_deref().map(Arc::from))
                .collect();
            policy.mutexes.sort();
            policy.mutexes.dedup();
        }
        if let Some(Raw(node)) = memory {
            match bytes(node) {
                Some(n) => policy.memory_bytes = Some(n),
                None => problems.push(
                    Problem::new(
                        node.span,
                        format!("expected an amount of memory, found {}", node.describe()),
                    )
                    .help("write `512MiB`, `2GB` or a whole number of bytes"),
                ),
            }
        }
    }
    let mut time = |raw: Option<&Raw>| {
        let Raw(node) = raw?;
        let seconds = seconds(node);
        if seconds.is_none() {
            problems.push(
                Problem::new(
                    node.span,
                    format!("expected a time above 0, found {}", node.describe()),
                )
                .help("write `90s`, `10m`, `1h30m` or a number of seconds"),
            );
        }
        seconds
    };
    policy.timeout_s = time(timeout).or(policy.timeout_s);
    policy.grace_s = time(grace).unwrap_or(policy.grace_s);
    if let Some(n) = retries.and_then(|r| r.value) {
        policy.retries = n;
    }
    match sandbox.and_then(|s| s.value) {
        Some(SandboxSetting::On) => policy.sandbox = Sandbox::On,
        Some(SandboxSetting::Off) => policy.sandbox = Sandbox::Off,
        None => {}
    }
}

fn gpus_in(node: &Node) -> Result<u32, Problem> {
    let number = match &node.data {
        Data::Number(n) => n.as_f64(),
        _ => None,
    };
    let expected = "expected a number of GPUs, or a share of one";
    number.and_then(thousandths).ok_or_else(|| {
        let found = number.map_or_else(|| node.describe(), |n| format!("`{n}`"));
        Problem::new(node.span, format!("{expected}, found {found}"))
            .help("write a whole number, or a share of one GPU in thousandths: `0.5`, `0.125`")
    })
}

/// A whole number, or a part of one that has thousandths, in thousandths.
fn thousandths(number: f64) -> Option<u32> {
    let one = f64::from(ONE_GPU);
    let thousandths = (number * one).round();
    let is_whole = number.fract() == 0.0 && (0.0..1e6).contains(&number);
    let is_share = (0.0..1.0).contains(&number) && thousandths / one == number;
    (is_whole || is_share).then_some(thousandths as u32)
}

fn bytes(node: &Node) -> Option<u64> {
    let text = match &node.data {
        Data::Number(n) => return n.as_u64().filter(|&n| n > 0),
        Data::String(s) => s.trim().to_ascii_lowercase(),
        _ => return None,
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let amount: f64 = text[..split].trim().parse().ok()?;
    let unit = size::factor(text[split..].strip_suffix('b')?)?;
    let total = amount * unit;
    (1.0..1e18).contains(&total).then_some(total as u64)
}

fn seconds(node: &Node) -> Option<f64> {
    let limit = |s: f64| (s > 0.0 && s < 1e10).then_some(s);
    let text = match &node.data {
        Data::Number(n) => return limit(n.as_f64()?),
        Data::String(s) => s.trim(),
        _ => return None,
    };
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let amount: f64 = rest[..split]
            .trim()
            .parse()
            .ok()
            .filter(|a: &f64| *a >= 0.0)?;
        let end = rest[split..]
            .find(|c: char| !c.is_ascii_alphabetic())
            .map_or(rest.len(), |e| split + e);
        total += amount
            * match &rest[split..end] {
                "ms" => 1e-3,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = rest[end..].trim_start();
    }
    limit(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::text::problem::Span;

    #[test]
    fn sizes_and_times() {
        let node = |s: &str| Node {
            span: Span::start_of(0),
            data: Data::String(s.into()),
        };
        for (text, n) in [
            ("2GB", Some(2_000_000_000)),
            ("512 MiB", Some(536_870_912)),
            ("1.5kb", Some(1500)),
            ("0b", None),
            ("2", None),
            ("GB", None),
            ("-1GB", None),
            ("2gigs", None),
        ] {
            assert_eq!(bytes(&node(text)), n, "{text}");
        }
        for (text, s) in [
            ("90s", Some(90.0)),
            ("1h30m", Some(5400.0)),
            ("1h 30m", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("0s", None),
            ("10", None),
            ("", None),
            ("5x", None),
            ("-5s", None),
        ] {
            assert_eq!(seconds(&node(text)), s, "{text}");
        }
    }

    #[test]
    fn gpus_are_whole_or_a_share_of_one() {
        for (number, gpus) in [
            (0.0, Some(0)),
            (1.0, Some(1_000)),
            (8.0, Some(8_000)),
            (0.5, Some(500)),
            (0.001, Some(1)),
            (0.29, Some(290)),
            (0.999, Some(999)),
            (0.0005, None),
            (0.3333, None),
            (1.5, None),
            (-1.0, None),
            (-0.5, None),
            (1e9, None),
            (f64::NAN, None),
        ] {
            assert_eq!(thousandths(number), gpus, "{number}");
        }
        let text = Node {
            span: Span::start_of(0),
            data: Data::String("half".into()),
        };
        let message = gpus_in(&text).unwrap_err().message;
        assert!(message.ends_with("found the text \"half\""), "{message}");
    }
}

//! The stages of a study with their instances, and of one instance of each why it ran, its
//! parameters and the end of its log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use repro_engine::change::in_words;
use repro_engine::digest::Digest;
use repro_engine::explain::{Explainer, Explanation};
use repro_engine::outline::{Nodes, outline};
use repro_engine::plan::{InstanceIndex, Work};
use repro_engine::record::event::Reason;
use repro_engine::regular::{self, Links};
use repro_engine::results::Results;
use repro_engine::results::instances::InstanceResult;
use repro_engine::session::Session;

use crate::study::{Instance, Stage};

/// Lines of a log that are shown.
const LOG_LINES: usize = 20;
/// Bytes of a log that are read for them.
const LOG_BYTES: u64 = 8 << 20;
/// Characters of parameters or a command that are shown.
const PARAMS_CHARS: usize = 6000;

/// The stages, without those that decide claims.
pub(super) fn of(
    session: &Session,
    results: &Results,
    instances: &[InstanceResult],
) -> anyhow::Result<Vec<Stage>> {
    let plan = &session.plan;
    let costs: HashMap<&str, _> = results
        .costs()
        .into_iter()
        .map(|c| (c.instance, c))
        .collect();
    let nodes = outline(plan, Nodes::Stages);
    let mut at: HashMap<&str, usize> = HashMap::new();
    let looks: BTreeSet<InstanceIndex> = plan
        .claims
        .iter()
        .flat_map(|c| &c.looks)
        .map(|l| l.instance)
        .collect();
    let claims: BTreeSet<&str> = looks.iter().map(|i| &*plan.instance(*i).stage).collect();
    let mut stages: Vec<Stage> = Vec::new();
    let mut position = vec![None; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        if claims.contains(node.name) {
            continue;
        }
        position[i] = Some(stages.len());
        at.insert(node.name, stages.len());
        let mut needs: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (from, names) in &node.needs {
            if let Some(from) = position[*from] {
                needs.insert(from, names.iter().map(|n| (*n).to_owned()).collect());
            }
        }
        stages.push(Stage {
            name: node.name.to_owned(),
            kind: node.kind.to_owned(),
            description: plan.said.of.get(node.name).cloned(),
            needs,
            files: node.files.iter().cloned().collect(),
            ..Stage::default()
        });
    }
    for result in instances {
        let Some(stage) = at.get(result.stage).map(|i| &mut stages[*i]) else {
            continue;
        };
        let cost = costs.get(result.instance);
        let energy = cost.and_then(|c| c.energy);
        stage.instances.push(Instance {
            name: result.instance.to_owned(),
            state: result.state.word(),
            key: result.key.map_or_else(String::new, |k| k.short()),
            seconds: result.wall_s,
            memory: cost.and_then(|c| c.max_rss_bytes),
            joules: energy.map(|e| e.joules),
            gpus_uncounted: energy.is_some_and(|e| e.gpus_uncounted),
            device: cost.and_then(|c| c.device.clone()),
            origin: result.origin.as_ref().map(ToString::to_string),
        });
    }
    let targets: Vec<InstanceIndex> = (0..plan.instances.len() as u32)
        .map(InstanceIndex)
        .collect();
    let explainer = Explainer::of(session, &targets)?;
    let by_name: HashMap<&str, &InstanceResult> =
        instances.iter().map(|i| (i.instance, i)).collect();
    let mut first: HashMap<&str, InstanceIndex> = HashMap::new();
    let mut telling: HashMap<&str, InstanceIndex> = HashMap::new();
    for (i, instance) in plan.instances.iter().enumerate() {
        let index = InstanceIndex(i as u32);
        first.entry(&instance.stage).or_insert(index);
        let result = by_name.get(&*instance.id);
        if result.is_some_and(|r| r.state.word() != "cached") {
            telling.entry(&instance.stage).or_insert(index);
        }
    }
    for stage in &mut stages {
        let Some(index) = first.get(&*stage.name) else {
            continue;
        };
        let told = telling.get(&*stage.name).unwrap_or(index);
        stage.why = why(&explainer.explain(*told)?);
        let instance = plan.instance(*index);
        let text = match &instance.work {
            Work::Kind { params, .. } => serde_json::to_string_pretty(&**params)?,
            Work::Command(command) => command.script.to_string(),
        };
        stage.params = text.chars().take(PARAMS_CHARS).collect();
        let key = by_name.get(&*instance.id).and_then(|r| r.key);
        stage.log = key.and_then(|key| log(session, &key));
    }
    Ok(stages)
}

/// The last lines of a log.
fn log(session: &Session, key: &Digest) -> Option<String> {
    let file = regular::open(&session.log_path(key), Links::Refuse).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    let shown: Vec<String> = lines[from..]
        .iter()
        .map(|l| l.chars().take(400).collect())
        .collect();
    (!shown.is_empty()).then(|| shown.join("\n"))
}

/// Why an instance ran, or would run.
fn why(explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {}",
        explanation.instance,
        explanation.state.word()
    )];
    let of = |reason: &Reason| -> Vec<String> {
        match reason {
            Reason::NeverRun => vec!["no earlier result was known".to_owned()],
            Reason::Changed(changes) => changes.iter().take(8).map(in_words).collect(),
            Reason::ResultLost(what) | Reason::Disbelieved(what) | Reason::Unasked(what) => {
                vec![what.clone()]
            }
            Reason::Forced => vec!["--force".to_owned()],
            Reason::Upstream(producer) => vec![format!("{producer} is executed first")],
        }
    };
    if let Some(reason) = &explanation.reason {
        lines.extend(
            of(reason)
                .into_iter()
                .map(|l| format!("to be executed: {l}")),
        );
    }
    lines.extend(explanation.problem.clone());
    if let Some(last) = &explanation.last_execution {
        let when = last.at.get(..16).unwrap_or(&last.at).replace('T', " ");
        let because = of(&last.reason).join("; ");
        lines.push(format!(
            "last executed here {when} UTC ({}): {because}",
            last.end
        ));
        lines.extend(last.message.clone());
    }
    if let Some(made) = &explanation.made
        && let Some(host) = &made.host
    {
        let at = made.at.as_deref().unwrap_or_default();
        let at = at.get(..16).unwrap_or(at).replace('T', " ");
        lines.push(format!("made on {host}, {at} UTC"));
    }
    if let Some(origin) = &explanation.origin {
        lines.push(format!("from {origin}"));
    }
    if !explanation.signers.is_empty() {
        lines.push(format!("signed by {}", explanation.signers.join(", ")));
    }
    if let Some(sandbox) = &explanation.sandbox {
        lines.push(format!("sandbox: {sandbox}"));
    }
    lines
}

//! Asks the engine's results for everything that a report tells. Decides what counts as a
//! repetition, and what is said of a claim beside its verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use repro_engine::change::{changes, in_words};
use repro_engine::digest::Digest;
use repro_engine::exchange::Network;
use repro_engine::explain::{Explainer, Explanation};
use repro_engine::notice::Tell;
use repro_engine::outline::{Nodes, outline};
use repro_engine::plan::{self, InstanceIndex, Plan, Work};
use repro_engine::record::event::{Reason, Verdict};
use repro_engine::regular::{self, Links};
use repro_engine::results::Results;
use repro_engine::results::claims::{ClaimState, claims};
use repro_engine::results::instances::InstanceResult;
use repro_engine::results::metrics::TableFound;
use repro_engine::session::Session;
use repro_engine::store::Fact;
use serde_json::Value;

use crate::commits;
use crate::figure::Figure;
use crate::previous::{Memory, Said};
use crate::series::{self, Observed, Repeats, Table};
use crate::study::{Claim, Instance, Picture, Sides, Stage, Study};
use crate::{Place, Tools, planes};

/// Lines of a log that are shown.
const LOG_LINES: usize = 20;
/// Bytes of a log that are read for them.
const LOG_BYTES: u64 = 8 << 20;
/// Characters of parameters or a command that are shown.
const PARAMS_CHARS: usize = 6000;
/// Pictures that are shown, and how large one may be.
const PICTURES: usize = 12;
const PICTURE_BYTES: u64 = 100_000;
/// Tables of places that are read, and how large one may be.
const PLACES: usize = 200;
const PLACES_BYTES: u64 = 16 << 20;

/// Everything about a study. `memory` is what earlier reports said; the caller keeps it.
///
/// # Errors
/// The store, a journal or a verdict cannot be read.
pub fn collect(
    session: &Session,
    tools: &Tools,
    network: Network,
    tell: Tell,
    memory: &mut Memory,
) -> anyhow::Result<Study> {
    let plan = &session.plan;
    let results = Results::of(session, &[])?;
    let instances = results.instances();
    let repeats = repeats(plan);
    let mut study = Study {
        name: plan.name.clone(),
        description: plan.said.study.clone(),
        ..Study::default()
    };
    study.claims = all_claims(session, &results, network, tell)?;
    let said = Said {
        verdicts: study
            .claims
            .iter()
            .map(|c| (c.name.clone(), c.verdict.unwrap_or("open").to_owned()))
            .collect(),
        keys: instances
            .iter()
            .filter_map(|i| Some((i.instance.to_owned(), i.key?.to_string())))
            .collect(),
    };
    let before = memory.turn(said.clone());
    tell_flips(session, &mut study.claims, before, &said);
    let tables = tables(&results, plan, network, tell, &mut study.remarks)?;
    let observed = Observed::of(&tables, &repeats);
    study.arms = observed.arms(tools.interval);
    let first = asked(plan);
    for figure in &plan.figures {
        match series::declared(figure, &observed, &study.arms, tools.interval) {
            Some(figure) => study.figures.push(figure),
            None => study.remarks.push(format!(
                "The figure {} has nothing to show yet: no result has {}{}.",
                figure.name,
                figure.of,
                match figure.stages.is_empty() {
                    true => String::new(),
                    false => format!(" in {}", figure.stages.join(", ")),
                }
            )),
        }
    }
    // Lines and planes in front of the rest: a stage that measures them is there to be looked at.
    study
        .figures
        .extend(places(&results, plan, &repeats, tools));
    let (figures, remarks) = series::automatic(&observed, &study.arms, &first, tools.interval);
    study.figures.extend(figures);
    study.remarks.extend(remarks);
    study.pictures = pictures(&results, plan);
    study.stages = stages(session, &results, &instances)?;
    study.commands = commands(session, &study);
    Ok(study)
}

/// The parameters of the instance that decides a claim.
fn params(plan: &Plan, claim: &plan::Claim) -> Option<Value> {
    let look = claim.looks.first()?;
    match &plan.instance(look.instance).work {
        Work::Kind { params, .. } => Some((**params).clone()),
        Work::Command(_) => None,
    }
}

fn names(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(|n| n.as_str());
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// The axes that repeat the experiment, as its claims say; `seed` always does.
fn repeats(plan: &Plan) -> Repeats {
    let mut repeats = Repeats {
        over: BTreeSet::from(["seed".to_owned()]),
        within: BTreeSet::new(),
    };
    for claim in &plan.claims {
        let params = params(plan, claim).unwrap_or_default();
        for part in ["compare", "measure"].map(|part| &params[part]) {
            let over = names(part.get("over"));
            let paired = names(part.get("paired_by"));
            match (&over[..], &paired[..]) {
                ([], [one]) => drop(repeats.over.insert(one.clone())),
                _ => repeats.over.extend(over),
            }
            repeats.within.extend(names(part.get("within")));
        }
    }
    repeats.within.retain(|axis| !repeats.over.contains(axis));
    repeats
}

/// The metrics that claims are about, in their order.
fn asked(plan: &Plan) -> Vec<String> {
    let mut asked = Vec::new();
    for claim in &plan.claims {
        let params = params(plan, claim).unwrap_or_default();
        for part in ["compare", "measure"] {
            if let Some(of) = params[part]["of"].as_str()
                && !asked.iter().any(|a| a == of)
            {
                asked.push(of.to_owned());
            }
        }
    }
    asked
}

fn all_claims(
    session: &Session,
    results: &Results,
    network: Network,
    tell: Tell,
) -> anyhow::Result<Vec<Claim>> {
    let plan = &session.plan;
    let states = claims(session, &[], network, tell)?;
    let root = &session.project.root;
    let names: Vec<String> = plan.claims.iter().map(|c| c.name.to_string()).collect();
    let file = plan.files.first().map_or(Path::new("pipeline.yaml"), |f| f);
    let file = file.strip_prefix(root).unwrap_or(file);
    let commits = commits::of_claims(root, file, &names);
    let mut told = Vec::new();
    for (claim, state) in plan.claims.iter().zip(states) {
        let mut made = Claim {
            name: claim.name.to_string(),
            source: claim.source.clone(),
            note: plan.said.of.get(&format!("claim:{}", claim.name)).cloned(),
            ..Claim::default()
        };
        let params = params(plan, claim).unwrap_or_default();
        made.bounds = bounds(&params["expect"]);
        if let ClaimState::Decided(result) = state {
            made.verdict = Some(match result.verdict {
                Verdict::Holds => "holds",
                Verdict::Refuted => "refuted",
                Verdict::Inconclusive => "inconclusive",
            });
            made.estimate = result.estimate;
            made.interval = result.low.zip(result.high).map(|(low, high)| [low, high]);
            made.confidence = result.confidence;
            made.n = result.n;
            made.expects = result.expectation();
            let taken = result.looks.as_ref().map_or(0, |looks| looks.taken.len());
            if let Some(evidence) = results.evidence(claim, taken) {
                made.bounds = bounds(&evidence["expect"]).or(made.bounds);
                made.reason = evidence["reason"].as_str().map(str::to_owned);
                made.values = observations(&evidence);
                made.sides = sides(plan, claim, &params, &evidence);
            }
        }
        if made.expects.is_empty() {
            made.expects = expectation(&params["expect"]);
        }
        made.committed = commits
            .get(&made.name)
            .and_then(|commit| registered(results, plan, claim, commit));
        told.push(made);
    }
    Ok(told)
}

fn expectation(expect: &Value) -> String {
    let mut words = Vec::new();
    for (name, value) in expect.as_object().into_iter().flatten() {
        if name != "confidence" && !value.is_null() {
            words.push(format!(
                "{name} {}",
                value.to_string().replace(['{', '}', '"'], "")
            ));
        }
    }
    words.join(", ")
}

/// The bounds within which a claim holds: of the first expectation that has any.
fn bounds(expect: &Value) -> Option<[f64; 2]> {
    expect.as_object()?.iter().find_map(|(sort, e)| {
        let number = |name: &str| e.get(name).and_then(Value::as_f64);
        if let Some(margin) = number("equivalent") {
            // Of a ratio it is a factor.
            return Some(match sort.as_str() {
                "ratio" => [1.0 / margin, margin],
                _ => [-margin, margin],
            });
        }
        if let Some([low, high]) = e
            .get("between")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            return Some([low.as_f64()?, high.as_f64()?]);
        }
        let within = e.get("within");
        let end = |name: &str, at: usize| {
            let within = within?;
            within.get(name).or_else(|| within.get(at))?.as_f64()
        };
        let low = number("above").or_else(|| end("low", 0));
        let high = number("below").or_else(|| end("high", 1));
        (low.is_some() || high.is_some()).then(|| {
            [
                low.unwrap_or(f64::NEG_INFINITY),
                high.unwrap_or(f64::INFINITY),
            ]
        })
    })
}

fn values(side: &Value) -> BTreeMap<String, f64> {
    let values = side["values"].as_object().into_iter().flatten();
    values
        .filter_map(|(name, v)| Some((name.clone(), v.as_f64()?)))
        .collect()
}

/// Differences of pairs, or the values of one side.
fn observations(evidence: &Value) -> Vec<(String, f64)> {
    let (a, b) = (values(&evidence["a"]), values(&evidence["b"]));
    if evidence["b"].is_null() {
        return a.into_iter().collect();
    }
    let pairs = a.into_iter().filter_map(|(name, a)| {
        let b = b.get(&name)?;
        Some((name, a - b))
    });
    pairs.collect()
}

fn sides(plan: &Plan, claim: &plan::Claim, params: &Value, evidence: &Value) -> Option<Sides> {
    let instance = plan.instance(claim.looks.first()?.instance);
    let name = |need: &str| {
        let need = instance.needs.iter().find(|n| &*n.name == need);
        let producers = need.into_iter().flat_map(|n| &n.items);
        let mut stages: Vec<String> = Vec::new();
        for item in producers {
            if let plan::Source::Output { instance, .. } = &item.source {
                let stage = plan.instance(*instance).stage.to_string();
                if !stages.contains(&stage) {
                    stages.push(stage);
                }
            }
        }
        stages.join(", ")
    };
    Some(Sides {
        a: evidence["a"]["mean"].as_f64()?,
        b: evidence["b"]["mean"].as_f64()?,
        a_name: name("a"),
        b_name: name("b"),
        of: params["compare"]["of"].as_str()?.to_owned(),
    })
}

/// How long before its first result a claim was committed, or after.
fn registered(
    results: &Results,
    plan: &Plan,
    claim: &plan::Claim,
    commit: &commits::Commit,
) -> Option<String> {
    let at: jiff::Timestamp = commit.at.parse().ok()?;
    let day = commit.at.get(..10)?;
    let name = &commit.name;
    let runs: BTreeSet<InstanceIndex> = claim
        .looks
        .iter()
        .flat_map(|look| plan.producers(look.instance))
        .collect();
    let made = runs.into_iter().filter_map(|run| {
        let record = results.record(&plan.instance(run).id)?;
        record
            .observation
            .text(Fact::At)?
            .parse::<jiff::Timestamp>()
            .ok()
    });
    Some(match made.min() {
        None => format!("Committed {day} ({name}); it has no result yet."),
        Some(first) if at <= first => format!(
            "Committed {day} ({name}), {} before the first of its results.",
            commits::between(at, first)
        ),
        Some(first) => format!(
            "Committed as it stands {day} ({name}), {} after the first of its results.",
            commits::between(first, at)
        ),
    })
}

fn tell_flips(session: &Session, claims: &mut [Claim], before: &Said, now: &Said) {
    let plan = &session.plan;
    for claim in claims {
        let verdict = claim.verdict.unwrap_or("open");
        let Some(old) = before
            .verdicts
            .get(&claim.name)
            .filter(|old| **old != verdict)
        else {
            continue;
        };
        let own = plan.claims.iter().find(|c| *c.name == *claim.name);
        let mut open: Vec<InstanceIndex> = own
            .into_iter()
            .flat_map(|c| &c.looks)
            .map(|l| l.instance)
            .collect();
        let (mut seen, mut causes) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
        while let Some(index) = open.pop() {
            if !seen.insert(index) {
                continue;
            }
            open.extend(plan.producers(index));
            let instance = plan.instance(index);
            let key =
                |said: &Said| -> Option<Digest> { said.keys.get(&*instance.id)?.parse().ok() };
            let (Some(old), Some(new)) = (key(before), key(now)) else {
                continue;
            };
            if old == new {
                continue;
            }
            let preimages = session.preimage(&old).zip(session.preimage(&new));
            let Some((old, new)) = preimages else {
                continue;
            };
            for change in changes(&old, &new) {
                if !change.field.starts_with("inputs") {
                    let cause = format!("{}: {}", instance.stage, in_words(&change));
                    *causes.entry(cause).or_default() += 1;
                }
            }
        }
        let mut text = format!("In an earlier report: {old}.");
        let causes: Vec<String> = causes
            .into_iter()
            .take(4)
            .map(|(cause, n)| match n {
                1 => cause,
                n => format!("{cause} ({n} instances)"),
            })
            .collect();
        if !causes.is_empty() {
            text.push_str(&format!(" Changed since: {}.", causes.join("; ")));
        }
        claim.flipped = Some(text);
    }
}

fn axes_of(instance: &plan::Instance) -> Vec<(String, String)> {
    let axes = instance.axes.iter();
    axes.map(|(axis, value)| (axis.to_string(), value.text.to_string()))
        .collect()
}

fn tables(
    results: &Results,
    plan: &Plan,
    network: Network,
    tell: Tell,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Vec<Table>> {
    let by_name: HashMap<&str, &plan::Instance> =
        plan.instances.iter().map(|i| (&*i.id, i)).collect();
    let (mut tables, mut open, mut elsewhere) = (Vec::new(), 0, 0);
    for table in results.tables(network, tell)? {
        match table.found {
            TableFound::Rows(rows) => {
                if let Some(instance) = by_name.get(table.instance) {
                    tables.push(Table {
                        stage: instance.stage.to_string(),
                        axes: axes_of(instance),
                        rows,
                    });
                }
            }
            TableFound::Open => open += 1,
            TableFound::Elsewhere(_) => elsewhere += 1,
            TableFound::Unreadable(_) => {}
        }
    }
    if open > 0 {
        remarks.push(format!(
            "{open} tables have no result yet; repro run makes them."
        ));
    }
    if elsewhere > 0 {
        remarks.push(format!(
            "{elsewhere} tables are on a remote only; repro pull gets them."
        ));
    }
    Ok(tables)
}

/// Figures of lines and planes.
fn places(results: &Results, plan: &Plan, repeats: &Repeats, tools: &Tools) -> Vec<Figure> {
    let (mut read, mut tried) = (Vec::new(), 0);
    for instance in &plan.instances {
        for output in instance.outputs.iter() {
            let is_table = output.path.as_str().ends_with(".parquet") && *output.name != *"metrics";
            if tried >= PLACES || !is_table {
                continue;
            }
            tried += 1;
            let path = results.file(&instance.id, &output.name, PLACES_BYTES);
            let places: Option<Vec<Place>> = path.and_then(|p| (tools.places)(&p).ok());
            if let Some(places) = places.filter(|p| !p.is_empty()) {
                read.push((instance.stage.to_string(), axes_of(instance), places));
            }
        }
    }
    planes::figures(read, repeats, tools.interval)
}

fn pictures(results: &Results, plan: &Plan) -> Vec<Picture> {
    let mut pictures = Vec::new();
    let mut seen = BTreeSet::new();
    for instance in &plan.instances {
        for output in instance.outputs.iter() {
            let media = match output.path.as_str().rsplit('.').next() {
                Some("png") => "image/png",
                Some("svg") => "image/svg+xml",
                Some("jpg" | "jpeg") => "image/jpeg",
                _ => continue,
            };
            if pictures.len() >= PICTURES || !seen.insert((&instance.stage, &output.name)) {
                continue;
            }
            let path = results.file(&instance.id, &output.name, PICTURE_BYTES);
            if let Some(bytes) = path.and_then(|p| std::fs::read(p).ok()) {
                let name = format!("{}.{}", instance.id, output.name);
                pictures.push(Picture { name, media, bytes });
            }
        }
    }
    pictures
}

fn stages(
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
        stage.instances.push(Instance {
            name: result.instance.to_owned(),
            state: result.state.word(),
            key: result.key.map_or_else(String::new, |k| k.short()),
            seconds: result.wall_s,
            memory: cost.and_then(|c| c.max_rss_bytes),
            joules: cost.and_then(|c| c.energy).map(|e| e.joules),
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
            Work::Command(command) => command.script.clone(),
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

fn commands(session: &Session, study: &Study) -> Vec<String> {
    let file = session.plan.files.first();
    let file = file.map_or_else(String::new, |f| f.display().to_string());
    let mut commands = vec![format!("repro run {file}"), "repro claims".to_owned()];
    let first = study
        .stages
        .iter()
        .flat_map(|s| &s.instances)
        .find(|i| i.seconds.is_some());
    if let Some(instance) = first {
        commands.push(format!("repro verify '{}'", instance.name));
    }
    commands
}

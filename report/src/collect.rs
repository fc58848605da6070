//! Asks the engine's results for everything that a report tells. Decides what counts as a
//! repetition, and which tables and pictures are read.

mod claims;
mod sides;
mod stages;

use std::collections::{BTreeSet, HashMap};

use repro_engine::exchange::Network;
use repro_engine::notice::Tell;
use repro_engine::plan::{self, Plan};
use repro_engine::results::Results;
use repro_engine::results::claims::FromFile;
use repro_engine::results::given::Given;
use repro_engine::results::metrics::{MetricTable, TableFound};
use repro_engine::session::Session;
use repro_protocol::table::Row;
use serde_json::Value;

use crate::declared::declared;
use crate::figure::Figure;
use crate::made::{self, Made, Media};
use crate::observed::{self, Observed, Repeats, Table};
use crate::previous::{Memory, Said};
use crate::series;
use crate::study::{Arm, Study, Undrawn};
use crate::{Place, Tools, planes, study};

/// Pictures and pages that are shown.
const MADE: usize = 12;
/// Tables of places that are read, and how large one may be.
const PLACES: usize = 200;
const PLACES_BYTES: u64 = 16 << 20;

/// Everything about a study. `given` are metrics from a file, for what has no result here. `memory`
/// is what earlier reports said; the caller keeps it.
///
/// # Errors
/// The store, a journal or a verdict cannot be read.
pub fn collect(
    session: &Session,
    tools: &Tools,
    given: Option<&Given>,
    (network, tell): (Network, Tell),
    memory: &mut Memory,
) -> anyhow::Result<Study> {
    let plan = &session.plan;
    let results = Results::of(session, &[])?.with(given);
    let instances = results.instances();
    let repeats = repeats(plan);
    let mut study = Study {
        name: plan.name.clone(),
        description: plan.said.study.clone(),
        ..Study::default()
    };
    let judged;
    (study.claims, judged) = claims::of(session, &results, given, (network, tell))?;
    study.given = given.map(|given| told_of(given, judged));
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
    claims::tell_flips(session, &mut study.claims, before, &said);
    let tables = tables(&results, plan, network, tell, &mut study.remarks)?;
    let observed = Observed::of(&tables, &repeats);
    study.arms = observed.arms(tools.mean);
    let first = asked(plan);
    for figure in &plan.figures {
        match declared(figure, &observed, &study.arms, tools.mean) {
            Ok(figure) => study.figures.push(figure),
            Err(why) => study.undrawn.push(Undrawn {
                name: figure.name.to_string(),
                why,
            }),
        }
    }
    // Lines and planes in front of the rest: a stage that measures them is there to be looked at.
    study
        .figures
        .extend(places(&results, plan, &repeats, tools));
    let (figures, remarks) = series::automatic(&observed, &study.arms, &first, tools.mean);
    study.figures.extend(figures);
    study.remarks.extend(remarks);
    study.asked = first;
    study.made = made(&results, plan);
    study.stages = stages::of(session, &results, &instances)?;
    study.commands = commands(session, &study);
    Ok(study)
}

/// What is told of a file of metrics.
fn told_of(given: &Given, judged: FromFile) -> study::Given {
    let mut remarks = given.remarks();
    remarks.extend(judged.told());
    study::Given {
        file: given.called(),
        remarks,
        only_last: !given.is_whole(),
        instances: given.instances(),
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
        let params = claims::params(plan, claim).unwrap_or_default();
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
        let params = claims::params(plan, claim).unwrap_or_default();
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

/// Names and values of axes.
pub fn axes_of(axes: &plan::Axes) -> Vec<(String, String)> {
    let axes = axes.iter();
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
    let tables = results.tables(network, tell)?;
    let (mut open, mut elsewhere) = (0, 0);
    for table in &tables {
        match table.found {
            TableFound::Open => open += 1,
            TableFound::Elsewhere(_) => elsewhere += 1,
            TableFound::Rows(_) | TableFound::Last(_) | TableFound::Unreadable(_) => {}
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
    Ok(with_axes(plan, tables))
}

/// The tables that have rows, with the axes of their instances.
fn with_axes<'t>(plan: &Plan, tables: impl IntoIterator<Item = MetricTable<'t>>) -> Vec<Table> {
    let by_name: HashMap<&str, &plan::Instance> =
        plan.instances.iter().map(|i| (&*i.id, i)).collect();
    let with_axes = |table: MetricTable| {
        let rows = match table.found {
            TableFound::Rows(rows) => rows,
            TableFound::Last(rows) => rows.into_iter().map(without_time).collect(),
            _ => return None,
        };
        let instance = by_name.get(table.instance)?;
        Some(Table {
            stage: instance.stage.to_string(),
            axes: axes_of(&instance.axes),
            rows,
        })
    };
    tables.into_iter().filter_map(with_axes).collect()
}

/// The last values of runs that ended at different epochs are no curve.
fn without_time(row: Row) -> Row {
    Row {
        epoch: None,
        step: None,
        ..row
    }
}

/// The runs of these tables, repetitions together, and the names of their metrics as readers ask
/// for them: first those that claims are about, last those that were set and not measured.
pub fn runs<'t>(
    plan: &Plan,
    tables: impl IntoIterator<Item = MetricTable<'t>>,
    tools: &Tools,
) -> (Vec<Arm>, Vec<String>) {
    let observed = Observed::of(&with_axes(plan, tables), &repeats(plan));
    let arms = observed.arms(tools.mean);
    let first = asked(plan);
    let (measured, set) = observed::ranked(&arms, &first);
    let names = [measured, set].concat().into_iter().map(str::to_owned);
    let names = names.collect();
    (arms, names)
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
                read.push((instance.stage.to_string(), axes_of(&instance.axes), places));
            }
        }
    }
    planes::figures(read, repeats, tools.mean)
}

/// The first file of each output that can be shown.
fn made(results: &Results, plan: &Plan) -> Vec<Made> {
    let mut made = Vec::new();
    let mut seen = BTreeSet::new();
    for instance in &plan.instances {
        for output in instance.outputs.iter() {
            let Some(media) = Media::of(output.path.as_str()) else {
                continue;
            };
            if made.len() >= MADE || !seen.insert((&instance.stage, &output.name)) {
                continue;
            }
            let path = results.file(&instance.id, &output.name, made::BYTES_MAX);
            if let Some(bytes) = path.and_then(|p| std::fs::read(p).ok()) {
                let name = format!("{}.{}", instance.id, output.name);
                made.push(Made { name, media, bytes });
            }
        }
    }
    made
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

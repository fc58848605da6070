//! A pipeline file on its way through the rooms: read, decoded, tied, expanded; problems of all of
//! them are gathered.
//!
//! Decides the order of these steps, and what the top of a file must say.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::expansion::{arrange, making};
use super::text::diagnostic::{Diagnostics, Report};
use super::text::node;
use super::text::node::{Data, Node};
use super::text::problem::{Problem, Span};
use super::text::{decode, files, model, params, settings};
use super::tying::existing::Existing;
use super::tying::{
    claims, consumer, figures, outside, policy, preparing, refs, stages, tie, values, work,
};
use crate::catalog::{Catalog, Kind};
use crate::plan::{Claim, Instance, Place, Plan, Said};

/// What a specification is read from.
pub struct Options<'a> {
    /// The pipeline file.
    pub file: &'a Path,
    /// The project's directory: paths in the file are relative to it.
    pub root: &'a Path,
    /// `--profile`, in the order given.
    pub profile: Vec<String>,
    /// `--set`, in the order given: `epochs=3`, `vars.epochs=3` or `stages.NAME.with.FIELD=3`.
    pub set: Vec<String>,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads a pipeline and expands it. `external` describes a program named by `uses: ./program`
/// (given as an absolute path when the project's directory is one) and is called once for each.
pub fn load(
    options: &Options,
    catalog: &Catalog,
    external: &dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
) -> Result<Plan, Diagnostics> {
    let mut report = Report::default();
    let plan = read(options, catalog, external, &mut report);
    match plan {
        Some(plan) if report.is_clean() => Ok(plan),
        _ => {
            if report.is_clean() {
                // Cannot happen; but an empty list of problems would be silence.
                report.push(Problem::new(
                    Span::start_of(0),
                    "the specification could not be expanded",
                ));
            }
            Err(report.finish())
        }
    }
}

fn read(
    options: &Options,
    catalog: &Catalog,
    external: &dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    report: &mut Report,
) -> Option<Plan> {
    let (mut documents, mut files) = files::read_all(options.file, options.root, report);
    if documents.is_empty() {
        return None;
    }
    params::read_all(&mut documents, options.root, &mut files, report);
    let settings = settings::settle(&mut documents, &options.profile, &options.set, report);
    let (decoded, mirrors) = substitute(options, &documents, settings, report);
    let mut problems = Vec::new();
    for (i, file) in decoded.iter().enumerate() {
        check_top(file, i == 0, documents[i].source, &mut problems);
    }
    let mut values = values::Values::default();
    let mut table = stages::Table::default();
    let mut claims: Vec<(node::Key, decode::Field<model::Claim>)> = Vec::new();
    let mut claim_keys: HashMap<Arc<str>, Span> = HashMap::new();
    let (mut name, mut salt) = (None, String::new());
    let mut said = Said::default();
    let mut drawn: Vec<(node::Key, decode::Field<model::Figure>)> = Vec::new();
    let mut own_mirrors: Vec<String> = Vec::new();
    for (i, file) in decoded.into_iter().enumerate() {
        let defaults = Arc::new(policy::from_defaults(
            file.defaults.as_ref().and_then(|d| d.value.as_ref()),
            &mut problems,
        ));
        tell(&file, &mut said);
        drawn.extend(file.figures.map(|f| f.list).unwrap_or_default());
        for (key, field) in file.stages.map(|s| s.list).unwrap_or_default() {
            table.add(&key, field, &defaults, &mut values, &mut problems);
        }
        for (key, field) in file.claims.map(|c| c.list).unwrap_or_default() {
            match claim_keys.insert(key.name.clone(), key.span) {
                Some(first) => problems.push(settings::twice("claim", &key, first)),
                None => claims.push((key, field)),
            }
        }
        own_mirrors.extend(
            file.mirrors
                .and_then(|m| m.value)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|m| m.value),
        );
        if i == 0 {
            name = file.name.and_then(|n| n.value);
            salt = file.salt.and_then(|s| s.value).unwrap_or_default();
            said.study = file.description.and_then(|d| d.value);
        }
    }
    if table.order.is_empty() && problems.is_empty() && report.is_clean() {
        problems.push(Problem::new(Span::start_of(documents[0].source), "the pipeline has no stages").help("add `stages: {hello: {run: \"echo hello > ${outputs.text}\", outputs: {text: hello.txt}}}`"));
    }
    let figures = figures::tie_all(drawn, &table, &mut problems);
    let (instances, claims) = expand_all(
        options, catalog, external, &table, &values, claims, report, problems,
    )?;
    let fallback = || {
        options
            .file
            .file_stem()
            .map_or_else(|| "study".to_owned(), |s| s.to_string_lossy().into_owned())
    };
    Some(Plan {
        name: name.unwrap_or_else(fallback),
        instances,
        claims,
        said,
        figures,
        salt,
        mirrors: mirrors.unwrap_or(own_mirrors),
        files,
        warnings: report.warnings(),
    })
}

/// Replaces `${vars}` and `${env}` and decodes every file; also the mirrors of a profile.
fn substitute(
    options: &Options,
    documents: &[files::Document],
    settings: settings::Settings,
    report: &mut Report,
) -> (Vec<model::File>, Option<Vec<String>>) {
    let mut found = Vec::new();
    let mut roots = Vec::new();
    let mut mirrors = None;
    {
        let shared: &Report = report;
        let narrow = |span: Span, needle: &str| shared.narrow(span, needle);
        let mut vars = settings::Vars::new(settings.vars, options.env, &narrow);
        for document in documents {
            let mut entries = document.root.entries().to_vec();
            for (key, value) in &mut entries {
                if !matches!(&*key.name, "vars" | "profiles" | "include")
                    && let Some(new) = vars.substitute(value)
                {
                    *value = new;
                }
            }
            roots.push(Node {
                span: document.root.span,
                data: Data::Map(entries.into()),
            });
        }
        if let Some(node) = settings.mirrors {
            let node = vars.substitute(&node).unwrap_or(node);
            let (list, problems) = decode::decode::<Vec<decode::Field<String>>>(&node);
            found.extend(problems);
            mirrors = list.map(|l| l.into_iter().filter_map(|f| f.value).collect());
        }
        found.extend(vars.finish());
    }
    report.extend(found);
    let mut files = Vec::new();
    for root in roots {
        let (file, problems) = decode::decode::<model::File>(&root);
        report.extend(problems);
        files.extend(file);
    }
    (files, mirrors)
}

/// Descriptions of stages and notes of claims.
fn tell(file: &model::File, said: &mut Said) {
    fn stages(entries: &decode::Entries<model::Stage>, outer: &str, said: &mut Said) {
        for (key, field) in &entries.list {
            let Some(stage) = &field.value else { continue };
            let name = format!("{outer}{}", key.name);
            if let Some(text) = stage.description.as_ref().and_then(|d| d.value.clone()) {
                said.of.insert(name.clone(), text);
            }
            if let Some(inner) = &stage.stages {
                stages(inner, &format!("{name}."), said);
            }
        }
    }
    if let Some(entries) = &file.stages {
        stages(entries, "", said);
    }
    for (key, field) in file.claims.iter().flat_map(|c| &c.list) {
        let note = field.value.as_ref().and_then(|c| c.note.as_ref());
        if let Some(note) = note.and_then(|n| n.value.clone()) {
            said.of.insert(format!("claim:{}", key.name), note);
        }
    }
}

fn check_top(file: &model::File, main: bool, source: u32, problems: &mut Vec<Problem>) {
    match &file.version {
        None => problems.push(
            Problem::new(Span::start_of(source), "`version` is missing")
                .help("begin the file with `version: 1`"),
        ),
        Some(field) if field.value.is_some_and(|v| v != 1) => problems.push(
            Problem::new(
                field.span,
                "this version of `repro` reads pipelines of version 1",
            )
            .help("write `version: 1`, or use a newer `repro`"),
        ),
        Some(_) => {}
    }
    if !main && let Some(salt) = &file.salt {
        problems.push(
            Problem::new(
                salt.span,
                "`salt` belongs to the main file: it is part of every key",
            )
            .help("move it there"),
        );
    }
}

type Expanded = (Vec<Instance>, Vec<Claim>);

#[expect(
    clippy::too_many_arguments,
    reason = "the last step has everything the others made"
)]
fn expand_all(
    options: &Options,
    catalog: &Catalog,
    external: &dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    table: &stages::Table,
    values: &values::Values,
    claims: Vec<(node::Key, decode::Field<model::Claim>)>,
    report: &mut Report,
    mut problems: Vec<Problem>,
) -> Option<Expanded> {
    let mut made = None;
    let mut warnings = Vec::new();
    {
        let shared: &Report = report;
        let narrow = |span: Span, needle: &str| shared.narrow(span, needle);
        let (mut links, mut existing) = (refs::Links::default(), Existing::default());
        let mut tying = tie::Tying {
            table,
            values,
            links: &mut links,
            root: options.root,
            home: outside::home(options.env),
            existing: &mut existing,
            narrow: &narrow,
            claims: claims.iter().map(|(key, _)| key.name.clone()).collect(),
        };
        let mut kinds = preparing::Kinds::new(catalog, options.root, external);
        let mut preparing = preparing::Preparing {
            kinds: &mut kinds,
            env: options.env,
            narrow: &narrow,
        };
        let (mut needs, mut after, mut works) = (Vec::new(), Vec::new(), Vec::new());
        for (i, stage) in table.stages.iter().enumerate() {
            let consumer = consumer::Consumer {
                stage: Some(i),
                name: &stage.name,
                axes: &stage.rows.axes,
                round_axis: stage.round_axis,
            };
            // A stage whose matrix is wrong has no axes to read; its own problem is enough.
            let Some(model) = stage.model.as_ref().filter(|_| !stage.broken) else {
                let uses = stage
                    .model
                    .as_ref()
                    .and_then(|m| m.uses.as_ref())
                    .and_then(|f| Some((f.value.as_ref()?, f.span)));
                problems
                    .extend(uses.and_then(|(uses, span)| preparing.kinds.find(uses, span).err()));
                needs.push(Vec::new());
                after.push(Vec::new());
                works.push(work::Work::Broken);
                continue;
            };
            let tied = model
                .needs
                .as_ref()
                .map_or_else(Vec::new, |n| tying.needs(n, &consumer, &mut problems));
            let names: Vec<Arc<str>> = tied.iter().map(|n| n.name.clone()).collect();
            works.push(work::prepare(
                model,
                stage.key,
                &consumer,
                &names,
                &mut preparing,
                &mut problems,
            ));
            needs.push(tied);
            let names = model.after.as_ref();
            after.push(names.map_or_else(Vec::new, |names| {
                tying.after(names, &consumer, &mut problems)
            }));
        }
        tying.bindings(&mut problems);
        let claims: Vec<claims::ClaimDef> = claims
            .iter()
            .filter_map(|(key, field)| claims::tie(key, field, &mut tying, &mut problems))
            .collect();
        if let Some(order) = arrange::arrange(table, &needs, &after, &mut problems) {
            let place = |span: Span| shared.place(span);
            let places: Vec<Place> = table.stages.iter().map(|s| place(s.key)).collect();
            let making::Expanded {
                instances,
                claims,
                problems: found,
                warnings: said,
            } = making::Expander::new(tying, table, catalog, &place, order)
                .run(needs, after, works, &places, claims);
            problems.extend(found);
            warnings = said;
            made = Some((instances, claims));
        }
    }
    report.extend(problems);
    report.warn(warnings);
    made
}

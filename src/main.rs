//! The one place that knows both crates: it hands the stage crate's kinds to the engine as data.

use std::process::ExitCode;
use std::sync::Arc;

use repro::catalog::{
    Catalog, CheckRequest, Checked, InputSpec, Kind, OutputSpec, ParamProblem, Program, Schema,
    StatePoint, TableRow,
};
use repro::relpath::RelPath;
use repro_stages::kind::KindInfo;

fn main() -> ExitCode {
    repro::cli::main(|| Catalog {
        kinds: repro_stages::kinds::all().into_iter().map(kind).collect(),
        claim_kind: kind(repro_stages::kinds::claim()),
        read_table: Arc::new(read_table),
        reference: |name| {
            repro_stages::kinds::find(name).map(|kind| repro_stages::docs::reference(&kind))
        },
        work: repro_stages::worker::work,
    })
}

fn kind(info: KindInfo) -> Arc<Kind> {
    let (check, states) = (info.check, info.states);
    let input = |i: &repro_stages::kind::InputSpec| InputSpec {
        name: i.name.into(),
        required: i.required,
        many: i.many,
        doc: i.doc.into(),
        observes_only: i.observes_only,
    };
    Arc::new(Kind {
        name: info.name.into(),
        summary: info.summary.into(),
        doc: info.doc.into(),
        revision: info.revision,
        numerics: "exact-f32-v1".into(),
        inputs: info.inputs.iter().map(input).collect(),
        schema: Schema::later(info.schema),
        program: Program::BuiltIn,
        check: Arc::new(move |request: &CheckRequest| {
            check(request.params, request.needs)
                .map_err(problems)
                .and_then(checked)
        }),
        states: Some(Arc::new(move |params| {
            states(params)
                .into_iter()
                .map(|s| StatePoint {
                    label: s.label,
                    preimage: s.preimage,
                })
                .collect()
        })),
    })
}

fn problems(problems: Vec<repro_stages::kind::ParamProblem>) -> Vec<ParamProblem> {
    problems
        .into_iter()
        .map(|p| ParamProblem {
            path: p.path,
            message: p.message,
            hint: p.hint,
        })
        .collect()
}

fn checked(checked: repro_stages::kind::Checked) -> Result<Checked, Vec<ParamProblem>> {
    let outputs = checked
        .outputs
        .into_iter()
        .map(|o| match RelPath::new(&o.path) {
            Ok(path) => Ok(OutputSpec {
                name: o.name.into(),
                path,
            }),
            Err(e) => Err(vec![ParamProblem {
                path: vec![],
                message: format!("output `{}`: {e}", o.name),
                hint: None,
            }]),
        });
    Ok(Checked {
        params: checked.params,
        outputs: outputs.collect::<Result<_, _>>()?,
    })
}

fn read_table(path: &std::path::Path) -> anyhow::Result<Vec<TableRow>> {
    let row = |r: repro_stages::table::MetricRow| TableRow {
        stage: r.stage,
        seed: r.seed,
        epoch: r.epoch,
        step: r.step,
        split: r.split,
        name: r.name,
        value: r.value,
    };
    Ok(repro_stages::table::read(path)?
        .into_iter()
        .map(row)
        .collect())
}

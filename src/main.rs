//! The one place that knows both crates: it hands the stage crate's kinds to the engine as data.

mod cli;
mod terminal;
mod ui;

use std::process::ExitCode;
use std::sync::Arc;

use repro_engine::catalog::{
    Cache, Catalog, CheckRequest, Checked, FactsRequest, Finding, Findings, FoundAt, InputSpec,
    Kind, OutputSpec, ParamProblem, Program, Schema, StatePoint, Table, TableRow,
};
use repro_engine::relpath::RelPath;
use repro_stages::kind::KindInfo;

fn main() -> ExitCode {
    repro_engine::credentials::hide();
    cli::main(|| Catalog {
        kinds: repro_stages::kinds::all().into_iter().map(kind).collect(),
        claim_kind: kind(repro_stages::kinds::claim()),
        read_table: Arc::new(read_table),
        table_endings: repro_stages::table::ENDINGS,
        describe_difference,
        reference: |name| {
            repro_stages::kinds::find(name).map(|kind| repro_stages::docs::reference(&kind))
        },
        caches: repro_stages::caches::ALL
            .iter()
            .map(|&(name, variable, dir)| Cache {
                name,
                variable,
                dir,
            })
            .collect(),
        work: repro_stages::worker::work,
    })
}

fn kind(info: KindInfo) -> Arc<Kind> {
    let (check, facts, states, member) = (info.check, info.facts, info.states, info.member);
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
        member: Arc::new(move |params, output, picks| member(params, output, picks)),
        counts: info.counts.iter().map(|c| (*c).to_owned()).collect(),
        schema: Schema::later(info.schema),
        program: Program::BuiltIn,
        check: Arc::new(move |request: &CheckRequest| {
            check(request.params, request.needs)
                .map_err(problems)
                .and_then(checked)
        }),
        facts: Some(Arc::new(move |request: &FactsRequest| {
            let inputs = request.inputs.iter().cloned().collect();
            findings(facts(
                request.params,
                &repro_stages::facts::Known { inputs },
            ))
        })),
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

fn findings(found: repro_stages::facts::Findings) -> Findings {
    use repro_stages::facts::Place;
    let all = |list: Vec<repro_stages::facts::Finding>| {
        let one = |f: repro_stages::facts::Finding| Finding {
            place: match f.place {
                Place::Param(path) => FoundAt::Param(path),
                Place::Input(name, item) => FoundAt::Input(name, item),
            },
            message: f.message,
            hint: f.hint,
        };
        list.into_iter().map(one).collect()
    };
    Findings {
        outputs: found.outputs.into_iter().collect(),
        problems: all(found.problems),
        warnings: all(found.warnings),
    }
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

fn read_table(path: &std::path::Path) -> anyhow::Result<Table> {
    let row = |r: repro_stages::table::MetricRow| TableRow {
        run: r.run,
        stage: r.stage,
        seed: r.seed,
        epoch: r.epoch,
        step: r.step,
        split: r.split,
        name: r.name,
        value: r.value,
    };
    let table = repro_stages::table::read(path)?;
    Ok(Table {
        rows: table.rows.into_iter().map(row).collect(),
        is_own: table.is_own,
    })
}

/// Bytes of the largest file that is read to explain a difference.
const EXPLAINED_BYTES_MAX: u64 = 1 << 30;

fn describe_difference(old: &std::path::Path, new: &std::path::Path) -> Option<String> {
    let is_small = |p| std::fs::metadata(p).is_ok_and(|m| m.len() <= EXPLAINED_BYTES_MAX);
    if !is_small(old) || !is_small(new) {
        return None;
    }
    tensors_differ(old, new).or_else(|| tables_differ(old, new))
}

fn tensors_differ(old: &std::path::Path, new: &std::path::Path) -> Option<String> {
    let read = |path| repro_stages::weights::TensorFile::read(path).ok();
    let (old, new) = (read(old)?, read(new)?);
    for (name, a) in &old.tensors {
        let Some(b) = new.tensors.get(name) else {
            return Some(format!("tensor `{name}` is missing"));
        };
        if a.shape != b.shape {
            return Some(format!(
                "tensor `{name}`: shape {:?}, then {:?}",
                a.shape, b.shape
            ));
        }
        let differing = |(x, y): (&f32, &f32)| x.to_bits() != y.to_bits();
        let mut places = (0..)
            .zip(a.data.iter().zip(&b.data))
            .filter(|(_, p)| differing(*p));
        if let Some((first, (x, y))) = places.next() {
            let all = 1 + places.count();
            let place = position(first, &a.shape);
            return Some(format!(
                "tensor `{name}`{place}: {x:?}, then {y:?} ({all} of {} values of it differ)",
                a.data.len()
            ));
        }
    }
    let more = new
        .tensors
        .keys()
        .find(|name| !old.tensors.contains_key(*name));
    if let Some(name) = more {
        return Some(format!("tensor `{name}` is new"));
    }
    (old.metadata != new.metadata).then(|| "the metadata".to_owned())
}

/// `[3, 5]` of a row-major index.
fn position(mut index: usize, shape: &[usize]) -> String {
    let mut places = Vec::new();
    for extent in shape.iter().rev() {
        places.push((index % extent.max(&1)).to_string());
        index /= extent.max(&1);
    }
    places.reverse();
    format!("[{}]", places.join(", "))
}

fn tables_differ(old: &std::path::Path, new: &std::path::Path) -> Option<String> {
    let read = |path| Some(repro_stages::table::read(path).ok()?.rows);
    let (old, new) = (read(old)?, read(new)?);
    let place = old.iter().zip(&new).position(|(a, b)| a != b);
    let Some(row) = place else {
        return (old.len() != new.len()).then(|| format!("{} rows, then {}", old.len(), new.len()));
    };
    let (a, b) = (&old[row], &new[row]);
    let columns = [
        ("run", format!("{:?}", a.run), format!("{:?}", b.run)),
        ("stage", format!("{:?}", a.stage), format!("{:?}", b.stage)),
        ("seed", format!("{:?}", a.seed), format!("{:?}", b.seed)),
        ("epoch", format!("{:?}", a.epoch), format!("{:?}", b.epoch)),
        ("step", format!("{:?}", a.step), format!("{:?}", b.step)),
        ("split", format!("{:?}", a.split), format!("{:?}", b.split)),
        ("name", a.name.clone(), b.name.clone()),
        ("value", format!("{:?}", a.value), format!("{:?}", b.value)),
    ];
    let (column, a, b) = columns.into_iter().find(|(_, a, b)| a != b)?;
    Some(format!("row {row}, column `{column}`: {a}, then {b}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use repro_stages::table::{self, MetricRow};
    use repro_stages::weights::{NamedTensor, Store, TensorFile};

    use super::describe_difference;

    #[test]
    fn the_first_differing_value_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let said = || describe_difference(&old, &new).unwrap_or_default();
        let tensors = |data: [f32; 6]| {
            let tensor = NamedTensor {
                shape: vec![2, 3],
                data: data.to_vec(),
            };
            let tensors = BTreeMap::from([("layer.weight".to_owned(), tensor)]);
            TensorFile {
                tensors,
                metadata: BTreeMap::new(),
            }
        };
        tensors([0., 1., 2., 3., 4., 5.])
            .write(&old, Store::F32)
            .unwrap();
        tensors([0., 1., 2., 3., 4.5, 6.])
            .write(&new, Store::F32)
            .unwrap();
        assert_eq!(
            said(),
            "tensor `layer.weight`[1, 1]: 4.0, then 4.5 (2 of 6 values of it differ)"
        );
        // Zeros of both signs are not the same bits.
        tensors([-0., 1., 2., 3., 4., 5.])
            .write(&new, Store::F32)
            .unwrap();
        assert_eq!(
            said(),
            "tensor `layer.weight`[0, 0]: 0.0, then -0.0 (1 of 6 values of it differ)"
        );
        TensorFile::default().write(&new, Store::F32).unwrap();
        assert_eq!(said(), "tensor `layer.weight` is missing");

        let row = |epoch, value| MetricRow {
            name: "loss".into(),
            epoch: Some(epoch),
            value,
            ..MetricRow::default()
        };
        table::write(&old, &[row(1, 0.5), row(2, 0.25)]).unwrap();
        table::write(&new, &[row(1, 0.5), row(2, 0.26)]).unwrap();
        assert_eq!(said(), "row 1, column `value`: 0.25, then 0.26");
        table::write(&new, &[row(1, 0.5)]).unwrap();
        assert_eq!(said(), "2 rows, then 1");
        std::fs::write(&new, "text").unwrap();
        assert_eq!(said(), "");
    }
}

//! The one place that knows both packages, with `tools.rs`: it hands the kinds of the stages to the
//! engine.

mod cli;
mod terminal;
mod tools;
mod ui;

use std::process::ExitCode;
use std::sync::Arc;

use repro_engine::catalog::{Cache, Catalog, Concept, Kind, Parts, Program, Table};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    repro_engine::credentials::hide();
    cli::main(catalog, tools::TOOLS)
}

fn catalog() -> Catalog {
    let (mut kinds, mut concepts) = (Vec::new(), Vec::new());
    for (title, about) in repro_stages::kinds::by_concept() {
        let names = about.iter().map(|kind| kind.description.name.clone());
        concepts.push(Concept {
            title,
            kinds: names.collect(),
        });
        kinds.extend(about.into_iter().map(built_in));
    }
    kinds.sort_by(|a, b| a.name.cmp(&b.name));
    Catalog {
        kinds,
        concepts,
        claim_kind: built_in(repro_stages::kinds::claim()),
        read_table: Arc::new(read_table),
        write_table: repro_stages::table::write,
        read_gathered: repro_stages::table::gathered::read,
        write_gathered: repro_stages::table::gathered::write,
        judge: repro_stages::kinds::judge,
        table_endings: repro_stages::table::ENDINGS,
        describe_difference: repro_stages::difference::describe,
        measure_difference: |a, b| {
            let (figures, rows) = repro_stages::difference::measure(a, b)?;
            Some(Parts {
                part: "tensor".to_owned(),
                figures: figures.map(str::to_owned).to_vec(),
                rows: rows
                    .into_iter()
                    .map(|(name, row)| (name, row.to_vec()))
                    .collect(),
            })
        },
        reference: |name| {
            // Networks, optimizers and schedules are what `train` is about.
            let find = repro_stages::kinds::find;
            let (kind, home) = (find(name)?, find("train")?);
            Some(repro_stages::docs::reference(&kind, &home))
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
    }
}

fn built_in(kind: repro_stages::kind::BuiltIn) -> Arc<Kind> {
    Arc::new(Kind {
        description: kind.description,
        program: Program::BuiltIn,
    })
}

fn read_table(path: &std::path::Path) -> anyhow::Result<Table> {
    let table = repro_stages::table::read(path)?;
    Ok(Table {
        rows: table.rows,
        is_own: table.is_own,
    })
}

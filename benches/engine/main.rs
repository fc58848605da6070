//! The engine beside its peers: `cargo bench --bench engine`, described in benches/README.md.
//!
//! Every figure is a ratio of two programs measured in turns in one run, because on a shared
//! machine the times of two runs cannot be compared. Nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod machine;
mod measure;
mod projects;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use measure::{Cost, Table, measure};
use projects::{Form, Project};

/// What is wanted on the command line.
struct Options {
    scenarios: Vec<String>,
    sizes: Vec<u32>,
    rounds: usize,
    dir: PathBuf,
    repro: PathBuf,
}

const SCENARIOS: [&str; 6] = ["start", "noop", "change", "cold", "large", "hash"];

const USAGE: &str = "\
cargo bench --bench engine -- [SCENARIO...] [--sizes 100,1000,10000] [--rounds 5] [--dir DIR] [--repro FILE]

Scenarios (all of them when none is named):
  start   `repro --version` beside `ninja --version`
  noop    a run with nothing to do
  change  a run after one input of one stage changed
  cold    a first run: every stage is executed
  large   a run with nothing to do of 100,000 instances (repro alone)
  hash    1 GiB in one file, and 20,000 files of 3 kB, beside b3sum

FILE is another build of `repro` to measure. NINJA and B3SUM name the programs to compare with; a missing one leaves
its column empty.
DIR (default: target/bench) should be on the disk where studies are kept.";

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let mut options = Options {
        scenarios: Vec::new(),
        sizes: vec![100, 1_000, 10_000],
        rounds: 5,
        dir,
        repro: env!("CARGO_BIN_EXE_repro").into(),
    };
    let mut args = args;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            // Given by cargo.
            "--bench" => {}
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            "--sizes" => {
                let parsed: Result<_, _> = value()?.split(',').map(str::parse).collect();
                options.sizes = parsed.map_err(|e| format!("--sizes: {e}"))?;
            }
            "--rounds" => {
                options.rounds = value()?
                    .parse()
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or("--rounds: a number from 1")?;
            }
            "--repro" => {
                options.repro = std::path::absolute(value()?).map_err(|e| e.to_string())?;
            }
            "--dir" => options.dir = std::path::absolute(value()?).map_err(|e| e.to_string())?,
            name if SCENARIOS.contains(&name) => options.scenarios.push(arg),
            _ => return Err(format!("`{arg}` is not known")),
        }
    }
    if options.scenarios.is_empty() {
        options.scenarios = SCENARIOS.map(str::to_owned).to_vec();
    }
    Ok(options)
}

/// The programs that are compared.
struct Programs {
    repro: PathBuf,
    ninja: Option<PathBuf>,
    b3sum: Option<PathBuf>,
}

fn run(options: &Options) -> Result<(), String> {
    let programs = Programs {
        repro: options.repro.clone(),
        ninja: machine::program("NINJA", "ninja"),
        b3sum: machine::program("B3SUM", "b3sum"),
    };
    std::fs::create_dir_all(&options.dir).map_err(|e| format!("{}: {e}", options.dir.display()))?;
    machine::describe(
        &options.dir,
        [
            Some(&programs.repro),
            programs.ninja.as_ref(),
            programs.b3sum.as_ref(),
        ],
    );
    println!(
        "medians of {} interleaved rounds; CPU is user + system time of all processes",
        options.rounds
    );
    for scenario in &options.scenarios {
        match scenario.as_str() {
            "start" => start(options, &programs)?,
            "noop" => each_size(
                options,
                "a run with nothing to do",
                &programs,
                Scenario::NoOp,
            )?,
            "change" => each_size(
                options,
                "one input of one stage changed",
                &programs,
                Scenario::Change,
            )?,
            "cold" => each_size(options, "a first run", &programs, Scenario::Cold)?,
            "large" => large(options, &programs)?,
            _ => hash(options, &programs)?,
        }
    }
    println!("\nload at the end: {}", machine::load());
    Ok(())
}

fn start(options: &Options, programs: &Programs) -> Result<(), String> {
    let mut table = Table::new("start-up (`--version`)", "ninja");
    let mut costs = (Vec::new(), Vec::new());
    for _ in 0..options.rounds * 4 {
        costs
            .0
            .push(measure(&programs.repro, ["--version"], &options.dir, &[])?);
        if let Some(ninja) = &programs.ninja {
            costs
                .1
                .push(measure(ninja, ["--version"], &options.dir, &[])?);
        }
    }
    table.row("", &costs.0, &costs.1);
    table.print();
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Scenario {
    NoOp,
    Change,
    Cold,
}

/// One table: all sizes and both forms.
fn each_size(
    options: &Options,
    title: &str,
    programs: &Programs,
    scenario: Scenario,
) -> Result<(), String> {
    let mut table = Table::new(title, "ninja");
    for &size in &options.sizes {
        let rounds = if scenario == Scenario::Cold && size > 1_000 {
            options.rounds.min(3)
        } else {
            options.rounds
        };
        let forms = [Form::Stages, Form::Matrix];
        let projects: Vec<Project> = forms
            .iter()
            .map(|form| Project::make(&options.dir, *form, size))
            .collect::<Result<_, _>>()?;
        let peer = Project::make(&options.dir, Form::Ninja, size)?;
        // Brings every project to the state in which nothing is to be done.
        if scenario != Scenario::Cold {
            for project in &projects {
                project.run(&programs.repro)?;
            }
            if let Some(ninja) = &programs.ninja {
                peer.run(ninja)?;
            }
            // Inputs written a moment ago are read again until they have aged.
            std::thread::sleep(std::time::Duration::from_millis(100));
            for project in &projects {
                project.run(&programs.repro)?;
            }
        }
        let mut costs: [Vec<Cost>; 3] = Default::default();
        for round in 0..rounds {
            for (project, costs) in projects.iter().zip(&mut costs) {
                prepare(project, scenario, round as u32)?;
                costs.push(project.run(&programs.repro)?);
            }
            if let Some(ninja) = &programs.ninja {
                prepare(&peer, scenario, round as u32)?;
                costs[2].push(peer.run(ninja)?);
            }
        }
        for (form, own) in forms.iter().zip(&costs) {
            table.row(&format!("{size} {form}"), own, &costs[2]);
        }
        for project in projects.iter().chain([&peer]) {
            project.remove();
        }
    }
    table.print();
    Ok(())
}

fn prepare(project: &Project, scenario: Scenario, round: u32) -> Result<(), String> {
    match scenario {
        Scenario::NoOp => Ok(()),
        Scenario::Change => project.change_one(round),
        Scenario::Cold => project.forget(),
    }
}

fn large(options: &Options, programs: &Programs) -> Result<(), String> {
    let mut table = Table::new("100,000 instances, nothing to do", "-");
    // Cold, this would write 100,000 results; `large` makes them once and keeps them between runs
    // of the bench.
    let project = Project::make_or_keep(&options.dir, Form::Matrix, 100_000)?;
    project.run(&programs.repro)?;
    let costs: Vec<Cost> = (0..options.rounds)
        .map(|_| project.run(&programs.repro))
        .collect::<Result<_, _>>()?;
    table.row("100000 matrix", &costs, &[]);
    table.print();
    Ok(())
}

fn hash(options: &Options, programs: &Programs) -> Result<(), String> {
    let mut table = Table::new(
        "hashing, files in memory (`repro run --dry-run` of a stage that needs them)",
        "b3sum",
    );
    for (name, project) in [
        ("1 GiB, one file", Project::one_file(&options.dir)?),
        ("20,000 × 3 kB", Project::many_files(&options.dir)?),
    ] {
        let paths = project.data_files()?;
        let mut costs = (Vec::new(), Vec::new());
        for _ in 0..=options.rounds {
            costs.0.push(project.hash(&programs.repro)?);
            if let Some(b3sum) = &programs.b3sum {
                costs.1.push(measure(b3sum, &paths, &project.dir, &[])?);
            }
        }
        // The first round brought the files into memory.
        table.row(name, &costs.0[1..], costs.1.get(1..).unwrap_or_default());
        project.remove();
    }
    table.print();
    Ok(())
}

//! Training beside PyTorch: `cargo bench -p repro-stages --bench training`, described in
//! stages/benches/README.md.
//!
//! Every model is trained by processes that are measured in turns, so that a ratio means something
//! on a machine whose speed changes. Nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod child;
mod learner;
mod models;
mod peak;
mod report;
mod scaling;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use child::{Broken, Trainer};
use learner::Place;
use models::Model;
use report::{Figures, Side};
use repro_numerics::kernels::Path;

/// What is wanted on the command line.
struct Options {
    models: Vec<Model>,
    rounds: usize,
    seconds: f64,
    threads: usize,
    optimizer: String,
    scaling: bool,
    /// Our side on a GPU as well.
    gpu: bool,
    /// Numbers of threads to simulate; the comparison is left out when there are any.
    simulate: Vec<usize>,
    /// Only for a child: the model it serves, and where it computes.
    serve: Option<String>,
    place: Place,
}

const USAGE: &str = "\
cargo bench -p repro-stages --bench training -- [MODEL...] [--rounds 5] [--seconds 1] [--threads 2]
                                                [--optimizer adam|sgd] [--no-scaling] [--gpu]
cargo bench -p repro-stages --bench training -- --simulate 2,8,16 [MODEL...] [--rounds 5] [--seconds 1]

PYTORCH names a Python that can `import torch`; without it our side is measured alone.
Every round trains each side for SECONDS (whole steps), in turns. `--no-scaling` leaves out our side on one thread.
With --gpu, our side on a GPU as well, beside our side on the CPU.
With --simulate, our side alone: how a step would scale to so many threads.";

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            let names: Vec<&str> = models::all().iter().map(|m| m.name).collect();
            eprintln!("{message}\n\n{USAGE}\n\nModels: {}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    let done = match &options.serve {
        Some(name) => serve(name, &options),
        None if options.simulate.is_empty() => compare(&options),
        None => scaling::simulate(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // A child's standard output is read by its parent; people read it where there is none.
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        models: Vec::new(),
        rounds: 5,
        seconds: 1.0,
        threads: 2,
        optimizer: "adam".into(),
        scaling: true,
        gpu: false,
        simulate: Vec::new(),
        serve: None,
        place: Place::Cpu,
    };
    let mut known = models::all();
    let mut args = args;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            // Given by cargo.
            "--bench" => {}
            "--help" | "-h" => return Err("Training beside PyTorch.".into()),
            "--rounds" => options.rounds = number(&arg, &value()?, 1)?,
            "--threads" => options.threads = number(&arg, &value()?, 1)?,
            "--seconds" => {
                options.seconds = value()?.parse().map_err(|e| format!("--seconds: {e}"))?;
            }
            "--optimizer" => options.optimizer = value()?,
            "--no-scaling" => options.scaling = false,
            "--gpu" => options.gpu = true,
            "--simulate" => {
                for threads in value()?.split(',') {
                    options.simulate.push(number(&arg, threads, 1)?);
                }
            }
            "--serve" => options.serve = Some(value()?),
            "--serve-on-gpu" => {
                options.serve = Some(value()?);
                options.place = Place::Gpu;
            }
            name => match known.iter().position(|m| m.name == name) {
                Some(at) => options.models.push(known.remove(at)),
                None => return Err(format!("`{arg}` is not known")),
            },
        }
    }
    if learner::optimizer(&options.optimizer).is_none() {
        return Err(format!(
            "--optimizer: `{}` is neither adam nor sgd",
            options.optimizer
        ));
    }
    if options.models.is_empty() {
        options.models = models::all();
    }
    Ok(options)
}

fn number(option: &str, text: &str, least: usize) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|e| format!("{option}: {e}"))?;
    if number < least {
        return Err(format!("{option}: at least {least}"));
    }
    Ok(number)
}

fn serve(name: &str, options: &Options) -> Result<(), String> {
    let model = models::all()
        .into_iter()
        .find(|m| m.name == name)
        .ok_or("no such model")?;
    let optimizer = learner::optimizer(&options.optimizer).ok_or("no such optimizer")?;
    learner::serve(
        &model,
        options.threads,
        options.simulate.first().copied(),
        options.place,
        &optimizer,
    )
    .map_err(|e| format!("{e:#}").replace('\n', " "))
}

fn compare(options: &Options) -> Result<(), String> {
    let python = std::env::var_os("PYTORCH").map(PathBuf::from);
    report::describe(python.as_deref(), options.threads, &options.optimizer);
    if python.is_none() {
        println!("PYTORCH names no Python with torch: our side is measured alone");
    }
    println!(
        "{} interleaved rounds of {} s or more per side; medians, spread of the ratio over rounds in brackets\n",
        options.rounds, options.seconds
    );
    report::header();
    let mut measured = Vec::new();
    for model in &options.models {
        match measure(model, options, python.as_deref()) {
            Ok(figures) => {
                report::row(model, &figures);
                measured.push((model, figures));
            }
            Err(message) => report::missing(model, &message),
        }
    }
    if options.scaling && options.threads > 1 {
        report::scaling(options.threads, &measured);
    }
    if options.gpu {
        report::on_gpu(&measured);
    }
    report::load("at the end");
    Ok(())
}

/// Measures one model on all sides.
fn measure(
    model: &Model,
    options: &Options,
    python: Option<&std::path::Path>,
) -> Result<Figures, Broken> {
    let path = Path::from_env().map_err(|e| e.to_string())?;
    let own = |threads, place| ours(model, options, threads, place);
    let mut sides = vec![(Side::Ours, own(options.threads, Place::Cpu)?)];
    if options.gpu {
        sides.push((Side::Gpu, own(options.threads, Place::Gpu)?));
    }
    if let Some(python) = python {
        let layouts: &[Side] = if model.spec.get("mlp").is_some() {
            &[Side::Nchw]
        } else {
            &[Side::Nchw, Side::ChannelsLast]
        };
        for side in layouts {
            sides.push((*side, torch(model, options, python, *side)?));
        }
    }
    if options.scaling && options.threads > 1 {
        sides.push((Side::OneThread, own(1, Place::Cpu)?));
    }
    let mut figures = Figures::default();
    for (_, trainer) in &mut sides {
        trainer.train(options.seconds.min(0.5))?;
    }
    for _ in 0..options.rounds {
        figures.peak.extend(peak::gflops(path, options.threads));
        for (side, trainer) in &mut sides {
            figures
                .train
                .entry(*side)
                .or_default()
                .push(trainer.train(options.seconds)?);
        }
    }
    sides.retain(|(side, _)| *side != Side::OneThread);
    for (side, trainer) in &mut sides {
        figures.resident.insert(*side, trainer.peak_resident()?);
    }
    for _ in 0..options.rounds.min(3) {
        for (side, trainer) in &mut sides {
            figures
                .evaluate
                .entry(*side)
                .or_default()
                .push(trainer.evaluate(options.seconds / 2.0)?);
        }
    }
    Ok(figures)
}

fn ours(model: &Model, options: &Options, threads: usize, place: Place) -> Result<Trainer, Broken> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    let serve = match place {
        Place::Cpu => "--serve",
        Place::Gpu => "--serve-on-gpu",
    };
    command.args([serve, model.name, "--optimizer", &options.optimizer]);
    command.args(["--threads", &threads.to_string()]);
    Trainer::start(command)
}

fn torch(
    model: &Model,
    options: &Options,
    python: &std::path::Path,
    side: Side,
) -> Result<Trainer, Broken> {
    let job = serde_json::json!({
        "model": model.spec,
        "input": model.input,
        "classes": models::CLASSES,
        "batch": model.batch,
        "threads": options.threads,
        "optimizer": learner::optimizer(&options.optimizer),
        "channels_last": side == Side::ChannelsLast,
    });
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pytorch.py"));
    command.arg(job.to_string());
    Trainer::start(command).map_err(|e| format!("PyTorch: {e}"))
}

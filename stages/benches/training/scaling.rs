//! How a step would scale to more threads than the machine has: one thread does the work of all,
//! see `repro_numerics::kernels::parallel::Simulation`.

use std::process::Command;

use repro_numerics::kernels::parallel::MOST_THREADS;

use super::Options;
use super::child::{Broken, Trainer};
use super::models::Model;
use super::report;

/// What a step of a trainer with simulated threads takes, in seconds of processor time.
#[derive(Clone, Copy)]
pub struct Steps {
    /// On the one thread there is.
    pub all: f64,
    /// Of it, the tasks of all sections.
    pub busy: f64,
    /// The sections, had their tasks run on the simulated threads.
    pub spans: f64,
    /// How many there are.
    pub sections: f64,
    /// Their tasks.
    pub tasks: f64,
}

impl Steps {
    /// What no section has: work that more threads do not speed up.
    fn serial(&self) -> f64 {
        self.all - self.busy
    }

    /// A step on the simulated threads.
    fn step(&self) -> f64 {
        self.serial() + self.spans
    }
}

/// Prints the table of all models.
pub fn simulate(options: &Options) -> Result<(), String> {
    if let Some(threads) = options.simulate.iter().find(|t| **t > MOST_THREADS) {
        return Err(format!(
            "--simulate {threads}: at most {MOST_THREADS} threads"
        ));
    }
    report::describe(None, 1, &options.optimizer);
    println!(
        "{} interleaved rounds of {} s or more per row; medians, spread over rounds in brackets\n",
        options.rounds, options.seconds
    );
    println!(
        "{:<18} {:>8} {:>10} {:>9}  {:<19} {:>9} {:>9} {:>9} {:>9}",
        "simulated",
        "threads",
        "ms a step",
        "speed-up",
        "serial, %",
        "uneven, %",
        "more, %",
        "sections",
        "tasks"
    );
    for model in &options.models {
        if let Err(message) = rows(model, options) {
            report::missing(model, &message);
        }
    }
    report::load("at the end");
    Ok(())
}

/// Measures a model and prints its rows.
fn rows(model: &Model, options: &Options) -> Result<(), Broken> {
    let threads = [&[1], &options.simulate[..]].concat();
    let mut trainers = Vec::new();
    for &threads in &threads {
        let mut trainer = start(model, options, threads)?;
        trainer.simulate(options.seconds.min(0.5))?;
        trainers.push((threads, trainer, Vec::new()));
    }
    for _ in 0..options.rounds {
        for (_, trainer, rounds) in &mut trainers {
            rounds.push(trainer.simulate(options.seconds)?);
        }
    }
    let one = trainers[0].2.clone();
    for (threads, _, rounds) in &trainers {
        row(model, *threads, &one, rounds);
    }
    Ok(())
}

/// Prints a row; `one` is the first, of one thread, to which times are compared round by round.
fn row(model: &Model, threads: usize, one: &[Steps], rounds: &[Steps]) {
    let shares = |of: &dyn Fn(&Steps, &Steps) -> f64| -> Vec<f64> {
        rounds.iter().zip(one).map(|(r, one)| of(r, one)).collect()
    };
    let percent = |of: &dyn Fn(&Steps) -> f64| shares(&|r, one| 100.0 * of(r) / one.all);
    let serial = percent(&Steps::serial);
    let least = serial.iter().copied().fold(f64::INFINITY, f64::min);
    let most = serial.iter().copied().fold(0.0, f64::max);
    let uneven = percent(&|r| r.spans - r.busy / threads as f64);
    let more = shares(&|r, one| 100.0 * (r.all / one.all - 1.0));
    println!(
        "{:<18} {:>8} {:>10.3} {:>9.2}  {:<19} {:>9.1} {:>9.1} {:>9.0} {:>9.0}",
        model.name,
        threads,
        report::median(&shares(&|r, _| 1e3 * r.step())),
        report::median(&shares(&|r, one| one.all / r.step())),
        format!("{:.2} [{least:.2}, {most:.2}]", report::median(&serial)),
        report::median(&uneven),
        report::median(&more),
        report::median(&shares(&|r, _| r.sections)),
        report::median(&shares(&|r, _| r.tasks)),
    );
}

fn start(model: &Model, options: &Options, threads: usize) -> Result<Trainer, Broken> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["--serve", model.name, "--optimizer", &options.optimizer]);
    command.args(["--simulate", &threads.to_string()]);
    Trainer::start(command)
}

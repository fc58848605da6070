//! The tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::models::Model;

/// Who trains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// This crate.
    Ours,
    /// This crate on one thread.
    OneThread,
    /// This crate on a GPU.
    Gpu,
    /// PyTorch with its default layout.
    Nchw,
    /// PyTorch with `torch.channels_last`.
    ChannelsLast,
}

/// What was measured of one model, one value per round.
#[derive(Default)]
pub struct Figures {
    /// Images per second.
    pub train: BTreeMap<Side, Vec<f64>>,
    /// Images per second.
    pub evaluate: BTreeMap<Side, Vec<f64>>,
    /// Bytes, after training.
    pub resident: BTreeMap<Side, f64>,
    /// GFLOP/s of the register loop; empty where there is no such loop.
    pub peak: Vec<f64>,
}

impl Figures {
    /// PyTorch's faster layout.
    fn rival(rates: &BTreeMap<Side, Vec<f64>>) -> Option<Side> {
        [Side::Nchw, Side::ChannelsLast]
            .into_iter()
            .filter(|side| rates.contains_key(side))
            .max_by(|a, b| median(&rates[a]).total_cmp(&median(&rates[b])))
    }
}

/// Prints machine, versions and settings.
pub fn describe(python: Option<&Path>, threads: usize, optimizer: &str) {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, m)| m);
    println!("machine: {cpus} CPUs, {model}");
    println!(
        "repro-stages {}, path {}, {threads} threads, optimizer {optimizer}",
        env!("CARGO_PKG_VERSION"),
        repro_numerics::kernels::Path::current().name()
    );
    if let Some(python) = python {
        let said = Command::new(python)
            .args(["-c", "import torch; print(torch.__version__)"])
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        println!(
            "PyTorch {}, {threads} threads",
            said.unwrap_or_else(|e| e.to_string())
        );
    }
    load("at the start");
}

/// Prints how busy the machine is.
pub fn load(when: &str) {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = text.split_whitespace().take(3).collect();
    println!("load {when}: {}", load.join(" "));
}

/// Prints the head of the table.
pub fn header() {
    println!(
        "{:<18} {:>5}  {:>9} {:>9} {:>9}  {:<19}{:>8} {:>6}  {:>7} {:>7}  {:>10} {:>10} {:>6}",
        "training",
        "batch",
        "ours",
        "torch",
        "torch",
        "ratio to the",
        "ours",
        "% of",
        "ours",
        "torch",
        "ours",
        "torch",
        ""
    );
    println!(
        "{:<18} {:>5}  {:>9} {:>9} {:>9}  {:<19}{:>8} {:>6}  {:>7} {:>7}  {:>10} {:>10} {:>6}",
        "",
        "",
        "img/s",
        "NCHW",
        "ch. last",
        "better of both",
        "GFLOP/s",
        "peak",
        "RSS MB",
        "RSS MB",
        "eval img/s",
        "eval img/s",
        "ratio"
    );
}

/// Prints a model's row.
pub fn row(model: &Model, figures: &Figures) {
    let rate = |rates: &BTreeMap<Side, Vec<f64>>, side| {
        rates
            .get(&side)
            .map_or("-".to_owned(), |r| format!("{:.0}", median(r)))
    };
    let ours = median(&figures.train[&Side::Ours]);
    let gflops = ours * model.training_flops() / 1e9;
    let share = match figures.peak.is_empty() {
        true => "-".to_owned(),
        false => format!("{:.0}", 100.0 * gflops / median(&figures.peak)),
    };
    let rival = Figures::rival(&figures.train);
    let ratio = rival.map_or("-".to_owned(), |side| {
        let ratios = ratios(&figures.train[&Side::Ours], &figures.train[&side]);
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        format!("{:.2}  [{least:.2}, {most:.2}]", median(&ratios))
    });
    let megabytes = |side: Option<Side>| {
        side.map_or("-".to_owned(), |s| {
            format!("{:.0}", figures.resident[&s] / 1e6)
        })
    };
    let eval_rival = Figures::rival(&figures.evaluate);
    let eval_ratio = eval_rival.map_or("-".to_owned(), |side| {
        let ratios = ratios(&figures.evaluate[&Side::Ours], &figures.evaluate[&side]);
        format!("{:.2}", median(&ratios))
    });
    println!(
        "{:<18} {:>5}  {:>9} {:>9} {:>9}  {:<19}{:>8.1} {:>6}  {:>7} {:>7}  {:>10} {:>10} {:>6}",
        model.name,
        model.batch,
        rate(&figures.train, Side::Ours),
        rate(&figures.train, Side::Nchw),
        rate(&figures.train, Side::ChannelsLast),
        ratio,
        gflops,
        share,
        megabytes(Some(Side::Ours)),
        megabytes(rival),
        rate(&figures.evaluate, Side::Ours),
        eval_rival.map_or("-".to_owned(), |side| rate(&figures.evaluate, side)),
        eval_ratio,
    );
}

/// Prints why a model has no row.
pub fn missing(model: &Model, message: &str) {
    println!(
        "{:<18} {:>5}  not available: {message}",
        model.name, model.batch
    );
}

/// Prints what a second thread brings. Amdahl's law: with a serial share s of the time on one
/// thread, `t_n/t_1` is `s + (1 - s)/n`.
pub fn scaling(threads: usize, of: &[(&Model, Figures)]) {
    println!(
        "\n{:<18} {:>9} {:>9} {:>9}  {:<24}",
        "scaling, img/s",
        "1 thread",
        format!("{threads}"),
        "speed-up",
        "serial share, %"
    );
    for (model, figures) in of {
        let (one, all) = (
            &figures.train[&Side::OneThread],
            &figures.train[&Side::Ours],
        );
        let speed_up = ratios(all, one);
        let n = threads as f64;
        let serial: Vec<f64> = speed_up
            .iter()
            .map(|r| 100.0 * (n / r - 1.0) / (n - 1.0))
            .collect();
        let least = serial.iter().copied().fold(f64::INFINITY, f64::min);
        let most = serial.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        println!(
            "{:<18} {:>9.0} {:>9.0} {:>9.2}  {:.1}  [{least:.1}, {most:.1}]",
            model.name,
            median(one),
            median(all),
            median(&speed_up),
            median(&serial)
        );
    }
}

/// Prints what a GPU brings.
pub fn on_gpu(of: &[(&Model, Figures)]) {
    println!(
        "\n{:<18} {:>9} {:>9}  {:<20} {:>10} {:>10}",
        "a GPU, img/s", "CPU", "GPU", "CPU's time over its", "eval CPU", "eval GPU"
    );
    for (model, figures) in of {
        let (gpu, cpu) = (&figures.train[&Side::Gpu], &figures.train[&Side::Ours]);
        let ratio = ratios(gpu, cpu);
        let least = ratio.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratio.iter().copied().fold(0.0, f64::max);
        println!(
            "{:<18} {:>9.0} {:>9.0}  {:<20} {:>10.0} {:>10.0}",
            model.name,
            median(cpu),
            median(gpu),
            format!("{:.2}  [{least:.2}, {most:.2}]", median(&ratio)),
            median(&figures.evaluate[&Side::Ours]),
            median(&figures.evaluate[&Side::Gpu]),
        );
    }
}

/// Round by round.
fn ratios(own: &[f64], other: &[f64]) -> Vec<f64> {
    own.iter().zip(other).map(|(a, b)| a / b).collect()
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

//! The process that trains on our side: `training::fit` as the kind `train` calls it, halted
//! between two steps whenever it has run as long as it was told to.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfdx::prelude::Cpu;
use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::parallel::{Report, Simulation};
use repro_protocol::job::Device as Wish;
use repro_stages::data::{Dataset, ImageShape, Info};
use repro_stages::device;
use repro_stages::nn::architecture::{Architecture, Head, Identity, InputSize};
use repro_stages::nn::init::{self, Init};
use repro_stages::nn::network::Network;
use repro_stages::ops::Backend;
use repro_stages::training::augment::Augment;
use repro_stages::training::evaluation;
use repro_stages::training::fit::{self, Listener, Sets, Start};
use repro_stages::training::length::{EvalEvery, Length};
use repro_stages::training::mask::Masks;
use repro_stages::training::optim::Decays;
use repro_stages::training::recipe::{Pause, Recipe};
use repro_stages::training::schedule::Schedule;
use repro_stages::weights::NamedTensors;
use serde_json::{Value, json};

use super::models::{CLASSES, Model};

/// Images of the training set: 30 MB of bytes at CIFAR's size.
const IMAGES: usize = 10_000;
/// Images of the test set.
const TEST_IMAGES: usize = 2_048;

/// Where a process computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the CPU.
    Cpu,
    /// On the first GPU that gives the CPU's bits.
    Gpu,
}

/// Serves `train SECONDS`, `eval SECONDS` (answers: images and seconds) and `rss` (bytes) until its
/// input ends. With `simulated` threads there is one thread, and `train` answers what
/// [`super::scaling::Steps`] holds.
pub fn serve(
    model: &Model,
    threads: usize,
    simulated: Option<usize>,
    place: Place,
    optimizer: &Value,
) -> anyhow::Result<()> {
    match place {
        Place::Cpu => train(&Cpu::default(), model, threads, simulated, optimizer),
        Place::Gpu => {
            device::wish(Some(Wish::Gpu), None)?;
            train(&device::open()?, model, threads, simulated, optimizer)
        }
    }
}

fn train<D: Backend>(
    device: &D,
    model: &Model,
    threads: usize,
    simulated: Option<usize>,
    optimizer: &Value,
) -> anyhow::Result<()> {
    let [height, width, channels] = model.input;
    let identity = Identity {
        model: serde_json::from_value(model.spec.clone())?,
        input: InputSize {
            height,
            width,
            channels,
        },
        outputs: Head::Classes(CLASSES),
    };
    let architecture = Arc::new(Architecture::new(identity)?);
    let weights = init::fresh(&architecture, Init::Pytorch, 1, "init").unwrap();
    let data = noise(model.input, IMAGES);
    let mut service = Service {
        device,
        model,
        architecture: Arc::clone(&architecture),
        weights: weights.clone(),
        deadline: None,
        begun: Instant::now(),
        steps_begun: 0,
        simulated: simulated.is_some(),
        before: (Duration::ZERO, Report::default()),
    };
    let recipe = Recipe {
        seed: 1,
        length: Length::Steps(u64::MAX),
        stop_at: None,
        batch_size: model.batch,
        optimizer: serde_json::from_value(optimizer.clone())?,
        masked: Default::default(),
        decays: Decays::All,
        clip_gradients: None,
        paces: Default::default(),
        schedule: Schedule::Constant,
        later: None,
        augment: Augment::default(),
        label_smoothing: 0.0,
        regularisers: Default::default(),
        eval_every: EvalEvery::Epochs(u64::MAX),
        checkpoint_every: None,
        checkpoint_every_steps: None,
        keep_optimizer: false,
        starts_at: None,
        subnetwork: None,
        trailing: Default::default(),
        drop_last: None,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(if simulated.is_some() { 1 } else { threads })
        .build()?;
    let sets = Sets {
        train: &data,
        first: data.len(),
        test: None,
        validation: None,
    };
    let masks = Masks::none(&architecture);
    pool.install(|| {
        let _simulation = simulated.map(|threads| Simulation::begin(threads, thread_time));
        fit::fit(
            device,
            &recipe,
            &architecture,
            sets,
            masks,
            Start::Weights(weights),
            &mut service,
        )
    })?;
    Ok(())
}

/// Pixels and labels without meaning.
fn noise([height, width, channels]: [usize; 3], images: usize) -> Dataset {
    let info = Info {
        name: "noise".into(),
        shape: ImageShape {
            height,
            width,
            channels,
        },
        classes: (0..CLASSES).map(|c| c.to_string()).collect(),
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
        columns: Vec::new(),
        targets: Vec::new(),
    };
    let mut stream = Stream::new(1, "training bench", 0, 0);
    let pixels: Vec<u8> = (0..images * height * width * channels)
        .map(|_| stream.next_u32() as u8)
        .collect();
    let labels = (0..images).map(|_| stream.below(CLASSES as u32)).collect();
    Dataset::new(info, pixels, labels, (0..images as u32).collect()).expect("counts agree")
}

/// A listener that lets the training go on only when told to.
struct Service<'a, D: Backend> {
    device: &'a D,
    model: &'a Model,
    architecture: Arc<Architecture>,
    /// The first ones, for evaluation.
    weights: NamedTensors,
    /// None before the first command.
    deadline: Option<Duration>,
    begun: Instant,
    steps_begun: u64,
    simulated: bool,
    /// At the begin: time of this thread, and what the simulation had seen.
    before: (Duration, Report),
}

impl<D: Backend> Service<'_, D> {
    /// Does what is asked until that is to train.
    fn commands(&mut self, steps: u64) {
        loop {
            let mut line = String::new();
            if !matches!(std::io::stdin().lock().read_line(&mut line), Ok(1..)) {
                std::process::exit(0);
            }
            let (command, seconds) = line.trim().split_once(' ').unwrap_or((line.trim(), "0"));
            let time = Duration::from_secs_f64(seconds.parse().unwrap_or(0.0));
            match command {
                "train" => {
                    self.deadline = Some(time);
                    self.steps_begun = steps;
                    self.begun = Instant::now();
                    if self.simulated {
                        self.before = (thread_time(), Simulation::report());
                    }
                    return;
                }
                "eval" => self.evaluate(time),
                _ => println!("{}", peak_resident_bytes()),
            }
        }
    }

    fn evaluate(&self, time: Duration) {
        let data = noise(self.model.input, TEST_IMAGES);
        let network = Network::load(self.device, Arc::clone(&self.architecture), &self.weights);
        let network = network.expect("memory for a network");
        let pool = D::Pool::default();
        let score = || evaluation::score(&pool, &network, &data).expect("a sound network");
        score();
        let begun = Instant::now();
        let mut images = 0;
        while begun.elapsed() < time || images == 0 {
            score();
            images += TEST_IMAGES;
        }
        println!("{images} {}", begun.elapsed().as_secs_f64());
    }
}

impl<D: Backend> Service<'_, D> {
    fn tell_simulated(&self, steps: u64) {
        let (now, after) = (thread_time(), Simulation::report());
        let (begun, before) = self.before;
        let looking = after.looking - before.looking;
        let seconds = [
            (now - begun).saturating_sub(looking),
            after.busy - before.busy,
            after.spans - before.spans,
        ]
        .map(|time| time.as_secs_f64().to_string());
        let sections = after.sections - before.sections;
        let tasks = after.tasks - before.tasks;
        println!("{steps} {} {sections} {tasks}", seconds.join(" "));
    }
}

impl<D: Backend> Listener for Service<'_, D> {
    fn progress(&mut self, done: u64, _: u64, _: String) {
        let spent = self.begun.elapsed();
        match self.deadline {
            Some(time) if spent < time => return,
            Some(_) => {
                let steps = done - self.steps_begun;
                if self.simulated {
                    self.tell_simulated(steps);
                } else {
                    let images = steps * self.model.batch as u64;
                    println!("{images} {}", spent.as_secs_f64());
                }
            }
            // The first step of all only builds the buffers.
            None => println!("ready"),
        }
        self.commands(done);
    }

    fn state_path(&mut self, _: Pause) -> Option<PathBuf> {
        None
    }

    fn state(&mut self, _: Pause, _: &Path) {}

    fn warning(&mut self, text: String) {
        eprintln!("{text}");
    }
}

/// Processor time of this thread: what else the machine does is not in it.
fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes the time given.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "this system has no clock of threads");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The largest resident set this process has had.
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The optimizers that can be asked for, as in a pipeline file. Their learning rate is so small
/// that a network stays where it starts: one that has learnt its noise by heart has gradients of 0,
/// and would time subnormal numbers.
pub fn optimizer(name: &str) -> Option<Value> {
    match name {
        "adam" => Some(json!({"adam": {"lr": 1e-6}})),
        "sgd" => Some(json!({"sgd": {"lr": 1e-6, "momentum": 0.9}})),
        _ => None,
    }
}

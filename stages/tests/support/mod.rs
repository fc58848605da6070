//! Runs kinds as the worker does, on small made-up data, in a temporary directory.

#![allow(dead_code)] // every test file uses its own part

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use repro_numerics::exact::rng::Stream;
use repro_protocol::job::{FORMAT, Job, JobInput, Resume};
use repro_stages::data::{Answers, Dataset, ImageShape, Info, Values};
use repro_stages::kind::BuiltIn;
use repro_stages::kinds;
use repro_stages::task::Task;
use serde_json::Value;

/// Says past the capture of the test harness that a test cannot run here, or only in part: `.ci/run`
/// counts these lines.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// Images of noise around one bright pixel block per class: learnable, not trivial.
pub fn data(seed: u64, n: usize, shape: (usize, usize, usize), classes: usize) -> Dataset {
    let (height, width, channels) = shape;
    let info = Info {
        name: "blocks".into(),
        shape: ImageShape {
            height,
            width,
            channels,
        },
        classes: (0..classes).map(|c| format!("class {c}")).collect(),
        mean: vec![0.4; channels],
        std: vec![0.25; channels],
        columns: Vec::new(),
        targets: Vec::new(),
    };
    let len = height * width * channels;
    let mut stream = Stream::new(seed, "test data", 0, 0);
    let (mut images, mut labels) = (Vec::<u8>::new(), Vec::<u8>::new());
    for i in 0..n {
        let label = i % classes;
        labels.push(label as u8);
        images.extend((0..len).map(|p| {
            let bright = p * classes / len == label;
            (stream.below(160) + if bright { 80 } else { 0 }) as u8
        }));
    }
    Dataset::new(info, images, labels, (0..n as u32).collect()).unwrap()
}

/// Rows of three columns; the first number follows them exactly, the second with noise.
pub fn numbers(seed: u64, n: usize, targets: usize) -> Dataset {
    let info = Info {
        name: "houses".into(),
        shape: ImageShape::table(3),
        classes: Vec::new(),
        mean: vec![0.5, 0.0, 0.0],
        std: vec![2.0, 1.0, 1.0],
        columns: ["a", "b", "c"].map(str::to_owned).to_vec(),
        targets: ["price", "rent"][..targets]
            .iter()
            .map(|t| (*t).to_owned())
            .collect(),
    };
    let mut stream = Stream::new(seed, "numbers", 0, 0);
    let (mut values, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let x = [stream.normal(), stream.normal(), stream.normal()];
        let both = [2.0 * x[0] - x[1] + 0.5, x[2] + stream.normal()];
        answers.extend_from_slice(&both[..targets]);
        values.extend(x);
    }
    let origin = (0..n as u32).collect();
    Dataset::of(
        info,
        Values::Floats(values),
        Answers::Targets(answers),
        origin,
    )
    .unwrap()
}

/// A place to run kinds in.
pub struct Bench {
    dir: tempfile::TempDir,
    runs: std::sync::atomic::AtomicUsize,
}

/// What a run left.
pub struct Ran {
    pub outputs: BTreeMap<String, PathBuf>,
    pub states_dir: PathBuf,
    pub figures: BTreeMap<String, f64>,
}

impl Ran {
    pub fn path(&self, output: &str) -> &Path {
        &self.outputs[output]
    }

    pub fn bytes(&self, output: &str) -> Vec<u8> {
        std::fs::read(self.path(output)).unwrap()
    }

    /// The value of the last row with this split and name.
    pub fn metric(&self, split: &str, name: &str) -> f64 {
        let rows = repro_stages::table::read(self.path("metrics"))
            .unwrap()
            .rows;
        rows.iter()
            .rev()
            .find(|r| r.split.as_deref() == Some(split) && r.name == name)
            .unwrap()
            .value
    }
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            dir: tempfile::tempdir().unwrap(),
            runs: Default::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Stores a data set.
    pub fn put(&self, name: &str, data: &Dataset) -> PathBuf {
        let path = self.path(name);
        data.save(&path).unwrap();
        path
    }

    pub fn run(&self, kind: &str, with: Value, inputs: &[(&str, &Path)]) -> anyhow::Result<Ran> {
        self.resume(kind, with, inputs, None)
    }

    pub fn resume(
        &self,
        kind: &str,
        with: Value,
        inputs: &[(&str, &Path)],
        state: Option<&Path>,
    ) -> anyhow::Result<Ran> {
        let kind: BuiltIn = kinds::find(kind).unwrap();
        let names: Vec<String> = inputs.iter().map(|(n, _)| (*n).to_owned()).collect();
        let checked =
            (kind.check)(&with, &names).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let number = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = self.path(&format!("run {number}"));
        let sub = |name: &str| {
            let path = dir.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (out, states_dir, scratch_dir) = (sub("out"), sub("states"), sub("scratch"));
        let mut by_name: BTreeMap<String, Vec<JobInput>> = BTreeMap::new();
        for (name, path) in inputs {
            let item = JobInput {
                group: String::new(),
                axes: BTreeMap::new(),
                path: path.to_path_buf(),
                digest: format!("file:{}", path.display()),
                ..JobInput::default()
            };
            by_name.entry((*name).to_owned()).or_default().push(item);
        }
        let outputs: BTreeMap<String, PathBuf> = checked
            .outputs
            .iter()
            .map(|o| (o.name.to_string(), o.path.under(&out)))
            .collect();
        let job = Job {
            version: FORMAT,
            kind: kind.name.clone(),
            revision: kind.revision,
            params: checked.params,
            inputs: by_name,
            outputs: outputs.clone(),
            threads: 1,
            resume: state.map(|path| Resume {
                label: "state".into(),
                path: path.to_owned(),
            }),
            states_dir: states_dir.clone(),
            mirrors: std::env::var("REPRO_MIRROR").into_iter().collect(),
            pins: BTreeMap::new(),
            offline: true,
            scratch_dir,
            device: None,
            gpu_share: None,
        };
        let mut task = Task {
            job,
            pins: BTreeMap::new(),
            figures: BTreeMap::new(),
            events: None,
        };
        (kind.run)(&mut task)?;
        Ok(Ran {
            outputs,
            states_dir,
            figures: task.figures,
        })
    }
}

/// Every file of an output with its digest: one text for a file or a tree.
pub fn digest(path: &Path) -> String {
    if path.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        return names
            .iter()
            .map(|n| format!("{}={}", n.to_string_lossy(), digest(&path.join(n))))
            .collect::<Vec<_>>()
            .join(",");
    }
    blake3::hash(&std::fs::read(path).unwrap()).to_hex()[..16].to_owned()
}

//! `download`: makes artifacts of a published data set, the drawn one, or any file from outside.
//!
//! Decides what is fetched and checked. [`crate::fetch`] knows how, [`crate::data`] knows the
//! formats.

use std::path::{Path, PathBuf};

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::published::{CIFAR_10, CIFAR_100, FASHION_MNIST, MNIST, svhn};
use crate::data::shapes::Shapes;
use crate::facts::{AnswersFact, DataFact, Fact, Finding, Findings, Known};
use crate::failure::Failure;
use crate::fetch::checksum::Checksum;
use crate::fetch::http::{Client, Limits};
use crate::fetch::{Got, Place, Search, first_good, mirrors};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::nn::architecture::InputSize;
use crate::task::Task;
use repro_protocol::findings;
use repro_protocol::job::Event;

/// See the module.
pub struct Download;

/// Parameters of `download`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, from = "Written")]
#[schemars(!from)]
pub struct Params {
    /// A data set this program knows. One of `dataset`, `url` and `path` is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Published>,
    /// What to draw, for `dataset: shapes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shapes: Option<Shapes>,
    /// How many training images to keep, the first in published order; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub train_limit: Option<u64>,
    /// How many test images to keep, the first in published order; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub test_limit: Option<u64>,
    /// The address of any file: `https://`, `http://` or `file://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The absolute path of any file of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the file must be: `{sha256: ...}`, `{blake3: ...}` or `{md5: ...}`. Without it, the
    /// first download decides and is remembered in `repro.lock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Checksum>,
    /// The name of the output file; by default the last part of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Parameters as written: the options of the drawn data set may be absent, though it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    dataset: Option<Published>,
    shapes: Option<Shapes>,
    train_limit: Option<u64>,
    test_limit: Option<u64>,
    url: Option<String>,
    path: Option<String>,
    digest: Option<Checksum>,
    file: Option<String>,
}

impl From<Written> for Params {
    fn from(w: Written) -> Params {
        let Written {
            dataset,
            shapes,
            train_limit,
            test_limit,
            url,
            path,
            digest,
            file,
        } = w;
        // Defaults are part of the key, so they are spelt out.
        let shapes = if dataset == Some(Published::Shapes) {
            Some(shapes.unwrap_or_default())
        } else {
            shapes
        };
        Params {
            dataset,
            shapes,
            train_limit,
            test_limit,
            url,
            path,
            digest,
            file,
        }
    }
}

/// The data sets this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Published {
    /// Drawn here, no download: grey 16×16 images of ten figures.
    #[serde(rename = "shapes")]
    Shapes,
    /// 28×28 grey images of clothes; 60,000 + 10,000.
    #[serde(rename = "fashion-mnist")]
    FashionMnist,
    /// 28×28 grey images of digits; 60,000 + 10,000.
    #[serde(rename = "mnist")]
    Mnist,
    /// 32×32 colour photographs; 50,000 + 10,000.
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// 32×32 colour photographs of 100 classes; 50,000 + 10,000.
    #[serde(rename = "cifar-100")]
    Cifar100,
    /// SVHN, 32×32 colour photographs of house numbers, cropped to one digit; 73,257 + 26,032.
    #[serde(rename = "svhn")]
    Svhn,
}

impl Kind for Download {
    type Params = Params;
    const NAME: &'static str = "download";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Gets a data set or any file, verified.";
    const DOC: &'static str = include_str!("download/guide.md");
    const INPUTS: &'static [InputSpec] = &[];

    fn outputs(params: &Params) -> Outputs {
        Ok(match params.dataset {
            Some(_) => vec![
                OutputSpec::new("train", "train.safetensors")?,
                OutputSpec::new("test", "test.safetensors")?,
            ],
            None => vec![OutputSpec::new(
                "data",
                params.file_name().unwrap_or("data"),
            )?],
        })
    }

    fn validate(params: &Params, _needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], message: String, hint: &str| {
            problems.push(ParamProblem::new(path, message, hint));
        };
        let sources = [
            params.dataset.is_some(),
            params.url.is_some(),
            params.path.is_some(),
        ];
        if sources.iter().filter(|&&given| given).count() != 1 {
            problem(
                &[],
                "exactly one of `dataset`, `url` and `path` is needed".into(),
                "e.g. `with: {dataset: fashion-mnist}`",
            );
            return problems;
        }
        let only = |given: bool, name: &str, fits: bool, with: &str| {
            (given && !fits).then(|| (name.to_owned(), format!("`{name}` goes with {with} only")))
        };
        let a_file = params.dataset.is_none();
        let misplaced = [
            only(
                params.shapes.is_some(),
                "shapes",
                params.dataset == Some(Published::Shapes),
                "`dataset: shapes`",
            ),
            only(
                params.train_limit.is_some(),
                "train_limit",
                !a_file,
                "`dataset`",
            ),
            only(
                params.test_limit.is_some(),
                "test_limit",
                !a_file,
                "`dataset`",
            ),
            only(params.digest.is_some(), "digest", a_file, "`url` or `path`"),
            only(params.file.is_some(), "file", a_file, "`url` or `path`"),
        ];
        for (name, message) in misplaced.into_iter().flatten() {
            problem(&[&name], message, "take it out");
        }
        for (name, limit) in [
            ("train_limit", params.train_limit),
            ("test_limit", params.test_limit),
        ] {
            if limit == Some(0) {
                problem(&[name], "no image would be left".into(), "give at least 1");
            }
        }
        if let Some(shapes) = &params.shapes {
            for (name, n) in [("train", shapes.train), ("test", shapes.test)] {
                if !(1..=1_000_000).contains(&n) {
                    problem(
                        &["shapes", name],
                        format!("{n} images are out of range"),
                        "give 1 to 1000000",
                    );
                }
            }
            for (name, value) in [("noise", shapes.noise), ("mislabelled", shapes.mislabelled)] {
                if value > 100 {
                    problem(
                        &["shapes", name],
                        format!("{value} is out of range"),
                        "give 0 to 100",
                    );
                }
            }
        }
        if let Some(url) = &params.url
            && !["http://", "https://", "file:///"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        {
            problem(
                &["url"],
                format!("`{url}` is not an address"),
                "it starts with `https://`, `http://` or `file:///`",
            );
        }
        if let Some(path) = &params.path
            && !Path::new(path).is_absolute()
        {
            let hint = "give an absolute path; a file of the project is an input: `needs: {x: {file: x.csv}}`";
            problem(&["path"], format!("`{path}` is relative"), hint);
        }
        if let Some(text) = params.digest.as_ref().and_then(Checksum::problem) {
            problem(
                &["digest"],
                text,
                "copy it from where the file is published",
            );
        }
        if a_file {
            match params.file_name() {
                None => problem(
                    &[],
                    "the address does not end in a file name".into(),
                    "name the output file: `file: data.csv`",
                ),
                Some(name)
                    if name == "."
                        || name == ".."
                        || name.contains(['/', '\0'])
                        || name.len() > 255 =>
                {
                    problem(
                        &["file"],
                        format!("`{}` is not a file name", name.escape_debug()),
                        "give a name without `/`",
                    );
                }
                Some(_) => {}
            }
        }
        problems
    }

    fn facts(params: &Params, _: &Known) -> Findings {
        let mut found = Findings::default();
        let Some(set) = params.dataset else {
            // Any file: nobody knows what is in it.
            return found;
        };
        let shapes = params.shapes.clone().unwrap_or_default();
        let (name, side, channels, train, test) = match set {
            Published::Shapes => (
                "shapes",
                16,
                1,
                u64::from(shapes.train),
                u64::from(shapes.test),
            ),
            Published::FashionMnist => ("fashion-mnist", 28, 1, 60_000, 10_000),
            Published::Mnist => ("mnist", 28, 1, 60_000, 10_000),
            Published::Cifar10 => ("cifar-10", 32, 3, 50_000, 10_000),
            Published::Cifar100 => ("cifar-100", 32, 3, 50_000, 10_000),
            Published::Svhn => ("svhn", 32, 3, 73_257, 26_032),
        };
        let classes = if set == Published::Cifar100 { 100 } else { 10 };
        let parts = [
            ("train", "training", train, params.train_limit),
            ("test", "test", test, params.test_limit),
        ];
        for (part, called, images, limit) in parts {
            if let Some(limit) = limit.filter(|&limit| limit > images) {
                let field = format!("{part}_limit");
                found.warnings.push(Finding::new(
                    findings::Subject::Param(vec![field.clone()]),
                    format!("`{name}` has {images} {called} images: a `{field}` of {limit} keeps all of them"),
                    "leave it out, or give a smaller number".to_owned(),
                ));
            }
            found.say(
                part,
                Fact::Data(DataFact {
                    set: Some(name.to_owned()),
                    image: Some(InputSize {
                        height: side,
                        width: side,
                        channels,
                    }),
                    answers: Some(AnswersFact::Classes(Some(classes))),
                    images: Some(limit.map_or(images, |limit| images.min(limit))),
                    is_test: part == "test",
                }),
            );
        }
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        run_with(params, task, &Client::default())
    }
}

impl Params {
    /// What the output file is called; `None` when nothing says.
    fn file_name(&self) -> Option<&str> {
        let address = self
            .url
            .as_deref()
            .map(|url| url.split(['?', '#']).next().unwrap_or_default());
        let last = |text: &'_ str| {
            text.rsplit('/')
                .next()
                .filter(|name| !name.is_empty())
                .map(str::len)
        };
        let source = address
            .and_then(|a| a.split_once("://").map(|(_, rest)| rest))
            .filter(|rest| rest.contains('/'))
            .or(self.path.as_deref());
        match &self.file {
            Some(name) => Some(name.as_str()).filter(|name| !name.is_empty()),
            None => source.and_then(|s| last(s).map(|n| &s[s.len() - n..])),
        }
    }
}

fn run_with(params: &Params, task: &mut Task, client: &Client) -> anyhow::Result<()> {
    let Some(dataset) = params.dataset else {
        return any_file(params, task, client);
    };
    let (mut train, mut test) = match dataset {
        Published::Shapes => params.shapes.clone().unwrap_or_default().draw()?,
        Published::FashionMnist => FASHION_MNIST.get(task, client)?,
        Published::Mnist => MNIST.get(task, client)?,
        Published::Cifar10 => CIFAR_10.get(task, client)?,
        Published::Cifar100 => CIFAR_100.get(task, client)?,
        Published::Svhn => svhn(task, client)?,
    };
    for (part, limit) in [
        (&mut train, params.train_limit),
        (&mut test, params.test_limit),
    ] {
        part.truncate(limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)));
    }
    train.save(task.output("train")?)?;
    test.save(task.output("test")?)
}

/// Gets any file; what it must be is said by `digest`, or by an earlier run's pin, or by nobody
/// yet.
fn any_file(params: &Params, task: &mut Task, client: &Client) -> anyhow::Result<()> {
    let source = params
        .url
        .as_deref()
        .or(params.path.as_deref())
        .context("neither `url` nor `path` is given")?;
    let file = params.file_name().unwrap_or("data");
    let pin = match task.job.pins.get(source) {
        Some(text) => Some(Checksum::parse(text).with_context(|| {
            format!("the pin of {source} in `repro.lock` is malformed: `{text}`")
        })?),
        None => None,
    };
    let expected = params.digest.clone().or(pin.clone());
    let mut places = Vec::new();
    if expected.is_some() {
        // A mirror is believed only where a checksum says what the file must be.
        places.extend(mirrors(task).iter().map(|mirror| mirror.join(file)));
    }
    places.push(if params.url.is_some() {
        Place::parse(source)
    } else {
        Place::Local(PathBuf::from(source))
    });
    let limits = Limits {
        bytes_exact: None,
        bytes_max: None,
        verified: expected.is_some(),
        no_page: expected.is_none() && !content::may_be_page(file),
    };
    let search = Search {
        file,
        in_mirror: expected.is_some().then_some(file),
        places,
        limits,
    };
    let output = task.output("data")?.to_owned();
    let got = first_good(task, client, &search, |_, got| {
        let looked = match &expected {
            Some(_) => Ok(()),
            None => content::check(got.path, file),
        };
        let checked = looked.and_then(|()| placed(got, &output, file, expected.as_ref()));
        if checked.is_err() {
            // Nothing refused is kept; it may not exist yet.
            let _ = std::fs::remove_file(&output);
        }
        checked
    });
    let got = match got {
        Ok(got) => got,
        Err(error) if params.digest.is_none() && pin.is_some() => {
            let text = format!("{error:#}");
            anyhow::bail!(Failure::new(format!("{text}\n  it was {} when it was first downloaded (`repro.lock`)", show(&pin))).hint(
                "if the change is wanted, delete the pin from `repro.lock`; to be safe from changes, give `digest:`"
            ));
        }
        Err(error) => return Err(error),
    };
    if params.digest.is_none() {
        if pin.is_none() {
            let bytes = std::fs::metadata(&output).map_or(0, |meta| meta.len());
            let (name, value) = got.parts();
            task.send(&Event::Warning {
                text: format!(
                    "no digest says what {source} must be: the {bytes} bytes that came are taken, and `repro.lock` will hold every later \
                     download to them; once you have looked at them, write `digest: {{{name}: {value}}}`"
                ),
            });
        }
        task.pins.insert(source.to_owned(), got.to_string());
    }
    Ok(())
}

fn show(pin: &Option<Checksum>) -> String {
    pin.as_ref().map_or_else(String::new, Checksum::to_string)
}

/// Puts the file at `output` and returns its checksum (BLAKE3 unless another was expected).
fn placed(
    got: &Got,
    output: &Path,
    file: &str,
    expected: Option<&Checksum>,
) -> anyhow::Result<Checksum> {
    let mut hasher = expected.map_or_else(
        || Checksum::Blake3(String::new()).hasher(),
        Checksum::hasher,
    );
    let mut from = std::fs::File::open(got.path)
        .with_context(|| format!("cannot read {}", got.path.display()))?;
    anyhow::ensure!(from.metadata()?.is_file(), "it is not a file");
    let copying = || format!("cannot copy {} to {}", got.path.display(), output.display());
    if got.ours {
        // It is nobody else's, so it cannot change between hashing and moving.
        hasher
            .copy(&mut from, &mut std::io::sink())
            .with_context(copying)?;
    } else {
        let mut to = std::fs::File::create(output).with_context(copying)?;
        hasher.copy(&mut from, &mut to).with_context(copying)?;
    }
    let sum = hasher.finish();
    if let Some(expected) = expected {
        expected.check(file, &sum)?;
    }
    if got.ours && std::fs::rename(got.path, output).is_err() {
        // Another file system. It may refuse to change modes, so the bytes alone are copied.
        let mut from = std::fs::File::open(got.path).with_context(copying)?;
        let mut to = std::fs::File::create(output).with_context(copying)?;
        std::io::copy(&mut from, &mut to).with_context(copying)?;
    }
    Ok(sum)
}

mod content;
#[cfg(test)]
mod tests;

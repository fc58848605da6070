//! Tests of `download` against a local server, local mirrors and, where they are at hand, the
//! published files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::data::Dataset;
use crate::fetch::test_server::{Answer, Server};
use crate::skipped::skipped;
use repro_protocol::job::{FORMAT, Job};

struct Case {
    dir: tempfile::TempDir,
    task: Task,
}

impl Case {
    fn new(outputs: &[&str]) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let sub = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let job = Job {
            version: FORMAT,
            kind: "download".into(),
            revision: 1,
            params: json!({}),
            inputs: BTreeMap::new(),
            outputs: outputs
                .iter()
                .map(|&name| (name.to_owned(), dir.path().join(name)))
                .collect(),
            threads: 1,
            resume: None,
            states_dir: sub("states"),
            mirrors: Vec::new(),
            pins: BTreeMap::new(),
            offline: false,
            scratch_dir: sub("scratch"),
            device: None,
            gpu_share: None,
        };
        Case {
            dir,
            task: Task {
                job,
                pins: BTreeMap::new(),
                figures: BTreeMap::new(),
                events: None,
            },
        }
    }

    fn run(&mut self, params: serde_json::Value) -> Result<(), String> {
        let params: Params = serde_json::from_value(params).unwrap();
        let problems = Download::validate(&params, &[]);
        assert!(problems.is_empty(), "{problems:?}");
        let client = Client::new(3, Duration::from_millis(1), None);
        run_with(&params, &mut self.task, &client).map_err(|e| format!("{e:#}"))
    }

    fn output(&self) -> Option<Vec<u8>> {
        std::fs::read(self.dir.path().join("data")).ok()
    }

    fn scratch_is_empty(&self) -> bool {
        std::fs::read_dir(&self.task.job.scratch_dir)
            .unwrap()
            .next()
            .is_none()
    }
}

const BODY: &[u8] = b"hello, world";

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Checksum::Sha256(String::new()).hasher();
    hasher.update(bytes);
    hasher.finish().to_string().split_off("sha256:".len())
}

#[test]
fn a_file_with_a_digest() {
    let server = Server::start(
        BODY,
        None,
        vec![Answer::Status(500), Answer::Status(500), Answer::Good],
    );
    let mut case = Case::new(&["data"]);
    case.run(json!({"url": format!("{}/x.txt", server.url), "digest": {"sha256": sha256(BODY)}}))
        .unwrap();
    assert_eq!(case.output().unwrap(), BODY);
    assert!(case.scratch_is_empty());
    assert!(case.task.pins.is_empty());
    assert_eq!(case.task.figures["bytes_fetched"], 12.0);
}

#[test]
fn wrong_bytes_are_named_and_not_kept() {
    let server = Server::start(BODY, None, vec![Answer::Altered]);
    let mut case = Case::new(&["data"]);
    let error = case
        .run(json!({"url": format!("{}/x.txt", server.url), "digest": {"sha256": sha256(BODY)}}))
        .unwrap_err();
    assert!(
        error.contains(&format!(
            "x.txt has the wrong checksum: expected sha256:{}, got sha256:",
            sha256(BODY)
        )),
        "{error}"
    );
    assert_eq!(case.output(), None);
    assert!(case.scratch_is_empty());
}

#[test]
fn a_stale_part_is_given_up_once_its_sum_is_wrong() {
    let server = Server::start(BODY, None, vec![Answer::Good]);
    let mut case = Case::new(&["data"]);
    let url = format!("{}/x.txt", server.url);
    let part = case.task.job.scratch_dir.join(format!(
        "{}.part",
        &blake3::hash(url.as_bytes()).to_hex()[..24]
    ));
    std::fs::write(&part, b"HELLO").unwrap();
    case.run(json!({"url": url, "digest": {"sha256": sha256(BODY)}}))
        .unwrap();
    assert_eq!(case.output().unwrap(), BODY);
    assert_eq!(server.requests(), ["/x.txt from 5", "/x.txt"]);
}

#[test]
fn without_a_digest_the_first_download_decides() {
    let server = Server::start(
        BODY,
        None,
        vec![Answer::Good, Answer::Good, Answer::Altered],
    );
    let url = format!("{}/x.txt", server.url);
    let mut case = Case::new(&["data"]);
    case.run(json!({"url": url})).unwrap();
    let pin = format!("blake3:{}", blake3::hash(BODY).to_hex());
    assert_eq!(case.task.pins, BTreeMap::from([(url.clone(), pin.clone())]));

    let mut again = Case::new(&["data"]);
    again.task.job.pins = case.task.pins.clone();
    again.run(json!({"url": url})).unwrap();
    assert_eq!(again.task.pins, case.task.pins);

    let mut changed = Case::new(&["data"]);
    changed.task.job.pins = case.task.pins.clone();
    let error = changed.run(json!({"url": url})).unwrap_err();
    let other: Vec<u8> = BODY.iter().map(|b| b ^ 1).collect();
    assert!(
        error.contains(&pin)
            && error.contains(&format!("got blake3:{}", blake3::hash(&other).to_hex())),
        "{error}"
    );
    assert!(error.contains("repro.lock"));
    assert_eq!(changed.output(), None);
}

#[test]
fn local_files_and_file_addresses() {
    let mut case = Case::new(&["data"]);
    let path = case.dir.path().join("a b.txt");
    std::fs::write(&path, BODY).unwrap();
    case.run(json!({"path": path, "digest": {"md5": "e4d7f1b4ed2e42d15898f4b27b019da4"}}))
        .unwrap();
    assert_eq!(case.output().unwrap(), BODY);
    let mut case2 = Case::new(&["data"]);
    case2.task.job.offline = true;
    case2
        .run(json!({"url": format!("file://{}", path.display()).replace(' ', "%20")}))
        .unwrap();
    assert_eq!(case2.output().unwrap(), BODY);
    let mut case3 = Case::new(&["data"]);
    let error = case3.run(json!({"path": case.dir.path()})).unwrap_err();
    assert!(error.contains("it is not a file"), "{error}");
    assert!(
        Case::new(&["data"])
            .run(json!({"path": "/no/such/file"}))
            .unwrap_err()
            .contains("/no/such/file: not there")
    );
}

#[test]
fn mirrors_come_first_and_wrong_ones_are_passed_over() {
    let server = Server::start(BODY, None, vec![Answer::Good]);
    let mut case = Case::new(&["data"]);
    let mirror = case.dir.path().join("mirror");
    std::fs::create_dir(&mirror).unwrap();
    std::fs::write(mirror.join("x.txt"), BODY).unwrap();
    case.task.job.mirrors = vec!["/no/such/mirror".into(), mirror.display().to_string()];
    let params =
        json!({"url": format!("{}/x.txt", server.url), "digest": {"sha256": sha256(BODY)}});
    case.run(params.clone()).unwrap();
    assert!(server.requests().is_empty());
    std::fs::write(mirror.join("x.txt"), "something else").unwrap();
    case.run(params).unwrap();
    assert_eq!(server.requests(), ["/x.txt"]);
    assert_eq!(case.output().unwrap(), BODY);
}

#[test]
fn offline_says_what_to_put_where() {
    let mut case = Case::new(&["train", "test"]);
    case.task.job.offline = true;
    let params = serde_json::from_value(json!({"dataset": "mnist"})).unwrap();
    let error = Download::run(&params, &mut case.task).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot get mnist/train-images-idx3-ubyte.gz:"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("not asked, because this run is offline")
    );
    let hint = error
        .downcast_ref::<Failure>()
        .unwrap()
        .hint
        .clone()
        .unwrap();
    assert_eq!(
        hint,
        "put the file at DIR/mnist/train-images-idx3-ubyte.gz and set REPRO_MIRROR=DIR, or name DIR under `mirrors:`"
    );
}

#[test]
fn a_damaged_mirror_of_a_data_set_is_refused() {
    let mut case = Case::new(&["train", "test"]);
    case.task.job.offline = true;
    std::fs::write(case.dir.path().join("train-images-idx3-ubyte.gz"), "short").unwrap();
    case.task.job.mirrors = vec![case.dir.path().display().to_string()];
    let error = case.run(json!({"dataset": "mnist"})).unwrap_err();
    assert!(
        error.contains(
            "train-images-idx3-ubyte.gz has the wrong size: expected 9912422 bytes, got 5"
        ),
        "{error}"
    );
    let mut bytes = vec![0; 9_912_422];
    bytes[0] = 0x1f;
    std::fs::write(case.dir.path().join("train-images-idx3-ubyte.gz"), bytes).unwrap();
    let error = case.run(json!({"dataset": "mnist"})).unwrap_err();
    assert!(
        error.contains("wrong checksum: expected sha256:440fcabf"),
        "{error}"
    );
}

/// CIFAR-100 and SVHN as well: a file that is not the published one is named.
#[test]
fn other_files_are_not_cifar_100_or_svhn() {
    let mut case = Case::new(&["train", "test"]);
    case.task.job.offline = true;
    case.task.job.mirrors = vec![case.dir.path().display().to_string()];
    let dir = case.dir.path().join("cifar-100-binary");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("train.bin"), "short").unwrap();
    let error = case.run(json!({"dataset": "cifar-100"})).unwrap_err();
    let want = "train.bin has the wrong size: expected 153700000 bytes, got 5";
    assert!(error.contains(want), "{error}");
    let error = case.run(json!({"dataset": "svhn"})).unwrap_err();
    assert!(
        error.starts_with("cannot get svhn/train_32x32.mat:"),
        "{error}"
    );
    std::fs::write(case.dir.path().join("train_32x32.mat"), "short").unwrap();
    let error = case.run(json!({"dataset": "svhn"})).unwrap_err();
    let want = "train_32x32.mat has the wrong size: expected 182040794 bytes, got 5";
    assert!(error.contains(want), "{error}");
}

#[test]
fn shapes_need_nothing() {
    let mut case = Case::new(&["train", "test"]);
    case.task.job.offline = true;
    case.run(json!({"dataset": "shapes", "shapes": {"train": 50, "test": 30}, "train_limit": 20}))
        .unwrap();
    let load = |name: &str| Dataset::load(&case.dir.path().join(name)).unwrap();
    assert_eq!((load("train").len(), load("test").len()), (20, 30));
    assert!(load("train").origin().iter().copied().eq(0..20));
}

#[test]
fn defaults_are_spelt_out() {
    let params: Params = serde_json::from_value(json!({"dataset": "shapes"})).unwrap();
    let written = serde_json::to_value(&params).unwrap();
    assert_eq!(written["shapes"]["train"], 6000);
    assert_eq!(serde_json::from_value::<Params>(written).unwrap(), params);
    assert_eq!(
        serde_json::to_value(
            serde_json::from_value::<Params>(json!({"dataset": "mnist"})).unwrap()
        )
        .unwrap(),
        json!({"dataset": "mnist"})
    );
}

#[test]
fn the_engine_sees_one_schema_and_one_set_of_fields() {
    let info = crate::kinds::find("download").unwrap();
    let schema = &*info.schema;
    let fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "dataset",
            "digest",
            "file",
            "path",
            "shapes",
            "test_limit",
            "train_limit",
            "url"
        ]
    );
    assert_eq!(schema["additionalProperties"], false);
    assert!(
        schema["properties"]["digest"]["description"]
            .as_str()
            .unwrap()
            .contains("sha256"),
        "{schema:#}"
    );
    assert!(schema.get("required").is_none(), "{schema:#}");
    let checked =
        (info.check)(&json!({"dataset": "shapes"}), &[]).unwrap_or_else(|p| panic!("{p:?}"));
    assert_eq!(checked.params["shapes"]["noise"], 10);
    assert_eq!(
        checked
            .outputs
            .iter()
            .map(|o| o.path.as_str())
            .collect::<Vec<_>>(),
        ["train.safetensors", "test.safetensors"]
    );
    let problems = (info.check)(
        &json!({"dataset": "mnits", "train_limits": 3, "shapes": {"nois": 3}}),
        &[],
    )
    .err()
    .unwrap();
    let mut paths: Vec<String> = problems.iter().map(|p| p.path.join(".")).collect();
    paths.sort();
    assert_eq!(
        paths,
        ["dataset", "shapes.nois", "train_limits"],
        "{problems:?}"
    );
}

#[test]
fn mistakes_are_named() {
    let messages = |json| {
        let params: Params = serde_json::from_value(json).unwrap();
        Download::validate(&params, &[])
            .into_iter()
            .map(|p| p.message)
            .collect::<Vec<_>>()
    };
    let one = "exactly one of `dataset`, `url` and `path` is needed";
    assert_eq!(messages(json!({})), [one]);
    assert_eq!(
        messages(json!({"dataset": "mnist", "url": "https://x/y"})),
        [one]
    );
    assert_eq!(
        messages(json!({"dataset": "mnist", "shapes": {}, "file": "x", "train_limit": 0})),
        [
            "`shapes` goes with `dataset: shapes` only",
            "`file` goes with `url` or `path` only",
            "no image would be left"
        ]
    );
    assert_eq!(
        messages(json!({"url": "ftp://x/y"})),
        ["`ftp://x/y` is not an address"]
    );
    assert_eq!(
        messages(json!({"url": "https://x.org"})),
        ["the address does not end in a file name"]
    );
    assert_eq!(
        messages(json!({"url": "https://x.org/a/"})),
        ["the address does not end in a file name"]
    );
    assert_eq!(messages(json!({"path": "a/b"})), ["`a/b` is relative"]);
    assert_eq!(
        messages(json!({"url": "https://x.org/a", "file": "../b"})),
        ["`../b` is not a file name"]
    );
    assert_eq!(
        messages(json!({"url": "https://x.org/a", "digest": {"md5": "12"}})),
        ["`12` is not a md5 checksum (32 hex digits)"]
    );
    assert_eq!(
        messages(json!({"dataset": "shapes", "shapes": {"train": 0}})),
        ["0 images are out of range"]
    );
    assert!(serde_json::from_value::<Params>(json!({"dataset": "imagenet"})).is_err());
    let named = |json| {
        serde_json::from_value::<Params>(json)
            .unwrap()
            .file_name()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        named(json!({"url": "https://x.org/a/b.csv?v=1/2#z"})),
        "b.csv"
    );
    assert_eq!(named(json!({"path": "/a/b c"})), "b c");
}

/// The published files: `REPRO_MIRROR`, or `shared/data` beside the project.
fn published() -> Option<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = std::env::var("REPRO_MIRROR").map_or(beside, PathBuf::from);
    if dir.join("mnist").is_dir() {
        return Some(dir.display().to_string());
    }
    skipped(format_args!("no published data at {}", dir.display()));
    None
}

fn known(mirror: &str, dataset: &str) -> (Dataset, Dataset) {
    let mut case = Case::new(&["train", "test"]);
    case.task.job.offline = true;
    case.task.job.mirrors = vec![mirror.to_owned()];
    case.run(json!({"dataset": dataset})).unwrap();
    let load = |name: &str| Dataset::load(&case.dir.path().join(name)).unwrap();
    (load("train"), load("test"))
}

/// Measured mean and standard deviation agree with the published four digits.
fn check_moments(set: &Dataset) {
    let channels = set.info().shape.channels;
    for c in 0..channels {
        let values = || {
            set.images()
                .iter()
                .skip(c)
                .step_by(channels)
                .map(|&p| f64::from(p) / 255.0)
        };
        let n = (set.images().len() / channels) as f64;
        let mean = values().sum::<f64>() / n;
        let std = (values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt();
        assert!(
            (mean - f64::from(set.info().mean[c])).abs() < 1e-4,
            "channel {c}: mean {mean}"
        );
        assert!(
            (std - f64::from(set.info().std[c])).abs() < 1e-4,
            "channel {c}: std {std}"
        );
    }
}

fn md5(parts: &[&[u8]]) -> String {
    let mut hasher = Checksum::Md5(String::new()).hasher();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish().to_string()
}

/// Rebuilds the raw IDX files from the parsed data sets: their MD5s are published.
#[test]
fn mnist_and_fashion_mnist_are_the_published_ones() {
    let Some(mirror) = published() else { return };
    let sets = [
        (
            "mnist",
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
        (
            "fashion-mnist",
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ];
    for (name, train_images, train_labels, test_images, test_labels) in sets {
        let (train, test) = known(&mirror, name);
        for (set, images, labels) in [
            (&train, train_images, train_labels),
            (&test, test_images, test_labels),
        ] {
            let words = |words: &[u32]| {
                words
                    .iter()
                    .flat_map(|w| w.to_be_bytes())
                    .collect::<Vec<u8>>()
            };
            let n = set.len() as u32;
            assert_eq!(
                md5(&[&words(&[0x803, n, 28, 28]), set.images()]),
                format!("md5:{images}")
            );
            assert_eq!(
                md5(&[&words(&[0x801, n]), &set.label_bytes()]),
                format!("md5:{labels}")
            );
        }
        check_moments(&train);
    }
}

/// Rebuilds the record files from the parsed data set: their MD5s are published.
#[test]
fn cifar_10_is_the_published_one() {
    let Some(mirror) = published() else { return };
    let (train, test) = known(&mirror, "cifar-10");
    assert_eq!((train.len(), test.len()), (50_000, 10_000));
    let file = |set: &Dataset, from: usize| {
        let mut bytes = Vec::with_capacity(30_730_000);
        for i in from..from + 10_000 {
            bytes.push(set.labels()[i] as u8);
            for c in 0..3 {
                bytes.extend(set.image(i).iter().skip(c).step_by(3));
            }
        }
        bytes
    };
    assert_eq!(
        md5(&[&file(&train, 0)]),
        "md5:5dd7e06a14cb22eb9f671a540d1b7c25"
    );
    assert_eq!(
        md5(&[&file(&train, 40_000)]),
        "md5:53f37980c15c3d472c316c40844f3f0d"
    );
    assert_eq!(
        md5(&[&file(&test, 0)]),
        "md5:803d5f7f4d78ea53de84dbe85f74fb6d"
    );
    check_moments(&train);
}

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::data::{Answers, Dataset, Values};
use crate::kinds::testing;
use repro_protocol::job::JobInput;
use serde_json::{Value, json};

const FOREIGN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/");

/// A directory of inputs, and what came out.
struct Case {
    dir: tempfile::TempDir,
    inputs: BTreeMap<String, Vec<JobInput>>,
}

impl Case {
    fn new() -> Case {
        Case {
            dir: tempfile::tempdir().unwrap(),
            inputs: BTreeMap::new(),
        }
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn copy(&self, name: &str, to: &str) {
        self.write(to, std::fs::read(format!("{FOREIGN}{name}")).unwrap());
    }

    fn need(mut self, need: &str, group: &str, path: PathBuf, from: &str) -> Case {
        self.inputs.entry(need.into()).or_default().push(JobInput {
            group: group.into(),
            path,
            from: from.into(),
            ..JobInput::default()
        });
        self
    }

    fn given(self, need: &str, path: &str) -> Case {
        let at = self.dir.path().join(path);
        self.need(need, "", at, path)
    }

    fn foreign(self, need: &str, group: &str, name: &str) -> Case {
        self.need(need, group, PathBuf::from(format!("{FOREIGN}{name}")), name)
    }

    fn run(&self, with: Value) -> anyhow::Result<BTreeMap<String, Dataset>> {
        let needs: Vec<String> = self.inputs.keys().cloned().collect();
        let checked = crate::kind::check::<DatasetKind>(&with, &needs)
            .map_err(|p| anyhow::anyhow!("{p:?}"))?;
        let names: Vec<String> = checked.outputs.iter().map(|o| o.name.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut task = testing::task(self.dir.path(), checked.params.clone(), &names, []);
        task.job.inputs = self.inputs.clone();
        let params: Params = serde_json::from_value(checked.params)?;
        DatasetKind::run(&params, &mut task)?;
        let load = |name: &&str| {
            Ok((
                name.to_string(),
                Dataset::load(&self.dir.path().join(name))?,
            ))
        };
        names.iter().map(load).collect()
    }

    fn says(&self, with: Value) -> String {
        let error = self.run(with).unwrap_err();
        let hint = error
            .chain()
            .find_map(|e| e.downcast_ref::<Failure>()?.hint.clone());
        format!("{error:#} / {}", hint.unwrap_or_default())
    }
}

fn photos() -> Case {
    let case = Case::new();
    for path in ["photos/dog/1.png", "photos/cat/b/2.PNG", "photos/cat/1.png"] {
        case.copy("rgb.png", path);
    }
    case.copy("grey.png", "photos/dog/0.jpg");
    case.write("photos/.DS_Store", "x");
    case.write("photos/cat/.hidden.png", "x");
    case.write("photos/README.md", "x");
    case
}

#[test]
fn case_22_class_folders_are_classes() {
    let sets = photos()
        .given("data", "photos")
        .run(json!({"images": {}}))
        .unwrap();
    let set = &sets["data"];
    assert_eq!(set.info().classes, ["cat", "dog"]);
    assert_eq!(set.labels(), [0, 0, 1, 1]);
    assert_eq!(set.info().shape.to_string(), "23x37x3");
    // dog/0.jpg is a grey PNG, whatever its name says: each value three times.
    assert_eq!(set.image(2)[0..3], [set.image(2)[0]; 3]);
    // Measured by channel.
    assert!(set.info().mean[0] != set.info().mean[1] && set.info().std[0] > 0.0);
    let grey = photos()
        .given("data", "photos")
        .run(json!({"images": {"mode": "grey", "resize": {"width": 8, "height": 9}}}));
    assert_eq!(grey.unwrap()["data"].info().shape.to_string(), "9x8x1");
}

#[test]
fn case_22_what_is_wrong_with_folders_is_said() {
    let case = photos();
    case.copy("rgb.16x16.png", "photos/dog/small.png");
    let case = case.given("data", "photos");
    let said = case.says(json!({"images": {}}));
    assert!(
        said.contains(
            "2 sizes (width x height); most are 37x23, others are photos/dog/small.png (16x16)"
        ),
        "{said}"
    );
    assert!(said.contains("resize: {width: 37, height: 23}"), "{said}");
    case.write("photos/dog/bad.png", "<html>");
    case.write(
        "photos/dog/cut.png",
        &std::fs::read(format!("{FOREIGN}rgb.png")).unwrap()[..200],
    );
    let said = case.says(json!({"images": {}}));
    assert!(
        said.contains("2 images cannot be used: photos/dog/bad.png: it is a web page")
            && said.contains("; photos/dog/cut.png"),
        "{said}"
    );

    let said = |files: &[&str]| {
        let case = Case::new();
        files.iter().for_each(|f| case.copy("rgb.png", f));
        std::fs::create_dir_all(case.dir.path().join("p")).unwrap();
        case.given("data", "p").says(json!({"images": {}}))
    };
    assert!(said(&[]).contains("p has no class folders"));
    assert!(said(&["p/1.png", "p/a/1.png"]).contains("the image 1.png lies in no class folder"));
    assert!(said(&["p/a/1.webp", "p/a/2.png"]).contains("a format that is not read: a/1.webp"));
    assert!(said(&["p/a/1.png", "p/b/x.txt"]).contains("a class without images: `b`"));
    let parts = said(&["p/train/a/1.png", "p/test/a/1.png"]);
    assert!(
        parts.contains(
            "holds the parts test, train, not classes / say `parts: {test: test, train: train}`"
        ),
        "{parts}"
    );
}

#[test]
fn case_22_parts_share_their_classes_and_the_moments_of_training() {
    let case = Case::new();
    case.copy("rgb.png", "p/train/ant/1.png");
    case.copy("rgb.png", "p/train/bee/1.png");
    case.copy("rgb.jpg", "p/val/bee/1.jpg");
    let whole = case.given("data", "p");
    let sets = whole
        .run(json!({"images": {}, "parts": {"train": "train", "test": "val"}}))
        .unwrap();
    assert_eq!(
        (sets["train"].labels(), sets["test"].labels()),
        (&[0, 1][..], &[1][..])
    );
    assert_eq!(sets["train"].info(), sets["test"].info());
}

#[test]
fn case_22_tables_in_text() {
    let case = Case::new();
    case.write(
        "iris.csv",
        "id,width,length,species\n1,0.5,1e2,setosa\n2,-1,3,\"virginica\"\n",
    );
    let case = case.given("data", "iris.csv");
    let sets = case
        .run(json!({"csv": {"label": "species", "ignore": "id"}}))
        .unwrap();
    let set = &sets["data"];
    assert_eq!(set.info().columns, ["width", "length"]);
    assert_eq!(set.values(), &Values::Floats(vec![0.5, 100.0, -1.0, 3.0]));
    assert_eq!(
        (set.labels(), &set.info().classes[..]),
        (&[0, 1][..], &["setosa".to_owned(), "virginica".into()][..])
    );
    let sets = case
        .run(json!({"csv": {"targets": "length", "columns": ["width", "id"]}}))
        .unwrap();
    assert_eq!(sets["data"].answers(), &Answers::Targets(vec![100.0, 3.0]));
    assert_eq!(
        sets["data"].values(),
        &Values::Floats(vec![0.5, 1.0, -1.0, 2.0])
    );

    let said = case.says(json!({"csv": {"label": "specie"}}));
    assert!(
        said.contains("iris.csv: there is no column `specie` / did you mean `species`?"),
        "{said}"
    );
    case.write("iris.csv", "a,b,y\n1,2,x\n3,,y\n4,NA,z\n5,six,z\n");
    let said = case.says(json!({"csv": {"label": "y"}}));
    assert!(said.contains("3 cells cannot be used: line 3: `b` is missing, line 4: `b` is missing (`NA`), line 5: `b` is `six`, no number"), "{said}");
    case.write("iris.csv", "a;b\n1;2\n");
    assert!(
        case.says(json!({"csv": {"label": "b"}}))
            .contains("say `separator: \";\"`")
    );
    case.write("iris.csv", ",a,y\n0,5,u\n1,6,v\n");
    let set = case
        .run(json!({"csv": {"label": "y"}}))
        .unwrap()
        .remove("data")
        .unwrap();
    assert_eq!(
        set.info().columns,
        ["a"],
        "the index of pandas is no feature"
    );
    case.write("iris.csv", "a,b\n1\n");
    assert!(
        case.says(json!({"csv": {"label": "b"}}))
            .contains("line 2 has 1 cells, the header 2")
    );
}

#[test]
fn case_22_arrays_of_all_orders_and_types() {
    let read = |x: &str, y: &str| {
        let case = Case::new().foreign("data", "x", x).foreign("data", "y", y);
        case.run(json!({"npy": {}}))
            .unwrap()
            .remove("data")
            .unwrap()
    };
    let f8 = read("f8.npy", "labels.npy");
    assert_eq!(f8.labels(), [2, 0, 1]);
    for other in ["fortran.npy", "big.npy", "half.npy"] {
        assert_eq!(read(other, "labels.npy"), f8, "{other}");
    }
    let Values::Floats(values) = f8.values() else {
        panic!()
    };
    assert_eq!(values[..5], [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(read("f8.npy", "texts.npy").info().classes, ["a", "b", "ä"]);
    let numbers = read("big.npy", "f8.npy");
    assert_eq!(numbers.info().targets, ["y0", "y1", "y2", "y3"]);

    let mnist = Case::new()
        .foreign("train", "", "arrays.npz")
        .foreign("test", "", "arrays.npz");
    let with = json!({"npz": {"x": {"train": "x_train", "test": "x_test"}, "y": {"train": "y_train", "test": "y_test"}}});
    let sets = mnist.run(with).unwrap();
    assert_eq!(
        (
            sets["train"].len(),
            sets["test"].len(),
            sets["test"].class_count()
        ),
        (3, 1, 3)
    );
    assert_eq!(sets["test"].image(0), sets["train"].image(2));
    let said = mnist.says(json!({"npz": {"x": "x", "y": "y"}}));
    assert!(
        said.contains("arrays.npz: it has no array `x`, only x_train, y_train"),
        "{said}"
    );
}

#[test]
fn case_22_idx_files_packed_or_not() {
    use std::io::Write;
    let case = Case::new();
    let idx = |kind: u8, sizes: &[u32], data: &[u8]| {
        let mut bytes = vec![0, 0, kind, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
        bytes.extend(data);
        bytes
    };
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&idx(
        8,
        &[2, 2, 3],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    ))
    .unwrap();
    case.write("x.gz", gz.finish().unwrap());
    case.write("y", idx(8, &[2], &[1, 0]));
    let (x, y) = (case.dir.path().join("x.gz"), case.dir.path().join("y"));
    let case = case.need("data", "x", x, "x").need("data", "y", y, "y");
    let set = case
        .run(json!({"idx": {}}))
        .unwrap()
        .remove("data")
        .unwrap();
    assert_eq!(
        (set.info().shape.to_string().as_str(), set.labels()),
        ("2x3x1", &[1, 0][..])
    );
}

#[test]
fn case_22_hugging_face_and_plain_parquet() {
    let case = Case::new().foreign("data", "", "hub.parquet");
    let set = case
        .run(json!({"parquet": {}}))
        .unwrap()
        .remove("data")
        .unwrap();
    assert_eq!(set.info().classes, ["cat", "dog"]);
    assert_eq!(
        (set.labels(), set.info().shape.to_string().as_str()),
        (&[1, 0, 1, 1][..], "8x8x3")
    );
    let case = Case::new().foreign("data", "", "pandas.none.parquet");
    let with = json!({"parquet": {"label": "note", "columns": ["accuracy", "epoch"]}});
    let set = case.run(with).unwrap().remove("data").unwrap();
    assert_eq!(
        set.values(),
        &Values::Floats(vec![0.5, 1.0, 0.75, 2.0, 0.875, 3.0])
    );
    let said = case.says(json!({"parquet": {"label": "note"}}));
    assert!(said.contains("row 1: `loss` is missing (null)"), "{said}");
    let said = case.says(json!({"parquet": {}}));
    assert!(
        said.contains("no column says what is to be learnt"),
        "{said}"
    );
}

#[test]
fn parameters_are_checked() {
    let said = |with: Value, needs: &[&str]| {
        let needs: Vec<String> = needs.iter().map(|n| n.to_string()).collect();
        let problems = crate::kind::check::<DatasetKind>(&with, &needs)
            .err()
            .unwrap_or_default();
        problems
            .iter()
            .map(|p| format!("{}: {}", p.path.join("."), p.message))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(said(json!({"images": {}}), &["data"]), "");
    assert_eq!(
        said(Value::Null, &["data"]),
        ": it does not say what the data are"
    );
    assert_eq!(
        said(json!({"images": {}, "npy": {}}), &["data"]),
        ": there are several formats: images, npy"
    );
    assert_eq!(said(json!({"images": {}}), &[]), ": it needs the data");
    assert_eq!(
        said(json!({"csv": {}}), &["data"]),
        "csv.label: neither `label` nor `targets` says what is to be learnt"
    );
    assert!(
        said(json!({"images": {}}), &["a", "b"])
            .starts_with("normalise: no part is called `train`")
    );
    assert!(
        said(json!({"images": {"resize": {"width": 3}}}), &["a"])
            .contains("images.resize: give `width` and `height`")
    );
    assert!(
        said(json!({"images": {}, "parts": {"a": "../x"}}), &["data"])
            .contains("parts.a: `../x` is no path below")
    );
    assert!(
        said(json!({"npz": {"x": {"train": "x"}}}), &["train", "test"])
            .contains("npz.x: it names no array for the part `test`")
    );
}

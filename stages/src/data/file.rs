//! A [`Dataset`] as a file: one safetensors file whose bytes depend on the data set alone.
//!
//! Tensors `images` U8 or F32 `[N, H, W, C]` (of a table: `features` `[N, C]`), `labels` U8 `[N]`
//! (I64 for more than 256 classes) or `targets` F32 `[N, T]`, `origin` U32 `[N]`; metadata
//! `format`, `name`, `classes` (a JSON list), `mean` and `std` (comma-separated, shortest decimals
//! that give the same f32), `columns` and `targets` (JSON lists, where there are names). The header
//! is written here, sorted, because the safetensors crate keeps metadata in a hash map; Reading
//! checks everything a [`Dataset`] promises, and accepts what other programs write: labels of any
//! whole type, without `origin`, `mean` or `std`. docs/data.md has the same for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::{Answers, Dataset, ImageShape, Info, Values};
use crate::failure::Failure;
use repro_protocol::job::JobInput;

/// The value of `format` in the metadata.
const FORMAT: &str = "repro.dataset.1";
/// With more classes, labels are stored as I64.
const CLASSES_OF_A_BYTE: usize = 256;

/// One tensor to be written.
struct Part<'a> {
    name: &'static str,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl Dataset {
    /// Writes the data set; the same data set always gives the same bytes.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let parts = self.parts();
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(path)?;
            file.write_all(&self.header(&parts))?;
            parts
                .iter()
                .try_for_each(|part| file.write_all(&part.bytes))
        };
        write().with_context(|| format!("cannot write the data set {}", path.display()))
    }

    /// The tensors in their order in the file.
    fn parts(&self) -> [Part<'_>; 3] {
        let (n, shape) = (self.len(), self.info().shape);
        let floats = |all: &[f32]| Cow::Owned(all.iter().flat_map(|x| x.to_le_bytes()).collect());
        let (dtype, bytes) = match self.values() {
            Values::Bytes(all) => ("U8", Cow::Borrowed(&all[..])),
            Values::Floats(all) => ("F32", floats(all)),
        };
        let values = match shape.is_table() {
            true => Part {
                name: "features",
                dtype,
                shape: vec![n, shape.channels],
                bytes,
            },
            false => Part {
                name: "images",
                dtype,
                shape: vec![n, shape.height, shape.width, shape.channels],
                bytes,
            },
        };
        let answers = match self.answers() {
            Answers::Labels(labels) if self.class_count() <= CLASSES_OF_A_BYTE => Part {
                name: "labels",
                dtype: "U8",
                shape: vec![n],
                bytes: labels.iter().map(|&l| l as u8).collect(),
            },
            Answers::Labels(labels) => Part {
                name: "labels",
                dtype: "I64",
                shape: vec![n],
                bytes: labels
                    .iter()
                    .flat_map(|&l| i64::from(l).to_le_bytes())
                    .collect(),
            },
            Answers::Targets(targets) => Part {
                name: "targets",
                dtype: "F32",
                shape: vec![n, self.info().targets.len()],
                bytes: floats(targets),
            },
        };
        let origin = Part {
            name: "origin",
            dtype: "U32",
            shape: vec![n],
            bytes: self.origin().iter().flat_map(|o| o.to_le_bytes()).collect(),
        };
        [values, answers, origin]
    }

    /// The length of the JSON header (u64, little-endian) and the header, padded with spaces so
    /// that the tensors begin at a multiple of 8.
    fn header(&self, parts: &[Part]) -> Vec<u8> {
        let Info {
            name,
            shape: _,
            classes,
            mean,
            std,
            columns,
            targets,
        } = self.info();
        let floats = |values: &[f32]| {
            values
                .iter()
                .map(f32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut metadata = BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("mean", floats(mean)),
            ("name", name.clone()),
            ("std", floats(std)),
        ]);
        for (key, names) in [
            ("classes", classes),
            ("columns", columns),
            ("targets", targets),
        ] {
            if !names.is_empty() {
                metadata.insert(key, json!(names).to_string());
            }
        }
        // `serde_json` sorts the keys of its maps unless a feature says otherwise: a BTreeMap
        // leaves no doubt.
        let mut header: BTreeMap<&str, serde_json::Value> =
            BTreeMap::from([("__metadata__", json!(metadata))]);
        let mut begin = 0;
        for part in parts {
            let end = begin + part.bytes.len();
            header.insert(part.name, tensor(part.dtype, &part.shape, begin, end));
            begin = end;
        }
        let mut text = serde_json::to_string(&header)
            .expect("strings and integers always serialise")
            .into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut text);
        bytes
    }

    /// Reads a file that [`Dataset::save`] wrote, or another program in the same format, whole.
    ///
    /// # Errors
    /// When it cannot be read or is anything else: not safetensors, cut short, another format, a
    /// wrong type, size or label.
    pub fn load(path: &Path) -> anyhow::Result<Dataset> {
        Dataset::load_called(path, &path.display().to_string())
    }

    /// Reads an input of a job; errors call it by stage and output where the job does.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn input(input: &JobInput) -> anyhow::Result<Dataset> {
        match input.from.is_empty() {
            true => Dataset::load(&input.path),
            false => Dataset::load_called(&input.path, &input.from),
        }
    }

    /// Reads the data sets under an input and puts them together, in order.
    ///
    /// # Errors
    /// As [`Dataset::load`]; they are not parts of one data set.
    pub fn put_together(inputs: &[JobInput], name: &str) -> anyhow::Result<Dataset> {
        let parts = inputs
            .iter()
            .map(Dataset::input)
            .collect::<Result<Vec<_>, _>>()?;
        Dataset::concat(&parts).map_err(|e| Failure::new(format!("input `{name}`: {e}")).into())
    }

    fn load_called(path: &Path, called: &str) -> anyhow::Result<Dataset> {
        let hint = "own images, tables and arrays come in through a stage `uses: dataset`; a data set is also what `download`, `split` or \
            `corrupt` wrote, or a command in the format of docs/data.md; the input may name the wrong output, or the file was altered";
        if path.is_dir() {
            let message = format!("{called} is a directory, not a data set");
            return Err(Failure::new(message).hint(hint).into());
        }
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read the data set {called}"))?;
        Dataset::parse(&bytes).map_err(|problem| {
            Failure::new(format!("{called} is not a data set: {problem:#}"))
                .hint(hint)
                .into()
        })
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Dataset> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let empty = Default::default();
        let metadata = header.metadata().as_ref().unwrap_or(&empty);
        let field = |name: &str| {
            metadata
                .get(name)
                .with_context(|| format!("metadata `{name}` is missing"))
        };
        let format = field("format")?;
        anyhow::ensure!(
            format == FORMAT,
            "format `{format}`, where `{FORMAT}` was expected"
        );
        let tensor = |name: &str| tensors.tensor(name).ok();
        let (view, shape) = match (tensor("images"), tensor("features")) {
            (Some(images), None) => {
                let &[_, height, width, channels] = images.shape() else {
                    anyhow::bail!("`images` has {} dimensions, not 4", images.shape().len());
                };
                let shape = ImageShape {
                    height,
                    width,
                    channels,
                };
                (images, shape)
            }
            (None, Some(features)) => {
                let &[_, columns] = features.shape() else {
                    anyhow::bail!(
                        "`features` has {} dimensions, not 2",
                        features.shape().len()
                    );
                };
                (features, ImageShape::table(columns))
            }
            (Some(_), Some(_)) => anyhow::bail!("it has both `images` and `features`"),
            (None, None) => anyhow::bail!("it has neither `images` nor `features`"),
        };
        let n = view.shape()[0];
        let values = match view.dtype() {
            Dtype::U8 => Values::Bytes(view.data().to_vec()),
            Dtype::F32 => Values::Floats(floats(view.data())),
            other => anyhow::bail!("its values are {other:?}, not U8 or F32"),
        };
        let rows = |name: &str, view: &TensorView| {
            anyhow::ensure!(
                view.shape().first() == Some(&n),
                "`{name}` has shape {:?}, where {n} examples are",
                view.shape()
            );
            Ok(())
        };
        let names = |name: &str| -> anyhow::Result<Vec<String>> {
            match metadata.get(name) {
                None => Ok(Vec::new()),
                Some(text) => serde_json::from_str(text)
                    .with_context(|| format!("metadata `{name}` is not a list of names")),
            }
        };
        let (answers, classes, targets) = match (tensor("labels"), tensor("targets")) {
            (Some(labels), None) => {
                rows("labels", &labels)?;
                anyhow::ensure!(
                    labels.shape().len() == 1,
                    "`labels` has more than one column"
                );
                field("classes")?;
                let labels = whole("labels", &labels)?;
                (Answers::Labels(labels), names("classes")?, Vec::new())
            }
            (None, Some(targets)) => {
                rows("targets", &targets)?;
                anyhow::ensure!(
                    targets.dtype() == Dtype::F32,
                    "`targets` is {:?}, not F32",
                    targets.dtype()
                );
                let width = match targets.shape() {
                    [_] => 1,
                    [_, width] => *width,
                    other => anyhow::bail!("`targets` has {} dimensions, not 2", other.len()),
                };
                let mut names = names("targets")?;
                if names.is_empty() {
                    names = (0..width).map(|k| format!("target {k}")).collect();
                }
                anyhow::ensure!(
                    names.len() == width,
                    "`targets` has {width} columns and {} names",
                    names.len()
                );
                (Answers::Targets(floats(targets.data())), Vec::new(), names)
            }
            (Some(_), Some(_)) => anyhow::bail!("it has both `labels` and `targets`"),
            (None, None) => anyhow::bail!("it has neither `labels` nor `targets`"),
        };
        let origin = match tensor("origin") {
            None => (0..u32::try_from(n).context("too many examples")?).collect(),
            Some(view) => {
                rows("origin", &view)?;
                whole("origin", &view)?
            }
        };
        let moments = |name: &str, default: f32| -> anyhow::Result<Vec<f32>> {
            let Some(text) = metadata.get(name) else {
                return Ok(vec![default; shape.channels]);
            };
            text.split(',')
                .map(|x| {
                    x.trim().parse().with_context(|| {
                        format!("metadata `{name}`: `{text}` is not a list of numbers")
                    })
                })
                .collect()
        };
        let info = Info {
            name: field("name")?.clone(),
            shape,
            classes,
            mean: moments("mean", 0.0)?,
            std: moments("std", 1.0)?,
            columns: names("columns")?,
            targets,
        };
        Ok(Dataset::of(info, values, answers, origin)?)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// A tensor of whole numbers, each from 0 to 2³² − 1.
fn whole(name: &str, view: &TensorView) -> anyhow::Result<Vec<u32>> {
    fn all<const W: usize>(bytes: &[u8], number: impl Fn([u8; W]) -> i128) -> Vec<i128> {
        bytes
            .as_chunks::<W>()
            .0
            .iter()
            .map(|b| number(*b))
            .collect()
    }
    let data = view.data();
    let numbers = match view.dtype() {
        Dtype::U8 => all::<1>(data, |b| u8::from_le_bytes(b).into()),
        Dtype::I8 => all::<1>(data, |b| i8::from_le_bytes(b).into()),
        Dtype::U16 => all::<2>(data, |b| u16::from_le_bytes(b).into()),
        Dtype::I16 => all::<2>(data, |b| i16::from_le_bytes(b).into()),
        Dtype::U32 => all::<4>(data, |b| u32::from_le_bytes(b).into()),
        Dtype::I32 => all::<4>(data, |b| i32::from_le_bytes(b).into()),
        Dtype::U64 => all::<8>(data, |b| u64::from_le_bytes(b).into()),
        Dtype::I64 => all::<8>(data, |b| i64::from_le_bytes(b).into()),
        other => anyhow::bail!("`{name}` is {other:?}, not a type of whole numbers"),
    };
    numbers
        .into_iter()
        .enumerate()
        .map(|(i, x)| u32::try_from(x).map_err(|_| anyhow::anyhow!("`{name}`: entry {i} is {x}")))
        .collect()
}

fn tensor(dtype: &str, shape: &[usize], begin: usize, end: usize) -> serde_json::Value {
    json!({"data_offsets": [begin, end], "dtype": dtype, "shape": shape})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::examples::{table, tiny};
    use proptest::prelude::*;

    fn saved(set: &Dataset) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.safetensors");
        set.save(&path).unwrap();
        assert_eq!(&Dataset::load(&path).unwrap(), set);
        std::fs::read(path).unwrap()
    }

    #[test]
    fn round_trip_and_frozen_bytes() {
        assert_eq!(saved(&tiny(3)), saved(&tiny(3)));
        saved(&tiny(0));
        let text = String::from_utf8_lossy(&saved(&tiny(3))[8..]).into_owned();
        assert!(text.starts_with(
            r#"{"__metadata__":{"classes":"[\"even\",\"odd\"]","format":"repro.dataset.1","mean":"0.5,0.25","name":"tiny","std":"0.5,0.125"},"images":{"data_offsets":[0,36],"dtype":"U8","shape":[3,2,3,2]},"labels":"#
        ), "{text}");
    }

    #[test]
    fn tables_and_many_classes_come_back() {
        let text = |set: &Dataset| String::from_utf8_lossy(&saved(set)[8..]).into_owned();
        assert!(text(&table(3)).starts_with(
            r#"{"__metadata__":{"columns":"[\"a\",\"b\",\"c\"]","format":"repro.dataset.1","mean":"0.5,0.25,0","name":"table","std":"0.5,0.125,1","targets":"[\"price\"]"},"features":{"data_offsets":[0,36],"dtype":"F32","shape":[3,3]},"origin":"#
        ), "{}", text(&table(3)));
        let classes = |n: usize| {
            let (info, labels) = (tiny(0).info().clone(), vec![0u32, n as u32 - 1]);
            let classes = (0..n).map(|c| c.to_string()).collect();
            Dataset::new(Info { classes, ..info }, vec![1u8; 24], labels, vec![0, 1]).unwrap()
        };
        assert!(text(&classes(256)).contains(r#""labels":{"data_offsets":[24,26],"dtype":"U8""#));
        assert!(text(&classes(257)).contains(r#""labels":{"data_offsets":[24,40],"dtype":"I64""#));
    }

    /// What a program writes that knows the format from the documentation.
    #[test]
    fn what_others_write_is_read() {
        let header = |tensors: serde_json::Value, metadata: serde_json::Value, bytes: usize| {
            let mut all = tensors;
            all["__metadata__"] = metadata;
            let text = all.to_string();
            let mut file = (text.len() as u64).to_le_bytes().to_vec();
            file.extend(text.as_bytes());
            file.extend(vec![0u8; bytes]);
            file
        };
        let tensors = json!({"features": {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]},
            "labels": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}});
        let metadata = json!({"format": FORMAT, "name": "mine", "classes": "[\"a\"]"});
        let set = Dataset::parse(&header(tensors.clone(), metadata.clone(), 32)).unwrap();
        assert_eq!(
            (set.len(), set.labels(), set.origin()),
            (2, &[0, 0][..], &[0, 1][..])
        );
        assert_eq!(set.info().std, [1.0, 1.0]);
        let mut other = tensors.clone();
        other["labels"]["dtype"] = json!("F64");
        let error = Dataset::parse(&header(other, metadata, 32)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`labels` is F64, not a type of whole numbers"
        );
        let error = Dataset::parse(&header(tensors, json!({"format": FORMAT, "name": "x"}), 32));
        assert_eq!(
            error.unwrap_err().to_string(),
            "metadata `classes` is missing"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let bytes = saved(&tiny(3));
        for cut in [0, 7, 8, 60, bytes.len() - 1] {
            assert!(Dataset::parse(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        let swap = |from: &str, to: &str| {
            let at = bytes
                .windows(from.len())
                .position(|w| w == from.as_bytes())
                .unwrap();
            let mut other = bytes.clone();
            other[at..at + from.len()].copy_from_slice(to.as_bytes());
            Dataset::parse(&other).unwrap_err().to_string()
        };
        assert_eq!(
            swap("dataset.1", "dataset.2"),
            "format `repro.dataset.2`, where `repro.dataset.1` was expected"
        );
        assert_eq!(swap(r#""name""#, r#""nome""#), "metadata `name` is missing");
        assert!(swap("0.5,0.25", "0.5;0.25").contains("`mean`"));
        swap("[3,2,3,2]", "[3,3,3,2]");
        swap(r#""labels":"#, r#""lapels":"#);
        let mut other = bytes.clone();
        let label = bytes.len() - 12 - 1;
        other[label] = 2;
        assert_eq!(
            Dataset::parse(&other).unwrap_err().to_string(),
            "image 2 has label 2, but there are 2 classes (0 to 1)"
        );
    }

    #[test]
    fn a_file_that_is_missing_or_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        assert!(
            Dataset::load(&path)
                .unwrap_err()
                .to_string()
                .contains("x.safetensors")
        );
        std::fs::write(&path, "hello, I am a text").unwrap();
        let error = Dataset::load(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("x.safetensors is not a data set"),
            "{error}"
        );
        assert!(error.downcast_ref::<Failure>().unwrap().hint.is_some());
    }

    proptest! {
        #[test]
        fn altered_bytes_never_panic(at in 0usize..400, byte: u8) {
            let mut bytes = saved(&tiny(3));
            if at < bytes.len() {
                bytes[at] = byte;
            }
            let _ = Dataset::parse(&bytes);
        }
    }
}

//! A [`Dataset`] as a file: one safetensors file whose bytes depend on the data set alone.
//!
//! Tensors `images` U8 `[N, H, W, C]`, `labels` U8 `[N]`, `origin` U32 `[N]`; metadata `format`, `name`, `classes` (a JSON list),
//! `mean` and `std` (comma-separated, shortest decimals that give the same f32). The header is written here, sorted, because the safetensors
//! crate keeps metadata in a hash map; reading checks everything a [`Dataset`] promises.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::{Dataset, ImageShape, Info};
use crate::kind::Failure;

/// The value of `format` in the metadata.
const FORMAT: &str = "repro.dataset.1";

impl Dataset {
    /// Writes the data set; the same data set always gives the same bytes.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(path)?;
            file.write_all(&self.header())?;
            file.write_all(self.images())?;
            file.write_all(self.labels())?;
            let origin: Vec<u8> = self.origin().iter().flat_map(|o| o.to_le_bytes()).collect();
            file.write_all(&origin)
        };
        write().with_context(|| format!("cannot write the data set {}", path.display()))
    }

    /// The length of the JSON header (u64, little-endian) and the header, padded with spaces so that the tensors begin at a
    /// multiple of 8.
    fn header(&self) -> Vec<u8> {
        let Info {
            name,
            shape,
            classes,
            mean,
            std,
        } = self.info();
        let floats = |values: &[f32]| {
            values
                .iter()
                .map(f32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let classes = json!(classes).to_string();
        let metadata = BTreeMap::from([
            ("classes", classes),
            ("format", FORMAT.to_owned()),
            ("mean", floats(mean)),
            ("name", name.clone()),
            ("std", floats(std)),
        ]);
        let n = self.len();
        let ends = [
            self.images().len(),
            self.images().len() + n,
            self.images().len() + 5 * n,
        ];
        // `serde_json` sorts the keys of its maps unless a feature says otherwise: a BTreeMap leaves no doubt.
        let header: BTreeMap<&str, serde_json::Value> = BTreeMap::from([
            ("__metadata__", json!(metadata)),
            (
                "images",
                tensor(
                    "U8",
                    &[n, shape.height, shape.width, shape.channels],
                    0,
                    ends[0],
                ),
            ),
            ("labels", tensor("U8", &[n], ends[0], ends[1])),
            ("origin", tensor("U32", &[n], ends[1], ends[2])),
        ]);
        let mut text = serde_json::to_string(&header)
            .expect("strings and integers always serialise")
            .into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut text);
        bytes
    }

    /// Reads a file that [`Dataset::save`] wrote, whole.
    ///
    /// # Errors
    /// When it cannot be read or is anything else: not safetensors, cut short, another format, a wrong type, size or label.
    pub fn load(path: &Path) -> anyhow::Result<Dataset> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the data set {}", path.display()))?;
        Dataset::parse(&bytes).map_err(|problem| {
            Failure::new(format!("{} is not a data set: {problem:#}", path.display()))
                .hint("a data set is what `download`, `split` or `corrupt` wrote; the input may name the wrong output, or the file was altered")
                .into()
        })
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Dataset> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let metadata = header.metadata().as_ref().context("it has no metadata")?;
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

        let images = tensors.tensor("images")?;
        let &[n, height, width, channels] = images.shape() else {
            anyhow::bail!("`images` has {} dimensions, not 4", images.shape().len());
        };
        let labels = tensors.tensor("labels")?;
        let origin = tensors.tensor("origin")?;
        for (name, view, dtype) in [
            ("images", &images, Dtype::U8),
            ("labels", &labels, Dtype::U8),
            ("origin", &origin, Dtype::U32),
        ] {
            anyhow::ensure!(
                view.dtype() == dtype,
                "`{name}` is {:?}, not {dtype:?}",
                view.dtype()
            );
            anyhow::ensure!(
                name == "images" || view.shape() == [n],
                "`{name}` has shape {:?}, not [{n}]",
                view.shape()
            );
        }
        let floats = |name: &str| -> anyhow::Result<Vec<f32>> {
            let text = field(name)?;
            text.split(',')
                .map(|x| {
                    x.parse().with_context(|| {
                        format!("metadata `{name}`: `{text}` is not a list of numbers")
                    })
                })
                .collect()
        };
        let info = Info {
            name: field("name")?.clone(),
            shape: ImageShape {
                height,
                width,
                channels,
            },
            classes: serde_json::from_str(field("classes")?)
                .context("metadata `classes` is not a list of names")?,
            mean: floats("mean")?,
            std: floats("std")?,
        };
        let origin = origin
            .data()
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok(Dataset::new(
            info,
            images.data().to_vec(),
            labels.data().to_vec(),
            origin,
        )?)
    }
}

fn tensor(dtype: &str, shape: &[usize], begin: usize, end: usize) -> serde_json::Value {
    json!({"data_offsets": [begin, end], "dtype": dtype, "shape": shape})
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;
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

//! Named f32 tensors and their file: safetensors with deterministic bytes.
//!
//! The header is written here because the crate's writer keeps metadata in a hash map, whose order
//! changes from run to run: keys and tensors are sorted by name, the header is padded with spaces
//! to a multiple of eight, data follow without gaps. Reading goes through the crate, which checks
//! every offset. Knows nothing of networks.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use repro_numerics::exact::half;

/// One tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Extents of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many values as the product of the shape.
    pub data: Vec<f32>,
}

/// Tensors by name, sorted.
pub type NamedTensors = BTreeMap<String, NamedTensor>;

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorFile {
    /// The tensors.
    pub tensors: NamedTensors,
    /// Metadata: texts by name.
    pub metadata: BTreeMap<String, String>,
}

impl From<NamedTensors> for TensorFile {
    /// Without metadata.
    fn from(tensors: NamedTensors) -> TensorFile {
        TensorFile {
            tensors,
            metadata: BTreeMap::new(),
        }
    }
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Four bytes each; every NaN is stored as the same one (`7fc00000`).
    F32,
    /// One byte each; values must be 0 or 1 (masks).
    Bits,
}

impl TensorFile {
    /// The bytes of the file.
    pub fn to_bytes(&self, store: Encoding) -> Vec<u8> {
        let (dtype, width) = match store {
            Encoding::F32 => ("F32", 4),
            Encoding::Bits => ("U8", 1),
        };
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".into(), json!(self.metadata));
        }
        let mut end = 0;
        for (name, tensor) in &self.tensors {
            let start = end;
            end += tensor.data.len() * width;
            header.insert(
                name.clone(),
                json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end]}),
            );
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = Vec::with_capacity(8 + text.len() + end);
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&text);
        for tensor in self.tensors.values() {
            match store {
                Encoding::F32 => bytes.extend(tensor.data.iter().flat_map(|x| stored(*x))),
                Encoding::Bits => bytes.extend(tensor.data.iter().map(|&x| u8::from(x != 0.0))),
            }
        }
        bytes
    }

    /// Reads what [`TensorFile::to_bytes`] or any other program wrote: tensors of floats and U8. An
    /// f64 becomes the nearest f32; shorter floats are f32 exactly.
    ///
    /// # Errors
    /// It is damaged, or of another type.
    pub fn from_bytes(bytes: &[u8]) -> Result<TensorFile, Unreadable> {
        let damaged = |e: safetensors::SafeTensorError| Unreadable::NotWhole(e.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let metadata: BTreeMap<String, String> = header
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if is_data_set(&metadata) {
            return Err(Unreadable::DataSet);
        }
        let mut tensors = NamedTensors::new();
        for (name, view) in file.tensors() {
            let data = match view.dtype() {
                Dtype::F32 => numbers(view.data(), f32::from_le_bytes),
                Dtype::F64 => numbers(view.data(), |b| f64::from_le_bytes(b) as f32),
                Dtype::F16 => numbers(view.data(), |b| half::from_f16(u16::from_le_bytes(b))),
                Dtype::BF16 => numbers(view.data(), |b| half::from_bf16(u16::from_le_bytes(b))),
                Dtype::U8 => view.data().iter().map(|&b| f32::from(b)).collect(),
                // PyTorch's `num_batches_tracked` is not used here.
                Dtype::I64 if name.ends_with(UNUSED) => continue,
                other => {
                    let dtype = format!("{other:?}");
                    return Err(Unreadable::Type { name, dtype });
                }
            };
            tensors.insert(
                name,
                NamedTensor {
                    shape: view.shape().to_vec(),
                    data,
                },
            );
        }
        Ok(TensorFile { tensors, metadata })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<TensorFile> {
        let bytes = std::fs::read(path)
            .map_err(|e| Failure::new(format!("cannot read `{}`: {e}", path.display())))?;
        TensorFile::from_bytes(&bytes).map_err(|e| {
            let of = format!("`{}`", path.display());
            e.failure(&of, &bytes).into()
        })
    }

    /// Writes a file.
    pub fn write(&self, path: &Path, store: Encoding) -> anyhow::Result<()> {
        std::fs::write(path, self.to_bytes(store))
            .map_err(|e| Failure::new(format!("cannot write `{}`: {e}", path.display())).into())
    }
}

/// Numbers of this many bytes each.
fn numbers<const W: usize>(bytes: &[u8], number: impl Fn([u8; W]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| number(*b)).collect()
}

/// The end of the name of a counter of PyTorch that is not used here.
const UNUSED: &str = ".num_batches_tracked";

/// Whether the head of a file says that it is a data set.
fn is_data_set(metadata: &BTreeMap<String, String>) -> bool {
    metadata
        .get("format")
        .is_some_and(|f| f.starts_with("repro.dataset."))
}

/// Why a file of tensors is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is cut short, damaged, or something else.
    #[error("not a whole safetensors file: {0}")]
    NotWhole(String),
    /// It holds labelled images or rows.
    #[error("it is a data set")]
    DataSet,
    /// A tensor has another type.
    #[error("tensor `{name}` is {dtype}; F32, F64, F16 or BF16 (masks: U8) is expected")]
    Type {
        /// The tensor.
        name: String,
        /// As safetensors calls it.
        dtype: String,
    },
}

impl Unreadable {
    /// The message about the file `of`, which begins with these bytes.
    fn failure(&self, of: &str, begin: &[u8]) -> Failure {
        // A zip (PyTorch since 1.6) or a pickle (before).
        let is_pytorch = begin.starts_with(b"PK\x03\x04") || begin.starts_with(b"\x80\x02");
        let hint = match self {
            Unreadable::Type { .. } => {
                "write its numbers as floats: `save_file({k: v.float() for k, v in model.state_dict().items()}, \"net.safetensors\")`"
            }
            Unreadable::NotWhole(_) if is_pytorch => {
                "it looks like what `torch.save` writes, which only Python can read: write it with `safetensors.torch.save_file(model.state_dict(), \"net.safetensors\")`"
            }
            Unreadable::NotWhole(_) | Unreadable::DataSet => {
                "the input must be a model, mask or state that a stage wrote, or a safetensors file with the same tensors"
            }
        };
        Failure::new(format!("{of}: {self}")).hint(hint)
    }
}

/// Types of tensors that are read.
const READ: [&str; 5] = ["F32", "F64", "F16", "BF16", "U8"];
/// The longest head of a file, as in the crate `safetensors`.
const HEAD_MAX: u64 = 100_000_000;

/// The metadata of a file whose tensors can be read, without reading them. `None` if there is no
/// such file. `of` is its name in messages.
///
/// # Errors
/// It is no safetensors file, or of another type.
pub fn head(path: &Path, of: &str) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let Some(file) = std::fs::metadata(path).ok().filter(|m| m.is_file()) else {
        return Ok(None);
    };
    let mut begin = Vec::new();
    let read = |begin: &mut Vec<u8>, bytes: u64| {
        let from = begin.len() as u64;
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        file.take(bytes).read_to_end(begin)
    };
    // A file that cannot be read is reported when it is hashed.
    if read(&mut begin, 8).is_err() {
        return Ok(None);
    }
    let damaged = |what: &str, begin: &[u8]| Unreadable::NotWhole(what.into()).failure(of, begin);
    let Ok(length) = begin.as_slice().try_into().map(u64::from_le_bytes) else {
        return Err(damaged("it is too short", &begin));
    };
    if length > HEAD_MAX.min(file.len().saturating_sub(8)) {
        return Err(damaged("it is too short for its head", &begin));
    }
    if read(&mut begin, length).is_err() {
        return Ok(None);
    }
    let head: Map<String, Value> = match serde_json::from_slice(&begin[8..]) {
        Ok(head) => head,
        Err(_) => return Err(damaged("its head is not JSON", &begin)),
    };
    let said = head.get("__metadata__").and_then(Value::as_object);
    let texts = said.into_iter().flatten();
    let texts = texts.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())));
    let metadata: BTreeMap<String, String> = texts.collect();
    if is_data_set(&metadata) {
        return Err(Unreadable::DataSet.failure(of, &begin));
    }
    for (name, tensor) in &head {
        let Some(dtype) = tensor.get("dtype").and_then(Value::as_str) else {
            continue;
        };
        let unused = dtype == "I64" && name.ends_with(UNUSED);
        if !unused && !READ.contains(&dtype) {
            let (name, dtype) = (name.clone(), dtype.to_owned());
            return Err(Unreadable::Type { name, dtype }.failure(of, &begin));
        }
    }
    Ok(Some(metadata))
}

/// The bytes of a value. Processors make different NaNs of the same operation; files hold one.
fn stored(x: f32) -> [u8; 4] {
    let bits = if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
    bits.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> TensorFile {
        let mut file = TensorFile::default();
        file.tensors.insert(
            "b".into(),
            NamedTensor {
                shape: vec![2, 3],
                data: vec![1.0, -0.0, f32::MIN_POSITIVE / 2.0, 4.0, 5.5, 6.0],
            },
        );
        file.tensors.insert(
            "a".into(),
            NamedTensor {
                shape: vec![],
                data: vec![7.0],
            },
        );
        for key in ["z", "y", "format", "w", "v"] {
            file.metadata.insert(key.into(), format!("value of {key}"));
        }
        file
    }

    #[test]
    fn bytes_are_a_function_of_the_content() {
        let bytes = sample().to_bytes(Encoding::F32);
        assert_eq!(bytes, sample().to_bytes(Encoding::F32));
        let header =
            std::str::from_utf8(&bytes[8..8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1])])
                .unwrap();
        assert!(
            header.starts_with(r#"{"__metadata__":{"format":"value of format","v":"#),
            "{header}"
        );
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn broken_files_are_refused() {
        let bytes = sample().to_bytes(Encoding::F32);
        for cut in [0, 5, 8, 40, bytes.len() - 1] {
            assert!(
                TensorFile::from_bytes(&bytes[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(TensorFile::from_bytes(&longer).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(values in prop::collection::vec(prop_oneof![any::<u32>(), 0x7f80_0001u32..], 0..40), rows in 1usize..4) {
            let data: Vec<f32> = values.iter().cycle().take(values.len() * rows).map(|&b| f32::from_bits(b)).collect();
            let mut file = sample();
            file.tensors.insert("x\n\"é".into(), NamedTensor { shape: vec![rows, values.len()], data });
            let back = TensorFile::from_bytes(&file.to_bytes(Encoding::F32)).unwrap();
            prop_assert_eq!(&back.metadata, &file.metadata);
            for (name, tensor) in &file.tensors {
                let found: Vec<u32> = back.tensors[name].data.iter().map(|x| x.to_bits()).collect();
                let one_nan = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
                prop_assert_eq!(found, tensor.data.iter().map(one_nan).collect::<Vec<_>>());
                prop_assert_eq!(&back.tensors[name].shape, &tensor.shape);
            }
        }
    }
}

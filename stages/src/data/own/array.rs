//! Arrays: NumPy's `.npy` and `.npz`, and IDX, the format of MNIST's files.
//!
//! Both orders (C and Fortran), both byte orders. Bytes stay bytes; all other numbers become the
//! nearest f32.

use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::{Raw, RawAnswers, RawValues};
use crate::data::{ImageShape, Values};
use crate::failure::Failure;
use repro_numerics::exact::half;

/// Which axis the channels of images are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Last: `[N, height, width, channels]` (TensorFlow, Pillow).
    #[default]
    Nhwc,
    /// Second: `[N, channels, height, width]` (PyTorch).
    Nchw,
}

/// An array, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// As many as the product of the shape.
    pub items: Items,
}

/// The items of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Items {
    /// u8 and bool.
    Bytes(Vec<u8>),
    /// Other whole numbers.
    Whole(Vec<i64>),
    /// f16, f32 and f64.
    Floats(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// Reads a file whole, unpacked where it is a gzip file.
///
/// # Errors
/// When it cannot be read, or its gzip is damaged.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    // Deflate packs at most 1032 to 1.
    let bytes_max = (bytes.len() as u64).saturating_mul(1040).max(1 << 20);
    crate::data::idx::gunzip(&bytes, bytes_max)
}

/// Reads an `.npy` file (format 1 to 3).
///
/// # Errors
/// When it is none, is cut short, or holds structures, objects or complex numbers.
pub fn npy(bytes: &[u8]) -> anyhow::Result<Array> {
    let rest = bytes
        .strip_prefix(b"\x93NUMPY")
        .context("it is not an .npy file")?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().context("it is cut short")?;
    let (len, rest) = match major {
        1 => {
            let (len, rest) = rest.split_first_chunk::<2>().context("it is cut short")?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        }
        2 | 3 => {
            let (len, rest) = rest.split_first_chunk::<4>().context("it is cut short")?;
            (u32::from_le_bytes(*len) as usize, rest)
        }
        other => bail!("it is in version {other} of the format; 1 to 3 are read"),
    };
    let (header, data) = rest.split_at_checked(len).context("it is cut short")?;
    let header = std::str::from_utf8(header).context("its header is not text")?;
    let field = |name: &str| {
        let quoted = [format!("'{name}'"), format!("\"{name}\"")];
        let after = quoted.iter().find_map(|q| header.split_once(q.as_str()))?.1;
        Some(after.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = field("descr").context("its header names no type")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(descr) = quote.and_then(|q| descr[1..].split(q).next()) else {
        bail!("its items are structures; plain numbers are read");
    };
    let fortran = field("fortran_order")
        .context("its header has no order")?
        .starts_with("True");
    let shape = field("shape")
        .and_then(|s| s.strip_prefix('(')?.split_once(')'))
        .context("its header has no shape")?
        .0;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| {
            s.trim_end_matches('L')
                .parse()
                .context("its shape is not a list of numbers")
        })
        .collect::<anyhow::Result<_>>()?;
    let (order, kind) = descr.split_at_checked(1).context("its type is empty")?;
    let big = match order {
        ">" => true,
        "<" | "|" | "=" => false,
        _ => bail!("the type `{descr}` is unknown"),
    };
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let count = count.context("its shape is too large")?;
    let items = items(kind, big, data, count)
        .with_context(|| format!("type `{descr}`, shape {shape:?}"))?;
    let array = Array { shape, items };
    Ok(if fortran { array.in_row_major() } else { array })
}

/// Reads one array of an `.npz` file; the error names those that are there.
///
/// # Errors
/// When it is none, or has no such array.
pub fn npz(bytes: &[u8], name: &str) -> anyhow::Result<Array> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).context("it is not an .npz file")?;
    let file = format!("{name}.npy");
    let names: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .map(|n| n.trim_end_matches(".npy").to_owned())
        .collect();
    if !names.iter().any(|n| n == name) {
        bail!("it has no array `{name}`, only {}", names.join(", "));
    }
    let mut entry = archive
        .by_name(&file)
        .with_context(|| format!("the array `{name}` cannot be read"))?;
    let mut unpacked = Vec::new();
    let bytes_max = (bytes.len() as u64).saturating_mul(1040).max(1 << 20);
    (&mut entry)
        .take(bytes_max)
        .read_to_end(&mut unpacked)
        .with_context(|| format!("the array `{name}` is damaged"))?;
    npy(&unpacked).with_context(|| format!("the array `{name}`"))
}

/// Reads an IDX file.
///
/// # Errors
/// When it is none, or its size is not what its header says.
pub fn idx(bytes: &[u8]) -> anyhow::Result<Array> {
    let (&[zero, also, kind, dims], rest) = bytes
        .split_first_chunk::<4>()
        .context("it is too short for an IDX file")?;
    ensure!((zero, also) == (0, 0), "it is not an IDX file");
    let kind = match kind {
        0x08 => "u1",
        0x09 => "i1",
        0x0b => "i2",
        0x0c => "i4",
        0x0d => "f4",
        0x0e => "f8",
        other => bail!("it is not an IDX file: its type is {other:#04x}"),
    };
    let (head, data) = rest
        .split_at_checked(4 * usize::from(dims))
        .context("it is cut short")?;
    let (words, _) = head.as_chunks::<4>();
    let shape: Vec<usize> = words
        .iter()
        .map(|w| u32::from_be_bytes(*w) as usize)
        .collect();
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let count = count.context("its shape is too large")?;
    let items = items(kind, true, data, count).with_context(|| format!("sizes {shape:?}"))?;
    Ok(Array { shape, items })
}

/// Items of a type in NumPy's letters.
fn items(kind: &str, big: bool, data: &[u8], count: usize) -> anyhow::Result<Items> {
    fn all<const W: usize, T>(data: &[u8], big: bool, item: impl Fn([u8; W]) -> T) -> Vec<T> {
        let ordered = |b: &[u8; W]| {
            let mut b = *b;
            if big {
                b.reverse();
            }
            item(b)
        };
        data.as_chunks::<W>().0.iter().map(ordered).collect()
    }
    let letter = kind.chars().next().unwrap_or(' ');
    let width: usize = kind.get(1..).unwrap_or("").parse().unwrap_or(0);
    let bytes_each = if letter == 'U' { 4 * width } else { width };
    ensure!(
        letter != 'O',
        "it holds Python objects; save numbers or texts"
    );
    ensure!(letter != 'c', "it holds complex numbers");
    ensure!(bytes_each > 0, "items of this type are not read");
    let expected = count.checked_mul(bytes_each);
    ensure!(
        expected == Some(data.len()),
        "{} bytes of data, where {count} items of {bytes_each} are expected",
        data.len()
    );
    Ok(match kind {
        "u1" | "b1" => Items::Bytes(data.to_vec()),
        "i1" => Items::Whole(all::<1, _>(data, big, |b| i8::from_le_bytes(b).into())),
        "i2" => Items::Whole(all::<2, _>(data, big, |b| i16::from_le_bytes(b).into())),
        "i4" => Items::Whole(all::<4, _>(data, big, |b| i32::from_le_bytes(b).into())),
        "i8" => Items::Whole(all::<8, _>(data, big, i64::from_le_bytes)),
        "u2" => Items::Whole(all::<2, _>(data, big, |b| u16::from_le_bytes(b).into())),
        "u4" => Items::Whole(all::<4, _>(data, big, |b| u32::from_le_bytes(b).into())),
        "u8" => {
            let numbers = all::<8, _>(data, big, u64::from_le_bytes);
            let whole = numbers
                .into_iter()
                .map(i64::try_from)
                .collect::<Result<_, _>>();
            Items::Whole(whole.context("a number is 2^63 or more")?)
        }
        "f2" => Items::Floats(all::<2, _>(data, big, |b| {
            f64::from(half::from_f16(u16::from_le_bytes(b)))
        })),
        "f4" => Items::Floats(all::<4, _>(data, big, |b| f32::from_le_bytes(b).into())),
        "f8" => Items::Floats(all::<8, _>(data, big, f64::from_le_bytes)),
        _ if letter == 'U' => {
            let text = |cell: &[u8]| {
                let points = all::<4, _>(cell, big, u32::from_le_bytes);
                let used = points.iter().take_while(|&&p| p != 0);
                used.map(|&p| char::from_u32(p)).collect::<Option<String>>()
            };
            let texts = data
                .chunks_exact(bytes_each)
                .map(text)
                .collect::<Option<_>>();
            Items::Texts(texts.context("a text is not Unicode")?)
        }
        _ if letter == 'S' => {
            let text = |cell: &[u8]| {
                let end = cell.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
                String::from_utf8(cell[..end].to_vec())
            };
            let texts = data
                .chunks_exact(bytes_each)
                .map(text)
                .collect::<Result<_, _>>();
            Items::Texts(texts.context("a text is not UTF-8")?)
        }
        _ => bail!("items of this type are not read"),
    })
}

impl Array {
    fn in_row_major(self) -> Array {
        fn reorder<T: Clone>(all: &[T], shape: &[usize]) -> Vec<T> {
            let mut steps = Vec::with_capacity(shape.len());
            let mut step = 1;
            for extent in shape {
                steps.push(step);
                step *= extent;
            }
            let (mut at, mut place) = (vec![0; shape.len()], 0);
            let mut out = Vec::with_capacity(all.len());
            for _ in 0..all.len() {
                out.push(all[place].clone());
                for axis in (0..shape.len()).rev() {
                    at[axis] += 1;
                    place += steps[axis];
                    if at[axis] < shape[axis] {
                        break;
                    }
                    place -= steps[axis] * shape[axis];
                    at[axis] = 0;
                }
            }
            out
        }
        let items = match &self.items {
            Items::Bytes(all) => Items::Bytes(reorder(all, &self.shape)),
            Items::Whole(all) => Items::Whole(reorder(all, &self.shape)),
            Items::Floats(all) => Items::Floats(reorder(all, &self.shape)),
            Items::Texts(all) => Items::Texts(reorder(all, &self.shape)),
        };
        Array { items, ..self }
    }

    /// `[N, C, H, W]` as `[N, H, W, C]`.
    fn channels_last(self) -> Array {
        fn reorder<T: Copy>(all: &[T], channels: usize, pixels: usize) -> Vec<T> {
            let mut out = Vec::with_capacity(all.len());
            for image in all.chunks_exact((channels * pixels).max(1)) {
                for p in 0..pixels {
                    out.extend((0..channels).map(|c| image[c * pixels + p]));
                }
            }
            out
        }
        let &[n, c, h, w] = &self.shape[..] else {
            return self;
        };
        let items = match self.items {
            Items::Bytes(all) => Items::Bytes(reorder(&all, c, h * w)),
            Items::Whole(all) => Items::Whole(reorder(&all, c, h * w)),
            Items::Floats(all) => Items::Floats(reorder(&all, c, h * w)),
            texts => texts,
        };
        Array {
            shape: vec![n, h, w, c],
            items,
        }
    }
}

/// A part from the arrays `x` and `y`.
///
/// # Errors
/// When their shapes or types are no examples and answers.
pub fn part(x: Array, y: Array, layout: Layout) -> Result<Raw, Failure> {
    let x = match (layout, x.shape.len()) {
        (Layout::Nchw, 4) => x.channels_last(),
        (Layout::Nchw, n) => {
            return Err(Failure::new(format!(
                "`layout: nchw` needs 4 dimensions, `x` has {n}"
            )));
        }
        (Layout::Nhwc, _) => x,
    };
    let shape = match x.shape[..] {
        [_] => ImageShape::table(1),
        [_, columns] => ImageShape::table(columns),
        [_, height, width] => ImageShape {
            height,
            width,
            channels: 1,
        },
        [_, height, width, channels] => {
            if matches!(height, 1 | 3) && channels > 4 {
                return Err(Failure::new(format!(
                    "`x` has shape {:?}: images of {height} rows with {channels} channels",
                    x.shape
                ))
                .hint("if the second dimension is the channels (PyTorch), say `layout: nchw`"));
            }
            ImageShape {
                height,
                width,
                channels,
            }
        }
        _ => {
            return Err(
                Failure::new(format!("`x` has {} dimensions", x.shape.len()))
                    .hint("tables have 2, grey images 3, images with channels 4"),
            );
        }
    };
    let n = x.shape[0];
    if y.shape.first() != Some(&n) {
        return Err(Failure::new(format!(
            "`x` has {n} examples (shape {:?}), `y` has shape {:?}",
            x.shape, y.shape
        )));
    }
    if shape.is_empty() {
        return Err(Failure::new(format!(
            "`x` has shape {:?}: its examples are empty",
            x.shape
        )));
    }
    let values = match x.items {
        Items::Bytes(bytes) => Values::Bytes(bytes),
        Items::Whole(all) => Values::Floats(all.into_iter().map(|v| v as f32).collect()),
        Items::Floats(all) => Values::Floats(
            all.iter()
                .enumerate()
                .map(|(i, &v)| nearest(v).ok_or_else(|| not_finite("x", i / shape.len(), v)))
                .collect::<Result<_, _>>()?,
        ),
        Items::Texts(_) => return Err(Failure::new("`x` holds texts; examples are numbers")),
    };
    let width = match y.shape[..] {
        [_] => 1,
        [_, width] => width,
        _ => return Err(Failure::new(format!("`y` has shape {:?}", y.shape))),
    };
    let one_column = || {
        match width {
        1 => Ok(()),
        _ => Err(Failure::new(format!("`y` has {width} columns of whole numbers"))
            .hint("labels are one number per example: take `y.argmax(1)` of one-hot vectors; numbers to be learnt are floats")),
    }
    };
    let answers = match y.items {
        Items::Bytes(all) => {
            one_column()?;
            RawAnswers::Indexes(all.into_iter().map(u32::from).collect(), None)
        }
        Items::Whole(all) => {
            one_column()?;
            let label = |(i, v): (usize, i64)| index(v).ok_or_else(|| bad_label(i, v));
            let labels = all.into_iter().enumerate().map(label);
            RawAnswers::Indexes(labels.collect::<Result<_, _>>()?, None)
        }
        Items::Texts(all) => {
            one_column()?;
            RawAnswers::Names(all)
        }
        Items::Floats(all) => {
            let names = (0..width).map(|k| match width {
                1 => "y".to_owned(),
                _ => format!("y{k}"),
            });
            let numbers = all.iter().enumerate();
            let target = |(i, &v): (usize, &f64)| {
                nearest(v).ok_or_else(|| not_finite("y", i / width.max(1), v))
            };
            RawAnswers::Targets(
                names.collect(),
                numbers.map(target).collect::<Result<_, _>>()?,
            )
        }
    };
    Ok(Raw {
        values: RawValues::Shaped(shape, values),
        answers,
        columns: Vec::new(),
    })
}

/// The nearest f32; `None` where that is none or infinite.
pub(super) fn nearest(value: f64) -> Option<f32> {
    Some(value as f32).filter(|x| x.is_finite())
}

/// The number of a class; numbers beyond a million are no classes.
pub(super) fn index(value: i64) -> Option<u32> {
    u32::try_from(value).ok().filter(|v| *v < 1 << 20)
}

fn bad_label(i: usize, value: i64) -> Failure {
    Failure::new(format!("`y`: example {i} has the label {value}"))
        .hint("labels are the numbers of classes, from 0; numbers to be learnt are floats")
}

fn not_finite(array: &str, i: usize, value: f64) -> Failure {
    Failure::new(format!(
        "`{array}`: example {i} holds {value}, which is not an f32"
    ))
    .hint("fill or drop such values before")
}

//! Parquet tables: plain columns of numbers, and the layout of Hugging Face's data sets (an image
//! as `{bytes, path}`, class names in the metadata).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::array::{index, nearest};
use super::picture::Picture;
use super::pixels::{Pixels, decode_all};
use super::raw::{Raw, RawAnswers, RawValues};
use super::sheet::Roles;
use crate::data::{ImageShape, Values};
use crate::failure::Failure;
use crate::frame::{Column, Frame};
use crate::names::Names;
use crate::names::some;

/// Options of a Parquet table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The column with the images (PNG or JPEG); by default the only one that has any, or none.
    #[serde(default)]
    pub image: Option<String>,
    /// The column with the class of each row; by default the only one that the metadata call a
    /// `ClassLabel`.
    #[serde(default)]
    pub label: Option<String>,
    /// The columns with numbers to be learnt, in place of a label.
    #[serde(default)]
    pub targets: Option<Names>,
    /// The columns to learn from, in this order; by default, without images, all others.
    #[serde(default)]
    pub columns: Option<Names>,
    /// Columns that are left out.
    #[serde(default)]
    pub ignore: Option<Names>,
    /// How images become arrays of bytes.
    #[serde(default)]
    pub pixels: Pixels,
}

impl Columns {
    /// What is wrong with them, and the field.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        self.roles(self.label.clone()).problem(true)
    }

    fn roles(&self, label: Option<String>) -> Roles {
        Roles {
            label,
            targets: self.targets.clone(),
            columns: self.columns.clone(),
            ignore: self.ignore.clone(),
        }
    }
}

/// Reads tables with equal columns, one after the other; also tells how many images carry an
/// orientation that was not followed.
///
/// # Errors
/// A column that is not there or of another type, a null, an image that cannot be read.
pub fn read(frames: Vec<(String, Frame)>, options: &Columns) -> Result<(Raw, usize), Failure> {
    let mut frames = frames.into_iter();
    let Some((called, mut frame)) = frames.next() else {
        return Err(Failure::new("there is no table"));
    };
    for (other, more) in frames {
        join(&mut frame, more).map_err(|e| Failure::new(format!("{called} and {other}: {e}")))?;
    }
    let within = |f: Failure| Failure {
        message: format!("{called}: {}", f.message),
        ..f
    };
    if frame.rows == 0 {
        return Err(Failure::new(format!("{called}: it has no rows")));
    }
    let class_labels = class_labels(frame.hugging_face.as_deref());
    let label = match (&options.label, &options.targets, &class_labels[..]) {
        (Some(label), ..) => Some(label.clone()),
        (None, Some(_), _) => None,
        (None, None, [(one, _)]) => Some(one.clone()),
        (None, None, []) => {
            return Err(
                Failure::new(format!("{called}: no column says what is to be learnt"))
                    .hint("name it: `parquet: {label: COLUMN}`, or `targets: [...]` for numbers"),
            );
        }
        (None, None, several) => {
            let names: Vec<String> = several.iter().map(|(n, _)| n.clone()).collect();
            return Err(Failure::new(format!(
                "{called}: several columns are labels: {}",
                some(&names)
            ))
            .hint(format!("choose one: `parquet: {{label: {}}}`", names[0])));
        }
    };
    let header: Vec<String> = frame.columns.iter().map(|(name, _)| name.clone()).collect();
    let image = image_column(&frame, options.image.as_deref()).map_err(within)?;
    let roles = options.roles(label);
    // A number of rows that pandas keeps is no feature.
    let other: Vec<usize> = (0..header.len())
        .filter(|&i| header[i].starts_with("__index_level_"))
        .collect();
    let (label, targets, features) = match image {
        Some(_) => {
            // Only the roles of the other columns are looked up.
            let others = Roles {
                columns: None,
                ..roles.clone()
            };
            let plan = others.plan(&header, &other).map_err(within)?;
            (plan.label, plan.targets, Vec::new())
        }
        None => {
            let plan = roles.plan(&header, &other).map_err(within)?;
            (plan.label, plan.targets, plan.features)
        }
    };
    let answers = match label {
        Some(at) => {
            let (name, column) = &frame.columns[at];
            let names = class_labels.iter().find(|(n, _)| n == name);
            labels(name, column, names.map(|(_, c)| c)).map_err(within)?
        }
        None => {
            let names = targets.iter().map(|&t| header[t].clone()).collect();
            let values = numbers(&frame, &targets).map_err(within)?;
            RawAnswers::Targets(names, values)
        }
    };
    let Some(image) = image else {
        let values = Values::Floats(numbers(&frame, &features).map_err(within)?);
        return Ok((
            Raw {
                values: RawValues::Shaped(ImageShape::table(features.len()), values),
                answers,
                columns: features.iter().map(|&f| header[f].clone()).collect(),
            },
            0,
        ));
    };
    let (pictures, notes) = pictures(&called, &mut frame, image, &options.pixels)?;
    Ok((
        Raw {
            values: RawValues::Pictures(pictures),
            answers,
            columns: Vec::new(),
        },
        notes,
    ))
}

fn join(frame: &mut Frame, more: Frame) -> Result<(), String> {
    let names = |f: &Frame| f.columns.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    if names(frame) != names(&more) {
        return Err("their columns differ".into());
    }
    frame.rows += more.rows;
    for ((name, into), (_, from)) in frame.columns.iter_mut().zip(more.columns) {
        match (into, from) {
            (Column::Numbers(into), Column::Numbers(from)) => into.extend(from),
            (Column::Whole(into), Column::Whole(from)) => into.extend(from),
            (Column::Truths(into), Column::Truths(from)) => into.extend(from),
            (Column::Texts(into), Column::Texts(from)) => into.extend(from),
            (Column::Bytes(into), Column::Bytes(from)) => into.extend(from),
            (Column::Other(_), Column::Other(_)) => {}
            _ => return Err(format!("the column `{name}` has another type")),
        }
    }
    Ok(())
}

/// Columns that Hugging Face's metadata call class labels, with the names of the classes.
fn class_labels(metadata: Option<&str>) -> Vec<(String, Vec<String>)> {
    let parsed: Option<Value> = metadata.and_then(|text| serde_json::from_str(text).ok());
    let features = parsed
        .as_ref()
        .and_then(|m| m["info"]["features"].as_object());
    let Some(features) = features else {
        return Vec::new();
    };
    let label = |(name, feature): (&String, &Value)| {
        let names = feature["names"]
            .as_array()
            .filter(|_| feature["_type"] == "ClassLabel")?;
        let names = names.iter().map(|n| Some(n.as_str()?.to_owned()));
        Some((name.clone(), names.collect::<Option<_>>()?))
    };
    features.iter().filter_map(label).collect()
}

fn image_column(frame: &Frame, named: Option<&str>) -> Result<Option<usize>, Failure> {
    let holds = |at: usize| matches!(frame.columns[at].1, Column::Bytes(_));
    let with: Vec<usize> = (0..frame.columns.len()).filter(|&i| holds(i)).collect();
    let name = |i: usize| frame.columns[i].0.clone();
    match (named, &with[..]) {
        (Some(named), with) => match with.iter().find(|&&i| name(i) == named) {
            Some(at) => Ok(Some(*at)),
            None => Err(
                Failure::new(format!("there is no column `{named}` of images")).hint(match with {
                    [] => {
                        "images are PNG or JPEG files in a column of bytes, or of `{bytes, path}`"
                            .to_owned()
                    }
                    with => format!(
                        "columns of bytes: {}",
                        some(&with.iter().map(|&i| name(i)).collect::<Vec<_>>())
                    ),
                }),
            ),
        },
        (None, []) => Ok(None),
        (None, [one]) => Ok(Some(*one)),
        (None, several) => {
            let names: Vec<String> = several.iter().map(|&i| name(i)).collect();
            Err(
                Failure::new(format!("several columns hold images: {}", some(&names)))
                    .hint(format!("choose one: `parquet: {{image: {}}}`", names[0])),
            )
        }
    }
}

fn null(name: &str, row: usize) -> Failure {
    Failure::new(format!("row {row}: `{name}` is missing (null)"))
        .hint("fill or drop such rows before")
}

/// Labels: with names, numbers of classes; else every value that occurs is a class.
fn labels(name: &str, column: &Column, names: Option<&Vec<String>>) -> Result<RawAnswers, Failure> {
    let text = |i: usize, value: Option<String>| value.ok_or_else(|| null(name, i));
    match column {
        Column::Whole(all) if names.is_some() => {
            let label = |(i, v): (usize, &Option<i64>)| {
                let v = v.ok_or_else(|| null(name, i))?;
                index(v).ok_or_else(|| {
                    Failure::new(format!("row {i}: `{name}` is {v}, which is not a class"))
                        .hint("rows without a label (-1 in test sets of contests) cannot be used")
                })
            };
            let labels = all
                .iter()
                .enumerate()
                .map(label)
                .collect::<Result<_, _>>()?;
            Ok(RawAnswers::Indexes(labels, names.cloned()))
        }
        Column::Whole(all) => Ok(RawAnswers::Names(
            all.iter()
                .enumerate()
                .map(|(i, v)| text(i, v.map(|v| v.to_string())))
                .collect::<Result<_, _>>()?,
        )),
        Column::Truths(all) => Ok(RawAnswers::Names(
            all.iter()
                .enumerate()
                .map(|(i, v)| text(i, v.map(|v| v.to_string())))
                .collect::<Result<_, _>>()?,
        )),
        Column::Texts(all) => Ok(RawAnswers::Names(
            all.iter()
                .enumerate()
                .map(|(i, v)| text(i, v.clone()))
                .collect::<Result<_, _>>()?,
        )),
        Column::Numbers(_) => Err(Failure::new(format!(
            "`{name}` holds floats, which do not name a class"
        ))
        .hint(format!(
            "store whole numbers or texts; numbers to be learnt are `targets: [{name}]`"
        ))),
        Column::Bytes(_) => Err(Failure::new(format!(
            "`{name}` holds bytes, which do not name a class"
        ))),
        Column::Other(kind) => Err(Failure::new(format!(
            "`{name}` is of type {kind}, which does not name a class"
        ))),
    }
}

/// The values of some columns, row by row.
fn numbers(frame: &Frame, columns: &[usize]) -> Result<Vec<f32>, Failure> {
    let mut values = Vec::with_capacity(frame.rows * columns.len());
    for row in 0..frame.rows {
        for &at in columns {
            let (name, column) = &frame.columns[at];
            let cell = match column {
                Column::Numbers(all) => all[row],
                Column::Whole(all) => all[row].map(|v| v as f64),
                Column::Truths(all) => all[row].map(|v| f64::from(u8::from(v))),
                Column::Texts(_) | Column::Bytes(_) | Column::Other(_) => {
                    let kind = match column {
                        Column::Texts(_) => "texts".to_owned(),
                        Column::Bytes(_) => "bytes".to_owned(),
                        Column::Other(kind) => format!("values of type {kind}"),
                        _ => unreachable!("the others are numbers"),
                    };
                    return Err(Failure::new(format!(
                        "the column `{name}` holds {kind}, not numbers"
                    ))
                    .hint(format!(
                        "leave it out: `ignore: [{name}]`, or name the features in `columns: [...]`"
                    )));
                }
            };
            let value = cell.ok_or_else(|| null(name, row))?;
            values.push(nearest(value).ok_or_else(|| {
                Failure::new(format!(
                    "row {row}: `{name}` is {value}, which is not an f32"
                ))
                .hint("fill or drop such rows before")
            })?);
        }
    }
    Ok(values)
}

fn pictures(
    called: &str,
    frame: &mut Frame,
    at: usize,
    pixels: &Pixels,
) -> Result<(Vec<Picture>, usize), Failure> {
    let name = frame.columns[at].0.clone();
    let Column::Bytes(all) = std::mem::replace(&mut frame.columns[at].1, Column::Bytes(Vec::new()))
    else {
        return Err(Failure::new(format!("{called}: `{name}` holds no images")));
    };
    let rows: Vec<(usize, Option<Vec<u8>>)> = all.into_iter().enumerate().collect();
    decode_all(&rows, pixels, |(row, bytes)| {
        let place = format!("{called} row {row}");
        match bytes {
            Some(bytes) => Ok((place, bytes.clone())),
            None => Err(format!(
                "{place}: `{name}` is missing (null); a path alone is not read"
            )),
        }
    })
}

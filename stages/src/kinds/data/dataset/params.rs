//! What `dataset` can be told: one format, the parts, and how values are normalised.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::own::array::Layout;
use crate::data::own::columns::Columns;
use crate::data::own::pixels::Pixels;
use crate::data::own::sheet::Sheet;
use crate::facts::AnswersFact;
use crate::kind::ParamProblem;
use crate::names::Names;

/// Parameters of `dataset`: exactly one of `images`, `csv`, `tsv`, `npz`, `npy`, `parquet`, `idx`
/// says what the data are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A directory with a folder of PNG or JPEG files for each class: `images: {}`.
    #[serde(default)]
    pub images: Option<Pixels>,
    /// A table with a header, cells separated by commas.
    #[serde(default)]
    pub csv: Option<Sheet>,
    /// A table with a header, cells separated by tabs.
    #[serde(default)]
    pub tsv: Option<Sheet>,
    /// A file of NumPy arrays.
    #[serde(default)]
    pub npz: Option<Npz>,
    /// Two files with a NumPy array each, given as the groups `x` and `y`: `npy: {}`.
    #[serde(default)]
    pub npy: Option<Npy>,
    /// A Parquet table: columns of numbers, or images as in Hugging Face's data sets:
    /// `parquet: {}`.
    #[serde(default)]
    pub parquet: Option<Columns>,
    /// Two IDX files (MNIST's format), given as the groups `x` and `y`: `idx: {}`.
    #[serde(default)]
    pub idx: Option<Idx>,
    /// Parts of one directory (the need `data`), by name: a folder, a file, or files
    /// (`data/train-*.parquet`).
    #[serde(default)]
    pub parts: BTreeMap<String, String>,
    /// The names of the classes, in the order of their numbers; by default the names that occur,
    /// sorted.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// Where the mean and standard deviation come from with which values are normalised for
    /// networks.
    #[serde(default)]
    pub normalise: Normalise,
    /// The name of the data set; only parts with the same name can be put together.
    #[serde(default = "own")]
    pub name: String,
}

fn own() -> String {
    "own data".into()
}

/// Options of `npz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Npz {
    /// The array of examples: a name, or one for each part (`{train: x_train, test: x_test}`).
    #[serde(default = "x")]
    pub x: ArrayName,
    /// The array of labels or of numbers to be learnt: a name, or one for each part.
    #[serde(default = "y")]
    pub y: ArrayName,
    /// Which axis the channels of images are.
    #[serde(default)]
    pub layout: Layout,
}

fn x() -> ArrayName {
    ArrayName::All("x".into())
}

fn y() -> ArrayName {
    ArrayName::All("y".into())
}

/// Options of `npy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Npy {
    /// Which axis the channels of images are.
    #[serde(default)]
    pub layout: Layout,
}

/// Options of `idx`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idx {}

/// The name of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayName {
    /// The same in all parts.
    All(String),
    /// By part.
    Each(BTreeMap<String, String>),
}

impl ArrayName {
    pub(super) fn of(&self, part: &str) -> Option<&str> {
        match self {
            ArrayName::All(name) => Some(name),
            ArrayName::Each(names) => names.get(part).map(String::as_str),
        }
    }
}

impl Serialize for ArrayName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            ArrayName::All(name) => name.serialize(s),
            ArrayName::Each(names) => names.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for ArrayName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<ArrayName, D::Error> {
        struct NameOrMap;
        impl<'de> serde::de::Visitor<'de> for NameOrMap {
            type Value = ArrayName;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of an array, or one for each part")
            }
            fn visit_str<E>(self, name: &str) -> Result<ArrayName, E> {
                Ok(ArrayName::All(name.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut entries: A,
            ) -> Result<ArrayName, A::Error> {
                let mut names = BTreeMap::new();
                while let Some((part, name)) = entries.next_entry()? {
                    names.insert(part, name);
                }
                Ok(ArrayName::Each(names))
            }
        }
        d.deserialize_any(NameOrMap)
    }
}

impl JsonSchema for ArrayName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ArrayName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The name of an array, or one for each part.",
            "anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]
        })
    }
}

/// Where mean and standard deviation come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Measured by channel or column on the part `train`, or on the only part there is.
    #[default]
    Measured,
    /// Nothing is subtracted or divided; bytes are still divided by 255.
    None,
    /// Given: one value for each channel or column, or one for all. Bytes count in units of 255.
    Fixed(Fixed),
}

/// A mean and a standard deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// What is subtracted.
    pub mean: Vec<f32>,
    /// What is divided by, each above 0.
    pub std: Vec<f32>,
}

impl Fixed {
    /// What is wrong with it: the field, and what it must be.
    pub(in crate::kinds::data) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let is_bad = |x: &f32| !x.is_finite();
        let mut problems = Vec::new();
        if self.mean.is_empty() || self.mean.iter().any(is_bad) {
            problems.push(("mean", "it must be finite numbers"));
        }
        if self.std.is_empty() || self.std.iter().any(|x| is_bad(x) || *x <= 0.0) {
            problems.push(("std", "it must be numbers above 0"));
        }
        problems
    }
}

/// The format, chosen.
pub(super) enum Format<'a> {
    Images(&'a Pixels),
    Text(&'a Sheet, u8),
    Npz(&'a Npz),
    Npy(&'a Npy),
    Parquet(&'a Columns),
    Idx,
}

impl Params {
    /// What is to be learnt, as far as the parameters say it.
    pub(super) fn answers(&self) -> Option<AnswersFact> {
        let of = |label: &Option<String>, targets: &Option<Names>| match (label, targets) {
            (_, Some(names)) if !names.0.is_empty() => Some(AnswersFact::Targets(names.0.len())),
            (Some(_), _) => Some(AnswersFact::Classes(None)),
            _ => None,
        };
        match self.formats()[..] {
            [(_, Format::Images(_) | Format::Idx)] => Some(AnswersFact::Classes(None)),
            [(_, Format::Text(sheet, _))] => of(&sheet.label, &sheet.targets),
            [(_, Format::Parquet(columns))] => of(&columns.label, &columns.targets),
            _ => None,
        }
    }

    pub(super) fn formats(&self) -> Vec<(&'static str, Format<'_>)> {
        let text = |sheet: &'_ Sheet, separator: u8| {
            let given = sheet.separator.as_deref().map(str::as_bytes);
            given.and_then(|s| s.first().copied()).unwrap_or(separator)
        };
        let mut all = Vec::new();
        if let Some(pixels) = &self.images {
            all.push(("images", Format::Images(pixels)));
        }
        if let Some(sheet) = &self.csv {
            all.push(("csv", Format::Text(sheet, text(sheet, b','))));
        }
        if let Some(sheet) = &self.tsv {
            all.push(("tsv", Format::Text(sheet, text(sheet, b'\t'))));
        }
        if let Some(npz) = &self.npz {
            all.push(("npz", Format::Npz(npz)));
        }
        if let Some(npy) = &self.npy {
            all.push(("npy", Format::Npy(npy)));
        }
        if let Some(columns) = &self.parquet {
            all.push(("parquet", Format::Parquet(columns)));
        }
        if self.idx.is_some() {
            all.push(("idx", Format::Idx));
        }
        all
    }

    /// What is wrong with them, with the names given under `needs:`.
    pub(super) fn problems(&self, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], message: String, hint: &str| {
            problems.push(ParamProblem::new(path, message, hint));
        };
        let formats = self.formats();
        let [(word, format)] = &formats[..] else {
            let names: Vec<&str> = formats.iter().map(|(name, _)| *name).collect();
            let message = match names.is_empty() {
                true => "it does not say what the data are".to_owned(),
                false => format!("there are several formats: {}", names.join(", ")),
            };
            problem(
                &[],
                message,
                "give one of `images: {}`, `csv: {label: COLUMN}`, `tsv`, `npz: {x: NAME, y: NAME}`, `npy: {}`, `parquet: {}`, `idx: {}`",
            );
            return problems;
        };
        match format {
            Format::Images(pixels) => pixel_problems(pixels, &["images"], &mut problem),
            Format::Parquet(columns) => {
                pixel_problems(&columns.pixels, &["parquet", "pixels"], &mut problem);
                if let Some((field, message)) = columns.problem() {
                    problem(&["parquet", field], message, "keep one of them");
                }
            }
            Format::Text(sheet, _) => {
                if let Some((field, message)) = sheet.roles().problem(false) {
                    let hint = "name the column: `label: COLUMN`, or `targets: [COLUMN]` for numbers to be learnt";
                    problem(&[word, field], message, hint);
                }
                if sheet.separator.as_ref().is_some_and(|s| s.len() != 1) {
                    let message = "the separator must be one ASCII character".to_owned();
                    problem(&[word, "separator"], message, "e.g. `separator: \";\"`");
                }
            }
            Format::Npz(_) | Format::Npy(_) | Format::Idx => {}
        }
        let parts: Vec<String> = match self.parts.is_empty() {
            true => needs.to_vec(),
            false => self.parts.keys().cloned().collect(),
        };
        if needs.is_empty() {
            problem(
                &[],
                "it needs the data".into(),
                "add `needs: {data: {dir: photos}}`, or `needs: {train: ..., test: ...}`; every need becomes an output of its name",
            );
        } else if !self.parts.is_empty() {
            if needs.len() > 1 || needs[0] != "data" {
                let message = "`parts` are parts of one need, called `data`".to_owned();
                problem(&["parts"], message, "say `needs: {data: {dir: ...}}`");
            }
            if !matches!(
                format,
                Format::Images(_) | Format::Text(..) | Format::Parquet(_)
            ) {
                let message = format!("`parts` do not go with `{word}`");
                problem(&["parts"], message, "give every part as a need");
            }
        }
        for (name, path) in &self.parts {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                let message = format!("`{name}` cannot name an output");
                let hint = "use 1 to 64 letters, digits, `_` and `-`";
                problem(&["parts", name], message, hint);
            }
            let steps: Vec<&str> = path.split('/').collect();
            let leads_out = steps.iter().any(|s| matches!(*s, "" | "." | ".."));
            if leads_out || steps[..steps.len() - 1].iter().any(|s| s.contains('*')) {
                let message = format!("`{path}` is no path below the directory");
                let hint = "e.g. `train`, `data/train.csv`, `data/train-*.parquet`; `*` stands in the last part only";
                problem(&["parts", name], message, hint);
            }
        }
        if let Format::Npz(npz) = format {
            for (field, names) in [("x", &npz.x), ("y", &npz.y)] {
                if let Some(part) = parts.iter().find(|part| names.of(part).is_none()) {
                    let message = format!("it names no array for the part `{part}`");
                    problem(&["npz", field], message, "name one for each need");
                }
            }
        }
        match &self.normalise {
            Normalise::Measured if parts.len() > 1 && !parts.iter().any(|p| p == "train") => {
                let hint = "call it `train`, or say `normalise: none` or `normalise: {fixed: {mean: [...], std: [...]}}`";
                let message = "no part is called `train`, so nothing says where mean and standard deviation are measured";
                problem(&["normalise"], message.into(), hint);
            }
            Normalise::Fixed(fixed) => {
                for (field, message) in fixed.problems() {
                    problem(&["normalise", "fixed", field], message.to_owned(), "");
                }
            }
            _ => {}
        }
        if let Some(classes) = &self.classes {
            let mut sorted = classes.clone();
            sorted.sort();
            if classes.is_empty() || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                let message = "every class must be named once".to_owned();
                problem(&["classes"], message, "");
            }
        }
        if self.name.is_empty() {
            problem(&["name"], "must not be empty".into(), "");
        }
        problems
    }
}

fn pixel_problems(pixels: &Pixels, at: &[&str], problem: &mut impl FnMut(&[&str], String, &str)) {
    let resize = pixels.resize.and_then(|r| r.problem());
    let crop = pixels.center_crop.and_then(|c| c.problem());
    for (field, message) in [("resize", resize), ("center_crop", crop)] {
        if let Some(message) = message {
            problem(
                &[at, &[field]].concat(),
                message,
                "e.g. `{width: 32, height: 32}`",
            );
        }
    }
}

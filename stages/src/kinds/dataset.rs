//! `dataset`: own images, arrays and tables as data sets.
//!
//! Decides what the parts are called and which file is read how; the formats are `data::own`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::own::array::{self, Array, Layout};
use crate::data::own::columns::{self, Columns};
use crate::data::own::picture::{Pixels, decode_all};
use crate::data::own::sheet::{self, Sheet};
use crate::data::own::{Moments, Raw, RawAnswers, RawValues, assemble, folder, some};
use crate::facts::{self, AnswersFact};
use crate::frame;
use crate::kind::{Failure, InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Task};
use crate::select::Names;
use repro_protocol::job::{Event, JobInput};

/// See the module.
pub struct DatasetKind;

/// Parameters of `dataset`: exactly one of `images`, `csv`, `tsv`, `npz`, `npy`, `parquet`, `idx` says what the data are.
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
    /// A Parquet table: columns of numbers, or images as in Hugging Face's data sets: `parquet: {}`.
    #[serde(default)]
    pub parquet: Option<Columns>,
    /// Two IDX files (MNIST's format), given as the groups `x` and `y`: `idx: {}`.
    #[serde(default)]
    pub idx: Option<Idx>,
    /// Parts of one directory (the need `data`), by name: a folder, a file, or files (`data/train-*.parquet`).
    #[serde(default)]
    pub parts: BTreeMap<String, String>,
    /// The names of the classes, in the order of their numbers; by default those that occur, sorted.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// Where the mean and standard deviation come from by which networks see the values.
    #[serde(default)]
    pub normalise: Normalise,
    /// What the data set calls itself; only parts of one name can be put together.
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
    /// The array of labels, or of numbers to be learnt; likewise.
    #[serde(default = "y")]
    pub y: ArrayName,
    /// Where the channels of images lie.
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
    /// Where the channels of images lie.
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
    fn of(&self, part: &str) -> Option<&str> {
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

/// The format, chosen.
enum Format<'a> {
    Images(&'a Pixels),
    Text(&'a Sheet, u8),
    Npz(&'a Npz),
    Npy(&'a Npy),
    Parquet(&'a Columns),
    Idx,
}

impl Params {
    /// What is to be learnt, as far as the parameters say it.
    fn answers(&self) -> Option<AnswersFact> {
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

    fn formats(&self) -> Vec<(&'static str, Format<'_>)> {
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
}

impl Kind for DatasetKind {
    type Params = Params;
    const NAME: &'static str = "dataset";
    /// Also stands for the JPEG decoder (zune-jpeg 0.5.15, without vector instructions), whose bits are part of the result.
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Makes data sets of own images, arrays and tables.";
    const DOC: &'static str = include_str!("dataset.md");
    const INPUTS: &'static [InputSpec] = &[InputSpec::optional("*", "A part of the data: a directory, a file, a list of files to be put together, or the files `x` and `y`.").many()];

    fn outputs(params: &Params) -> Outputs {
        let parts = params.parts.keys().cloned().collect::<Vec<_>>();
        outputs(&parts)
    }

    fn outputs_with(params: &Params, needs: &[String]) -> Outputs {
        match params.parts.is_empty() {
            true => outputs(needs),
            false => Self::outputs(params),
        }
    }

    fn facts(params: &Params, known: &facts::Known) -> facts::Findings {
        let needs: Vec<String> = known.0.inputs.keys().map(|&name| name.to_owned()).collect();
        Self::outputs_with(params, &needs).map_or_else(
            |_| facts::Findings::default(),
            |outputs| facts::dataset(&outputs, params.answers()),
        )
    }

    fn validate(params: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], message: String, hint: &str| {
            problems.push(ParamProblem {
                path: path.iter().map(|&p| p.to_owned()).collect(),
                message,
                hint: Some(hint.to_owned()).filter(|h| !h.is_empty()),
            });
        };
        let formats = params.formats();
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
        let parts: Vec<String> = match params.parts.is_empty() {
            true => needs.to_vec(),
            false => params.parts.keys().cloned().collect(),
        };
        if needs.is_empty() {
            problem(
                &[],
                "it needs the data".into(),
                "add `needs: {data: {dir: photos}}`, or `needs: {train: ..., test: ...}`; every need becomes an output of its name",
            );
        } else if !params.parts.is_empty() {
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
        for (name, path) in &params.parts {
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
        match &params.normalise {
            Normalise::Measured if parts.len() > 1 && !parts.iter().any(|p| p == "train") => {
                let hint = "call it `train`, or say `normalise: none` or `normalise: {fixed: {mean: [...], std: [...]}}`";
                let message = "no part is called `train`, so nothing says where mean and standard deviation are measured";
                problem(&["normalise"], message.into(), hint);
            }
            Normalise::Fixed(fixed) => {
                let is_bad = |x: &f32| !x.is_finite();
                if fixed.mean.is_empty() || fixed.mean.iter().any(is_bad) {
                    problem(
                        &["normalise", "fixed", "mean"],
                        "it must be finite numbers".into(),
                        "",
                    );
                }
                if fixed.std.is_empty() || fixed.std.iter().any(|x| is_bad(x) || *x <= 0.0) {
                    let message = "it must be numbers above 0".to_owned();
                    problem(&["normalise", "fixed", "std"], message, "");
                }
            }
            _ => {}
        }
        if let Some(classes) = &params.classes {
            let mut sorted = classes.clone();
            sorted.sort();
            if classes.is_empty() || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                let message = "every class must be named once".to_owned();
                problem(&["classes"], message, "");
            }
        }
        if params.name.is_empty() {
            problem(&["name"], "must not be empty".into(), "");
        }
        problems
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let formats = params.formats();
        let [(_, format)] = &formats[..] else {
            anyhow::bail!("the job has {} formats, not one", formats.len());
        };
        let mut parts = Vec::new();
        let mut warnings = Vec::new();
        for (part, sources) in sources(params, &task.job.inputs)? {
            let raw = read(&part, &sources, format, &mut warnings).map_err(|e| {
                match e.downcast::<Failure>() {
                    Ok(failure) => failure.within(&format!("`{part}`")).into(),
                    Err(e) => e.context(format!("`{part}`")),
                }
            })?;
            parts.push((part, raw));
        }
        for text in warnings {
            task.send(&Event::Warning { text });
        }
        let moments = match &params.normalise {
            Normalise::None => Moments::Given(vec![0.0], vec![1.0]),
            Normalise::Fixed(fixed) => Moments::Given(fixed.mean.clone(), fixed.std.clone()),
            Normalise::Measured => {
                let train = parts.iter().map(|(name, _)| name).find(|n| *n == "train");
                Moments::Of(
                    train
                        .or(parts.first().map(|(n, _)| n))
                        .cloned()
                        .unwrap_or_default(),
                )
            }
        };
        let sets = assemble(&params.name, parts, params.classes.as_deref(), &moments)?;
        for (part, set) in sets {
            task.figures
                .insert(format!("examples.{part}"), set.len() as f64);
            set.save(task.output(&part)?)?;
        }
        Ok(())
    }
}

fn outputs(parts: &[String]) -> Outputs {
    let output = |name: &String| OutputSpec::new(name, &format!("{name}.safetensors"));
    parts.iter().map(output).collect()
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

/// A file or directory of a part.
struct SourceFile {
    /// Group under `needs`, or empty.
    group: String,
    /// For messages.
    called: String,
    path: PathBuf,
}

/// What each part is made of, parts in the order of their names.
fn sources(
    params: &Params,
    inputs: &BTreeMap<String, Vec<JobInput>>,
) -> Result<Vec<(String, Vec<SourceFile>)>, Failure> {
    let source = |item: &JobInput| SourceFile {
        group: item.group.clone(),
        called: match item.from.is_empty() {
            true => item.path.display().to_string(),
            false => item.from.clone(),
        },
        path: item.path.clone(),
    };
    if params.parts.is_empty() {
        let part = |(name, items): (&String, &Vec<JobInput>)| {
            (name.clone(), items.iter().map(source).collect())
        };
        return Ok(inputs.iter().map(part).collect());
    }
    let [whole] = inputs.get("data").map_or(&[][..], Vec::as_slice) else {
        return Err(Failure::new(
            "`parts` are parts of one directory, the need `data`",
        ));
    };
    let whole = source(whole);
    let part = |(name, pattern): (&String, &String)| {
        let files = below(&whole, pattern)?;
        Ok((name.clone(), files))
    };
    params.parts.iter().map(part).collect()
}

/// The files a pattern stands for, sorted.
fn below(whole: &SourceFile, pattern: &str) -> Result<Vec<SourceFile>, Failure> {
    let found = |path: PathBuf, below: &str| SourceFile {
        group: String::new(),
        called: format!("{}/{below}", whole.called),
        path,
    };
    if !pattern.contains('*') {
        let path = whole.path.join(pattern);
        if !path.exists() {
            return Err(Failure::new(format!("{} has no `{pattern}`", whole.called)));
        }
        return Ok(vec![found(path, pattern)]);
    }
    let (dir, last) = match pattern.rsplit_once('/') {
        Some((dir, last)) => (whole.path.join(dir), last),
        None => (whole.path.clone(), pattern),
    };
    let prefix = &pattern[..pattern.len() - last.len()];
    let files: Vec<SourceFile> = folder::entries(&dir, &whole.called)?
        .into_iter()
        .filter(|(name, ..)| fits(last, name))
        .map(|(name, path, _)| found(path, &format!("{prefix}{name}")))
        .collect();
    match files.is_empty() {
        true => Err(Failure::new(format!(
            "{} has nothing that fits `{pattern}`",
            whole.called
        ))),
        false => Ok(files),
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let pieces: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = &pieces[..] else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    for piece in middle {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn read(
    part: &str,
    sources: &[SourceFile],
    format: &Format,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Raw> {
    match format {
        Format::Images(pixels) => class_folders(sources, pixels, warnings),
        Format::Text(sheet, separator) => {
            let texts = files(sources, &["csv", "tsv", "txt", "gz"])?
                .into_iter()
                .map(|file| Ok((file.called.clone(), bytes(&file)?)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            Ok(sheet::read(&texts, &sheet.roles(), *separator)?)
        }
        Format::Parquet(options) => {
            let frames = files(sources, &["parquet"])?
                .into_iter()
                .map(|file| {
                    let cannot = || format!("{} cannot be read", file.called);
                    Ok((
                        file.called.clone(),
                        frame::read(&file.path).with_context(cannot)?,
                    ))
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            let (raw, notes) = columns::read(frames, options)?;
            warnings.extend(turned(part, notes));
            Ok(raw)
        }
        Format::Npz(npz) => {
            let [file] = sources else {
                anyhow::bail!(Failure::new(format!(
                    "{} files, where one .npz is read",
                    sources.len()
                )));
            };
            let whole = bytes(file)?;
            let read = |names: &ArrayName| -> anyhow::Result<Array> {
                let name = names.of(part).context("no array is named")?;
                array::npz(&whole, name).with_context(|| file.called.clone())
            };
            Ok(array::part(read(&npz.x)?, read(&npz.y)?, npz.layout)?)
        }
        Format::Npy(npy) => pair(sources, npy.layout, array::npy),
        Format::Idx => pair(sources, Layout::Nhwc, array::idx),
    }
}

fn turned(part: &str, notes: usize) -> Option<String> {
    (notes > 0).then(|| {
        format!("`{part}`: {notes} images carry an EXIF orientation, which is not followed; `orientation: apply` turns them")
    })
}

fn bytes(file: &SourceFile) -> anyhow::Result<Vec<u8>> {
    array::read_file(&file.path).with_context(|| format!("{} cannot be read", file.called))
}

/// The arrays of the groups `x` and `y`.
fn pair(
    sources: &[SourceFile],
    layout: Layout,
    parse: fn(&[u8]) -> anyhow::Result<Array>,
) -> anyhow::Result<Raw> {
    let find = |group: &str| -> anyhow::Result<Array> {
        let Some(file) = sources.iter().find(|s| s.group == group) else {
            return Err(Failure::new(format!("there is no file `{group}`"))
                .hint("give two: `needs: {train: {x: {file: x.npy}, y: {file: y.npy}}}`")
                .into());
        };
        parse(&bytes(file)?).with_context(|| file.called.clone())
    };
    let raw = array::part(find("x")?, find("y")?, layout)?;
    if sources.len() > 2 {
        let names: Vec<String> = sources.iter().map(|s| s.group.clone()).collect();
        anyhow::bail!(Failure::new(format!(
            "the groups are {}; `x` and `y` are read",
            some(&names)
        )));
    }
    Ok(raw)
}

/// The files themselves, and those with such an ending in directories.
fn files(sources: &[SourceFile], endings: &[&str]) -> Result<Vec<SourceFile>, Failure> {
    let mut all = Vec::new();
    for source in sources {
        if !source.path.is_dir() {
            all.push(SourceFile {
                group: source.group.clone(),
                called: source.called.clone(),
                path: source.path.clone(),
            });
            continue;
        }
        let fits = |name: &str| {
            let ending = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
            ending.is_some_and(|e| endings.contains(&&*e))
        };
        let inside: Vec<_> = folder::entries(&source.path, &source.called)?
            .into_iter()
            .filter(|(name, _, is_dir)| !is_dir && fits(name))
            .collect();
        if inside.is_empty() {
            return Err(Failure::new(format!(
                "{} holds no .{} file",
                source.called,
                endings.join(" or .")
            ))
            .hint("files in folders below it are parts: `parts: {train: data/train-*}`"));
        }
        all.extend(inside.into_iter().map(|(name, path, _)| SourceFile {
            group: String::new(),
            called: format!("{}/{name}", source.called),
            path,
        }));
    }
    Ok(all)
}

fn class_folders(
    sources: &[SourceFile],
    pixels: &Pixels,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Raw> {
    let (mut pictures, mut classes) = (Vec::new(), Vec::new());
    for source in sources {
        if !Path::is_dir(&source.path) {
            return Err(Failure::new(format!("{} is a file", source.called))
                .hint("`images` reads a directory of class folders: `needs: {data: {dir: photos}}`")
                .into());
        }
        let (found, others) = folder::list(&source.path, &source.called)?;
        if !others.is_empty() {
            warnings.push(format!(
                "{}: files that are no images are left out: {}",
                source.called,
                some(&others)
            ));
        }
        let (decoded, notes) = decode_all(&found, pixels, |file| {
            let name = format!("{}/{}", source.called, file.name);
            match std::fs::read(&file.path) {
                Ok(bytes) => Ok((name, bytes)),
                Err(e) => Err(format!("{name}: {e}")),
            }
        })?;
        warnings.extend(turned(&source.called, notes));
        pictures.extend(decoded);
        classes.extend(found.into_iter().map(|file| file.class));
    }
    Ok(Raw {
        values: RawValues::Pictures(pictures),
        answers: RawAnswers::Names(classes),
        columns: Vec::new(),
    })
}

#[cfg(test)]
mod tests;

//! Tables as text: CSV and TSV with a header.
//!
//! A number becomes the nearest f64 and then the nearest f32, as NumPy reads it. What is missing is
//! an error with its line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::array::nearest;
use super::raw::{Raw, RawAnswers, RawValues};
use crate::data::{ImageShape, Values};
use crate::failure::Failure;
use crate::names::Names;
use crate::names::some;

/// Which columns mean what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// The column with the class of each row.
    #[serde(default)]
    pub label: Option<String>,
    /// The columns with numbers to be learnt, in place of a label.
    #[serde(default)]
    pub targets: Option<Names>,
    /// The columns to learn from, in this order; by default all others, in the order of the file.
    #[serde(default)]
    pub columns: Option<Names>,
    /// Columns that are left out: numbers of rows, names.
    #[serde(default)]
    pub ignore: Option<Names>,
}

/// Options of a table in text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// The column with the class of each row.
    #[serde(default)]
    pub label: Option<String>,
    /// The columns with numbers to be learnt, in place of a label.
    #[serde(default)]
    pub targets: Option<Names>,
    /// The columns to learn from, in this order; by default all others, in the order of the file.
    #[serde(default)]
    pub columns: Option<Names>,
    /// Columns that are left out: numbers of rows, names.
    #[serde(default)]
    pub ignore: Option<Names>,
    /// What stands between cells: one ASCII character; by default a comma (a tab in `tsv`).
    #[serde(default)]
    pub separator: Option<String>,
}

impl Sheet {
    /// Without the separator.
    pub fn roles(&self) -> Roles {
        Roles {
            label: self.label.clone(),
            targets: self.targets.clone(),
            columns: self.columns.clone(),
            ignore: self.ignore.clone(),
        }
    }
}

/// Columns by position.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub label: Option<usize>,
    pub targets: Vec<usize>,
    pub features: Vec<usize>,
}

impl Roles {
    /// What is wrong with them, and the field.
    pub fn problem(&self, label_may_be_found: bool) -> Option<(&'static str, String)> {
        let has_targets = self.targets.as_ref().is_some_and(|t| !t.0.is_empty());
        match (&self.label, has_targets) {
            (Some(_), true) => Some(("targets", "there are both `label` and `targets`".into())),
            (None, false) if !label_may_be_found => Some((
                "label",
                "neither `label` nor `targets` says what is to be learnt".into(),
            )),
            _ => None,
        }
    }

    /// Finds the columns in a header. `other` are columns that are no features unless they are
    /// named.
    pub(super) fn plan(&self, header: &[String], other: &[usize]) -> Result<Plan, Failure> {
        let find = |name: &str| {
            let mut places = (0..header.len()).filter(|&i| header[i] == name);
            match (places.next(), places.next()) {
                (Some(place), None) => Ok(place),
                (Some(_), Some(_)) => Err(Failure::new(format!(
                    "the header has the column `{name}` twice"
                ))),
                (None, _) => {
                    let failure = Failure::new(format!("there is no column `{name}`"));
                    Err(match crate::spelling::nearest(name, header) {
                        Some(near) => failure.hint(format!("did you mean `{near}`?")),
                        None => failure.hint(format!("the columns are {}", some(header))),
                    })
                }
            }
        };
        let all = |names: &Option<Names>| -> Result<Vec<usize>, Failure> {
            let names = names.as_ref().map_or(&[][..], |n| &n.0);
            names.iter().map(|name| find(name)).collect()
        };
        let label = self.label.as_deref().map(find).transpose()?;
        let (targets, ignored) = (all(&self.targets)?, all(&self.ignore)?);
        let features = match &self.columns {
            Some(_) => all(&self.columns)?,
            None => (0..header.len())
                .filter(|i| {
                    Some(*i) != label
                        && !targets.contains(i)
                        && !ignored.contains(i)
                        && !other.contains(i)
                })
                .collect(),
        };
        if let Some(both) = features
            .iter()
            .find(|i| Some(**i) == label || targets.contains(i))
        {
            return Err(Failure::new(format!(
                "the column `{}` is both learnt from and to be learnt",
                header[*both]
            )));
        }
        if features.is_empty() {
            return Err(Failure::new("no column is left to learn from"));
        }
        Ok(Plan {
            label,
            targets,
            features,
        })
    }
}

/// After so many wrong cells the rest is not looked for.
const WRONG_MAX: usize = 1000;

/// What stands for a missing number.
const MISSING: [&str; 9] = ["", "na", "n/a", "nan", "null", "none", "nil", "?", "-"];

/// Reads tables with equal headers, one after the other.
///
/// # Errors
/// A column that is not there, a cell that is no number, a missing one: with its line.
pub fn read(texts: &[(String, Vec<u8>)], roles: &Roles, separator: u8) -> Result<Raw, Failure> {
    let (mut values, mut labels, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    let mut first: Option<(Vec<String>, Plan)> = None;
    let mut wrong = Vec::new();
    for (called, bytes) in texts {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .from_reader(bytes);
        let damaged = |e: csv::Error| Failure::new(format!("{called}: {}", said(&e)));
        let header: Vec<String> = reader
            .headers()
            .map_err(damaged)?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        if let ([one], b',') = (&header[..], separator)
            && let Some(other) = one.chars().find(|c| matches!(c, ';' | '\t' | '|'))
        {
            return Err(
                Failure::new(format!("{called}: its header is one column, `{one}`")).hint(
                    match other {
                        '\t' => "it is separated by tabs: say `tsv:` in place of `csv:`".to_owned(),
                        other => format!("say `separator: \"{other}\"`"),
                    },
                ),
            );
        }
        let plan = match &first {
            Some((same, _)) if *same != header => {
                return Err(Failure::new(format!(
                    "{called}: its header is not that of {}",
                    texts[0].0
                )));
            }
            Some((_, plan)) => plan,
            None => {
                // pandas writes the number of a row into a column without a name.
                let unnamed: Vec<usize> = (0..header.len())
                    .filter(|&i| header[i].is_empty())
                    .collect();
                let plan = roles.plan(&header, &unnamed).map_err(|f| Failure {
                    message: format!("{called}: {}", f.message),
                    ..f
                })?;
                &first.insert((header.clone(), plan)).1
            }
        };
        for record in reader.records() {
            let record = record.map_err(damaged)?;
            let line = record.position().map_or(0, csv::Position::line);
            let number = |column: usize, wrong: &mut Vec<String>| -> f32 {
                let cell = record.get(column).unwrap_or("").trim();
                let parsed = cell.parse::<f64>().ok();
                match parsed.and_then(nearest) {
                    Some(x) => x,
                    None => {
                        let name = &header[column];
                        wrong.push(match MISSING.contains(&&*cell.to_lowercase()) {
                            true if cell.is_empty() => format!("line {line}: `{name}` is missing"),
                            true => format!("line {line}: `{name}` is missing (`{cell}`)"),
                            false => format!("line {line}: `{name}` is `{cell}`, no number"),
                        });
                        0.0
                    }
                }
            };
            values.extend(plan.features.iter().map(|&c| number(c, &mut wrong)));
            targets.extend(plan.targets.iter().map(|&c| number(c, &mut wrong)));
            if let Some(column) = plan.label {
                let cell = record.get(column).unwrap_or("").trim();
                if cell.is_empty() {
                    wrong.push(format!(
                        "line {line}: the label `{}` is missing",
                        header[column]
                    ));
                }
                labels.push(cell.to_owned());
            }
            if wrong.len() >= WRONG_MAX {
                break;
            }
        }
        if let Some(one) = wrong.first() {
            let text = match wrong.len() {
                1 => format!("{called}: {one}"),
                n => format!("{called}: {n} cells cannot be used: {}", some(&wrong)),
            };
            return Err(Failure::new(text).hint(
                "fill or drop such rows before; leave a column out with `ignore: [...]` or name the others in `columns: [...]`",
            ));
        }
    }
    let Some((header, plan)) = first else {
        return Err(Failure::new("there is no table"));
    };
    if values.is_empty() {
        return Err(Failure::new(format!("{}: it has no rows", texts[0].0)));
    }
    let named = |columns: &[usize]| columns.iter().map(|&c| header[c].clone()).collect();
    Ok(Raw {
        values: RawValues::Shaped(
            ImageShape::table(plan.features.len()),
            Values::Floats(values),
        ),
        answers: match plan.label {
            Some(_) => RawAnswers::Names(labels),
            None => RawAnswers::Targets(named(&plan.targets), targets),
        },
        columns: named(&plan.features),
    })
}

/// What the reader says, with the line first.
fn said(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "line {} has {len} cells, the header {expected_len}",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        csv::ErrorKind::Utf8 { pos, .. } => format!(
            "line {} is not UTF-8",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        _ => error.to_string(),
    }
}

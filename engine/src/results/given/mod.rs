//! Metrics from a file: what `repro metrics --parquet` wrote, read where the store does not have an
//! instance's tables. Decides whose rows are whose; how the file fits the plan and repro.lock is
//! told by [`fit`].

mod fit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::plan::{Instance, InstanceIndex, Plan};
use crate::record::lockfile::LockFile;
use crate::session::Session;
use crate::survey::Survey;
use repro_protocol::table::{Row, Whose};

use self::fit::Fit;
use super::named::{is_named, is_table};

/// The tables that a file has of the instances of a plan.
#[derive(Debug)]
pub struct Given {
    path: PathBuf,
    tables: BTreeMap<(InstanceIndex, usize), Vec<Row>>,
    is_whole: bool,
    lock: LockFile,
    fit: Fit,
}

impl Given {
    /// Reads a file for the plan of this session.
    ///
    /// # Errors
    /// It is no such file, or has nothing of this plan; repro.lock or the store cannot be read.
    pub fn read(session: &Session, path: &Path) -> anyhow::Result<Given> {
        let called = path.display();
        let refused = |what: String| {
            anyhow::anyhow!("{called}: {what}; `--from` reads what `repro metrics --parquet` wrote")
        };
        let gathered = (session.catalog.read_gathered)(path);
        let gathered = gathered.map_err(|e| refused(format!("{e:#}")))?;
        let lock = LockFile::read(&session.project.lock_file())?;
        let mut fit = Fit::of(&gathered, &lock);
        let mut tables: BTreeMap<(InstanceIndex, usize), Vec<Row>> = BTreeMap::new();
        let names = Names::of(&session.plan);
        for one in gathered {
            let Some(whose) = one.whose.clone().or_else(|| names.whose(&one.row)) else {
                fit.strange(named(&one.row));
                continue;
            };
            let Some(index) = names.of.get(&*whose.instance) else {
                fit.strange(whose.instance);
                continue;
            };
            let outputs = &session.plan.instance(*index).outputs;
            let Some(position) = outputs.iter().position(|o| *o.name == *whose.output) else {
                fit.strange(format!("{}.{}", whose.instance, whose.output));
                continue;
            };
            if fit.is_of_another(&whose, &lock) {
                continue;
            }
            let row = Row {
                stage: whose.stage,
                run: whose.run,
                ..one.row
            };
            tables.entry((*index, position)).or_default().push(row);
        }
        let instances: BTreeSet<_> = tables.keys().map(|(index, _)| *index).collect();
        if tables.is_empty() || fit.is_of_another_pipeline(instances.len()) {
            return Err(refused(fit.nothing()));
        }
        fit.compare(&session.plan, &tables, &lock, &survey(session)?);
        Ok(Given {
            path: shown(path, &session.project.root),
            is_whole: tables.values().any(|rows| is_whole(rows)),
            tables,
            lock,
            fit,
        })
    }

    /// The file as people call it.
    pub fn called(&self) -> String {
        self.path.display().to_string()
    }

    /// It has every value, and not only the last of each metric.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How it fits the plan and repro.lock, in sentences.
    pub fn remarks(&self) -> Vec<String> {
        self.fit.told(&self.called(), self.is_whole)
    }

    /// How many instances it has values of.
    pub fn instances(&self) -> usize {
        let all: BTreeSet<_> = self.tables.keys().map(|(index, _)| *index).collect();
        all.len()
    }

    /// repro.lock, as it was when the file was read.
    pub(super) fn lock(&self) -> &LockFile {
        &self.lock
    }

    /// The table of an output.
    pub(super) fn rows(&self, index: InstanceIndex, position: usize) -> Option<&[Row]> {
        self.tables.get(&(index, position)).map(Vec::as_slice)
    }
}

/// As it is called in the project, where it lies there.
fn shown(path: &Path, root: &Path) -> PathBuf {
    let real = |path: &Path| path.canonicalize().ok();
    let inside = || {
        let (path, root) = (real(path)?, real(root)?);
        Some(path.strip_prefix(root).ok()?.to_owned())
    };
    inside().unwrap_or_else(|| path.to_owned())
}

fn survey(session: &Session) -> anyhow::Result<Survey> {
    Survey::of(session, &session.targets(&[])?)
}

/// Only files with all values have several of one metric.
fn is_whole(rows: &[Row]) -> bool {
    let mut seen = BTreeSet::new();
    let of = |row: &Row| {
        (
            row.stage.clone(),
            row.run.clone(),
            row.seed,
            row.split.clone(),
            row.name.clone(),
        )
    };
    !rows.iter().all(|row| seen.insert(of(row)))
}

/// The instance in a row of a gathered table, as far as the row says.
fn named(row: &Row) -> String {
    let stage = row.stage.as_deref().unwrap_or_default();
    match &row.run {
        Some(run) => format!("{stage}[{run}]"),
        None => stage.to_owned(),
    }
}

/// `seed=1`: what tells an instance from others of its stage.
pub(super) fn axes_text(instance: &Instance) -> &str {
    let rest = instance.id.strip_prefix(&*instance.stage);
    rest.unwrap_or_default().trim_matches(['[', ']'])
}

/// The instances of a plan by their names, and what rows of older files call them.
struct Names<'p> {
    plan: &'p Plan,
    of: HashMap<&'p str, InstanceIndex>,
    of_stage: HashMap<&'p str, Vec<InstanceIndex>>,
}

impl<'p> Names<'p> {
    fn of(plan: &'p Plan) -> Names<'p> {
        let mut names = Names {
            plan,
            of: HashMap::new(),
            of_stage: HashMap::new(),
        };
        for (at, instance) in plan.instances.iter().enumerate() {
            let index = InstanceIndex(at as u32);
            names.of.insert(&instance.id, index);
            names
                .of_stage
                .entry(&instance.stage)
                .or_default()
                .push(index);
        }
        names
    }

    /// Whose row this is, by its `stage` and the beginning of its `run`. What follows there is the
    /// stage in the instance's own table and, after a space, the run.
    fn whose(&self, row: &Row) -> Option<Whose> {
        let run = row.run.as_deref().unwrap_or_default();
        let rest = |index: &InstanceIndex| {
            let axes = axes_text(self.plan.instance(*index));
            match run.strip_prefix(axes)? {
                "" => Some(""),
                rest if axes.is_empty() => Some(rest),
                rest => rest.strip_prefix(' '),
            }
        };
        let own = self.of_stage.get(row.stage.as_deref()?)?;
        let fitting = own.iter().filter_map(|index| Some((*index, rest(index)?)));
        let (index, rest) = fitting.min_by_key(|(_, rest)| rest.len())?;
        let instance = self.plan.instance(index);
        // Of several tables the one that is called so has the metrics of built-in kinds.
        let outputs = || instance.outputs.iter();
        let named = outputs().find(|o| is_named(&o.name, Some(o.path.as_str())));
        let first = || outputs().find(|o| is_table(&o.name, Some(o.path.as_str())));
        let output = named.or_else(first)?;
        let (stage, run) = rest.split_once(' ').unwrap_or((rest, ""));
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Whose {
            instance: instance.id.to_string(),
            output: output.name.to_string(),
            key: None,
            stage: said(stage),
            run: said(run),
        })
    }
}

/// Whether a study's reader expects values of this instance.
fn owes_metrics(instance: &Instance) -> bool {
    let mut outputs = instance.outputs.iter();
    outputs.any(|o| is_named(&o.name, Some(o.path.as_str())))
}

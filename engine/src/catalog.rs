//! The catalog: the kinds the engine may run, and who runs them.
//!
//! The engine never names a kind it can run: the program hands it the catalog of the stages, and
//! programs named by `uses: ./tool` are described by the same type. What a kind computes is unknown
//! here.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repro_protocol::job::JobInput;
use repro_protocol::kind::{Description, InputSpec, ParamProblem, no_member};
use repro_protocol::table::{Gathered, Row};
use serde::Serialize;
use serde_json::Value;

use crate::digest::Digest;

/// A kind of stage, and who runs it.
pub struct Kind {
    /// What is known of it.
    pub description: Description,
    /// Who runs it.
    pub program: Program,
}

impl Deref for Kind {
    type Target = Description;
    fn deref(&self) -> &Description {
        &self.description
    }
}

/// Who runs a kind.
#[derive(Clone, Debug)]
pub enum Program {
    /// This executable: `repro worker job.json`.
    BuiltIn,
    /// A program of the project, called as `PROGRAM worker job.json`; its digest is part of the
    /// key.
    External {
        /// Where it is, absolute.
        path: PathBuf,
        /// BLAKE3 of the program file.
        digest: Digest,
    },
    /// A program of the project that no run has asked yet what it is, met by a command that runs no
    /// code of the project. No key of its stages is known, nor are their outputs: those are taken
    /// to be the ones that other stages need.
    Unasked {
        /// What is not known, and who finds out.
        why: String,
    },
}

/// A table artifact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<Row>,
    /// It is in the format of built-in kinds: what else has rows of numbers may be something else.
    pub is_own: bool,
}

/// Reads a table artifact.
pub type ReadTableFn = Arc<dyn Fn(&Path) -> anyhow::Result<Table> + Send + Sync>;

/// Writes rows as a table artifact.
pub type WriteTable = fn(&Path, &[Row]) -> anyhow::Result<()>;

/// Reads the tables of many instances that were written as one.
pub type ReadGathered = fn(&Path) -> anyhow::Result<Vec<Gathered>>;

/// Writes the tables of many instances as one.
pub type WriteGathered = fn(&Path, &[Gathered]) -> anyhow::Result<()>;

/// Judges a claim outside of a run, as the claim kind would; `true`: the tables have the last value
/// of each metric and no other.
pub type Judge = fn(&Value, BTreeMap<String, Vec<JobInput>>, bool) -> anyhow::Result<Vec<u8>>;

/// What the first difference between two files means (`tensor w[3]: 0.5, then 0.25`); `None` where
/// the format says nothing.
pub type DescribeDifference = fn(&Path, &Path) -> Option<String>;

/// How two files differ, part by part, in figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Parts {
    /// What a part is.
    pub part: String,
    /// What is measured of each.
    pub figures: Vec<String>,
    /// Each part, with a value for each figure where it has one.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// How two files differ in all their parts; `None` where the format has none that can be measured.
pub type MeasureDifference = fn(&Path, &Path) -> Option<Parts>;

/// All kinds built in.
pub struct Catalog {
    /// The kinds by name.
    pub kinds: Vec<Arc<Kind>>,
    /// Their names, by what they are about.
    pub concepts: Vec<Concept>,
    /// The kind that decides claims: takes groups `a` (and `b`) of tables, writes `verdict` (JSON).
    pub claim_kind: Arc<Kind>,
    /// Reads the tables stages write.
    pub read_table: ReadTableFn,
    /// Writes such tables.
    pub write_table: WriteTable,
    /// Reads many of them from one file.
    pub read_gathered: ReadGathered,
    /// Writes many of them to one file.
    pub write_gathered: WriteGathered,
    /// Judges claims outside of runs.
    pub judge: Judge,
    /// What the names of files that can be such a table end in; a name without an ending can be one
    /// too.
    pub table_endings: &'static [&'static str],
    /// Explains how two files differ that should be the same.
    pub describe_difference: DescribeDifference,
    /// Measures how two files differ that need not be the same.
    pub measure_difference: MeasureDifference,
    /// The reference of a built-in kind, in Markdown; `None` for an unknown name.
    pub reference: fn(&str) -> Option<String>,
    /// Directories that programs of the field share between projects, by the word that declares
    /// one.
    pub caches: Vec<Cache>,
    /// Runs a built-in kind in this process: `repro worker job.json`.
    pub work: fn(&Path) -> std::process::ExitCode,
}

/// Kinds that are about one thing.
#[derive(Debug, Clone)]
pub struct Concept {
    /// What that is.
    pub title: &'static str,
    /// The kinds' names.
    pub kinds: Vec<String>,
}

/// A directory that programs fill with what they downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    /// The word.
    pub name: &'static str,
    /// The variable that moves it.
    pub variable: &'static str,
    /// Where it is otherwise, below the home directory.
    pub dir: &'static str,
}

impl Catalog {
    /// Without kinds: for pipelines all whose stages are commands, and that state no claims. Tables
    /// are what `read_table` can read.
    pub fn without_kinds(
        read_table: impl Fn(&Path) -> anyhow::Result<Table> + Send + Sync + 'static,
    ) -> Catalog {
        let description = Description {
            name: "claim".into(),
            summary: String::new(),
            doc: String::new(),
            revision: 0,
            numerics: String::new(),
            inputs: vec![
                InputSpec::required("a", "").many(),
                InputSpec::optional("b", "").many(),
            ],
            counts: Vec::new(),
            schema: Value::Bool(true).into(),
            check: Arc::new(|_, _| Err(vec![ParamProblem::whole("no kind here decides claims")])),
            member: Arc::new(|_, output, _| no_member(output)),
            facts: None,
            states: None,
            on_gpu: None,
        };
        Catalog {
            kinds: Vec::new(),
            concepts: Vec::new(),
            claim_kind: Arc::new(Kind {
                description,
                program: Program::BuiltIn,
            }),
            read_table: Arc::new(read_table),
            write_table: |_, _| anyhow::bail!("no kind here writes tables"),
            read_gathered: |_| anyhow::bail!("no kind here writes tables"),
            write_gathered: |_, _| anyhow::bail!("no kind here writes tables"),
            judge: |_, _, _| anyhow::bail!("no kind here decides claims"),
            table_endings: &[],
            describe_difference: |_, _| None,
            measure_difference: |_, _| None,
            reference: |_| None,
            caches: Vec::new(),
            work: |_| std::process::ExitCode::FAILURE,
        }
    }

    /// The kind of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.name == name)
    }
}

//! What the journals of a project tell together: its runs, the last execution of an instance, the
//! results after a run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::event::{Event, Reason, Summary};
use super::journal;
use crate::digest::{Content, Digest};

/// One run, read.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its name; sorts by time.
    pub name: String,
    /// All its events.
    pub events: Vec<Event>,
}

/// How a run began and ended.
#[derive(Debug, Serialize)]
pub struct Ends<'r> {
    /// Its name.
    pub run: &'r str,
    /// When it began.
    pub at: &'r str,
    /// The command line.
    pub args: &'r [String],
    /// How it ended; `None` when it was killed, or is not over.
    pub summary: Option<&'r Summary>,
}

impl Serialize for Run {
    /// The ends, then the events.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'r> {
            #[serde(flatten)]
            ends: Ends<'r>,
            events: &'r [Event],
        }
        let (ends, events) = (self.ends(), &*self.events);
        Whole { ends, events }.serialize(serializer)
    }
}

/// Bytes of journals that are read for one answer; older runs are left out.
const BYTES_READ: u64 = 512 << 20;

fn unreadable(run: &str, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot read the journal of run {run}"))
}

impl Run {
    /// Reads a run.
    ///
    /// # Errors
    /// Its journal cannot be read.
    pub fn read(dir: &Path, name: &str) -> anyhow::Result<Run> {
        let events = journal::read(dir, name).map_err(|e| unreadable(name, e))?;
        Ok(Run {
            name: name.to_owned(),
            events,
        })
    }

    /// Reads only how it began and ended: enough for all that follows here.
    ///
    /// # Errors
    /// Its journal cannot be read.
    pub fn read_ends(dir: &Path, name: &str) -> anyhow::Result<Run> {
        let (first, last) = journal::ends(dir, name).map_err(|e| unreadable(name, e))?;
        Ok(Run {
            name: name.to_owned(),
            events: first.into_iter().chain(last).collect(),
        })
    }

    /// How it began and ended.
    pub fn ends(&self) -> Ends<'_> {
        Ends {
            run: &self.name,
            at: self.at(),
            args: self.args(),
            summary: self.summary(),
        }
    }

    /// When it began, RFC 3339; empty where the journal lost its first line.
    pub fn at(&self) -> &str {
        match self.events.first() {
            Some(Event::RunStarted { at, .. }) => at,
            _ => "",
        }
    }

    /// The command line.
    pub fn args(&self) -> &[String] {
        match self.events.first() {
            Some(Event::RunStarted { args, .. }) => args,
            _ => &[],
        }
    }

    /// What it ran: the name of the study, and the pipeline file where that is recorded.
    pub fn pipeline(&self) -> Option<(&str, Option<&str>)> {
        match self.events.first()? {
            Event::RunStarted { pipeline, file, .. } => Some((pipeline, file.as_deref())),
            _ => None,
        }
    }

    /// The files that its pipeline was written in, by digest; none in runs from before they were
    /// recorded.
    pub fn written_in(&self) -> BTreeMap<String, Digest> {
        match self.events.first() {
            Some(Event::RunStarted { written_in, .. }) => written_in.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// How it ended; `None` when it was killed, or is not over.
    pub fn summary(&self) -> Option<&Summary> {
        match self.events.last() {
            Some(Event::Summary(summary)) => Some(summary),
            _ => None,
        }
    }
}

/// The run a user means: its name, the beginning of it, `last`, or `last-1`, `last-2` ... Names are
/// oldest first.
///
/// # Errors
/// No such run, or more than one.
pub fn named<'a>(runs: &'a [String], text: &str) -> anyhow::Result<&'a str> {
    let back = match text.strip_prefix("last") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix('-').and_then(|n| n.parse::<usize>().ok()),
        None => None,
    };
    if let Some(back) = back {
        let at = runs.len().checked_sub(back + 1).ok_or_else(|| {
            anyhow::anyhow!("there is no run `{text}`: {} are recorded", runs.len())
        })?;
        return Ok(&runs[at]);
    }
    let mut fitting = runs.iter().filter(|r| r.starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(run), None) => Ok(run),
        (Some(a), Some(b)) if a != text => {
            anyhow::bail!("`{text}` could be run {a} or {b}; write more of it")
        }
        (Some(a), Some(_)) => Ok(a),
        (None, _) => anyhow::bail!("no run is called `{text}`; `repro log` lists them"),
    }
}

/// One execution of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// The run.
    pub run: String,
    /// When the run began.
    pub at: String,
    /// The action key, hex.
    pub key: String,
    /// Why it was executed.
    pub reason: Reason,
    /// How it went.
    pub end: End,
}

/// How an execution went.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// It has a result.
    Finished {
        /// Seconds.
        wall_s: f64,
    },
    /// It failed.
    Failed {
        /// What was said.
        message: String,
    },
    /// An input changed.
    Unstable,
    /// The journal does not say: it was stopped, or is not over.
    Unknown,
}

/// The last execution of every instance for which `wanted` holds, from the newest `runs_max` runs.
///
/// # Errors
/// A journal cannot be read.
pub fn last_executions(
    dir: &Path,
    runs_max: usize,
    wanted: &[&str],
) -> anyhow::Result<BTreeMap<String, Execution>> {
    let mut open: std::collections::HashSet<&str> = wanted.iter().copied().collect();
    let mut found = BTreeMap::new();
    let runs = journal::list(dir)?;
    for name in journal::newest(dir, &runs, BYTES_READ)
        .iter()
        .rev()
        .take(runs_max)
    {
        if open.is_empty() {
            break;
        }
        let mut run = Run {
            name: name.clone(),
            events: Vec::new(),
        };
        // A run can be large: only events of the instances that were asked for are kept.
        let tells = |event: &Event| match event {
            Event::RunStarted { .. } => true,
            Event::Started { instance, .. }
            | Event::Finished { instance, .. }
            | Event::Failed { instance, .. }
            | Event::Unstable { instance, .. } => open.contains(instance.as_str()),
            _ => false,
        };
        journal::each(dir, name, &mut |event| {
            if tells(&event) {
                run.events.push(event);
            }
        })
        .map_err(|e| unreadable(name, e))?;
        let mut ends: BTreeMap<&str, End> = BTreeMap::new();
        for event in run.events.iter().rev() {
            let end = match event {
                Event::Finished {
                    instance, wall_s, ..
                } => Some((instance, End::Finished { wall_s: *wall_s })),
                Event::Failed {
                    instance, message, ..
                } => {
                    let message = message.clone();
                    Some((instance, End::Failed { message }))
                }
                Event::Unstable { instance, .. } => Some((instance, End::Unstable)),
                _ => None,
            };
            if let Some((instance, end)) = end {
                ends.entry(instance).or_insert(end);
            }
            match event {
                Event::Started {
                    instance,
                    key,
                    reason,
                    ..
                } if open.remove(instance.as_str()) => {
                    let end = ends.remove(instance.as_str()).unwrap_or(End::Unknown);
                    let execution = Execution {
                        run: name.clone(),
                        at: run.at().to_owned(),
                        key: key.clone(),
                        reason: reason.clone(),
                        end,
                    };
                    found.insert(instance.clone(), execution);
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The result of an instance as a run left it.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    /// The action key, hex.
    pub key: String,
    /// The outputs, where the journal says; otherwise the store knows them by the key.
    pub outputs: Option<BTreeMap<String, Content>>,
}

/// What every instance had after run `last`, which must be one of `runs` (oldest first). An
/// instance that a run had nothing to do with is as it was before.
///
/// # Errors
/// A journal cannot be read.
pub fn results_after(
    dir: &Path,
    runs: &[String],
    last: &str,
) -> anyhow::Result<BTreeMap<String, Left>> {
    let mut results = BTreeMap::new();
    let end = runs.partition_point(|run| run.as_str() <= last);
    let read = journal::newest(dir, &runs[..end], BYTES_READ);
    for name in read {
        journal::each(dir, name, &mut |event| match event {
            Event::Finished {
                instance,
                key,
                outputs,
                ..
            } => drop(results.insert(
                instance,
                Left {
                    key,
                    outputs: Some(outputs),
                },
            )),
            Event::Cached { instance, key, .. } => {
                let same = results
                    .get(&instance)
                    .is_some_and(|left: &Left| left.key == key);
                if !same {
                    results.insert(instance, Left { key, outputs: None });
                }
            }
            _ => {}
        })
        .map_err(|e| unreadable(name, e))?;
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Shape;
    use crate::record::event::Change;

    fn write(dir: &Path, name: &str, events: &[Event]) {
        std::fs::create_dir_all(dir).unwrap();
        let lines: Vec<String> = events
            .iter()
            .map(|e| serde_json::to_string(e).unwrap() + "\n")
            .collect();
        std::fs::write(dir.join(format!("{name}.jsonl")), lines.concat()).unwrap();
    }

    fn started(instance: &str, key: &str, reason: Reason) -> Event {
        Event::Started {
            instance: instance.into(),
            key: key.into(),
            reason,
            placed: None,
        }
    }

    fn finished(instance: &str, key: &str) -> Event {
        let content = Content {
            shape: Shape::File,
            digest: Digest::of(key.as_bytes()),
            bytes_total: 1,
        };
        Event::Finished {
            resumed_from: None,
            instance: instance.into(),
            key: key.into(),
            outputs: BTreeMap::from([("o".into(), content)]),
            wall_s: 2.0,
            cpu_s: 1.0,
            max_rss_bytes: 1,
            energy: None,
            figures: BTreeMap::new(),
            sandbox: "off".into(),
            recorded: true,
        }
    }

    #[test]
    fn the_last_execution_is_found_across_runs() {
        let dir = tempfile::tempdir().unwrap();
        let changed = Reason::Changed(vec![Change {
            field: "salt".into(),
            old: None,
            new: None,
            files: Vec::new(),
        }]);
        write(
            dir.path(),
            "1",
            &[
                started("a", "k1", Reason::NeverRun),
                finished("a", "k1"),
                started("b", "k", Reason::NeverRun),
            ],
        );
        write(
            dir.path(),
            "2",
            &[
                started("a", "k2", changed.clone()),
                Event::Failed {
                    instance: "a".into(),
                    key: Some("k2".into()),
                    message: "no".into(),
                    hint: None,
                },
            ],
        );
        let found = last_executions(dir.path(), 10, &["a", "b", "c"]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found["a"].run.as_str(), &found["a"].reason, &found["a"].end),
            (
                "2",
                &changed,
                &End::Failed {
                    message: "no".into()
                }
            )
        );
        assert_eq!(found["b"].end, End::Unknown);
        assert_eq!(last_executions(dir.path(), 1, &["b"]).unwrap().len(), 0);
    }

    #[test]
    fn results_accumulate_and_cached_ones_count() {
        let dir = tempfile::tempdir().unwrap();
        let cached = |key: &str| Event::Cached {
            instance: "a".into(),
            key: key.into(),
            saved_s: 0.0,
            restored: true,
            changed: true,
            remote: None,
        };
        write(dir.path(), "1", &[finished("a", "k1"), finished("b", "k")]);
        write(dir.path(), "2", &[finished("a", "k2")]);
        write(dir.path(), "3", &[cached("k1")]);
        let runs = journal::list(dir.path()).unwrap();
        let key_after = |run: &str| {
            results_after(dir.path(), &runs, run).unwrap()["a"]
                .key
                .clone()
        };
        assert_eq!(
            [key_after("1"), key_after("2"), key_after("3")],
            ["k1", "k2", "k1"]
        );
        assert_eq!(results_after(dir.path(), &runs, "3").unwrap()["b"].key, "k");
    }

    #[test]
    fn runs_are_named_by_beginning_or_from_the_end() {
        let runs: Vec<String> = ["20260101T0-1", "20260102T0-2", "20260102T0-22"]
            .map(str::to_owned)
            .into();
        assert_eq!(named(&runs, "last").unwrap(), "20260102T0-22");
        assert_eq!(named(&runs, "last-2").unwrap(), "20260101T0-1");
        assert!(named(&runs, "202601010").is_err());
        assert_eq!(named(&runs, "20260101").unwrap(), "20260101T0-1");
        assert_eq!(named(&runs, "20260102T0-2").unwrap(), "20260102T0-2");
        assert!(
            named(&runs, "20260102")
                .unwrap_err()
                .to_string()
                .contains("could be run")
        );
        assert!(named(&runs, "last-3").is_err());
    }
}

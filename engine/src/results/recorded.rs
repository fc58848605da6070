//! Whatever has a name of its own: a run, or all that is recorded under a key.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::digest::{Content, Digest};
use crate::open::Opening;
use crate::record::elsewhere::Remembered;
use crate::record::history::{self, Run};
use crate::record::journal;
use crate::session::Session;
use crate::store::Observation;
use crate::store::{Record, Store};
use crate::survey::Survey;

/// Digits of a key that are enough to be looked up.
const PREFIX_MIN: usize = 4;

/// What a name stands for.
#[derive(Debug)]
pub enum Named {
    /// A run, with all its events.
    Run(Run),
    /// What has a key.
    Recorded(Recorded),
}

/// All that is recorded under a key.
#[derive(Debug, Serialize)]
pub struct Recorded {
    /// The instance, where one was named.
    pub instance: Option<String>,
    /// The key.
    pub key: Digest,
    /// What it is made of; null where the result is on a remote only and nothing else of it is
    /// known here.
    pub preimage: Value,
    /// The results: none before the first execution, several where executions gave other bits.
    pub results: Vec<RecordedResult>,
}

/// One result.
#[derive(Debug, Serialize)]
pub struct RecordedResult {
    /// Its name: of the key and the outputs.
    pub result: Digest,
    /// Its outputs.
    pub outputs: BTreeMap<String, Content>,
    /// Who made it when, and what that took.
    pub observation: Observation,
    /// Its bytes are on a remote only.
    pub elsewhere: bool,
    /// Why the project does not believe who made it.
    pub disbelieved: Option<String>,
}

/// What `name` stands for: a run (`last`, `last-1`, its name or the beginning), a key (four
/// hexadecimal digits or more), or an instance of the pipeline, which is read only then.
///
/// # Errors
/// Nothing, or several things.
pub fn named(opening: &Opening, name: &str) -> anyhow::Result<Named> {
    let dir = opening.project()?.state().join("runs");
    let runs = journal::list(&dir)?;
    if let Ok(run) = history::named(&runs, name) {
        return Ok(Named::Run(Run::read(&dir, run)?));
    }
    if name.len() >= PREFIX_MIN && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        let store = opening.store()?;
        match store.keys_with_prefix(name)[..] {
            [] => {}
            [key] => return Ok(Named::Recorded(under_key(&store, &key)?)),
            [a, b, ..] => anyhow::bail!(
                "`{name}` could be {} or {}; write more of it",
                a.hex(),
                b.hex()
            ),
        }
    }
    let session = opening.session()?;
    Ok(Named::Recorded(of_instance(&session, name)?))
}

/// All that is recorded for the present key of an instance.
///
/// # Errors
/// Not one instance has that name, or its key is not known yet.
pub fn of_instance(session: &Session, name: &str) -> anyhow::Result<Recorded> {
    let names = [name.to_owned()];
    let targets = session
        .targets(&names)
        .map_err(|e| anyhow::anyhow!("`{name}` is neither a run nor a key; {e}"))?;
    let index = session.only(name, &targets)?;
    let survey = Survey::of(session, &targets)?;
    let instance = session.plan.instance(index);
    let id = &*instance.id;
    let seen = survey.get(index);
    let Some(key) = seen.and_then(|s| s.key) else {
        anyhow::bail!(
            "the key of `{id}` is not known yet: what it needs has no result (see `repro why {id}`)"
        );
    };
    // Of a result that is known and elsewhere the record is here.
    let hit = seen.and_then(|s| s.hit.as_ref());
    let serving = hit.and_then(|hit| session.remembered(instance, hit));
    let mut known = known(&session.store, &key);
    if known.is_empty() && serving.is_none() {
        let preimage = seen.and_then(|s| s.preimage.as_ref());
        return Ok(Recorded {
            instance: Some(id.to_owned()),
            key,
            preimage: match preimage {
                Some(key) => serde_json::from_str(&key.preimage)?,
                None => Value::Null,
            },
            results: Vec::new(),
        });
    }
    let is_new = |serving: &Remembered| {
        let result = serving.record.result();
        known.iter().all(|r| r.record.result() != result)
    };
    let serving = serving.filter(is_new);
    known.extend(serving);
    told(Some((session, id)), &session.store, &key, &known)
}

/// All that the store has under a key, whatever the project.
///
/// # Errors
/// The record is damaged.
pub fn under_key(store: &Store, key: &Digest) -> anyhow::Result<Recorded> {
    told(None, store, key, &known(store, key))
}

fn known(store: &Store, key: &Digest) -> Vec<Remembered> {
    let records = store.lookup(key).into_iter();
    let remembered = records.map(|record| Remembered {
        envelopes: store.envelopes(key, &record.result()),
        record,
    });
    remembered.collect()
}

fn told(
    asked: Option<(&Session, &str)>,
    store: &Store,
    key: &Digest,
    known: &[Remembered],
) -> anyhow::Result<Recorded> {
    let Some(first) = known.first() else {
        anyhow::bail!("the record of {key} is damaged; `repro fsck` shows more")
    };
    let text = &first.record.preimage;
    let disbelieved = |known: &Remembered| -> Option<String> {
        known.record.origin()?;
        let believer = &asked?.0.believer;
        let judged = believer.believes(&known.record, &known.envelopes);
        Some(judged.err()?.to_string())
    };
    let is_elsewhere = |record: &Record| {
        let mut outputs = record.outputs.values();
        outputs.any(|content| !store.has(content).unwrap_or(false))
    };
    let results = known.iter().map(|r| RecordedResult {
        result: r.record.result(),
        outputs: r.record.outputs.clone(),
        observation: r.record.observation.clone(),
        elsewhere: is_elsewhere(&r.record),
        disbelieved: disbelieved(r),
    });
    Ok(Recorded {
        instance: asked.map(|(_, id)| id.to_owned()),
        key: *key,
        preimage: serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
        results: results.collect(),
    })
}

//! Results near to one that is missing: the nearest other instance, and how far a computation can
//! be resumed.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::change::{changes, in_words};
use crate::digest::Content;
use crate::executor::state_keys;
use crate::key::Key;
use crate::plan::{Instance, InstanceIndex, Work};
use crate::record::event::Change;
use crate::session::Session;

/// Results compared.
const COMPARED_MAX: usize = 200;
/// Fields of a state named in one line.
const FIELDS_NAMED: usize = 3;

/// The recorded result with the fewest differing fields.
#[derive(Debug, Serialize)]
pub struct Relative {
    /// Whose it is.
    pub instance: String,
    /// From it to the missing one.
    pub changes: Vec<Change>,
    #[serde(skip)]
    preimage: String,
}

/// The nearest among what the index knows of the same stage, then of the same kind.
pub(super) fn nearest(session: &Session, index: InstanceIndex, preimage: &str) -> Option<Relative> {
    let instance = session.plan.instance(index);
    let kind = instance.kind_name();
    let mut candidates: Vec<(bool, &Instance)> = session
        .plan
        .instances
        .iter()
        .filter(|i| {
            i.id != instance.id && i.kind_name() == kind && session.index.get(&i.id).is_some()
        })
        .map(|i| (i.stage != instance.stage, i))
        .collect();
    candidates.sort_by_key(|(other_stage, i)| (*other_stage, i.id.clone()));
    let compared = candidates
        .into_iter()
        .take(COMPARED_MAX)
        .filter_map(|(_, other)| {
            let theirs = session.preimage(&session.index.get(&other.id)?.key)?;
            Some(Relative {
                instance: other.id.to_string(),
                changes: changes(&theirs, preimage),
                preimage: theirs,
            })
        });
    let mut nearest = compared.min_by_key(|relative| relative.changes.len())?;
    session.look_inside(Some(instance), &mut nearest.changes);
    Some(nearest)
}

/// Where a computation would be taken up. Said and serialized as a sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Resumption {
    /// At a recorded state, as its kind calls it.
    From(String),
    /// From the beginning: no recorded state can be used.
    Nowhere(Option<Blocked>),
}

/// What keeps the states of another result from serving.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocked {
    /// The other instance; `None`: an earlier result of the same.
    pub whose: Option<String>,
    /// The fields in which they differ.
    pub changes: Vec<Change>,
}

impl fmt::Display for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocked = match self {
            Resumption::From(label) => {
                return write!(f, "continues from the recorded state `{label}`");
            }
            Resumption::Nowhere(blocked) => blocked,
        };
        f.write_str("no recorded state can be used")?;
        let Some(Blocked { whose, changes }) = blocked else {
            return Ok(());
        };
        let whose = whose.as_deref().unwrap_or("its earlier result");
        let named = changes.iter().take(FIELDS_NAMED).map(in_words);
        let named = named.collect::<Vec<_>>().join(", ");
        write!(f, "; the states of {whose} cannot be used: {named}")?;
        match changes.len().saturating_sub(FIELDS_NAMED) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Serialize for Resumption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where its computation would be taken up; `None` for what cannot be resumed.
pub(super) fn resumption(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    key: &Key,
    nearest: Option<&Relative>,
) -> Option<Resumption> {
    let states = state_keys(&session.plan.salt, instance, contents);
    if states.is_empty() {
        return None;
    }
    let has_state = |(_, state): &&(String, Key)| session.store.get_state(&state.digest).is_some();
    if let Some((label, _)) = states.iter().find(has_state) {
        return Some(Resumption::From(label.clone()));
    }
    let earlier = session
        .index
        .get(&instance.id)
        .filter(|known| known.key != key.digest)
        .and_then(|known| session.preimage(&known.key));
    let (whose, text) = match (&earlier, nearest) {
        (Some(text), _) => (None, text),
        (None, Some(relative)) => (Some(relative.instance.clone()), &relative.preimage),
        (None, None) => return Some(Resumption::Nowhere(None)),
    };
    let changes = differing(instance, &states, text).unwrap_or_default();
    let blocked = (!changes.is_empty()).then_some(Blocked { whose, changes });
    Some(Resumption::Nowhere(blocked))
}

/// The fields that keep states of another result from serving.
fn differing(instance: &Instance, ours: &[(String, Key)], theirs: &str) -> Option<Vec<Change>> {
    let Work::Kind { kind, .. } = &instance.work else {
        return None;
    };
    let theirs: Value = serde_json::from_str(theirs).ok()?;
    let points = (kind.states.as_ref()?)(&theirs["params"]);
    // The longest way they have in common, if they call it the same.
    let pair = points.iter().find_map(|p| {
        ours.iter()
            .find(|(label, _)| *label == p.label)
            .map(|(_, key)| (p, key))
    });
    let (point, key) = pair.or_else(|| Some((points.first()?, &ours.first()?.1)))?;
    let mut inputs = theirs["inputs"].clone();
    if let Some(inputs) = inputs.as_object_mut() {
        inputs.retain(|name, _| {
            !kind
                .inputs
                .iter()
                .any(|i| i.name == *name && i.observes_only)
        });
    }
    let state = json!({"format": theirs["format"], "inputs": inputs, "kind": theirs["kind"], "salt": theirs["salt"], "state": point.preimage});
    Some(changes(&state.to_string(), &key.preimage))
}

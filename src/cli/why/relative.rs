//! Results near to one that is missing: the nearest other instance, and how far a computation can be resumed.

use serde::Serialize;
use serde_json::{Value, json};

use repro_engine::digest::Content;
use repro_engine::explain;
use repro_engine::key::Key;
use repro_engine::plan::{Instance, InstanceIndex, Work};
use repro_engine::record::event::Change;
use repro_engine::run::state_keys;
use repro_engine::session::Session;

/// Results compared.
const COMPARED_MAX: usize = 200;
/// Fields of a state named in one line.
const FIELDS_NAMED: usize = 3;

/// The recorded result with the fewest differing fields.
#[derive(Serialize)]
pub struct Relative {
    /// Whose it is.
    pub instance: String,
    /// From it to the missing one.
    pub changes: Vec<Change>,
    #[serde(skip)]
    preimage: String,
}

/// The nearest among what the index knows of the same stage, then of the same kind.
pub fn nearest(session: &Session, index: InstanceIndex, preimage: &str) -> Option<Relative> {
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
                changes: explain::changes(&theirs, preimage),
                preimage: theirs,
            })
        });
    compared.min_by_key(|relative| relative.changes.len())
}

/// Where its computation would be taken up; `None` for what cannot be resumed.
pub fn resumable(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    key: &Key,
    nearest: Option<&Relative>,
) -> Option<String> {
    let states = state_keys(&session.plan.salt, instance, contents);
    if states.is_empty() {
        return None;
    }
    if let Some((label, _)) = states
        .iter()
        .find(|(_, state)| session.store.get_state(&state.digest).is_some())
    {
        return Some(format!("goes on from the recorded state `{label}`"));
    }
    let earlier = session
        .index
        .get(&instance.id)
        .filter(|known| known.key != key.digest)
        .and_then(|known| session.preimage(&known.key));
    let theirs = earlier
        .as_deref()
        .map(|text| ("its earlier result", text))
        .or_else(|| nearest.map(|r| (r.instance.as_str(), r.preimage.as_str())));
    let blocked = theirs.and_then(|(whose, text)| {
        Some(format!(
            "; the states of {whose} do not serve: {}",
            differing(instance, &states, text)?
        ))
    });
    Some(format!(
        "no recorded state serves{}",
        blocked.unwrap_or_default()
    ))
}

/// The fields that keep states of another result from serving.
fn differing(instance: &Instance, ours: &[(String, Key)], theirs: &str) -> Option<String> {
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
    let changes = explain::changes(&state.to_string(), &key.preimage);
    let mut fields: Vec<String> = changes
        .iter()
        .take(FIELDS_NAMED)
        .map(crate::ui::change::render)
        .collect();
    if changes.len() > FIELDS_NAMED {
        fields.push(format!("and {} more", changes.len() - FIELDS_NAMED));
    }
    (!fields.is_empty()).then(|| fields.join(", "))
}

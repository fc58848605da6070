//! Pins: results that a collection keeps at somebody's wish. A pin is about a result, not about a
//! stage.

use crate::digest::Digest;
use crate::open::Opening;
use crate::survey::Survey;

/// The keys that names stand for: keys as they are written, and those of the present results of
/// stages and instances. The pipeline is read only for the latter.
///
/// # Errors
/// A name that stands for nothing, or for what has no result.
pub fn keys(opening: &Opening, names: &[String]) -> anyhow::Result<Vec<Digest>> {
    let (mut keys, mut targets) = (Vec::new(), Vec::new());
    for name in names {
        let text = name.strip_prefix("action:").unwrap_or(name);
        match text.parse::<Digest>() {
            Ok(key) => keys.push(key),
            Err(_) => targets.push(name.clone()),
        }
    }
    if targets.is_empty() {
        return Ok(keys);
    }
    let session = opening.session()?;
    let targets = session.targets(&targets)?;
    let survey = Survey::of(&session, &targets)?;
    for index in targets {
        let hit = survey.get(index).and_then(|state| state.hit.as_ref());
        let hit = hit.ok_or_else(|| {
            let id = &session.plan.instance(index).id;
            anyhow::anyhow!("`{id}` has no result to pin; `repro run {id}` makes one")
        })?;
        keys.push(hit.key);
    }
    Ok(keys)
}

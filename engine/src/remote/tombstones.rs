//! Tombstones: what a collection found to be needed by nobody. Nothing is removed by it; a later
//! one removes what it still finds so, if nobody has made it young in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::backend::{BackendError, BackendFault, Body, Entry, PutMode};
use super::encoding::encode_bytes;
use super::layout::{Place, Segment};
use super::link::Link;
use super::name::Name;
use super::reading::{Unread, read_all};

/// Names in one note.
const NAMES_MAX: usize = 50_000;
/// Bytes of the largest note.
const BYTES_MAX: u64 = (NAMES_MAX as u64 + 1) * 560;
const HEAD: &str = "repro tombstones 1";

/// A name, and when it was last written.
pub type Stone = (Name, SystemTime);

fn nanos(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

fn time(nanos: i128) -> Option<SystemTime> {
    let by = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).ok()?);
    match nanos >= 0 {
        true => UNIX_EPOCH.checked_add(by),
        false => UNIX_EPOCH.checked_sub(by),
    }
}

fn to_text(stones: &[Stone]) -> String {
    let mut text = format!("{HEAD}\n");
    for (name, modified) in stones {
        text += &format!("{} {name}\n", nanos(*modified));
    }
    text
}

fn parse(bytes: &[u8]) -> Result<Vec<Stone>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return Err("it does not begin as tombstones".into());
    }
    lines
        .map(|line| {
            let (modified, name) = line.split_once(' ')?;
            Some((name.parse().ok()?, time(modified.parse().ok()?)?))
        })
        .collect::<Option<Vec<Stone>>>()
        .ok_or_else(|| "a line of it makes no sense".into())
}

/// All notes of a remote.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// When a name was last written, by the notes that are old enough.
    pub ripe: HashMap<Name, SystemTime>,
    /// By the others.
    pub fresh: HashMap<Name, SystemTime>,
    /// Ripe notes, and damaged ones.
    pub done: Vec<Name>,
}

impl Tombstones {
    /// Reads the notes among `entries`. One that cannot be understood counts for nothing:
    /// everything it said is said anew.
    ///
    /// # Errors
    /// The remote does not answer.
    pub fn read(
        link: &Arc<Link>,
        entries: &[Entry],
        now: SystemTime,
        pause: Duration,
    ) -> Result<Tombstones, Unread> {
        let mut found = Tombstones::default();
        for entry in entries.iter().filter(|e| is_note(&e.name)) {
            let is_ripe = now
                .duration_since(entry.modified)
                .is_ok_and(|age| age >= pause);
            match read_all(link, &entry.name, BYTES_MAX, |bytes| parse(&bytes)) {
                Ok(stones) if is_ripe => {
                    found.ripe.extend(stones);
                    found.done.push(entry.name.clone());
                }
                Ok(stones) => found.fresh.extend(stones),
                Err(Unread::Absent(_)) => {}
                Err(Unread::Bad { name, .. }) => found.done.push(name),
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Whether a note says this of a name.
    pub fn know(&self, name: &Name, modified: SystemTime) -> bool {
        [&self.ripe, &self.fresh]
            .iter()
            .any(|notes| notes.get(name) == Some(&modified))
    }
}

fn is_note(name: &Name) -> bool {
    matches!(Place::of(name), Some((_, Place::Gc { epoch, .. })) if epoch.as_str() == "tombstones")
}

/// Writes down what nobody needs.
///
/// # Errors
/// The remote does not take it.
pub(super) fn write(link: &Link, word: &str, stones: &[Stone]) -> Result<(), BackendError> {
    for (part, stones) in stones.chunks(NAMES_MAX).enumerate() {
        let fail = |why: String| BackendError {
            cause: BackendFault::Local,
            doing: "write",
            what: "tombstones".to_owned(),
            why,
        };
        let id: Segment = format!("{word}.{part}")
            .parse()
            .map_err(|e| fail(format!("{e}")))?;
        let epoch = Segment::of_word("tombstones");
        let name = link.scope().name(&Place::Gc { epoch, id });
        let bytes = encode_bytes(to_text(stones).as_bytes()).map_err(|e| fail(e.to_string()))?;
        link.put(&name, Body::Bytes(&bytes), PutMode::Overwrite)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_and_read_is_the_same(stones in proptest::collection::vec(("[a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,2}", any::<i64>()), 0..5)) {
            let stones: Vec<Stone> = stones
                .into_iter()
                .map(|(name, nanos)| (name.parse().unwrap(), time(nanos.into()).unwrap()))
                .collect();
            prop_assert_eq!(parse(to_text(&stones).as_bytes()), Ok(stones));
        }

        #[test]
        fn anything_is_read_or_refused(text in "(repro tombstones 1\n)?([-0-9a-z/ ]{0,30}\n){0,3}", bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let _ = parse(text.as_bytes());
            let _ = parse(&bytes);
        }
    }
}

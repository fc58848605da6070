//! Collection on a remote, in two phases, beside any number of writers and without a lock.
//!
//! Needed is what the keys lead to that the caller names, that live leases name, or under which
//! something was published within the grace; everything younger than the grace stays anyway. What
//! is neither gets a *tombstone*: its name and when it was written. A later collection, a pause
//! afterwards, removes what has a tombstone, is still needed by nobody, and was not made young
//! since; it looks once more just before each removal. Writers make young what they count on
//! (`publish.rs`, [`FRESHEN_AFTER`]), so what somebody begins to need between the phases survives.
//!
//! All ages are told by the storage's clock: those of the clients may be wrong by days. Heads go
//! first, bytes last, so that at every moment whatever is there points only at what is there;
//! killed anywhere, the next collection goes on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::stopped::{Stopped, given_up, unread};
use crate::digest::Digest;
use crate::store::GoneAction;

use super::backend::{BackendError, BackendFault};
use super::backends::unique_word;
use super::census::{Census, Lying, census, is_leftover};
use super::layout::{FRESHEN_AFTER, Place};
use super::link::Link;
use super::marks::{Leased, Marks, read_keys};
use super::name::Name;
use super::sweeping::{SWEEP, Sweeping, TOMBSTONES, is_dead, is_note_of, storage_now};
use super::tombstones::{self, Stone, Tombstones};
use super::wave::wave;

/// Nothing younger is ever removed: what writers count on without making it young is younger than
/// [`FRESHEN_AFTER`].
pub const GRACE_MIN: Duration = Duration::from_secs(FRESHEN_AFTER.as_secs() * 4);

/// How old things must be to go.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// What is younger stays.
    pub grace: Duration,
    /// Between tombstone and removal.
    pub pause: Duration,
}

impl Default for Ages {
    fn default() -> Ages {
        Ages {
            grace: Duration::from_secs(14 * 86_400),
            pause: Duration::from_secs(86_400),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: say what would be done.
    Plan,
    /// All of it.
    Do,
}

/// Names and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub names: usize,
    /// Bytes as stored.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.names += 1;
        self.bytes += bytes;
    }
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Everything before.
    pub before: Sum,
    /// Removed now (to be removed).
    pub removed: Sum,
    /// Had a tombstone and stays: it was made young meanwhile.
    pub spared: usize,
    /// Got a tombstone (is to get one).
    pub marked: Sum,
    /// Has one that is not old enough.
    pub waiting: Sum,
    /// Results among all these.
    pub actions: Vec<GoneAction>,
    /// Live leases.
    pub leases: usize,
    /// None of ours; left alone.
    pub unknown: usize,
}

/// In the order of removal: who points goes before what is pointed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Head,
    Signature,
    Record,
    Tree,
    Bytes,
}

struct Candidate {
    rank: Rank,
    name: Name,
    lying: Lying,
}

/// Collects in the link's scope. `keys`: what the caller's own project needs.
///
/// # Errors
/// See [`Stopped`]; what was removed until then was needed by nobody.
pub fn collect(
    link: &Arc<Link>,
    keys: &HashSet<Digest>,
    policy: &Ages,
    mode: Mode,
) -> Result<Collected, Stopped> {
    let grace = policy.grace.max(GRACE_MIN);
    let now = match mode {
        Mode::Do => storage_now(link)?,
        Mode::Plan => link.now(),
    };
    let census = census(link)?;
    let leased = Leased::read(link, &census.leases, now)?;
    let mut roots = keys.clone();
    roots.extend(&leased.keys);
    let is_young = |lying: &Lying| {
        now.duration_since(lying.modified)
            .map_or(true, |age| age < grace)
    };
    let known = read_keys(link, &census)?;
    let kept: HashSet<Digest> = census
        .keys
        .iter()
        .filter(|(key, of)| {
            let is_young = |t| {
                is_young(&Lying {
                    bytes: 0,
                    modified: t,
                })
            };
            roots.contains(*key) || of.youngest().is_some_and(is_young)
        })
        .map(|(key, _)| *key)
        .collect();
    let marks = Marks::of(link, &kept, &known)?;
    let candidates = candidates(link, &census, &kept, &marks, &leased, is_young);
    let stones = Tombstones::read(link, &census.notes, now, policy.pause).map_err(unread)?;

    let mut collected = Collected {
        leases: leased.live,
        unknown: census
            .unknown
            .iter()
            .filter(|e| !is_leftover(&e.name))
            .count(),
        before: Sum {
            names: census.names(),
            bytes: census.bytes_total,
        },
        ..Collected::default()
    };
    collected.actions = census
        .keys
        .keys()
        .filter(|key| !kept.contains(*key))
        .filter_map(|key| known.get(key))
        .map(|known| known.unneeded.clone())
        .collect();
    let (mut ripe, mut fresh): (Vec<Candidate>, Vec<Stone>) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let Candidate { name, lying, .. } = &candidate;
        if stones.ripe.get(name) == Some(&lying.modified) {
            ripe.push(candidate);
        } else if stones.know(name, lying.modified) {
            collected.waiting.add(lying.bytes);
        } else {
            collected.marked.add(lying.bytes);
            fresh.push((name.clone(), lying.modified));
        }
    }
    if mode == Mode::Plan {
        ripe.iter()
            .for_each(|c| collected.removed.add(c.lying.bytes));
        return Ok(collected);
    }
    // Marking a large remote takes long; who came meanwhile is not to be surprised. Who says what
    // it needs after this waits for the marker to go before it looks for anything (`lease::begin`).
    let sweeping = match ripe.is_empty() {
        true => None,
        false => Some(Arc::new(Sweeping::begin(link)?)),
    };
    let again = Leased::of(link, now)?;
    let is_new = |key: &&Digest| !kept.contains(*key) && census.keys.contains_key(*key);
    if again.keys.iter().any(|key| is_new(&key)) {
        if let Some(sweeping) = sweeping {
            link.delete(&sweeping.name)?;
        }
        return Err(Stopped::Changed);
    }
    tombstones::write(link, &unique_word(), &fresh)?;
    if let Some(sweeping) = sweeping {
        sweep(link, &sweeping, ripe, &mut collected)?;
    }
    let sweeps = census.notes.iter().filter(|e| is_note_of(&e.name, SWEEP));
    for entry in sweeps.filter(|e| is_dead(link, e.modified, now)) {
        link.delete(&entry.name)?;
    }
    // Their stones are removed or were made young; whatever else they say is said anew when it is
    // so again.
    for note in stones.done {
        link.delete(&note)?;
    }
    Ok(collected)
}

fn candidates(
    link: &Link,
    census: &Census,
    kept: &HashSet<Digest>,
    marks: &Marks,
    leased: &Leased,
    is_young: impl Fn(&Lying) -> bool,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut add = |rank: Rank, place: Place, lying: &Lying| {
        if !is_young(lying) {
            candidates.push(Candidate {
                rank,
                name: link.scope().name(&place),
                lying: *lying,
            });
        }
    };
    for (key, of) in census.keys.iter().filter(|(key, _)| !kept.contains(*key)) {
        let key = *key;
        if let Some(lying) = &of.head {
            add(Rank::Head, Place::Head(key), lying);
        }
        for ((result, signer), lying) in &of.envelopes {
            let (result, signer) = (*result, signer.clone());
            add(
                Rank::Signature,
                Place::Envelope {
                    key,
                    result,
                    signer,
                },
                lying,
            );
        }
        for (id, lying) in &of.divergence {
            add(
                Rank::Signature,
                Place::Divergence {
                    key,
                    id: id.clone(),
                },
                lying,
            );
        }
        for (result, lying) in &of.records {
            add(
                Rank::Record,
                Place::Record {
                    key,
                    result: *result,
                },
                lying,
            );
        }
    }
    for (tree, lying) in census
        .trees
        .iter()
        .filter(|(d, _)| !marks.trees.contains(*d))
    {
        add(Rank::Tree, Place::Tree(*tree), lying);
    }
    for ((tree, part), lying) in &census.packs {
        if !marks.trees.contains(tree) {
            add(
                Rank::Bytes,
                Place::Pack {
                    tree: *tree,
                    part: *part,
                },
                lying,
            );
        }
    }
    for (object, lying) in census
        .objects
        .iter()
        .filter(|(d, _)| !marks.objects.contains(*d))
    {
        add(Rank::Bytes, Place::Object(*object), lying);
    }
    // Ended leases, and what clients left that died.
    let notes = census.notes.iter();
    let probes = notes.filter(|e| !is_note_of(&e.name, TOMBSTONES));
    let ended = census
        .leases
        .iter()
        .filter(|e| leased.ended.contains(&e.name));
    let left = census.unknown.iter().filter(|e| is_leftover(&e.name));
    for entry in probes.chain(ended).chain(left) {
        let lying = Lying::of(entry);
        if !is_young(&lying) {
            candidates.push(Candidate {
                rank: Rank::Bytes,
                name: entry.name.clone(),
                lying,
            });
        }
    }
    candidates
}

/// Removes rank by rank: should one thing of a rank not go, nothing of the next does.
fn sweep(
    link: &Arc<Link>,
    sweeping: &Arc<Sweeping>,
    ripe: Vec<Candidate>,
    collected: &mut Collected,
) -> Result<(), Stopped> {
    let mut ranks: BTreeMap<Rank, Vec<(Name, Lying)>> = BTreeMap::new();
    for Candidate { rank, name, lying } in ripe {
        ranks.entry(rank).or_default().push((name, lying));
    }
    for items in ranks.into_values() {
        let sizes: Vec<u64> = items.iter().map(|(_, lying)| lying.bytes).collect();
        let mut unanswered = items.len();
        let mut failed = None;
        let its_marker = sweeping.clone();
        let work = move |link: &Arc<Link>, (name, lying): (Name, Lying)| {
            its_marker.renew(link)?;
            remove(link, &name, &lying)
        };
        wave(link, items, None, work, |position, answer| {
            unanswered -= 1;
            match answer {
                Ok(true) => collected.removed.add(sizes[position]),
                Ok(false) => collected.spared += 1,
                Err(e) => failed = Some(e),
            }
        });
        if let Some(e) = failed {
            return Err(e.into());
        }
        if unanswered > 0 {
            return Err(given_up(link));
        }
    }
    // Where the sweep failed it stays, and is soon taken for dead.
    link.delete(&sweeping.name)?;
    Ok(())
}

/// Removes it if nobody made it young; `false` if somebody did, or it is gone.
pub(super) fn remove(link: &Arc<Link>, name: &Name, lying: &Lying) -> Result<bool, BackendError> {
    match link.head(name) {
        Ok(entry) if Lying::of(&entry).modified == lying.modified => {
            link.delete(name).map(|()| true)
        }
        Ok(_) => Ok(false),
        Err(e) if e.cause == BackendFault::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

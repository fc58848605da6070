//! A census: everything that lies in one scope of a remote, told apart. Nothing is read but names,
//! sizes and times.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::Digest;

use super::backend::{BackendError, Entry};
use super::layout::{Area, Place, Segment};
use super::link::Link;
use super::name::Name;

/// Size and age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lying {
    /// Bytes as stored.
    pub bytes: u64,
    /// By the storage's clock.
    pub modified: SystemTime,
}

impl Lying {
    /// Of what was listed or looked at. Times are cut to whole seconds: many storages say more in a
    /// list than of one object.
    pub fn of(entry: &Entry) -> Lying {
        let since = entry.modified.duration_since(UNIX_EPOCH);
        Lying {
            bytes: entry.bytes_total,
            modified: UNIX_EPOCH + Duration::from_secs(since.map_or(0, |s| s.as_secs())),
        }
    }
}

/// What lies under one key.
#[derive(Debug, Clone, Default)]
pub struct OfKey {
    /// The head.
    pub head: Option<Lying>,
    /// Records by result.
    pub records: BTreeMap<Digest, Lying>,
    /// Signatures by result and signer.
    pub envelopes: BTreeMap<(Digest, Segment), Lying>,
    /// Accounts of divergence.
    pub divergence: BTreeMap<Segment, Lying>,
}

impl OfKey {
    /// When something was last published under the key.
    pub fn youngest(&self) -> Option<SystemTime> {
        let all = self.head.iter().chain(self.records.values());
        all.chain(self.envelopes.values()).map(|l| l.modified).max()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Census {
    /// Files' bytes.
    pub objects: HashMap<Digest, Lying>,
    /// Listings.
    pub trees: HashMap<Digest, Lying>,
    /// Parts of packs, by tree and number.
    pub packs: BTreeMap<(Digest, u32), Lying>,
    /// What is published.
    pub keys: BTreeMap<Digest, OfKey>,
    /// Leases.
    pub leases: Vec<Entry>,
    /// Collectors' notes and what probes left.
    pub notes: Vec<Entry>,
    /// What is none of ours.
    pub unknown: Vec<Entry>,
    /// Of all.
    pub bytes_total: u64,
}

/// Lists everything of the link's scope.
///
/// # Errors
/// The storage cannot list, or does not answer.
pub fn census(link: &Link) -> Result<Census, BackendError> {
    let mut census = Census::default();
    // Bytes before what names them: what is published while this goes on is then never named
    // without being listed or young.
    for area in Area::ALL {
        let prefix = link.scope().area(area);
        link.list(&prefix, &mut |entry| {
            census.take(link, entry);
            ControlFlow::Continue(())
        })?;
    }
    Ok(census)
}

impl Census {
    fn take(&mut self, link: &Link, entry: Entry) {
        let lying = Lying::of(&entry);
        self.bytes_total += lying.bytes;
        let place = Place::of(&entry.name)
            .filter(|(scope, _)| scope == link.scope())
            .map(|(_, place)| place);
        match place {
            Some(Place::Object(digest)) => {
                self.objects.insert(digest, lying);
            }
            Some(Place::Tree(digest)) => {
                self.trees.insert(digest, lying);
            }
            Some(Place::Pack { tree, part }) => {
                self.packs.insert((tree, part), lying);
            }
            Some(Place::Head(key)) => self.of(key).head = Some(lying),
            Some(Place::Record { key, result }) => {
                {
                    self.of(key).records.insert(result, lying);
                };
            }
            Some(Place::Envelope {
                key,
                result,
                signer,
            }) => {
                self.of(key).envelopes.insert((result, signer), lying);
            }
            Some(Place::Divergence { key, id }) => {
                {
                    self.of(key).divergence.insert(id, lying);
                };
            }
            Some(Place::Lease { .. }) => self.leases.push(entry),
            Some(Place::Gc { .. }) => self.notes.push(entry),
            Some(Place::Format) | None => self.unknown.push(entry),
        }
    }

    /// How many names.
    pub fn names(&self) -> usize {
        let of_keys = self.keys.values().map(|of| {
            usize::from(of.head.is_some())
                + of.records.len()
                + of.envelopes.len()
                + of.divergence.len()
        });
        self.objects.len()
            + self.trees.len()
            + self.packs.len()
            + of_keys.sum::<usize>()
            + self.leases.len()
            + self.notes.len()
            + self.unknown.len()
    }

    fn of(&mut self, key: Digest) -> &mut OfKey {
        self.keys.entry(key).or_default()
    }
}

/// What is left of a name that was being freshened when its client died: `NAME.fresh-<16 hex>`.
pub fn is_leftover(name: &Name) -> bool {
    name.as_str()
        .rsplit_once(".fresh-")
        .is_some_and(|(before, word)| {
            word.len() == 16
                && word.bytes().all(|b| b.is_ascii_hexdigit())
                && before.parse().is_ok_and(|name| Place::of(&name).is_some())
        })
}

//! What a collection keeps: what leases name, what young and wanted records lead to.
//!
//! Decides what is needed, not what is removed.

use super::backend::Entry;
use super::census::Census;
use super::head::{HEAD_BYTES_MAX, Head, RECORD_BYTES_MAX};
use super::layout::{Area, Place};
use super::lease;
use super::link::Link;
use super::name::Name;
use super::pack::Packing;
use super::reading::{Unread, read_all};
use super::stopped::{LISTING_BYTES_MAX, Stopped, given_up, unread};
use super::wave::wave;
use crate::digest::{Content, Digest, Shape};
use crate::store::{GoneAction, Listing, Record};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

/// What leases say.
pub(super) struct Leased {
    pub(super) keys: HashSet<Digest>,
    pub(super) live: usize,
    pub(super) ended: HashSet<Name>,
}

impl Leased {
    pub(super) fn of(link: &Arc<Link>, now: SystemTime) -> Result<Leased, Stopped> {
        let mut entries = Vec::new();
        let prefix = link.scope().area(Area::Leases);
        link.list(&prefix, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })?;
        Leased::read(link, &entries, now)
    }

    pub(super) fn read(
        link: &Arc<Link>,
        entries: &[Entry],
        now: SystemTime,
    ) -> Result<Leased, Stopped> {
        let mut leased = Leased {
            keys: HashSet::new(),
            live: 0,
            ended: HashSet::new(),
        };
        for entry in entries {
            match lease::read(link, entry) {
                Ok(Some(lease)) if lease.is_live(entry.modified, now) => {
                    leased.keys.extend(lease.keys);
                    leased.live += 1;
                }
                Ok(Some(_)) => drop(leased.ended.insert(entry.name.clone())),
                Ok(None) => {}
                Err(e @ Unread::Bad { .. }) => return Err(Stopped::Lease(e.to_string())),
                Err(e) => return Err(unread(e)),
            }
        }
        Ok(leased)
    }
}

/// What is known of a key.
pub(super) struct Known {
    outputs: Vec<Content>,
    pub(super) unneeded: GoneAction,
}

/// Reads the records of every key; where none can be read, its head.
pub(super) fn read_keys(
    link: &Arc<Link>,
    census: &Census,
) -> Result<HashMap<Digest, Known>, Stopped> {
    let items: Vec<(Digest, Vec<Digest>)> = census
        .keys
        .iter()
        .map(|(key, of)| (*key, of.records.keys().copied().collect()))
        .collect();
    let keys: Vec<Digest> = items.iter().map(|(key, _)| *key).collect();
    let mut known = HashMap::new();
    let mut unanswered: HashSet<usize> = (0..items.len()).collect();
    let mut failed = None;
    wave(link, items, None, read_key, |position, answer| {
        unanswered.remove(&position);
        match answer {
            Ok(Some(found)) => drop(known.insert(keys[position], found)),
            Ok(None) => {}
            Err(e) => failed = Some(e),
        }
    });
    match failed {
        Some(e) => Err(unread(e)),
        None if !unanswered.is_empty() => Err(given_up(link)),
        None => Ok(known),
    }
}

pub(super) fn read_key(
    link: &Arc<Link>,
    (key, results): (Digest, Vec<Digest>),
) -> Result<Option<Known>, Unread> {
    let mut records = Vec::new();
    for result in results {
        let name = link.scope().name(&Place::Record { key, result });
        match read_all(link, &name, RECORD_BYTES_MAX, |bytes| {
            Record::parse(&bytes, &key, &result)
        }) {
            Ok(record) => records.push(record),
            // A miss for everybody; fsck tells of it.
            Err(Unread::Absent(_) | Unread::Bad { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    if records.is_empty() {
        let name = link.scope().name(&Place::Head(key));
        match read_all(link, &name, HEAD_BYTES_MAX, |bytes| {
            Head::parse(&bytes, &key)
        }) {
            Ok(head) => records.push(head.record),
            Err(Unread::Absent(_) | Unread::Bad { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    let Some(first) = records.first() else {
        return Ok(None);
    };
    let unneeded = GoneAction {
        key,
        preimage: first.preimage.clone(),
        wall_s: first.wall_s(),
    };
    let outputs = records.into_iter().flat_map(|r| r.outputs.into_values());
    Ok(Some(Known {
        outputs: outputs.collect(),
        unneeded,
    }))
}

/// What must stay.
pub(super) struct Marks {
    pub(super) objects: HashSet<Digest>,
    pub(super) trees: HashSet<Digest>,
}

impl Marks {
    pub(super) fn of(
        link: &Arc<Link>,
        kept: &HashSet<Digest>,
        known: &HashMap<Digest, Known>,
    ) -> Result<Marks, Stopped> {
        let mut marks = Marks {
            objects: HashSet::new(),
            trees: HashSet::new(),
        };
        for content in kept
            .iter()
            .filter_map(|key| known.get(key))
            .flat_map(|k| &k.outputs)
        {
            match content.shape {
                Shape::File | Shape::Program => drop(marks.objects.insert(content.digest)),
                Shape::Tree => drop(marks.trees.insert(content.digest)),
            }
        }
        let trees: Vec<Digest> = marks.trees.iter().copied().collect();
        let mut unanswered = trees.len();
        let mut failed = None;
        wave(link, trees, None, read_listing, |_, answer| {
            unanswered -= 1;
            match answer {
                Ok(Some(listing)) => {
                    let packing = Packing::of(&listing);
                    let loose = packing.into_iter().flat_map(|p| p.loose);
                    marks.objects.extend(loose.map(|(digest, _)| digest));
                }
                Ok(None) => {}
                Err(e) => failed = Some(e),
            }
        });
        match failed {
            Some(e) => Err(unread(e)),
            None if unanswered > 0 => Err(given_up(link)),
            None => Ok(marks),
        }
    }
}

/// The listing of a tree; `None` when it is not there or damaged, and the artifact a miss.
pub(super) fn read_listing(link: &Arc<Link>, tree: Digest) -> Result<Option<Listing>, Unread> {
    let name = link.scope().name(&Place::Tree(tree));
    let listing = read_all(link, &name, LISTING_BYTES_MAX, |bytes| {
        let listing = Listing::parse(&bytes).map_err(|e| e.to_string())?;
        match listing.content().digest == tree {
            true => Ok(listing),
            false => Err("its name is not the digest of its bytes".into()),
        }
    });
    match listing {
        Ok(listing) => Ok(Some(listing)),
        Err(Unread::Absent(_) | Unread::Bad { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

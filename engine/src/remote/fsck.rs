//! Checking a whole remote: every byte is read, every name compared, every reference followed.
//!
//! Repairing sends again what the local store has, and removes what stays wrong: damaged bytes
//! would keep the right ones from being sent, and a result whose bytes are not there is a miss for
//! everybody. What was removed so is published again by the next push of a machine that has it, or
//! executed again. Nothing that is whole is touched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use crate::digest::{Content, Digest, Shape};
use crate::store::{Listing, Record, Store};

use super::backend::{BackendError, Body, PutMode};
use super::census::{Census, census, is_leftover};
use super::decoding::Limit;
use super::encoding::encode_bytes;
use super::head::{ENVELOPE_BYTES_MAX, HEAD_BYTES_MAX, Head, RECORD_BYTES_MAX};
use super::layout::Place;
use super::link::Link;
use super::name::Name;
use super::pack::Packing;
use super::publish::send_outputs;
use super::reading::{Unread, open_named, read_all};
use super::stopped::{LISTING_BYTES_MAX, Stopped};
use super::wave::wave;

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub name: Name,
    /// What is wrong with it.
    pub problem: String,
    /// What was done about it.
    pub remedy: Remedy,
}

/// See [`Finding::remedy`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: repairing was not asked for, or failed for this reason.
    None(Option<String>),
    /// The right bytes are there again, from the local store.
    SentAgain,
    /// It is gone; a push or a run brings it back.
    Removed,
    /// It does no harm and is none of ours.
    LeftAlone,
}

/// What was looked at, and found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Files.
    pub objects: usize,
    /// Listings and packs.
    pub trees: usize,
    /// Records and heads.
    pub records: usize,
    /// Of everything listed.
    pub bytes_total: u64,
    /// What is wrong, in the order of names.
    pub findings: Vec<Finding>,
}

/// What reading one thing gave.
enum Read1 {
    Bytes,
    Listing(Listing),
    Record(Record),
}

struct Check<'a> {
    link: &'a Arc<Link>,
    store: &'a Arc<Store>,
    census: Census,
    /// Names whose bytes are wrong, or that are needed and not there, and why.
    wrong: BTreeMap<Name, String>,
    listings: HashMap<Digest, Listing>,
    records: BTreeMap<Name, Record>,
    report: Report,
}

/// Reads everything of the link's scope. `repair`: see the module.
///
/// # Errors
/// The remote does not answer.
pub fn fsck(link: &Arc<Link>, store: &Arc<Store>, repair: bool) -> Result<Report, Stopped> {
    let census = census(link)?;
    let mut check = Check {
        link,
        store,
        report: Report {
            objects: census.objects.len(),
            trees: census.trees.len() + census.packs.len(),
            records: census
                .keys
                .values()
                .map(|of| usize::from(of.head.is_some()) + of.records.len())
                .sum(),
            bytes_total: census.bytes_total,
            findings: Vec::new(),
        },
        census,
        wrong: BTreeMap::new(),
        listings: HashMap::new(),
        records: BTreeMap::new(),
    };
    check.read_all()?;
    let sent = match repair {
        true => check.send_again(),
        false => BTreeSet::new(),
    };
    check.conclude(repair, &sent)?;
    let mut report = check.report;
    report.findings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(report)
}

/// Reads one thing and says what is wrong with it.
fn read_one(link: &Arc<Link>, place: &Place) -> Result<Read1, Unread> {
    let name = link.scope().name(place);
    match place {
        Place::Object(digest) => {
            let mut decoder = open_named(link, &name, Limit::AtMost(u64::MAX))?;
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; 256 << 10];
            loop {
                match decoder.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => drop(hasher.update(&buffer[..n])),
                    Err(e) => return Err(Unread::of_io(&e, &name)),
                }
            }
            let found = Digest(*hasher.finalize().as_bytes());
            match found == *digest {
                true => Ok(Read1::Bytes),
                false => Err(Unread::Bad {
                    name,
                    why: format!("its bytes hash to {found}"),
                }),
            }
        }
        Place::Tree(digest) => read_all(link, &name, LISTING_BYTES_MAX, |bytes| {
            let listing = Listing::parse(&bytes).map_err(|e| e.to_string())?;
            match listing.content().digest == *digest {
                true => Ok(Read1::Listing(listing)),
                false => Err("its bytes are those of another tree".to_owned()),
            }
        }),
        Place::Record { key, result } => read_all(link, &name, RECORD_BYTES_MAX, |bytes| {
            Record::parse(&bytes, key, result).map(Read1::Record)
        }),
        Place::Head(key) => read_all(link, &name, HEAD_BYTES_MAX, |bytes| {
            Head::parse(&bytes, key).map(|head| Read1::Record(head.record))
        }),
        Place::Lease { .. } => read_all(link, &name, RECORD_BYTES_MAX * 8, |bytes| {
            super::lease::Lease::parse(&bytes).map(|_| Read1::Bytes)
        }),
        _ => read_all(link, &name, ENVELOPE_BYTES_MAX, |_| Ok(Read1::Bytes)),
    }
}

/// Reads a part of a pack against the listing it belongs to.
fn read_part(link: &Arc<Link>, name: &Name, files: &[(Digest, u64)]) -> Result<(), Unread> {
    let bytes = super::pack::bytes_of(files);
    let mut decoder = open_named(link, name, Limit::Exactly(bytes))?;
    let _held = link.memory(bytes);
    let mut plain = Vec::new();
    decoder
        .read_to_end(&mut plain)
        .map_err(|e| Unread::of_io(&e, name))?;
    let mut rest = &plain[..];
    for (digest, bytes) in files {
        let (file, behind) = rest
            .split_at_checked(*bytes as usize)
            .unwrap_or((rest, &[]));
        rest = behind;
        if Digest::of(file) != *digest {
            return Err(Unread::Bad {
                name: name.clone(),
                why: format!("the bytes of file {digest} in it are others"),
            });
        }
    }
    Ok(())
}

impl Check<'_> {
    fn name(&self, place: &Place) -> Name {
        self.link.scope().name(place)
    }

    fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        places.extend(self.census.objects.keys().map(|d| Place::Object(*d)));
        places.extend(self.census.trees.keys().map(|d| Place::Tree(*d)));
        for (key, of) in &self.census.keys {
            let key = *key;
            places.extend(of.head.map(|_| Place::Head(key)));
            let results = of.records.keys();
            places.extend(results.map(|result| Place::Record {
                key,
                result: *result,
            }));
            places.extend(of.envelopes.keys().map(|(result, signer)| Place::Envelope {
                key,
                result: *result,
                signer: signer.clone(),
            }));
        }
        let leases = self.census.leases.iter();
        places.extend(leases.filter_map(|e| Some(Place::of(&e.name)?.1)));
        places
    }

    fn read_all(&mut self) -> Result<(), Stopped> {
        let places = self.places();
        let names: Vec<Name> = places.iter().map(|p| self.name(p)).collect();
        let trees: Vec<Option<Digest>> = places
            .iter()
            .map(|p| match p {
                Place::Tree(digest) => Some(*digest),
                _ => None,
            })
            .collect();
        let work = |link: &Arc<Link>, place: Place| read_one(link, &place);
        let mut unanswered = places.len();
        let mut failed = None;
        wave(self.link, places, None, work, |position, answer| {
            unanswered -= 1;
            let name = names[position].clone();
            match answer {
                Ok(Read1::Bytes) => {}
                Ok(Read1::Listing(listing)) => {
                    if let Some(tree) = trees[position] {
                        self.listings.insert(tree, listing);
                    }
                }
                Ok(Read1::Record(record)) => drop(self.records.insert(name, record)),
                // Removed while this goes on.
                Err(Unread::Absent(_)) => {}
                Err(Unread::Bad { why, .. }) => drop(self.wrong.insert(name, why)),
                Err(e) => failed = Some(e.to_string()),
            }
        });
        self.answered(unanswered, failed)?;
        self.read_packs()
    }

    fn answered(&self, unanswered: usize, failed: Option<String>) -> Result<(), Stopped> {
        let given_up = || self.link.given_up().map(str::to_owned);
        let failed = failed.or_else(|| (unanswered > 0).then(given_up).flatten());
        failed.map_or(Ok(()), |why| Err(Stopped::Unread(why)))
    }

    /// Parts of packs against their listings; parts that belong to none are of no use.
    fn read_packs(&mut self) -> Result<(), Stopped> {
        let mut items: Vec<(Name, Vec<(Digest, u64)>)> = Vec::new();
        for (tree, part) in self.census.packs.keys() {
            let place = Place::Pack {
                tree: *tree,
                part: *part,
            };
            let packing = self.listings.get(tree).and_then(Packing::of);
            if let Some(files) = packing.and_then(|p| p.parts.get(*part as usize).cloned()) {
                items.push((self.name(&place), files));
            }
        }
        let names: Vec<Name> = items.iter().map(|(name, _)| name.clone()).collect();
        let work = |link: &Arc<Link>, (name, files): (Name, Vec<_>)| read_part(link, &name, &files);
        let mut unanswered = items.len();
        let mut failed = None;
        wave(self.link, items, None, work, |position, answer| {
            unanswered -= 1;
            match answer {
                Ok(()) | Err(Unread::Absent(_)) => {}
                Err(Unread::Bad { why, .. }) => {
                    drop(self.wrong.insert(names[position].clone(), why));
                }
                Err(e) => failed = Some(e.to_string()),
            }
        });
        self.answered(unanswered, failed)
    }

    /// What a content consists of and what of it is wrong or missing, with the reason.
    fn lacking(&self, content: &Content) -> Vec<(Name, String)> {
        let mut pieces = Vec::new();
        let object = |digest: Digest| {
            let is_there = self.census.objects.contains_key(&digest);
            (Place::Object(digest), is_there)
        };
        match content.shape {
            Shape::File | Shape::Program => pieces.push(object(content.digest)),
            Shape::Tree => {
                let tree = content.digest;
                pieces.push((Place::Tree(tree), self.census.trees.contains_key(&tree)));
                if let Some(packing) = self.listings.get(&tree).and_then(Packing::of) {
                    pieces.extend(packing.loose.iter().map(|(digest, _)| object(*digest)));
                    for part in 0..packing.parts.len() as u32 {
                        let is_there = self.census.packs.contains_key(&(tree, part));
                        pieces.push((Place::Pack { tree, part }, is_there));
                    }
                }
            }
        }
        pieces
            .into_iter()
            .filter_map(|(place, is_there)| {
                let name = self.name(&place);
                match (self.wrong.get(&name), is_there) {
                    (Some(why), _) => Some((name, why.clone())),
                    (None, false) => Some((name, "it is missing".to_owned())),
                    (None, true) => None,
                }
            })
            .collect()
    }

    /// Contents that are not whole, of all records.
    fn contents_lacking(&self) -> BTreeMap<Content, Vec<(Name, String)>> {
        let contents: BTreeSet<Content> = self
            .records
            .values()
            .flat_map(|record| record.outputs.values().copied())
            .collect();
        contents
            .into_iter()
            .map(|content| (content, self.lacking(&content)))
            .filter(|(_, lacking)| !lacking.is_empty())
            .collect()
    }

    /// Sends what the local store has; the contents that are whole now.
    fn send_again(&self) -> BTreeSet<Content> {
        let mut wanted = BTreeMap::new();
        for (content, lacking) in self.contents_lacking() {
            if self.store.has(&content).unwrap_or(false) {
                for (name, _) in lacking {
                    // So that it is replaced, not found to be there.
                    self.link.note_bad(&name);
                }
                wanted.insert(content, false);
            }
        }
        let contents: BTreeSet<Content> = wanted.keys().copied().collect();
        let failed = send_outputs(self.link, self.store, wanted);
        contents
            .into_iter()
            .filter(|content| !failed.contains_key(content))
            .collect()
    }

    fn conclude(&mut self, repair: bool, sent: &BTreeSet<Content>) -> Result<(), Stopped> {
        let lacking = self.contents_lacking();
        let mut told: HashSet<Name> = HashSet::new();
        let mut removals: Vec<(Name, String)> = Vec::new();
        for (content, pieces) in &lacking {
            for (name, why) in pieces {
                let is_sent = sent.contains(content);
                let is_there = self.wrong.contains_key(name);
                if !told.insert(name.clone()) {
                    continue;
                }
                match (is_sent, is_there) {
                    (true, _) => self.found(name, why, Remedy::SentAgain),
                    (false, true) => removals.push((name.clone(), why.clone())),
                    // Told of with the records that need it.
                    (false, false) => {}
                }
            }
        }
        // Records and heads of what is still not whole: heads first, so that nothing points
        // nowhere.
        let mut dangling: Vec<(Name, String)> = Vec::new();
        for (name, record) in &self.records {
            let lost = record
                .outputs
                .iter()
                .find(|(_, content)| lacking.contains_key(*content) && !sent.contains(*content));
            if let Some((output, content)) = lost {
                let piece = lacking[content].first();
                let piece = piece.map(|(name, why)| format!("`{name}`: {why}"));
                let why = format!(
                    "its output `{output}` ({content}) is not whole: {}",
                    piece.unwrap_or_default()
                );
                dangling.push((name.clone(), why));
            }
        }
        dangling.sort_by_key(|(name, _)| !matches!(Place::of(name), Some((_, Place::Head(_)))));
        let unreferenced: Vec<(Name, String)> = self
            .wrong
            .iter()
            .filter(|(name, _)| !told.contains(*name))
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect();
        let restorable = self.records_in_heads();
        let gone: HashSet<Name> = dangling.iter().map(|(name, _)| name.clone()).collect();
        let absent = restorable.iter().filter(|(name, (head, _))| {
            !gone.contains(head)
                && !self.records.contains_key(*name)
                && !self.wrong.contains_key(*name)
        });
        let absent: Vec<(Name, String)> = absent
            .map(|(name, _)| {
                (
                    name.clone(),
                    "it is missing, and a head holds it".to_owned(),
                )
            })
            .collect();
        let restorable: BTreeMap<Name, Record> = restorable
            .into_iter()
            .filter(|(_, (head, _))| !gone.contains(head))
            .map(|(name, (_, record))| (name, record))
            .collect();
        let wrong = dangling.into_iter().chain(unreferenced).chain(removals);
        for (name, why) in wrong.chain(absent) {
            let remedy = match (repair, restorable.get(&name)) {
                (false, _) => Remedy::None(None),
                (true, Some(record)) => self.restore(&name, record),
                (true, None) => self.remove(&name),
            };
            self.found(&name, &why, remedy);
        }
        let unknown: Vec<Name> = self
            .census
            .unknown
            .iter()
            .filter(|e| !is_leftover(&e.name))
            .map(|e| e.name.clone())
            .filter(|name| !matches!(Place::of(name), Some((_, Place::Format))))
            .collect();
        for name in unknown {
            self.found(&name, "this name means nothing here", Remedy::LeftAlone);
        }
        Ok(())
    }

    /// Records as heads hold them: by the name of the record's own object, with the head's.
    fn records_in_heads(&self) -> BTreeMap<Name, (Name, Record)> {
        let heads = self.records.iter().filter_map(|(name, record)| {
            let (_, Place::Head(key)) = Place::of(name)? else {
                return None;
            };
            let result = record.result();
            let own = self.name(&Place::Record { key, result });
            Some((own, (name.clone(), record.clone())))
        });
        heads.collect()
    }

    fn restore(&self, name: &Name, record: &Record) -> Remedy {
        let restored = record.to_text().and_then(|text| {
            let bytes = encode_bytes(text.as_bytes()).map_err(|e| e.to_string())?;
            let body = Body::Bytes(&bytes);
            let put = self.link.put(name, body, PutMode::Overwrite);
            put.map_err(|e| e.why)
        });
        match restored {
            Ok(_) => Remedy::SentAgain,
            Err(why) => Remedy::None(Some(why)),
        }
    }

    fn remove(&self, name: &Name) -> Remedy {
        match self.link.delete(name) {
            Ok(()) => Remedy::Removed,
            Err(BackendError { why, .. }) => Remedy::None(Some(why)),
        }
    }

    fn found(&mut self, name: &Name, problem: &str, remedy: Remedy) {
        self.report.findings.push(Finding {
            name: name.clone(),
            problem: problem.to_owned(),
            remedy,
        });
    }
}

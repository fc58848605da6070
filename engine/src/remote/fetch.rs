//! Fetching: the bytes of artifacts, from a remote into the store. What is here already is not
//! asked for; what comes is hashed on its way and can take no other name than its own. Which
//! artifacts are wanted is the caller's business.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use crate::digest::{Content, Digest, Shape};
use crate::store::{Listing, Staged, Store, StoreError};

use super::decoding::Limit;
use super::layout::Place;
use super::link::Link;
use super::name::Name;
use super::pack::{self, File, Packing};
use super::reading::{self, Unread};
use super::wave::wave;

/// Bytes of the largest listing: some two million files.
const LISTING_BYTES_MAX: u64 = 256 << 20;
/// What arrived is made durable at the latest after so many bytes, so that a kill does not cost
/// more.
const KEEP_BYTES: u64 = 1 << 30;
/// As [`KEEP_BYTES`], of requests.
const KEEP_UNITS: usize = 4096;
/// Bytes read in one go.
const PIECE: usize = 256 << 10;

/// One object to be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Object(File),
    Part {
        tree: Digest,
        part: u32,
        files: Vec<File>,
    },
}

impl Unit {
    fn bytes(&self) -> u64 {
        match self {
            Unit::Object((_, bytes)) => *bytes,
            Unit::Part { files, .. } => pack::bytes_of(files),
        }
    }
}

/// Makes sure that the store has these artifacts; for each, whether it has now, and otherwise why
/// not. What arrived has its name and is durable; a part of an artifact that could not be had stays
/// for the next time.
///
/// # Errors
/// The store cannot be read or written.
pub fn fetch(
    link: &Arc<Link>,
    store: &Arc<Store>,
    contents: &[Content],
) -> Result<Vec<Result<(), Unread>>, StoreError> {
    let mut outcomes: Vec<Result<(), Unread>> = contents.iter().map(|_| Ok(())).collect();
    let (listings, mut arrived) = listings(link, store, contents, &mut outcomes)?;
    // What each artifact still needs.
    let mut needs: Vec<Vec<Unit>> = Vec::with_capacity(contents.len());
    for (position, content) in contents.iter().enumerate() {
        let mut units = Vec::new();
        if outcomes[position].is_ok() {
            match (content.shape, &listings[position]) {
                (Shape::File | Shape::Program, _) => {
                    if !store.holds(Shape::File, &content.digest)? {
                        units.push(Unit::Object((content.digest, content.bytes_total)));
                    }
                }
                (Shape::Tree, Some(listing)) => match units_of(store, content, listing)? {
                    Ok(found) => units = found,
                    Err(why) => {
                        let name = link.scope().name(&Place::Tree(content.digest));
                        outcomes[position] = Err(Unread::Bad { name, why }.tell(link));
                    }
                },
                (Shape::Tree, None) => {}
            }
        }
        needs.push(units);
    }
    let mut all: Vec<Unit> = needs
        .iter()
        .flatten()
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    // The largest first, so that the last ones do not wait for one.
    all.sort_by_key(|unit| std::cmp::Reverse(unit.bytes()));
    let mut failed: Vec<(Unit, Unread)> = Vec::new();
    let mut rest = all.into_iter().peekable();
    while rest.peek().is_some() {
        let mut bytes = 0;
        let mut chunk = Vec::new();
        while let Some(unit) = rest.next_if(|_| bytes < KEEP_BYTES && chunk.len() < KEEP_UNITS) {
            bytes += unit.bytes();
            chunk.push(unit);
        }
        receive_and_keep(link, store, chunk, &mut failed)?;
    }
    if !failed.is_empty() {
        let failed: BTreeMap<Unit, Unread> = failed.into_iter().collect();
        for (position, units) in needs.iter().enumerate() {
            if let Some(unread) = units.iter().find_map(|unit| failed.get(unit)) {
                outcomes[position] = Err(unread.clone());
            }
        }
    }
    // A listing gets its name when all files have theirs.
    let mut whole = Vec::new();
    let mut staged = Staged::default();
    for (content, outcome) in contents.iter().zip(&outcomes) {
        if outcome.is_ok()
            && content.shape == Shape::Tree
            && let Some(listing) = arrived.remove(&content.digest)
        {
            staged.merge(listing);
            whole.push(*content);
        }
    }
    store.keep_received(&whole, staged)?;
    Ok(outcomes)
}

/// The listings of the trees among `contents`, from the store or the remote; and those of the
/// remote, staged.
#[allow(clippy::type_complexity)]
fn listings(
    link: &Arc<Link>,
    store: &Arc<Store>,
    contents: &[Content],
    outcomes: &mut [Result<(), Unread>],
) -> Result<(Vec<Option<Listing>>, BTreeMap<Digest, Staged>), StoreError> {
    let mut listings: Vec<Option<Listing>> = contents.iter().map(|_| None).collect();
    let mut absent: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
    for (position, content) in contents.iter().enumerate() {
        if content.shape == Shape::Tree {
            match store.read_tree(&content.digest) {
                Ok(listing) => listings[position] = Some(listing),
                Err(e) if e.is_miss() => absent.entry(content.digest).or_default().push(position),
                Err(e) => return Err(e),
            }
        }
    }
    let digests: Vec<Digest> = absent.keys().copied().collect();
    let mut answers: Vec<Option<Result<Staged, Unread>>> = digests.iter().map(|_| None).collect();
    let its_store = store.clone();
    let work = move |link: &Arc<Link>, digest: Digest| receive_listing(link, &its_store, digest);
    wave(link, digests, None, work, |position, staged| {
        answers[position] = Some(staged);
    });
    let mut arrived = BTreeMap::new();
    for ((digest, positions), answer) in absent.iter().zip(answers) {
        let listing = answer
            .unwrap_or_else(|| Err(unanswered(link)))
            .and_then(|staged| match staged.listing(digest) {
                Ok(listing) => {
                    arrived.insert(*digest, staged);
                    Ok(listing)
                }
                // Signed bytes of the right name that are no listing.
                Err(e) => Err(Unread::Bad {
                    name: link.scope().name(&Place::Tree(*digest)),
                    why: e.to_string(),
                }),
            })
            .map_err(|unread| unread.tell(link));
        for position in positions {
            match &listing {
                Ok(listing) => listings[*position] = Some(listing.clone()),
                Err(unread) => outcomes[*position] = Err(unread.clone()),
            }
        }
    }
    Ok((listings, arrived))
}

fn unanswered(link: &Link) -> Unread {
    Unread::Failed(link.given_up().unwrap_or("it was not answered").to_owned())
}

fn receive_listing(link: &Arc<Link>, store: &Store, digest: Digest) -> Result<Staged, Unread> {
    let place = Place::Tree(digest);
    let (name, mut decoder) = reading::open(link, &place, Limit::AtMost(LISTING_BYTES_MAX))?;
    let bytes = decoder.plain_bytes();
    let staged = receive_file(store, &mut decoder, &name, Shape::Tree, (digest, bytes))?;
    ended(&mut decoder, &name)?;
    Ok(staged)
}

/// What the store lacks of a tree; or why the listing is not of such a tree.
fn units_of(
    store: &Store,
    content: &Content,
    listing: &Listing,
) -> Result<Result<Vec<Unit>, String>, StoreError> {
    if listing.content().bytes_total != content.bytes_total {
        return Ok(Err("its files have another size together".into()));
    }
    let Some(packing) = Packing::of(listing) else {
        return Ok(Err("it gives two sizes of one file".into()));
    };
    let mut units = Vec::new();
    for file in packing.loose {
        if !store.holds(Shape::File, &file.0)? {
            units.push(Unit::Object(file));
        }
    }
    for (part, files) in packing.parts.into_iter().enumerate() {
        let mut lacks = false;
        for (digest, _) in &files {
            lacks = lacks || !store.holds(Shape::File, digest)?;
        }
        if lacks {
            units.push(Unit::Part {
                tree: content.digest,
                part: part as u32,
                files,
            });
        }
    }
    Ok(Ok(units))
}

/// Receives units and makes what arrived durable. What failed is added to `failed`.
fn receive_and_keep(
    link: &Arc<Link>,
    store: &Arc<Store>,
    units: Vec<Unit>,
    failed: &mut Vec<(Unit, Unread)>,
) -> Result<(), StoreError> {
    let mut answered = vec![false; units.len()];
    let mut arrived = Staged::default();
    let mut contents = Vec::new();
    let its_store = store.clone();
    let work = move |link: &Arc<Link>, unit: Unit| receive(link, &its_store, &unit);
    wave(
        link,
        units.clone(),
        None,
        work,
        |position, (staged, problem)| {
            answered[position] = true;
            let files = match &units[position] {
                Unit::Object(file) => std::slice::from_ref(file),
                Unit::Part { files, .. } => files,
            };
            contents.extend(files.iter().map(|(digest, bytes)| Content {
                shape: Shape::File,
                digest: *digest,
                bytes_total: *bytes,
            }));
            arrived.merge(staged);
            if let Some(unread) = problem {
                failed.push((units[position].clone(), unread.tell(link)));
            }
        },
    );
    for (unit, _) in units.iter().zip(&answered).filter(|(_, a)| !**a) {
        failed.push((unit.clone(), unanswered(link)));
    }
    store.keep_received(&contents, arrived)
}

/// What arrived of a unit, and why not all of it.
fn receive(link: &Arc<Link>, store: &Store, unit: &Unit) -> (Staged, Option<Unread>) {
    let place = match unit {
        Unit::Object((digest, _)) => Place::Object(*digest),
        Unit::Part { tree, part, .. } => Place::Pack {
            tree: *tree,
            part: *part,
        },
    };
    let mut staged = Staged::default();
    let problem = match reading::open(link, &place, Limit::Exactly(unit.bytes())) {
        Err(unread) => Some(unread),
        Ok((name, mut decoder)) => match unit {
            Unit::Object(file) => receive_file(store, &mut decoder, &name, Shape::File, *file)
                .and_then(|file| {
                    ended(&mut decoder, &name)?;
                    staged.merge(file);
                    Ok(())
                })
                .err(),
            Unit::Part { files, .. } => files
                .iter()
                .try_for_each(|file| {
                    staged.merge(receive_file(
                        store,
                        &mut decoder,
                        &name,
                        Shape::File,
                        *file,
                    )?);
                    Ok(())
                })
                .and_then(|()| ended(&mut decoder, &name))
                .err(),
        },
    };
    (staged, problem)
}

/// The next bytes of a stream, as a file of this digest and size.
fn receive_file(
    store: &Store,
    stream: &mut impl Read,
    name: &Name,
    shape: Shape,
    (digest, bytes): File,
) -> Result<Staged, Unread> {
    let local = |e: StoreError| Unread::Local(e.to_string());
    let mut receiving = store.receive(shape, digest).map_err(local)?;
    let mut piece = vec![0; bytes.min(PIECE as u64) as usize];
    let mut left = bytes;
    while left > 0 {
        let want = left.min(piece.len() as u64) as usize;
        let n = match stream.read(&mut piece[..want]) {
            Ok(0) => Err(super::decoding::BadBytes::Short.into()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other,
        };
        let n = n.map_err(|e| Unread::of_io(&e, name))?;
        receiving.write(&piece[..n]).map_err(local)?;
        left -= n as u64;
    }
    receiving.finish().map_err(|e| match e {
        StoreError::Corrupt { detail, .. } => Unread::Bad {
            name: name.clone(),
            why: detail,
        },
        e => local(e),
    })
}

/// Nothing may follow.
fn ended(stream: &mut impl Read, name: &Name) -> Result<(), Unread> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Unread::Bad {
            name: name.clone(),
            why: "there is more after its end".to_owned(),
        }),
        Err(e) => Err(Unread::of_io(&e, name)),
    }
}

//! Publishing: results of the store become results on a remote, in an order in which whatever is
//! there points only at what is there: bytes, listings, record, signatures, head. Stopped anywhere,
//! it can be done again; what is there already is not sent again, and made young again when it is
//! old, so that no collector takes it away meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::digest::{Content, Digest, Shape};
use crate::store::{Record, Store};

use super::backend::{BackendError, BackendFault, Body, PutMode, PutOutcome};
use super::encoding::{Encoded, encode_bytes, encode_file};
use super::head::{HEAD_BYTES_MAX, Head};
use super::layout::{FRESHEN_AFTER, Place, Segment};
use super::link::Link;
use super::name::Name;
use super::pack::{File, Packing};
use super::reading::{Unread, read_all};
use super::wave::wave;

/// Objects up to this size are sent without asking first whether they are there, where that is not
/// likely.
const BLIND_BYTES_MAX: u64 = 256 << 10;

/// Bytes of a signer's name in the name of a signature: enough to tell signers apart, which is all
/// it is for.
const SIGNER_BYTES: usize = 16;

/// A result to be published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The result; the store has its outputs.
    pub record: Record,
    /// Who vouches for it: name of the key, DSSE envelope.
    pub signatures: Vec<(Segment, Vec<u8>)>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// Nobody had published a result of this key.
    New,
    /// The remote had this result, and has the signatures now.
    Known,
    /// The remote had another result of this key; it has both now.
    Diverged {
        /// The other.
        other: Digest,
    },
}

/// What the remote said of a key.
enum Before {
    Absent,
    Same { envelopes: Vec<Vec<u8>> },
    Other(Digest),
    Bad,
}

/// Publishes results; the answers are in their order. One result's trouble does not touch the
/// others.
pub fn publish(
    link: &Arc<Link>,
    store: &Arc<Store>,
    batch: Vec<Publication>,
) -> Vec<Result<Published, String>> {
    let before = ask(link, &batch);
    let mut problems: Vec<Option<String>> =
        before.iter().map(|b| b.as_ref().err().cloned()).collect();
    // Distinct outputs, and whether some result with them is new: then they are likely new as well.
    let mut wanted: BTreeMap<Content, bool> = BTreeMap::new();
    for (publication, before) in batch.iter().zip(&before) {
        if let Ok(before) = before {
            let is_new = matches!(before, Before::Absent);
            for content in publication.record.outputs.values() {
                *wanted.entry(*content).or_default() |= is_new;
            }
        }
    }
    let mut failed = send_outputs(link, store, wanted.clone());
    failed.extend(send_what_was_swept(link, store, wanted));
    for (publication, problem) in batch.iter().zip(&mut problems) {
        let of_output = publication
            .record
            .outputs
            .values()
            .find_map(|c| failed.get(c));
        *problem = problem.take().or(of_output.cloned());
    }
    describe(link, batch, before, problems)
}

/// A collector may have been about to remove what was made young: waits for it, and sends that
/// again.
fn send_what_was_swept(
    link: &Arc<Link>,
    store: &Arc<Store>,
    wanted: BTreeMap<Content, bool>,
) -> HashMap<Content, String> {
    // Sending may find more to be made young.
    for _ in 0..3 {
        let freshened = link.take_freshened();
        if freshened.is_empty() {
            break;
        }
        let looked = super::sweeping::await_sweeps(link).and_then(|()| {
            let mut is_whole = true;
            for name in &freshened {
                is_whole &= match link.head(name) {
                    Ok(_) => true,
                    Err(e) if e.cause == BackendFault::NotFound => false,
                    Err(e) => return Err(e),
                };
            }
            Ok(is_whole)
        });
        match looked {
            Ok(true) => {}
            Ok(false) => {
                let failed = send_outputs(link, store, wanted.clone());
                if !failed.is_empty() {
                    return failed;
                }
            }
            Err(e) => return wanted.keys().map(|c| (*c, e.to_string())).collect(),
        }
    }
    HashMap::new()
}

fn ask(link: &Arc<Link>, batch: &[Publication]) -> Vec<Result<Before, String>> {
    let wanted: Vec<(Digest, Digest)> = batch
        .iter()
        .map(|p| (p.record.key, p.record.result()))
        .collect();
    let unanswered = || Err(link.given_up().unwrap_or("no answer").to_owned());
    let mut before: Vec<Result<Before, String>> = wanted.iter().map(|_| unanswered()).collect();
    let work = |link: &Arc<Link>, (key, result): (Digest, Digest)| {
        let name = link.scope().name(&Place::Head(key));
        let head = read_all(link, &name, HEAD_BYTES_MAX, |bytes| {
            Head::parse(&bytes, &key)
        });
        match head {
            Ok(head) if head.record.result() == result => Ok(Before::Same {
                envelopes: head.envelopes,
            }),
            Ok(head) => Ok(Before::Other(head.record.result())),
            Err(Unread::Absent(_)) => Ok(Before::Absent),
            Err(bad @ Unread::Bad { .. }) => {
                bad.tell(link);
                Ok(Before::Bad)
            }
            Err(other) => Err(other.to_string()),
        }
    };
    wave(link, wanted, None, work, |position, answer| {
        before[position] = answer;
    });
    before
}

/// Something to be sent.
struct Parcel {
    place: Place,
    what: What,
    /// It is likely not there.
    is_new: bool,
    /// Artifacts that need it, by position.
    of: Vec<usize>,
}

enum What {
    /// The file of the store with this digest and size.
    Object(File),
    /// Files one after the other.
    Pack(Vec<File>),
    /// A listing.
    Tree(Digest),
}

/// Sends what is missing of these artifacts; says which could not be sent, and why.
pub(super) fn send_outputs(
    link: &Arc<Link>,
    store: &Arc<Store>,
    wanted: BTreeMap<Content, bool>,
) -> HashMap<Content, String> {
    let contents: Vec<(Content, bool)> = wanted.into_iter().collect();
    let mut failed: HashMap<Content, String> = HashMap::new();
    let mut objects: BTreeMap<Digest, Parcel> = BTreeMap::new();
    let mut parcels = Vec::new();
    let mut trees = Vec::new();
    for (position, (content, is_new)) in contents.iter().enumerate() {
        let mut object = |file: File| {
            let parcel = objects.entry(file.0).or_insert_with(|| Parcel {
                place: Place::Object(file.0),
                what: What::Object(file),
                is_new: false,
                of: Vec::new(),
            });
            parcel.is_new |= *is_new;
            parcel.of.push(position);
        };
        if content.shape.is_file() {
            object((content.digest, content.bytes_total));
            continue;
        }
        let listing = match store.read_tree(&content.digest) {
            Ok(listing) => listing,
            Err(e) => {
                failed.insert(*content, e.to_string());
                continue;
            }
        };
        let Some(packing) = Packing::of(&listing) else {
            failed.insert(*content, "its listing gives two sizes of one file".into());
            continue;
        };
        packing.loose.into_iter().for_each(&mut object);
        for (part, files) in packing.parts.into_iter().enumerate() {
            parcels.push(Parcel {
                place: Place::Pack {
                    tree: content.digest,
                    part: part as u32,
                },
                what: What::Pack(files),
                is_new: *is_new,
                of: vec![position],
            });
        }
        trees.push(Parcel {
            place: Place::Tree(content.digest),
            what: What::Tree(content.digest),
            is_new: *is_new,
            of: vec![position],
        });
    }
    parcels.extend(objects.into_values());
    // The largest first, so that the last ones do not wait for one.
    parcels.sort_by_key(|p| std::cmp::Reverse(p.what.bytes()));
    send_all(link, store, parcels, &contents, &mut failed);
    // A listing says that what it names is there.
    trees.retain(|t| !failed.contains_key(&contents[t.of[0]].0));
    send_all(link, store, trees, &contents, &mut failed);
    failed
}

impl What {
    fn bytes(&self) -> u64 {
        match self {
            What::Object((_, bytes)) => *bytes,
            What::Pack(files) => super::pack::bytes_of(files),
            What::Tree(_) => 0,
        }
    }
}

fn send_all(
    link: &Arc<Link>,
    store: &Arc<Store>,
    parcels: Vec<Parcel>,
    contents: &[(Content, bool)],
    failed: &mut HashMap<Content, String>,
) {
    let mut owners: Vec<Vec<usize>> = parcels.iter().map(|p| p.of.clone()).collect();
    let its_store = store.clone();
    let work = move |link: &Arc<Link>, parcel: Parcel| send(link, &its_store, &parcel);
    wave(link, parcels, None, work, |position, sent| {
        let owners = std::mem::take(&mut owners[position]);
        if let Err(why) = sent {
            for owner in owners {
                failed
                    .entry(contents[owner].0)
                    .or_insert_with(|| why.clone());
            }
        }
    });
    for owner in owners.into_iter().flatten() {
        let why = link.given_up().unwrap_or("it was not answered").to_owned();
        failed.entry(contents[owner].0).or_insert(why);
    }
}

fn send(link: &Link, store: &Store, parcel: &Parcel) -> Result<(), String> {
    let name = link.scope().name(&parcel.place);
    let bytes = parcel.what.bytes();
    let text = |e: BackendError| e.to_string();
    if link.is_bad(&name) {
        return put_parcel(link, store, parcel, &name, PutMode::Overwrite).map(|_| ());
    }
    let asks_first = !parcel.is_new || bytes > BLIND_BYTES_MAX;
    if asks_first && is_there(link, &name).map_err(text)? {
        return Ok(());
    }
    match put_parcel(link, store, parcel, &name, PutMode::Create)? {
        PutOutcome::Written => Ok(()),
        // By another writer a moment ago, or long ago.
        PutOutcome::WasThere if asks_first => Ok(()),
        PutOutcome::WasThere if is_there(link, &name).map_err(text)? => Ok(()),
        // Removed in between.
        PutOutcome::WasThere => {
            put_parcel(link, store, parcel, &name, PutMode::Overwrite).map(|_| ())
        }
    }
}

/// Whether it is there, and young enough, by now, that no collector takes it before it is named.
fn is_there(link: &Link, name: &Name) -> Result<bool, BackendError> {
    let entry = match link.head(name) {
        Ok(entry) => entry,
        Err(e) if e.cause == BackendFault::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let is_old = link
        .now()
        .duration_since(entry.modified)
        .is_ok_and(|age| age > FRESHEN_AFTER);
    if !is_old {
        return Ok(true);
    }
    match link.freshen(name) {
        Ok(()) => Ok(true),
        Err(e) if e.cause == BackendFault::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn put_parcel(
    link: &Link,
    store: &Store,
    parcel: &Parcel,
    name: &Name,
    mode: PutMode,
) -> Result<PutOutcome, String> {
    let path_of = |shape, digest: &Digest| -> Result<PathBuf, String> {
        store.path_of(shape, digest).map_err(|e| e.to_string())
    };
    let put = |body: Body<'_>| link.put(name, body, mode).map_err(|e| e.to_string());
    let local = |e: std::io::Error| format!("cannot read what was to be sent: {e}");
    match &parcel.what {
        What::Object((digest, bytes)) => {
            let path = path_of(Shape::File, digest)?;
            // Small files are read and encoded in memory; of large ones, a few frames.
            let _held = link.memory((bytes * 2).min(16 << 20));
            let scratch = store.work_dir().map_err(|e| e.to_string())?;
            let encoded = encode_file(&path, *bytes, &scratch).map_err(local)?;
            put(encoded.body(&path))
        }
        What::Pack(files) => {
            let _held = link.memory(parcel.what.bytes() * 2);
            let mut plain = Vec::with_capacity(parcel.what.bytes() as usize);
            for (digest, bytes) in files {
                let before = plain.len() as u64;
                let path = path_of(Shape::File, digest)?;
                let mut file = std::fs::File::open(&path).map_err(local)?;
                std::io::Read::read_to_end(&mut file, &mut plain).map_err(local)?;
                if plain.len() as u64 != before + bytes {
                    return Err(format!(
                        "object {digest} has another size than its tree says"
                    ));
                }
            }
            put(Encoded::Bytes(encode_bytes(&plain).map_err(local)?).body(&PathBuf::new()))
        }
        What::Tree(digest) => {
            let path = path_of(Shape::Tree, digest)?;
            let bytes = std::fs::metadata(&path).map_err(local)?.len();
            let _held = link.memory((bytes * 2).min(16 << 20));
            let scratch = store.work_dir().map_err(|e| e.to_string())?;
            let encoded = encode_file(&path, bytes, &scratch).map_err(local)?;
            put(encoded.body(&path))
        }
    }
}

/// Writes records, signatures and heads of what is there with all its bytes.
fn describe(
    link: &Arc<Link>,
    batch: Vec<Publication>,
    before: Vec<Result<Before, String>>,
    problems: Vec<Option<String>>,
) -> Vec<Result<Published, String>> {
    let mut outcomes: Vec<Result<Published, String>> = Vec::with_capacity(batch.len());
    let mut positions = Vec::new();
    let mut items = Vec::new();
    for (position, ((publication, before), problem)) in
        batch.into_iter().zip(before).zip(problems).enumerate()
    {
        match (problem, before) {
            (None, Ok(before)) => {
                let unanswered = link.given_up().unwrap_or("it was not answered");
                outcomes.push(Err(unanswered.to_owned()));
                positions.push(position);
                items.push((publication, before));
            }
            (Some(why), _) | (None, Err(why)) => outcomes.push(Err(why)),
        }
    }
    // Two of a batch may have one key: the second must see the first's head.
    let heads: Arc<Mutex<HashSet<Digest>>> = Arc::default();
    let work = move |link: &Arc<Link>, (publication, before): (Publication, Before)| {
        describe_one(link, publication, before, &heads)
    };
    wave(link, items, None, work, |position, outcome| {
        outcomes[positions[position]] = outcome;
    });
    outcomes
}

fn describe_one(
    link: &Link,
    publication: Publication,
    before: Before,
    heads: &Mutex<HashSet<Digest>>,
) -> Result<Published, String> {
    let Publication { record, signatures } = publication;
    let (key, result) = (record.key, record.result());
    let put = |place: Place, plain: &[u8], mode: PutMode| {
        let name = link.scope().name(&place);
        let mode = if link.is_bad(&name) {
            PutMode::Overwrite
        } else {
            mode
        };
        let bytes = encode_bytes(plain).map_err(|e| e.to_string())?;
        link.put(&name, Body::Bytes(&bytes), mode)
            .map_err(|e| e.to_string())
    };
    let known: &[Vec<u8>] = match &before {
        Before::Same { envelopes } => envelopes,
        _ => &[],
    };
    let mut made: Vec<(Place, Vec<u8>)> = Vec::new();
    // A head is written after the record it holds, so where it holds this one, the record is there.
    if !matches!(before, Before::Same { .. }) {
        let text = record.to_text()?;
        made.push((Place::Record { key, result }, text.into_bytes()));
    }
    for (signer, envelope) in signatures.iter().filter(|(_, e)| !known.contains(e)) {
        let place = Place::Envelope {
            key,
            result,
            signer: signer.shortened(SIGNER_BYTES),
        };
        made.push((place, envelope.clone()));
    }
    // What was there long ago may be on a collector's list: it is made young, and looked at again
    // when no sweep goes on.
    let mut made_young = Vec::new();
    for (place, plain) in &made {
        if put(place.clone(), plain, PutMode::Create)? == PutOutcome::WasThere {
            let name = link.scope().name(place);
            if !is_there(link, &name).map_err(|e| e.to_string())? {
                put(place.clone(), plain, PutMode::Overwrite)?;
            } else if link.was_made_young(&name) {
                made_young.push((name, place, plain));
            }
        }
    }
    if !made_young.is_empty() {
        super::sweeping::await_sweeps(link).map_err(|e| e.to_string())?;
    }
    for (name, place, plain) in made_young {
        if !is_there(link, &name).map_err(|e| e.to_string())? {
            put(place.clone(), plain, PutMode::Overwrite)?;
        }
    }
    let write_head = |mode| -> Result<PutOutcome, String> {
        let head = Head {
            record: record.clone(),
            envelopes: signatures.iter().map(|(_, e)| e.clone()).collect(),
        };
        put(Place::Head(key), &head.to_bytes()?, mode)
    };
    match before {
        Before::Same { .. } => Ok(Published::Known),
        Before::Other(other) => Ok(Published::Diverged { other }),
        Before::Bad => {
            write_head(PutMode::Overwrite)?;
            Ok(Published::New)
        }
        Before::Absent => {
            let is_first = heads.lock().unwrap_or_else(|e| e.into_inner()).insert(key);
            if is_first {
                write_head(PutMode::Create)?;
            }
            Ok(Published::New)
        }
    }
}

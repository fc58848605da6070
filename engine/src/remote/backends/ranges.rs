//! A large object read in ranges, several of them at once: one connection to a bucket is slower
//! than most networks. The bytes still come in order. What is large enough, and that the storage
//! knows ranges, is decided by the caller.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::patience::PART_BYTES;
use super::runtime::Runtime;

/// Ranges of one object on their way at once.
const RANGES_AT_ONCE: usize = 4;
/// Objects of one backend that are read like this at once; others come whole, in one request each.
/// With [`RANGES_AT_ONCE`] and [`PART_BYTES`] this bounds the memory.
const OBJECTS_AT_ONCE: usize = 2;
/// A smaller one is not worth the request whose answer says how large it is.
const LARGE: u64 = 8 * PART_BYTES;

/// Which objects of a backend are read in ranges now.
#[derive(Clone)]
pub(super) struct Ranges(Arc<Semaphore>);

impl Ranges {
    pub fn new() -> Ranges {
        Ranges(Arc::new(Semaphore::new(OBJECTS_AT_ONCE)))
    }

    /// The right to read so many bytes in ranges, if that pays and not too many do so.
    pub fn permit(&self, bytes_total: u64) -> Option<OwnedSemaphorePermit> {
        (bytes_total >= LARGE)
            .then(|| self.0.clone().try_acquire_owned().ok())
            .flatten()
    }
}

/// The bytes of `range`, in order.
pub(super) fn in_ranges(
    runtime: &Runtime,
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    range: Range<u64>,
    permit: OwnedSemaphorePermit,
) -> BoxStream<'static, object_store::Result<Bytes>> {
    let (runtime, store, path) = (runtime.clone(), store.clone(), path.clone());
    let end = range.end;
    stream::iter(range.step_by(PART_BYTES as usize))
        .map(move |from| {
            let part = part(
                store.clone(),
                path.clone(),
                from..end.min(from + PART_BYTES),
            );
            // Spawned, so that it travels while the one before it is being hashed.
            UnderWay(runtime.spawn(part)).ended()
        })
        .buffered(RANGES_AT_ONCE)
        .map_ok(move |pieces| {
            let _held = &permit;
            stream::iter(pieces.into_iter().map(Ok))
        })
        .try_flatten()
        .boxed()
}

/// Not more bytes are kept than were asked for, and not fewer are taken for the whole.
async fn part(
    store: Arc<dyn ObjectStore>,
    path: Path,
    range: Range<u64>,
) -> object_store::Result<Vec<Bytes>> {
    let mut bytes_left = range.end - range.start;
    let options = GetOptions {
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    };
    let mut arriving = store.get_opts(&path, options).await?.into_stream();
    let mut pieces = Vec::new();
    while let Some(piece) = arriving.try_next().await? {
        bytes_left = bytes_left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| not_as_asked("more bytes came than were asked for"))?;
        pieces.push(piece);
    }
    match bytes_left {
        0 => Ok(pieces),
        _ => Err(not_as_asked("fewer bytes came than were asked for")),
    }
}

fn not_as_asked(why: &str) -> Error {
    Error::Generic {
        store: "bucket",
        source: why.into(),
    }
}

/// A range that is given up when nobody waits for it.
struct UnderWay(JoinHandle<object_store::Result<Vec<Bytes>>>);

impl UnderWay {
    async fn ended(mut self) -> object_store::Result<Vec<Bytes>> {
        match (&mut self.0).await {
            Ok(ended) => ended,
            Err(e) => Err(Error::Generic {
                store: "bucket",
                source: Box::new(e),
            }),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::backends::runtime::StreamReader;
    use object_store::{ObjectStoreExt as _, PutPayload};
    use std::io::Read;

    #[test]
    fn ranges_are_the_whole() {
        let runtime = Runtime::new().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let path = Path::from("large");
        let bytes_total = 5 * PART_BYTES + 12_345;
        let bytes: Vec<u8> = (0..bytes_total).map(|i| (i / 7 + i) as u8).collect();
        let put = store.put(&path, PutPayload::from(bytes.clone()));
        runtime.wait(put).unwrap();
        let ranges = Ranges::new();
        for from in [0, 1, PART_BYTES - 1, 4 * PART_BYTES, bytes_total - 1] {
            let range = from..bytes_total;
            let permit = ranges.permit(LARGE).expect("the one before was given back");
            let _other = ranges.permit(LARGE).expect("two are read at once");
            assert!(ranges.permit(LARGE).is_none(), "and not three");
            let pieces = in_ranges(&runtime, &store, &path, range, permit);
            let mut reader = StreamReader::new(runtime.clone(), pieces, bytes_total - from);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == bytes[from as usize..], "from {from}");
        }
        assert!(ranges.permit(LARGE - 1).is_none(), "it is not large");
    }

    /// An object that was replaced by a shorter one, and one that is gone, are errors.
    #[test]
    fn what_is_missing_is_an_error() {
        let runtime = Runtime::new().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let path = Path::from("short");
        let bytes_total = PART_BYTES + 10;
        for length in [Some(bytes_total - 1), Some(PART_BYTES), None] {
            match length {
                Some(n) => {
                    let put = store.put(&path, PutPayload::from(vec![0; n as usize]));
                    runtime.wait(put).map(|_| ()).unwrap();
                }
                None => runtime.wait(store.delete(&path)).unwrap(),
            }
            let permit = Ranges::new().permit(LARGE).unwrap();
            let pieces = in_ranges(&runtime, &store, &path, 0..bytes_total, permit);
            let mut reader = StreamReader::new(runtime.clone(), pieces, bytes_total);
            let read = std::io::copy(&mut reader, &mut std::io::sink());
            assert!(read.is_err(), "{length:?} gave {read:?}");
        }
    }
}

//! Whatever `object_store` reaches, as a [`Backend`]. Repeating failed requests, signing and the
//! forms of each provider are its business; sizes, conditions and the differences that callers
//! would notice are decided here.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode as StorePutMode, PutPayload,
};

use super::again::write_again;
use super::answers::Bounding;
use super::failure;
use super::listing::ListingLimit;
use super::patience::{PART_BYTES, unique, with_patience};
use super::ranges::{Ranges, in_ranges};
use super::runtime::{Runtime, StreamReader};
use crate::remote::{
    Backend, BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome, Reading,
};

/// Parts of one body on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// No provider takes more parts for one object.
const PARTS_MAX: u64 = 10_000;
/// S3 copies no more in one request.
const COPY_MAX: u64 = 5 << 30;

/// How an object is made young.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It is copied onto itself.
    CopyOnto,
    /// S3 refuses that, so it is copied aside and back.
    CopyAside,
    /// Its bytes are fetched and written again.
    Rewrite,
}

/// How a name that is taken is left alone.
#[derive(Clone)]
pub(super) enum Creating {
    /// The storage refuses to replace.
    Conditional,
    /// It is looked for first; two at once may both write.
    LookFirst,
    /// As `LookFirst`, and what this store writes carries `If-None-Match: *`, which some servers
    /// honour.
    LookFirstAnd(Arc<dyn ObjectStore>),
}

/// What differs between kinds of storage.
#[derive(Clone)]
pub(super) struct Traits {
    pub touch: Touch,
    pub creating: Creating,
    /// Large bodies are sent in parts, and read in ranges.
    pub takes_parts: bool,
    /// Listings go directory by directory.
    pub lists_directories: bool,
}

/// See the module.
pub struct BucketBackend {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    base: Path,
    traits: Traits,
    ranges: Ranges,
    described: String,
    /// Of every listing.
    limit: ListingLimit,
    /// Counts answers that are no bodies.
    answers: Bounding,
}

impl BucketBackend {
    /// An empty one in the memory of this process.
    ///
    /// # Errors
    /// No threads can be started.
    pub fn in_memory() -> Result<BucketBackend, BackendError> {
        Ok(BucketBackend {
            runtime: Runtime::new()?,
            store: Arc::new(object_store::memory::InMemory::new()),
            base: Path::default(),
            traits: Traits {
                touch: Touch::Rewrite,
                creating: Creating::Conditional,
                takes_parts: true,
                lists_directories: false,
            },
            ranges: Ranges::new(),
            described: "memory".to_owned(),
            limit: ListingLimit::default(),
            answers: Bounding::default(),
        })
    }

    pub(super) fn new(
        runtime: Runtime,
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        traits: Traits,
        described: String,
        answers: Bounding,
    ) -> Result<BucketBackend, BackendError> {
        let base = Path::parse(prefix).map_err(|_| {
            failure::error(
                BackendFault::Other,
                "use",
                &described,
                "the prefix has characters that no storage accepts",
            )
        })?;
        Ok(BucketBackend {
            runtime,
            store,
            base,
            traits,
            ranges: Ranges::new(),
            described,
            limit: ListingLimit::default(),
            answers,
        })
    }

    fn path(&self, name: &Name) -> Path {
        // A name is made of what every storage takes.
        if self.base.as_ref().is_empty() {
            Path::from(name.as_str())
        } else {
            Path::from(format!("{}/{name}", self.base))
        }
    }

    fn entry(&self, meta: &ObjectMeta) -> Option<Entry> {
        let name = match self.base.as_ref() {
            "" => meta.location.as_ref(),
            base => meta
                .location
                .as_ref()
                .strip_prefix(base)?
                .strip_prefix('/')?,
        };
        Some(Entry {
            name: name.parse().ok()?,
            bytes_total: meta.size,
            modified: meta.last_modified.into(),
        })
    }

    fn get_from(&self, path: &Path, from: u64) -> object_store::Result<Reading> {
        let options = GetOptions {
            range: (from > 0).then_some(GetRange::Offset(from)),
            ..GetOptions::default()
        };
        let found = self.runtime.wait(self.store.get_opts(path, options))?;
        let bytes_total = found.meta.size;
        let range = found.range.clone();
        let bytes_left = range.end.saturating_sub(range.start);
        let permit = (self.traits.takes_parts)
            .then(|| self.ranges.permit(bytes_left))
            .flatten();
        let pieces = match permit {
            Some(permit) => in_ranges(&self.runtime, &self.store, path, range, permit),
            None => found.into_stream(),
        };
        let body = StreamReader::new(self.runtime.clone(), pieces, bytes_left);
        Ok(Reading {
            bytes_total,
            body: Box::new(body),
        })
    }

    fn put_small(
        &self,
        name: &Name,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<PutOutcome, BackendError> {
        let path = self.path(name);
        let fail = |e: &Error| failure::of_store("write", name.as_str(), e);
        let put = |store: &Arc<dyn ObjectStore>, mode: StorePutMode| {
            let payload = PutPayload::from_bytes(bytes.clone());
            self.runtime
                .wait(store.put_opts(&path, payload, mode.into()))
        };
        match (mode, &self.traits.creating) {
            (PutMode::Overwrite, _) | (PutMode::Create, Creating::LookFirst) => {
                put(&self.store, StorePutMode::Overwrite).map_err(|e| fail(&e))?;
                Ok(PutOutcome::Written)
            }
            // Not repeated by `object_store`, since the answer to a repeated one is ambiguous. Here
            // it is not: whatever is there now, stays.
            (PutMode::Create, Creating::Conditional) => {
                with_patience(|_| match put(&self.store, StorePutMode::Create) {
                    Ok(_) => Ok(PutOutcome::Written),
                    Err(e) if is_conflict(&e) => Err(failure::error(
                        BackendFault::Throttled,
                        "write",
                        name.as_str(),
                        "another client writes it",
                    )),
                    Err(Error::AlreadyExists { .. }) => Ok(PutOutcome::WasThere),
                    Err(e) => Err(fail(&e)),
                })
            }
            (PutMode::Create, Creating::LookFirstAnd(guarded)) => {
                match put(guarded, StorePutMode::Overwrite) {
                    Ok(_) => Ok(PutOutcome::Written),
                    Err(Error::Precondition { .. }) => Ok(PutOutcome::WasThere),
                    Err(e) => Err(fail(&e)),
                }
            }
        }
    }

    fn is_there(&self, name: &Name) -> Result<bool, BackendError> {
        match self.head(name) {
            Ok(_) => Ok(true),
            Err(e) if e.cause == BackendFault::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// In parts, which appear together when the last one is there.
    fn put_parts(
        &self,
        name: &Name,
        source: &mut dyn Read,
        bytes_total: u64,
    ) -> Result<(), BackendError> {
        let path = self.path(name);
        let fail = |e: &Error| failure::of_store("write", name.as_str(), e);
        let mut upload = self
            .runtime
            .wait(self.store.put_multipart(&path))
            .map_err(|e| fail(&e))?;
        match self.send_parts(name, upload.as_mut(), source, bytes_total) {
            Ok(()) => self
                .runtime
                .wait(upload.complete())
                .map(|_| ())
                .map_err(|e| fail(&e)),
            Err(e) => {
                // Parts that stay would cost money for ever.
                let _ = self.runtime.wait(upload.abort());
                Err(e)
            }
        }
    }

    fn send_parts(
        &self,
        name: &Name,
        upload: &mut dyn MultipartUpload,
        source: &mut dyn Read,
        bytes_total: u64,
    ) -> Result<(), BackendError> {
        // Whole mebibytes: some storages want all parts but the last to have one size.
        let part_bytes = PART_BYTES.max((bytes_total / PARTS_MAX + 1).next_multiple_of(1 << 20));
        let fail = |e: &Error| failure::of_store("write", name.as_str(), e);
        let mut under_way = futures_util::stream::FuturesUnordered::new();
        let mut bytes_sent = 0;
        while bytes_sent < bytes_total {
            let bytes = part_bytes.min(bytes_total - bytes_sent);
            let mut part = vec![0; bytes as usize];
            source
                .read_exact(&mut part)
                .map_err(|e| failure::local("read", name.as_str(), &e))?;
            bytes_sent += bytes;
            // Spawned, so that parts travel while the next one is read.
            let sending = upload.put_part(PutPayload::from(part));
            under_way.push(self.runtime.spawn(sending));
            while under_way.len() >= PARTS_AT_ONCE
                || (bytes_sent == bytes_total && !under_way.is_empty())
            {
                match self.runtime.wait(under_way.next()) {
                    Some(Ok(sent)) => sent.map_err(|e| fail(&e))?,
                    Some(Err(e)) => {
                        return Err(failure::error(
                            BackendFault::Other,
                            "write",
                            name.as_str(),
                            e.to_string(),
                        ));
                    }
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Every object below a directory, one request per directory: many servers refuse to list a
    /// whole tree.
    fn list_directory(
        &self,
        directory: &Path,
        limit: &mut ListingLimit,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> object_store::Result<ControlFlow<()>> {
        let found = self
            .runtime
            .wait(self.store.list_with_delimiter(Some(directory)))?;
        let objects = found.objects.iter().map(|meta| &meta.location);
        for path in objects.chain(&found.common_prefixes) {
            if !limit.take(path.as_ref().len()) {
                return Err(Error::Generic {
                    store: "listing",
                    source: ListingLimit::WHY.into(),
                });
            }
        }
        for entry in found.objects.iter().filter_map(|meta| self.entry(meta)) {
            if each(entry).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for below in &found.common_prefixes {
            // A server that lists a parent would have us run in circles.
            let is_deeper = below
                .as_ref()
                .strip_prefix(directory.as_ref())
                .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
            if is_deeper
                && below.as_ref().len() <= 1024
                && self.list_directory(below, limit, each)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Another client is in the middle of writing: nothing is known of the outcome yet.
fn is_conflict(e: &Error) -> bool {
    matches!(e, Error::AlreadyExists { source, .. } if {
        let text = source.to_string();
        text.contains("409 Conflict") && text.contains("ConditionalRequestConflict")
    })
}

impl Backend for BucketBackend {
    fn describe(&self) -> String {
        self.described.clone()
    }

    fn take_listed_bytes(&self) -> u64 {
        self.answers.take_received()
    }

    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        let path = self.path(name);
        let fail = |e: &Error| failure::of_store("read", name.as_str(), e);
        match self.get_from(&path, from) {
            Ok(reading) => Ok(reading),
            Err(e @ (Error::NotFound { .. } | Error::PermissionDenied { .. })) => Err(fail(&e)),
            Err(e) if from == 0 => Err(fail(&e)),
            // No server agrees to read from the end on, and some know no ranges at all.
            Err(e) => {
                let bytes_total = self.head(name)?.bytes_total;
                if from == bytes_total {
                    return Ok(Reading {
                        bytes_total,
                        body: Box::new(io::empty()),
                    });
                }
                if from > bytes_total {
                    let why = format!("it has {bytes_total} bytes, byte {from} was asked for");
                    return Err(failure::error(
                        BackendFault::Other,
                        "read",
                        name.as_str(),
                        why,
                    ));
                }
                if !matches!(e, Error::NotSupported { .. }) {
                    return Err(fail(&e));
                }
                let mut whole = self.get_from(&path, 0).map_err(|e| fail(&e))?;
                io::copy(&mut (&mut whole.body).take(from), &mut io::sink()).map_err(|e| {
                    failure::error(
                        BackendFault::Unreachable,
                        "read",
                        name.as_str(),
                        e.to_string(),
                    )
                })?;
                Ok(whole)
            }
        }
    }

    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        let meta = self
            .runtime
            .wait(self.store.head(&self.path(name)))
            .map_err(|e| failure::of_store("look at", name.as_str(), &e))?;
        Ok(Entry {
            name: name.clone(),
            bytes_total: meta.size,
            modified: meta.last_modified.into(),
        })
    }

    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        let is_guarded = matches!(self.traits.creating, Creating::Conditional);
        let looked = mode == PutMode::Create && !is_guarded;
        if looked && self.is_there(name)? {
            return Ok(PutOutcome::WasThere);
        }
        let local = |e: io::Error| failure::local("read what was to be sent to", name.as_str(), &e);
        let bytes_total = body.bytes_total().map_err(local)?;
        if bytes_total <= PART_BYTES || !self.traits.takes_parts {
            let mut bytes = vec![0; bytes_total as usize];
            let mut source = body.open().map_err(local)?;
            source.read_exact(&mut bytes).map_err(local)?;
            return self.put_small(name, bytes.into(), mode);
        }
        // Parts cannot be conditional; what is that large is named by its bytes, so that replacing
        // it is no harm.
        if mode == PutMode::Create && !looked && self.is_there(name)? {
            return Ok(PutOutcome::WasThere);
        }
        with_patience(|_| {
            let mut source = body.open().map_err(local)?;
            self.put_parts(name, &mut *source, bytes_total)
        })?;
        Ok(PutOutcome::Written)
    }

    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let path = self.path(prefix);
        let mut limit = self.limit;
        // Nothing there is nothing to list; a missing bucket is something else.
        let ended = |e: &Error| match failure::of_store("list", prefix.as_str(), e) {
            e if e.cause == BackendFault::NotFound => Ok(()),
            e => Err(e),
        };
        if self.traits.lists_directories {
            return match self.list_directory(&path, &mut limit, each) {
                Ok(_) => Ok(()),
                Err(e) => ended(&e),
            };
        }
        let mut found = self.store.list(Some(&path));
        while let Some(meta) = self.runtime.wait(found.next()) {
            let meta = match meta {
                Ok(meta) => meta,
                Err(e) => return ended(&e),
            };
            if !limit.take(meta.location.as_ref().len()) {
                return Err(failure::error(
                    BackendFault::Other,
                    "list",
                    prefix.as_str(),
                    ListingLimit::WHY,
                ));
            }
            if self
                .entry(&meta)
                .is_some_and(|entry| each(entry).is_break())
            {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        match self.runtime.wait(self.store.delete(&self.path(name))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(failure::of_store("remove", name.as_str(), &e)),
        }
    }

    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        let path = self.path(name);
        let fail = |e: &Error| failure::of_store("freshen", name.as_str(), e);
        let bytes_total = self.head(name)?.bytes_total;
        match self.traits.touch {
            Touch::Rewrite => write_again(self, name),
            Touch::CopyAside if bytes_total > COPY_MAX => write_again(self, name),
            Touch::CopyOnto => self
                .runtime
                .wait(self.store.copy(&path, &path))
                .map_err(|e| fail(&e)),
            Touch::CopyAside => {
                let aside = Path::from(format!("{path}.fresh-{}", unique()));
                let copied = self.runtime.wait(async {
                    self.store.copy(&path, &aside).await?;
                    let back = self.store.copy(&aside, &path).await;
                    let removed = self.store.delete(&aside).await;
                    back.and(removed)
                });
                copied.map_err(|e| fail(&e))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_57_a_listing_that_does_not_end_is_given_up() {
        let mut bucket = BucketBackend::in_memory().unwrap();
        for i in 0..20 {
            let name: Name = format!("v1/objects/{i}").parse().unwrap();
            bucket
                .put(&name, Body::Bytes(b"x"), PutMode::Overwrite)
                .unwrap();
        }
        let count = |bucket: &BucketBackend| {
            let mut n = 0;
            let listed = bucket.list(&"v1".parse().unwrap(), &mut |_| {
                n += 1;
                ControlFlow::Continue(())
            });
            (n, listed.map_err(|e| e.why))
        };
        assert_eq!(count(&bucket), (20, Ok(())));
        bucket.limit = ListingLimit::of(1500);
        let (n, listed) = count(&bucket);
        assert!(n < 12, "{n}");
        assert!(listed.unwrap_err().contains("does not end"));
        bucket.traits.lists_directories = true;
        assert!(count(&bucket).1.unwrap_err().contains("does not end"));
    }
}

//! Receiving: bytes that come from elsewhere, hashed on their way into the store's staging area.
//! They can take no name but their own: what does not hash to the name that was asked for is
//! dropped. Where they come from is unknown here.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::digest::{Content, Digest, Domain, Shape};

use super::error::{StoreError, at};
use super::objects::{Class, Staged, StagedItem};
use super::sys::{FileStat, begin_writeback};
use super::{Store, StoreError as E};

/// A file that is being received. Dropped before [`Receiving::finish`], it is gone.
pub struct Receiving {
    item: StagedItem,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
    /// So many of them the disk has been told of.
    bytes_begun: u64,
}

/// The disk is told of so many bytes at once. Then it works while more arrives, and not only when
/// all are there.
const BEGIN_BYTES: u64 = 8 << 20;

impl Store {
    /// Begins to receive the bytes of a file, or the listing of a tree, with this digest.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn receive(&self, shape: Shape, digest: Digest) -> Result<Receiving, StoreError> {
        let path = self.scratch()?.fresh_path();
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .map_err(at(&path, "write to the store"))?;
        let item = StagedItem {
            class: shape.into(),
            digest,
            path,
            stat: FileStat::default(),
        };
        let hasher = match shape {
            Shape::File | Shape::Program => blake3::Hasher::new(),
            Shape::Tree => Digest::hasher(Domain::Tree),
        };
        Ok(Receiving {
            item,
            file,
            hasher,
            bytes: 0,
            bytes_begun: 0,
        })
    }

    /// Whether a single file, or the listing of a tree without its files, is here and whole.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn holds(&self, shape: Shape, digest: &Digest) -> Result<bool, StoreError> {
        match self.check(shape.into(), digest) {
            Ok(_) => Ok(true),
            Err(e) if e.is_miss() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The path of a file's bytes, or of a tree's listing, made sure of.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Corrupt`], or the store cannot be read.
    pub fn path_of(&self, shape: Shape, digest: &Digest) -> Result<std::path::PathBuf, StoreError> {
        self.check(shape.into(), digest)
    }

    /// Gives received bytes their names, durably, with one wait for the disk. Results are recorded
    /// afterwards, with [`Store::commit`]; what no record names goes with the next gc after the
    /// grace time.
    ///
    /// # Errors
    /// Of the disk.
    pub fn keep_received(&self, contents: &[Content], staged: Staged) -> Result<(), StoreError> {
        match contents {
            [] => Ok(()),
            [first, rest @ ..] => {
                for content in rest {
                    self.use_root(super::Root::Content(content.shape, content.digest));
                }
                self.keep(first, staged)
            }
        }
    }
}

impl Receiving {
    /// Takes more bytes.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(at(&self.item.path, "write to the store"))?;
        self.bytes += bytes.len() as u64;
        let bytes_new = self.bytes - self.bytes_begun;
        if bytes_new >= BEGIN_BYTES {
            begin_writeback(&self.file, self.bytes_begun, bytes_new);
            self.bytes_begun = self.bytes;
        }
        Ok(())
    }

    /// All bytes are there: staged, if they are the right ones.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they are not; or of the disk.
    pub fn finish(mut self) -> Result<Staged, StoreError> {
        let found = Digest(*self.hasher.finalize().as_bytes());
        if found != self.item.digest {
            return Err(E::Corrupt {
                what: self.item.class.label(&self.item.digest),
                detail: format!("the bytes received hash to {found}"),
            });
        }
        let meta = self
            .file
            .metadata()
            .map_err(at(&self.item.path, "look at it"))?;
        self.item.stat = FileStat::of(&meta);
        Ok(Staged {
            items: vec![self.item],
        })
    }
}

impl Staged {
    /// Nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// A staged listing, for who has to know what else to receive.
    ///
    /// # Errors
    /// It was written by us a moment ago and is gone, or is no listing.
    pub fn listing(&self, digest: &Digest) -> Result<super::Listing, StoreError> {
        let item = self
            .items
            .iter()
            .find(|i| i.class == Class::Tree && i.digest == *digest)
            .ok_or_else(|| E::Missing {
                what: Class::Tree.label(digest),
            })?;
        let bytes = std::fs::read(&item.path).map_err(at(&item.path, "read it"))?;
        super::Listing::parse(&bytes).map_err(|e| E::Corrupt {
            what: Class::Tree.label(digest),
            detail: e.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn only_the_right_bytes_get_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = Digest::of(b"good");
        for (bytes, good) in [(&b"good"[..], true), (b"bad", false), (b"", false)] {
            let mut receiving = store.receive(Shape::File, digest).unwrap();
            bytes.chunks(2).for_each(|b| receiving.write(b).unwrap());
            match receiving.finish() {
                Ok(staged) => {
                    assert!(good && !store.holds(Shape::File, &digest).unwrap());
                    let content = Content {
                        shape: Shape::File,
                        digest,
                        bytes_total: 4,
                    };
                    store.keep_received(&[content], staged).unwrap();
                    assert!(store.has(&content).unwrap());
                    let path = store.path_of(Shape::File, &digest).unwrap();
                    assert!(std::fs::metadata(path).unwrap().permissions().readonly());
                }
                Err(e) => assert!(!good && e.is_miss(), "{e}"),
            }
        }
        let listing = super::super::Listing::new(BTreeMap::new()).unwrap();
        let content = listing.content();
        let mut receiving = store.receive(Shape::Tree, content.digest).unwrap();
        receiving.write(&listing.to_bytes()).unwrap();
        let staged = receiving.finish().unwrap();
        assert_eq!(staged.listing(&content.digest).unwrap(), listing);
        // The same bytes as a file have another name.
        let mut receiving = store.receive(Shape::File, content.digest).unwrap();
        receiving.write(&listing.to_bytes()).unwrap();
        assert!(receiving.finish().is_err());
        let left = std::fs::read_dir(store.work_dir().unwrap().parent().unwrap()).unwrap();
        assert_eq!(left.count(), 2, "the work directory and one staged listing");
    }
}

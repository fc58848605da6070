//! Accounts of other bits on a remote: told to it, and heard from it. What they say is unknown
//! here.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::backend::{Body, PutMode};
use super::encoding::encode_bytes;
use super::layout::{Place, Segment};
use super::link::Link;
use super::name::Name;
use super::reading::read_all;
use crate::digest::Digest;

/// Accounts of one action that are read.
const COUNT_MAX: usize = 16;
/// Bytes of the largest account that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Leaves an account on the remote, under the name of its bytes.
///
/// # Errors
/// Of the storage.
pub fn tell(link: &Link, key: &Digest, account: &[u8]) -> anyhow::Result<()> {
    let id: Segment = Digest::of(account).hex().parse()?;
    let name = link.scope().name(&Place::Divergence { key: *key, id });
    link.put(&name, Body::Bytes(&encode_bytes(account)?), PutMode::Create)?;
    Ok(())
}

/// The accounts about an action. What cannot be had counts as not there.
pub fn heard(link: &Arc<Link>, key: &Digest) -> Vec<Vec<u8>> {
    let mut names: Vec<Name> = Vec::new();
    // A storage that cannot list has none to tell of.
    let _ = link.list(&link.scope().divergence(key), &mut |entry| {
        if entry.bytes_total <= BYTES_MAX {
            names.push(entry.name);
        }
        match names.len() < COUNT_MAX {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    let read = |name: &Name| read_all(link, name, BYTES_MAX, Ok).ok();
    names.iter().filter_map(read).collect()
}

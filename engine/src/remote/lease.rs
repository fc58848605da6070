//! Leases: what the clones of a project need of a remote, so that a collection started in another
//! project spares it.
//!
//! A clone that publishes has one lease, written anew when it pushes; those that only read may not
//! be able to write, and need what the lock file names that they share with one that does. It lists
//! keys and says for how long it is meant; its age is told by the storage's clock, so a wrong clock
//! of a client shortens nothing. A lease that cannot be understood stops a collection: what it
//! wants is unknown.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;

use super::backend::{BackendError, BackendFault, Body, Entry, PutMode};
use super::encoding::encode_bytes;
use super::layout::{Place, Segment};
use super::link::Link;
use super::reading::{Unread, read_all};

/// How long a clone's lease lasts after its last push.
pub const LASTS: Duration = Duration::from_secs(90 * 86_400);
/// No lease lasts longer, whatever it says.
const LASTS_MAX: Duration = Duration::from_secs(400 * 86_400);
/// Bytes of the largest: a million keys.
const BYTES_MAX: u64 = 70 << 20;
const HEAD: &str = "repro lease 1";

/// What one clone needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// How long it lasts after it was written.
    pub lasts: Duration,
    /// Keys of actions.
    pub keys: Vec<Digest>,
}

impl Lease {
    fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\nlasts_s {}\n", self.lasts.as_secs());
        for key in &self.keys {
            text += &key.hex();
            text.push('\n');
        }
        text
    }

    /// Reads what is hostile.
    ///
    /// # Errors
    /// Why it is no lease.
    pub fn parse(bytes: &[u8]) -> Result<Lease, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err("it does not begin as a lease".into());
        }
        let lasts_s: u64 = lines
            .next()
            .and_then(|line| line.strip_prefix("lasts_s ")?.parse().ok())
            .ok_or("it does not say how long it lasts")?;
        let keys: Result<Vec<Digest>, _> = lines.map(str::parse).collect();
        let lease = Lease {
            lasts: Duration::from_secs(lasts_s),
            keys: keys.map_err(|_| "it names something that is not a key")?,
        };
        // Whole lines, and numbers written in one way: cut off or altered it would want less.
        if lease.to_text().as_bytes() != bytes {
            return Err("it was changed after it was written".into());
        }
        Ok(lease)
    }

    /// Whether it counts at `now`, when it was written at `written`; both by the storage's clock.
    pub fn is_live(&self, written: SystemTime, now: SystemTime) -> bool {
        now.duration_since(written)
            .map_or(true, |age| age <= self.lasts.min(LASTS_MAX))
    }
}

/// A name for the clone at `project_root`: the same at every call, telling nobody where it lies.
pub fn client(project_root: &Path) -> Segment {
    let host = std::fs::read("/etc/machine-id")
        .or_else(|_| std::fs::read("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    let mut text = host;
    text.push(0);
    text.extend_from_slice(project_root.as_os_str().as_encoded_bytes());
    Segment::of_digest(&Digest::of(&text))
}

/// Says that the clone `client` needs these keys, from now on for [`LASTS`].
///
/// # Errors
/// The remote does not take it.
pub fn renew(link: &Link, client: &Segment, mut keys: Vec<Digest>) -> Result<(), BackendError> {
    keys.sort_unstable();
    keys.dedup();
    let lease = Lease { lasts: LASTS, keys };
    let name = link.scope().name(&Place::Lease {
        client: client.clone(),
        id: Segment::of_word("project"),
    });
    let bytes = encode_bytes(lease.to_text().as_bytes()).map_err(|e| BackendError {
        cause: BackendFault::Local,
        doing: "write",
        what: name.to_string(),
        why: e.to_string(),
    })?;
    link.put(&name, Body::Bytes(&bytes), PutMode::Overwrite)
        .map(|_| ())
}

/// [`renew`], and waits for collections that had looked at the leases before: after this, what the
/// keys lead to stays.
///
/// # Errors
/// The remote does not take it.
pub fn begin(link: &Link, client: &Segment, keys: Vec<Digest>) -> Result<(), BackendError> {
    renew(link, client, keys)?;
    super::sweeping::await_sweeps(link)
}

/// Reads a lease that was listed; `None` when it is gone.
///
/// # Errors
/// It cannot be read or understood.
pub(super) fn read(link: &Arc<Link>, entry: &Entry) -> Result<Option<Lease>, Unread> {
    match read_all(link, &entry.name, BYTES_MAX, |bytes| Lease::parse(&bytes)) {
        Ok(lease) => Ok(Some(lease)),
        Err(Unread::Absent(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lease_ends() {
        let lease = Lease {
            lasts: Duration::from_secs(10),
            keys: vec![],
        };
        let now = SystemTime::now();
        assert!(lease.is_live(now - Duration::from_secs(9), now));
        assert!(!lease.is_live(now - Duration::from_secs(11), now));
        // Written after the collector looked at the clock.
        assert!(lease.is_live(now + Duration::from_secs(9), now));
        let eternal = Lease {
            lasts: Duration::from_secs(u64::MAX),
            keys: vec![],
        };
        assert!(!eternal.is_live(now - Duration::from_secs(500 * 86_400), now));
    }

    proptest! {
        #[test]
        fn written_and_read_is_the_same(lasts in any::<u64>(), keys in proptest::collection::vec(any::<[u8; 32]>(), 0..5)) {
            let lease = Lease { lasts: Duration::from_secs(lasts), keys: keys.into_iter().map(Digest).collect() };
            prop_assert_eq!(Lease::parse(lease.to_text().as_bytes()), Ok(lease));
        }

        #[test]
        fn altered_it_is_refused_or_canonical(cut in 0usize..200, with in proptest::collection::vec(any::<u8>(), 0..3)) {
            let lease = Lease { lasts: Duration::from_secs(77), keys: vec![Digest([7; 32]), Digest([8; 32])] };
            let text = lease.to_text();
            let cut = cut % text.len();
            let mut bytes = text.as_bytes()[..cut].to_vec();
            bytes.extend(with);
            bytes.extend(&text.as_bytes()[cut + 1..]);
            if let Ok(read) = Lease::parse(&bytes) {
                prop_assert_eq!(read.to_text().into_bytes(), bytes);
            }
        }
    }
}

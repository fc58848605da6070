//! How long a listing may be: one that does not end must not fill the memory of who reads it.

/// Bytes of names, with what is kept beside each, in one listing: some five million objects.
const BYTES_MAX: u64 = 1 << 30;
/// Size, time and place of a name.
const BESIDE: u64 = 128;

/// Counts what a listing has brought so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListingLimit {
    bytes_left: u64,
}

impl Default for ListingLimit {
    fn default() -> ListingLimit {
        ListingLimit::of(BYTES_MAX)
    }
}

impl ListingLimit {
    /// What is said when there is more.
    pub const WHY: &str =
        "the listing has more names than fit (some five million), or does not end at all";

    pub fn of(bytes_left: u64) -> ListingLimit {
        ListingLimit { bytes_left }
    }

    /// Takes a name of this length in, ours or not; `false`: there are too many.
    pub fn take(&mut self, name_bytes: usize) -> bool {
        match self.bytes_left.checked_sub(name_bytes as u64 + BESIDE) {
            Some(left) => {
                self.bytes_left = left;
                true
            }
            None => false,
        }
    }
}

//! Listings of trees: what is read is written back byte for byte, stays inside its directory, and
//! packs the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repro_engine::remote::pack::Packing;
use repro_engine::store::{Listing, Node};

fuzz_target!(|bytes: &[u8]| {
    let Ok(listing) = Listing::parse(bytes) else {
        return;
    };
    assert_eq!(listing.to_bytes(), bytes);
    for (path, node) in listing.nodes() {
        assert!(!path.as_str().starts_with('/'));
        assert!(
            path.as_str()
                .split('/')
                .all(|part| part != ".." && part != "." && !part.is_empty())
        );
        if let Node::Link { target } = node {
            assert!(!target.starts_with('/'));
        }
    }
    let _ = Packing::of(&listing);
});

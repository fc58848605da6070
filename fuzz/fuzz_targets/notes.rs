//! Names found on a remote, leases, addresses: small texts, each with one way to be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repro_engine::remote::layout::Place;
use repro_engine::remote::lease::Lease;
use repro_engine::remote::{Location, Name};

fuzz_target!(|bytes: &[u8]| {
    let _ = Lease::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.as_str(), text);
        if let Some((scope, place)) = Place::of(&name) {
            assert_eq!(scope.name(&place), name);
        }
    }
    if let Ok(location) = text.parse::<Location>() {
        let again = location.to_string().parse::<Location>();
        assert_eq!(again.ok(), Some(location));
    }
});

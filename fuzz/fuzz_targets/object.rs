//! Encoded bytes as a remote gives them: read or refused, never more than is allowed, and what is
//! read encodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repro_engine::remote::decoding::{BadBytes, Limit, decode_all};
use repro_engine::remote::encoding::encode_bytes;

const BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    match decode_all(bytes, Limit::AtMost(BYTES_MAX)) {
        Ok(plain) => {
            assert!(plain.len() as u64 <= BYTES_MAX);
            let again = encode_bytes(&plain).expect("it can be encoded");
            let limit = Limit::Exactly(plain.len() as u64);
            assert_eq!(decode_all(&again[..], limit).expect("ours is read"), plain);
        }
        Err(error) => assert!(BadBytes::of(&error).is_some(), "{error}"),
    }
});

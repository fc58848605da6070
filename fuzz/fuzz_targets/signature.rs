//! Envelopes of signatures, of accounts of other bits, and the files of keys and of trust.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repro_engine::digest::{Digest, Domain};
use repro_engine::trust::{Divergence, Policy, PublicKey, SecretKey, Trust, TrustText, claimed_signer};

fuzz_target!(|bytes: &[u8]| {
    let _ = claimed_signer(bytes);
    let key = Digest::derive(Domain::Action, b"{}");
    let nobody = Trust::read_file("/no/such/file".as_ref()).expect("no file is no error");
    if let Some((account, signer)) = Divergence::open(bytes, &key, &nobody) {
        assert!(signer.is_none());
        let _ = (account.lines(), account.origin());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = SecretKey::from_pem(text, None);
        if let Ok(key) = text.parse::<PublicKey>() {
            assert_eq!(key.to_string().parse::<PublicKey>().ok(), Some(key));
        }
        let policy = Policy::parse(text);
        assert!(policy.is_err() || TrustText::parse(text).is_ok());
    }
});

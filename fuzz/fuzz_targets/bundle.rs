//! Bundles, with the bytes as the inside of the compressed archive: taken in or refused, and
//! nothing outside of the store and the directory is written.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use repro_engine::export::import::{Belief, import};
use repro_engine::store::Store;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let file = std::fs::File::create(at("bundle")).expect("a file");
    let mut zstd = zstd::Encoder::new(file, 1).expect("a compressor");
    std::io::copy(&mut &bytes[..], &mut zstd).expect("it is written");
    zstd.finish().expect("it is written");
    let store = Store::open(&at("store")).expect("a store");
    let _ = import(&store, &at("bundle"), &Belief::Maker, Some(&at("into")));
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("it is there");
        entries
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    };
    let foreign = names(dir.path());
    assert!(
        foreign
            .iter()
            .all(|n| ["bundle", "store", "into"].contains(&n.as_str())),
        "{foreign:?}"
    );
});

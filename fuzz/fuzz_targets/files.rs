//! A model or a table of any bytes: both come from remotes, and are read to train on and to explain
//! a difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repro_stages::table;
use repro_stages::weights::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = TensorFile::from_bytes(bytes) {
        for tensor in file.tensors.values() {
            assert_eq!(tensor.data.len(), tensor.shape.iter().product::<usize>());
        }
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("it is written");
    let _ = table::read(file.path());
});

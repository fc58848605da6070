//! The record and the signatures of a result. The same bytes are read as they are, and as the
//! contents of a head whose digests are right: nothing else stands between an attacker and what
//! lies behind them.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use repro_engine::digest::{Content, Digest, Domain};
use repro_engine::remote::head::Head;
use repro_engine::store::Record;
use repro_engine::trust::Trust;
use serde_json::Value;

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "version = 1\nrequire = \"1 of people\"\n\n[signers.ben]\nrole = \"people\"\n\
                keys = [\"ed25519:HZ8zsI1MCRax4SI4xDw2iuF42PI5S6duhCMGUdORW68=\"]\n";
    std::fs::write(file.path(), text).expect("it is written");
    Trust::read_file(file.path()).expect("it is a trust file")
});

fuzz_target!(|bytes: &[u8]| {
    let key = Digest::derive(Domain::Action, b"{}");
    if let Ok(head) = Head::parse(bytes, &key) {
        assert_eq!(head.record.key, key);
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let part = |name: &str| value.get(name).cloned().unwrap_or(Value::Null);
    let Ok(outputs) = serde_json::from_value::<BTreeMap<String, Content>>(part("outputs")) else {
        return;
    };
    let preimage = part("preimage").as_str().unwrap_or("{}").to_owned();
    let envelopes: Vec<String> = serde_json::from_value(part("envelopes")).unwrap_or_default();
    let head = Head {
        record: Record {
            key: Digest::derive(Domain::Action, preimage.as_bytes()),
            preimage,
            outputs,
            observation: part("observation"),
        },
        envelopes: envelopes.into_iter().map(String::into_bytes).collect(),
    };
    let Ok(written) = head.to_bytes() else { return };
    let read = Head::parse(&written, &head.record.key).expect("what was written is read");
    assert_eq!(read.record.outputs, head.record.outputs);
    let _ = TRUST.judge(&read.record, &read.envelopes);
});

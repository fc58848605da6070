//! What is believed and what not: signatures that are forged, stripped, swapped, replayed, revoked.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::canonical;
use crate::digest::{Content, Digest, Domain, Shape};
use crate::remote::layout::Scope;
use crate::store::Record;

/// A record whose key is the digest of its description.
fn record(params: Value, output: &[u8]) -> Record {
    let preimage = canonical::text(&json!({
        "format": 1,
        "inputs": {
            "data": Content { shape: Shape::File, digest: Digest::of(b"data"), bytes_total: 4 }.to_string(),
            "runs": [{"content": format!("tree:{}", Digest::of(b"tree")), "group": "a"}],
        },
        "kind": {"name": "train", "numerics": "exact", "revision": 1},
        "outputs": ["model"],
        "params": params,
        "salt": "",
    }));
    let content = Content {
        shape: Shape::File,
        digest: Digest::of(output),
        bytes_total: output.len() as u64,
    };
    Record {
        key: Digest::derive(Domain::Action, preimage.as_bytes()),
        preimage,
        outputs: BTreeMap::from([("model".to_owned(), content)]),
        observation: json!({"run": "r1", "at": "2026-11-22T05:00:00Z", "wall_s": 1.5, "host": "a", "threads": 2, "version": "0.1.0"}).into(),
    }
}

fn signer() -> Signer {
    Signer::with_key(SecretKey::generate().unwrap())
}

fn trust(require: &str, signers: &[(&str, &str, &[&Signer])]) -> Trust {
    let mut text = format!("version = 1\nrequire = \"{require}\"\n");
    for (name, role, keys) in signers {
        let keys: Vec<String> = keys.iter().map(|k| format!("\"{}\"", k.public())).collect();
        text += &format!(
            "[signers.\"{name}\"]\nrole = \"{role}\"\nkeys = [{}]\n",
            keys.join(", ")
        );
    }
    text += "[scopes.\"pr-*\"]\nrequire = \"1 of guests\"\n[scopes.pr-9]\nrequire = \"2 of any\"\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, text).unwrap();
    Trust::read_file(&path).unwrap()
}

fn said(verdict: Judgement) -> String {
    match verdict {
        Judgement::Believed { signers } => {
            let names: Vec<&str> = signers.iter().map(|s| s.as_str()).collect();
            format!("believed: {}", names.join(", "))
        }
        Judgement::Disbelieved { reason } => {
            let loud = if reason.is_alarming() { "! " } else { "" };
            format!("{loud}{reason}")
        }
    }
}

#[test]
fn signers_suffice_or_not() {
    let (ci, anna, anna_too, ben) = (signer(), signer(), signer(), signer());
    let trust = trust(
        "1 of ci or 2 of people",
        &[
            ("buildbot", "ci", &[&ci]),
            ("anna", "people", &[&anna, &anna_too]),
            ("ben", "people", &[&ben]),
        ],
    );
    let record = record(json!({"epochs": 1}), b"model");
    let judged = |signers: &[&Signer]| {
        let envelopes: Vec<Vec<u8>> = signers
            .iter()
            .map(|s| s.sign(&record, &Facts::of(&record)))
            .collect();
        said(trust.judge(&record, &envelopes))
    };
    assert_eq!(judged(&[&ci]), "believed: buildbot");
    assert_eq!(judged(&[&anna, &ben]), "believed: anna, ben");
    assert_eq!(judged(&[&ben, &ci]), "believed: ben, buildbot");
    let too_few = "it is signed by `anna`, and `1 of ci or 2 of people` is required";
    assert_eq!(judged(&[&anna]), too_few);
    assert_eq!(judged(&[&anna, &anna]), too_few);
    // One person with two keys is one person.
    assert_eq!(judged(&[&anna, &anna_too]), too_few);
    assert_eq!(judged(&[]), "it is not signed");
}

/// Every attack, with what is said of it.
#[test]
fn attacks_are_told_by_name() {
    let (ci, stranger) = (signer(), signer());
    let trust = trust("1 of ci", &[("buildbot", "ci", &[&ci])]);
    let good = record(json!({"epochs": 1}), b"good");
    let evil = record(json!({"epochs": 1}), b"evil");
    let other = record(json!({"epochs": 2}), b"good");
    let facts = Facts::of(&good);
    let envelope = ci.sign(&good, &facts);
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::from_slice(&envelope).unwrap();
        change(&mut value);
        vec![serde_json::to_vec(&value).unwrap()]
    };
    let mut lying = good.clone();
    lying.preimage = other.preimage.clone();
    let mut renamed = good.clone();
    let content = renamed.outputs["model"];
    renamed.outputs = BTreeMap::from([("weights".to_owned(), content)]);
    let evil_payload = {
        let value: Value = serde_json::from_slice(&stranger.sign(&evil, &facts)).unwrap();
        value["payload"].clone()
    };
    let cases: Vec<(&str, &Record, Vec<Vec<u8>>)> = vec![
        ("honest", &good, vec![envelope.clone()]),
        ("stripped", &good, vec![]),
        (
            "stripped inside",
            &good,
            altered(&|v| v["signatures"] = json!([])),
        ),
        ("a stranger's", &good, vec![stranger.sign(&good, &facts)]),
        (
            "a stranger's in the name of ours",
            &evil,
            altered(&|v| v["payload"] = evil_payload.clone()),
        ),
        (
            "a bit of the signature",
            &good,
            altered(&|v| {
                let sig = v["signatures"][0]["sig"].as_str().unwrap();
                let first = if sig.starts_with('A') { "B" } else { "A" };
                v["signatures"][0]["sig"] = format!("{first}{}", &sig[1..]).into();
            }),
        ),
        ("swapped outputs", &evil, vec![envelope.clone()]),
        ("renamed output", &renamed, vec![envelope.clone()]),
        ("replayed on another action", &other, vec![envelope.clone()]),
        ("a description that lies", &lying, vec![envelope.clone()]),
        ("noise", &good, vec![b"noise".to_vec()]),
        (
            "noise beside the honest",
            &good,
            vec![b"noise".to_vec(), envelope.clone()],
        ),
        ("forgery beside the honest", &good, {
            let mut both = altered(&|v| v["payload"] = evil_payload.clone());
            both.push(envelope.clone());
            both
        }),
        ("buried under others", &good, {
            let mut many = vec![stranger.sign(&good, &facts); ENVELOPES_MAX];
            many.push(envelope.clone());
            many
        }),
    ];
    let mut text = String::new();
    for (name, record, envelopes) in &cases {
        text += &format!("{name}: {}\n", said(trust.judge(record, envelopes)));
    }
    for id in [stranger.id(), ci.id()] {
        text = text.replace(&id.short(), "<key>");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_removed_signer_is_believed_no_more() {
    let (ci, old) = (signer(), signer());
    let record = record(json!({}), b"model");
    let envelopes = [old.sign(&record, &Facts::default())];
    let before = trust("1 of any", &[("ci", "ci", &[&ci]), ("old", "ci", &[&old])]);
    let after = trust("1 of any", &[("ci", "ci", &[&ci])]);
    assert_eq!(said(before.judge(&record, &envelopes)), "believed: old");
    let reason = said(after.judge(&record, &envelopes));
    assert!(reason.contains("does not list (any more)"), "{reason}");
}

#[test]
fn without_a_file_nothing_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let trust = Trust::read_file(&dir.path().join(FILE_NAME)).unwrap();
    let record = record(json!({}), b"model");
    let envelopes = [signer().sign(&record, &Facts::default())];
    assert_eq!(
        trust.judge(&record, &envelopes),
        Judgement::Disbelieved {
            reason: Reason::NoPolicy
        }
    );
}

#[test]
fn a_scope_has_its_own_requirement_and_gives_none_to_others() {
    let (ci, guest) = (signer(), signer());
    let trust = trust(
        "1 of ci",
        &[("ci", "ci", &[&ci]), ("guest", "guests", &[&guest])],
    );
    let record = record(json!({}), b"model");
    let by_guest = [guest.sign(&record, &Facts::default())];
    let in_scope =
        |name: &str| said(trust.judge_in(&Scope::Of(name.parse().unwrap()), &record, &by_guest));
    assert_eq!(in_scope("pr-1"), "believed: guest");
    // The closest pattern counts; a scope nobody speaks of is judged as everything else.
    assert!(in_scope("pr-9").contains("`2 of any`"));
    assert!(in_scope("nightly").contains("`1 of ci`"));
    assert!(said(trust.judge(&record, &by_guest)).contains("`1 of ci`"));
}

#[test]
fn what_can_never_be_met_is_said() {
    let anna = signer();
    let trust = trust("2 of people", &[("anna", "people", &[&anna])]);
    let record = record(json!({}), b"model");
    let envelopes = [anna.sign(&record, &Facts::default())];
    assert!(said(trust.judge(&record, &envelopes)).contains("does not list that many signers"));
}

/// The mistakes people make in the file, as they are told.
#[test]
fn mistakes_in_the_file() {
    let key = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let cases = [
        String::new(),
        "version = 2\nrequire = \"1 of ci\"\n".into(),
        "version = 1\nrequire = \"ci\"\n".into(),
        "version = 1\nrequire = \"0 of ci\"\n".into(),
        "version = 1\nrequire = \"1 of ci or\"\n".into(),
        "version = 1\nrequire = \"1 of CI\"\n".into(),
        "version = 1\nrequire = \"1 of any\"\n[signers.anna]\nrole = \"people\"\nkey = \"x\"\n".into(),
        "version = 1\nrequire = \"1 of any\"\n[signers.anna]\nrole = \"people\"\nkeys = [\"ssh-ed25519 AAAA\"]\n".into(),
        format!("version = 1\nrequire = \"1 of any\"\n[signers.anna]\nrole = \"people\"\nkeys = [\"{key}\"]\n[signers.ben]\nrole = \"people\"\nkeys = [\"{key}\"]\n"),
        "version = 1\nrequire = \"1 of any\"\n[scopes.\"PR *\"]\nrequire = \"1 of any\"\n".into(),
        "<<<<<<< HEAD\nversion = 1\n".into(),
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|text| {
            TrustPolicy::parse(text)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        })
        .collect();
    insta::assert_snapshot!(said.join("\n---\n"));
}

#[test]
fn the_statement_is_what_slsa_readers_expect() {
    let record = record(json!({"epochs": 1}), b"model");
    let text = statement::write(&record, &Facts::of(&record));
    let value: Value = serde_json::from_str(&text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

/// Who reads only the standard fields of a statement must not be told something else than who reads
/// ours.
#[test]
fn a_signed_statement_that_contradicts_itself_counts_for_nothing() {
    let ci = signer();
    let trust = trust("1 of ci", &[("ci", "ci", &[&ci])]);
    let record = record(json!({"epochs": 1}), b"model");
    let judged = |change: &dyn Fn(&mut Value)| {
        let mut statement: Value =
            serde_json::from_str(&statement::write(&record, &Facts::default())).unwrap();
        change(&mut statement);
        said(trust.judge(&record, &[ci.seal(statement.to_string().as_bytes())]))
    };
    assert_eq!(judged(&|_| ()), "believed: ci");
    let lies: [&dyn Fn(&mut Value); 6] = [
        &|s| s["subject"][0]["digest"]["blake3"] = "00".into(),
        &|s| s["subject"][0]["name"] = "other".into(),
        &|s| s["predicate"]["buildDefinition"]["externalParameters"]["params"]["epochs"] = 2.into(),
        &|s| s["predicate"]["buildDefinition"]["buildType"] = "urn:other".into(),
        &|s| s["predicateType"] = "urn:repro:divergence:v1".into(),
        &|s| s["_type"] = "https://in-toto.io/Statement/v0.1".into(),
    ];
    for lie in lies {
        assert!(
            judged(lie).contains("not a statement about a result"),
            "{}",
            judged(lie)
        );
    }
}

#[test]
fn a_key_is_found_where_it_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    let passphrase = Passphrase::new("secret");
    let path = dir.path().join("conf/repro/signing-key.pem");
    let load = |vars: &[(&str, &str)], typed: Option<&str>| {
        let vars: BTreeMap<String, String> = vars
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Signer::load(&|name| vars.get(name).cloned(), &mut |_| {
            Ok(typed.map(Passphrase::new))
        })
    };
    let conf = dir.path().join("conf").display().to_string();
    let here = ("XDG_CONFIG_HOME", conf.as_str());
    assert!(load(&[], None).unwrap().is_none());
    assert!(load(&[here], None).unwrap().is_none());
    keep_key(&path, &key.to_pem(Some(&passphrase)).unwrap()).unwrap();
    assert!(
        keep_key(&path, "another").is_err(),
        "a key is never replaced"
    );
    let id = |loaded: anyhow::Result<Option<Signer>>| loaded.unwrap().unwrap().id();
    assert_eq!(id(load(&[here], Some("secret"))), key.public().id());
    assert_eq!(
        id(load(&[here, ("REPRO_KEY_PASSPHRASE", "secret")], None)),
        key.public().id()
    );
    let error = |loaded: anyhow::Result<Option<Signer>>| {
        let text = loaded.err().map(|e| e.to_string()).unwrap_or_default();
        text.replace(&dir.path().display().to_string(), "DIR")
    };
    let mut said = vec![
        error(load(&[here], None)),
        error(load(&[here], Some("wrong"))),
        error(load(
            &[here, ("REPRO_KEY_PASSPHRASE_FILE", "/nowhere")],
            None,
        )),
        error(load(&[("REPRO_SIGNING_KEY", "nonsense")], None)),
        error(load(&[("REPRO_SIGNING_KEY_FILE", "/nowhere")], None)),
    ];
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    said.push(error(load(&[here], Some("secret"))));
    insta::assert_snapshot!(said.join("\n"));
}

fn params() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    proptest::collection::btree_map(".{0,6}", leaf, 0..5)
        .prop_map(|m| Value::Object(m.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever an action is made of: what is signed for a record is believed of it, and of no
    /// other.
    #[test]
    fn a_signature_fits_its_record_and_no_other(a in params(), b in params(), out_a in any::<u8>(), out_b in any::<u8>()) {
        let ci = signer();
        let trust = trust("1 of ci", &[("ci", "ci", &[&ci])]);
        let (a, b) = (record(a, &[out_a]), record(b, &[out_b]));
        let of_a = [ci.sign(&a, &Facts::of(&a))];
        let is_believed = |r: &Record| matches!(trust.judge(r, &of_a), Judgement::Believed { .. });
        prop_assert!(is_believed(&a));
        let same = a.key == b.key && a.outputs == b.outputs;
        prop_assert_eq!(is_believed(&b), same);
    }

    #[test]
    fn any_trust_file_is_refused_or_read(text in "(version = 1\n)?(require = \"[0-9a-z ]{0,20}\"\n)?.{0,60}") {
        let _ = TrustPolicy::parse(&text);
    }

    #[test]
    fn a_requirement_reads_back(text in "[0-9]{1,3} of [a-z]{1,6}( or [0-9]{1,3} of [a-z]{1,6}){0,2}") {
        if let Ok(requirement) = text.parse::<Requirement>() {
            prop_assert_eq!(requirement.to_string().parse::<Requirement>().unwrap(), requirement);
        }
    }

    #[test]
    fn any_signed_payload_is_refused_or_fits(payload in ".{0,80}") {
        let record = record(json!({}), b"x");
        prop_assert!(statement::check(payload.as_bytes(), &record).is_err());
    }
}

//! Looking up: does the remote have a believed result of this key? One request where it has a good
//! head, or nothing. Whatever is wrong is a miss, with its reason. Bytes of outputs are not looked
//! at here.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::digest::Digest;
use crate::energy::Energy;
use crate::placement::Placement;
use crate::store::{Fact, Observation, Record};
use crate::trust::{self, Judgement, Reason, SignerName, Trust};

use crate::remote::head::{ENVELOPE_BYTES_MAX, HEAD_BYTES_MAX, Head, RECORD_BYTES_MAX};
use crate::remote::layout::{Place, Scope};
use crate::remote::link::Link;
use crate::remote::name::Name;
use crate::remote::reading::{Unread, read_all};
use crate::remote::wave::wave;

/// Results of one key that are looked at.
const RESULTS_MAX: usize = 16;
/// Names of one key that are listed.
const NAMES_MAX: usize = 2000;
/// Characters of a text that a record from elsewhere says about itself.
const OBSERVED_LONGEST: usize = 120;

/// A result the project believes.
#[derive(Debug, Clone, PartialEq)]
pub struct Believed {
    /// With an observation that can be shown: no more than the usual, and who vouches.
    pub record: Record,
    /// Who vouches.
    pub signers: Vec<String>,
    /// What they signed; DSSE.
    pub envelopes: Vec<Vec<u8>>,
}

/// What a remote knows of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A result that may be used.
    Hit(Box<Believed>),
    /// None.
    Miss(Why),
}

/// Why a remote has no result that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nobody published one.
    Absent,
    /// There is one, and it is not believed.
    Disbelieved(String),
    /// What is there is damaged, or the remote did not answer.
    Trouble(String),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Absent => f.write_str("the remote has no result"),
            Why::Disbelieved(why) => write!(f, "the remote's result is not trusted: {why}"),
            Why::Trouble(why) => f.write_str(why),
        }
    }
}

/// Looks up many keys at once; `each` hears the answers as they come, by position, every one
/// exactly once.
pub fn look_up(
    link: &Arc<Link>,
    trust: &Arc<Trust>,
    keys: Vec<Digest>,
    mut each: impl FnMut(usize, Answer),
) {
    let mut open: Vec<bool> = vec![true; keys.len()];
    let trust = trust.clone();
    let work = move |link: &Arc<Link>, key: Digest| look_up_one(link, &trust, &key);
    let patience = Some(link.patience());
    wave(link, keys, patience, work, |position, answer| {
        open[position] = false;
        each(position, answer);
    });
    for (position, _) in open.iter().enumerate().filter(|(_, open)| **open) {
        let why = link.given_up().unwrap_or("it was not asked").to_owned();
        each(position, Answer::Miss(Why::Trouble(why)));
    }
}

fn look_up_one(link: &Arc<Link>, trust: &Trust, key: &Digest) -> Answer {
    let mut doubts = Doubts::default();
    for scope in link.scopes() {
        if let Some(believed) = look_in(link, scope, trust, key, &mut doubts) {
            return Answer::Hit(Box::new(believed));
        }
    }
    Answer::Miss(doubts.why(link, key))
}

fn look_in(
    link: &Arc<Link>,
    scope: &Scope,
    trust: &Trust,
    key: &Digest,
    doubts: &mut Doubts,
) -> Option<Believed> {
    let name = scope.name(&Place::Head(*key));
    let head = read_all(link, &name, HEAD_BYTES_MAX, |bytes| {
        Head::parse(&bytes, key)
    });
    match head {
        Ok(head) => match judge(link, scope, trust, head.record, &head.envelopes) {
            Ok(believed) => return Some(believed),
            Err(reason) => doubts.add(reason),
        },
        // The head is written last, so without one there is nothing, or nothing yet.
        Err(Unread::Absent(_)) => return None,
        Err(unread) => doubts.trouble(unread.tell(link)),
    }
    // More signatures, or other results, than the head knows.
    match listed(link, scope, key) {
        Ok(results) => {
            for (result, signers) in results {
                match look_at(link, scope, trust, key, result, signers) {
                    Ok(believed) => return Some(believed),
                    Err(Doubt::Reason(reason)) => doubts.add(reason),
                    Err(Doubt::Trouble(unread)) => doubts.trouble(unread.tell(link)),
                }
            }
        }
        Err(unread) => doubts.trouble(unread),
    }
    None
}

enum Doubt {
    Reason(Reason),
    Trouble(Unread),
}

/// Everything that speaks against the results of a key.
#[derive(Default)]
struct Doubts {
    reason: Option<Reason>,
    trouble: Option<String>,
}

impl Doubts {
    /// What is worth an alarm stays, otherwise the last: it was judged with the most signatures.
    fn add(&mut self, reason: Reason) {
        if self.reason.as_ref().is_none_or(|r| !r.is_alarming()) {
            self.reason = Some(reason);
        }
    }

    fn trouble(&mut self, unread: Unread) {
        self.trouble = Some(unread.to_string());
    }

    fn why(self, link: &Link, key: &Digest) -> Why {
        match (self.reason, self.trouble) {
            (Some(reason), _) => {
                if reason.is_alarming() {
                    link.warning(&format!(
                        "the result of action {} is not used: {reason}",
                        key.short()
                    ));
                }
                Why::Disbelieved(reason.to_string())
            }
            (None, Some(trouble)) => Why::Trouble(trouble),
            (None, None) => Why::Absent,
        }
    }
}

fn judge(
    link: &Link,
    scope: &Scope,
    trust: &Trust,
    record: Record,
    envelopes: &[Vec<u8>],
) -> Result<Believed, Reason> {
    match trust.judge_in(scope, &record, envelopes) {
        Judgement::Disbelieved { reason } => Err(reason),
        Judgement::Believed { signers } => {
            let signers: Vec<String> = signers
                .iter()
                .map(SignerName::as_str)
                .map(str::to_owned)
                .collect();
            let mut record = Record {
                observation: presentable(&record.observation, &signers),
                ..record
            };
            trust::mark_origin(&mut record, &format!("remote {}", link.name()));
            Ok(Believed {
                record,
                signers,
                envelopes: envelopes.to_vec(),
            })
        }
    }
}

/// By result: the names of its signatures.
fn listed(
    link: &Arc<Link>,
    scope: &Scope,
    key: &Digest,
) -> Result<BTreeMap<Digest, Vec<Name>>, Unread> {
    let prefix = scope.results(key);
    let mut results: BTreeMap<Digest, Vec<Name>> = BTreeMap::new();
    let mut names = 0;
    let listed = link.list(&prefix, &mut |entry| {
        names += 1;
        match Place::of(&entry.name) {
            Some((of_scope, Place::Record { key: of, result }))
                if of_scope == *scope && of == *key =>
            {
                results.entry(result).or_default();
            }
            Some((
                of_scope,
                Place::Envelope {
                    key: of, result, ..
                },
            )) if of_scope == *scope && of == *key => {
                results.entry(result).or_default().push(entry.name);
            }
            _ => {}
        }
        if names >= NAMES_MAX || results.len() >= RESULTS_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match listed {
        Ok(()) => Ok(results),
        Err(e) => Err(Unread::of(&e, &prefix)),
    }
}

fn look_at(
    link: &Arc<Link>,
    scope: &Scope,
    trust: &Trust,
    key: &Digest,
    result: Digest,
    mut signatures: Vec<Name>,
) -> Result<Believed, Doubt> {
    let name = scope.name(&Place::Record { key: *key, result });
    let record = read_all(link, &name, RECORD_BYTES_MAX, |bytes| {
        Record::parse(&bytes, key, &result)
    })
    .map_err(Doubt::Trouble)?;
    signatures.sort();
    let mut envelopes = Vec::new();
    for name in signatures.iter().take(trust::ENVELOPES_MAX) {
        match read_all(link, name, ENVELOPE_BYTES_MAX, Ok) {
            Ok(envelope) => envelopes.push(envelope),
            // The others may suffice.
            Err(unread) => {
                unread.tell(link);
            }
        }
    }
    judge(link, scope, trust, record, &envelopes).map_err(Doubt::Reason)
}

/// What a record from elsewhere says of its making, as far as it is what we would say and can be
/// shown on a terminal. It is not signed, so nothing depends on it.
fn presentable(observation: &Observation, signers: &[String]) -> Observation {
    let mut shown = Observation::default().with(Fact::Signers, signers);
    let texts = [
        Fact::Run,
        Fact::At,
        Fact::Host,
        Fact::Version,
        Fact::Instance,
        Fact::Sandbox,
        Fact::ResumedFrom,
        Fact::Device,
    ];
    for fact in texts {
        if let Some(text) = observation.text(fact) {
            let text = text.chars().filter(|c| !c.is_control());
            shown = shown.with(fact, text.take(OBSERVED_LONGEST).collect::<String>());
        }
    }
    for fact in [Fact::WallS, Fact::CpuS, Fact::MaxRssBytes, Fact::Threads] {
        let number = observation.number(fact);
        if let Some(number) = number.filter(|n| (0.0..1e15).contains(n)) {
            shown = shown.with(fact, number);
        }
    }
    if let Some(energy) = Energy::of(observation) {
        shown = shown.with(Fact::Energy, serde_json::json!(energy));
    }
    if let Some(placed) = Placement::of(observation) {
        shown = shown.with(Fact::Placed, serde_json::json!(placed));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_record_says_of_itself_is_tamed() {
        let wild = json!({
            "host": "a\u{1b}[31mb\n".to_owned() + &"x".repeat(1000),
            "wall_s": -1.0,
            "cpu_s": "much",
            "max_rss_bytes": 1e300,
            "threads": 4,
            "remote": "mine",
            "device": "a GPU\n",
            "placed": {"on": "gpu", "cpu_s": -1.0, "gpu_s": 2.0},
            "more": {"deep": [1, 2]},
        });
        let tame = presentable(&wild.into(), &["anna".to_owned()]);
        let tame = serde_json::to_value(tame).unwrap();
        let host = tame["host"].as_str().unwrap();
        assert!(host.starts_with("a[31mbx") && host.len() == OBSERVED_LONGEST);
        assert_eq!(tame["signers"][0], "anna");
        assert_eq!(tame["threads"], 4.0);
        assert_eq!(tame["device"], "a GPU");
        assert_eq!(tame.as_object().unwrap().len(), 4, "{tame}");
        let placed = json!({"on": "gpu", "cpu_s": 3.0, "gpu_s": 2.0});
        let tame = presentable(&json!({"placed": placed, "wall_s": 1.0}).into(), &[]);
        assert_eq!(tame.get(Fact::Placed), Some(&placed));
    }
}

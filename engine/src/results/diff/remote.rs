//! What is here beside what a remote has: results of the plan's instances, by key. Decides what is
//! asked for and how answers compare; whom to believe is decided by [`crate::trust`], and nothing
//! is fetched or published.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::{Content, Digest};
use crate::exchange::{Way, Which, trust};
use crate::lookup::{Answer, Believed, Why, look_up};
use crate::notice::Tell;
use crate::plan::InstanceIndex;
use crate::results::Results;
use crate::session::Session;
use crate::store::Fact;

/// What a name on the command line begins with that stands for a remote.
pub const PREFIX: &str = "remote:";

/// What differs between here and a remote.
#[derive(Debug, Serialize)]
pub struct RemoteDiff {
    /// The remote.
    pub remote: String,
    /// Instances that both have with the same outputs.
    pub same: usize,
    /// Instances of which neither has a result.
    pub neither: usize,
    /// Instances whose key is not known: what they need has no result anywhere.
    pub unknown: usize,
    /// Instances that differ, in the order of the plan.
    pub instances: Vec<Beside>,
}

/// An instance that is not the same on both sides.
#[derive(Debug, Serialize)]
pub struct Beside {
    /// Its name.
    pub instance: String,
    /// Its key, the same on both sides.
    pub key: Digest,
    /// In what way they differ.
    #[serde(flatten)]
    pub how: How,
    /// Who vouches for the result of the remote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// The machine that made the result of the remote, as its record says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// In what way an instance differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "difference")]
pub enum How {
    /// The remote has no result.
    OnlyHere,
    /// There is no result here.
    OnlyThere,
    /// The same key, and outputs with other bytes.
    OtherOutputs {
        /// Their names.
        outputs: Vec<String>,
    },
    /// What the remote has is not trusted, or cannot be read.
    NotUsed {
        /// Why.
        why: String,
    },
}

/// Compares the results of all instances that the plan has, or of `names`.
///
/// # Errors
/// No such remote, or it does not answer; a name that stands for nothing; the store or the trust
/// file cannot be read.
pub fn of_remote(
    session: &Session,
    names: &[String],
    which: &Which,
    tell: Tell,
) -> anyhow::Result<RemoteDiff> {
    let way = Way::to(&session.project.root, which)?;
    let trust = trust(&session.project.root)?;
    let results = Results::of(session, names)?;
    let mut asked: Vec<(InstanceIndex, Digest)> = Vec::new();
    let mut unknown = 0;
    for (index, _) in results.wanted() {
        match results.survey.key(index) {
            Some(key) => asked.push((index, key)),
            None => unknown += 1,
        }
    }
    let keys = asked.iter().map(|(_, key)| *key).collect();
    let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
    look_up(&way.link, &trust, keys, |position, answer| {
        answers.insert(position, answer);
    });
    way.tell_warnings(tell);
    if let Some(why) = way.link.given_up() {
        anyhow::bail!("the remote `{}` does not answer: {why}", way.link.name());
    }
    let mut diff = RemoteDiff {
        remote: way.link.name().to_owned(),
        same: 0,
        neither: 0,
        unknown,
        instances: Vec::new(),
    };
    for (position, answer) in answers {
        let Some((index, key)) = asked.get(position).copied() else {
            continue;
        };
        let here = results.outputs(index);
        let (how, believed) = match answer {
            Answer::Hit(believed) => (compared(here, &believed), Some(believed)),
            Answer::Miss(Why::Absent) if here.is_some() => (Some(How::OnlyHere), None),
            Answer::Miss(Why::Absent) => {
                diff.neither += 1;
                continue;
            }
            Answer::Miss(why) => (
                Some(How::NotUsed {
                    why: why.to_string(),
                }),
                None,
            ),
        };
        let Some(how) = how else {
            diff.same += 1;
            continue;
        };
        let host = |b: &Believed| b.record.observation.text(Fact::Host).map(str::to_owned);
        diff.instances.push(Beside {
            instance: session.plan.instance(index).id.to_string(),
            key,
            how,
            host: believed.as_deref().and_then(host),
            signers: believed.map(|b| b.signers).unwrap_or_default(),
        });
    }
    Ok(diff)
}

/// How a result of a remote differs from the one here, if it does.
fn compared(here: Option<BTreeMap<&str, Content>>, there: &Believed) -> Option<How> {
    let Some(here) = here else {
        return Some(How::OnlyThere);
    };
    let there = &there.record.outputs;
    let differs = |name: &str| match (here.get(name), there.get(name)) {
        (Some(a), Some(b)) => !a.has_same_bytes(b),
        _ => true,
    };
    let names = here.keys().copied();
    let names = names.chain(there.keys().map(String::as_str));
    let mut outputs: Vec<String> = names.filter(|n| differs(n)).map(str::to_owned).collect();
    outputs.sort();
    outputs.dedup();
    (!outputs.is_empty()).then_some(How::OtherOutputs { outputs })
}

impl Results<'_> {
    /// The outputs of an instance that has a result, by name.
    fn outputs(&self, index: InstanceIndex) -> Option<BTreeMap<&str, Content>> {
        let hit = self.survey.get(index)?.hit.as_ref()?;
        let outputs = self.plan().instance(index).outputs.iter();
        let named = outputs.zip(&*hit.outputs).map(|(o, c)| (&*o.name, *c));
        Some(named.collect())
    }
}

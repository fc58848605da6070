//! What every name on a remote means: the one place that puts names together and takes them apart.
//!
//! ```text
//! v1/format                                  what wrote here first
//! v1/objects/ab/<62 hex>                     a file's bytes, encoded (`encoding.rs`); named by the digest of the plain bytes
//! v1/trees/ab/<62 hex>                       a directory's listing, encoded
//! v1/packs/ab/<62 hex of the tree>/<part>    small files of that tree, one after the other (`pack.rs`)
//! v1/actions/ab/<62 hex of the key>/<result>/record        one distinct result of an action
//! v1/actions/ab/<62 hex of the key>/<result>/<signer>.dsse who vouches for it
//! v1/heads/ab/<62 hex of the key>            record and first signatures in one object: the first writer's
//! v1/divergence/ab/<62 hex of the key>/<id>  somebody got other bytes
//! v1/leases/<client>/<id>  v1/gc/<epoch>/<id>
//! ```
//!
//! Writers who are not trusted write the same below `scopes/<scope>/`. Written in this order,
//! whatever is there points only at what is there: objects, packs, trees, record, signature, head.
//! Removed in the opposite order. What the bytes are is unknown here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::digest::Digest;

use super::name::{BadName, Name};

/// What this version reads and writes.
pub const VERSION: &str = "v1";

/// What [`Place::Format`] holds.
pub const FORMAT: &[u8] = b"repro remote 1\n";

/// A writer who counts on something older than this makes it young again; a collector whose grace
/// is at least four times as long then spares it, whatever the clocks of both say within days.
pub const FRESHEN_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);

/// Bytes of the longest [`Segment`].
const SEGMENT_LONGEST: usize = 100;

/// A part of a name that others choose: `a-z`, `0-9`, `.`, `_`, `-`, and no dot at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment(String);

impl Segment {
    /// At most its first `bytes` bytes. Names stay short: some servers make one file name of a
    /// whole name.
    pub fn shortened(&self, bytes: usize) -> Segment {
        // A segment is ASCII.
        Segment(self.0.chars().take(bytes.max(1)).collect())
    }

    /// The first digits of a digest.
    pub fn of_digest(digest: &Digest) -> Segment {
        Segment(digest.hex()[..32].to_owned())
    }

    /// A word of the program.
    pub(super) fn of_word(word: &'static str) -> Segment {
        debug_assert!(word.parse::<Segment>().is_ok(), "BUG: `{word}`");
        Segment(word.to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Segment {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Segment, BadName> {
        // A segment is a short name without a `/`.
        if text.len() <= SEGMENT_LONGEST && !text.contains('/') {
            text.parse::<Name>()?;
            Ok(Segment(text.to_owned()))
        } else {
            Err(BadName::of(text))
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose part of the remote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Scope {
    /// Everybody's: what trusted writers publish.
    #[default]
    Shared,
    /// Of a writer nobody has to trust, such as a pull request.
    Of(Segment),
}

/// What a name names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// What wrote here first.
    Format,
    /// A file's bytes.
    Object(Digest),
    /// A listing.
    Tree(Digest),
    /// Small files of a tree.
    Pack {
        /// Of which tree.
        tree: Digest,
        /// Which part.
        part: u32,
    },
    /// A result of an action.
    Record {
        /// The action.
        key: Digest,
        /// The result.
        result: Digest,
    },
    /// A signature under a result.
    Envelope {
        /// The action.
        key: Digest,
        /// The result.
        result: Digest,
        /// Who.
        signer: Segment,
    },
    /// Record and signatures in one.
    Head(Digest),
    /// A result that differs from another under the same key.
    Divergence {
        /// The action.
        key: Digest,
        /// Who found it, and what.
        id: Segment,
    },
    /// What a client uses.
    Lease {
        /// Who.
        client: Segment,
        /// Which.
        id: Segment,
    },
    /// A collector's notes.
    Gc {
        /// Of which collection.
        epoch: Segment,
        /// Which.
        id: Segment,
    },
}

/// Parts of a scope that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Files.
    Objects,
    /// Listings.
    Trees,
    /// Packs.
    Packs,
    /// Records and signatures.
    Actions,
    /// Heads.
    Heads,
    /// Divergence.
    Divergence,
    /// Leases.
    Leases,
    /// Collectors' notes.
    Gc,
}

impl Area {
    /// All.
    pub const ALL: [Area; 8] = [
        Area::Objects,
        Area::Trees,
        Area::Packs,
        Area::Actions,
        Area::Heads,
        Area::Divergence,
        Area::Leases,
        Area::Gc,
    ];

    fn word(self) -> &'static str {
        match self {
            Area::Objects => "objects",
            Area::Trees => "trees",
            Area::Packs => "packs",
            Area::Actions => "actions",
            Area::Heads => "heads",
            Area::Divergence => "divergence",
            Area::Leases => "leases",
            Area::Gc => "gc",
        }
    }
}

impl Scope {
    fn base(&self) -> String {
        match self {
            Scope::Shared => VERSION.to_owned(),
            Scope::Of(scope) => format!("scopes/{scope}/{VERSION}"),
        }
    }

    /// The name of a place.
    pub fn name(&self, place: &Place) -> Name {
        let tail = match place {
            Place::Format => "format".to_owned(),
            Place::Object(digest) => format!("objects/{}", split(digest)),
            Place::Tree(digest) => format!("trees/{}", split(digest)),
            Place::Pack { tree, part } => format!("packs/{}/{part}", split(tree)),
            Place::Record { key, result } => format!("actions/{}/{result}/record", split(key)),
            Place::Envelope {
                key,
                result,
                signer,
            } => format!("actions/{}/{result}/{signer}.dsse", split(key)),
            Place::Head(key) => format!("heads/{}", split(key)),
            Place::Divergence { key, id } => format!("divergence/{}/{id}", split(key)),
            Place::Lease { client, id } => format!("leases/{client}/{id}"),
            Place::Gc { epoch, id } => format!("gc/{epoch}/{id}"),
        };
        Name::of_legal(format!("{}/{tail}", self.base()))
    }

    /// Below which an area's names are.
    pub fn area(&self, area: Area) -> Name {
        Name::of_legal(format!("{}/{}", self.base(), area.word()))
    }

    /// Below which all results of an action are, with their signatures.
    pub fn results(&self, key: &Digest) -> Name {
        Name::of_legal(format!("{}/actions/{}", self.base(), split(key)))
    }

    /// Below which all divergence of an action is.
    pub fn divergence(&self, key: &Digest) -> Name {
        Name::of_legal(format!("{}/divergence/{}", self.base(), split(key)))
    }
}

impl Place {
    /// What a name found on a remote names, and whose; `None` for what is none of ours. Only what
    /// [`Scope::name`] writes is understood.
    pub fn of(name: &Name) -> Option<(Scope, Place)> {
        let mut parts: Vec<&str> = name.as_str().split('/').collect();
        let scope = match parts[..] {
            ["scopes", scope, VERSION, ..] => {
                let scope = Scope::Of(scope.parse().ok()?);
                parts.drain(..3);
                scope
            }
            [VERSION, ..] => {
                parts.remove(0);
                Scope::Shared
            }
            _ => return None,
        };
        let place = match parts[..] {
            ["format"] => Place::Format,
            ["objects", two, rest] => Place::Object(joined(two, rest)?),
            ["trees", two, rest] => Place::Tree(joined(two, rest)?),
            ["packs", two, rest, part] => Place::Pack {
                tree: joined(two, rest)?,
                part: part.parse().ok()?,
            },
            ["actions", two, rest, result, last] => {
                let (key, result) = (joined(two, rest)?, result.parse().ok()?);
                match last.strip_suffix(".dsse") {
                    Some(signer) => Place::Envelope {
                        key,
                        result,
                        signer: signer.parse().ok()?,
                    },
                    None if last == "record" => Place::Record { key, result },
                    None => return None,
                }
            }
            ["heads", two, rest] => Place::Head(joined(two, rest)?),
            ["divergence", two, rest, id] => Place::Divergence {
                key: joined(two, rest)?,
                id: id.parse().ok()?,
            },
            ["leases", client, id] => Place::Lease {
                client: client.parse().ok()?,
                id: id.parse().ok()?,
            },
            ["gc", epoch, id] => Place::Gc {
                epoch: epoch.parse().ok()?,
                id: id.parse().ok()?,
            },
            _ => return None,
        };
        // One check for all other ways to write the same: `part` as `007`, ...
        (scope.name(&place) == *name).then_some((scope, place))
    }
}

/// `ab/<62 hex>`.
fn split(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}/{}", &hex[..2], &hex[2..])
}

fn joined(two: &str, rest: &str) -> Option<Digest> {
    (two.len() == 2).then(|| format!("{two}{rest}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn segment() -> impl Strategy<Value = Segment> {
        "[a-z0-9_-][a-z0-9._-]{0,40}".prop_map(|s| s.parse().unwrap())
    }

    fn place() -> impl Strategy<Value = Place> {
        prop_oneof![
            Just(Place::Format),
            digest().prop_map(Place::Object),
            digest().prop_map(Place::Tree),
            (digest(), any::<u32>()).prop_map(|(tree, part)| Place::Pack { tree, part }),
            (digest(), digest()).prop_map(|(key, result)| Place::Record { key, result }),
            (digest(), digest(), segment()).prop_map(|(key, result, signer)| Place::Envelope {
                key,
                result,
                signer
            }),
            digest().prop_map(Place::Head),
            (digest(), segment()).prop_map(|(key, id)| Place::Divergence { key, id }),
            (segment(), segment()).prop_map(|(client, id)| Place::Lease { client, id }),
            (segment(), segment()).prop_map(|(epoch, id)| Place::Gc { epoch, id }),
        ]
    }

    fn scope() -> impl Strategy<Value = Scope> {
        prop_oneof![Just(Scope::Shared), segment().prop_map(Scope::Of)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Legal names, told apart, and inside their areas.
        #[test]
        fn every_place_is_found_by_its_name(scope in scope(), place in place()) {
            let name = scope.name(&place);
            prop_assert_eq!(name.as_str().parse::<Name>().unwrap(), name.clone());
            prop_assert_eq!(Place::of(&name), Some((scope.clone(), place.clone())));
            let below = |prefix: Name| name.as_str().starts_with(&format!("{prefix}/"));
            let areas = Area::ALL.iter().filter(|a| below(scope.area(**a))).count();
            prop_assert_eq!(areas, usize::from(place != Place::Format));
            if let Place::Record { key, .. } | Place::Envelope { key, .. } = &place {
                prop_assert!(below(scope.results(key)));
            }
            if let Place::Divergence { key, .. } = &place {
                prop_assert!(below(scope.divergence(key)));
            }
        }

        /// One name for one place: whatever else is on a remote is not taken for ours.
        #[test]
        fn a_changed_name_names_something_else_or_nothing(scope in scope(), place in place(), at in 0usize..200, with in "[a-z0-9/._-]{0,2}") {
            let name = scope.name(&place);
            let at = at % name.as_str().len();
            let changed = format!("{}{with}{}", &name.as_str()[..at], &name.as_str()[at + 1..]);
            if let Ok(changed) = changed.parse::<Name>() && let Some((s, p)) = Place::of(&changed) {
                prop_assert_eq!(s.name(&p), changed.clone());
                prop_assert_eq!(changed == name, (s, p) == (scope, place));
            }
        }

        #[test]
        fn any_name_is_read_or_refused(text in "(v1|scopes|v1/objects|v1/packs|v1/actions)?(/[a-f0-9]{0,3}){0,6}[a-z/0-9._-]{0,90}") {
            if let Ok(name) = text.parse::<Name>() && let Some((scope, place)) = Place::of(&name) {
                prop_assert_eq!(scope.name(&place), name);
            }
        }
    }

    /// A remote outlives the program that wrote it.
    #[test]
    fn names_are_frozen() {
        let d = |b: u8| Digest([b; 32]);
        let s = |t: &str| t.parse::<Segment>().unwrap();
        let places = [
            Place::Format,
            Place::Object(d(1)),
            Place::Tree(d(2)),
            Place::Pack {
                tree: d(2),
                part: 10,
            },
            Place::Record {
                key: d(3),
                result: d(4),
            },
            Place::Envelope {
                key: d(3),
                result: d(4),
                signer: s("5e"),
            },
            Place::Head(d(3)),
            Place::Divergence {
                key: d(3),
                id: s("x"),
            },
            Place::Lease {
                client: s("c"),
                id: s("1"),
            },
            Place::Gc {
                epoch: s("e"),
                id: s("2"),
            },
        ];
        let names: Vec<String> = places
            .iter()
            .map(|p| Scope::Shared.name(p).to_string())
            .collect();
        let hex = |b: u8| format!("{:02x}/{}", b, format!("{b:02x}").repeat(31));
        let long = |b: u8| format!("{b:02x}").repeat(32);
        assert_eq!(
            names,
            [
                "v1/format".to_owned(),
                format!("v1/objects/{}", hex(1)),
                format!("v1/trees/{}", hex(2)),
                format!("v1/packs/{}/10", hex(2)),
                format!("v1/actions/{}/{}/record", hex(3), long(4)),
                format!("v1/actions/{}/{}/5e.dsse", hex(3), long(4)),
                format!("v1/heads/{}", hex(3)),
                format!("v1/divergence/{}/x", hex(3)),
                "v1/leases/c/1".to_owned(),
                "v1/gc/e/2".to_owned(),
            ]
        );
        assert_eq!(
            Scope::Of(s("pr-7")).name(&Place::Format).as_str(),
            "scopes/pr-7/v1/format"
        );
    }
}

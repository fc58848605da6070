//! Changing `repro.trust.toml`: one entry at a time, with everything else (comments, order, spaces)
//! left as people wrote it.
//!
//! Signers stand in the order of their names and a key on a line of its own, so that two branches
//! that add somebody seldom touch the same line.

use std::path::Path;

use anyhow::Context as _;
use toml_edit::{Array, DocumentMut, Item, Table, Value, value};

use super::key::{KeyId, PublicKey};
use super::policy::{Requirement, Role, SignerName, TrustPolicy};

const BEGIN: &str = "\
# Whose results from remotes this project believes. Review changes as you review code.
# `require` counts signers: `1 of ci or 2 of people`; several keys of one signer count once, `any` is every role.
version = 1
";

/// The text of the file, while it is changed.
pub struct TrustText(DocumentMut);

/// What [`TrustText::add`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// A signer that was not listed.
    Signer,
    /// Another key of one that is.
    Key,
    /// Nothing: it is listed already.
    WasThere,
}

impl TrustText {
    /// A file that lists nobody yet.
    ///
    /// # Errors
    /// Never, but for mistakes here.
    pub fn new(require: &Requirement) -> anyhow::Result<TrustText> {
        TrustText::parse(&format!("{BEGIN}require = \"{require}\"\n"))
    }

    /// The text of a file that is right as it is.
    ///
    /// # Errors
    /// As [`TrustPolicy::parse`].
    pub fn parse(text: &str) -> anyhow::Result<TrustText> {
        TrustPolicy::parse(text)?;
        Ok(TrustText(text.parse()?))
    }

    /// The text of a file; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub fn read(path: &Path) -> anyhow::Result<Option<TrustText>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let parsed = TrustText::parse(&text);
        parsed
            .map(Some)
            .map_err(|e| anyhow::anyhow!("{}: {}", path.display(), e.to_string().trim_end()))
    }

    /// The text.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    fn policy(&self) -> anyhow::Result<TrustPolicy> {
        TrustPolicy::parse(&self.text())
    }

    /// Lists a key.
    ///
    /// # Errors
    /// The key is somebody else's, the signer has another role, or the file is written in a way
    /// that is not understood here.
    pub fn add(
        &mut self,
        name: &SignerName,
        role: &Role,
        key: &PublicKey,
    ) -> anyhow::Result<Added> {
        let policy = self.policy()?;
        if let Some((other, _)) = policy.signer(&key.id()) {
            anyhow::ensure!(
                other == name,
                "this key is listed for `{}` already; a key belongs to one signer",
                other.as_str()
            );
            return Ok(Added::WasThere);
        }
        if let Some(listed) = policy.signers().get(name) {
            anyhow::ensure!(
                listed.role == *role,
                "`{}` is listed with the role `{}`, not `{}`; name that one, or change it in the file",
                name.as_str(),
                listed.role.as_str(),
                role.as_str()
            );
        }
        let signers = signers(&mut self.0)?;
        if let Some(item) = signers.get_mut(name.as_str()) {
            let keys = item.get_mut("keys").and_then(Item::as_array_mut);
            push(keys.with_context(by_hand)?, key);
            return Ok(Added::Key);
        }
        let mut keys = Array::new();
        push(&mut keys, key);
        let mut table = Table::new();
        table.insert("role", value(role.as_str()));
        table.insert("keys", value(keys));
        table.decor_mut().set_prefix("\n");
        let after = signers
            .iter()
            .filter(|(other, _)| *other > name.as_str())
            .filter_map(|(_, item)| item.as_table()?.position())
            .min();
        if let Some(position) = after {
            shift(self.0.as_table_mut(), position);
            table.set_position(Some(position));
        }
        self::signers(&mut self.0)?.insert(name.as_str(), Item::Table(table));
        // Whatever the file looked like: what was asked for is there now, and nothing else is lost.
        anyhow::ensure!(self.policy()?.signer(&key.id()).is_some(), by_hand());
        Ok(Added::Signer)
    }

    /// Takes a signer with all keys out; `false` if there is none of that name.
    ///
    /// # Errors
    /// The file is written in a way that is not understood here.
    pub fn remove_signer(&mut self, name: &SignerName) -> anyhow::Result<bool> {
        Ok(signers(&mut self.0)?.remove(name.as_str()).is_some())
    }

    /// Takes one key out, and its signer with the last one; `false` if it is not listed.
    ///
    /// # Errors
    /// The file is written in a way that is not understood here.
    pub fn remove_key(&mut self, id: &KeyId) -> anyhow::Result<bool> {
        let policy = self.policy()?;
        let Some((name, _)) = policy.signer(id) else {
            return Ok(false);
        };
        let signers = signers(&mut self.0)?;
        let keys = signers
            .get_mut(name.as_str())
            .and_then(|item| item.get_mut("keys")?.as_array_mut())
            .with_context(by_hand)?;
        keys.retain(|item| {
            let key = item
                .as_str()
                .and_then(|text| text.parse::<PublicKey>().ok());
            key.is_none_or(|key| key.id() != *id)
        });
        if keys.is_empty() {
            signers.remove(name.as_str());
        }
        Ok(true)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        crate::whole::write_lasting(path, self.text().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn by_hand() -> String {
    "the signers are not written as tables `[signers.NAME]` with `role` and `keys = [...]`; change the file by hand".into()
}

fn signers(document: &mut DocumentMut) -> anyhow::Result<&mut Table> {
    let item = document.entry("signers").or_insert_with(|| {
        let mut table = Table::new();
        // No line of its own.
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_mut().with_context(by_hand)
}

/// Adds a key on a line of its own, unless the keys share one.
fn push(keys: &mut Array, key: &PublicKey) {
    let on_one_line = !keys.is_empty() && !keys.to_string().contains('\n');
    let mut item = Value::from(key.to_string());
    if on_one_line {
        keys.push(key.to_string());
        return;
    }
    item.decor_mut().set_prefix("\n  ");
    keys.push_formatted(item);
    keys.set_trailing("\n");
    keys.set_trailing_comma(true);
}

/// Makes room: every table from this place of the document on goes one further.
fn shift(table: &mut Table, from: isize) {
    for (_, item) in table.iter_mut() {
        if let Some(table) = item.as_table_mut() {
            if let Some(position) = table.position()
                && position >= from
            {
                table.set_position(Some(position + 1));
            }
            shift(table, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::SecretKey;
    use proptest::prelude::*;

    fn key(n: u8) -> PublicKey {
        // Fixed keys, so that the text can be compared.
        let words = [
            "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
            "/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=",
        ];
        format!("ed25519:{}", words[usize::from(n)])
            .parse()
            .unwrap()
    }

    #[test]
    fn comments_and_order_stay() {
        let mut text = TrustText::new(&"1 of ci or 2 of people".parse().unwrap()).unwrap();
        let add = |text: &mut TrustText, name: &str, role: &str, n| {
            text.add(&name.parse().unwrap(), &role.parse().unwrap(), &key(n))
                .unwrap()
        };
        assert_eq!(add(&mut text, "zoe", "people", 0), Added::Signer);
        let commented = text.text().replace(
            "[signers.zoe]",
            "# Zoe left in May? Ask her.\n[signers.zoe] # she",
        ) + "\n# Guests.\n[scopes.\"pr-*\"]\nrequire = \"1 of any\" # for now\n";
        let mut text = TrustText::parse(&commented).unwrap();
        assert_eq!(add(&mut text, "ben", "people", 1), Added::Signer);
        assert_eq!(add(&mut text, "zoe", "people", 2), Added::Key);
        assert_eq!(add(&mut text, "zoe", "people", 2), Added::WasThere);
        insta::assert_snapshot!(text.text());
        assert!(text.remove_key(&key(2).id()).unwrap());
        assert!(text.remove_signer(&"ben".parse().unwrap()).unwrap());
        assert!(!text.remove_signer(&"ben".parse().unwrap()).unwrap());
        assert_eq!(text.text(), commented);
        assert!(text.remove_key(&key(0).id()).unwrap());
        assert!(text.policy().unwrap().signers().is_empty());
    }

    #[test]
    fn a_key_belongs_to_one_and_a_signer_has_one_role() {
        let mut text = TrustText::new(&"1 of any".parse().unwrap()).unwrap();
        let mut add = |name: &str, role: &str, n| {
            let added = text.add(&name.parse().unwrap(), &role.parse().unwrap(), &key(n));
            added.map_err(|e| e.to_string())
        };
        add("anna", "people", 0).unwrap();
        assert!(add("ben", "people", 0).unwrap_err().contains("`anna`"));
        assert!(add("anna", "ci", 1).unwrap_err().contains("role `people`"));
    }

    #[test]
    fn what_people_write_otherwise_is_refused_not_broken() {
        let own = format!(
            "version = 1\nrequire = \"1 of any\"\nsigners = {{anna = {{role = \"people\", keys = [\"{}\"]}}}}\n",
            key(0)
        );
        let mut text = TrustText::parse(&own).unwrap();
        let added = text.add(&"ben".parse().unwrap(), &"people".parse().unwrap(), &key(1));
        assert!(added.unwrap_err().to_string().contains("by hand"));
        assert_eq!(text.text(), own);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Any names: who is added is listed, until removed.
        #[test]
        fn added_is_listed_and_removed_is_not(names in proptest::collection::btree_set("[^\\p{C}]{1,12}", 1..5)) {
            let mut text = TrustText::new(&"1 of any".parse().unwrap()).unwrap();
            let mut keys = Vec::new();
            for name in &names {
                let Ok(name) = name.parse::<SignerName>() else { continue };
                let key = SecretKey::generate().unwrap().public();
                text.add(&name, &"people".parse().unwrap(), &key).unwrap();
                keys.push((name, key));
            }
            let policy = text.policy().unwrap();
            for (name, key) in &keys {
                prop_assert_eq!(policy.signer(&key.id()).map(|(n, _)| n.clone()), Some(name.clone()));
            }
            for (name, _) in &keys {
                prop_assert!(text.remove_signer(name).unwrap());
            }
            prop_assert!(text.policy().unwrap().signers().is_empty());
        }
    }
}

//! What travels to nodes: the project with what the plan reads, and the bytes of inputs. Both lie in
//! the store, and go to the remote as results do, so nothing is sent twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use repro_engine::digest::{Content, Digest, Domain};
use repro_engine::files::{Files, Location};
use repro_engine::remote::link::Link;
use repro_engine::remote::publish::{Publication, publish};
use repro_engine::store::{
    InputTree, Observation, Parts, Pending, Record, Staged, Store, copy_file,
};

use crate::outlook::Outlook;

/// Contents that one record names.
const AT_ONCE: usize = 1000;

/// Copies the project into the store: files that the plan was read from, and what `needed` reads. Of
/// what else no stage makes there are only names, since the plan is read by them.
///
/// # Errors
/// A file cannot be read; the store.
pub fn snapshot(
    store: &Store,
    root: &Path,
    outlook: &Outlook,
    needed: &BTreeSet<u32>,
) -> anyhow::Result<Content> {
    let dir = tempfile::Builder::new()
        .prefix("snapshot-")
        .tempdir_in(store.work_dir()?)?;
    let to = dir.path().join("project");
    fs::create_dir(&to)?;
    let mut whole: BTreeMap<PathBuf, Option<&Files>> = BTreeMap::new();
    let mut named: BTreeSet<PathBuf> = BTreeSet::new();
    let inside = |path: &Path| path.strip_prefix(root).ok().map(Path::to_owned);
    for file in &outlook.plan_files {
        whole.extend(inside(&root.join(file)).map(|path| (path, None)));
    }
    if root.join("repro.lock").is_file() {
        whole.insert("repro.lock".into(), None);
    }
    for (at, instance) in (0..).zip(&outlook.instances) {
        if let Some(program) = &instance.program {
            whole.extend(inside(program).map(|path| (path, None)));
        }
        for files in &instance.files {
            let Location::Project(path) = &files.at else {
                continue;
            };
            let path = PathBuf::from(path.as_str());
            if let Some(Location::Project(manifest)) = files.manifest.as_deref() {
                whole.insert(manifest.as_str().into(), None);
            }
            match needed.contains(&at) {
                true => drop(whole.insert(path, Some(files))),
                false => drop(named.insert(path)),
            }
        }
    }
    // Directories come before what is in them.
    for (path, files) in &whole {
        copy(&root.join(path), &to.join(path), *files)
            .with_context(|| format!("`{}` cannot be sent to the cluster", path.display()))?;
    }
    for path in &named {
        let (from, to) = (root.join(path), to.join(path));
        if to.symlink_metadata().is_ok() {
            continue;
        }
        make_parent(&to)?;
        match from.is_dir() {
            true => fs::create_dir(&to)?,
            false => fs::write(&to, "")?,
        }
    }
    let (content, staged) = store.absorb(&to)?;
    keep(store, content, staged)?;
    Ok(content)
}

fn make_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn copy(from: &Path, to: &Path, files: Option<&Files>) -> anyhow::Result<()> {
    make_parent(to)?;
    match files {
        Some(files) if from.is_dir() => {
            if to.is_dir() {
                // It came with a directory around it.
                return Ok(());
            }
            InputTree::of(from, &files.ignore)?.assemble(to, Parts::Copies)?;
        }
        _ if to.symlink_metadata().is_ok() => {}
        _ => copy_file(from, to)?,
    }
    Ok(())
}

/// A record that stands for bytes, not for a result.
fn of_bytes(contents: &[Content]) -> Record {
    let outputs: BTreeMap<String, Content> = contents
        .iter()
        .enumerate()
        .map(|(i, c)| (i.to_string(), *c))
        .collect();
    let named: Vec<String> = contents.iter().map(Content::to_string).collect();
    let preimage = serde_json::json!({"sent": named}).to_string();
    Record {
        key: Digest::derive(Domain::Action, preimage.as_bytes()),
        preimage,
        outputs,
        observation: Observation::default(),
    }
}

fn keep(store: &Store, content: Content, staged: Staged) -> anyhow::Result<()> {
    let record = of_bytes(&[content]);
    for committed in store.commit(vec![Pending { record, staged }]) {
        committed?;
    }
    Ok(())
}

/// Makes sure that the remote has these bytes.
///
/// # Errors
/// It has not: in words.
pub fn send(
    link: &Arc<Link>,
    store: &Arc<Store>,
    contents: &BTreeSet<Content>,
) -> Result<(), String> {
    let all: Vec<Content> = contents.iter().copied().collect();
    let batch = all.chunks(AT_ONCE).map(|contents| Publication {
        record: of_bytes(contents),
        signatures: Vec::new(),
    });
    for published in publish(link, store, batch.collect()) {
        published?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use repro_engine::catalog::Catalog;
    use repro_engine::open::Opening;
    use repro_engine::store::LinkMode;

    /// What is needed is there whole, what is not has its name, and the rest of the project stays.
    #[test]
    fn a_snapshot_has_what_the_plan_reads() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join("p").join(path);
        fs::create_dir_all(at("data/deep/__pycache__")).unwrap();
        fs::create_dir_all(at("other")).unwrap();
        for (path, text) in [
            ("a.py", "a"),
            ("b.py", "b"),
            ("data/1", "1"),
            ("data/deep/2", "2"),
            ("data/deep/__pycache__/x", "no"),
            ("other/3", "3"),
            ("secret", "no"),
            (
                "pipeline.yaml",
                "version: 1\nstages:\n  a: {needs: {s: {file: a.py}, d: {dir: data}}, run: x, outputs: {o: o}}\n  \
                 b: {needs: {s: {file: b.py}, d: {dir: other}, i: {file: data/1}}, run: x, outputs: {o: o}}\n",
            ),
        ] {
            fs::write(at(path), text).unwrap();
        }
        let mut opening = Opening::new(Arc::new(Catalog::without_kinds(|_| Ok(<_>::default()))));
        opening.file = Some(at("pipeline.yaml"));
        opening.store = Some(dir.path().join("store"));
        let session = opening.session().unwrap();
        let outlook = Outlook::of(&session, &[true, true], |_| true);
        let needed = BTreeSet::from([outlook.by_id["a"]]);
        let content = snapshot(&session.store, &session.project.root, &outlook, &needed).unwrap();
        let again = snapshot(&session.store, &session.project.root, &outlook, &needed).unwrap();
        assert_eq!(content, again);
        let to = dir.path().join("to");
        session.store.place(&content, &to, LinkMode::Copy).unwrap();
        let read = |path: &str| fs::read_to_string(to.join(path)).ok();
        assert_eq!(read("a.py").as_deref(), Some("a"));
        assert_eq!(read("data/deep/2").as_deref(), Some("2"));
        assert_eq!(read("b.py").as_deref(), Some(""));
        assert!(to.join("other").is_dir() && read("other/3").is_none());
        assert!(read("secret").is_none() && read("data/deep/__pycache__/x").is_none());
        assert!(read("pipeline.yaml").is_some());
    }
}

//! Importing a bundle: its results become results of the store, if the project believes them.
//!
//! A bundle is hostile until shown otherwise: entries must be exactly those its first one lists, in
//! that order, regular and of that size; no path in it is ever used as a place (project paths are
//! checked, and made in a new directory); bytes are hashed on their way into the store and take no
//! name but their own; results need the signatures that results from a remote need. Stopped
//! anywhere, nothing is recorded.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::bundle::{BytesEntry, FORMAT, MANIFEST, Manifest};
use super::is_private;
use crate::digest::{Content, Digest, Shape};
use crate::store::{LinkMode, Pending, Record, Staged, Store};
use crate::trust::{self, ENVELOPE_BYTES_MAX, Judgement, Reason, Trust};

/// Bytes of the largest first entry.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Bytes of records and signatures, which are held in memory, together.
const DESCRIPTIONS_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the largest listing.
const TREE_BYTES_MAX: u64 = 1 << 30;
/// Of zstd: windows up to 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;
const BUFFER: usize = 1 << 16;

/// Whom an import believes.
pub enum Belief<'a> {
    /// The signers the project lists.
    Signers(&'a Trust),
    /// Whoever made the bundle: the user says so.
    Maker,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Imported {
    /// Instances whose results are in the store now.
    pub results: Vec<String>,
    /// Their keys and results.
    pub taken: Vec<(Digest, Digest)>,
    /// Instances whose results are not, and why.
    pub disbelieved: Vec<(String, Reason)>,
}

/// Takes a bundle in. With `into`, the project's files are put there too: a directory that is empty
/// or not there.
///
/// # Errors
/// The bundle is damaged or forged, the store cannot be written, `into` is not empty, or nothing in
/// it is believed.
pub fn import(
    store: &Store,
    file: &Path,
    belief: &Belief<'_>,
    into: Option<&Path>,
) -> anyhow::Result<Imported> {
    if let Some(into) = into {
        check_vacant(into)?;
    }
    let name = || format!("`{}` is not a usable bundle", file.display());
    let reader =
        std::fs::File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let mut decoder = zstd::Decoder::new(reader).with_context(name)?;
    decoder.window_log_max(WINDOW_LOG_MAX).with_context(name)?;
    let mut archive = tar::Archive::new(decoder);
    // Raw: no header can rename or resize the entry after it.
    let mut entries = Entries {
        entries: archive.entries().with_context(name)?.raw(true),
    };
    let unpacked = unpack(store, &mut entries, belief, into.is_some()).with_context(name)?;
    finish(store, file, unpacked, into)
}

/// Everything that is known of a bundle when its last byte was read.
struct Unpacked {
    manifest: Manifest,
    believed: Vec<(String, Record, Vec<Vec<u8>>)>,
    disbelieved: Vec<(String, Reason)>,
    staged: Staged,
    contents: Vec<Content>,
}

fn unpack<R: Read>(
    store: &Store,
    entries: &mut Entries<'_, R>,
    belief: &Belief<'_>,
    with_project: bool,
) -> anyhow::Result<Unpacked> {
    let manifest = entries.manifest()?;
    check(&manifest, store)?;
    let mut names = manifest.entries();
    let mut texts = Vec::new();
    for entry in &manifest.records {
        let text = entries.in_memory(names.next())?;
        let record = Record::parse(&text, &entry.key, &entry.result)
            .map_err(|why| anyhow::anyhow!("the record of `{}`: {why}", shown(&entry.instance)))?;
        texts.push((record, Vec::new()));
    }
    for entry in &manifest.envelopes {
        let bytes = entries.in_memory(names.next())?;
        let (_, envelopes) = texts
            .get_mut(entry.record as usize)
            .context("a signature belongs to no record")?;
        envelopes.push(bytes);
    }
    let (mut believed, mut disbelieved) = (Vec::new(), Vec::new());
    for (entry, (record, envelopes)) in manifest.records.iter().zip(texts) {
        let verdict = match belief {
            Belief::Maker if trust::is_described(&record) => None,
            Belief::Maker => Some(Reason::WrongDescription),
            Belief::Signers(trust) => match trust.judge(&record, &envelopes) {
                Judgement::Believed { .. } => None,
                Judgement::Disbelieved { reason } => Some(reason),
            },
        };
        let instance = shown(&entry.instance);
        match verdict {
            None => believed.push((instance, record, envelopes)),
            Some(reason) => disbelieved.push((instance, reason)),
        }
    }
    if believed.is_empty()
        && let Some((_, reason)) = disbelieved.first()
    {
        anyhow::bail!(
            "none of its {} results is trusted: {reason}. REPRO_TRUST_FILE can name another trust file; \
             --unsigned trusts whoever made the bundle",
            disbelieved.len()
        );
    }
    let outputs = believed
        .iter()
        .flat_map(|(_, record, _)| record.outputs.values());
    let project = manifest.project.values().filter(|_| with_project);
    let contents: BTreeSet<Content> = outputs.copied().chain(project.map(|e| e.content)).collect();
    let wanted = |shape: Shape| -> HashSet<Digest> {
        let of_shape = contents
            .iter()
            .filter(|c| c.shape.is_file() == shape.is_file());
        of_shape.map(|c| c.digest).collect()
    };
    let (wanted_trees, mut wanted_files) = (wanted(Shape::Tree), wanted(Shape::File));
    let mut staged = Staged::default();
    let mut taken = HashSet::new();
    for entry in &manifest.trees {
        if let Some(more) = entries.take(names.next(), entry, Shape::Tree, &wanted_trees, store)? {
            let listing = more.listing(&entry.digest)?;
            wanted_files.extend(listing.files().map(|(_, digest, _, _)| digest));
            staged.merge(more);
            taken.insert((Shape::Tree, entry.digest));
        }
    }
    for entry in &manifest.objects {
        if let Some(more) = entries.take(names.next(), entry, Shape::File, &wanted_files, store)? {
            staged.merge(more);
            taken.insert((Shape::File, entry.digest));
        }
    }
    entries.end()?;
    let trees = wanted_trees.into_iter().map(|digest| (Shape::Tree, digest));
    let files = wanted_files.into_iter().map(|digest| (Shape::File, digest));
    for (shape, digest) in trees.chain(files) {
        anyhow::ensure!(
            taken.contains(&(shape, digest)) || store.holds(shape, &digest)?,
            "it lacks {digest}, which its results or its project need"
        );
    }
    drop(names);
    Ok(Unpacked {
        manifest,
        believed,
        disbelieved,
        staged,
        contents: contents.into_iter().collect(),
    })
}

/// What a manifest says must be possible before anything is written.
fn check(manifest: &Manifest, store: &Store) -> anyhow::Result<()> {
    anyhow::ensure!(
        manifest.bundle == FORMAT,
        "it has format {}, this program knows {FORMAT}",
        manifest.bundle
    );
    if let Some(path) = manifest.project.keys().find(|path| is_private(path)) {
        anyhow::bail!("it would write `{}`", shown(path.as_str()));
    }
    check_nesting(&manifest.project.keys().map(|p| p.as_str()).collect())?;
    let total = manifest
        .bytes_total()
        .context("it says it holds more bytes than there are")?;
    if let Some(free) = store.free_bytes()
        && total > free
    {
        anyhow::bail!("it holds {total} bytes and the store's disk has {free} left");
    }
    let descriptions = manifest.records.iter().map(|e| e.bytes);
    let descriptions = descriptions.chain(manifest.envelopes.iter().map(|e| e.bytes));
    anyhow::ensure!(
        descriptions.sum::<u64>() <= DESCRIPTIONS_BYTES_MAX,
        "its records and signatures have too many bytes"
    );
    let too_large = |e: &&BytesEntry| e.bytes > TREE_BYTES_MAX;
    anyhow::ensure!(
        !manifest.trees.iter().any(|e| too_large(&e)),
        "a listing in it has too many bytes"
    );
    anyhow::ensure!(
        manifest
            .envelopes
            .iter()
            .all(|e| e.bytes <= ENVELOPE_BYTES_MAX as u64),
        "a signature in it has too many bytes"
    );
    Ok(())
}

/// The entries of an archive, one after the other.
struct Entries<'a, R: Read> {
    entries: tar::Entries<'a, R>,
}

impl<'a, R: Read> Entries<'a, R> {
    fn next(&mut self) -> anyhow::Result<tar::Entry<'a, R>> {
        let entry = self.entries.next().context("it ends too early")?;
        let entry = entry.context("it is damaged")?;
        anyhow::ensure!(
            entry.header().entry_type() == tar::EntryType::Regular,
            "it holds something that is not a file"
        );
        Ok(entry)
    }

    /// The next entry, which must have this name and size.
    fn named(&mut self, expected: Option<(String, u64)>) -> anyhow::Result<tar::Entry<'a, R>> {
        let (name, bytes) = expected.context("BUG: more entries than listed")?;
        let entry = self.next()?;
        let found = entry.path_bytes();
        anyhow::ensure!(
            *found == *name.as_bytes(),
            "`{}` is where `{name}` should be",
            shown(&String::from_utf8_lossy(&found))
        );
        anyhow::ensure!(
            entry.size() == bytes,
            "`{name}` has another size than listed"
        );
        Ok(entry)
    }

    fn manifest(&mut self) -> anyhow::Result<Manifest> {
        let entry = self.next().context("its first entry")?;
        anyhow::ensure!(
            *entry.path_bytes() == *MANIFEST.as_bytes(),
            "its first entry is not {MANIFEST}"
        );
        anyhow::ensure!(
            entry.size() <= MANIFEST_BYTES_MAX,
            "{MANIFEST} is too large"
        );
        let mut text = Vec::new();
        entry
            .take(MANIFEST_BYTES_MAX)
            .read_to_end(&mut text)
            .context("it is damaged")?;
        serde_json::from_slice(&text).with_context(|| format!("{MANIFEST} in it"))
    }

    fn in_memory(&mut self, expected: Option<(String, u64)>) -> anyhow::Result<Vec<u8>> {
        let entry = self.named(expected)?;
        let bytes = entry.size();
        let mut text = Vec::new();
        entry
            .take(bytes)
            .read_to_end(&mut text)
            .context("it is damaged")?;
        anyhow::ensure!(text.len() as u64 == bytes, "it ends too early");
        Ok(text)
    }

    /// Receives an entry that is wanted and not here yet; else goes past it.
    fn take(
        &mut self,
        expected: Option<(String, u64)>,
        listed: &BytesEntry,
        shape: Shape,
        wanted: &HashSet<Digest>,
        store: &Store,
    ) -> anyhow::Result<Option<Staged>> {
        let mut entry = self.named(expected)?;
        // A listing is needed even if it is here: it says which files are.
        let is_here = shape == Shape::File && store.holds(shape, &listed.digest)?;
        if !wanted.contains(&listed.digest) || is_here {
            return Ok(None);
        }
        let mut receiving = store.receive(shape, listed.digest)?;
        let mut buffer = vec![0; BUFFER];
        let mut left = listed.bytes;
        while left > 0 {
            let n = entry.read(&mut buffer).context("it is damaged")?;
            anyhow::ensure!(n > 0, "it ends too early");
            receiving.write(&buffer[..n])?;
            left = left.saturating_sub(n as u64);
        }
        let staged = match receiving.finish() {
            Err(e) if e.is_miss() => {
                anyhow::bail!("the bytes of {} are not those its name says", listed.digest)
            }
            other => other?,
        };
        Ok(Some(staged))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.entries.next().is_none(), "it holds more than it lists");
        Ok(())
    }
}

/// Bytes get their names, then results are recorded, then the project appears.
fn finish(
    store: &Store,
    file: &Path,
    unpacked: Unpacked,
    into: Option<&Path>,
) -> anyhow::Result<Imported> {
    let Unpacked {
        manifest,
        believed,
        disbelieved,
        staged,
        contents,
    } = unpacked;
    store.keep_received(&contents, staged)?;
    let origin = format!(
        "bundle {}",
        file.file_name().unwrap_or_default().to_string_lossy()
    );
    let pending: Vec<Pending> = believed
        .iter()
        .map(|(_, record, _)| {
            let mut record = record.clone();
            trust::mark_origin(&mut record, &origin);
            Pending {
                record,
                staged: Staged::default(),
            }
        })
        .collect();
    let mut imported = Imported {
        results: Vec::new(),
        taken: Vec::new(),
        disbelieved,
    };
    let committed = store.commit(pending);
    for ((instance, record, envelopes), committed) in believed.into_iter().zip(committed) {
        committed.with_context(|| format!("the result of `{instance}` is not whole"))?;
        for envelope in envelopes {
            // Named by its bytes: a forged one must not take the place of the true one.
            let name = Digest::of(&envelope).hex();
            store.keep_envelope(&record.key, &record.result(), &name, &envelope)?;
        }
        imported.taken.push((record.key, record.result()));
        imported.results.push(instance);
    }
    if let Some(into) = into {
        place_project(store, &manifest, into)?;
    }
    Ok(imported)
}

fn check_vacant(into: &Path) -> anyhow::Result<()> {
    match crate::dir::read(into) {
        Ok(mut entries) => anyhow::ensure!(
            entries.next().is_none(),
            "`{}` is not empty; name a directory that is not there",
            into.display()
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot use `{}`", into.display())),
    }
    Ok(())
}

/// Makes the project beside its place, then moves it there.
fn place_project(store: &Store, manifest: &Manifest, into: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let into = std::path::absolute(into)?;
    let parent = into.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let dir = tempfile::Builder::new()
        .prefix(".repro-import-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot write to {}", parent.display()))?;
    for (path, entry) in &manifest.project {
        let place: PathBuf = path.under(dir.path());
        store.place(&entry.content, &place, LinkMode::Copy)?;
        if entry.content.shape.is_file() {
            let mode = if entry.executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode))?;
        }
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let dir = dir.keep();
    std::fs::rename(&dir, &into).with_context(|| {
        let _ = std::fs::remove_dir_all(&dir);
        format!("cannot make {}", into.display())
    })
}

/// No path may lie inside of another: a link in a directory could lead the next file elsewhere.
fn check_nesting(paths: &BTreeSet<&str>) -> anyhow::Result<()> {
    for path in paths {
        let inside = paths.iter().find(|other| {
            other
                .strip_prefix(*path)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        if let Some(inside) = inside {
            anyhow::bail!("`{}` lies inside of `{}`", shown(inside), shown(path));
        }
    }
    Ok(())
}

/// Text from a bundle must not move the cursor of who reads it.
fn shown(text: &str) -> String {
    text.escape_debug().take(200).collect()
}

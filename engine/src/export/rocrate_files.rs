//! Files of a crate: their names in addresses, their formats, their checksums, and all of them in
//! one archive.

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

pub(super) const METADATA: &str = "ro-crate-metadata.json";

/// A path or name as part of a URI.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'/' | b'-' | b'.' | b'_' | b'~' | b'=' | b',' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Media types of names that everybody knows.
pub(super) fn format_of(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension {
        "yaml" | "yml" => "application/yaml",
        "json" => "application/json",
        "toml" | "lock" => "application/toml",
        "md" => "text/markdown",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "parquet" => "application/vnd.apache.parquet",
        _ => return None,
    })
}

pub(super) fn sha256(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).with_context(cannot)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

/// Packs a directory; the description comes first, since readers look for it.
pub(super) fn zip(dir: &Path, to: &mut File) -> anyhow::Result<()> {
    let mut archive = zip::ZipWriter::new(std::io::BufWriter::new(to));
    let mut todo: Vec<PathBuf> = vec![dir.join(METADATA)];
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        let mut entries: Vec<PathBuf> = crate::dir::read(&dir)?
            .map(|e| e.map(|e| e.path()))
            .collect::<std::io::Result<_>>()?;
        entries.sort();
        for path in entries {
            let is_dir = path.symlink_metadata()?.is_dir();
            if is_dir {
                rest.push(path.clone());
            }
            if is_dir || !path.ends_with(METADATA) {
                todo.push(path);
            }
        }
    }
    for path in todo {
        let meta = path.symlink_metadata()?;
        let name = path
            .strip_prefix(dir)?
            .to_str()
            .context("a name is not UTF-8")?;
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .large_file(meta.len() >= u64::from(u32::MAX));
        if meta.is_dir() {
            archive.add_directory(name, options)?;
        } else if meta.is_symlink() {
            let target = std::fs::read_link(&path)?;
            archive.add_symlink(
                name,
                target.to_str().context("a link is not UTF-8")?,
                options,
            )?;
        } else {
            archive.start_file(name, options)?;
            std::io::copy(&mut File::open(&path)?, &mut archive)?;
        }
    }
    archive.finish()?.flush()?;
    Ok(())
}

//! Whether a file looks like what its name says. This matters if no digest says what the file must
//! be: a log-in page that a server sends in place of the data would otherwise be taken for the data
//! and remembered.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context;

use crate::failure::Failure;

/// Bytes at the start that are looked at: a tar header is the longest.
const HEAD: usize = 512;

/// What a file of this name must look like.
enum Look {
    /// It begins with one of these.
    Begins(&'static [&'static [u8]]),
    /// A tar header.
    Tar,
    /// A safetensors header.
    Safetensors,
    /// Parquet: marked at both ends.
    Parquet,
    /// JSON: the first character of a value.
    Json,
    /// Text, and no JSON.
    Table,
    /// Text.
    Text,
    /// A web page is what is wanted.
    Page,
}

fn look(name: &str) -> Option<Look> {
    use Look::{Begins, Json, Page, Parquet, Safetensors, Table, Tar, Text};
    let name = name.to_ascii_lowercase();
    if name.ends_with("-ubyte") || name.ends_with(".idx") {
        return Some(Begins(&[
            b"\0\0\x08",
            b"\0\0\x09",
            b"\0\0\x0b",
            b"\0\0\x0c",
            b"\0\0\x0d",
            b"\0\0\x0e",
        ]));
    }
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "gz" | "tgz" => Begins(&[b"\x1f\x8b"]),
        "zip" | "npz" | "whl" | "jar" | "xlsx" | "docx" | "apk" => {
            Begins(&[b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"])
        }
        "xz" | "txz" => Begins(&[b"\xfd7zXZ\0"]),
        "bz2" | "tbz" | "tbz2" => Begins(&[b"BZh"]),
        "zst" | "tzst" => Begins(&[b"\x28\xb5\x2f\xfd"]),
        "lz4" => Begins(&[b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"]),
        "7z" => Begins(&[b"7z\xbc\xaf\x27\x1c"]),
        "rar" => Begins(&[b"Rar!\x1a\x07"]),
        "tar" => Tar,
        "parquet" => Parquet,
        "arrow" | "feather" => Begins(&[b"ARROW1", b"FEA1"]),
        "npy" => Begins(&[b"\x93NUMPY"]),
        "safetensors" => Safetensors,
        // PyTorch's: a zip since 1.6, a pickle before.
        "pt" | "pth" | "ckpt" => Begins(&[b"PK\x03\x04", b"\x80"]),
        "h5" | "hdf5" | "nc4" => Begins(&[b"\x89HDF\r\n\x1a\n"]),
        "mat" => Begins(&[b"MATLAB", b"\x89HDF\r\n\x1a\n"]),
        "sqlite" | "sqlite3" | "gpkg" => Begins(&[b"SQLite format 3\0"]),
        "png" => Begins(&[b"\x89PNG\r\n\x1a\n"]),
        "jpg" | "jpeg" => Begins(&[b"\xff\xd8\xff"]),
        "gif" => Begins(&[b"GIF8"]),
        "webp" | "wav" | "avi" => Begins(&[b"RIFF"]),
        "bmp" => Begins(&[b"BM"]),
        "tif" | "tiff" => Begins(&[b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]),
        "flac" => Begins(&[b"fLaC"]),
        "pdf" => Begins(&[b"%PDF"]),
        "json" | "jsonl" | "ndjson" | "geojson" | "ipynb" => Json,
        "csv" | "tsv" => Table,
        "txt" | "yaml" | "yml" | "toml" | "md" | "py" => Text,
        "html" | "htm" | "xhtml" | "php" | "asp" | "aspx" | "jsp" | "xml" | "svg" => Page,
        _ => return None,
    })
}

/// Whether a web page may be what is meant by a file of this name.
pub fn may_be_page(name: &str) -> bool {
    match look(name) {
        Some(look) => matches!(look, Look::Page),
        // No ending that says anything: nobody can tell.
        None => !name.contains('.'),
    }
}

/// The file is not visibly something else than its name says.
///
/// # Errors
/// A [`Failure`] that says what it looks like; the file cannot be read.
pub fn check(path: &Path, name: &str) -> anyhow::Result<()> {
    let reading = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(reading)?;
    let meta = file.metadata().with_context(reading)?;
    anyhow::ensure!(meta.is_file(), "it is not a file");
    let mut head = Vec::new();
    (&mut file)
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .with_context(reading)?;
    let size = meta.len();
    let wanted = look(name);
    let wrong = |what: String| {
        Failure::new(format!("what came for `{name}` is {what}")).hint(
            "look at the address in a browser: it may ask for a log-in or a consent, or have moved; if this file is what you want, say so with `digest:`",
        )
    };
    let ending = name.rsplit_once('.').map_or(name, |(_, e)| e);
    if head.is_empty() {
        return match wanted {
            Some(Look::Text | Look::Page) | None => Ok(()),
            Some(_) => Err(wrong("empty".into()).into()),
        };
    }
    let text = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&head)
        .trim_ascii_start();
    if is_page(text) && !may_be_page(name) {
        return Err(wrong(format!(
            "a web page ({size} bytes that begin `{}`)",
            shown(text)
        ))
        .into());
    }
    if head.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(Failure::new(format!(
            "what came for `{name}` is a pointer of Git LFS ({size} bytes), and not the file"
        ))
        .hint("take the address that `git lfs` downloads from (on GitHub and Hugging Face: `/resolve/` or `media.githubusercontent.com` in place of `/raw/`); if the pointer is what you want, say so with `digest:`")
        .into());
    }
    let is_as_named = match wanted {
        None | Some(Look::Page) => true,
        Some(Look::Begins(all)) => all.iter().any(|start| head.starts_with(start)),
        Some(Look::Tar) => is_tar(&head),
        Some(Look::Safetensors) => is_safetensors(&head, size),
        Some(Look::Parquet) => {
            let mut tail = [0; 4];
            head.starts_with(b"PAR1")
                && size >= 12
                && file
                    .seek(SeekFrom::End(-4))
                    .and_then(|_| file.read_exact(&mut tail))
                    .is_ok()
                && &tail == b"PAR1"
        }
        Some(Look::Json) => text
            .first()
            .is_none_or(|c| b"{[\"-0123456789tfn".contains(c)),
        Some(Look::Table) => !head.contains(&0) && !text.starts_with(b"{\""),
        Some(Look::Text) => !head.contains(&0),
    };
    if is_as_named {
        return Ok(());
    }
    Err(wrong(format!(
        "no `.{ending}` file: its {size} bytes begin `{}`",
        shown(&head)
    ))
    .into())
}

fn is_page(text: &[u8]) -> bool {
    let begins =
        |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
    let comment = text.strip_prefix(b"<!--").and_then(|rest| {
        let end = rest.windows(3).position(|w| w == b"-->")?;
        Some(rest[end + 3..].trim_ascii_start())
    });
    [
        &b"<!doctype html"[..],
        b"<html",
        b"<head",
        b"<body",
        b"<script",
        b"<meta",
        b"<title",
    ]
    .iter()
    .any(|tag| begins(tag))
        || comment.is_some_and(is_page)
}

/// The checksum of a tar header, which all its variants have.
fn is_tar(head: &[u8]) -> bool {
    let Some(field) = head.get(148..156).filter(|_| head.len() == HEAD) else {
        return false;
    };
    let digits = std::str::from_utf8(field).unwrap_or_default();
    let said = u64::from_str_radix(digits.trim_matches([' ', '\0']), 8);
    let sum: u64 = head.iter().map(|&b| u64::from(b)).sum();
    let own: u64 = field.iter().map(|&b| u64::from(b)).sum();
    said.is_ok_and(|said| said == sum - own + 8 * u64::from(b' '))
}

fn is_safetensors(head: &[u8], size: u64) -> bool {
    let length = head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    length.is_some_and(|n| n >= 2 && n <= size.saturating_sub(8)) && head.get(8) == Some(&b'{')
}

fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(24)];
    String::from_utf8_lossy(start).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(name: &str, bytes: &[u8]) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path(), name).err().map(|e| e.to_string())
    }

    const PAGE: &[u8] = b"\n  <!DOCTYPE html>\n<html><title>Sign in</title></html>";

    #[test]
    fn case_17_a_page_is_no_data() {
        for name in [
            "a.gz",
            "a.tgz",
            "a.zip",
            "a.tar",
            "a.tar.xz",
            "a.tar.bz2",
            "a.parquet",
            "a.npz",
            "a.npy",
            "a.png",
            "a.jpg",
            "a.csv",
            "a.tsv",
            "a.json",
            "a.txt",
            "a.bin",
            "a.safetensors",
            "a.h5",
            "a.mat",
            "train-images-idx3-ubyte",
            "A.CSV",
            "a.dat",
            "a.pkl",
            "a.md",
        ] {
            let said = says(name, PAGE).unwrap_or_else(|| panic!("{name} is taken"));
            assert!(said.contains("a web page"), "{name}: {said}");
            assert!(says(name, b"<!-- moved --><HTML>").is_some(), "{name}");
        }
        for name in ["index.html", "page.php", "LICENSE", "feed.xml"] {
            assert_eq!(says(name, PAGE), None, "{name}");
        }
    }

    #[test]
    fn case_17_what_is_as_named_is_taken() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_cksum();
        tar.append_data(&mut header, "x", &b"x"[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        let tensors = crate::weights::TensorFile::default().to_bytes(crate::weights::Encoding::F32);
        let table = crate::table::to_bytes(&[]).unwrap();
        let good: &[(&str, &[u8])] = &[
            ("a.gz", b"\x1f\x8b\x08rest"),
            ("a.zip", b"PK\x03\x04rest"),
            ("a.tar", &tar),
            ("a.parquet", &table),
            ("a.safetensors", &tensors),
            ("a.json", b" {\"a\": 1}"),
            ("a.jsonl", b"[1]\n[2]\n"),
            ("a.csv", b"a,b\n1,2\n"),
            ("a.csv", b"\xef\xbb\xbf\"a\";\"b\"\n"),
            ("a.csv", b"<x>,y\n"),
            ("a.txt", b""),
            ("a.unknown", b"\0anything"),
            ("anything", b"\0anything"),
            ("a-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x05"),
        ];
        for (name, bytes) in good {
            assert_eq!(says(name, bytes), None, "{name}");
        }
    }

    #[test]
    fn case_17_what_is_visibly_something_else_is_not() {
        let bad: &[(&str, &[u8])] = &[
            ("a.gz", b"{\"error\": \"not logged in\"}"),
            ("a.gz", b""),
            ("a.csv", b""),
            ("a.csv", b"{\"error\": 403}"),
            ("a.csv", b"\x1f\x8b\x08\0"),
            ("a.json", b"<Error><Code>AccessDenied</Code></Error>"),
            ("a.tar", b"AccessDenied"),
            ("a.parquet", b"PAR1 cut off"),
            ("a.npz", b"version https://git-lfs.github.com/spec/v1\n"),
            (
                "a.safetensors",
                b"version https://git-lfs.github.com/spec/v1\n",
            ),
            ("a.png", b"\xff\xd8\xff\xe0"),
            // A pointer is a text, and never what is meant.
            (
                "a.csv",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            ),
            (
                "a.txt",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            ),
            (
                "a.bin",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            ),
            (
                "data",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            ),
        ];
        for (name, bytes) in bad {
            assert!(says(name, bytes).is_some(), "{name}: {bytes:?}");
        }
    }
}

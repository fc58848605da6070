//! The files of a part, read in their format.

use anyhow::Context;

use super::params::{ArrayName, Format};
use super::sources::SourceFile;
use crate::data::own::array::{self, Array, Layout};
use crate::data::own::columns;
use crate::data::own::folder;
use crate::data::own::pixels::{Pixels, decode_all};
use crate::data::own::raw::Raw;
use crate::data::own::raw::{RawAnswers, RawValues};
use crate::data::own::sheet;
use crate::failure::Failure;
use crate::frame;
use crate::names::some;

/// The part, and what people should hear of it.
pub(super) fn read(
    part: &str,
    sources: &[SourceFile],
    format: &Format,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Raw> {
    match format {
        Format::Images(pixels) => class_folders(sources, pixels, warnings),
        Format::Text(sheet, separator) => {
            let texts = files(sources, &["csv", "tsv", "txt", "gz"])?
                .into_iter()
                .map(|file| Ok((file.called.clone(), bytes(&file)?)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            Ok(sheet::read(&texts, &sheet.roles(), *separator)?)
        }
        Format::Parquet(options) => {
            let frames = files(sources, &["parquet"])?
                .into_iter()
                .map(|file| {
                    let cannot = || format!("{} cannot be read", file.called);
                    Ok((
                        file.called.clone(),
                        frame::read(&file.path).with_context(cannot)?,
                    ))
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            let (raw, notes) = columns::read(frames, options)?;
            warnings.extend(turned(part, notes));
            Ok(raw)
        }
        Format::Npz(npz) => {
            let [file] = sources else {
                anyhow::bail!(Failure::new(format!(
                    "{} files, where one .npz is read",
                    sources.len()
                )));
            };
            let whole = bytes(file)?;
            let read = |names: &ArrayName| -> anyhow::Result<Array> {
                let name = names.of(part).context("no array is named")?;
                array::npz(&whole, name).with_context(|| file.called.clone())
            };
            Ok(array::part(read(&npz.x)?, read(&npz.y)?, npz.layout)?)
        }
        Format::Npy(npy) => pair(sources, npy.layout, array::npy),
        Format::Idx => pair(sources, Layout::Nhwc, array::idx),
    }
}

fn turned(part: &str, notes: usize) -> Option<String> {
    (notes > 0).then(|| {
        format!("`{part}`: {notes} images carry an EXIF orientation, which is not followed; `orientation: apply` turns them")
    })
}

fn bytes(file: &SourceFile) -> anyhow::Result<Vec<u8>> {
    array::read_file(&file.path).with_context(|| format!("{} cannot be read", file.called))
}

/// The arrays of the groups `x` and `y`.
fn pair(
    sources: &[SourceFile],
    layout: Layout,
    parse: fn(&[u8]) -> anyhow::Result<Array>,
) -> anyhow::Result<Raw> {
    let find = |group: &str| -> anyhow::Result<Array> {
        let Some(file) = sources.iter().find(|s| s.group == group) else {
            return Err(Failure::new(format!("there is no file `{group}`"))
                .hint("give two: `needs: {train: {x: {file: x.npy}, y: {file: y.npy}}}`")
                .into());
        };
        parse(&bytes(file)?).with_context(|| file.called.clone())
    };
    let raw = array::part(find("x")?, find("y")?, layout)?;
    if sources.len() > 2 {
        let names: Vec<String> = sources.iter().map(|s| s.group.clone()).collect();
        anyhow::bail!(Failure::new(format!(
            "the groups are {}; `x` and `y` are read",
            some(&names)
        )));
    }
    Ok(raw)
}

/// The files themselves, and those with such an ending in directories.
fn files(sources: &[SourceFile], endings: &[&str]) -> Result<Vec<SourceFile>, Failure> {
    let mut all = Vec::new();
    for source in sources {
        if !source.path.is_dir() {
            all.push(SourceFile {
                group: source.group.clone(),
                called: source.called.clone(),
                path: source.path.clone(),
            });
            continue;
        }
        let fits = |name: &str| {
            let ending = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
            ending.is_some_and(|e| endings.contains(&&*e))
        };
        let inside: Vec<_> = folder::entries(&source.path, &source.called)?
            .into_iter()
            .filter(|(name, _, is_dir)| !is_dir && fits(name))
            .collect();
        if inside.is_empty() {
            return Err(Failure::new(format!(
                "{} holds no .{} file",
                source.called,
                endings.join(" or .")
            ))
            .hint("files in folders below it are parts: `parts: {train: data/train-*}`"));
        }
        all.extend(inside.into_iter().map(|(name, path, _)| SourceFile {
            group: String::new(),
            called: format!("{}/{name}", source.called),
            path,
        }));
    }
    Ok(all)
}

fn class_folders(
    sources: &[SourceFile],
    pixels: &Pixels,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Raw> {
    let (mut pictures, mut classes) = (Vec::new(), Vec::new());
    for source in sources {
        if !source.path.is_dir() {
            return Err(Failure::new(format!("{} is a file", source.called))
                .hint("`images` reads a directory of class folders: `needs: {data: {dir: photos}}`")
                .into());
        }
        let (found, others) = folder::list(&source.path, &source.called)?;
        if !others.is_empty() {
            warnings.push(format!(
                "{}: files that are no images are left out: {}",
                source.called,
                some(&others)
            ));
        }
        let (decoded, notes) = decode_all(&found, pixels, |file| {
            let name = format!("{}/{}", source.called, file.name);
            match std::fs::read(&file.path) {
                Ok(bytes) => Ok((name, bytes)),
                Err(e) => Err(format!("{name}: {e}")),
            }
        })?;
        warnings.extend(turned(&source.called, notes));
        pictures.extend(decoded);
        classes.extend(found.into_iter().map(|file| file.class));
    }
    Ok(Raw {
        values: RawValues::Pictures(pictures),
        answers: RawAnswers::Names(classes),
        columns: Vec::new(),
    })
}

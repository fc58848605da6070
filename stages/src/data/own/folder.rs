//! Class folders, as torchvision's `ImageFolder` reads them: one folder per class, images anywhere
//! below it.
//!
//! Classes are sorted by name, images of a class by folder, then by name (bytes of UTF-8, which is
//! the order of code points). Hidden files and folders are ignored.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::names::some;

/// What image files end in, in any case.
const IMAGES: [&str; 3] = ["png", "jpg", "jpeg"];
/// Images that are not read: to pass over them in silence would lose data.
const OTHER_IMAGES: [&str; 9] = [
    "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "heic", "avif",
];
/// Deeper folders are a circle of links.
const DEPTH_MAX: usize = 32;

/// An image file of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassImage {
    /// Its class.
    pub class: String,
    /// Its path below the directory.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The images of a directory of class folders, and the other files that lie there.
///
/// # Errors
/// No class folder, a class without images, images of other formats, images outside of any class.
pub fn list(dir: &Path, called: &str) -> Result<(Vec<ClassImage>, Vec<String>), Failure> {
    let (mut found, mut others, mut stray) = (Vec::new(), Vec::new(), Vec::new());
    let mut classes = Vec::new();
    for (name, path, is_dir) in entries(dir, called)? {
        match (is_dir, ending(&name)) {
            (true, _) => classes.push((name, path)),
            (false, Ending::Image | Ending::OtherImage) => stray.push(name),
            (false, Ending::Other) => others.push(name),
        }
    }
    if classes.is_empty() {
        let failure = Failure::new(format!("{called} has no class folders"));
        return Err(failure.hint(
            "put the images of each class into a folder of its name: cat/1.png, dog/1.png ...",
        ));
    }
    if !stray.is_empty() {
        return Err(Failure::new(format!(
            "{called}: {} in no class folder",
            match stray.len() {
                1 => format!("the image {} lies", stray[0]),
                n => format!("{n} images ({}) lie", some(&stray)),
            }
        ))
        .hint("move them into the folder of their class, or take them out"));
    }
    let (mut unread, mut empty, mut all_nested) = (Vec::new(), Vec::new(), true);
    for (class, path) in &classes {
        let before = found.len();
        let mut walk = Walk {
            class,
            called,
            found: &mut found,
            others: &mut others,
            unread: &mut unread,
        };
        walk.folder(path, class, 0)?;
        found[before..].sort_by(|a, b| a.name.rsplit_once('/').cmp(&b.name.rsplit_once('/')));
        all_nested &= found[before..]
            .iter()
            .all(|f| f.name.matches('/').count() > 1);
        if found.len() == before {
            empty.push(format!("`{class}`"));
        }
    }
    if !unread.is_empty() {
        return Err(Failure::new(format!(
            "{called}: images of a format that is not read: {}",
            some(&unread)
        ))
        .hint(
            "PNG and JPEG are; convert the others (`magick in.webp out.png`), or take them out",
        ));
    }
    if !empty.is_empty() {
        return Err(Failure::new(format!(
            "{called}: {} without images: {}",
            if empty.len() == 1 {
                "a class"
            } else {
                "classes"
            },
            some(&empty)
        ))
        .hint("put images there (.png, .jpg, .jpeg), or take the folder out"));
    }
    let known = ["train", "test", "val", "valid", "validation"];
    let parts: Vec<&str> = classes
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| known.contains(name))
        .collect();
    if all_nested && parts.len() == classes.len() {
        let named: Vec<String> = parts.iter().map(|p| format!("{p}: {p}")).collect();
        return Err(Failure::new(format!(
            "{called} holds the parts {}, not classes",
            parts.join(", ")
        ))
        .hint(format!("say `parts: {{{}}}`", named.join(", "))));
    }
    Ok((found, others))
}

struct Walk<'a> {
    class: &'a str,
    called: &'a str,
    found: &'a mut Vec<ClassImage>,
    others: &'a mut Vec<String>,
    unread: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path, name: &str, depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::new(format!(
                "{}: {name} is nested more than {DEPTH_MAX} deep",
                self.called
            )));
        }
        let all = entries(dir, self.called)?;
        for (file, path, is_dir) in &all {
            let name = format!("{name}/{file}");
            match (is_dir, ending(file)) {
                (true, _) => {}
                (false, Ending::Image) => self.found.push(ClassImage {
                    class: self.class.to_owned(),
                    name,
                    path: path.clone(),
                }),
                (false, Ending::OtherImage) => self.unread.push(name),
                (false, Ending::Other) => self.others.push(name),
            }
        }
        for (file, path, is_dir) in &all {
            if *is_dir {
                self.folder(path, &format!("{name}/{file}"), depth + 1)?;
            }
        }
        Ok(())
    }
}

enum Ending {
    Image,
    OtherImage,
    Other,
}

fn ending(name: &str) -> Ending {
    let ending = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    match ending.as_deref() {
        Some(e) if IMAGES.contains(&e) => Ending::Image,
        Some(e) if OTHER_IMAGES.contains(&e) => Ending::OtherImage,
        _ => Ending::Other,
    }
}

/// Name, path and whether it is a directory of everything that is not hidden, sorted by name. Links
/// are followed.
pub(crate) fn entries(dir: &Path, called: &str) -> Result<Vec<(String, PathBuf, bool)>, Failure> {
    let cannot = |what: &str, e: std::io::Error| {
        Failure::new(format!("{called}: {what} cannot be read: {e}"))
    };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| cannot("the directory", e))? {
        let entry = entry.map_err(|e| cannot("the directory", e))?;
        let Ok(name) = entry.file_name().into_string() else {
            let name = entry.file_name().display().to_string();
            return Err(Failure::new(format!(
                "{called}: the name {name} is not UTF-8"
            )));
        };
        if name.starts_with('.') {
            continue;
        }
        let meta = std::fs::metadata(entry.path()).map_err(|e| cannot(&name, e))?;
        all.push((name, entry.path(), meta.is_dir()));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

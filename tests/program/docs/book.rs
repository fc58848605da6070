//! The pages are a book: its contents name every page, and where mdBook is installed it is built and
//! every link in it leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{markdown, pages, read, root};
use crate::support::skipped::skipped;

const CONTENTS: &str = "docs/SUMMARY.md";

#[test]
fn the_contents_name_every_page_once() {
    let mut named: Vec<String> = markdown::links(&read(CONTENTS))
        .iter()
        .map(|link| format!("docs/{link}"))
        .collect();
    named.sort();
    let there: Vec<String> = pages().into_iter().filter(|p| p != CONTENTS).collect();
    assert_eq!(named, there, "{CONTENTS}");
}

/// A book has nothing beside it, so a page cannot point out of docs/.
#[test]
fn links_of_pages_stay_in_the_book() {
    for path in pages() {
        for link in markdown::links(&read(&path)) {
            assert!(!link.starts_with("../"), "{path}: `{link}` leaves docs/");
        }
    }
}

/// mdBook from `target/python` (see `tests/python/requirements.txt`), or in `PATH`.
fn mdbook() -> Option<PathBuf> {
    let own = root().join("target/python/bin/mdbook");
    let candidates = [own, PathBuf::from("mdbook")];
    let runs = |program: &PathBuf| {
        let asked = Command::new(program).arg("--version").output();
        asked.is_ok_and(|said| said.status.success())
    };
    candidates.into_iter().find(runs)
}

/// What stands in `NAME="..."` on a page.
fn values<'t>(html: &'t str, name: &str) -> Vec<&'t str> {
    let begin = format!(" {name}=\"");
    let parts = html.split(&*begin).skip(1);
    parts.filter_map(|part| part.split('"').next()).collect()
}

#[test]
fn the_book_is_built_and_its_links_lead_somewhere() {
    let Some(mdbook) = mdbook() else {
        return skipped("mdbook is not installed");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut build = Command::new(mdbook);
    build.arg("build").arg(root().join("docs"));
    let said = build.arg("--dest-dir").arg(dir.path()).output();
    let said = said.expect("mdbook starts");
    let log = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");

    let mut built: BTreeMap<PathBuf, String> = BTreeMap::new();
    for page in pages().iter().filter(|p| *p != CONTENTS) {
        let name = match Path::new(page).file_stem().and_then(|s| s.to_str()) {
            Some("README") => "index.html".to_owned(),
            Some(name) => format!("{name}.html"),
            None => panic!("{page}"),
        };
        let html = fs::read_to_string(dir.path().join(&name));
        built.insert(
            name.clone().into(),
            html.unwrap_or_else(|e| panic!("{name}: {e}")),
        );
    }
    for (page, html) in &built {
        let own: BTreeSet<&str> = values(html, "id").into_iter().collect();
        for link in values(html, "href").iter().filter(|l| !l.contains(':')) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let found = match (file, built.get(Path::new(file))) {
                ("", _) => anchor.is_empty() || own.contains(anchor),
                (_, Some(other)) => anchor.is_empty() || values(other, "id").contains(&anchor),
                (_, None) => dir.path().join(file).exists(),
            };
            assert!(found, "{}: `{link}` leads nowhere", page.display());
        }
    }
    let searchable = fs::read_dir(dir.path()).expect("the book").flatten();
    let mut names = searchable.map(|e| e.file_name().to_string_lossy().into_owned());
    assert!(names.any(|n| n.starts_with("searchindex")), "no search");
}

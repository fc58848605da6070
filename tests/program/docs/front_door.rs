//! The table of `studies/README.md` counts the verdicts that the studies' own pages show.

use super::{current, read, root};

/// How many claims hold, are refuted, are undecided: the last cell of the rows of a page's tables.
fn verdicts(page: &str) -> String {
    let of = |word: &str| {
        let last = format!("| {word} |");
        let rows = page.lines().filter(|line| line.starts_with('|'));
        rows.filter(|line| line.ends_with(&last)).count()
    };
    match ["holds", "refuted", "inconclusive"].map(of) {
        [0, 0, 0] => "no results yet".to_owned(),
        [hold, refuted, open] => format!("{hold}, {refuted}, {open}"),
    }
}

/// The study that a row is about: ``| [`NAME`](NAME/README.md) | question | verdicts |``.
fn study(row: &str) -> Option<&str> {
    let (name, _) = row.strip_prefix("| [`")?.split_once("`](")?;
    Some(name)
}

#[test]
fn the_front_door_counts_what_the_studies_say() {
    let path = "studies/README.md";
    let page = read(path);
    let mut listed = Vec::new();
    let mut text = String::new();
    for line in page.lines() {
        match study(line) {
            Some(name) => {
                listed.push(name.to_owned());
                let cells: Vec<&str> = line.split(" | ").collect();
                let [link, question, _] = cells[..] else {
                    panic!("{path}: the row of `{name}` has {} cells", cells.len());
                };
                let counted = verdicts(&read(&format!("studies/{name}/README.md")));
                text += &format!("{link} | {question} | {counted} |");
            }
            None => text += line,
        }
        text.push('\n');
    }
    current(path, &text);

    let mut there = Vec::new();
    for entry in std::fs::read_dir(root().join("studies")).expect("studies/") {
        let entry = entry.expect("an entry of studies/");
        if entry.path().join("pipeline.yaml").exists() {
            there.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    there.sort();
    listed.sort();
    assert_eq!(listed, there, "{path} has a row for every study");
}

#[test]
fn verdicts_are_counted_in_tables_alone() {
    let page = "it holds\n| `a` | 1 | holds |\n| `b` | holds | refuted |\n| `c` | inconclusive |\n| x | holds |\n";
    assert_eq!(verdicts(page), "2, 1, 1");
    assert_eq!(verdicts("| a | b |\nholds |\n"), "no results yet");
}

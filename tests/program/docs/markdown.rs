//! Fenced blocks of a Markdown page, and the parts of a page that are generated.

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The section (`## ...`) it stands in; empty before the first.
    pub section: String,
    /// The words after the fence: `yaml`, `run` ...
    pub info: Vec<String>,
    /// What stands inside.
    pub text: String,
    /// The line of the fence, from 1.
    pub line: usize,
}

impl Block {
    /// `NAME` of `file=NAME`.
    pub fn file(&self) -> Option<&str> {
        self.info.iter().find_map(|word| word.strip_prefix("file="))
    }

    /// Whether one of the words is this one.
    pub fn says(&self, word: &str) -> bool {
        self.info.iter().any(|w| w == word)
    }
}

/// All fenced blocks of a page, in order. Fences are three backticks at the start of a line.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut open: Option<Block> = None;
    for (i, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let info = info.split_whitespace().map(str::to_owned).collect();
                open = Some(Block {
                    section: section.clone(),
                    info,
                    text: String::new(),
                    line: i + 1,
                });
            }
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix("## ") {
                    title.clone_into(&mut section);
                }
            }
        }
    }
    assert!(
        open.is_none(),
        "the block at line {} is not closed",
        open.map_or(0, |b| b.line)
    );
    blocks
}

/// The page with what stands between `<!-- generated: NAME -->` and `<!-- end -->` replaced.
pub fn fill(page: &str, make: &dyn Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        if let Some(name) = line
            .strip_prefix("<!-- generated: ")
            .and_then(|l| l.strip_suffix(" -->"))
        {
            assert!(
                lines.any(|l| l == "<!-- end -->"),
                "`{line}` has no `<!-- end -->`"
            );
            text.push('\n');
            text.push_str(&make(name));
            text.push_str("\n<!-- end -->\n");
        }
    }
    text
}

/// The anchor a heading gets.
pub fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The targets of all links outside of blocks.
pub fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(page) {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            links.push(target.to_owned());
            rest = after;
        }
    }
    links
}

/// The anchors of a page.
pub fn anchors(page: &str) -> Vec<String> {
    prose(page)
        .filter(|l| l.starts_with('#'))
        .map(|l| anchor(l.trim_start_matches('#')))
        .collect()
}

fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

//! The description of a batch system, as its users write it. Decides what a description may say;
//! patterns are compiled where they are used.

use std::collections::BTreeMap;

use serde::Deserialize;

/// As it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The command line that submits the script on its standard input.
    pub submit: Vec<String>,
    /// The job's name in its answer: the first group.
    pub job: String,
    /// The variable that holds the number of an element in its job.
    #[serde(default)]
    pub index: String,
    /// The variable that says how often an element was begun anew.
    #[serde(default)]
    pub restarts: Option<String>,
    /// One submission makes many jobs.
    #[serde(default)]
    pub arrays: bool,
    /// What stands for the number of an element in the name of a file that `submit` is told.
    #[serde(default)]
    pub element: String,
    /// The command line that tells of all jobs.
    pub state: Vec<String>,
    /// A line of its answer: groups `state`, and `job` or `name`; `index`, `why`, `node`.
    pub line: String,
    /// The command line that tells of one job that `state` tells nothing of any more.
    #[serde(default)]
    pub vanished: Vec<String>,
    /// Its answer: group `state`; `why`.
    #[serde(default)]
    pub vanished_line: Option<String>,
    /// The command line that ends a job.
    pub cancel: Vec<String>,
    /// How a job is told to begin when others have ended, well or not.
    #[serde(default)]
    pub after: Option<After>,
    /// What is in a job's own log when it was ended for its memory, and its state does not say so.
    #[serde(default)]
    pub memory_log: Option<String>,
    /// What `submit` says of an array that is too large.
    #[serde(default)]
    pub too_large: Option<String>,
    /// What it says when it may take more later.
    #[serde(default)]
    pub busy: Option<String>,
    /// What the reason of a waiting job matches when it asks for what no machine there has.
    #[serde(default)]
    pub unfit: Option<String>,
    /// As `memory_log`, for its time.
    #[serde(default)]
    pub time_log: Option<String>,
    /// How each resource or setting is said to `submit`.
    #[serde(default)]
    pub options: BTreeMap<String, Words>,
    /// What states mean.
    pub states: States,
}

/// One word of a command line, or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Words {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Words::One(word) => std::slice::from_ref(word),
            Words::Many(words) => words,
        }
    }
}

/// How a job is chained behind others.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The words of `submit`; `{}` stands for the jobs.
    pub option: Vec<String>,
    /// How one of them is said.
    #[serde(default = "itself")]
    pub each: String,
    /// What is between them.
    #[serde(default = "colon")]
    pub between: String,
}

fn itself() -> String {
    "{}".to_owned()
}

fn colon() -> String {
    ":".to_owned()
}

/// Words of the batch system by what they mean.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct States {
    /// It will begin.
    pub waiting: Vec<String>,
    /// It has begun.
    pub running: Vec<String>,
    /// It ended well.
    pub done: Vec<String>,
    /// Somebody more important got its place.
    pub preempted: Vec<String>,
    /// The machine failed.
    pub node: Vec<String>,
    /// Its time was over.
    pub time: Vec<String>,
    /// It used more memory than it had.
    pub memory: Vec<String>,
    /// A person ended it.
    pub cancelled: Vec<String>,
    /// It ended badly by itself.
    pub failed: Vec<String>,
}

/// Placeholders that each command line may hold.
const IN_SUBMIT: &[&str] = &["name", "log", "last", "options"];
const IN_STATE: &[&str] = &["names", "jobs"];
const IN_JOB: &[&str] = &["job", "index", "name"];

impl Description {
    /// What is wrong with its command lines.
    ///
    /// # Errors
    /// One is empty, or holds a placeholder that does not exist; an option has no place for its
    /// value.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (field, words, known) in [
            ("submit", &self.submit, IN_SUBMIT),
            ("state", &self.state, IN_STATE),
            ("vanished", &self.vanished, IN_JOB),
            ("cancel", &self.cancel, IN_JOB),
        ] {
            anyhow::ensure!(
                field == "vanished" || !words.is_empty(),
                "`{field}` is empty"
            );
            for word in words {
                check_placeholders(field, word, known)?;
            }
        }
        for (name, option) in &self.options {
            anyhow::ensure!(
                option.all().iter().any(|word| word.contains("{}")),
                "`options.{name}` has no `{{}}`, where its value goes"
            );
        }
        Ok(())
    }
}

fn check_placeholders(field: &str, word: &str, known: &[&str]) -> anyhow::Result<()> {
    let mut rest = word;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            anyhow::bail!("`{field}`: `{word}` has a `{{` without a `}}`");
        };
        let all: Vec<String> = known.iter().map(|k| format!("{{{k}}}")).collect();
        anyhow::ensure!(
            known.contains(&name),
            "`{field}`: there is no `{{{name}}}`; there is {}",
            all.join(", ")
        );
        anyhow::ensure!(
            name != "options" || word == "{options}",
            "`{field}`: `{{options}}` stands for several words, so it is one by itself"
        );
        rest = after;
    }
    Ok(())
}

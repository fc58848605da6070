//! A batch system, as it is described: how a job is submitted, asked after and cancelled, by
//! templates of command lines and patterns of their answers. Slurm's description comes with the
//! program (`slurm.toml`); others are written by their users. Nothing here knows what a job does.

mod description;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use regex_lite::Regex;

pub use self::description::Description;
use self::description::Words;
use crate::calls::{self, Answer};

/// Slurm.
const SLURM: &str = include_str!("slurm.toml");

/// Names in one call: command lines have an end.
const NAMES_AT_ONCE: usize = 500;

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It will begin.
    Waiting,
    /// It has begun.
    Running,
    /// It is no more.
    Ended(End),
}

/// Why a job is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// It did what it was told.
    Done,
    /// Somebody more important got its place.
    Preempted,
    /// The machine failed.
    Node,
    /// Its time was over.
    Time,
    /// It used more memory than it had.
    Memory,
    /// A person ended it.
    Cancelled,
    /// It ended badly by itself.
    Failed,
    /// Nobody knows.
    Vanished,
}

/// What is told of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The name it was given.
    pub name: Option<String>,
    /// What the system calls it.
    pub job: Option<String>,
    /// Its number in an array.
    pub index: Option<u32>,
    /// How it is.
    pub state: State,
    /// The system's word for that.
    pub word: String,
    /// Why it waits.
    pub why: String,
    /// Where it runs.
    pub node: String,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The system calls it so.
    As(String),
    /// The array has too many elements.
    TooLarge,
    /// Later, perhaps; what it said.
    Busy(String),
    /// No; what it said.
    Refused(String),
}

/// See the module.
pub struct System {
    said: Description,
    /// The longest that a call may take.
    patience: Duration,
    job: Regex,
    line: Regex,
    vanished_line: Option<Regex>,
    memory_log: Option<Regex>,
    time_log: Option<Regex>,
    too_large: Option<Regex>,
    busy: Option<Regex>,
    unfit: Option<Regex>,
}

impl System {
    /// Slurm.
    ///
    /// # Errors
    /// Never: a test reads it.
    pub fn slurm() -> anyhow::Result<System> {
        System::of(toml::from_str(SLURM)?)
    }

    /// As it is described.
    ///
    /// # Errors
    /// A pattern that is none, a placeholder that does not exist, a state without meaning.
    pub fn of(said: Description) -> anyhow::Result<System> {
        let pattern = |field: &str, text: &str, groups: &[&str]| -> anyhow::Result<Regex> {
            let regex = Regex::new(text).with_context(|| format!("`{field}` is no pattern"))?;
            for group in groups {
                let has = regex.capture_names().flatten().any(|name| name == *group);
                anyhow::ensure!(has, "`{field}` has no group `(?P<{group}>...)`");
            }
            Ok(regex)
        };
        let job = pattern("job", &said.job, &[])?;
        anyhow::ensure!(
            job.captures_len() > 1,
            "`job` has no group: put what names the job in (...)"
        );
        let line = pattern("line", &said.line, &["state"])?;
        let names_it = |name: &str| line.capture_names().flatten().any(|n| n == name);
        anyhow::ensure!(
            names_it("job") || names_it("name"),
            "`line` has neither a group `(?P<job>...)` nor `(?P<name>...)`"
        );
        anyhow::ensure!(
            !said.arrays || (!said.index.is_empty() && names_it("index")),
            "`arrays = true` needs `index = \"VARIABLE\"`, and a group `(?P<index>...)` in `line`"
        );
        let optional = |field: &str, text: &Option<String>, groups: &[&str]| {
            text.as_ref()
                .map(|text| pattern(field, text, groups))
                .transpose()
        };
        said.check()?;
        Ok(System {
            vanished_line: optional("vanished_line", &said.vanished_line, &["state"])?,
            memory_log: optional("memory_log", &said.memory_log, &[])?,
            time_log: optional("time_log", &said.time_log, &[])?,
            too_large: optional("too_large", &said.too_large, &[])?,
            busy: optional("busy", &said.busy, &[])?,
            unfit: optional("unfit", &said.unfit, &[])?,
            job,
            line,
            said,
            patience: Duration::from_secs(60),
        })
    }

    /// The same, given up when it does not answer for so long.
    #[must_use]
    pub fn patient(self, patience: Duration) -> System {
        System { patience, ..self }
    }

    /// What may be said to it when a job is submitted.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.said.options.keys().map(String::as_str)
    }

    /// One submission makes many jobs.
    pub fn has_arrays(&self) -> bool {
        self.said.arrays
    }

    /// A job that waits for this reason waits for ever: no machine there has what it asks for.
    pub fn is_unfit(&self, why: &str) -> bool {
        self.unfit.as_ref().is_some_and(|p| p.is_match(why))
    }

    /// The variable that holds the number of an element.
    pub fn index_variable(&self) -> &str {
        &self.said.index
    }

    /// The variable that says how often an element was begun anew.
    pub fn restarts_variable(&self) -> Option<&str> {
        self.said.restarts.as_deref()
    }

    /// What tells `submit` to wait for these jobs; `None`: that cannot be said.
    pub fn after(&self, jobs: &[&str]) -> Option<Vec<String>> {
        let after = self.said.after.as_ref()?;
        let each: Vec<String> = jobs
            .iter()
            .map(|job| after.each.replace("{}", job))
            .collect();
        let all = each.join(&after.between);
        let words = after.option.iter().map(|word| word.replace("{}", &all));
        (!jobs.is_empty()).then(|| words.collect())
    }

    /// How a job ended, where its own log knows more of that than its state.
    pub fn end_by_log(&self, end: End, log: &str) -> End {
        if !matches!(
            end,
            End::Done | End::Failed | End::Cancelled | End::Vanished
        ) {
            return end;
        }
        let said = [(&self.memory_log, End::Memory), (&self.time_log, End::Time)];
        let found = said
            .iter()
            .find(|(pattern, _)| pattern.as_ref().is_some_and(|p| p.is_match(log)));
        found.map_or(end, |(_, end)| *end)
    }

    /// What stands for the number of an element in the name of a log.
    pub fn element(&self) -> &str {
        &self.said.element
    }

    /// Submits so many elements.
    pub fn submit(
        &self,
        script: &str,
        name: &str,
        log: &str,
        count: u32,
        options: &BTreeMap<String, String>,
        extra: &[String],
    ) -> Submitted {
        let last = count.saturating_sub(1).to_string();
        let mut words = Vec::new();
        for word in &self.said.submit {
            if word == "{options}" {
                for (option, value) in options {
                    let said = self.said.options.get(option).map(Words::all);
                    let said = said.unwrap_or_default().iter();
                    words.extend(said.map(|said| said.replace("{}", value)));
                }
                words.extend(extra.iter().cloned());
            } else {
                words.push(filled(
                    word,
                    &[("name", name), ("log", log), ("last", &last)],
                ));
            }
        }
        let answer = match calls::call(&words, script, self.patience) {
            Ok(answer) => answer,
            // It may have arrived: whoever submits looks for its name before trying again.
            Err(why) if why.contains("did not answer") => return Submitted::Busy(why),
            Err(why) => return Submitted::Refused(why),
        };
        if answer.is_ok
            && let Some(job) = self.job.captures(answer.out.trim()).and_then(|c| c.get(1))
        {
            return Submitted::As(job.as_str().to_owned());
        }
        let both = format!("{}\n{}", answer.err, answer.out);
        let is = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|p| p.is_match(&both));
        match (is(&self.too_large), is(&self.busy)) {
            (true, _) => Submitted::TooLarge,
            (_, true) => Submitted::Busy(answer.complaint()),
            _ => Submitted::Refused(answer.complaint()),
        }
    }

    /// What is told of these jobs, by name; what each is called by the system is empty where that
    /// is not known.
    ///
    /// # Errors
    /// There is no answer, or none that can be understood: no news.
    pub fn ask(&self, names: &[String], jobs: &[String]) -> Result<Vec<Told>, String> {
        let mut all = Vec::new();
        for (names, jobs) in names.chunks(NAMES_AT_ONCE).zip(jobs.chunks(NAMES_AT_ONCE)) {
            let jobs: Vec<&str> = jobs
                .iter()
                .map(String::as_str)
                .filter(|j| !j.is_empty())
                .collect();
            let (names, jobs) = (names.join(","), jobs.join(","));
            let mut words = Vec::new();
            for word in &self.said.state {
                words.push(filled(word, &[("names", &names), ("jobs", &jobs)]));
            }
            let answer = calls::call(&words, "", self.patience)?;
            if !answer.is_ok {
                return Err(answer.complaint());
            }
            all.extend(self.understand(&answer)?);
        }
        Ok(all)
    }

    fn understand(&self, answer: &Answer) -> Result<Vec<Told>, String> {
        let mut told = Vec::new();
        for line in answer.out.lines().filter(|line| !line.trim().is_empty()) {
            let Some(found) = self.line.captures(line) else {
                // Half an answer could make living jobs look dead.
                let line: String = line.escape_debug().take(80).collect();
                return Err(format!(
                    "`{}` answered something else: `{line}`",
                    self.said.state[0]
                ));
            };
            let group = |name: &str| found.name(name).map(|m| m.as_str().trim().to_owned());
            // A heading, which the pattern knows as one.
            let Some(word) = group("state") else { continue };
            told.push(Told {
                state: self
                    .meaning(&word)
                    .ok_or_else(|| format!("the state `{word}` is not known"))?,
                word,
                name: group("name"),
                job: group("job"),
                index: group("index").and_then(|index| index.parse().ok()),
                why: group("why").unwrap_or_default(),
                node: group("node").unwrap_or_default(),
            });
        }
        Ok(told)
    }

    /// How a job ended that nothing is told of any more; `None` where it has not ended.
    pub fn ask_vanished(&self, job: &str, index: u32) -> Option<End> {
        let Some(line) = self
            .vanished_line
            .as_ref()
            .filter(|_| !self.said.vanished.is_empty())
        else {
            return Some(End::Vanished);
        };
        let index = index.to_string();
        let words: Vec<String> = self
            .said
            .vanished
            .iter()
            .map(|word| filled(word, &[("job", job), ("index", &index), ("name", "")]))
            .collect();
        let Ok(answer) = calls::call(&words, "", self.patience) else {
            return None;
        };
        let is_busy = self.busy.as_ref().is_some_and(|p| p.is_match(&answer.err));
        if is_busy {
            return None;
        }
        let word = line
            .captures(&answer.out)
            .and_then(|found| Some(found.name("state")?.as_str().to_owned()));
        match word.and_then(|word| self.meaning(&word)) {
            Some(State::Ended(end)) => Some(end),
            Some(_) => None,
            None => Some(End::Vanished),
        }
    }

    /// Ends jobs.
    ///
    /// # Errors
    /// What the system said.
    pub fn cancel(&self, job: &str, name: &str) -> Result<(), String> {
        let words: Vec<String> = self
            .said
            .cancel
            .iter()
            .map(|word| filled(word, &[("job", job), ("name", name), ("index", "")]))
            .collect();
        let answer = calls::call(&words, "", self.patience)?;
        match answer.is_ok {
            true => Ok(()),
            false => Err(answer.complaint()),
        }
    }

    fn meaning(&self, word: &str) -> Option<State> {
        let states = &self.said.states;
        let is = |words: &[String]| words.iter().any(|w| w == word);
        let ended = [
            (&states.done, End::Done),
            (&states.preempted, End::Preempted),
            (&states.node, End::Node),
            (&states.time, End::Time),
            (&states.memory, End::Memory),
            (&states.cancelled, End::Cancelled),
            (&states.failed, End::Failed),
        ];
        if is(&states.waiting) {
            return Some(State::Waiting);
        }
        if is(&states.running) {
            return Some(State::Running);
        }
        let ended = ended.iter().find(|(words, _)| is(words));
        ended.map(|(_, end)| State::Ended(*end))
    }
}

fn filled(word: &str, values: &[(&str, &str)]) -> String {
    let mut text = word.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

impl End {
    /// What happened, in the user's words.
    pub fn words(self) -> &'static str {
        match self {
            End::Done => "its job ended before it was done",
            End::Preempted => {
                "its job was preempted: somebody with a higher priority got its place"
            }
            End::Node => "the node of its job failed",
            End::Time => "its job ran out of time",
            End::Memory => "its job used more memory than it asked for",
            End::Cancelled => "its job was cancelled by somebody",
            End::Failed => "its job failed before it could say why",
            End::Vanished => "its job is gone, and the batch system knows nothing of it any more",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(out: &str) -> Result<Vec<Told>, String> {
        let answer = Answer {
            is_ok: true,
            out: out.to_owned(),
            err: String::new(),
        };
        System::slurm().unwrap().understand(&answer)
    }

    #[test]
    fn the_answers_of_slurm_are_understood() {
        let out = "repro-a-1|12|0|PENDING|Priority|\nrepro-a-1|12|1|RUNNING|None|n1\nrepro-a-1|12|2|OUT_OF_MEMORY|OutOfMemory|n2\n";
        let told = told(out).unwrap();
        let states: Vec<State> = told.iter().map(|t| t.state).collect();
        assert_eq!(
            states,
            [State::Waiting, State::Running, State::Ended(End::Memory)]
        );
        assert_eq!((told[1].index, &*told[1].node), (Some(1), "n1"));
        assert_eq!(told[0].why, "Priority");
    }

    #[test]
    fn jobs_are_chained_as_each_system_says_it() {
        let with = |after: &str| {
            let text = SLURM.replace("after = {option = [\"--dependency=afterany:{}\"]}", after);
            System::of(toml::from_str(&text).unwrap()).unwrap()
        };
        let slurm = System::slurm().unwrap();
        let both = slurm.after(&["1", "2"]).unwrap();
        assert_eq!(both, ["--dependency=afterany:1:2"]);
        assert_eq!(slurm.after(&[]), None);
        assert_eq!(with("").after(&["1"]), None);
        let lsf = "after = {option = [\"-w\", \"{}\"], each = \"ended({})\", between = \" && \"}";
        assert_eq!(
            with(lsf).after(&["1", "2"]).unwrap(),
            ["-w", "ended(1) && ended(2)"]
        );
    }

    #[test]
    fn a_log_knows_more_than_a_state_that_says_little() {
        let slurm = System::slurm().unwrap();
        for said in [
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch",
            "slurmstepd: error: Job 7 exceeded memory limit (900 > 500), being killed",
            "Some of your processes may have been killed by the cgroup out-of-memory handler.",
        ] {
            assert_eq!(slurm.end_by_log(End::Failed, said), End::Memory, "{said}");
            assert_eq!(slurm.end_by_log(End::Node, said), End::Node);
        }
        assert_eq!(slurm.end_by_log(End::Failed, "no"), End::Failed);
    }

    #[test]
    fn half_an_answer_is_none() {
        for garbage in [
            "repro-a-1|12|0|PENDING|Priority|\nrepro-a-1|12|1|RUN",
            "slurm_load_jobs error: Socket timed out",
            "repro-a-1|12|0|DANCING|None|",
            "\u{0}\u{1}",
        ] {
            assert!(told(garbage).is_err(), "{garbage}");
        }
        assert_eq!(told("\n").unwrap(), []);
    }

    #[test]
    fn mistakes_in_a_description_are_explained() {
        let mistake = |from: &str, to: &str| {
            assert!(SLURM.contains(from), "{from}");
            let said = toml::from_str::<Description>(&SLURM.replace(from, to));
            let error = said.map_err(anyhow::Error::from).and_then(System::of).err();
            format!("{:#}", error.expect("a mistake"))
        };
        let all = [
            mistake("job = '^([0-9]+)'", "job = '^([0-9]+'"),
            mistake("job = '^([0-9]+)'", "job = '^[0-9]+'"),
            mistake("(?P<state>[A-Z_]+)\\|", "(?P<status>[A-Z_]+)\\|"),
            mistake("(?P<index>[0-9]+)", "([0-9]+)"),
            mistake("{last}", "{lost}"),
            mistake("\"{options}\"", "\"--x={options}\""),
            mistake("account = \"--account={}\"", "account = \"--account\""),
        ];
        insta::assert_snapshot!(all.join("\n---\n"));
    }
}

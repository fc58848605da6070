//! Detaching: when all that is ready is submitted, a job of its own is chained behind it. It calls
//! the same command again, which takes the results, submits what follows, and chains the next one.
//! So nobody has to wait.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use repro_engine::exec::CancelLevel;

use super::telling::quoted;
use super::{At, Manager};
use crate::journal::{CLOSING, Closing};
use crate::system::Submitted;

/// Orders that come so soon after one another are waited for.
const QUIET: Duration = Duration::from_secs(1);
/// What the batch system gave to this job is not meant for jobs that it submits.
const UNSET: &str =
    "unset $(env | sed -n 's/^\\(SLURM_[A-Za-z0-9_]*\\)=.*/\\1/p' | grep -v -x SLURM_CONF)";

impl Manager {
    /// Detaches if that is wanted, and nothing is left to submit.
    pub(super) fn detach_due(&mut self, now: Instant) {
        if self.place.asked.detach.is_none()
            || self.orders.is_empty()
            || self.first_pending.is_some()
            || now - self.last_begun < QUIET
            || self.busy_until.is_some_and(|until| now < until)
            || !self
                .orders
                .values()
                .all(|open| matches!(open.at, At::Element(..)))
        {
            return;
        }
        match self.chain() {
            Ok(job) => {
                let closing = self.place.closing.lock();
                *closing.unwrap_or_else(PoisonError::into_inner) = Some(job);
                self.place.cancel.raise(CancelLevel::Graceful);
            }
            Err(why) => {
                if let Some(id) = self.orders.keys().next().copied() {
                    let text = format!(
                        "no job can be chained behind the others, so this run waits for them: {why}"
                    );
                    self.say(id, text);
                }
                self.place.asked.detach = None;
            }
        }
    }

    /// Submits the closing job; what the system calls it.
    fn chain(&mut self) -> Result<String, String> {
        let detach = self.place.asked.detach.clone().ok_or("BUG: nobody asked")?;
        let jobs: Vec<&str> = self
            .sent
            .iter()
            .filter(|s| s.lives())
            .filter_map(|s| s.wave.job.as_deref())
            .collect();
        let after = self
            .place
            .system
            .after(&jobs)
            .ok_or("the description of the batch system does not say how (`after`)")?;
        let number = self.waves;
        self.waves += 1;
        let name = format!("{}-closing{number}", self.job_prefix());
        let mut script = format!("#!/bin/sh\n{UNSET}\n");
        let is_passed = |name: &str| {
            matches!(name, "PATH" | "HOME" | "USER" | "LANG")
                || name.starts_with("REPRO_")
                || name.starts_with("XDG_")
        };
        let variables = std::env::vars().filter(|(name, _)| is_passed(name) && name != CLOSING);
        for (name, value) in variables {
            let _ = writeln!(script, "export {name}={}", quoted(&value));
        }
        let _ = writeln!(script, "export {CLOSING}={}", quoted(&name));
        script += &self.place.settings.prelude;
        let _ = writeln!(
            script,
            "\ncd {} || exit 1",
            quoted(&detach.dir.to_string_lossy())
        );
        let program = quoted(&self.place.program.to_string_lossy());
        let args: Vec<String> = detach.args.iter().map(|arg| quoted(arg)).collect();
        let _ = writeln!(script, "exec {program} {}", args.join(" "));
        let minutes = (self.place.settings.time().as_secs() / 60).max(1);
        let options = self.place.settings.options_of_one(minutes);
        let mut extra = self.place.settings.defaults.extra.clone();
        extra.extend(after);
        let log = self.log(&name);
        let mut closing = Closing {
            job_name: name,
            job: None,
        };
        let before = self.journal.closing().ok().flatten();
        self.journal
            .note_closing(&closing)
            .map_err(|e| format!("{e:#}"))?;
        let submitted =
            self.place
                .system
                .submit(&script, &closing.job_name, &log, 1, &options, &extra);
        match submitted {
            Submitted::As(job) => {
                closing.job = Some(job.clone());
                self.journal
                    .note_closing(&closing)
                    .map_err(|e| format!("{e:#}"))?;
                // It would come too early.
                if let Some(before) = before.filter(|before| !before.is_this_process()) {
                    self.end_closing(&before);
                }
                Ok(job)
            }
            Submitted::TooLarge => Err("it takes no array of one element".to_owned()),
            Submitted::Busy(why) | Submitted::Refused(why) => Err(why),
        }
    }

    /// Nothing is under way: no job has to come for results.
    pub(super) fn forget_closing(&self) {
        let closing = self.journal.closing().ok().flatten();
        if let Some(closing) = closing.filter(|closing| !closing.is_this_process()) {
            self.end_closing(&closing);
        }
    }

    fn end_closing(&self, closing: &Closing) {
        // Where it cannot be ended it finds nothing to do.
        let job = closing.job.clone().unwrap_or_default();
        let _ = self.place.system.cancel(&job, &closing.job_name);
    }
}

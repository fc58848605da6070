//! The work at hand: the job, and the way to speak to the engine. Knows no kind.

use std::collections::BTreeMap;

use repro_protocol::job::{Event, Job, JobInput};

/// The work at hand: the job, and the way to speak to the engine.
pub struct Task {
    /// The job.
    pub job: Job,
    /// What `repro.lock` is to remember; goes into `outcome.json`.
    pub pins: BTreeMap<String, String>,
    /// Figures for the run record.
    pub figures: BTreeMap<String, f64>,
    /// Where events go; `None` sends none (tests).
    pub events: Option<std::io::Stdout>,
}

impl Task {
    /// Sends an event. A broken pipe is ignored: the engine is gone then, and this process will be
    /// killed. A warning is written to the log too, where it is found when the run is long over.
    pub fn send(&mut self, event: &Event) {
        use std::io::Write;
        if let (Some(_), Event::Warning { text }) = (&self.events, event) {
            let _ = writeln!(std::io::stderr(), "warning: {text}");
        }
        if let Some(out) = &mut self.events
            && let Ok(mut line) = serde_json::to_string(event)
        {
            line.push('\n');
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }

    /// The items of an input; empty when it was not given.
    pub fn inputs(&self, name: &str) -> &[JobInput] {
        self.job.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one item of a required single input.
    pub fn input(&self, name: &str) -> anyhow::Result<&JobInput> {
        match self.inputs(name) {
            [one] => Ok(one),
            items => anyhow::bail!("input `{name}`: expected one artifact, got {}", items.len()),
        }
    }

    /// Where an output goes.
    pub fn output(&self, name: &str) -> anyhow::Result<&std::path::Path> {
        match self.job.outputs.get(name) {
            Some(path) => Ok(path),
            None => anyhow::bail!("the job names no output `{name}`"),
        }
    }
}

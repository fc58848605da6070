//! What a dry run would execute: instances of one stage that have the same cause are one line.

use super::lines::reason_text;
use super::style::Colour;
use repro_engine::record::event::{Event, Reason};

/// Instances of a group that are named one by one.
const TOLD: usize = 3;

/// Collects what is planned, to show it in groups.
pub struct Planned {
    groups: Vec<Group>,
    colour: Colour,
}

struct Group {
    stage: String,
    cause: String,
    /// The reason of each, in words.
    instances: Vec<(String, String)>,
}

impl Planned {
    /// Nothing yet.
    pub fn new(colour: Colour) -> Planned {
        Planned {
            groups: Vec::new(),
            colour,
        }
    }

    /// Takes an event in, if it is one of these.
    pub fn take(&mut self, event: &Event) -> bool {
        let Event::Planned { instance, reason } = event else {
            return false;
        };
        let (stage, cause) = (stage_of(instance), cause_of(reason));
        let told = (instance.clone(), reason_text(reason));
        match self
            .groups
            .iter_mut()
            .find(|g| g.stage == stage && g.cause == cause)
        {
            Some(group) => group.instances.push(told),
            None => self.groups.push(Group {
                stage: stage.to_owned(),
                cause,
                instances: vec![told],
            }),
        }
        true
    }

    /// The lines that show it.
    pub fn lines(&self) -> Vec<String> {
        let colour = self.colour;
        let verb = colour.bold("would run");
        let mut lines = Vec::new();
        for group in &self.groups {
            if group.instances.len() <= TOLD {
                let told = group.instances.iter();
                lines.extend(told.map(|(id, why)| format!("{verb} {id} {}", colour.dim(why))));
                continue;
            }
            let (first, why) = &group.instances[0];
            let is_same = group.instances.iter().all(|(_, other)| other == why);
            let why = if is_same { why } else { &group.cause };
            lines.push(format!(
                "{verb} {} instances of {} {}",
                group.instances.len(),
                group.stage,
                colour.dim(&format!("{why}, e.g. {first}"))
            ));
        }
        if self.groups.iter().any(|g| g.instances.len() > TOLD) {
            lines.push(colour.dim("(`--all` names every instance)"));
        }
        lines
    }
}

/// `train` of `train[seed=1]`.
pub fn stage_of(instance: &str) -> &str {
    instance
        .split_once('[')
        .map_or(instance, |(stage, _)| stage)
}

/// The cause without what differs from instance to instance.
fn cause_of(reason: &Reason) -> String {
    match reason {
        Reason::Upstream(instance) => format!("(after {})", stage_of(instance)),
        Reason::Changed(changes) if !changes.is_empty() => {
            let mut fields: Vec<&str> = changes.iter().map(|c| stage_of(&c.field)).collect();
            fields.dedup();
            let more = match fields.len() {
                0..=3 => String::new(),
                n => format!(" and {} more", n - 3),
            };
            fields.truncate(3);
            format!("({}{more} changed)", fields.join(", "))
        }
        other => reason_text(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_27_many_instances_with_one_cause_are_one_line() {
        let mut planned = Planned::new(Colour::Off);
        for seed in 0..200 {
            planned.take(&Event::Planned {
                instance: format!("train[seed={seed}]"),
                reason: Reason::NeverRun,
            });
            planned.take(&Event::Planned {
                instance: format!("test[seed={seed}]"),
                reason: Reason::Upstream(format!("train[seed={seed}]")),
            });
        }
        planned.take(&Event::Planned {
            instance: "table".into(),
            reason: Reason::Upstream("test[seed=0]".into()),
        });
        assert_eq!(
            planned.lines(),
            [
                "would run 200 instances of train (first time), e.g. train[seed=0]",
                "would run 200 instances of test (after train), e.g. test[seed=0]",
                "would run table (after test[seed=0])",
                "(`--all` names every instance)",
            ]
        );
    }
}

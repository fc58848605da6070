//! What the two sides of a comparison are called: their stages, and where these are the same, what
//! tells the sides apart.

use repro_engine::plan::{Axes, Instance, Need, Plan, Source, axes_text};

/// The names of the needs `a` and `b`; empty where there is none.
pub(super) fn names(plan: &Plan, claim: &Instance) -> [String; 2] {
    let side = |need: &str| {
        let need = claim.needs.iter().find(|n| &*n.name == need);
        need.map(|need| Side::of(plan, need)).unwrap_or_default()
    };
    let (a, b) = (side("a"), side("b"));
    if a.stages != b.stages {
        return [a.stages.join(", "), b.stages.join(", ")];
    }
    [a.beside(&b), b.beside(&a)]
}

#[derive(Default)]
struct Side {
    stages: Vec<String>,
    /// Outputs, with what is taken of them.
    outputs: Vec<String>,
    /// The values that all its runs have.
    axes: Option<Vec<String>>,
}

impl Side {
    fn of(plan: &Plan, need: &Need) -> Side {
        let mut side = Side::default();
        for item in &need.items {
            let Source::Output { instance, output } = &item.source else {
                continue;
            };
            let producer = plan.instance(*instance);
            let mut name = producer.outputs[*output as usize].name.to_string();
            if let Some(inside) = &item.inside {
                name = format!("{name}/{}", inside.path);
            }
            for (list, new) in [
                (&mut side.stages, producer.stage.to_string()),
                (&mut side.outputs, name),
            ] {
                if !list.contains(&new) {
                    list.push(new);
                }
            }
            side.share(&producer.axes);
        }
        side
    }

    fn share(&mut self, axes: &Axes) {
        let one = |at: usize| axes_text(&axes[at..=at]);
        match &mut self.axes {
            Some(shared) => shared.retain(|text| (0..axes.len()).any(|at| one(at) == *text)),
            None => self.axes = Some((0..axes.len()).map(one).collect()),
        }
    }

    /// `train[lr=0.1]`: the stages, and in brackets what the other side has not.
    fn beside(&self, other: &Side) -> String {
        let is_theirs = |text: &String| other.axes.iter().flatten().any(|t| t == text);
        let own = self.axes.iter().flatten().filter(|text| !is_theirs(text));
        let own: Vec<&str> = own.map(String::as_str).collect();
        let mut name = self.stages.join(", ");
        if !own.is_empty() {
            name.push_str(&format!("[{}]", own.join(",")));
        }
        if self.outputs != other.outputs {
            name.push_str(&format!(".{}", self.outputs.join("+")));
        }
        name
    }
}

//! The pipeline file that comes of a `dvc.yaml`: the names of stages, which of them stay one stage
//! with a matrix, what is told above each, and the text.

use std::path::Path;

use repro_engine::spec::yaml::{Data, Node};

use super::emit::{Emitter, Shape, Used, Written};
use super::file::{self, Each, Stage, Vars};
use super::names::{free, sanitised};
use super::variables::vars;
use crate::{Note, yaml};

/// What is written so far.
pub struct Writer<'a> {
    pub emitter: Emitter<'a>,
    pub notes: Vec<Note>,
    pub text: String,
}

impl Writer<'_> {
    /// Gives every stage its name.
    pub fn names(&mut self) {
        let emitter = &mut self.emitter;
        let mut taken: Vec<String> = vec!["claims".to_owned()];
        let mut names = Vec::new();
        let mut of_def: Vec<String> = Vec::new();
        for stage in emitter.defs {
            let wanted = match sanitised(&stage.name.name).as_str() {
                "" => "stage".to_owned(),
                name => name.to_owned(),
            };
            let name = free(&wanted, &|n| taken.iter().any(|t| t == n));
            if name != *stage.name.name {
                self.notes.push(Note {
                    stage: Some(stage.name.name.to_string()),
                    text: format!("it is called `{name}` here"),
                });
            }
            taken.push(name.clone());
            of_def.push(name);
        }
        for instance in emitter.instances {
            let base = &of_def[instance.def];
            names.push(match &emitter.shapes[instance.def] {
                Shape::Once | Shape::Folded(_) => base.clone(),
                Shape::Apart => {
                    let wanted = format!("{base}-{}", sanitised(&instance.key));
                    let name = free(wanted.trim_end_matches('-'), &|n| {
                        taken.iter().any(|t| t == n)
                    });
                    taken.push(name.clone());
                    name
                }
            });
        }
        emitter.names = names;
    }

    /// Decides which stages stay one stage with a matrix: all that come to one text. That depends on
    /// how their producers are written, so this goes on until nothing changes.
    pub fn fold(&mut self) {
        loop {
            let mut changed = false;
            for def in 0..self.emitter.defs.len() {
                if !matches!(self.emitter.shapes[def], Shape::Folded(_)) {
                    continue;
                }
                let members = self.emitter.members(def);
                if self.emitter.write(&members, &mut Used::default()).is_none() {
                    self.emitter.shapes[def] = Shape::Apart;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
            self.notes.clear();
            self.names();
        }
    }

    /// Writes all stages; how many there are.
    pub fn stages(&mut self) -> usize {
        let mut count = 0;
        let mut used = Used::default();
        let mut texts = String::new();
        for def in 0..self.emitter.defs.len() {
            let members = self.emitter.members(def);
            let groups: Vec<Vec<usize>> = match &self.emitter.shapes[def] {
                Shape::Once | Shape::Folded(_) => vec![members.clone()],
                Shape::Apart => members.iter().map(|&m| vec![m]).collect(),
            };
            let stage = &self.emitter.defs[def];
            let mut notes = about(stage);
            if let Shape::Apart = self.emitter.shapes[def] {
                notes.push(match members.is_empty() {
                    true => "it has no items, so nothing is written for it".to_owned(),
                    false => format!(
                        "its {} instances are written out: no `matrix` says the same",
                        members.len()
                    ),
                });
            }
            if let Shape::Folded(axes) = &self.emitter.shapes[def] {
                used.heads.extend(axes.heads.iter().cloned());
            }
            if copies(stage, &self.emitter.shapes[def]) {
                notes.push("the values of its items are copied: they no longer follow the variables they come from".to_owned());
            }
            let axes = match &self.emitter.shapes[def] {
                Shape::Folded(axes) => Some(axes.text.as_str()),
                Shape::Once | Shape::Apart => None,
            };
            let mut told = 0;
            for group in groups.iter().filter(|g| !g.is_empty()) {
                used.notes.clear();
                let written = self.emitter.write(group, &mut used);
                for note in std::mem::take(&mut used.notes) {
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                // What was written once is written again: nothing changed in between.
                let Some(written) = written else { continue };
                count += 1;
                let name = &self.emitter.names[group[0]];
                // Each is told above the first stage that it is about.
                texts.push_str(&stage_text(name, stage, axes, &written, &notes[told..]));
                told = notes.len();
            }
            let called = stage.name.name.to_string();
            self.notes.extend(notes.into_iter().map(|text| Note {
                stage: Some(called.clone()),
                text,
            }));
        }
        for (way, here, there) in &used.forms {
            self.notes.push(Note {
                stage: None,
                text: format!("`${{{way}}}` puts `{here}` into texts here, as its file has it; DVC puts `{there}`: write it so in the file if a program minds"),
            });
        }
        let files: Vec<(String, Node)> = used
            .files
            .iter()
            .filter_map(|f| {
                Some((
                    f.clone(),
                    self.emitter.params.borrow().get(f).cloned().flatten()?,
                ))
            })
            .collect();
        let parts = vars(self.emitter.scope, &files, &used.heads, &mut self.notes);
        self.text.push_str(&match parts.as_slice() {
            [] => String::new(),
            [one] => format!("vars: {one}\n\n"),
            several => format!(
                "vars:\n{}\n",
                several
                    .iter()
                    .map(|p| format!("  - {p}\n"))
                    .collect::<String>()
            ),
        });
        self.text.push_str("stages:\n");
        self.text.push_str(texts.trim_start_matches('\n'));
        count
    }

    /// What is said once, and the top of the file.
    pub fn whole(&mut self, file: &file::File, root: &Path) {
        let name = root
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or("pipeline");
        let top = format!(
            "# Written by `repro init --from-dvc` from dvc.yaml. A line that begins with `# DVC:` needs a look.\nversion: 1\nname: {}\n\n",
            yaml::text(name)
        );
        self.text.insert_str(0, &top);
        let mut note = |text: String| self.notes.push(Note { stage: None, text });
        let outs = || self.emitter.defs.iter().flat_map(|d| &d.outs);
        if outs().any(|o| o.uncached) {
            note("`cache: false`: results are kept in the store and shown under artifacts/; git no longer gets these files at their places".to_owned());
        }
        if outs().any(|o| o.pushed) {
            note("`push` and `remote` of outputs: `repro push` sends every result to the remote it is given".to_owned());
        }
        if !file.shown.is_empty() || outs().any(|o| o.drawn) {
            note("how DVC draws plots is not kept: `repro metrics` and `repro report` find tables among the outputs by themselves".to_owned());
        }
        for lost in &file.lost {
            note(format!("`{lost}:` has no counterpart here and is left out"));
        }
        note("a command sees only what its stage declares: a file that dvc.yaml does not list makes the stage fail, and the message has the line to add".to_owned());
        note("outputs appear under artifacts/STAGE/ and not at their places in the project; dvc.yaml and its files are left as they are".to_owned());
    }
}

/// Whether values of variables are written out in a matrix.
fn copies(stage: &Stage, shape: &Shape) -> bool {
    let Shape::Folded(axes) = shape else {
        return false;
    };
    let refers = |node: &Node| {
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            if node
                .as_str()
                .is_some_and(|s| s.contains("${") && !s.contains("\\${"))
            {
                return true;
            }
            left.extend(node.entries().iter().map(|(_, n)| n));
            if let Data::Seq(items) = &node.data {
                left.extend(items.iter());
            }
        }
        false
    };
    match &stage.each {
        Each::Once => false,
        Each::Foreach(node) => refers(node) && axes.heads.is_empty(),
        Each::Matrix(written) => written
            .iter()
            .zip(&axes.list)
            .any(|((_, node), axis)| refers(node) && !axis.by_reference),
    }
}

/// What of a stage cannot be kept, whatever its items.
fn about(stage: &Stage) -> Vec<String> {
    let mut notes = Vec::new();
    if stage.frozen {
        notes.push("it is frozen in DVC, which leaves its files as they are; here it runs once, and again when its command or inputs change".to_owned());
    }
    if stage.always_changed {
        notes.push("`always_changed`: here it runs when its command or inputs change; `repro run --force STAGE` runs it again".to_owned());
    }
    let outs = |has: &dyn Fn(&file::Out) -> bool| {
        let found: Vec<String> = stage
            .outs
            .iter()
            .filter(|o| has(o))
            .map(|o| format!("`{}`", o.path.words.written))
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    if let Some(paths) = outs(&|o| o.persist) {
        notes.push(format!("`persist` of {paths}: here a command starts without the files of its last run, so that its result does not depend on them"));
    }
    if let Some(paths) = outs(&|o| o.checkpoint) {
        notes.push(format!(
            "`checkpoint` of {paths} is not kept: DVC 3 does not know it either"
        ));
    }
    if stage.meta {
        notes.push("`meta` is not kept".to_owned());
    }
    if stage.vars.iter().any(|v| matches!(v, Vars::File { .. })) {
        notes
            .push("the values of the files in its own `vars` are copied into its texts".to_owned());
    }
    notes
}

/// A stage as it stands in the file.
fn stage_text(
    name: &str,
    stage: &Stage,
    axes: Option<&str>,
    written: &Written,
    notes: &[String],
) -> String {
    let mut text = String::from("\n");
    for note in notes {
        let mut line = String::from("  # DVC:");
        for word in note.split_whitespace() {
            if line.chars().count() + word.chars().count() > 98 {
                text.push_str(&line);
                text.push('\n');
                line = "  #".to_owned();
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&format!("  {name}:\n"));
    if let Some(desc) = &stage.desc {
        text.push_str(&format!(
            "    description: {}\n",
            yaml::text(&desc.replace("${", "$${"))
        ));
    }
    if let Some(axes) = axes {
        text.push_str(&format!("    matrix: {axes}\n"));
    }
    let mut map = |key: &str, entries: &[(String, String)]| {
        if entries.is_empty() {
            return;
        }
        let part = |(k, v): &(String, String)| match v.starts_with('\n') {
            true => format!("{}:{v}", yaml::text(k)),
            false => format!("{}: {v}", yaml::text(k)),
        };
        let parts: Vec<String> = entries.iter().map(part).collect();
        let line = format!("    {key}: {{{}}}\n", parts.join(", "));
        if line.chars().count() <= 100 && parts.len() == 1 && !line.trim_end().contains('\n') {
            text.push_str(&line);
            return;
        }
        text.push_str(&format!("    {key}:\n"));
        for part in parts {
            text.push_str(&format!("      {part}\n"));
        }
    };
    map("needs", &written.needs);
    map("config", &written.config);
    if written.lenient {
        text.push_str("    shell: [bash, -uc]\n");
    }
    text.push_str(&format!("    run: {}\n", yaml::command(&written.run, 6)));
    let outputs: Vec<(String, String)> = written
        .outputs
        .iter()
        .map(|(n, p)| (n.clone(), yaml::text(p)))
        .collect();
    if !outputs.is_empty() {
        let parts: Vec<String> = outputs.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let line = format!("    outputs: {{{}}}\n", parts.join(", "));
        match line.chars().count() <= 100 {
            true => text.push_str(&line),
            false => {
                text.push_str("    outputs:\n");
                for part in parts {
                    text.push_str(&format!("      {part}\n"));
                }
            }
        }
    }
    text
}

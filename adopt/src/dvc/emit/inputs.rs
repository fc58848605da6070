//! The inputs of a stage: files that no stage makes, and outputs of other stages.

use repro_engine::spec::yaml::Node;

use super::super::expand::{Instance, Path, same};
use super::super::found::What;
use super::super::graph::{Made, Taken};
use super::super::paths::{Place, below};
use super::super::references::{Bit, text};
use super::{Emitter, Shape, Used};
use crate::yaml;

impl Emitter<'_> {
    /// An input as it is written; `Some(None)`: there is none to write.
    pub(super) fn need(
        &self,
        dep: &Path,
        member: usize,
        members: &[usize],
        used: &mut Used,
        which: &dyn for<'i> Fn(&'i Instance) -> Option<&'i Path>,
    ) -> Option<Option<String>> {
        match self.graph.taken(&dep.place) {
            Taken::Output { of, inside } => {
                let made = |&m: &usize| match self.graph.taken(&which(&self.instances[m])?.place) {
                    Taken::Output { of, .. } => Some(of),
                    Taken::Nothing | Taken::Below(_) => None,
                };
                let made: Vec<Made> = members.iter().map(made).collect::<Option<_>>()?;
                let mut from = self.output(members, &made, of)?;
                let at = self.path(dep, member, used)?;
                if !inside.is_empty() {
                    from.push('/');
                    from.push_str(&self.inside(dep, &inside, member, used));
                }
                Some(Some(format!(
                    "{{from: {}, at: {}}}",
                    yaml::text(&from),
                    yaml::text(&at)
                )))
            }
            Taken::Below(parts) => {
                let Place::Inside(dir) = &dep.place else {
                    return Some(None);
                };
                let mut items = Vec::new();
                let mut paths = Vec::new();
                for &of in &parts {
                    let out = &self.instances[of.0].outs[of.1];
                    let Place::Inside(at) = &out.place else {
                        continue;
                    };
                    let from = self.output(&[member], &[of], of)?;
                    items.push(format!(
                        "{{from: {}, at: {}}}",
                        yaml::text(&from),
                        yaml::text(&at.replace("${", "$${"))
                    ));
                    paths.push(at.as_str());
                }
                if self.found.borrow().others(dir, &paths) {
                    if dir.is_empty() {
                        used.notes.insert("it depends on the whole directory of the project: list what it reads under `needs`".to_owned());
                    } else {
                        let inner: Vec<String> = paths
                            .iter()
                            .filter_map(|p| below(p, dir))
                            .map(|p| yaml::quoted(&format!("/{p}")))
                            .collect();
                        items.push(format!(
                            "{{dir: {}, ignore: [{}]}}",
                            yaml::text(dir),
                            inner.join(", ")
                        ));
                    }
                }
                match items.as_slice() {
                    [one] => Some(Some(one.clone())),
                    // A line for each.
                    _ => Some(Some(
                        items
                            .iter()
                            .map(|item| format!("\n        - {item}"))
                            .collect(),
                    )),
                }
            }
            Taken::Nothing => Some(self.file(dep, member, used)),
        }
    }

    /// A file that no stage makes.
    fn file(&self, dep: &Path, member: usize, used: &mut Used) -> Option<String> {
        let called = &self.called[member];
        match &dep.place {
            Place::Remote(address) => {
                used.notes.insert(format!("it depends on `{address}`, which is no file of this machine: the command still reads it, but nothing here notices when it changes"));
                None
            }
            Place::Inside(path) if path.is_empty() => {
                used.notes.insert("it depends on the whole directory of the project, which cannot be an input: list what it reads under `needs`".to_owned());
                None
            }
            Place::Inside(path) => {
                let known = self.found.borrow_mut().look(path, called, &dep.own);
                let text = self.path(dep, member, used)?;
                let form = match known.what {
                    Some(What::Dir) => "dir",
                    Some(What::File) => "file",
                    None => {
                        used.notes.insert(format!("`{path}` is not here, and nothing says whether it is a file or a directory: it is written as `file`; write `dir` if it is one"));
                        "file"
                    }
                };
                if !known.here && known.tracked {
                    used.notes.insert(format!(
                        "`{path}` is tracked by a .dvc file and not here: `dvc pull` brings it"
                    ));
                } else if !known.here && known.what.is_some() {
                    used.notes
                        .insert(format!("`{path}` is not here: it has to be before a run"));
                }
                Some(format!("{{{form}: {}}}", yaml::text(&text)))
            }
            Place::Outside(path) => {
                let known = self.found.borrow_mut().look(path, called, &dep.own);
                let form = match known.what {
                    Some(What::Dir) => "dir",
                    Some(What::File) => "file",
                    None => {
                        used.notes.insert(format!("`{path}` is not here, and nothing says whether it is a file or a directory: it is written as `file`"));
                        "file"
                    }
                };
                Some(format!(
                    "{{{form}: {}}}",
                    yaml::text(&path.replace("${", "$${"))
                ))
            }
        }
    }

    /// What of a path lies below the output, with references where they say the same.
    fn inside(&self, dep: &Path, inside: &str, member: usize, used: &mut Used) -> String {
        let steps = inside.split('/').count();
        let tail = dep.bits.as_ref().map(|bits| {
            let all: Vec<&[Bit]> = bits
                .split(|b| matches!(b, Bit::Text(t) if t == "/"))
                .collect();
            let from = all.len().saturating_sub(steps);
            all[from..].join(&Bit::Text("/".to_owned()))
        });
        match tail {
            Some(bits) if text(&bits) == inside => self.spell(&bits, member, used),
            _ => inside.replace("${", "$${"),
        }
    }

    /// The reference to an output, from all members at once.
    fn output(&self, members: &[usize], made: &[Made], of: Made) -> Option<String> {
        let producer = &self.instances[of.0];
        let name = &self.names[of.0];
        let output = self.outputs[producer.def].get(of.1)?;
        let Shape::Folded(theirs) = &self.shapes[producer.def] else {
            // Each instance may take from one stage of its own only where it is written out.
            return made
                .iter()
                .all(|&m| self.names[m.0] == *name && m.1 == of.1)
                .then(|| format!("{name}.{output}"));
        };
        if made
            .iter()
            .any(|m| self.instances[m.0].def != producer.def || m.1 != of.1)
        {
            return None;
        }
        let first = self.ranges[producer.def].start;
        let ours = members.first().and_then(|&m| self.axes(m));
        let home = members
            .first()
            .map_or(0, |&m| self.ranges[self.instances[m].def].start);
        let mut picks = Vec::new();
        for axis in &theirs.list {
            let labels: Vec<&String> = made.iter().map(|m| &axis.labels[m.0 - first]).collect();
            let values: Vec<&Node> = made.iter().map(|m| &axis.values[m.0 - first]).collect();
            let same_axis = ours.and_then(|o| o.list.iter().find(|a| a.name == axis.name));
            let joined = same_axis.is_some_and(|ours| {
                members
                    .iter()
                    .zip(&values)
                    .all(|(&m, v)| same(&ours.values[m - home], v))
            });
            if joined {
                continue;
            }
            if labels.windows(2).all(|w| w[0] == w[1]) {
                picks.push(format!("{}={}", axis.name, labels.first()?));
                continue;
            }
            let follows = ours?.list.iter().find(|ours| {
                members
                    .iter()
                    .zip(&labels)
                    .all(|(&m, label)| ours.labels[m - home] == **label)
            })?;
            picks.push(format!("{}=${{matrix.{}}}", axis.name, follows.name));
        }
        let picks = match picks.is_empty() {
            true => String::new(),
            false => format!("[{}]", picks.join(",")),
        };
        Some(format!("{name}{picks}.{output}"))
    }
}

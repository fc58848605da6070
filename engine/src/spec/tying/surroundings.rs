//! What surrounds a command: environments of packages and caches, as written, and those of each
//! instance.

use std::path::{Path, PathBuf};

use super::consumer::Consumer;
use super::outside;
use super::preparing::{Preparing, templates};
use super::values::Values;
use crate::files::Location;
use crate::plan::{Cache, Environment, EnvironmentPlace, Manager};
use crate::spec::text::decode::{Raw, decode};
use crate::spec::text::model;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::substitute::scalar_text;
use crate::spec::text::written;

/// The surroundings of a stage as written.
#[derive(Default)]
pub struct Surroundings {
    environments: Vec<Written>,
    /// The same for every instance.
    pub caches: Vec<Cache>,
    root: PathBuf,
    home: Option<PathBuf>,
}

struct Written {
    manager: Manager,
    lock: Option<Node>,
    place: Option<Node>,
    span: Span,
}

/// Reads them; what is wrong is reported.
pub fn prepare(
    stage: &model::Stage,
    consumer: &Consumer,
    with: &mut Preparing,
    problems: &mut Vec<Problem>,
) -> Surroundings {
    let mut made = Surroundings {
        root: with.kinds.root().to_owned(),
        home: outside::home(with.env),
        ..Surroundings::default()
    };
    for (manager, raw) in [
        (Manager::Conda, &stage.conda),
        (Manager::Python, &stage.python),
        (Manager::R, &stage.r),
    ] {
        let Some(Raw(node)) = raw else { continue };
        let (lock, place) = match &node.data {
            Data::Map(_) => {
                let (locked, found) = decode::<written::LockedEnvironment>(node);
                problems.extend(found);
                let Some(locked) = locked else { continue };
                if locked.lock.is_none() {
                    let word = manager.word();
                    problems.push(
                        Problem::new(node.span, "`lock` is missing")
                            .help(format!("write `{word}: DIR`, or `{word}: {{lock: FILE}}`")),
                    );
                    continue;
                }
                (locked.lock.map(|r| r.0), locked.path.map(|r| r.0))
            }
            _ => (None, Some(node.clone())),
        };
        for node in lock.iter().chain(&place) {
            if scalar_text(&node.data).is_none_or(|t| t.is_empty())
                && !matches!(node.data, Data::Template(_))
            {
                problems.push(Problem::new(
                    node.span,
                    format!(
                        "expected the path of an environment, found {}",
                        node.describe()
                    ),
                ));
            }
            templates(node, &mut |template, span| {
                for reference in template.references() {
                    let at = (with.narrow)(span, &format!("${{{reference}}}"));
                    problems.extend(consumer.axis(reference, at).err());
                }
            });
        }
        made.environments.push(Written {
            manager,
            lock,
            place,
            span: node.span,
        });
    }
    if let [first, second, ..] = made.environments.as_slice()
        && first.manager == Manager::Conda
        && second.manager == Manager::Python
    {
        problems.push(
            Problem::new(
                second.span,
                "a command has one Python: that of `conda` or of `python`",
            )
            .also(first.span, "`conda` is here")
            .help("keep one"),
        );
    }
    caches(stage, with, &mut made, problems);
    made
}

fn caches(
    stage: &model::Stage,
    with: &mut Preparing,
    made: &mut Surroundings,
    problems: &mut Vec<Problem>,
) {
    let known = with.kinds.caches();
    for field in stage.caches.iter().flat_map(|c| c.value.iter().flatten()) {
        let Some(text) = field.value.as_deref() else {
            continue;
        };
        if let Some(cache) = known.iter().find(|c| c.name == text) {
            let moved = (with.env)(cache.variable).map(PathBuf::from);
            let usual = made.home.as_ref().map(|home| home.join(cache.dir));
            match moved.filter(|p| p.is_absolute()).or(usual) {
                Some(dir) => made.caches.push(Cache {
                    dir,
                    variable: Some(cache.variable.to_owned()),
                }),
                None => problems.push(Problem::new(
                    field.span,
                    "there is no home directory: HOME is not set",
                )),
            }
        } else if text.contains('/') {
            match outside::absolute(text, &made.root, made.home.as_deref(), field.span) {
                Ok(dir) if dir.starts_with(&made.root) => problems.push(
                    Problem::new(field.span, "a cache lies outside of the project")
                        .help("what lies in the project is an input: `needs: {NAME: {dir: path}}`"),
                ),
                Ok(dir) => made.caches.push(Cache {
                    dir,
                    variable: None,
                }),
                Err(problem) => problems.push(problem),
            }
        } else {
            problems.push(
                Problem::new(field.span, format!("there is no cache `{}`", text.escape_debug()))
                    .suggest(text, known.iter().map(|c| c.name))
                    .help(format!(
                        "known are {}; another one is named by its directory, such as `~/.cache/{text}`",
                        known.iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
                    )),
            );
        }
    }
}

impl Surroundings {
    /// All texts of them that are filled in for every instance.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.environments
            .iter()
            .flat_map(|e| e.lock.iter().chain(&e.place))
    }

    /// The environments of a row.
    pub fn environments(
        &self,
        row: &[u32],
        consumer: &Consumer,
        values: &Values,
    ) -> Result<Vec<Environment>, Problem> {
        self.environments
            .iter()
            .map(|written| self.environment(written, row, consumer, values))
            .collect()
    }

    fn environment(
        &self,
        written: &Written,
        row: &[u32],
        consumer: &Consumer,
        values: &Values,
    ) -> Result<Environment, Problem> {
        let text = |node: &Node| match &node.data {
            Data::Template(template) => consumer.text(template, row, values, node.span),
            data => Ok(scalar_text(data).unwrap_or_default()),
        };
        let absolute =
            |text: &str, span| outside::absolute(text, &self.root, self.home.as_deref(), span);
        let located = |path: &Path| Location::of(path, &self.root);
        let lock_text = written.lock.as_ref().map(text).transpose()?;
        let lock = match (&lock_text, &written.lock) {
            (Some(lock), Some(node)) => Some(absolute(lock, node.span)?),
            _ => None,
        };
        let place_text = written.place.as_ref().map(text).transpose()?;
        let place = match (&place_text, &written.place, &lock) {
            (Some(text), Some(node), _) => match (written.manager, text.as_str()) {
                (Manager::Python | Manager::R, "user") => EnvironmentPlace::User,
                (Manager::Conda, name) if !name.contains('/') && !name.starts_with(['.', '~']) => {
                    EnvironmentPlace::Named(name.to_owned())
                }
                _ => EnvironmentPlace::Dir(located(&absolute(text, node.span)?)),
            },
            (_, _, Some(lock)) => {
                let beside = lock.parent().unwrap_or(Path::new("/"));
                EnvironmentPlace::Dir(located(&beside.join(match written.manager {
                    Manager::Python => ".venv",
                    Manager::Conda => ".pixi/envs/default",
                    Manager::R => "renv/library",
                })))
            }
            _ => {
                return Err(Problem::new(
                    written.span,
                    "expected the path of an environment",
                ));
            }
        };
        let shown = match (&place_text, &lock_text) {
            (Some(place), None) => place.clone(),
            (place, Some(lock)) => match place {
                Some(place) => format!("{{lock: {lock}, path: {place}}}"),
                None => format!("{{lock: {lock}}}"),
            },
            (None, None) => String::new(),
        };
        Ok(Environment {
            manager: written.manager,
            place,
            lock: lock.as_deref().map(located),
            written: shown,
        })
    }
}

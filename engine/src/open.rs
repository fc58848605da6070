//! Opening a project: from typed options to its files, its plan, and a session of it.
//!
//! What the environment says (`REPRO_STORE`, `REPRO_MIRROR`, `REPRO_LINK`, and what a pipeline asks
//! for) is read here and nowhere else. Doubts about what was remembered go to the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::exec::external::Asker;
use crate::exec::{Asking, Memory};
use crate::index::Index;
use crate::plan::Plan;
use crate::project::{Project, store_path};
use crate::record::elsewhere::Elsewhere;
use crate::record::inputs::Inputs;
use crate::remote::layout::Scope;
use crate::session::Session;
use crate::spec;
use crate::store::{LinkMode, StatCache, Store};
use crate::trust::Believer;

/// Which project is meant, and how its pipeline is varied.
#[derive(Clone)]
pub struct Opening {
    /// The kinds its stages may use.
    pub catalog: Arc<Catalog>,
    /// The pipeline file or its directory; the nearest pipeline file upwards from here when absent.
    pub file: Option<PathBuf>,
    /// Profiles of the pipeline that are applied; later ones win.
    pub profiles: Vec<String>,
    /// `epochs=3`, `stages.train.with.seed=1`: variables and fields that are set; values are YAML.
    pub sets: Vec<String>,
    /// The directory of the store; `REPRO_STORE`, or the user's cache, when absent.
    pub store: Option<PathBuf>,
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What programs of a project have answered.
pub fn answers(project: &Project) -> Arc<Memory> {
    Arc::new(Memory::load(&project.state().join("answers")))
}

impl Opening {
    /// The project found from here, as its files are.
    pub fn new(catalog: Arc<Catalog>) -> Opening {
        Opening {
            catalog,
            file: None,
            profiles: Vec::new(),
            sets: Vec::new(),
            store: None,
        }
    }

    /// The project, without reading its pipeline.
    ///
    /// # Errors
    /// There is no pipeline file.
    pub fn project(&self) -> anyhow::Result<Project> {
        let here = std::env::current_dir()?;
        Ok(Project::find(self.file.as_deref(), &here)?)
    }

    /// The store, which needs no project.
    ///
    /// # Errors
    /// It has no place, or cannot be opened.
    pub fn store(&self) -> anyhow::Result<Store> {
        let path = match &self.store {
            Some(path) => std::path::absolute(path)?,
            None => store_path(env)?,
        };
        Ok(Store::open(&path)?)
    }

    /// The plan of a project, without running any code of it.
    ///
    /// # Errors
    /// All mistakes in the pipeline.
    pub fn plan(&self, project: &Project) -> anyhow::Result<Plan> {
        self.plan_asking(project, Asking::Memory, &answers(project))
    }

    /// Everything, for whoever only looks: no code of the project is run.
    ///
    /// # Errors
    /// Mistakes in the pipeline; a store that cannot be opened.
    pub fn session(&self) -> anyhow::Result<Session> {
        self.session_asking(Asking::Memory)
    }

    /// Everything, for whoever executes stages: programs of the project are asked what they are.
    ///
    /// # Errors
    /// As [`Opening::session`]; a tool or an environment that is not there.
    pub fn session_to_run(&self) -> anyhow::Result<Session> {
        self.session_asking(Asking::Programs)
    }

    /// Everything but the versions of declared tools: keys of stages with tools cannot be known.
    ///
    /// # Errors
    /// Mistakes in the pipeline; a store that cannot be opened.
    pub fn session_without_tools(&self) -> anyhow::Result<Session> {
        let project = self.project()?;
        let answers = answers(&project);
        self.open(project, Asking::Memory, &answers)
    }

    fn session_asking(&self, asking: Asking) -> anyhow::Result<Session> {
        let project = self.project()?;
        let answers = answers(&project);
        let mut session = self.open(project, asking, &answers)?;
        let doubts = session.learn_tool_versions(asking, &answers);
        answers.save();
        doubts?.iter().for_each(|doubt| log::warn!("{doubt}"));
        Ok(session)
    }

    fn plan_asking(
        &self,
        project: &Project,
        asking: Asking,
        answers: &Arc<Memory>,
    ) -> anyhow::Result<Plan> {
        let asker = Asker::new(&project.root, asking, answers.clone());
        let describe = |program: &Path| asker.describe(program);
        let options = spec::Options {
            file: &project.pipeline,
            root: &project.root,
            profile: self.profiles.clone(),
            set: self.sets.clone(),
            env: &env,
        };
        let plan = spec::load(&options, &self.catalog, &describe);
        asker
            .doubts()
            .iter()
            .for_each(|doubt| log::warn!("{doubt}"));
        let mut plan = plan?;
        // It comes before the mirrors that the pipeline names.
        if let Some(mirror) = env("REPRO_MIRROR").filter(|m| !m.is_empty()) {
            // A relative directory means: from where the user is.
            let mirror = if mirror.contains("://") {
                mirror
            } else {
                std::path::absolute(mirror)?.to_string_lossy().into_owned()
            };
            plan.mirrors.insert(0, mirror);
        }
        Ok(plan)
    }

    fn open(
        &self,
        project: Project,
        asking: Asking,
        answers: &Arc<Memory>,
    ) -> anyhow::Result<Session> {
        let plan = self.plan_asking(&project, asking, answers)?;
        let store = self.store()?;
        let state = project.state();
        let link_mode = match env("REPRO_LINK").as_deref() {
            None | Some("" | "copy") => LinkMode::Copy,
            Some("hardlink") => LinkMode::Hardlink,
            Some(other) => {
                anyhow::bail!("REPRO_LINK is `{other}`; it may be `copy` (default) or `hardlink`")
            }
        };
        Ok(Session {
            index: Index::load(&state.join("index")),
            believer: Believer::of(&project.root, &state, Scope::Shared),
            elsewhere: Elsewhere::of(&state),
            inputs: Inputs::of(&state),
            told: Default::default(),
            stats: Arc::new(StatCache::load(&project.root, &state.join("stats"))),
            project,
            plan,
            catalog: self.catalog.clone(),
            store: Arc::new(store),
            link_mode,
            lock: Default::default(),
            unknown: Default::default(),
            tool_versions: BTreeMap::new(),
            environments: BTreeMap::new(),
            environment_stamps: BTreeMap::new(),
        })
    }
}

//! Opens a project for a command: finds the files, loads the plan, opens store, index and stat cache.

use std::path::Path;
use std::sync::Arc;

use super::{Context, PipelineArgs};
use crate::index::Index;
use crate::plan::Plan;
use crate::project::{Project, store_path};
use crate::record::elsewhere::Elsewhere;
use crate::remote::layout::Scope;
use crate::session::Session;
use crate::spec;
use crate::store::{LinkMode, StatCache, Store};
use crate::trust::Believer;

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The project, without reading its pipeline.
pub fn project(args: &PipelineArgs) -> anyhow::Result<Project> {
    Ok(Project::find(
        args.file.as_deref(),
        &std::env::current_dir()?,
    )?)
}

/// The plan of a project. `REPRO_MIRROR` comes before the mirrors the pipeline names.
pub fn plan(context: &Context, args: &PipelineArgs, project: &Project) -> anyhow::Result<Plan> {
    let describe = |program: &Path| crate::exec::external::describe(program);
    let options = spec::Options {
        file: &project.pipeline,
        root: &project.root,
        profile: args.profile.clone(),
        set: args.set.clone(),
        env: &env,
    };
    let mut plan = spec::load(&options, &context.catalog, &describe)?;
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

/// Everything.
pub fn session(context: &Context, args: &PipelineArgs) -> anyhow::Result<Session> {
    let mut session = session_to_look(context, args)?;
    session.learn_tool_versions()?;
    Ok(session)
}

/// Everything but the versions of declared tools: no program of the project is asked, and keys of stages with tools cannot be
/// known.
pub fn session_to_look(context: &Context, args: &PipelineArgs) -> anyhow::Result<Session> {
    let project = project(args)?;
    let plan = plan(context, args, &project)?;
    let store = store()?;
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
        stats: Arc::new(StatCache::load(&project.root, &state.join("stats"))),
        project,
        plan,
        catalog: context.catalog.clone(),
        store: Arc::new(store),
        link_mode,
        tool_versions: std::collections::BTreeMap::new(),
        environments: std::collections::BTreeMap::new(),
    })
}

/// The store.
pub fn store() -> anyhow::Result<Store> {
    Ok(Store::open(&store_path(env)?)?)
}

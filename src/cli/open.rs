//! Opens a project for a command: finds the files, loads the plan, opens store, index and stat cache.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::{Context, PipelineArgs};
use repro_engine::exec::external::Asker;
use repro_engine::exec::{Asking, Memory};
use repro_engine::index::Index;
use repro_engine::plan::Plan;
use repro_engine::project::{Project, store_path};
use repro_engine::record::elsewhere::Elsewhere;
use repro_engine::remote::layout::Scope;
use repro_engine::session::Session;
use repro_engine::spec;
use repro_engine::store::{LinkMode, StatCache, Store};
use repro_engine::trust::Believer;

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

/// What programs of a project have answered.
pub fn answers(project: &Project) -> Arc<Memory> {
    Arc::new(Memory::load(&project.state().join("answers")))
}

/// The plan of a project, without running any code of it. `REPRO_MIRROR` comes before the mirrors the pipeline names.
pub fn plan(context: &Context, args: &PipelineArgs, project: &Project) -> anyhow::Result<Plan> {
    let answers = answers(project);
    plan_with(context, args, project, Asking::Memory, &answers)
}

fn plan_with(
    context: &Context,
    args: &PipelineArgs,
    project: &Project,
    asking: Asking,
    answers: &Arc<Memory>,
) -> anyhow::Result<Plan> {
    let asker = Asker::new(&project.root, asking, answers.clone());
    let describe = |program: &Path| asker.describe(program);
    let options = spec::Options {
        file: &project.pipeline,
        root: &project.root,
        profile: args.profile.clone(),
        set: args.set.clone(),
        env: &env,
    };
    let plan = spec::load(&options, &context.catalog, &describe);
    asker.doubts().iter().for_each(|doubt| warn(doubt));
    let mut plan = plan?;
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

fn warn(text: &str) {
    // Nobody may listen any more.
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Everything, for a command that only looks: it runs no code of the project.
pub fn session(context: &Context, args: &PipelineArgs) -> anyhow::Result<Session> {
    session_asking(context, args, Asking::Memory)
}

/// Everything, for a command that executes stages: programs of the project are asked what they are.
pub fn session_to_run(context: &Context, args: &PipelineArgs) -> anyhow::Result<Session> {
    session_asking(context, args, Asking::Programs)
}

fn session_asking(
    context: &Context,
    args: &PipelineArgs,
    asking: Asking,
) -> anyhow::Result<Session> {
    let project = project(args)?;
    let answers = answers(&project);
    let mut session = open(context, args, project, asking, &answers)?;
    let doubts = session.learn_tool_versions(asking, &answers);
    answers.save();
    doubts?.iter().for_each(|doubt| warn(doubt));
    Ok(session)
}

/// Everything but the versions of declared tools: keys of stages with tools cannot be known.
pub fn session_to_look(context: &Context, args: &PipelineArgs) -> anyhow::Result<Session> {
    let project = project(args)?;
    let answers = answers(&project);
    open(context, args, project, Asking::Memory, &answers)
}

fn open(
    context: &Context,
    args: &PipelineArgs,
    project: Project,
    asking: Asking,
    answers: &Arc<Memory>,
) -> anyhow::Result<Session> {
    let plan = plan_with(context, args, &project, asking, answers)?;
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
        environment_stamps: std::collections::BTreeMap::new(),
    })
}

/// The store.
pub fn store() -> anyhow::Result<Store> {
    Ok(Store::open(&store_path(env)?)?)
}

//! What surrounds the actions of a session: versions of tools, environments, caches; and what of it
//! is not known.

use super::opened::Session;
use crate::environment::{self, Captured};
use crate::exec::{Asking, Memory, Stamp, Surroundings, Unasked, tool_version};
use crate::plan::{Command, Environment, Instance, Source, Tool, Work};
use crate::store::InputTree;
use repro_protocol::relpath::RelPath;
use std::cell::RefCell;
use std::collections::BTreeMap;

impl Session {
    /// Finds out the version of every declared tool, and looks at every declared environment, once.
    /// Gives sentences about those that may be out of date. For a command that only looks, what is
    /// not to be known is [`Session::unknown`], and the rest goes on.
    ///
    /// # Errors
    /// A tool that cannot be run; an environment that is missing or broken.
    pub fn learn_tool_versions(
        &mut self,
        asking: Asking,
        memory: &Memory,
    ) -> anyhow::Result<Vec<String>> {
        let doubts = RefCell::new(Vec::new());
        let root = self.project.root.clone();
        let ask = |tool: &Tool| {
            let version = tool_version(tool, asking, memory, &root)?;
            doubts.borrow_mut().extend(version.doubt);
            anyhow::Ok(version.text)
        };
        let place = |instance: &Instance, e: anyhow::Error| {
            let at = &instance.place;
            anyhow::anyhow!(
                "{}:{}:{}: stage `{}`: {e:#}",
                at.file,
                at.line,
                at.column,
                instance.stage
            )
        };
        for instance in &self.plan.instances {
            let Work::Command(command) = &instance.work else {
                continue;
            };
            for tool in &command.setup.tools {
                if self.tool_versions.contains_key(&tool.program)
                    || self.unknown.tools.contains_key(&tool.program)
                {
                    continue;
                }
                match ask(tool) {
                    Ok(version) => {
                        self.tool_versions.insert(tool.program.clone(), version);
                    }
                    Err(e) if asking == Asking::Memory => {
                        let why = format!("{e:#}");
                        self.unknown.tools.insert(tool.program.clone(), why);
                        if !e.is::<Unasked>() {
                            let told = place(instance, e).to_string();
                            self.unknown.trouble.get_or_insert(told);
                        }
                    }
                    Err(e) => return Err(place(instance, e)),
                }
            }
            for environment in &command.setup.environments {
                if self.environments.contains_key(environment)
                    || self.unknown.environments.contains_key(environment)
                {
                    continue;
                }
                match environment::capture(environment, &self.project.root) {
                    Ok(captured) => {
                        self.environment_stamps
                            .insert(environment.clone(), stamps(&captured));
                        self.environments.insert(environment.clone(), captured);
                    }
                    Err(e) if asking == Asking::Memory => {
                        let why = format!("{e:#}");
                        self.unknown.environments.insert(environment.clone(), why);
                        let told = place(instance, e).to_string();
                        self.unknown.trouble.get_or_insert(told);
                    }
                    Err(e) => return Err(place(instance, e)),
                }
            }
        }
        Ok(doubts.into_inner())
    }

    /// Why the key of an instance cannot be known to this command, where it cannot.
    pub fn why_unknown<'a>(&'a self, instance: &'a Instance) -> Option<&'a str> {
        let Work::Command(command) = &instance.work else {
            return instance.work.unasked();
        };
        let mut tools = command.setup.tools.iter();
        let mut environments = command.setup.environments.iter();
        tools
            .find_map(|tool| self.unknown.tools.get(&tool.program))
            .or_else(|| environments.find_map(|e| self.unknown.environments.get(e)))
            .map(String::as_str)
    }

    /// What does not count in the directories among an instance's inputs, by directory.
    pub fn ignored(&self, instance: &Instance) -> BTreeMap<String, Vec<RelPath>> {
        let mut ignored = BTreeMap::new();
        for item in instance.needs.iter().flat_map(|n| &n.items) {
            if let Source::Files(files) = &item.source
                && let path = files.at.path(&self.project.root)
                && path.is_dir()
                // What cannot be read is told of where it is hashed.
                && let Ok(mut tree) = InputTree::of(&path, &files.ignore)
                && !tree.ignored.is_empty()
            {
                tree.ignored.sort();
                ignored.insert(files.at.to_string(), tree.ignored);
            }
        }
        ignored
    }
}

/// What a process of a command needs beside its inputs.
pub fn surroundings(
    command: &Command,
    environments: &BTreeMap<Environment, Captured>,
) -> Surroundings {
    let mut all = Surroundings::default();
    for environment in &command.setup.environments {
        if let Some(captured) = environments.get(environment) {
            all.merge(captured.surroundings.clone());
        }
    }
    for cache in &command.setup.caches {
        all.write.push(cache.dir.clone());
        let variable = cache.variable.iter().cloned();
        all.vars
            .extend(variable.map(|v| (v, cache.dir.clone().into_os_string())));
    }
    all
}

/// How the directories of an environment look now.
pub fn stamps(captured: &Captured) -> Vec<Option<Stamp>> {
    let dirs = captured.surroundings.read.iter();
    dirs.map(|dir| Stamp::of(dir)).collect()
}

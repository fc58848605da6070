//! What a job is told: its bundle on the remote, its script with the key of the run, and what the
//! batch system hears of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use repro_engine::digest::Content;
use repro_engine::remote::Location;
use repro_engine::run::Given;

use super::Manager;
use super::submitting::Shape;
use crate::outlook::Learned;
use crate::shipment;
use crate::ticket::{Action, Bundle, FORMAT, Item, SCRATCH, Ticket, VARIABLE, names};

impl Manager {
    /// What a wave is to do, and which bytes that needs on the remote.
    pub(super) fn bundle(
        &self,
        items: &BTreeSet<u32>,
        elements: &[Vec<u32>],
        learned: &Learned,
    ) -> anyhow::Result<(Bundle, BTreeSet<Content>)> {
        let outlook = &self.place.outlook;
        let project = shipment::snapshot(&self.place.store, &self.place.root, outlook, items)?;
        let mut needed = BTreeSet::from([project]);
        let mut given = HashMap::new();
        for index in outlook.ancestors(items) {
            if let Some((key, outputs)) = learned.get(&index) {
                let result = Given {
                    key: *key,
                    outputs: outputs.clone(),
                };
                given.insert(outlook.at(index).id.clone(), result);
            }
        }
        for index in items {
            for (of, output) in outlook
                .at(*index)
                .takes
                .iter()
                .filter(|(of, _)| !items.contains(of))
            {
                needed.extend(
                    learned
                        .get(of)
                        .and_then(|(_, outputs)| outputs.get(*output as usize)),
                );
            }
        }
        let item = |index: &u32| {
            let its = outlook.at(*index);
            let order = self.by_index.get(index).and_then(|id| self.orders.get(id));
            Item {
                id: its.id.clone(),
                seconds: its.seconds(),
                // More than the stage declares, after it had too little.
                memory_bytes: self
                    .memory(*index)
                    .filter(|_| its.policy.memory_bytes.is_some()),
                action: order.map(|open| Action {
                    key: open.order.key.digest,
                    preimage: open.order.key.preimage.clone(),
                }),
            }
        };
        let run = self
            .orders
            .values()
            .next()
            .map(|open| open.order.run.clone());
        let bundle = Bundle {
            version: FORMAT,
            run: run.unwrap_or_default(),
            project,
            pipeline: self.place.pipeline.clone(),
            links: outlook.links.clone(),
            profiles: self.place.asked.profiles.clone(),
            sets: self.place.asked.sets.clone(),
            offline: self.place.offline,
            given,
            elements: elements
                .iter()
                .map(|items| items.iter().map(item).collect())
                .collect(),
        };
        Ok((bundle, needed))
    }

    /// What names of jobs of this campaign begin with.
    pub(super) fn job_prefix(&self) -> String {
        format!("repro-{}", self.campaign.scope.trim_start_matches("run-"))
    }

    /// What a job runs. The key is in here, and not on the remote: a batch system shows a script to
    /// its owner only.
    pub(super) fn script(&self, ticket: &Ticket) -> anyhow::Result<String> {
        let mut script = String::from(
            "#!/bin/sh\nunset REPRO_STORE REPRO_TRUST_FILE REPRO_LINK REPRO_SIGNING_KEY_FILE\n",
        );
        for (name, value) in self.variables() {
            script += &format!("export {name}={}\n", quoted(&value));
        }
        script += &self.place.settings.prelude;
        script += &format!("\nexport {SCRATCH}=\"{}\"\n", self.place.settings.scratch);
        script += &format!(
            "export {VARIABLE}={}\n",
            quoted(&serde_json::to_string(ticket)?)
        );
        script += &format!("export REPRO_SIGNING_KEY={}\n", quoted(&self.key_pem));
        let index = match self.place.system.has_arrays() {
            true => format!("\"${}\"", self.place.system.index_variable()),
            false => "0".to_owned(),
        };
        let program = quoted(&self.place.program.to_string_lossy());
        script += &format!(
            "command -v {program} > /dev/null || echo \"\"{program}\" is not on $(hostname): see \
             \\`program\\` of the executor (repro.executors.toml)\" >&2\n"
        );
        script += &format!("exec {program} run-bundle --index {index}\n");
        Ok(script)
    }

    /// Variables that the pipeline reads, and what is stated of energy.
    fn variables(&self) -> BTreeMap<String, String> {
        let stated = repro_engine::energy::VARIABLES.iter();
        let mut found: BTreeMap<String, String> = stated
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        for file in &self.place.outlook.plan_files {
            let text = fs::read_to_string(self.place.root.join(file)).unwrap_or_default();
            for after in text.split("env.").skip(1) {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                let name = &after[..end];
                let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                if let (true, Ok(value)) = (is_name, std::env::var(name)) {
                    found.insert(name.to_owned(), value);
                }
            }
        }
        found
    }

    pub(super) fn options(&self, shape: &Shape) -> BTreeMap<String, String> {
        let mut options = self.place.settings.options_of_one(shape.minutes);
        options.insert("cpus".to_owned(), shape.cpus.to_string());
        let memory = shape.memory_mib.map(|mib| mib.to_string());
        options.extend(memory.map(|mib| ("memory".to_owned(), mib)));
        if shape.gpus > 0 {
            options.insert("gpus".to_owned(), shape.gpus.to_string());
        }
        self.leave_out_nodes(&mut options);
        options.retain(|name, _| !self.place.settings.without.contains(name));
        options
    }

    /// Where a job writes what it says itself: beside the results, where nodes can write surely.
    pub(super) fn log(&self, job_name: &str) -> String {
        let Ok((Location::Directory(dir), _)) = self.remote.resolve(Path::new("/")) else {
            return "/dev/null".to_owned();
        };
        let dir = dir
            .join(names::campaign(&self.campaign.scope).as_str())
            .join("logs");
        if fs::create_dir_all(&dir).is_err() {
            return "/dev/null".to_owned();
        }
        let element = self.place.system.element();
        dir.join(format!("{job_name}-{element}.txt"))
            .to_string_lossy()
            .into_owned()
    }
}

/// As a word of the shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

//! A look at a claim, judged from tables that were given. Decides what it is judged on, and whether
//! the verdict is the one that repro.lock names.

use std::collections::BTreeMap;
use std::path::Path;

use super::Results;
use super::given::Given;
use crate::digest::{Content, Digest};
use crate::lineage;
use crate::plan::{Instance, InstanceIndex, NeedItem, Source, Work};
use repro_protocol::job::JobInput;

/// What came out.
pub struct Judged {
    /// The document.
    pub bytes: Vec<u8>,
    /// repro.lock names these very bytes as the verdict on these very inputs.
    pub is_recorded: bool,
}

/// One input, and whether it was given.
struct Item {
    input: JobInput,
    content: Option<Content>,
    is_given: bool,
}

impl Results<'_> {
    /// The verdict of a look that has no result here; `None` where nothing was given, or nothing of
    /// it is needed. As a clause: why it cannot be judged.
    pub(super) fn judged(&self, look: InstanceIndex) -> Option<Result<Judged, String>> {
        let given = self.given?;
        match self.judge(given, look) {
            Ok(judged) => judged.map(Ok),
            Err(why) => Some(Err(why)),
        }
    }

    fn judge(&self, given: &Given, look: InstanceIndex) -> Result<Option<Judged>, String> {
        let session = self.session;
        let instance = session.plan.instance(look);
        let Work::Kind { params, .. } = &instance.work else {
            return Ok(None);
        };
        let dir = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        let key_of = |index: InstanceIndex| {
            let block = given.lock().blocks.get(&*session.plan.instance(index).id);
            block.map(|b| b.key).or_else(|| self.survey.key(index))
        };
        let lineage = lineage::of(&session.plan, instance, key_of);
        let mut inputs: BTreeMap<String, Vec<JobInput>> = BTreeMap::new();
        let (mut contents, mut some_given) = (Vec::new(), false);
        for (n, need) in instance.needs.iter().enumerate() {
            let mut of_need = Vec::new();
            for (at, item) in need.items.iter().enumerate() {
                let path = dir.path().join(format!("{n}-{at}.parquet"));
                let mut found = self.item(given, item, &path)?;
                if let Some(kin) = lineage::kin(&lineage, n, at) {
                    found.input.chain = kin.chain;
                    found.input.sources = kin.sources.clone();
                }
                some_given |= found.is_given;
                of_need.push(found.content);
                let all = inputs.entry(need.name.to_string()).or_default();
                all.push(found.input);
            }
            contents.push(of_need.into_iter().collect::<Option<Vec<Content>>>());
        }
        if !some_given {
            return Ok(None);
        }
        let bytes = (session.catalog.judge)(params, inputs, !given.is_whole())
            .map_err(|e| format!("{e:#}"))?;
        let block = given.lock().blocks.get(&*instance.id);
        let key = |contents: &Vec<Vec<Content>>| session.key(instance, contents, &lineage).digest;
        let contents: Option<Vec<Vec<Content>>> = contents.into_iter().collect();
        let block = block.filter(|block| contents.as_ref().map(key) == Some(block.key));
        let recorded = block.and_then(|block| recorded(instance, &block.outputs));
        if recorded.is_some_and(|digest| digest != Digest::of(&bytes)) {
            return Err("what follows from it is not the verdict in repro.lock".to_owned());
        }
        Ok(Some(Judged {
            bytes,
            is_recorded: recorded.is_some(),
        }))
    }

    /// From the store, or else from what was given, which is written to `path`.
    fn item(&self, given: &Given, item: &NeedItem, path: &Path) -> Result<Item, String> {
        let session = self.session;
        let (Source::Output { instance, output }, None) = (&item.source, &item.inside) else {
            return Err("it reads a file that is no output".to_owned());
        };
        let axes = item.axes.iter();
        let input = JobInput {
            group: item.group.to_string(),
            axes: axes
                .map(|(name, value)| (name.to_string(), value.value.clone()))
                .collect(),
            from: session.plan.name_of(&item.source),
            ..JobInput::default()
        };
        let (index, position) = (*instance, *output as usize);
        let stored = self.content(index, position);
        if let Some(content) = stored.filter(|c| session.store.has(c).unwrap_or(false)) {
            return Ok(Item {
                input: JobInput {
                    path: session.store.object_path(&content.digest),
                    digest: content.to_string(),
                    ..input
                },
                content: Some(content),
                is_given: false,
            });
        }
        let producer = session.plan.instance(index);
        let Some(rows) = given.rows(index, position) else {
            return Err(format!("it has no values of `{}`", producer.id));
        };
        (session.catalog.write_table)(path, rows).map_err(|e| format!("{e:#}"))?;
        let block = given.lock().blocks.get(&*producer.id);
        let name = producer.outputs.get(position).map(|o| &*o.name);
        let content = block.zip(name).and_then(|(b, name)| b.outputs.get(name));
        let content = content.and_then(|text| Content::named(text));
        Ok(Item {
            input: JobInput {
                path: path.to_owned(),
                digest: content.map_or_else(String::new, |c| c.to_string()),
                ..input
            },
            content,
            is_given: true,
        })
    }
}

/// The digest of a verdict among the outputs of its block.
fn recorded(instance: &Instance, outputs: &BTreeMap<String, String>) -> Option<Digest> {
    let name = &instance.outputs.first()?.name;
    Some(Content::named(outputs.get(&**name)?)?.digest)
}

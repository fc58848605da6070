//! States of trainings, from one element to the next: what was ended early leaves its furthest state
//! on the remote, and what begins looks for one there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use repro_engine::digest::{Content, Digest, Domain, Shape};
use repro_engine::executor::Order;
use repro_engine::key::Key;
use repro_engine::lookup::{Answer, look_up};
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::publish::{Publication, publish};
use repro_engine::remote::{Body, PutMode};
use repro_engine::store::{LinkMode, Observation, Pending, Record};
use repro_engine::trust::Facts;

use super::{Baggage, Courier};
use crate::ticket::names;

impl Courier {
    /// Gets the furthest state that another element left.
    pub(super) fn find_state(&mut self, order: &Order) {
        let baggage = &self.shared.baggage;
        if order.states.is_empty() {
            return;
        }
        let states = self.states.get_or_insert_with(|| {
            let mut found = BTreeSet::new();
            // Without them it begins anew.
            let _ = baggage
                .remote
                .list(&names::states(&baggage.scope), &mut |entry| {
                    let last = entry.name.as_str().rsplit('/').next().unwrap_or_default();
                    found.extend(last.parse::<Digest>().ok());
                    ControlFlow::Continue(())
                });
            found
        });
        let there = order
            .states
            .iter()
            .take_while(|(_, key)| baggage.store.get_state(&key.digest).is_none());
        if let Some((_, key)) = there
            .into_iter()
            .find(|(_, key)| states.contains(&key.digest))
        {
            let _ = baggage.take_state(key);
        }
    }
}

impl Baggage {
    /// A record that stands for a state.
    fn state_record(&self, state: &Digest, content: Content) -> Record {
        let preimage = serde_json::json!({"state": state.hex()}).to_string();
        Record {
            key: Digest::derive(Domain::Action, preimage.as_bytes()),
            preimage,
            outputs: BTreeMap::from([("state".to_owned(), content)]),
            observation: Observation::default(),
        }
    }

    pub(super) fn take_state(&self, key: &Key) -> Option<()> {
        let nothing = Content {
            shape: Shape::File,
            digest: key.digest,
            bytes_total: 0,
        };
        let name = self.state_record(&key.digest, nothing).key;
        let mut content = None;
        look_up(&self.link, &self.trust, vec![name], |_, answer| {
            if let Answer::Hit(believed) = answer {
                content = believed.record.outputs.get("state").copied();
            }
        });
        let content = content?;
        fetch(&self.link, &self.store, &[content])
            .ok()?
            .pop()?
            .ok()?;
        let path = self
            .store
            .work_dir()
            .ok()?
            .join(format!("state-{}", key.digest.short()));
        self.store.place(&content, &path, LinkMode::Copy).ok()?;
        self.store
            .put_state(&key.digest, &path, &key.preimage)
            .ok()?;
        Some(())
    }

    /// Sends the furthest state of an action that was ended early.
    pub(super) fn leave_state(&self, states: &[(String, Key)]) -> Option<()> {
        let mut here = states
            .iter()
            .filter_map(|(_, key)| Some((key, self.store.get_state(&key.digest)?)));
        let (key, path) = here.next()?;
        let (content, staged) = self.store.absorb_copy(&path).ok()?;
        let record = self.state_record(&key.digest, content);
        self.store
            .commit(vec![Pending {
                record: record.clone(),
                staged,
            }])
            .pop()?
            .ok()?;
        let envelope = self.signer.sign(&record, &Facts::of(&record));
        let signatures = vec![(self.signer.id().to_string().parse().ok()?, envelope)];
        publish(
            &self.link,
            &self.store,
            vec![Publication { record, signatures }],
        )
        .pop()?
        .ok()?;
        self.remote
            .put(
                &names::state(&self.scope, &key.digest),
                Body::Bytes(b""),
                PutMode::Overwrite,
            )
            .ok()?;
        Some(())
    }
}

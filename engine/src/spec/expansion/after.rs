//! Whom one instance waits for: the names under `after:`, followed to instances.

use std::sync::Arc;

use super::making::{Expander, Making};
use crate::plan::InstanceIndex;
use crate::spec::text::problem::Problem;
use crate::spec::tying::after::{AfterDef, Whom};
use crate::spec::tying::consumer::Consumer;
use crate::spec::tying::refs::Link;

impl Expander<'_, '_> {
    /// Whom an instance waits for, sorted. `Err`: a problem was reported.
    pub fn awaited(
        &mut self,
        making: &mut Making,
        row: &[u32],
        id: &str,
        consumer: &Consumer,
    ) -> Result<Arc<[InstanceIndex]>, ()> {
        if let Some(awaited) = &making.awaited {
            return Ok(awaited.clone());
        }
        let mut awaited = Vec::new();
        let mut ok = true;
        for def in &making.after {
            let links = match &def.whom {
                Whom::Links(links) => Ok(Some(links)),
                Whom::PerRow(template, tied) => consumer
                    .text(template, row, self.tying.values, def.span)
                    .map(|text| tied.get(&text)),
            };
            let found = links.and_then(|links| {
                links.into_iter().flatten().try_for_each(|link| {
                    awaited.extend(self.instances_of(link, row, id)?);
                    Ok(())
                })
            });
            if let Err(problem) = found {
                self.once("after", problem);
                ok = false;
            }
        }
        awaited.sort_unstable();
        awaited.dedup();
        let awaited: Arc<[InstanceIndex]> = awaited.into();
        if ok && making.after.iter().all(AfterDef::is_constant) {
            making.awaited = Some(awaited.clone());
        }
        ok.then_some(awaited).ok_or(())
    }

    fn instances_of(
        &self,
        link: &Link,
        row: &[u32],
        id: &str,
    ) -> Result<Vec<InstanceIndex>, Problem> {
        let (table, values) = (self.table, self.tying.values);
        let rows = self.tying.links.follow(link, row, values, table);
        if rows.is_empty() {
            let links = &self.tying.links;
            return Err(links.not_one(link, 0, id, row, table, values));
        }
        let span = self.order.spans[link.stage];
        rows.into_iter()
            .map(|row| {
                let number = span.number(row);
                match self.instances.get(number as usize) {
                    Some(_) => Ok(InstanceIndex(number)),
                    None => Err(Problem::new(
                        link.span,
                        format!(
                            "`{id}` waits for an instance of `{}` that is made after it",
                            table.stages[link.stage].name
                        ),
                    )
                    .help("inside a loop, wait for stages of the same or an earlier round")),
                }
            })
            .collect()
    }
}

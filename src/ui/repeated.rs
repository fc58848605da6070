//! Warnings that many instances have: a text is told once, for the first of them, and at the end how
//! many more had it.

use std::collections::BTreeMap;

use repro_engine::record::event::Event;

/// Shows what is no repetition.
pub fn once(mut show: impl FnMut(&Event) + 'static) -> Box<dyn FnMut(&Event)> {
    let mut told = Told::default();
    Box::new(move |event| {
        told.rest(event).iter().for_each(&mut show);
        if !told.is_known(event) {
            show(event);
        }
    })
}

/// Warnings of instances, each with how many more had it.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, usize>);

impl Told {
    /// Whether an event repeats what was told; if so, it is counted.
    fn is_known(&mut self, event: &Event) -> bool {
        let Event::Warning {
            instance: Some(_),
            text,
        } = event
        else {
            return false;
        };
        match self.0.get_mut(text) {
            Some(more) => {
                *more += 1;
                true
            }
            None => {
                self.0.insert(text.clone(), 0);
                false
            }
        }
    }

    /// What is to be told before an event: at the end, what was not.
    fn rest(&mut self, event: &Event) -> Vec<Event> {
        if !matches!(event, Event::Summary(_)) {
            return Vec::new();
        }
        let told = std::mem::take(&mut self.0).into_iter();
        let repeated = told.filter(|(_, more)| *more > 0);
        let warning = |(text, more): (String, usize)| {
            let instances = if more == 1 { "instance" } else { "instances" };
            Event::Warning {
                instance: None,
                text: format!("{more} more {instances}: {text}"),
            }
        };
        repeated.map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use repro_engine::record::event::Summary;

    use super::*;

    #[test]
    fn a_text_is_told_once_and_counted() {
        let shown = Rc::new(RefCell::new(Vec::new()));
        let mut show = once({
            let shown = shown.clone();
            move |event| shown.borrow_mut().push(event.clone())
        });
        let warning = |instance: Option<&str>, text: &str| Event::Warning {
            instance: instance.map(str::to_owned),
            text: text.to_owned(),
        };
        show(&warning(Some("a"), "slow"));
        show(&warning(Some("b"), "slow"));
        show(&warning(Some("b"), "small"));
        show(&warning(Some("c"), "slow"));
        // What is of no instance is told whenever it is said.
        show(&warning(None, "full"));
        show(&warning(None, "full"));
        let end = Event::Summary(Summary::default());
        show(&end);
        let wanted = [
            warning(Some("a"), "slow"),
            warning(Some("b"), "small"),
            warning(None, "full"),
            warning(None, "full"),
            warning(None, "2 more instances: slow"),
            end,
        ];
        assert_eq!(*shown.borrow(), wanted);
    }
}

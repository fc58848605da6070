//! Nodes on which jobs fail before they begin: they are free again at once, and would get every job.
//! So they are left out.

use std::collections::{BTreeMap, BTreeSet};

use super::Manager;

/// A node that fails so often, and executes nothing in between, is left out.
const PATIENCE: u32 = 2;
/// The option that names nodes that are left out.
const OPTION: &str = "exclude";

/// What is known of nodes.
#[derive(Default)]
pub(super) struct Nodes {
    failed: BTreeMap<String, u32>,
    left_out: BTreeSet<String>,
}

impl Nodes {
    /// An element ended on it; whether it is left out from now on.
    fn judge(&mut self, host: &str, has_begun: bool, is_its_fault: bool) -> bool {
        if has_begun && !is_its_fault {
            self.failed.remove(host);
        }
        if !is_its_fault || host.is_empty() {
            return false;
        }
        let failed = self.failed.entry(host.to_owned()).or_insert(0);
        *failed += 1;
        *failed >= PATIENCE && self.left_out.insert(host.to_owned())
    }
}

impl Manager {
    /// An element is no more that ran on this node.
    pub(super) fn judge_node(&mut self, host: &str, has_begun: bool, is_its_fault: bool) {
        let may_say = self.place.system.options().any(|option| option == OPTION);
        if may_say
            && self.nodes.judge(host, has_begun, is_its_fault)
            && let Some(id) = self.orders.keys().next().copied()
        {
            let text = format!("jobs fail on the node {host}: it is left out from now on");
            self.say(id, text);
        }
    }

    /// Adds them to what is said of a job.
    pub(super) fn leave_out_nodes(&self, options: &mut BTreeMap<String, String>) {
        if self.nodes.left_out.is_empty() {
            return;
        }
        let names: Vec<&str> = self.nodes.left_out.iter().map(String::as_str).collect();
        let names = names.join(",");
        options
            .entry(OPTION.to_owned())
            .and_modify(|said| *said = format!("{said},{names}"))
            .or_insert(names);
    }

    /// The batch system does not take jobs: it may be that none of its nodes is left. Whether there
    /// were any that were left out.
    pub(super) fn take_all_nodes(&mut self) -> bool {
        let had = !self.nodes.left_out.is_empty();
        self.nodes = Nodes::default();
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_fails_at_once_twice_in_a_row_is_left_out() {
        let mut nodes = Nodes::default();
        assert!(!nodes.judge("n1", false, true));
        assert!(!nodes.judge("n2", false, true));
        assert!(!nodes.judge("n2", true, false), "it works again");
        assert!(!nodes.judge("n2", false, true));
        assert!(!nodes.judge("", false, true));
        assert!(nodes.judge("n1", false, true));
        assert!(!nodes.judge("n1", false, true), "told once");
        assert_eq!(nodes.left_out, BTreeSet::from(["n1".to_owned()]));
    }
}

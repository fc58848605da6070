//! Results that a collection removes, in words.

use crate::ui::style::duration;
use repro_engine::store::GoneAction;

/// Results that the plan names one by one.
const NAMED: usize = 10;

/// The results that cost most to compute again, one per line, and how many more there are.
pub(super) fn dearest(actions: &[GoneAction]) -> String {
    let mut dearest: Vec<_> = actions.iter().collect();
    let cost = |action: &GoneAction| action.wall_s.unwrap_or(0.0);
    dearest.sort_by(|a, b| cost(b).total_cmp(&cost(a)).then(a.key.cmp(&b.key)));
    let mut text = String::new();
    for action in dearest.iter().take(NAMED) {
        text.push_str(&format!(
            "  {} {} {}\n",
            action.key.short(),
            what(&action.preimage),
            action.wall_s.map(duration).unwrap_or_default()
        ));
    }
    if dearest.len() > NAMED {
        text.push_str(&format!("  … and {} more\n", dearest.len() - NAMED));
    }
    text
}

/// The kind of an action, or the first line of its script.
fn what(preimage: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(preimage).unwrap_or_default();
    let script = value["command"]["script"]
        .as_str()
        .and_then(|s| s.lines().next());
    let said = value["kind"]["name"].as_str().or(script).unwrap_or("?");
    said.chars().take(60).collect()
}

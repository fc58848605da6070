//! What a use case reports on standard error while it works: warnings, and a bar for transfers.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::style::{Colour, bytes};
use repro_engine::notice::Notice;
use repro_engine::notice::RemoteUse;

/// Shows notices. There is a bar only during transfers.
pub fn notices() -> impl FnMut(Notice) {
    let mut bar: Option<ProgressBar> = None;
    let colour = Colour::of(&std::io::stderr());
    move |notice| match notice {
        Notice::Warning(text) => crate::say!("{} {text}", colour.yellow("warning:")),
        Notice::Moving { done, total } => {
            bar.get_or_insert_with(|| bar_of(total)).set_position(done);
        }
        Notice::Moved => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        }
        Notice::Brought { artifacts, remote } => crate::say!(
            "got {artifacts} artifacts from `{}` ({})",
            remote.name,
            moved_text(&remote)
        ),
    }
}

fn bar_of(total: u64) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr_with_hz(10),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

/// `3.1 MiB received in 12 requests`, with what went wrong.
pub fn moved_text(remote: &RemoteUse) -> String {
    let mut parts = Vec::new();
    for (count, word) in [
        (remote.bytes_received, "received"),
        (remote.bytes_sent, "sent"),
    ] {
        if count > 0 {
            parts.push(format!("{} {word}", bytes(count)));
        }
    }
    parts.push(format!("{} requests", remote.requests));
    if remote.warnings > 0 {
        parts.push(format!("{} warnings", remote.warnings));
    }
    parts.join(", ")
}

//! Questions to a batch system, on a thread of their own: a program that hangs keeps nobody from
//! hearing what elements report. Concludes nothing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use repro_engine::watched;

use crate::system::{End, System, Told};

/// An element, by its wave and its number.
pub type At = (usize, u32);

/// What is asked.
pub enum Question {
    /// How are these waves? Each with the name of its job, and what the system calls that.
    All(Vec<(usize, String, String)>),
    /// How did these elements end, of which nothing is told any more? Each with its job.
    Vanished(Vec<(At, String)>),
}

/// What is answered.
pub enum News {
    /// Of these waves; or there is no answer, and why.
    All(Vec<usize>, Result<Vec<Told>, String>),
    /// How elements ended. Those of which the system says nothing for now are left out.
    Vanished(Vec<(At, End)>),
}

/// Starts the thread. It ends with its channel.
///
/// # Errors
/// There is no thread.
pub fn start(
    system: Arc<System>,
    tell: impl Fn(News) + Send + 'static,
) -> anyhow::Result<Sender<Question>> {
    let (ask, asked) = channel();
    watched::spawn("cluster-inquiry", move || answer(&system, &asked, &tell))?;
    Ok(ask)
}

fn answer(system: &System, asked: &Receiver<Question>, tell: &dyn Fn(News)) {
    while let Ok(question) = asked.recv() {
        tell(match question {
            Question::All(waves) => {
                let of = waves.iter().map(|(wave, ..)| *wave).collect();
                let (names, jobs): (Vec<String>, Vec<String>) =
                    waves.into_iter().map(|(_, name, job)| (name, job)).unzip();
                News::All(of, system.ask(&names, &jobs))
            }
            Question::Vanished(elements) => {
                // A controller that is silent now is not asked a thousand times.
                let ends = elements.into_iter().map_while(|((wave, number), job)| {
                    let end = system.ask_vanished(&job, number)?;
                    Some(((wave, number), end))
                });
                News::Vanished(ends.collect())
            }
        });
    }
}

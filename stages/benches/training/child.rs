//! A process that trains one model when it is told to, on either side of the comparison.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::scaling::Steps;

/// One trainer, kept alive so that it can be measured in turns with others.
pub struct Trainer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What kept a trainer from working.
pub type Broken = String;

impl Trainer {
    /// Starts it; it is ready when it has taken its first step.
    ///
    /// # Errors
    /// It cannot be started, or ends before it is ready; what it said is on standard error.
    pub fn start(mut command: Command) -> Result<Trainer, Broken> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let mut trainer = Trainer {
            child,
            orders: Some(orders),
            answers: BufReader::new(answers),
        };
        match trainer.answer()?.as_str() {
            "ready" => Ok(trainer),
            other => Err(other.to_owned()),
        }
    }

    fn answer(&mut self) -> Result<String, Broken> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => Ok(line.trim().to_owned()),
            Ok(0) => Err("it ended".into()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn ask(&mut self, order: &str) -> Result<Vec<f64>, Broken> {
        let Some(orders) = &mut self.orders else {
            return Err("it was told to end".into());
        };
        writeln!(orders, "{order}")
            .and_then(|()| orders.flush())
            .map_err(|e| e.to_string())?;
        let answer = self.answer()?;
        answer
            .split_whitespace()
            .map(|word| word.parse().map_err(|_| answer.clone()))
            .collect()
    }

    /// Images per second of whole steps for at least this time.
    pub fn train(&mut self, seconds: f64) -> Result<f64, Broken> {
        self.rate(&format!("train {seconds}"))
    }

    /// A trainer with simulated threads takes whole steps for at least this time.
    pub fn simulate(&mut self, seconds: f64) -> Result<Steps, Broken> {
        match self.ask(&format!("train {seconds}"))?[..] {
            [steps, all, busy, spans, sections, tasks] => Ok(Steps {
                all: all / steps,
                busy: busy / steps,
                spans: spans / steps,
                sections: sections / steps,
                tasks: tasks / steps,
            }),
            _ => Err("no answer to `train`".into()),
        }
    }

    /// Images per second of whole passes over a test set for at least this time, after one that is
    /// not counted.
    pub fn evaluate(&mut self, seconds: f64) -> Result<f64, Broken> {
        self.rate(&format!("eval {seconds}"))
    }

    fn rate(&mut self, order: &str) -> Result<f64, Broken> {
        match self.ask(order)?[..] {
            [images, seconds] => Ok(images / seconds),
            _ => Err(format!("no answer to `{order}`")),
        }
    }

    /// Its largest resident set so far, in bytes.
    pub fn peak_resident(&mut self) -> Result<f64, Broken> {
        self.ask("rss")?.first().copied().ok_or("no answer".into())
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // It ends when its input does; only its exit is waited for, whatever the status.
        self.orders = None;
        let _ = self.child.wait();
    }
}

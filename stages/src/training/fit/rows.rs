//! What a training says of itself: the rows of its epochs, what it is measured on, and whether it is
//! at its end. What a step computes, and when these are asked, is known elsewhere.

use std::time::Instant;

use super::{Listener, Training};
use crate::failure::Failure;
use crate::nn::architecture::Head;
use crate::ops::Backend;
use crate::training::evaluation;
use crate::training::length::{EvalEvery, StopAt};
use crate::training::measured::Measured;
use crate::training::recipe::Pause;

impl<D: Backend, L: Listener> Training<'_, D, L> {
    pub(super) fn end_epoch(&mut self, lr: f64) -> anyhow::Result<()> {
        self.train_rows(lr);
        if let Head::Classes(_) = self.outputs {
            self.at.last_accuracy = Some(self.at.correct as f64 / self.at.seen as f64);
        }
        self.at.epoch += 1;
        self.at.absolute_error = 0.0;
        (
            self.at.step_in_epoch,
            self.at.loss_sum,
            self.at.correct,
            self.at.seen,
        ) = (0, 0.0, 0, 0);
        if let EvalEvery::Epochs(every) = self.recipe.eval_every
            && self.at.epoch.is_multiple_of(every)
        {
            self.evaluate(self.at.epoch)?;
        }
        if self
            .recipe
            .checkpoint_every
            .is_some_and(|every| self.at.epoch.is_multiple_of(every))
        {
            self.keep(Pause::Epoch(self.at.epoch));
        }
        Ok(())
    }

    /// The running means of the epoch begun.
    fn train_rows(&mut self, lr: f64) {
        let epoch = self.at.epoch + 1;
        for (name, value) in self.running() {
            self.measure(epoch, Some("train"), name, value);
        }
        self.measure(epoch, None, "learning_rate", lr);
        if self.recipe.later.is_some() {
            self.measure(epoch, None, "images", self.at.seen as f64);
        }
        if let Some(share) = self.learner.share_kept() {
            self.measure(epoch, None, "share_kept", share);
        }
    }

    /// The means over what was seen of the epoch begun.
    pub(super) fn running(&self) -> [(&'static str, f64); 2] {
        let seen = self.at.seen as f64;
        let mean = self.at.loss_sum / seen;
        match self.outputs {
            Head::Classes(_) => [("loss", mean), ("accuracy", self.at.correct as f64 / seen)],
            Head::Targets(n) => [
                ("mse", mean),
                ("mae", self.at.absolute_error / (seen * n as f64)),
            ],
        }
    }

    fn measure(&mut self, epoch: u64, split: Option<&str>, name: &str, value: f64) {
        let split = split.map(str::to_owned);
        self.at.rows.push(Measured {
            epoch,
            step: self.at.step,
            split,
            name: name.to_owned(),
            value,
        });
    }

    pub(super) fn evaluate(&mut self, epoch: u64) -> anyhow::Result<()> {
        let sets = [
            ("test", self.sets.test),
            ("validation", self.sets.validation),
        ];
        for (split, set) in sets {
            let Some(set) = set else { continue };
            let begun = Instant::now();
            let values = evaluation::values(self.learner.pool(), self.learner.network(), set)?;
            self.evaluating += begun.elapsed();
            if values.iter().any(|(_, value)| value.is_nan()) {
                let text = format!(
                    "the {split} loss is not a number after epoch {epoch}, step {}",
                    self.at.step
                );
                return Err(Failure::new(text)
                    .hint("lower the learning rate or add a warm-up")
                    .into());
            }
            for (name, value) in values {
                self.measure(epoch, Some(split), name, value);
            }
        }
        if let Some(StopAt::Patience(patience)) = self.recipe.stop_at
            && patience.keeps_newest(&self.at.rows)
        {
            self.best = Some(self.learner.network().save());
        }
        Ok(())
    }

    pub(super) fn stop_reached(&self) -> bool {
        match (self.recipe.stop_at, self.at.last_accuracy) {
            (Some(StopAt::TrainAccuracy(goal)), Some(accuracy)) => accuracy >= goal,
            (Some(StopAt::Patience(patience)), _) => patience.is_over(&self.at.rows),
            _ => false,
        }
    }

    /// Rows that only the end of a training has: they are in no state, so a longer training can go
    /// on from it.
    pub(super) fn finish(&mut self, stopped: bool) -> anyhow::Result<()> {
        let mut epoch = self.at.epoch;
        if self.at.seen > 0 {
            let lr = self.recipe.optimizer.lr()
                * self
                    .recipe
                    .schedule
                    .factor(self.at.step.saturating_sub(1), self.clock);
            self.train_rows(lr);
            epoch += 1;
        }
        let measured = |r: &Measured| {
            r.step == self.at.step && matches!(r.split.as_deref(), Some("test" | "validation"))
        };
        if !self.at.rows.iter().any(measured) {
            self.evaluate(epoch)?;
        }
        if let Some(later) = self.recipe.later
            && stopped
            && !later.joins_within(self.at.epoch, self.sets.train.len() - self.sets.first)
        {
            self.listener.warning(format!(
                "`stop_at` ended the training after epoch {}, before any image of `later` joined",
                self.at.epoch
            ));
        }
        if let (Some(StopAt::TrainAccuracy(goal)), false) = (self.recipe.stop_at, stopped) {
            let reached = self
                .at
                .last_accuracy
                .map_or("no whole epoch".into(), |a| format!("{:.2} %", a * 100.0));
            self.listener.warning(format!(
                "the train accuracy of {:.2} % was not reached within the length (last epoch: {reached})", goal * 100.0
            ));
        }
        Ok(())
    }
}

//! Losses: rows on the device, their sum on the host, which asks for it.

use repro_numerics::kernels::layer::Accumulate;

use super::{Done, store};
use crate::device::Device;
use crate::fault::Fault;
use crate::memory::{Memory, Pool};

/// The labels of a batch, on the device.
#[derive(Debug)]
struct Labels {
    words: Memory,
    rows: usize,
}

impl Device {
    fn labels(&self, pool: &Pool, labels: &[u32]) -> Result<Labels, Fault> {
        Ok(Labels {
            words: self.upload_words(pool, labels)?,
            rows: labels.len(),
        })
    }

    /// A number of each row, which `launch` writes.
    fn of_rows(
        &self,
        pool: &Pool,
        rows: usize,
        launch: impl FnOnce(&mut Memory) -> Done,
    ) -> Result<Vec<f32>, Fault> {
        let mut there = self.values(pool, rows)?;
        launch(&mut there)?;
        let mut here = vec![0.0; rows];
        self.read(&there, &mut here)?;
        Ok(here)
    }

    /// The rows' losses, added in order from 0; `launch` writes them.
    fn sum(
        &self,
        pool: &Pool,
        rows: usize,
        launch: impl FnOnce(&mut Memory) -> Done,
    ) -> Result<f32, Fault> {
        let losses = self.of_rows(pool, rows, launch)?;
        Ok(losses.iter().fold(0.0, |sum, loss| sum + loss))
    }

    /// Rows whose largest logit is at the label.
    ///
    /// # Errors
    /// The device's own.
    pub fn count_correct(
        &self,
        pool: &Pool,
        classes: usize,
        logits: &Memory,
        labels: &[u32],
    ) -> Result<usize, Fault> {
        let Labels { words, rows } = self.labels(pool, labels)?;
        let right = self.of_rows(pool, rows, |right| {
            let launch = self
                .kernel("right_answers")
                .reads(logits, rows * classes)
                .reads(&words, rows);
            launch
                .writes(right, rows)
                .int(rows)
                .int(classes)
                .for_each(rows)
        })?;
        Ok(right.iter().filter(|right| **right != 0.0).count())
    }

    /// Writes the softmax of every row, returns the mean cross-entropy.
    ///
    /// # Errors
    /// The device's own.
    pub fn cross_entropy(
        &self,
        pool: &Pool,
        classes: usize,
        logits: &Memory,
        labels: &[u32],
        smoothing: f32,
        probabilities: &mut Memory,
    ) -> Result<f32, Fault> {
        let Labels { words, rows } = self.labels(pool, labels)?;
        let sum = self.sum(pool, rows, |losses| {
            let launch = self
                .kernel("cross_entropy")
                .reads(logits, rows * classes)
                .reads(&words, rows);
            let launch = launch
                .writes(probabilities, rows * classes)
                .writes(losses, rows);
            launch
                .int(rows)
                .int(classes)
                .float(smoothing)
                .for_each(rows)
        })?;
        Ok(sum / rows as f32)
    }

    /// Its gradient.
    ///
    /// # Errors
    /// The device's own.
    #[allow(clippy::too_many_arguments)]
    pub fn cross_entropy_gradient(
        &self,
        pool: &Pool,
        classes: usize,
        probabilities: &Memory,
        labels: &[u32],
        smoothing: f32,
        dloss: f32,
        (to, how): (&mut Memory, Accumulate),
    ) -> Done {
        let Labels { words, rows } = self.labels(pool, labels)?;
        let n = rows * classes;
        let elsewhere = smoothing / classes as f32;
        let there = elsewhere + (1.0 - smoothing);
        let launch = self
            .kernel("cross_entropy_gradient")
            .reads(probabilities, n)
            .reads(&words, rows);
        let launch = launch
            .writes(to, n)
            .int(n)
            .int(classes)
            .float(elsewhere)
            .float(there);
        launch
            .float(dloss / rows as f32)
            .int(store(how))
            .for_each(n)
    }

    /// Writes the softmax of every row, returns the mean cross-entropy against a distribution per
    /// row.
    ///
    /// # Errors
    /// The device's own.
    pub fn soft_cross_entropy(
        &self,
        pool: &Pool,
        classes: usize,
        logits: &Memory,
        targets: &Memory,
        probabilities: &mut Memory,
    ) -> Result<f32, Fault> {
        let (n, rows) = (logits.len(), logits.len() / classes);
        let sum = self.sum(pool, rows, |losses| {
            let launch = self
                .kernel("soft_cross_entropy")
                .reads(logits, n)
                .reads(targets, n);
            let launch = launch.writes(probabilities, n).writes(losses, rows);
            launch.int(rows).int(classes).for_each(rows)
        })?;
        Ok(sum / rows as f32)
    }

    /// Its gradient.
    ///
    /// # Errors
    /// The device's own.
    pub fn soft_cross_entropy_gradient(
        &self,
        classes: usize,
        probabilities: &Memory,
        targets: &Memory,
        dloss: f32,
        (to, how): (&mut Memory, Accumulate),
    ) -> Done {
        let (n, rows) = (to.len(), to.len() / classes);
        let launch = self
            .kernel("soft_cross_entropy_gradient")
            .reads(probabilities, n)
            .reads(targets, n);
        let launch = launch.writes(to, n).int(rows).int(classes);
        launch
            .float(dloss / rows as f32)
            .int(store(how))
            .for_each(rows)
    }

    /// The mean over rows and `width` targets of the squared errors.
    ///
    /// # Errors
    /// The device's own.
    pub fn squared_error(
        &self,
        pool: &Pool,
        width: usize,
        outputs: &Memory,
        targets: &Memory,
    ) -> Result<f32, Fault> {
        let (n, rows) = (outputs.len(), outputs.len() / width);
        let sum = self.sum(pool, rows, |errors| {
            let launch = self
                .kernel("squared_error")
                .reads(outputs, n)
                .reads(targets, n);
            launch
                .writes(errors, rows)
                .int(rows)
                .int(width)
                .for_each(rows)
        })?;
        Ok(sum / n as f32)
    }

    /// Its gradient.
    ///
    /// # Errors
    /// The device's own.
    pub fn squared_error_gradient(
        &self,
        outputs: &Memory,
        targets: &Memory,
        dloss: f32,
        (to, how): (&mut Memory, Accumulate),
    ) -> Done {
        let n = to.len();
        let launch = self
            .kernel("squared_error_gradient")
            .reads(outputs, n)
            .reads(targets, n);
        launch
            .writes(to, n)
            .int(n)
            .float(2.0 * dloss / n as f32)
            .int(store(how))
            .for_each(n)
    }
}

//! Whether a network is right as often as it is sure (Guo et al. 2017).

use repro_numerics::exact::math::{exp_f64, ln_f64};

/// Bins of equal width.
pub const BINS: usize = 15;

/// One bin of confidences.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// Images whose confidence lies in it.
    pub images: u64,
    /// Of these, images classified right.
    pub right: u64,
    /// The sum of their confidences.
    pub confidence: f64,
}

/// What logits say of their own reliability; all sums are in f64, over images in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    bins: [Bin; BINS],
    nll: f64,
}

impl Default for Calibration {
    fn default() -> Calibration {
        Calibration {
            bins: [Bin::default(); BINS],
            nll: 0.0,
        }
    }
}

impl Calibration {
    /// Adds an image. Its confidence is the softmax of the answer, the first of equal ones. Bin `m`
    /// of 15, from 0, has confidences above m/15 and at most (m + 1)/15.
    ///
    /// # Panics
    /// A label that is no class.
    pub fn add(&mut self, logits: &[f32], label: usize) {
        let answer = argmax(logits);
        let lower = |i: usize| f64::from(logits[i]) - f64::from(logits[answer]);
        let sum = (0..logits.len()).map(|i| exp_f64(lower(i))).sum::<f64>();
        let confidence = 1.0 / sum;
        self.nll += ln_f64(sum) - lower(label);
        self.count(confidence, answer == label);
    }

    /// Adds an image of which the confidence is known, whether it is right, and -ln p of its label.
    pub fn add_mixed(&mut self, confidence: f64, is_right: bool, nll: f64) {
        self.nll += nll;
        self.count(confidence, is_right);
    }

    fn count(&mut self, confidence: f64, is_right: bool) {
        let bin = (confidence * BINS as f64).ceil() as usize;
        let bin = &mut self.bins[bin.clamp(1, BINS) - 1];
        bin.images += 1;
        bin.right += u64::from(is_right);
        bin.confidence += confidence;
    }

    fn images(&self) -> f64 {
        self.bins.iter().map(|bin| bin.images).sum::<u64>() as f64
    }

    /// The mean negative log-likelihood in nats.
    pub fn nll(&self) -> f64 {
        self.nll / self.images()
    }

    /// The expected calibration error: the mean over images of the distance between accuracy and
    /// mean confidence of their bin.
    pub fn ece(&self) -> f64 {
        let gap = |bin: &Bin| (bin.right as f64 - bin.confidence).abs();
        self.bins.iter().map(gap).sum::<f64>() / self.images()
    }

    /// The bins, from the least confidence up.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// The reliability diagram as named values: of each bin, from 1, its images and the means of
    /// confidence and accuracy; of an empty one no means.
    pub fn reliability(&self) -> Vec<(String, f64)> {
        let mut values = Vec::new();
        for (i, bin) in self.bins.iter().enumerate() {
            let (i, images) = (i + 1, bin.images as f64);
            values.push((format!("reliability_images[{i}]"), images));
            if bin.images > 0 {
                let (confidence, right) = (bin.confidence / images, bin.right as f64 / images);
                values.push((format!("reliability_confidence[{i}]"), confidence));
                values.push((format!("reliability_accuracy[{i}]"), right));
            }
        }
        values
    }
}

/// The position of the largest value, the first on a tie; NaN never wins.
pub(crate) fn argmax<T: PartialOrd>(row: &[T]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        // NaN alone is not comparable with itself.
        if *x > row[best] || row[best].partial_cmp(&row[best]).is_none() {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arithmetic of `torchmetrics`' `MulticlassCalibrationError(n_bins=15, norm="l1")` and of
    /// PyTorch's `cross_entropy`, by
    /// ```python
    /// import torch, torch.nn.functional as F
    /// z = torch.tensor([[2., 0, 0], [0, 1, 0], [3, 0, 0], [0, 0, .5], [1, 1, 0], [0, 4, 0]]).double()
    /// y = torch.tensor([0, 1, 1, 2, 1, 1])
    /// p, answer = F.softmax(z, 1).max(1)
    /// answer[4] = 0
    /// edges, ece = torch.linspace(0, 1, 16).double(), 0
    /// for low, high in zip(edges, edges[1:]):
    ///     here = (p > low) & (p <= high)
    ///     if here.any():
    ///         gap = (answer[here] == y[here]).double().mean() - p[here].mean()
    ///         ece += gap.abs() * here.double().mean()
    /// print(ece.item(), F.cross_entropy(z, y).item())
    /// ```
    #[test]
    fn errors_are_pytorchs() {
        let images: [([f32; 3], usize); 6] = [
            ([2.0, 0.0, 0.0], 0),
            ([0.0, 1.0, 0.0], 1),
            ([3.0, 0.0, 0.0], 1),
            ([0.0, 0.0, 0.5], 2),
            ([1.0, 1.0, 0.0], 1),
            ([0.0, 4.0, 0.0], 1),
        ];
        let mut all = Calibration::default();
        for (logits, label) in images {
            all.add(&logits, label);
        }
        assert!((all.ece() - ECE).abs() < 1e-12, "{}", all.ece());
        assert!((all.nll() - NLL).abs() < 1e-12, "{}", all.nll());
        assert_eq!(all.bins().iter().map(|bin| bin.images).sum::<u64>(), 6);
    }

    /// Confidence that is always right, and by how much, has no error; a sure network that is
    /// always wrong has all of it.
    #[test]
    fn what_is_as_sure_as_it_is_right_has_no_error() {
        let mut right = Calibration::default();
        let mut wrong = Calibration::default();
        for _ in 0..10 {
            right.add(&[800.0, 0.0], 0);
            wrong.add(&[800.0, 0.0], 1);
        }
        assert_eq!((right.ece(), right.nll()), (0.0, 0.0));
        assert_eq!((wrong.ece(), wrong.nll()), (1.0, 800.0));
        // Half of the images are right, and the network says so.
        let mut even = Calibration::default();
        even.add(&[1.0, 1.0], 0);
        even.add(&[1.0, 1.0], 1);
        assert_eq!(even.ece(), 0.0);
    }

    const ECE: f64 = 0.284582559247381;
    const NLL: f64 = 0.929710051633164;
}

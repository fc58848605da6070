//! The Elman layer: dense layers' products, step by step, and what LSTM layers share with it: images
//! by time, pieces of what all steps have.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::shape::RecurrentShape;

use super::{Done, store};
use crate::device::Device;
use crate::fault::Fault;
use crate::memory::{Memory, Pool};

/// Where a gradient goes, and how.
pub(super) type To<'a> = (&'a mut Memory, Accumulate);

/// What the gradients of an Elman layer are made from, and where they go.
#[derive(Debug)]
pub struct RecurrentGradients<'a> {
    /// The images.
    pub x: &'a Memory,
    /// Of the input.
    pub w_in: &'a Memory,
    /// Of the earlier state.
    pub w_rec: &'a Memory,
    /// As the forward pass wrote them.
    pub states: &'a Memory,
    /// Gradient of the output.
    pub dy: &'a Memory,
    /// Of the weight of the input.
    pub dw_in: (&'a mut Memory, Accumulate),
    /// Of the bias.
    pub db: (&'a mut Memory, Accumulate),
    /// Of the weight of the earlier state.
    pub dw_rec: (&'a mut Memory, Accumulate),
    /// Of the images, where somebody needs it.
    pub dx: Option<(&'a mut Memory, Accumulate)>,
}

/// A batch of images that a layer reads row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) device: &'a Device,
    pub(super) pool: &'a Pool,
    pub(super) shape: &'a RecurrentShape,
    pub(super) images: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn of(
        device: &'a Device,
        pool: &'a Pool,
        shape: &'a RecurrentShape,
        x: &Memory,
    ) -> Batch<'a> {
        let images = x.len() / shape.features();
        assert_eq!(x.len(), images * shape.features(), "recurrent: images");
        Batch {
            device,
            pool,
            shape,
            images,
        }
    }

    /// Values of a step.
    pub(super) fn block(&self) -> usize {
        self.images * self.shape.units()
    }

    /// Values of all steps.
    pub(super) fn all(&self) -> usize {
        self.shape.steps() * self.block()
    }

    pub(super) fn room(&self, len: usize) -> Result<Memory, Fault> {
        self.device.values(self.pool, len)
    }

    /// `len` values from `at` on.
    pub(super) fn piece(&self, from: &Memory, at: usize, len: usize) -> Result<Memory, Fault> {
        let mut piece = self.room(len)?;
        self.copy(from, at, &mut piece, 0, len)?;
        Ok(piece)
    }

    /// Writes what all of `from` is, from `at` on.
    pub(super) fn put(&self, from: &Memory, to: &mut Memory, at: usize) -> Done {
        self.copy(from, 0, to, at, from.len())
    }

    fn copy(&self, from: &Memory, from_at: usize, to: &mut Memory, to_at: usize, n: usize) -> Done {
        let is_inside = from_at + n <= from.len() && to_at + n <= to.len();
        assert!(is_inside, "recurrent: a piece");
        let launch = self.device.kernel("copy_piece").reads_all(from);
        let launch = launch.int(from_at).writes_all(to).int(to_at);
        launch.int(n).for_each(n)
    }

    /// The rows of images, ordered by time, then by image.
    pub(super) fn by_time(&self, x: &Memory) -> Result<Memory, Fault> {
        let n = x.len();
        let mut rows = self.room(n)?;
        let launch = self.device.kernel("by_time").reads_all(x);
        let launch = launch.writes(&mut rows, n).int(n).int(self.images);
        let launch = launch.int(self.shape.steps()).int(self.shape.inputs());
        launch.for_each(n)?;
        Ok(rows)
    }

    /// Back from [`Batch::by_time`], as gradients.
    pub(super) fn to_images(self, rows: &Memory, (dx, how): To<'_>) -> Done {
        let n = dx.len();
        let launch = self.device.kernel("from_time").reads(rows, n);
        let launch = launch.writes(dx, n).int(n).int(self.images);
        let launch = launch.int(self.shape.steps()).int(self.shape.inputs());
        launch.int(store(how)).for_each(n)
    }

    /// Adds the part of the step before to the sums of a step.
    pub(super) fn add_earlier(&self, earlier: &Memory, w: &Memory, sums: &mut Memory) -> Done {
        let (units, none) = (self.shape.units(), Activation::Identity);
        let mut part = self.room(self.block())?;
        self.device
            .dense_forward((units, units), earlier, w, None, none, &mut part)?;
        self.device.accumulate(&part, sums)
    }

    /// The gradient of the weight of what the step before left, over all steps but the first.
    /// `outputs` has what each step left from `at` on, `sums` the gradients of their sums.
    pub(super) fn earlier_weight_gradient(
        &self,
        (outputs, at): (&Memory, usize),
        sums: &Memory,
        (dw, how): To<'_>,
    ) -> Done {
        let (units, block) = (self.shape.units(), self.block());
        let rest = self.all() - block;
        if rest == 0 {
            // A sum of nothing.
            let zeros = self.device.upload(self.pool, &vec![0.0; dw.len()])?;
            return match how {
                Accumulate::First => self.put(&zeros, dw, 0),
                Accumulate::Add => self.device.accumulate(&zeros, dw),
            };
        }
        let earlier = self.piece(outputs, at, rest)?;
        let later = self.piece(sums, block, rest)?;
        self.device
            .dense_weight_gradient((units, units), &earlier, &later, dw, how)
    }
}

impl Device {
    /// The states of an Elman layer after each step, and the last of them.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn recurrent(
        &self,
        pool: &Pool,
        shape: &RecurrentShape,
        x: &Memory,
        [w_in, b, w_rec]: [&Memory; 3],
        states: &mut Memory,
        y: &mut Memory,
    ) -> Done {
        let batch = Batch::of(self, pool, shape, x);
        let (sizes, block) = ((shape.inputs(), shape.units()), batch.block());
        let rows = batch.by_time(x)?;
        self.dense_forward(sizes, &rows, w_in, Some(b), Activation::Identity, states)?;
        let mut earlier: Option<Memory> = None;
        for t in 0..shape.steps() {
            let mut state = batch.piece(states, t * block, block)?;
            if let Some(earlier) = &earlier {
                batch.add_earlier(earlier, w_rec, &mut state)?;
            }
            self.activate_in_place(Activation::Tanh, &mut state)?;
            batch.put(&state, states, t * block)?;
            earlier = Some(state);
        }
        match earlier {
            Some(last) => batch.put(&last, y, 0),
            None => Ok(()),
        }
    }

    /// Gradients of [`Device::recurrent`].
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn recurrent_gradients(
        &self,
        pool: &Pool,
        shape: &RecurrentShape,
        from: RecurrentGradients<'_>,
    ) -> Done {
        let batch = Batch::of(self, pool, shape, from.x);
        let (inputs, units, block) = (shape.inputs(), shape.units(), batch.block());
        let mut sums = batch.room(batch.all())?;
        let mut here = self.copy(from.dy, pool)?;
        for t in (0..shape.steps()).rev() {
            let state = batch.piece(from.states, t * block, block)?;
            self.unactivate(Activation::Tanh, Some(&state), &mut here)?;
            batch.put(&here, &mut sums, t * block)?;
            if t > 0 {
                let (mut earlier, first) = (batch.room(block)?, Accumulate::First);
                let w_rec = from.w_rec;
                self.dense_input_gradient((units, units), w_rec, &here, &mut earlier, first)?;
                here = earlier;
            }
        }
        batch.earlier_weight_gradient((from.states, 0), &sums, from.dw_rec)?;
        self.dense_bias_gradient(&sums, from.db.0, from.db.1)?;
        let rows = batch.by_time(from.x)?;
        let (dw_in, how) = from.dw_in;
        self.dense_weight_gradient((inputs, units), &rows, &sums, dw_in, how)?;
        let Some(dx) = from.dx else {
            return Ok(());
        };
        // The rows are used up.
        let mut slopes = rows;
        let first = Accumulate::First;
        self.dense_input_gradient((inputs, units), from.w_in, &sums, &mut slopes, first)?;
        batch.to_images(&slopes, dx)
    }
}

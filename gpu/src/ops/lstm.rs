//! Layers of long short-term memory: dense layers' products for each gate, step by step, and the cell
//! between them.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::layer::Accumulate;
use repro_numerics::kernels::lstm::{BLOCKS, FUNCTIONS, GATES};
use repro_numerics::shape::RecurrentShape;

use super::Done;
use super::recurrent::Batch;
use crate::device::Device;
use crate::fault::Fault;
use crate::memory::{Memory, Pool};

/// The parameters of a gate.
#[derive(Debug, Clone, Copy)]
pub struct LstmGate<'a> {
    /// Of the row.
    pub w: &'a Memory,
    /// Of the sum.
    pub b: &'a Memory,
    /// Of the earlier output.
    pub u: &'a Memory,
}

/// Where the gradients of a gate's parameters go.
#[derive(Debug)]
pub struct LstmGateGradients<'a> {
    /// Of [`LstmGate::w`].
    pub dw: (&'a mut Memory, Accumulate),
    /// Of [`LstmGate::b`].
    pub db: (&'a mut Memory, Accumulate),
    /// Of [`LstmGate::u`].
    pub du: (&'a mut Memory, Accumulate),
}

/// What the gradients of an LSTM layer are made from, and where they go.
#[derive(Debug)]
pub struct LstmGradients<'a> {
    /// The images.
    pub x: &'a Memory,
    /// As in the forward pass.
    pub gates: [LstmGate<'a>; GATES],
    /// As the forward pass wrote them.
    pub states: &'a Memory,
    /// Gradient of the output.
    pub dy: &'a Memory,
    /// Of the parameters.
    pub to: [LstmGateGradients<'a>; GATES],
    /// Of the images, where somebody needs it.
    pub dx: Option<(&'a mut Memory, Accumulate)>,
}

/// Where the blocks of a step lie in what a forward pass leaves: the gates, then these.
const CELLS: usize = GATES;
const SQUASHED: usize = GATES + 1;
const HIDDEN: usize = GATES + 2;

impl Batch<'_> {
    /// A block of a step.
    fn of_step(&self, states: &Memory, which: usize, t: usize) -> Result<Memory, Fault> {
        let block = self.block();
        self.piece(states, which * self.all() + t * block, block)
    }

    fn put_step(&self, from: &Memory, states: &mut Memory, which: usize, t: usize) -> Done {
        self.put(from, states, which * self.all() + t * self.block())
    }
}

/// A value for each gate.
fn each<T>(make: impl FnMut(usize) -> Result<T, Fault>) -> Result<[T; GATES], Fault> {
    let all: Vec<T> = (0..GATES).map(make).collect::<Result<_, _>>()?;
    Ok(all
        .try_into()
        .unwrap_or_else(|_| unreachable!("one for each gate")))
}

impl Device {
    /// Everything of all steps of an LSTM layer, and its last output.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn lstm(
        &self,
        pool: &Pool,
        shape: &RecurrentShape,
        x: &Memory,
        gates: [LstmGate<'_>; GATES],
        states: &mut Memory,
        y: &mut Memory,
    ) -> Done {
        let batch = Batch::of(self, pool, shape, x);
        let (sizes, block) = ((shape.inputs(), shape.units()), batch.block());
        assert_eq!(states.len(), BLOCKS * batch.all(), "lstm: states");
        let rows = batch.by_time(x)?;
        let sums = each(|g| {
            let (mut sums, gate) = (batch.room(batch.all())?, gates[g]);
            let none = Activation::Identity;
            self.dense_forward(sizes, &rows, gate.w, Some(gate.b), none, &mut sums)?;
            Ok(sums)
        })?;
        let mut earlier: Option<(Memory, Memory)> = None;
        for t in 0..shape.steps() {
            let at_gates = each(|g| {
                let mut sum = batch.piece(&sums[g], t * block, block)?;
                if let Some((_, hidden)) = &earlier {
                    batch.add_earlier(hidden, gates[g].u, &mut sum)?;
                }
                self.activate_in_place(FUNCTIONS[g], &mut sum)?;
                batch.put_step(&sum, states, g, t)?;
                Ok(sum)
            })?;
            let [mut c, mut squashed, mut hidden] =
                [batch.room(block)?, batch.room(block)?, batch.room(block)?];
            let mut launch = self.kernel("lstm_cell");
            for gate in &at_gates {
                launch = launch.reads(gate, block);
            }
            let launch = match &earlier {
                Some((before, _)) => launch.reads(before, block).int(0),
                None => launch.again().int(1),
            };
            let launch = launch.writes(&mut c, block).writes(&mut squashed, block);
            let launch = launch.writes(&mut hidden, block).int(block);
            launch.for_each(block)?;
            batch.put_step(&c, states, CELLS, t)?;
            batch.put_step(&squashed, states, SQUASHED, t)?;
            batch.put_step(&hidden, states, HIDDEN, t)?;
            earlier = Some((c, hidden));
        }
        match earlier {
            Some((_, last)) => batch.put(&last, y, 0),
            None => Ok(()),
        }
    }

    /// Gradients of [`Device::lstm`].
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn lstm_gradients(
        &self,
        pool: &Pool,
        shape: &RecurrentShape,
        from: LstmGradients<'_>,
    ) -> Done {
        let batch = Batch::of(self, pool, shape, from.x);
        let (inputs, units, block) = (shape.inputs(), shape.units(), batch.block());
        let how = |g: usize| match g {
            0 => Accumulate::First,
            _ => Accumulate::Add,
        };
        let mut sums = each(|_| batch.room(batch.all()))?;
        let mut dh = self.copy(from.dy, pool)?;
        let mut dc = self.upload(pool, &vec![0.0; block])?;
        for t in (0..shape.steps()).rev() {
            let at_gates = each(|g| batch.of_step(from.states, g, t))?;
            let squashed = batch.of_step(from.states, SQUASHED, t)?;
            let mut slopes = each(|_| batch.room(block))?;
            let mut launch = self.kernel("lstm_slopes");
            for gate in &at_gates {
                launch = launch.reads(gate, block);
            }
            let before = match t {
                0 => None,
                _ => Some(batch.of_step(from.states, CELLS, t - 1)?),
            };
            let launch = match &before {
                Some(before) => launch.reads(before, block).int(0),
                None => launch.again().int(1),
            };
            let launch = launch.reads(&squashed, block).reads(&dh, block);
            let mut launch = launch.writes(&mut dc, block);
            for slope in &mut slopes {
                launch = launch.writes(slope, block);
            }
            launch.int(block).for_each(block)?;
            for (g, slope) in slopes.iter().enumerate() {
                batch.put(slope, &mut sums[g], t * block)?;
                if t > 0 {
                    let u = from.gates[g].u;
                    self.dense_input_gradient((units, units), u, slope, &mut dh, how(g))?;
                }
            }
        }
        let rows = batch.by_time(from.x)?;
        let mut slopes = match from.dx {
            Some(_) => Some(batch.room(rows.len())?),
            None => None,
        };
        for (g, (to, sums)) in from.to.into_iter().zip(&sums).enumerate() {
            let LstmGateGradients { dw, db, du } = to;
            self.dense_weight_gradient((inputs, units), &rows, sums, dw.0, dw.1)?;
            self.dense_bias_gradient(sums, db.0, db.1)?;
            let hidden = (from.states, HIDDEN * batch.all());
            batch.earlier_weight_gradient(hidden, sums, du)?;
            if let Some(slopes) = &mut slopes {
                let w = from.gates[g].w;
                self.dense_input_gradient((inputs, units), w, sums, slopes, how(g))?;
            }
        }
        match (from.dx, slopes) {
            (Some(dx), Some(slopes)) => batch.to_images(&slopes, dx),
            _ => Ok(()),
        }
    }
}

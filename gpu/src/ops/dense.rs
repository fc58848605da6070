//! Dense layers: three products of matrices, and the sums of columns for the bias.

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::dense::{BLOCK, BLOCK_ROWS, PART, WHOLE, WHOLE_ROWS};
use repro_numerics::kernels::layer::Accumulate;

use super::product::{ENDLESS, Left, Place, Product, Right, To};
use super::{Done, SET, store};
use crate::device::Device;
use crate::memory::Memory;

/// A matrix in rows of so many numbers.
fn rows(values: &Memory, first: usize, second: usize) -> Left<'_> {
    Left {
        values,
        place: Place::Matrix { first, second },
        transposed: false,
        next: 0,
    }
}

fn columns(values: &Memory, step: usize, column: usize) -> Right<'_> {
    Right {
        values,
        step,
        column,
        next: 0,
    }
}

fn to(values: &mut Memory, width: usize, store: usize, activation: Activation) -> To<'_> {
    To {
        values,
        place: Place::rows(width),
        next: 0,
        store,
        activation,
    }
}

/// In blocks and parts where the sum is long.
fn cut(m: usize, n: usize, k: usize) -> Product {
    let block = if k <= WHOLE { ENDLESS } else { BLOCK };
    Product {
        m,
        n,
        k,
        block,
        part: PART,
        count: 1,
    }
}

impl Device {
    /// `y = activation(x·w + b)`.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn dense_forward(
        &self,
        (inputs, outputs): (usize, usize),
        x: &Memory,
        w: &Memory,
        b: Option<&Memory>,
        activation: Activation,
        y: &mut Memory,
    ) -> Done {
        let n = y.len() / outputs;
        assert!(
            [x.len(), w.len(), y.len()] == [n * inputs, inputs * outputs, n * outputs],
            "dense forward: lengths"
        );
        let (x, w) = (rows(x, inputs, 1), columns(w, outputs, 1));
        cut(n, outputs, inputs).run(self, x, w, b, to(y, outputs, SET, activation))
    }

    /// The gradient of the input.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn dense_input_gradient(
        &self,
        (inputs, outputs): (usize, usize),
        w: &Memory,
        dy: &Memory,
        dx: &mut Memory,
        how: Accumulate,
    ) -> Done {
        let n = dx.len() / inputs;
        assert!(
            [dx.len(), w.len(), dy.len()] == [n * inputs, inputs * outputs, n * outputs],
            "dense input gradient: lengths"
        );
        let (dy, w) = (rows(dy, outputs, 1), columns(w, 1, outputs));
        let dx = to(dx, inputs, store(how), Activation::Identity);
        cut(n, inputs, outputs).run(self, dy, w, None, dx)
    }

    /// The gradient of the weight.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn dense_weight_gradient(
        &self,
        (inputs, outputs): (usize, usize),
        x: &Memory,
        dy: &Memory,
        dw: &mut Memory,
        how: Accumulate,
    ) -> Done {
        let n = dy.len() / outputs;
        assert!(
            [x.len(), dw.len(), dy.len()] == [n * inputs, inputs * outputs, n * outputs],
            "dense weight gradient: lengths"
        );
        let product = Product {
            m: inputs,
            n: outputs,
            k: n,
            block: ENDLESS,
            part: ENDLESS,
            count: 1,
        };
        let (x, dy) = (rows(x, 1, inputs), columns(dy, outputs, 1));
        let dw = to(dw, outputs, store(how), Activation::Identity);
        product.run(self, x, dy, None, dw)
    }

    /// The gradient of the bias.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Lengths that disagree.
    pub fn dense_bias_gradient(&self, dy: &Memory, db: &mut Memory, how: Accumulate) -> Done {
        let width = db.len();
        let rows = dy.len() / width;
        let block = if rows <= WHOLE_ROWS {
            WHOLE_ROWS
        } else {
            BLOCK_ROWS
        };
        let launch = self
            .kernel("column_sums")
            .reads(dy, rows * width)
            .writes(db, width);
        launch
            .int(rows)
            .int(width)
            .int(block)
            .int(store(how))
            .for_each(width)
    }
}

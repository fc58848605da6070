//! dfdx's CPU as a [`Backend`]: tensors as slices, arithmetic by [`crate::kernels`].

use dfdx::prelude::{Cpu, CpuError};

use super::view::{view, view_mut};
use super::{
    Activation, Backend, Buffer, ConvShape, DenseGradients, DenseShape, Labels, Matrix, NormShape,
    Param, PoolShape, Scalar,
};
use crate::exact::rng::Stream;
use crate::kernels::{Path, conv, dense, elementwise, loss, norm, optim, pool};

type Done = Result<(), CpuError>;

impl Backend for Cpu {
    fn dense_forward(
        &self,
        shape: DenseShape,
        x: &Matrix<Cpu>,
        w: &Param<Cpu>,
        b: Option<&Param<Cpu>>,
        y: &mut Matrix<Cpu>,
    ) -> Done {
        dense::forward(
            Path::current(),
            shape.inputs(),
            shape.outputs(),
            view(x),
            view(w),
            b.map(view),
            view_mut(y),
        );
        Ok(())
    }

    fn dense_backward(
        &self,
        shape: DenseShape,
        x: &Matrix<Cpu>,
        w: &Param<Cpu>,
        dy: &Buffer<Cpu>,
        to: DenseGradients<'_, Cpu>,
    ) -> Done {
        let (path, inputs, outputs) = (Path::current(), shape.inputs(), shape.outputs());
        if let Some(db) = to.bias {
            dense::bias_gradient(path, dy, db);
        }
        dense::weight_gradient(path, inputs, outputs, view(x), dy, to.weight);
        if let Some(dx) = to.input {
            dense::input_gradient(path, inputs, outputs, view(w), dy, dx);
        }
        Ok(())
    }

    fn conv2d_forward(
        &self,
        shape: ConvShape,
        x: &Matrix<Cpu>,
        w: &Param<Cpu>,
        b: Option<&Param<Cpu>>,
        y: &mut Matrix<Cpu>,
    ) -> Done {
        conv::forward(
            Path::current(),
            &shape,
            view(x),
            view(w),
            b.map(view),
            view_mut(y),
        );
        Ok(())
    }

    fn conv2d_backward(
        &self,
        shape: ConvShape,
        x: &Matrix<Cpu>,
        w: &Param<Cpu>,
        dy: &Buffer<Cpu>,
        to: DenseGradients<'_, Cpu>,
    ) -> Done {
        let path = Path::current();
        if let Some(db) = to.bias {
            conv::bias_gradient(path, shape.output().positions(), dy, db);
        }
        conv::weight_gradient(path, &shape, view(x), dy, to.weight);
        if let Some(dx) = to.input {
            conv::input_gradient(path, &shape, view(w), dy, dx);
        }
        Ok(())
    }

    fn max_pool_forward(&self, shape: PoolShape, x: &Matrix<Cpu>, y: &mut Matrix<Cpu>) -> Done {
        pool::max_forward(Path::current(), &shape, view(x), view_mut(y));
        Ok(())
    }

    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Matrix<Cpu>,
        dy: &Buffer<Cpu>,
        dx: &mut Buffer<Cpu>,
    ) -> Done {
        pool::max_backward(Path::current(), &shape, view(x), dy, dx);
        Ok(())
    }

    fn avg_pool_forward(&self, shape: PoolShape, x: &Matrix<Cpu>, y: &mut Matrix<Cpu>) -> Done {
        pool::avg_forward(Path::current(), &shape, view(x), view_mut(y));
        Ok(())
    }

    fn avg_pool_backward(&self, shape: PoolShape, dy: &Buffer<Cpu>, dx: &mut Buffer<Cpu>) -> Done {
        pool::avg_backward(Path::current(), &shape, dy, dx);
        Ok(())
    }

    fn channel_stats(
        &self,
        shape: NormShape,
        x: &Matrix<Cpu>,
        mean: &mut Param<Cpu>,
        variance: &mut Param<Cpu>,
    ) -> Done {
        norm::stats(
            Path::current(),
            shape.positions,
            view(x),
            view_mut(mean),
            view_mut(variance),
        );
        Ok(())
    }

    fn normalize_forward(
        &self,
        shape: NormShape,
        x: &Matrix<Cpu>,
        mean: &Param<Cpu>,
        variance: &Param<Cpu>,
        gamma: &Param<Cpu>,
        beta: &Param<Cpu>,
        y: &mut Matrix<Cpu>,
    ) -> Done {
        norm::forward(
            Path::current(),
            shape.eps,
            view(x),
            view(mean),
            view(variance),
            view(gamma),
            view(beta),
            view_mut(y),
        );
        Ok(())
    }

    fn normalize_backward(
        &self,
        shape: NormShape,
        through_stats: bool,
        x: &Matrix<Cpu>,
        mean: &Param<Cpu>,
        variance: &Param<Cpu>,
        gamma: &Param<Cpu>,
        dy: &Buffer<Cpu>,
        dx: &mut Buffer<Cpu>,
        dgamma: &mut Buffer<Cpu>,
        dbeta: &mut Buffer<Cpu>,
    ) -> Done {
        let from = norm::Backward {
            positions: shape.positions,
            eps: shape.eps,
            through_stats,
            x: view(x),
            mean: view(mean),
            variance: view(variance),
            gamma: view(gamma),
            dy,
        };
        norm::backward(Path::current(), from, dx, dgamma, dbeta);
        Ok(())
    }

    fn running_update(
        &self,
        momentum: f32,
        new: &Param<Cpu>,
        scale: f32,
        running: &mut Param<Cpu>,
    ) -> Done {
        optim::scaled_add(
            Path::current(),
            momentum * scale,
            view(new),
            1.0 - momentum,
            view_mut(running),
        );
        Ok(())
    }

    fn activation_forward(&self, which: Activation, x: &Matrix<Cpu>, y: &mut Matrix<Cpu>) -> Done {
        let run = match which {
            Activation::Relu => elementwise::relu,
            Activation::Tanh => elementwise::tanh,
            Activation::Sigmoid => elementwise::sigmoid,
        };
        run(Path::current(), view(x), view_mut(y));
        Ok(())
    }

    fn activation_backward(
        &self,
        which: Activation,
        y: &Matrix<Cpu>,
        dy: &Buffer<Cpu>,
        dx: &mut Buffer<Cpu>,
    ) -> Done {
        let run = match which {
            Activation::Relu => elementwise::relu_backward,
            Activation::Tanh => elementwise::tanh_backward,
            Activation::Sigmoid => elementwise::sigmoid_backward,
        };
        run(Path::current(), view(y), dy, dx);
        Ok(())
    }

    fn dropout_forward(
        &self,
        rate: f32,
        stream: &Stream,
        x: &Matrix<Cpu>,
        y: &mut Matrix<Cpu>,
    ) -> Done {
        elementwise::dropout(Path::current(), rate, stream, view(x), view_mut(y));
        Ok(())
    }

    fn dropout_backward(
        &self,
        rate: f32,
        stream: &Stream,
        dy: &Buffer<Cpu>,
        dx: &mut Buffer<Cpu>,
    ) -> Done {
        elementwise::dropout_backward(Path::current(), rate, stream, dy, dx);
        Ok(())
    }

    fn add_forward(&self, a: &Matrix<Cpu>, b: &Matrix<Cpu>, y: &mut Matrix<Cpu>) -> Done {
        elementwise::add(Path::current(), view(a), view(b), view_mut(y));
        Ok(())
    }

    fn accumulate(&self, from: &Buffer<Cpu>, to: &mut Buffer<Cpu>) -> Done {
        elementwise::add_into(Path::current(), from, to);
        Ok(())
    }

    fn cross_entropy_forward(
        &self,
        logits: &Matrix<Cpu>,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Matrix<Cpu>,
        mean: &mut Scalar<Cpu>,
    ) -> Done {
        view_mut(mean)[0] = loss::forward(
            Path::current(),
            labels.classes(),
            view(logits),
            labels.of_rows(),
            smoothing,
            view_mut(probabilities),
        );
        Ok(())
    }

    fn cross_entropy_backward(
        &self,
        probabilities: &Matrix<Cpu>,
        labels: &Labels,
        smoothing: f32,
        dloss: &Buffer<Cpu>,
        dlogits: &mut Buffer<Cpu>,
    ) -> Done {
        loss::backward(
            Path::current(),
            labels.classes(),
            view(probabilities),
            labels.of_rows(),
            smoothing,
            dloss[0],
            dlogits,
        );
        Ok(())
    }

    fn count_correct(&self, logits: &Matrix<Cpu>, labels: &Labels) -> Result<usize, CpuError> {
        Ok(loss::count_correct(
            labels.classes(),
            view(logits),
            labels.of_rows(),
        ))
    }
}

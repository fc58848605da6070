//! Gradient buffers of several tensors at once, which dfdx lends only one at a time.

/// Binds `&mut` gradient buffers of distinct tensors, allocating zeros where there are none:
/// `buffers!(gradients; dy = y_ghost, dx = x, dw = w);`
///
/// Panics when two of the tensors are one and the same.
macro_rules! buffers {
    ($gradients:expr; $($name:ident = $tensor:expr),+ $(,)?) => {
        // Allocating may move the buffers' headers inside dfdx's map: it comes before any pointer is taken.
        $( $gradients.try_alloc_for(&$tensor)?; )+
        $( let $name: *mut _ = $gradients.get_or_alloc_mut(&$tensor)?; )+
        $crate::ops::tape::assert_distinct(&[$( $name as *const () ),+]);
        // SAFETY: the pointers come from `&mut` borrows of the one map `$gradients`, which is borrowed mutably by this
        // function alone; every buffer exists already, so that `get_or_alloc_mut` above only looks up and moves
        // nothing; and they are distinct, as checked. The macro's user does not touch the map while the names live.
        $( #[allow(unused_variables)] let $name = unsafe { &mut *$name }; )+
    };
}
pub(super) use buffers;

/// The gradient buffers of a layer with input `x`, weight `w` and perhaps a bias `b`:
/// `layer_buffers!(g; y, x, w, b, input => |dy, to| backend_call)`.
macro_rules! layer_buffers {
    ($g:ident; $y:ident, $x:ident, $w:ident, $b:ident, $input:ident => |$dy:ident, $to:ident| $call:expr) => {
        match (&$b, $input) {
            (Some(b), $crate::ops::InputGradient::Needed) => {
                buffers!($g; $dy = $y, dx = $x, dw = $w, db = *b);
                let $to = $crate::ops::DenseGradients { input: Some(dx), weight: dw, bias: Some(db) };
                $call
            }
            (Some(b), $crate::ops::InputGradient::Skip) => {
                buffers!($g; $dy = $y, dw = $w, db = *b);
                let $to = $crate::ops::DenseGradients { input: None, weight: dw, bias: Some(db) };
                $call
            }
            (None, $crate::ops::InputGradient::Needed) => {
                buffers!($g; $dy = $y, dx = $x, dw = $w);
                let $to = $crate::ops::DenseGradients { input: Some(dx), weight: dw, bias: None };
                $call
            }
            (None, $crate::ops::InputGradient::Skip) => {
                buffers!($g; $dy = $y, dw = $w);
                let $to = $crate::ops::DenseGradients { input: None, weight: dw, bias: None };
                $call
            }
        }
    };
}
pub(super) use layer_buffers;

/// See [`buffers`].
pub(super) fn assert_distinct(pointers: &[*const ()]) {
    for (i, a) in pointers.iter().enumerate() {
        assert!(
            !pointers[i + 1..].contains(a),
            "an op was given one tensor in two roles"
        );
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Cpu, CpuError, Gradients, Tensor, ZerosTensor};

    fn write(shared: bool) -> Result<(Vec<f32>, Vec<f32>), CpuError> {
        let device = Cpu::default();
        let a: Tensor<(usize,), f32, Cpu> = device.zeros_like(&(2usize,));
        let b: Tensor<(usize,), f32, Cpu> = if shared {
            a.clone()
        } else {
            device.zeros_like(&(3usize,))
        };
        let mut gradients: Gradients<f32, Cpu> = Gradients::leaky();
        buffers!(gradients; da = a, db = b);
        da[1] = 1.0;
        db[0] = 2.0;
        Ok((da.to_vec(), db.to_vec()))
    }

    #[test]
    fn buffers_are_apart() {
        assert_eq!(write(false).unwrap(), (vec![0.0, 1.0], vec![2.0, 0.0, 0.0]));
    }

    #[test]
    #[should_panic(expected = "two roles")]
    fn one_tensor_twice_is_a_bug() {
        let _ = write(true);
    }
}

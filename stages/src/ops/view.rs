//! CPU tensors as slices, without a copy.

use dfdx::prelude::{Cpu, HasShape, Shape, Tensor};

/// The values of a tensor in memory order.
///
/// # Panics
/// A tensor that is not contiguous (a broadcast or permuted one).
pub fn view<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> &[f32] {
    let len = checked_len(tensor);
    if len == 0 {
        return &[];
    }
    let first: *const f32 = &tensor[S::Concrete::default()];
    // SAFETY: a Cpu tensor owns one Vec<f32>; element 0 is the first of it, and it holds `len` elements, as
    // `checked_len` made sure. The borrow of the tensor keeps the Vec from changing.
    unsafe { std::slice::from_raw_parts(first, len) }
}

/// The values of a tensor in memory order, to write. When the tensor shares its memory, it gets its own first.
///
/// # Panics
/// As [`view`].
pub fn view_mut<S: Shape, T>(tensor: &mut Tensor<S, f32, Cpu, T>) -> &mut [f32] {
    let len = checked_len(tensor);
    if len == 0 {
        return &mut [];
    }
    let first: *mut f32 = &mut tensor[S::Concrete::default()];
    // SAFETY: as in `view`; `IndexMut` has made the Vec unique to this tensor, which is borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(first, len) }
}

/// The number of elements, after a look at their addresses: dfdx keeps strides to itself, but indexes by them.
fn checked_len<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> usize {
    let len = tensor.shape().num_elements();
    if len == 0 {
        return 0;
    }
    let sizes = tensor.shape().concrete();
    let address = |index: S::Concrete| &raw const tensor[index] as usize / size_of::<f32>();
    let first = address(S::Concrete::default());
    let mut stride = len;
    for (axis, size) in sizes.into_iter().enumerate() {
        stride /= size;
        if size > 1 {
            let mut next = S::Concrete::default();
            next[axis] = 1;
            assert_eq!(
                address(next).wrapping_sub(first),
                stride,
                "the tensor is not contiguous"
            );
        }
    }
    let mut last = sizes;
    for axis in 0..S::NUM_DIMS {
        last[axis] -= 1;
    }
    assert_eq!(
        address(last) - first,
        len - 1,
        "the tensor is not contiguous"
    );
    len
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{
        AsArray, BroadcastTo, Const, PermuteTo, Rank0, TensorFrom, TensorFromVec, ZerosTensor,
    };

    use super::*;

    #[test]
    fn sees_and_writes_what_the_tensor_holds() {
        let device = Cpu::default();
        let mut t = device.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2usize, 3usize));
        let copy = t.clone();
        view_mut(&mut t)[5] = 9.0;
        assert_eq!(t.as_vec(), [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]);
        assert_eq!(
            view(&copy),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "a shared tensor is copied before it is written"
        );
        let mut scalar: Tensor<Rank0, f32, Cpu> = device.tensor(7.0);
        view_mut(&mut scalar)[0] += 1.0;
        assert_eq!(scalar.array(), 8.0);
        let empty: Tensor<(usize, usize), f32, Cpu> = device.zeros_like(&(0usize, 3usize));
        assert!(view(&empty).is_empty());
    }

    #[test]
    #[should_panic(expected = "not contiguous")]
    fn a_broadcast_has_no_slice() {
        let t = Cpu::default().tensor_from_vec(vec![1.0, 2.0], (2usize,));
        view(&t.broadcast_like::<_, dfdx::prelude::Axis<0>>(&(3usize, 2usize)));
    }

    #[test]
    #[should_panic(expected = "not contiguous")]
    fn a_transpose_has_no_slice() {
        let t: Tensor<(Const<2>, Const<3>), f32, Cpu> = Cpu::default().zeros();
        view(&t.permute::<(Const<3>, Const<2>), _>());
    }
}

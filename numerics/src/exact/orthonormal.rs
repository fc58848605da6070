//! Rows of a matrix made orthonormal: the Q of its QR decomposition, in f64.
//!
//! The decomposition is Gram and Schmidt's, each row twice, so that Q is orthogonal to the last
//! bits of f64; the diagonal of R is positive, as `torch.nn.init.orthogonal_` makes it by its
//! signs. Sums are eight chains over every eighth element, added in one order: the same bits
//! everywhere.

/// Makes rows of this length orthonormal, first to last; there are at most as many as they are
/// long.
pub fn orthonormalise(matrix: &mut [f64], length: usize) {
    for start in (0..matrix.len()).step_by(length.max(1)) {
        let (before, rest) = matrix.split_at_mut(start);
        let row = &mut rest[..length];
        // Once leaves what rounding left; twice is enough (Giraud et al. 2005).
        for _ in 0..2 {
            for other in before.chunks_exact(length) {
                let share = dot(other, row);
                for (x, o) in row.iter_mut().zip(other) {
                    *x -= share * o;
                }
            }
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Q of NumPy's `linalg.qr` of this matrix, its signs turned so that R's diagonal is
    /// positive: `q * numpy.sign(numpy.diag(r))`, as `orthogonal_` does. The transposed matrix is
    /// written here.
    #[test]
    fn the_q_of_numpy() {
        let mut matrix = [
            2.0, -1.0, 0.5, 3.0, 1.0, 1.0, -2.0, 0.25, 0.0, 4.0, 1.0, -1.0,
        ];
        orthonormalise(&mut matrix, 4);
        let want = NUMPY_Q;
        for (got, want) in matrix.iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{matrix:?}");
        }
    }

    /// `rows_of_q_transposed` of stages/tests/reference/inits.json.
    const NUMPY_Q: [f64; 12] = [
        0.5298129428260177,
        -0.26490647141300877,
        0.13245323570650439,
        0.7947194142390263,
        0.36457588615097664,
        0.4289128072364431,
        -0.825657153930153,
        0.037529870633188744,
        0.15901387358784108,
        0.8402131371357534,
        0.5107310007609468,
        0.08893996319319925,
    ];
}

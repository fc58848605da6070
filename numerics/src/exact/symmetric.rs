//! Eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations in f64: additions,
//! products, quotients and square roots in a fixed order, so the same bits on every machine.

/// Sweeps after which a matrix counts as diagonal in any case; 6 to 10 are usual.
const SWEEPS_MAX: usize = 60;

/// Its eigenvalues, the largest first, with a unit eigenvector for each: row `i` of `vectors`
/// belongs to `values[i]`.
#[derive(Debug, Clone)]
pub struct Eigen {
    /// `[n]`.
    pub values: Vec<f64>,
    /// `[n, n]`.
    pub vectors: Vec<f64>,
}

impl Eigen {
    /// Of the matrix `a`, `[n, n]`, of which the upper half counts: cyclic sweeps (Golub & Van Loan
    /// 2013, algorithm 8.5.3) until every element beside the diagonal is below 2^-52 of what the
    /// two diagonal elements beside it are.
    ///
    /// # Panics
    /// A length that is not n².
    pub fn of(n: usize, mut a: Vec<f64>) -> Eigen {
        assert_eq!(a.len(), n * n, "a square matrix");
        for i in 0..n {
            for j in 0..i {
                a[i * n + j] = a[j * n + i];
            }
        }
        let mut vectors = vec![0.0; n * n];
        (0..n).for_each(|i| vectors[i * n + i] = 1.0);
        for _ in 0..SWEEPS_MAX {
            let mut is_diagonal = true;
            for p in 0..n {
                for q in p + 1..n {
                    let (app, aqq, apq) = (a[p * n + p], a[q * n + q], a[p * n + q]);
                    if apq.abs() <= f64::EPSILON * (app.abs() * aqq.abs()).sqrt() {
                        continue;
                    }
                    is_diagonal = false;
                    let (c, s) = rotation(app, aqq, apq);
                    turn(&mut a, n, (p, q), (c, s));
                    // The rows have turned; the matrix stays symmetric, so the columns are theirs.
                    let (pp, qq) = (a[p * n + p], a[q * n + q]);
                    let (pq, qp) = (a[p * n + q], a[q * n + p]);
                    a[p * n + p] = c * pp - s * pq;
                    a[q * n + q] = s * qp + c * qq;
                    (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
                    for k in (0..n).filter(|&k| k != p && k != q) {
                        a[k * n + p] = a[p * n + k];
                        a[k * n + q] = a[q * n + k];
                    }
                    turn(&mut vectors, n, (p, q), (c, s));
                }
            }
            if is_diagonal {
                break;
            }
        }
        let mut order = Vec::from_iter(0..n);
        order.sort_by(|&i, &j| a[j * n + j].total_cmp(&a[i * n + i]));
        Eigen {
            values: order.iter().map(|&i| a[i * n + i]).collect(),
            vectors: order
                .iter()
                .flat_map(|&i| &vectors[i * n..][..n])
                .copied()
                .collect(),
        }
    }
}

/// Cosine and sine of the turn that makes the element beside the diagonal 0: the smaller of two.
fn rotation(app: f64, aqq: f64, apq: f64) -> (f64, f64) {
    let tau = (aqq - app) / (2.0 * apq);
    let t = match tau >= 0.0 {
        true => 1.0 / (tau + (1.0 + tau * tau).sqrt()),
        false => -1.0 / (-tau + (1.0 + tau * tau).sqrt()),
    };
    let c = 1.0 / (1.0 + t * t).sqrt();
    (c, t * c)
}

/// Rows p and q become `c·p - s·q` and `s·p + c·q`.
fn turn(a: &mut [f64], n: usize, (p, q): (usize, usize), (c, s): (f64, f64)) {
    let (before, from_q) = a.split_at_mut(q * n);
    for (x, y) in before[p * n..][..n].iter_mut().zip(&mut from_q[..n]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rng::Stream;

    #[test]
    fn a_matrix_is_what_its_eigenvectors_make_of_it() {
        for n in [1, 2, 3, 17, 40] {
            let mut stream = Stream::new(7, "eigen", 0, n as u64);
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in i..n {
                    a[i * n + j] = f64::from(stream.normal());
                    a[j * n + i] = a[i * n + j];
                }
            }
            let eigen = Eigen::of(n, a.clone());
            assert!(eigen.values.windows(2).all(|two| two[0] >= two[1]));
            for (value, vector) in eigen.values.iter().zip(eigen.vectors.chunks_exact(n)) {
                for (row, v) in a.chunks_exact(n).zip(vector) {
                    let product: f64 = row.iter().zip(vector).map(|(a, v)| a * v).sum();
                    assert!(
                        (product - value * v).abs() < 1e-12,
                        "{n}: {product} {value} {v}"
                    );
                }
                let length: f64 = vector.iter().map(|v| v * v).sum();
                assert!((length - 1.0).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn known_matrices() {
        // numpy.linalg.eigvalsh([[2, -1, 0], [-1, 2, -1], [0, -1, 2]]) = 2 - √2, 2, 2 + √2
        let eigen = Eigen::of(3, vec![2., -1., 0., -1., 2., -1., 0., -1., 2.]);
        let root = 2f64.sqrt();
        for (value, right) in eigen.values.iter().zip([2.0 + root, 2.0, 2.0 - root]) {
            assert!((value - right).abs() < 1e-15, "{value} {right}");
        }
        // Already diagonal, with two equal values and a 0.
        let eigen = Eigen::of(3, vec![1., 0., 0., 0., 0., 0., 0., 0., 1.]);
        assert_eq!(eigen.values, [1.0, 1.0, 0.0]);
        assert_eq!(eigen.vectors, [1., 0., 0., 0., 0., 1., 0., 1., 0.]);
    }
}

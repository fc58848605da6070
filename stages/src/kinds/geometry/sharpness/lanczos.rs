//! The ends of the spectrum of a symmetric matrix that is known by its products with vectors
//! (Lanczos 1950).
//!
//! Decides nothing about where the products come from.

/// What the iteration has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// The smallest eigenvalue.
    pub least: f64,
    /// The largest one.
    pub top: f64,
    /// How far the last step moved the largest one, in parts of it; infinite after one step, and 0
    /// where the steps have seen the whole space that the start reaches.
    pub change: f64,
}

/// After at most `steps` ≥ 1 steps from `start`, which is not 0. Every new vector is made
/// orthogonal to all earlier ones, twice, so that no eigenvalue is found again. Sums are in order.
///
/// # Errors
/// The product's.
pub fn ends<E>(
    start: &[f64],
    steps: usize,
    mut times: impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
) -> Result<Ends, E> {
    let mut basis = vec![scaled(start, 1.0 / length(start))];
    let (mut diagonal, mut beside) = (Vec::new(), Vec::<f64>::new());
    let mut found = Ends {
        least: 0.0,
        top: 0.0,
        change: f64::INFINITY,
    };
    while let Some(newest) = basis.last().filter(|_| diagonal.len() < steps) {
        let mut next = times(newest)?;
        diagonal.push(dot(&next, newest));
        for _ in 0..2 {
            for earlier in &basis {
                let along = dot(&next, earlier);
                let pairs = next.iter_mut().zip(earlier);
                pairs.for_each(|(x, e)| *x -= along * e);
            }
        }
        let top = eigenvalue(&diagonal, &beside, diagonal.len() - 1);
        let change = match diagonal.len() {
            1 => f64::INFINITY,
            _ => (top - found.top).abs() / top.abs().max(f64::MIN_POSITIVE),
        };
        found = Ends {
            least: eigenvalue(&diagonal, &beside, 0),
            top,
            change,
        };
        let rest = length(&next);
        let largest = found.top.abs().max(found.least.abs());
        // What rounding leaves of a vector in the space of the others is no direction.
        if rest <= 1e-10 * largest {
            found.change = 0.0;
            break;
        }
        beside.push(rest);
        basis.push(scaled(&next, 1.0 / rest));
    }
    Ok(found)
}

/// The eigenvalue at a position, from the smallest, of a symmetric tridiagonal matrix: by
/// bisection, down to neighbouring numbers.
fn eigenvalue(diagonal: &[f64], beside: &[f64], position: usize) -> f64 {
    // Gershgorin's discs hold them all.
    let radius = |i: usize| {
        let before = i.checked_sub(1).and_then(|i| beside.get(i));
        let of = |b: Option<&f64>| b.map_or(0.0, |b| b.abs());
        of(before) + of(beside.get(i).filter(|_| i + 1 < diagonal.len()))
    };
    let discs = || diagonal.iter().enumerate().map(|(i, d)| (*d, radius(i)));
    let mut low = discs().map(|(d, r)| d - r).fold(f64::INFINITY, f64::min);
    let mut high = discs()
        .map(|(d, r)| d + r)
        .fold(f64::NEG_INFINITY, f64::max);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        match below(diagonal, beside, middle) > position {
            true => high = middle,
            false => low = middle,
        }
    }
}

/// How many eigenvalues lie below `x` (Sturm's sequence).
fn below(diagonal: &[f64], beside: &[f64], x: f64) -> usize {
    let (mut count, mut pivot) = (0, 1.0);
    for (i, d) in diagonal.iter().enumerate() {
        let coupling = i.checked_sub(1).map_or(0.0, |i| beside[i] * beside[i]);
        pivot = d - x - coupling / pivot;
        if pivot == 0.0 {
            pivot = f64::MIN_POSITIVE;
        }
        count += usize::from(pivot < 0.0);
    }
    count
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(of: &[f64]) -> f64 {
    dot(of, of).sqrt()
}

fn scaled(of: &[f64], by: f64) -> Vec<f64> {
    of.iter().map(|x| x * by).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of n nodes: its Laplacian has the eigenvalues 2 − 2·cos(π·k/n), k from 0.
    #[test]
    fn the_ends_of_a_known_spectrum() {
        let n = 12;
        let times = |v: &[f64]| -> Result<Vec<f64>, ()> {
            let at = |i: usize, j: Option<usize>| j.map_or(0.0, |j| v[i] - v[j]);
            let inside = |j: usize| (j < n).then_some(j);
            let one = |i: usize| at(i, i.checked_sub(1)) + at(i, inside(i + 1));
            Ok((0..n).map(one).collect())
        };
        let start: Vec<f64> = (0..n).map(|i| 1.0 + (i * i % 7) as f64).collect();
        let found = ends(&start, n + 5, times).unwrap_or_else(|()| unreachable!());
        let top = 2.0 + 2.0 * (std::f64::consts::PI / n as f64).cos();
        assert!((found.top - top).abs() < 1e-12, "{found:?}");
        assert!(found.least.abs() < 1e-12, "{found:?}");
        // Fewer steps come from inside.
        let fewer = ends(&start, 4, times).unwrap_or_else(|()| unreachable!());
        assert!(fewer.top < found.top && fewer.least > found.least);
        assert!(fewer.change > 0.0 && found.change < 1e-12);
    }

    #[test]
    fn a_start_that_is_an_eigenvector_is_all_there_is_to_see() {
        let times = |v: &[f64]| -> Result<Vec<f64>, ()> { Ok(scaled(v, -3.0)) };
        let found = ends(&[1.0, 2.0], 5, times).unwrap_or_else(|()| unreachable!());
        assert!((found.top + 3.0).abs() < 1e-15 && found.top == found.least);
        assert_eq!(found.change, 0.0);
    }
}

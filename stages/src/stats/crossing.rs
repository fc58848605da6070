//! Where a condition that holds below some number stops holding.

/// The neighbouring numbers in `low..=high` between which `is_below` turns false. Halving until the
/// ends are neighbours needs no derivative and always ends.
pub fn crossing(mut low: f64, mut high: f64, mut is_below: impl FnMut(f64) -> bool) -> (f64, f64) {
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return (low, high);
        }
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

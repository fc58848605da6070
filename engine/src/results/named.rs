//! Which outputs are tables of metrics, by what they are called.

/// Whether an output is a metric table.
pub fn is_table(name: &str, path: Option<&str>) -> bool {
    is_named(name, path) || path.is_some_and(|p| p.ends_with(".parquet"))
}

/// Whether it says so itself: a Parquet file may hold anything.
pub fn is_named(name: &str, path: Option<&str>) -> bool {
    let file = path.map(|p| p.rsplit('/').next().unwrap_or(p));
    name == "metrics" || file.is_some_and(|f| f == "metrics" || f.starts_with("metrics."))
}

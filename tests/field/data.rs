//! Data and metrics that people bring along.

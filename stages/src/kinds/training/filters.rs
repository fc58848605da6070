//! The kind `filters`: do first-layer filters lie along the principal components of the patches?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::facts::{Fact, Findings, Known, MetricsFact, fit, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::several;
use crate::nn::architecture::Architecture;
use crate::nn::model::Model;
use crate::table;
use crate::table::grid::{self, Point};
use crate::task::Task;
use crate::training::evaluation::check_data;
use crate::training::patches::{Moments, Patches};
use repro_numerics::exact::orthonormal::orthonormalise;
use repro_numerics::exact::rng::Stream;
use repro_numerics::exact::symmetric::Eigen;
use repro_protocol::table::Row;

/// See the module.
pub struct Filters;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the random bases.
    pub seed: u64,
    /// Images whose patches are looked at, the first ones, or all where there are fewer.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1))]
    pub images: usize,
    /// Random bases to compare with.
    #[serde(default = "twenty")]
    #[schemars(range(min = 2))]
    pub bases: usize,
}

fn thousand() -> usize {
    1000
}

fn twenty() -> usize {
    20
}

/// An eigenvalue of the filters below this share of the largest counts as 0.
const SINGULAR: f64 = 1e-12;

impl Kind for Filters {
    type Params = Params;
    const NAME: &'static str = "filters";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str =
        "Measures whether first-layer filters lie along the principal components of image patches.";
    const DOC: &'static str = include_str!("filters/guide.md");
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "Models of one shape, whose filters are pooled.").many(),
        InputSpec::required("data", "The images; several sets are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("metrics", "metrics.parquet")?,
            OutputSpec::new("grid", "grid.parquet")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let few = [("images", p.images, 1), ("bases", p.bases, 2)];
        few.into_iter()
            .filter(|(_, n, least)| n < least)
            .map(|(name, _, least)| {
                ParamProblem::new(&[name], format!("must be at least {least}"), "")
            })
            .collect()
    }

    fn facts(_: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let hint = "gather models of one `train` stage";
        let identity = several::gathered(None, hint, known, &mut found).identity;
        fit("data", identity.as_ref(), known, &mut found);
        let architecture = identity.map(Architecture::new);
        if let Some(Ok(architecture)) = architecture
            && let Err(failure) = Patches::of(&architecture)
        {
            refuse(("models", 0), failure, &mut found);
        }
        let values = [
            "misalignment",
            "misalignment_random",
            "misalignment_random_sd",
            "misalignment_ratio",
            "filters",
        ];
        let values = values.map(|name| (None, name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let mut filters = Vec::new();
        let mut patches = None;
        for file in several::files(task.inputs("models"))? {
            let model = Model::read(&file)?;
            check_data(&data, &model.architecture.identity, "data")?;
            let these = Patches::of(&model.architecture)?;
            let name = &model.architecture.parameters[these.weight].name;
            if *patches.get_or_insert(these) != these {
                let text = "models with first layers of different sizes cannot be pooled";
                return Err(Failure::new(text).into());
            }
            filters.extend(model.tensors[name].data.iter().map(|&w| f64::from(w)));
        }
        let Some(patches) = patches else {
            anyhow::bail!("there is no model");
        };
        let n = patches.size();
        let count = filters.len() / n;
        let of_filters = inverted(n, &filters, count)?;
        let of_patches = Eigen::of(n, patches.moments(&data, p.images).covariance());
        let misalignment = of_filters.misalignment(&of_patches.vectors);
        let draws = (0..p.bases as u64).map(|draw| {
            let mut stream = Stream::new(p.seed, "random basis", 0, draw);
            let mut basis = Vec::from_iter((0..n * n).map(|_| f64::from(stream.normal())));
            orthonormalise(&mut basis, n);
            of_filters.misalignment(&basis)
        });
        let draws = Vec::from_iter(draws);
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let squares: f64 = draws.iter().map(|x| (x - mean) * (x - mean)).sum();
        let sd = (squares / (draws.len() - 1) as f64).sqrt();
        let mut rows = vec![
            ("misalignment", misalignment),
            ("misalignment_random", mean),
            ("misalignment_random_sd", sd),
        ];
        // With one value in a patch there is one basis, and nothing to be out of line.
        if mean > 0.0 {
            rows.push(("misalignment_ratio", misalignment / mean));
        }
        rows.push(("filters", count as f64));
        let rows = rows.into_iter().map(|(name, value)| Row {
            name: name.to_owned(),
            value,
            ..Row::default()
        });
        table::write(task.output("metrics")?, &Vec::from_iter(rows))?;
        let components = of_patches
            .values
            .iter()
            .zip(of_patches.vectors.chunks_exact(n));
        let points = components.map(|(variance, vector)| Point {
            x: variance.max(0.0).sqrt(),
            y: None,
            split: "data".into(),
            name: "filter_std",
            value: of_filters.along(vector).0.sqrt(),
        });
        grid::write(task.output("grid")?, &Vec::from_iter(points))
    }
}

/// The covariance of the filters, by its eigenvectors; none of its eigenvalues is 0.
struct OfFilters {
    n: usize,
    eigen: Eigen,
}

fn inverted(n: usize, filters: &[f64], count: usize) -> anyhow::Result<OfFilters> {
    let mut moments = Moments::new(n);
    filters
        .chunks_exact(n)
        .for_each(|filter| moments.add(filter));
    let eigen = Eigen::of(n, moments.covariance());
    let (largest, least) = (eigen.values[0], eigen.values[n - 1]);
    if count <= n || least <= SINGULAR * largest {
        let text = format!(
            "{count} filters of {n} values do not span their space, so their covariance has no inverse"
        );
        let hint = format!(
            "gather models until there are clearly more than {n} filters, none of them equal or pruned away"
        );
        return Err(Failure::new(text).hint(hint).into());
    }
    Ok(OfFilters { n, eigen })
}

impl OfFilters {
    /// `vᵀBv` and `vᵀB⁻¹v`.
    fn along(&self, v: &[f64]) -> (f64, f64) {
        let mut sums = (0.0, 0.0);
        let components = self.eigen.vectors.chunks_exact(self.n);
        for (value, vector) in self.eigen.values.iter().zip(components) {
            let share: f64 = vector.iter().zip(v).map(|(a, b)| a * b).sum();
            sums.0 += share * share * value;
            sums.1 += share * share / value;
        }
        sums
    }

    /// Against the orthonormal rows of a basis. Rounding may leave a sum just below 0.
    fn misalignment(&self, basis: &[f64]) -> f64 {
        let terms = basis.chunks_exact(self.n).map(|vector| {
            let (with, against) = self.along(vector);
            (with * against).sqrt() - 1.0
        });
        terms.sum::<f64>().max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters with the covariance Vᵀ·diag(d)·V, exactly up to rounding: ± √(n·d)·v for each row v.
    fn filters(basis: &[f64], variances: &[f64]) -> Vec<f64> {
        let n = variances.len();
        let pair = |(v, d): (&[f64], &f64)| {
            let length = (n as f64 * d).sqrt();
            [length, -length]
                .map(|by| v.iter().map(|x| by * x).collect::<Vec<_>>())
                .concat()
        };
        basis
            .chunks_exact(n)
            .zip(variances)
            .flat_map(pair)
            .collect()
    }

    fn basis(n: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, "test", 0, 0);
        let mut basis = Vec::from_iter((0..n * n).map(|_| f64::from(stream.normal())));
        orthonormalise(&mut basis, n);
        basis
    }

    #[test]
    fn filters_along_the_components_are_aligned_and_others_are_not() {
        let (n, variances) = (6, [5.0, 3.0, 2.0, 1.0, 0.5, 0.1]);
        let along = basis(n, 1);
        let of = inverted(n, &filters(&along, &variances), 2 * n).unwrap();
        assert!(
            of.misalignment(&along) < 1e-6,
            "{}",
            of.misalignment(&along)
        );
        // The order and the signs of a basis do not matter; the scale of the filters does not.
        let turned: Vec<f64> = along.chunks_exact(n).rev().flatten().map(|x| -x).collect();
        assert!(of.misalignment(&turned) < 1e-6);
        let other = basis(n, 2);
        let large = inverted(n, &filters(&along, &variances.map(|v| 9.0 * v)), 2 * n).unwrap();
        assert!(of.misalignment(&other) > 0.5);
        assert!((of.misalignment(&other) - large.misalignment(&other)).abs() < 1e-9);
        // Filters whose covariance is the same in all directions lie along any basis.
        let round = inverted(n, &filters(&along, &[2.0; 6]), 2 * n).unwrap();
        assert!(round.misalignment(&other) < 1e-6);
    }

    /// In two dimensions, with B = diag(4, 1) and a basis turned by 45 degrees: both terms are
    /// √(2.5 · 0.625) - 1 = 0.25, so the misalignment is √0.5.
    #[test]
    fn a_value_by_hand_is_the_least_over_all_aligned_covariances() {
        let of = inverted(2, &filters(&[1.0, 0.0, 0.0, 1.0], &[4.0, 1.0]), 4).unwrap();
        let h = 0.5f64.sqrt();
        let turned = [h, h, h, -h];
        let least = of.misalignment(&turned);
        assert!((least - h).abs() < 1e-12, "{least}");
        // tr(½(Σ⁻¹B + B⁻¹Σ) - I) with Σ = s·h₁h₁ᵀ + t·h₂h₂ᵀ never falls below its square.
        for s in [0.5, 1.0, 2.0, 3.0] {
            for t in [0.5, 1.0, 2.0, 3.0] {
                let term = |x: f64, v: &[f64]| {
                    let (with, against) = of.along(v);
                    0.5 * (with / x + x * against) - 1.0
                };
                let value = term(s, &turned[..2]) + term(t, &turned[2..]);
                assert!(value >= least * least - 1e-12, "{s} {t}: {value}");
            }
        }
    }

    #[test]
    fn too_few_filters_are_refused() {
        let few = inverted(3, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3);
        let message = few.err().unwrap().to_string();
        assert!(message.contains("3 filters of 3 values"), "{message}");
    }
}

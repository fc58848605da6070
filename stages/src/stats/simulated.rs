//! What intervals and tests promise, over many simulated studies in which the truth is known. Drawn
//! by the counter-based generator, so every figure is the same each time.

use super::*;
use repro_numerics::exact::rng::Stream;

/// Values of one study.
fn study(seed: u64, n: usize, mut draw: impl FnMut(&mut Stream) -> f64) -> Vec<f64> {
    let mut stream = Stream::new(seed, "simulated studies", 0, 0);
    (0..n).map(|_| draw(&mut stream)).collect()
}

fn normal(stream: &mut Stream) -> f64 {
    f64::from(stream.normal())
}

/// The share of studies that a condition is true of.
fn share(studies: u32, mut of: impl FnMut(u64) -> bool) -> f64 {
    let found = (0..studies).filter(|seed| of(u64::from(*seed))).count();
    found as f64 / f64::from(studies)
}

/// 10,000 studies of a true difference of 0, looked at after every seed up to 40.
#[test]
fn looking_after_every_seed_is_honest_only_with_the_anytime_interval() {
    const LOOKS: usize = 40;
    let quantiles: Vec<f64> = (2..=LOOKS)
        .map(|n| t_quantile(0.975, (n - 1) as f64))
        .collect();
    let ever = |is_missed: &dyn Fn(&Summary) -> bool, draw: fn(&mut Stream) -> f64| {
        share(10_000, |seed| {
            let values = study(seed, LOOKS, draw);
            (2..=LOOKS).any(|n| {
                let (mean, sd) = moments(&values[..n]);
                is_missed(&Summary {
                    n,
                    mean,
                    sd: Some(sd),
                    interval: None,
                })
            })
        })
    };
    let anytime_misses =
        |s: &Summary| anytime(s, 0.95).is_some_and(|i| i.low > 0.0 || i.high < 0.0);
    let fixed_misses = |s: &Summary| {
        s.mean.abs() > quantiles[s.n - 2] * s.sd.unwrap_or_default() / (s.n as f64).sqrt()
    };
    let honest = ever(&anytime_misses, normal);
    let peeking = ever(&fixed_misses, normal);
    // 0.05 is promised; a standard error of such a share is 0.002.
    assert!(honest < 0.05, "{honest}");
    assert!(peeking > 0.2, "{peeking}");
    // The promise is of normal values; flat ones take all of it.
    let flat = ever(&anytime_misses, |s| s.uniform_f64() - 0.5);
    assert!(flat < 0.055, "{flat}");
    // It is no empty promise either: an effect of one standard deviation is found by most.
    let found = ever(&anytime_misses, |s| normal(s) + 1.0);
    assert!(found > 0.95, "{found}");
}

fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / (values.len() - 1) as f64).sqrt())
}

/// Ranks hold their level for any symmetric shape.
#[test]
fn rank_intervals_cover_heavy_tails() {
    // A ratio of normals: no mean, no variance.
    let missed = share(3000, |seed| {
        let values = study(seed, 9, |s| normal(s) / normal(s));
        let (_, interval) = hodges_lehmann(&values, 0.95).unwrap();
        let Interval { low, high } = interval.unwrap();
        low > 0.0 || high < 0.0
    });
    // The largest level that signs of nine ranks can have below 0.05 is 0.0391.
    assert!((0.03..0.048).contains(&missed), "{missed}");
}

#[test]
fn bootstrap_intervals_cover_as_far_as_known() {
    let missed = share(400, |seed| {
        let values = study(seed, 20, |s| {
            let z = normal(s);
            z * z
        });
        let Interval { low, high } = bca(&values, 0.95, 500, seed).unwrap();
        low > 1.0 || high < 1.0
    });
    // χ² of one degree, n = 20: it misses more than it says, as Efron and Tibshirani warn, but not
    // by much.
    assert!((0.04..0.15).contains(&missed), "{missed}");
}

#[test]
fn equivalence_errs_no_more_than_stated() {
    // The truth lies on the bound: equivalence must not be found more often than in 1 of 20.
    let found = share(4000, |seed| {
        let values = study(seed, 8, |s| normal(s) * 0.3 + 1.0);
        let inner = summarise(&values, 0.9).unwrap().interval.unwrap();
        inner.low > -1.0 && inner.high < 1.0
    });
    assert!((0.04..0.06).contains(&found), "{found}");
}

/// Groups that do not differ, drawn apart or with a seed's own part in common.
#[test]
fn trends_are_seldom_found_where_there_is_none() {
    let found = |shared: f64| {
        share(3000, |seed| {
            let own = study(seed, 6, normal);
            let noise = study(seed + 1_000_000, 24, normal);
            let groups: Vec<Vec<f64>> = (0..4)
                .map(|g| (0..6).map(|s| shared * own[s] + noise[6 * g + s]).collect())
                .collect();
            let trend = jonckheere(&groups).unwrap();
            trend.rising.min(trend.falling) <= 0.025
        })
    };
    let apart = found(0.0);
    assert!((0.035..0.06).contains(&apart), "{apart}");
    // What a seed has in common makes the test more careful, not less.
    let together = found(2.0);
    assert!(together < 0.01, "{together}");
}

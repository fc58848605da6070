//! How long the rest of a run will take. Knows what instances took, and nothing of how it is shown.

use std::collections::BTreeMap;

use super::planned::stage_of;

/// How long the rest will take: by what each instance took the last time, or else by what others of
/// its stage took.
pub(super) struct Estimate {
    expected_s: BTreeMap<String, f64>,
    /// Seconds and number of what was recorded or seen of each stage.
    stages: BTreeMap<String, (f64, u32)>,
    cores: f64,
}

impl Estimate {
    /// Seconds that instances took the last time, and how many can run at once.
    pub fn new(expected_s: BTreeMap<String, f64>, cores: u32) -> Estimate {
        let mut estimate = Estimate {
            stages: BTreeMap::new(),
            cores: f64::from(cores.max(1)),
            expected_s: BTreeMap::new(),
        };
        for (id, seconds) in &expected_s {
            estimate.note(id, *seconds);
        }
        estimate.expected_s = expected_s;
        estimate
    }

    fn note(&mut self, id: &str, seconds: f64) {
        let (sum, n) = self.stages.entry(stage_of(id).to_owned()).or_default();
        *sum += seconds;
        *n += 1;
    }

    /// An instance took so long.
    pub fn learn(&mut self, id: &str, seconds: f64) {
        self.note(id, seconds);
        self.forget(id);
    }

    /// An instance is no longer waited for.
    pub fn forget(&mut self, id: &str) {
        self.expected_s.remove(id);
    }

    /// Seconds of an instance, by itself, by its stage, by all.
    fn of(&self, id: Option<&str>) -> Option<f64> {
        let own = id.and_then(|id| self.expected_s.get(id).copied());
        let stage = || {
            self.stages
                .get(stage_of(id?))
                .map(|(s, n)| s / f64::from(*n))
        };
        let all = || {
            let (s, n) = self
                .stages
                .values()
                .fold((0.0, 0), |(s, n), (sum, count)| (s + sum, n + count));
            (n > 0).then(|| s / f64::from(n))
        };
        own.or_else(stage).or_else(all)
    }

    /// Seconds until all is done: of those that run, for which `elapsed` says how long they have, and
    /// of `waiting` further instances, some of which are known. `None` if nothing is known.
    pub fn left_s(
        &self,
        running: &[&str],
        waiting: u64,
        elapsed: impl Fn(&str) -> Option<f64>,
    ) -> Option<f64> {
        let mut work = 0.0;
        let mut longest = 0.0f64;
        for id in running {
            let left = (self.of(Some(id))? - elapsed(id).unwrap_or(0.0)).max(0.0);
            work += left;
            longest = longest.max(left);
        }
        let known = self
            .expected_s
            .iter()
            .filter(|(id, _)| !running.contains(&id.as_str()));
        let known: Vec<f64> = known.map(|(_, s)| *s).take(waiting as usize).collect();
        work += known.iter().sum::<f64>();
        let unknown = waiting.saturating_sub(known.len() as u64);
        if unknown > 0 {
            work += self.of(None)? * unknown as f64;
        }
        Some((work / self.cores).max(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_26_what_is_left_counts_down_and_knows_similar_instances() {
        let recorded = BTreeMap::from([
            ("train[seed=0]".to_owned(), 100.0),
            ("prep".to_owned(), 1.0),
        ]);
        let mut estimate = Estimate::new(recorded, 1);
        estimate.forget("prep");
        let left = |estimate: &Estimate, id: &str, elapsed: f64| {
            estimate.left_s(&[id], 0, |_| Some(elapsed)).unwrap()
        };
        estimate.forget("train[seed=0]");
        // Never run, but others of its stage were.
        assert_eq!(left(&estimate, "train[seed=7]", 0.0), 100.0);
        assert_eq!(left(&estimate, "train[seed=7]", 40.0), 60.0);
        assert_eq!(left(&estimate, "train[seed=7]", 140.0), 0.0);
        estimate.learn("train[seed=7]", 200.0);
        assert_eq!(left(&estimate, "train[seed=8]", 0.0), 150.0);
        // Two at once on two cores take as long as one.
        let two = Estimate::new(
            BTreeMap::from([("a[i=1]".to_owned(), 10.0), ("a[i=2]".to_owned(), 10.0)]),
            2,
        );
        assert_eq!(
            two.left_s(&["a[i=1]", "a[i=2]"], 0, |_| Some(0.0)),
            Some(10.0)
        );
        assert_eq!(
            Estimate::new(BTreeMap::new(), 1).left_s(&["x"], 3, |_| None),
            None
        );
    }
}

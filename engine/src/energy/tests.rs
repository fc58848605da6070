//! The meter, with counters that are files of the tests.

use super::*;

/// A directory like `/sys/class/powercap`, and a file like `/proc/stat`.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Fake {
        let fake = Fake(tempfile::tempdir().unwrap());
        fake.zone("intel-rapl:0", "package-0", 100, 1000);
        fake.busy(0);
        fake
    }

    fn zone(&self, zone: &str, name: &str, energy: u64, range: u64) {
        let dir = self.0.path().join("powercap").join(zone);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("name"), format!("{name}\n")).unwrap();
        fs::write(dir.join("energy_uj"), format!("{energy}\n")).unwrap();
        fs::write(dir.join("max_energy_range_uj"), format!("{range}\n")).unwrap();
    }

    fn is_at(&self, zone: &str, energy: u64) {
        let file = self.0.path().join("powercap").join(zone).join("energy_uj");
        fs::write(file, format!("{energy}\n")).unwrap();
    }

    /// Hundredths of a second, a tenth of them in each column but idle and waiting.
    fn busy(&self, hundredths: u64) {
        let h = hundredths;
        let text = format!(
            "cpu  {} {} {} 9999 77 {} {} 5 0 0\ncpu0 1 1 1 1\n",
            h * 5 / 10,
            h / 10,
            h * 2 / 10,
            h / 10,
            h / 10
        );
        fs::write(self.0.path().join("stat"), text).unwrap();
    }

    fn meter(&self, stated: Stated) -> Meter {
        Meter::at(
            &self.0.path().join("powercap"),
            &self.0.path().join("stat"),
            stated,
        )
    }
}

#[test]
fn counters_are_added_up_and_shared_out_by_processor_time() {
    let fake = Fake::new();
    fake.zone("intel-rapl:1", "package-1", 500, 1000);
    fake.zone("intel-rapl:1:0", "dram", 10, 1000);
    // Parts of what is counted, and the whole of it under another name.
    fake.zone("intel-rapl:0:0", "core", 0, 1000);
    fake.zone("intel-rapl:2", "psys", 0, 1000);
    fake.zone("intel-rapl-mmio:0", "package-0", 0, 1000);
    let meter = fake.meter(Stated::default());
    let begin = meter.read();
    for (zone, energy) in [
        ("intel-rapl:0", 400),
        ("intel-rapl:1", 600),
        ("intel-rapl:1:0", 30),
        ("intel-rapl:0:0", 900),
        ("intel-rapl:2", 900),
        ("intel-rapl-mmio:0", 900),
    ] {
        fake.is_at(zone, energy);
    }
    fake.busy(1000);
    // A quarter of the ten busy seconds.
    let energy = meter.since(begin, 2.5);
    assert_eq!(energy.method, Method::Rapl);
    assert!((energy.joules - 420e-6 / 4.0).abs() < 1e-15, "{energy:?}");
    assert_eq!((energy.watts_per_core, energy.co2e_g), (None, None));
    // Rounding of times makes nobody pay for more than there was.
    assert!((meter.since(begin, 11.0).joules - 420e-6).abs() < 1e-15);
}

/// Counters begin again at 0 every hour or so; what is read in between is not lost.
#[test]
fn a_counter_that_comes_round_goes_on() {
    let fake = Fake::new();
    let meter = fake.meter(Stated::default());
    let begin = meter.read();
    let mut wanted = 0;
    let mut at = 100;
    for step in [700, 300, 999, 1, 0, 500, 500, 500] {
        at = (at + step) % 1000;
        wanted += step;
        fake.is_at("intel-rapl:0", at);
        meter.read();
    }
    assert!(wanted > 3 * 1000);
    fake.busy(100);
    let joules = meter.since(begin, 1.0).joules;
    assert!((joules - wanted as f64 / 1e6).abs() < 1e-12, "{joules}");
}

#[test]
fn what_cannot_be_measured_is_an_estimate_and_says_so() {
    let stated = Stated::of_environment(|name| match name {
        WATTS_PER_CORE => Some("12.5".into()),
        GRAMS_PER_KWH => Some("360".into()),
        _ => None,
    });
    let stated = stated.unwrap();
    let is_estimate = |meter: &Meter, cpu_s: f64| {
        let energy = meter.since(meter.read(), cpu_s);
        assert_eq!(
            (energy.method, energy.joules),
            (Method::Estimate, cpu_s * 12.5)
        );
        assert_eq!(energy.watts_per_core, Some(12.5));
        energy
    };
    let none = Meter::at(Path::new("/nowhere"), Path::new("/nowhere"), stated);
    // 100 s × 12.5 W = 1250 J; 360 g/kWh is 1e-4 g/J.
    let grams = is_estimate(&none, 100.0).co2e_g.unwrap();
    assert!((grams - 0.125).abs() < 1e-15);
    // A counter that cannot be read, also if it stops on the way, and a machine that was busy
    // for too short a time to be shared out.
    let fake = Fake::new();
    is_estimate(&fake.meter(stated), 3.0);
    let meter = fake.meter(stated);
    let begin = meter.read();
    fake.busy(1000);
    fs::remove_file(fake.0.path().join("powercap/intel-rapl:0/energy_uj")).unwrap();
    assert_eq!(meter.since(begin, 3.0).method, Method::Estimate);
    is_estimate(&fake.meter(stated), 3.0);
}

#[test]
fn what_gpus_counted_is_added_and_what_they_did_not_is_told() {
    let stated = Stated {
        watts_per_core: 10.0,
        g_per_kwh: Some(360.0),
    };
    let meter = Meter::at(Path::new("/nowhere"), Path::new("/nowhere"), stated);
    let used = |gpus| meter.since(meter.read(), 2.0).with_gpus(gpus);
    let (none, counted) = (used(None), used(Some(GpuEnergy::Counted(80.0))));
    let uncounted = used(Some(GpuEnergy::Uncounted));
    assert_eq!(
        (none.joules, none.gpu_joules, none.gpus_uncounted),
        (20.0, None, false)
    );
    assert_eq!((counted.joules, counted.gpu_joules), (100.0, Some(80.0)));
    assert!((counted.co2e_g.unwrap() - 0.01).abs() < 1e-15);
    assert_eq!((uncounted.joules, uncounted.gpu_joules), (20.0, None));
    assert!(uncounted.gpus_uncounted && !counted.gpus_uncounted);
    let mut sum = EnergySum::default();
    sum.add(&none);
    assert_eq!((sum.gpu_joules, sum.gpus_uncounted), (None, false));
    [counted, uncounted]
        .iter()
        .for_each(|energy| sum.add(energy));
    assert_eq!((sum.joules, sum.estimated_joules), (140.0, 60.0));
    assert_eq!((sum.gpu_joules, sum.gpus_uncounted), (Some(80.0), true));
    // As records have it, and nobody's GPUs used more than all.
    let read = |energy: Energy| {
        let observation = Observation::default().with(Fact::Energy, serde_json::json!(energy));
        Energy::of(&observation)
    };
    assert_eq!(
        [none, counted, uncounted].map(read),
        [none, counted, uncounted].map(Some)
    );
    assert_eq!(
        read(Energy {
            joules: 1.0,
            ..counted
        }),
        None
    );
}

#[test]
fn stated_figures_are_numbers() {
    let of = |text: &'static str| {
        Stated::of_environment(move |name| (name == GRAMS_PER_KWH).then(|| text.into()))
    };
    assert_eq!(of("").unwrap(), Stated::default());
    assert_eq!(of(" 50 ").unwrap().g_per_kwh, Some(50.0));
    for wrong in ["fifty", "-1", "nan", "inf", "50 g"] {
        let said = of(wrong).unwrap_err().to_string();
        assert!(
            said.contains(GRAMS_PER_KWH) && said.contains(wrong),
            "{said}"
        );
    }
}

//! Energy and CO₂e: told wherever durations are, by the method that says so, and part of no result.

use serde_json::{Value, json};

use crate::support::{TestSpace, space};

const STUDY: &str = "a: {matrix: {k: [1, 2]}, run: 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ${matrix.k} $i > ${outputs.out}', outputs: {out: a.txt}}";

fn stated(watts: &str, grams: Option<&str>) -> TestSpace {
    let mut space = space(STUDY);
    space.set_env("REPRO_WATTS_PER_CORE", watts);
    if let Some(grams) = grams {
        space.set_env("REPRO_CO2E_G_PER_KWH", grams);
    }
    space
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn energy_is_told_and_is_part_of_no_result() {
    let space = stated("1000", Some("500"));
    let (code, events) = space.events(&[]);
    assert_eq!(code, 0);
    let (mut joules, mut grams) = (0.0, 0.0);
    for event in events.iter().filter(|e| e["event"] == "finished") {
        let energy = &event["energy"];
        joules += number(&energy["joules"]);
        grams += number(&energy["co2e_g"]);
        // 500 g/kWh are 500 g in 3.6 MJ.
        let wanted = number(&energy["joules"]) / 3.6e6 * 500.0;
        assert!((number(&energy["co2e_g"]) - wanted).abs() <= wanted * 1e-9);
        // Where counters can be read they are; this machine decides.
        if energy["method"] == "estimate" {
            let estimate = number(&event["cpu_s"]) * 1000.0;
            assert!((number(&energy["joules"]) - estimate).abs() <= estimate * 1e-9);
            assert_eq!(number(&energy["watts_per_core"]), 1000.0);
        } else {
            assert_eq!(
                (&energy["method"], &energy["watts_per_core"]),
                (&json!("rapl"), &Value::Null)
            );
        }
    }
    assert!(joules > 0.0);
    let sum = &events.last().unwrap()["energy"];
    assert!(
        (number(&sum["joules"]) - joules).abs() <= joules * 1e-9,
        "{sum}"
    );
    assert!(
        (number(&sum["co2e_g"]) - grams).abs() <= grams * 1e-9,
        "{sum}"
    );
    let costs = space.json(&["metrics", "--costs"]);
    assert_eq!(costs[1]["instance"], "a[k=2]");
    let told: f64 = costs
        .as_array()
        .unwrap()
        .iter()
        .map(|c| number(&c["energy"]["joules"]))
        .sum();
    assert!((told - joules).abs() <= joules * 1e-9);
    let table = space.ok(&["metrics", "--costs"]);
    assert!(
        table.starts_with("stage  k  time")
            && table.contains("CO₂e")
            && table.contains("all together: "),
        "{table}"
    );
    let shown = space.ok(&["show", "a[k=1]"]);
    assert!(shown.contains("at 500 g/kWh"), "{shown}");
    let said = space.run(&["run", "-f"]).err;
    assert!(said.contains("g CO₂e"), "{said}");
    // What was executed before costs nothing now.
    let (_, again) = space.events(&[]);
    assert_eq!(again.last().unwrap().get("energy"), None);

    // Without a stated intensity there is no CO₂e; keys and results are the same.
    let other = stated("7", None);
    let (_, events) = other.events(&[]);
    assert_eq!(events.last().unwrap()["energy"].get("co2e_g"), None);
    assert_eq!(other.read("repro.lock"), space.read("repro.lock"));
    let said = other.run(&["run", "-f"]).err;
    assert!(!said.contains("estimate") && !said.contains(" J"), "{said}");
}

#[test]
fn stated_figures_that_are_no_numbers_are_told_before_anything_runs() {
    for (watts, grams, name) in [
        ("ten", None, "REPRO_WATTS_PER_CORE"),
        ("10", Some("-3"), "REPRO_CO2E_G_PER_KWH"),
    ] {
        let space = stated(watts, grams);
        let said = space.run(&["run"]);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(
            said.err.contains(name) && said.err.contains("it has to be a number of"),
            "{}",
            said.err
        );
        assert!(!space.exists("artifacts"));
    }
}

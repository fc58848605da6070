//! The report, from a run to a page; in a browser where there is one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::TestSpace;
use crate::support::git::git_at;
use crate::support::npm;
use crate::support::skipped::skipped;

const STUDY: &str = r#"
version: 1
name: small
description: Whether one thing is more than another.
stages:
  a:
    description: The control.
    run: |
      for e in 1 2 3 4; do echo "$e,accuracy,0.$e$SEED"; done > rows
      { echo epoch,name,value; cat rows; } > ${outputs.metrics}
    matrix: {seed: [1, 2, 3]}
    env: {SEED: "${matrix.seed}"}
    outputs: {metrics: metrics.csv}
  b:
    run: |
      { echo name,value; echo "accuracy,0.2$((SEED * SEED))"; } > ${outputs.metrics}
    matrix: {lr: [0.01, 0.1, 1], seed: [1, 2, 3]}
    env: {SEED: "${matrix.seed}", LR: "${matrix.lr}"}
    outputs: {metrics: metrics.csv}
claims:
  more:
    source: "Somebody 2020: twice as much"
    note: As small as it gets.
    compare: {of: accuracy, a: a, b: "b[lr=0.1,*].metrics", paired_by: seed}
    expect: {difference: {above: 0}, confidence: 0.95}
figures:
  rates: {of: accuracy, stages: b, x: lr, log: x, title: How the rate matters}
"#;

fn report(space: &TestSpace) -> String {
    let path = space.ok(&["report"]);
    fs::read_to_string(path.trim()).unwrap()
}

#[test]
fn a_run_is_told_on_one_page() {
    let space = TestSpace::with_pipeline(STUDY);
    let before = report(&space);
    assert!(before.contains("1 claim open"), "nothing has run yet");
    space.ok(&["run"]);
    let page = report(&space);
    for told in [
        "1 claim holds",
        "Somebody 2020: twice as much",
        "As small as it gets.",
        "Whether one thing is more than another.",
        "How the rate matters",
        "accuracy over time",
        "In an earlier report: open.",
        "The control.",
        "repro why 'a[seed=1]'",
    ] {
        assert!(page.contains(told), "the page does not say {told}");
    }
    assert_eq!(page, report(&space), "the same results give the same bytes");
    // The interval of a claim is told once.
    let (_, claim) = page.split_once("id=\"claim-more\"").unwrap();
    let (claim, _) = claim.split_once("</article>").unwrap();
    assert!(
        claim.contains("the 95 % interval of the mean difference"),
        "{claim}"
    );
    assert_eq!(claim.matches("% interval [").count(), 1, "{claim}");
}

/// A figure that the study asks for and that cannot be drawn is no silence: not where it is written,
/// not on a page, and not for a paper.
#[test]
fn a_figure_without_anything_to_show_says_why() {
    let of = |figure: &str| STUDY.replace("rates: {of: accuracy, stages: b, x: lr, log: x", figure);
    let space = TestSpace::with_pipeline(&of("rates: {of: accuracy, stages: b, x: rl"));
    let said = space.run(&["run"]).expect(2, &["run"]).err;
    for told in ["`b` has no axis `rl`", "there is `lr`, `seed`"] {
        assert!(said.contains(told), "{said}");
    }
    space.write("pipeline.yaml", of("rates: {of: acuracy, stages: b"));
    space.ok(&["run"]);
    let why = "the figure `rates` is not drawn: no result has a metric called `acuracy`; did you \
               mean `accuracy`?";
    let said = space.run(&["report"]).expect(0, &["report"]);
    assert!(said.err.contains(why), "{}", said.err);
    let page = fs::read_to_string(said.out.trim()).unwrap();
    assert!(
        page.contains("The figure `rates` is not drawn"),
        "the page says nothing"
    );
    let said = space.run(&["plot", "rates"]).expect(2, &["plot"]).err;
    assert!(said.contains(why), "{said}");
    let text = fs::read_to_string(space.ok(&["report", "--md"]).trim()).unwrap();
    assert!(
        text.contains("The figure \\`rates\\` is not drawn"),
        "{text}"
    );
}

/// Sides of one stage are called after what tells them apart, and effect sizes are shown.
#[test]
fn the_sides_of_a_claim_have_names_of_their_own() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  b:
    run: |
      { echo name,value; echo "accuracy,$((LR * SEED))"; } > ${outputs.metrics}
      { echo name,value; echo "accuracy,$((LR + 5 * SEED))"; } > ${outputs.other}
    matrix: {lr: [1, 3], seed: [1, 2, 3]}
    env: {SEED: "${matrix.seed}", LR: "${matrix.lr}"}
    outputs: {metrics: metrics.csv, other: other.csv}
claims:
  rates:
    compare: {of: accuracy, a: "b[lr=3,*]", b: "b[lr=1,*]"}
    expect: {difference: {above: 0}}
    report: [effect_size]
  outputs:
    compare: {of: accuracy, a: "b[lr=1,*].metrics", b: "b[lr=1,*].other"}
    expect: {difference: {within: {low: -20, high: 20}}}
"#,
    );
    space.ok(&["run"]);
    let page = report(&space);
    for told in [
        "accuracy: 6 in b[lr=3], 2 in b[lr=1].",
        "accuracy: 2 in b.metrics, 11 in b.other.",
        "n = 3, effect size d = 2.00, g = 1.43.",
        "Expected: difference within -20 to 20.",
    ] {
        assert!(page.contains(told), "the page does not say {told}");
    }
    let claims = space.ok(&["claims"]);
    let told = "rates: effect size d = 2.00, g = 1.43\n";
    assert!(claims.contains(told), "{claims}");
    let claims = space.ok(&["claims", "--markdown"]);
    let told = " | effect size d = 2.00, g = 1.43 | ";
    assert!(claims.contains(told), "{claims}");
    let claims = space.ok(&["claims", "--json"]);
    assert!(claims.contains("\"hedges_g\": 1.4"), "{claims}");
}

#[test]
fn a_flip_is_told_with_what_changed() {
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run"]);
    report(&space);
    space.write("pipeline.yaml", STUDY.replace("0.$e$SEED", "0.0$e$SEED"));
    space.ok(&["run"]);
    let page = report(&space);
    assert!(
        page.contains("In an earlier report: holds. Changed since: a: "),
        "no cause"
    );
}

#[test]
fn figures_are_files_with_their_numbers() {
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run"]);
    let list = space.ok(&["plot", "--list"]);
    assert!(list.starts_with("rates  How the rate matters\n"), "{list}");
    let formats = ["--format", "svg", "--format", "pdf", "--format", "png"];
    let files = space.ok(&[&["plot", "rates", "--dpi", "100"], &formats[..]].concat());
    let png = fs::read(space.path("figures/rates.png")).unwrap();
    // The width in the header: 480 points at 100 dots per inch.
    assert_eq!(png[1..4], *b"PNG");
    assert_eq!(png[16..20], 667u32.to_be_bytes());
    space
        .run(&["plot", "rates", "--format", "png", "--dpi", "0"])
        .expect(2, &["`--dpi` is from 10 to 2400"]);
    assert_eq!(
        files,
        "figures/rates.svg\nfigures/rates.pdf\nfigures/rates.png\nfigures/rates.csv\n"
    );
    let numbers = fs::read_to_string(space.project.join("figures/rates.csv")).unwrap();
    assert!(
        numbers.starts_with("series,lr,mean,low,high,n\nb,0.01,0.24667,"),
        "{numbers}"
    );
    let said = space.run(&["plot", "rate"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("did you mean"), "{}", said.err);
}

#[test]
fn markdown_shows_every_drawing_it_has() {
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run"]);
    space.ok(&["report", "--md"]);
    let text = fs::read_to_string(space.project.join("report/README.md")).unwrap();
    assert!(text.contains("| more | **holds** |"), "{text}");
    for shown in text.split("](").skip(1) {
        let name = shown.split(')').next().unwrap();
        if name.ends_with(".svg") {
            assert!(space.project.join("report").join(name).is_file(), "{name}");
        }
    }
}

/// What a claim was before its first result is known to git.
#[test]
fn the_age_of_a_claim_comes_from_git() {
    let space = TestSpace::with_pipeline(STUDY);
    let git = |args: &[&str], at: &str| git_at(&space.project, args, at);
    let early = "2020-01-01T00:00:00Z";
    if !git(&["init", "-q"], early) {
        return skipped("git is not installed");
    }
    assert!(git(&["add", "pipeline.yaml"], early));
    assert!(git(&["commit", "-q", "-m", "x"], early));
    space.ok(&["run"]);
    let page = report(&space);
    assert!(page.contains("Committed 2020-01-01 ("), "no commit");
    assert!(
        page.contains("days before the first of its results."),
        "no age"
    );
}

#[test]
fn a_wrong_figure_is_told_with_its_place() {
    let space = TestSpace::with_pipeline(STUDY);
    for (wrong, said) in [
        ("{of: accuracy, stages: c}", "no stage is called `c`"),
        ("{x: lr}", "shows nothing"),
        ("{of: accuracy, show: grid, x: lr}", "needs two axes"),
        (
            "{of: accuracy, show: curves, x: lr}",
            "run over epochs or steps",
        ),
        ("{of: accuracy, show: bars}", "is not known here"),
    ] {
        let from = STUDY.find("  rates: ").unwrap();
        let text = format!("{}  rates: {wrong}\n", &STUDY[..from]);
        space.write("pipeline.yaml", &text);
        let answer = space.run(&["report"]);
        assert_eq!(answer.code, 2, "{wrong}: {}", answer.err);
        assert!(answer.err.contains(said), "{wrong}: {}", answer.err);
        assert!(answer.err.contains("pipeline.yaml:27:"), "{}", answer.err);
    }
}

/// What a browser makes of a page, and what it logs; `None` where there is no browser.
fn in_a_browser(page: &Path, arguments: &[&str]) -> Option<(String, String)> {
    let profile = tempfile::tempdir().unwrap();
    let done = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--enable-logging=stderr", "--v=0"])
        .args(arguments)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&done.stdout), text(&done.stderr)))
}

/// The scripts run, nothing is written to the console, and the policy lets them.
#[test]
fn a_browser_shows_the_page() {
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run"]);
    let page = space.ok(&["report", "-o", "report.html"]);
    let path = space.project.join(page.trim());
    let Some((dom, log)) = in_a_browser(&path, &[]) else {
        return skipped("chromium is not installed");
    };
    assert!(dom.contains("aria-pressed=\"true\""), "no legend: {log}");
    assert!(dom.contains("type=\"search\""), "no filter");
    assert!(dom.contains(">copy</button>"), "no copy button");
    let console: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert_eq!(console, Vec::<&str>::new());
}

/// A page that a stage wrote is shown in its own style; its scripts do not run, and it cannot leave
/// its frame.
#[test]
fn pages_and_pictures_of_stages_are_shown() {
    let space = TestSpace::with_pipeline(
        r##"
version: 1
stages:
  drawn:
    run: |
      cat > ${outputs.page} <<'END'
      <style>p{color:red}</style><p>Hello "from" a & stage</p></iframe><img src="https://example.org/x.png">
      <script>parent.document.title = "taken"; document.body.append("a script ran")</script>
      END
      printf '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>' > ${outputs.picture}
    outputs: {page: page.html, picture: picture.svg}
"##,
    );
    space.ok(&["run"]);
    let page = report(&space);
    assert!(page.contains("<iframe sandbox title=\"The page drawn.page, made by the study\""));
    assert!(page.contains("<img alt=\"The picture drawn.picture, made by the study\""));
    assert_eq!(
        page.matches("</iframe>").count(),
        1,
        "the stage's own is text"
    );
    let text = space.ok(&["report", "--md"]);
    let text = fs::read_to_string(text.trim()).unwrap();
    assert!(
        text.contains("[drawn.page](made-drawn-page.html)"),
        "{text}"
    );
    assert!(
        text.contains("![drawn.picture](made-drawn-picture.svg)"),
        "{text}"
    );
    assert!(space.exists("report/made-drawn-picture.svg"));
    let Some((dom, log)) = in_a_browser(&space.path(".repro/report.html"), &[]) else {
        return skipped("chromium is not installed");
    };
    assert!(!dom.contains("<title>taken"), "{log}");
    assert!(!log.contains("a script ran"), "{log}");
    let blocked = log.lines().filter(|l| l.contains("CONSOLE"));
    let is_meant = |l: &&str| l.contains("sandboxed") || l.contains("example.org");
    assert_eq!(
        blocked.filter(|l| !is_meant(l)).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}

/// axe-core looks at the whole page, everything opened, light and dark. The page's policy lets no
/// other script run, so it looks at a copy without it.
#[test]
fn axe_finds_nothing_in_the_page() {
    let axe = match npm::file("axe-core/axe.min.js") {
        Ok(axe) => fs::read_to_string(axe).unwrap(),
        Err(why) => return skipped(why),
    };
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run"]);
    let page = report(&space);
    let policy = page.find("<meta http-equiv=").unwrap();
    let end = policy + page[policy..].find('>').unwrap() + 1;
    let look = "document.querySelectorAll('details').forEach(d => d.open = true);\
        axe.run().then(found => { const said = document.createElement('pre');\
        said.textContent = 'SAID' + JSON.stringify({\
            dark: matchMedia('(prefers-color-scheme: dark)').matches,\
            passes: found.passes.length,\
            violations: found.violations.map(v => [v.id, v.impact, v.nodes[0].html])}) + 'DIAS';\
        document.body.append(said); });";
    let scripts = format!(
        "<script>{}</script><script>{look}</script></body>",
        axe.replace("</script", "<\\/script")
    );
    let open = format!("{}{}", &page[..policy], &page[end..]).replace("</body>", &scripts);
    space.write("open.html", &open);
    for (mode, is_dark) in [("--disable-3d-apis", false), ("--force-dark-mode", true)] {
        let path = space.project.join("open.html");
        let Some((dom, log)) = in_a_browser(&path, &[mode, "--virtual-time-budget=20000"]) else {
            return skipped("chromium is not installed");
        };
        let said = dom
            .rsplit(">SAID")
            .next()
            .and_then(|s| s.split("DIAS<").next());
        let said: serde_json::Value = serde_json::from_str(said.unwrap())
            .unwrap_or_else(|e| panic!("axe did not run: {e}: {log}"));
        assert_eq!(said["dark"], is_dark);
        assert!(said["passes"].as_u64().is_some_and(|n| n > 20), "{said}");
        assert_eq!(said["violations"], serde_json::json!([]));
    }
}

/// The page that is watched: served to this machine alone, another one when the run has gone on,
/// and a browser takes over what is new without loading the page again.
#[test]
fn a_watched_report_follows_the_run() {
    let space = TestSpace::with_pipeline(STUDY);
    // It ends with this test, however that ends.
    struct Watching(Child);
    impl Drop for Watching {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let watching = space
        .command(&["report", "--watch"])
        .stderr(Stdio::piped())
        .spawn();
    let mut watching = Watching(watching.unwrap());
    let mut told = String::new();
    let mut said = BufReader::new(watching.0.stderr.take().unwrap());
    said.read_line(&mut told).unwrap();
    let at = told
        .split(['/', ' '])
        .find(|word| word.starts_with("127.0.0.1:"));
    let at = at
        .unwrap_or_else(|| panic!("no address: {told}"))
        .to_owned();
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(&at).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let before = ask(&at);
    assert!(before.starts_with("HTTP/1.1 200"), "{before}");
    assert!(before.contains("1 claim open"), "nothing has run yet");
    assert!(before.contains("connect-src 'self'"), "it may not ask");
    assert!(ask("evil.example").starts_with("HTTP/1.1 403"));
    // The browser opens it before the run; its clock goes on while the run executes.
    let profile = tempfile::tempdir().unwrap();
    let browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--timeout=60000",
        ])
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{at}/"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    space.ok(&["run"]);
    assert!(ask(&at).contains("1 claim holds"), "the run is over");
    match browser {
        Ok(browser) => {
            let done = browser.wait_with_output().unwrap();
            let dom = String::from_utf8_lossy(&done.stdout);
            let log = String::from_utf8_lossy(&done.stderr);
            assert!(dom.contains("1 claim holds"), "it did not follow: {log}");
            assert!(
                dom.contains("aria-pressed=\"true\""),
                "what is new has no legend"
            );
            let console: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
            assert_eq!(console, Vec::<&str>::new());
        }
        Err(_) => skipped("chromium is not installed: the page's own part"),
    }
}

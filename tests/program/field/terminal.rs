//! What is said, how much of it, and how wide.

use crate::support::TestSpace;
use crate::support::skipped::skipped;

/// A matrix of forty, a table over it, and what is done with that.
const WIDE: &str = r#"
version: 1
name: wide
vars: {lr: 1, text: one}
stages:
  train:
    matrix: {model: [a-rather-long-name, another-long-name], seed: {range: [0, 20, 1]}}
    run: "echo ${vars.lr} ${matrix.model} ${matrix.seed} > ${outputs.m}"
    outputs: {m: m.txt}
  table:
    needs: {all: "train[*].m"}
    run: "cat ${needs.all} > ${outputs.t}"
    outputs: {t: t.txt}
"#;

fn widest(text: &str) -> usize {
    text.lines().map(|l| l.chars().count()).max().unwrap_or(0)
}

#[test]
fn case_26_a_directory_without_a_pipeline_points_to_init() {
    let space = TestSpace::new();
    for command in ["run", "status"] {
        let said = space.run(&[command]).expect(2, &[command]);
        assert!(said.err.contains("`repro init`"), "{}", said.err);
    }
}

#[test]
fn case_26_tables_fit_in_eighty_columns() {
    let mut space = TestSpace::with_pipeline(WIDE);
    space.ok(&[
        "run",
        "--set",
        "text=a value that makes the command line longer than anybody wants to see it",
    ]);
    space.ok(&["run"]);
    // What goes into a file or a pipe is whole, unless somebody says how wide it is.
    assert!(
        space
            .ok(&["log"])
            .contains("longer than anybody wants to see it")
    );
    space.set_env("COLUMNS", "80");
    for args in [&["log"][..], &["status"], &["status", "--all"]] {
        let text = space.ok(args);
        assert!(widest(&text) <= 80, "{args:?}\n{text}");
    }
    let log = space.ok(&["log"]);
    assert!(log.contains('…'), "{log}");
    // The name in the first column is enough for every command.
    let run = log
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    space.ok(&["show", run]);
    space.set_env("COLUMNS", "0");
    assert!(
        space
            .ok(&["log"])
            .contains("longer than anybody wants to see it")
    );
    space.set_env("COLUMNS", "50");
    assert!(widest(&space.ok(&["status", "--all"])) <= 50);
}

/// Every row says whose it is, however narrow the terminal.
#[test]
fn case_26_rows_of_metrics_are_told_apart() {
    let mut space = TestSpace::with_pipeline(
        "version: 1
stages:
  t:
    matrix: {lr: [0.02, 0.2], seed: [0]}
    run: \"echo '{\\\"validation_accuracy\\\": ${matrix.lr}, \\\"validation_loss\\\": 1, \\\"training_accuracy\\\": 1, \\\"training_loss\\\": 1}' > ${outputs.m}\"
    outputs: {m: metrics.json}
",
    );
    space.ok(&["run"]);
    let whole = space.ok(&["metrics"]);
    assert!(
        !whole.contains('…') && whole.lines().count() == 3,
        "{whole}"
    );
    for columns in ["80", "60", "40"] {
        space.set_env("COLUMNS", columns);
        let text = space.ok(&["metrics"]);
        let names: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("t "))
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        let blocks = names.chunks(2);
        assert!(blocks.clone().count() > 1, "{text}");
        for pair in blocks {
            assert_ne!(pair[0], pair[1], "{text}");
        }
    }
}

#[test]
fn case_27_what_has_one_cause_is_told_once() {
    let space = TestSpace::with_pipeline(WIDE);
    let said = space.run(&["run", "-n"]).expect(0, &["run"]);
    assert!(said.err.lines().count() <= 5, "{}", said.err);
    assert!(
        said.err.contains("40 instances of train (first time)"),
        "{}",
        said.err
    );
    let said = space.run(&["run", "-n", "--all"]).expect(0, &["run"]);
    assert!(said.err.lines().count() > 40, "{}", said.err);
    space.ok(&["run"]);
    space.ok(&["run", "--set", "lr=2"]);
    let said = space.ok(&["diff"]);
    assert!(said.lines().count() < 100, "{said}");
    let first = said.lines().nth(1).unwrap();
    assert!(first.contains("train"), "{said}");
    assert!(space.ok(&["diff", "--all"]).lines().count() >= said.lines().count());
}

/// A command that holds a value of the matrix is another text for each instance, and changed for
/// one cause all the same.
#[test]
fn case_27_commands_that_hold_an_axis_are_grouped_too() {
    let space = TestSpace::with_pipeline(
        "version: 1
vars: {k: 1}
stages:
  a: {matrix: {seed: {range: [0, 20]}}, run: \"echo ${matrix.seed} > ${outputs.o}; : ${vars.k}\", outputs: {o: o}}
  b: {matrix: {size: [1, 2]}, run: \"echo ${matrix.size} > ${outputs.o}; : ${vars.k}\", outputs: {o: o}}
",
    );
    space.ok(&["run"]);
    space.ok(&["run", "--set", "k=2"]);
    let said = space.ok(&["diff"]);
    assert!(said.contains("20 instances of a"), "{said}");
    assert!(said.contains("e.g. command.script"), "{said}");
    // Two wordings are no many: each is told.
    assert!(
        said.contains("b[size=1]") && said.contains("b[size=2]"),
        "{said}"
    );
    assert!(said.lines().count() < 12, "{said}");
    assert!(space.ok(&["diff", "--all"]).lines().count() >= 40);
}

/// The verdict, and what was changed by hand, stand where they are seen.
#[test]
fn case_27_a_script_of_many_kilobytes_is_not_printed() {
    let script = |word: &str| format!("{} echo {word} > ${{outputs.o}}", "true;".repeat(9000));
    let pipeline = |word: &str| {
        format!(
            "version: 1\nname: long\nstages:\n  a:\n    run: '{}'\n    outputs: {{o: o.txt}}\n",
            script(word)
        )
    };
    let space = TestSpace::with_pipeline(&pipeline("one"));
    space.ok(&["run"]);
    space.write("pipeline.yaml", pipeline("two"));
    for args in [&["why", "a"][..], &["run"], &["diff"]] {
        let said = space.run(args).expect(0, args);
        let text = said.out + &said.err;
        assert!(text.len() < 2000, "{args:?}: {} bytes", text.len());
        assert!(args[0] == "run" || text.contains("two"), "{args:?}\n{text}");
    }
}

#[test]
fn case_3_every_cell_of_a_summary_is_a_row() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
name: cells
vars: {epochs: 1}
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 60, test: 20}}}
  train:
    uses: train
    matrix: {lr: [0.01, 0.1], seed: [0, 1]}
    needs: {train: data.train, test: data.test}
    with: {model: {mlp: {hidden: [4]}}, seed: "${matrix.seed}", length: {epochs: "${vars.epochs}"}, optimizer: {sgd: {lr: "${matrix.lr}"}}}
  summary:
    uses: summarise
    needs: {tables: "train[*].metrics"}
    with: {of: test_loss, over: seed}
"#,
    );
    space.ok(&["run"]);
    let said = space.ok(&["metrics", "summary"]);
    let head = said.lines().next().unwrap();
    assert!(head.contains(" lr ") && head.contains(" n "), "{said}");
    for lr in ["0.01", "0.1"] {
        let row = said
            .lines()
            .find(|line| line.split_whitespace().any(|w| w == lr));
        assert!(row.is_some_and(|row| row.contains(" ± ")), "{said}");
    }
    let rows = space.json(&["metrics", "summary"]);
    let cells: std::collections::BTreeSet<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["run"].as_str())
        .collect();
    assert_eq!(cells.len(), 2, "{rows}");
    space.ok(&["run", "--set", "epochs=2"]);
    let said = space.ok(&["diff", "--all"]);
    assert!(
        said.contains("lr=0.01 ") && said.contains("lr=0.1 "),
        "{said}"
    );
}

#[test]
fn case_26_the_end_of_what_a_failing_command_wrote_is_shown() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: f\nstages:\n  f: {run: \"for i in $(seq 100); do echo line $i; done; printf 'the last word' >&2; exit 3\", outputs: {o: o}}\n",
    );
    let said = space.run(&["run"]).expect(1, &["run"]);
    assert!(
        said.err.contains("line 100") && said.err.contains("the last word"),
        "{}",
        said.err
    );
}

/// What somebody does at a terminal.
#[derive(Clone, Copy)]
enum Act {
    /// Presses a key.
    Key(&'static str),
    /// Makes the window so many columns wide.
    Widen(u16),
}

/// The program in a terminal of so many columns: something is done when a text is on the screen; and
/// what stands there when the last text does, with its colours as escape sequences.
fn on_a_terminal(
    space: &TestSpace,
    columns: u16,
    args: &str,
    acts: &[(&str, Act)],
    last: &str,
) -> Option<String> {
    let tmux = |args: &[&str]| std::process::Command::new("tmux").args(args).output();
    if !tmux(&["-V"]).is_ok_and(|o| o.status.success()) {
        skipped("tmux is not installed");
        return None;
    }
    let socket = space.project.with_file_name("tmux");
    let socket = socket.to_str().unwrap();
    let program = space
        .command(&[])
        .get_program()
        .to_str()
        .unwrap()
        .to_owned();
    let line = format!("{program} {args}; sleep 1000");
    let mut start = std::process::Command::new("tmux");
    start.args([
        "-S",
        socket,
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-s",
        "t",
        "-y",
        "40",
        "-x",
    ]);
    start
        .arg(columns.to_string())
        .arg(line)
        .current_dir(&space.project)
        .env_clear();
    start
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TERM", "screen")
        .env("LC_ALL", "C.UTF-8");
    start
        .env("HOME", space.project.with_file_name("home"))
        .env("REPRO_STORE", &space.store)
        .envs(space.variables());
    assert!(start.status().unwrap().success());
    let screen_with = |text: &str| {
        let mut screen = String::new();
        for _ in 0..1500 {
            let said = tmux(&[
                "-S",
                socket,
                "capture-pane",
                "-p",
                "-e",
                "-S",
                "-200",
                "-t",
                "t",
            ])
            .unwrap();
            screen = String::from_utf8(said.stdout).unwrap();
            if screen.contains(text) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
        screen
    };
    for (text, act) in acts {
        screen_with(text);
        let columns;
        let done: &[&str] = match act {
            Act::Key(key) => &["-S", socket, "send-keys", "-t", "t", key],
            Act::Widen(to) => {
                columns = to.to_string();
                &["-S", socket, "resize-window", "-t", "t", "-x", &columns]
            }
        };
        tmux(done).unwrap();
    }
    let screen = screen_with(last);
    let _ = tmux(&["-S", socket, "kill-server"]);
    assert!(screen.contains(last), "{screen}");
    Some(screen)
}

const SLOW: &str = r#"
version: 1
name: slow
stages:
  work:
    matrix: {name: [a-long-name-of-an-instance-that-fills-lines], seed: [1, 2]}
    run: "for i in $(seq 8); do echo this is what the command says in step $i, in many words; sleep 0.4; done; echo ${matrix.seed} > ${outputs.o}"
    outputs: {o: o.txt}
"#;

/// Waits as long as it takes a slow machine, and looks only at what must be true at any speed.
#[test]
fn case_26_a_narrow_terminal_keeps_its_lines_and_shows_what_is_said() {
    let space = TestSpace::with_pipeline(SLOW);
    let Some(screen) = on_a_terminal(&space, 60, "run -j 2", &[], " 1.0 s") else {
        return;
    };
    let screen = without_colours(&screen);
    let bars = screen.matches("work[").count();
    assert!(bars <= 2, "lines pile up:\n{screen}");
    assert!(screen.lines().all(|l| l.chars().count() < 60), "{screen}");
}

/// The text without what colours it.
fn without_colours(screen: &str) -> String {
    let mut text = String::new();
    for part in screen.split('\u{1b}') {
        let rest = part.strip_prefix('[').and_then(|p| p.split_once('m'));
        text.push_str(rest.map_or(part, |(_, rest)| rest));
    }
    text
}

/// A window that is made narrower and wider again while bars are drawn: at the end nothing of them is
/// left but the lines that say what was done.
#[test]
fn a_window_may_change_its_width() {
    let space = TestSpace::with_pipeline(SLOW);
    let acts = [("step 2", Act::Widen(50)), ("step 4", Act::Widen(90))];
    let Some(screen) = on_a_terminal(&space, 100, "run -j 2", &acts, "2 executed") else {
        return;
    };
    let screen = without_colours(&screen);
    let (_, after) = screen.rsplit_once("2 executed").unwrap();
    assert_eq!(
        after.lines().filter(|l| l.contains("work[")).count(),
        0,
        "{screen}"
    );
    assert_eq!(screen.matches("done work[").count(), 2, "{screen}");
}

/// Colours come on a terminal, and not where `NO_COLOR` is set to anything.
#[test]
fn no_color_is_heard() {
    for (value, coloured) in [("", true), ("1", false)] {
        let mut space = TestSpace::with_pipeline(
            "version: 1\nstages: {a: {run: \"echo 1 > ${outputs.o}\", outputs: {o: o}}}\n",
        );
        space.set_env("NO_COLOR", value);
        let Some(screen) = on_a_terminal(&space, 80, "run", &[], "1 executed") else {
            return;
        };
        assert_eq!(screen.contains("\u{1b}["), coloured, "{screen:?}");
    }
}

#[test]
fn case_26_the_first_interrupt_says_so_above_the_bars() {
    let space = TestSpace::with_pipeline(SLOW);
    // Where the keyboard is not the program's, the terminal writes `^C` itself.
    for args in ["run -f -j 2", "run -f -j 2 < /dev/null"] {
        let Some(screen) = on_a_terminal(
            &space,
            80,
            args,
            &[("work[", Act::Key("C-c"))],
            "to continue",
        ) else {
            return;
        };
        assert!(
            screen.contains("interrupted: waiting for running stages"),
            "{screen}"
        );
        // Nothing of the bars is left.
        assert!(
            !screen.contains('█') && !screen.contains("running,") && !screen.contains("waiting,"),
            "{args}\n{screen}"
        );
    }
}

#[test]
fn case_27_one_wrong_parameter_is_told_once() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: z\nstages:\n  data: {uses: download, with: {dataset: shapes}}\n  t:\n    uses: train\n    \
         matrix: {seed: {range: [0, 50, 1]}}\n    needs: {train: data.train}\n    \
         with: {seed: \"${matrix.seed}\", model: {mlp: {hidden: [3]}}, length: {epochs: 1}, optimizer: {sgd: {lr: -1}}}\n",
    );
    let said = space.run(&["run", "-n"]).expect(2, &["run"]);
    assert_eq!(
        said.err.matches("must be 0 or more").count(),
        1,
        "{}",
        said.err
    );
    assert!(said.err.contains("in all 50 instances"), "{}", said.err);
}

/// In GitHub's logs what happens is folded; failures and the summary are not.
#[test]
fn logs_of_github_are_folded() {
    let mut space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"echo > ${outputs.o}\", outputs: {o: o}}\n  b: {run: \"exit 3\", needs: {a: a.o}, outputs: {o: o}}\n",
    );
    let plain = space.run(&["run", "-k"]).err;
    assert!(!plain.contains("::"), "{plain}");
    space.set_env("GITHUB_ACTIONS", "true");
    let said = space.run(&["run", "-k", "-f"]).err;
    let mut open = false;
    for line in said.lines() {
        match line {
            "::group::repro run" => assert!(!std::mem::replace(&mut open, true), "{said}"),
            "::endgroup::" => assert!(std::mem::replace(&mut open, false), "{said}"),
            line if line.starts_with("run ") || line.starts_with("done ") => {
                assert!(open, "{said}");
            }
            line if line.contains("FAIL") || line.contains(" executed") => assert!(!open, "{said}"),
            _ => {}
        }
    }
    assert!(!open && said.contains("::group::"), "{said}");
}

/// Some terminals know their columns and no rows, or nothing: what fits is not shown wider.
#[test]
fn case_26_a_terminal_of_no_rows_has_columns() {
    let space = TestSpace::with_pipeline(WIDE);
    let long = "text=a value that makes the command line longer than anybody wants to see it";
    space.ok(&["run", "--set", long]);
    let shown = |size: &str| {
        let program = env!("CARGO_BIN_EXE_repro");
        let script = format!("stty {size}; '{program}' log; '{program}' run -f table");
        let plain = space.command(&[]);
        let variables = plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        std::process::Command::new("script")
            .args(["-qec", &script, "/dev/null"])
            .current_dir(&space.project)
            .env_clear()
            .envs(variables)
            .stdin(std::process::Stdio::null())
            .output()
    };
    let Ok(said) = shown("rows 0 cols 50") else {
        return skipped(format_args!("no `script`, which makes a terminal"));
    };
    let text = String::from_utf8_lossy(&said.stdout).replace('\r', "");
    assert!(said.status.success(), "{text}");
    let mut lines = text.lines();
    let line = lines.find(|line| line.contains("run --set text"));
    assert!(line.is_some_and(|line| widest(line) <= 50), "{text}");
    let said = shown("rows 0 cols 0").unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("table"), "{text}");
}

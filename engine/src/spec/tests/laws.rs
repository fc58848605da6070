//! What holds for every file: no panic, no dependence on how it is written, no quadratic growth of
//! memory.

use super::*;
use crate::spec::text::document;
use crate::spec::text::node::Node;
use proptest::prelude::*;

const RICH: &str = r#"
version: 1
vars: {seeds: [0, 1], opts: {size: 2, speed: 0.5}}
stages:
  base: {uses: make, matrix: {seed: "${vars.seeds}", zip: {a: [1, 2], b: [x, y]}}, with: {size: 2, tool: {teeth: 3}}, needs: {part: {file: pipeline.yaml}}}
  imp:
    rounds: {count: 2, first: {m: "base[seed=0,a=1].thing"}, carry: {m: step.thing}}
    stages:
      step: {uses: make, needs: {part: "${round.m}"}, with: {free: "${round.index}"}}
  all: {uses: join, needs: {parts: ["base[*].thing", "imp.step[round=last].thing"]}}
  text: {run: "cat ${needs.x} > ${outputs.y}", needs: {x: {a: all.whole, b: "base[a=1,*].metrics"}}, outputs: {y: y.txt}, env: {A: b}, tools: [cat]}
claims:
  c: {compare: {of: x, a: "base[a=1,*]", b: "base[a=2,*]", paired_by: [seed], within: [a, b]}, expect: {above: 0}}
"#;

/// Everything in a plan but places.
fn dump(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .instances
        .iter()
        .map(|i| {
            let work = match &i.work {
                Work::Kind { kind, params } => format!("{} {params}", kind.name),
                Work::Command(command) => format!("{command:?}"),
            };
            format!(
                "{} {:?} {work} {:?} {:?} {:?}",
                i.id,
                i.axes,
                needs(plan, &i.id),
                i.outputs,
                i.policy
            )
        })
        .collect();
    lines.sort();
    lines
}

/// The same document in block style, keys of parameter maps reversed, with comments.
fn rewrite(value: &Value, indent: usize, reverse: bool, out: &mut String) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<_> = map.iter().collect();
            if reverse {
                entries.reverse();
            }
            for (key, value) in entries {
                out.push_str(&format!("\n{pad}# about {key}\n{pad}'{key}':"));
                rewrite(
                    value,
                    indent + 1,
                    matches!(
                        key.as_str(),
                        "with" | "needs" | "env" | "opts" | "x" | "tool"
                    ) || reverse && key != "matrix",
                    out,
                );
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}- "));
                out.push_str(&item.to_string());
            }
        }
        other => out.push_str(&format!(" {other}   # so")),
    }
}

fn as_json(node: &Node) -> Value {
    use crate::spec::text::node::Data;
    match &node.data {
        Data::Bool(b) => b.value.into(),
        Data::Number(n) => n.value.clone().into(),
        Data::String(s) => (**s).into(),
        Data::Seq(items) => items.iter().map(as_json).collect(),
        Data::Map(entries) => entries
            .iter()
            .map(|(k, v)| (k.name.to_string(), as_json(v)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => Value::Null,
    }
}

#[test]
fn writing_it_otherwise_changes_nothing() {
    let plan = project(RICH).plan();
    let (node, problems) = document::parse(0, RICH);
    assert!(problems.is_empty());
    let mut text = String::new();
    rewrite(&as_json(&node.unwrap()), 0, false, &mut text);
    assert_ne!(text, RICH);
    assert_eq!(dump(&project(&text).plan()), dump(&plan));
}

#[test]
fn every_producer_comes_first() {
    let plan = project(RICH).plan();
    for i in 0..plan.instances.len() as u32 {
        let index = crate::plan::InstanceIndex(i);
        assert!(plan.producers(index).all(|p| p < index));
        assert!(plan.instance(index).after.iter().all(|a| *a < index));
    }
    let mut names: Vec<_> = ids(&plan);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), plan.instances.len());
}

#[test]
fn large_studies_share_what_they_can() {
    let matrix = project("version: 1\nstages:\n  a: {uses: make, matrix: {i: {range: [0, 1000]}, j: {range: [0, 50]}}}\n  b: {uses: make, matrix: {i: {range: [0, 1000]}, j: {range: [0, 50]}}, needs: {part: a.thing}}\n").plan();
    assert_eq!(matrix.instances.len(), 100_000);
    let shared = |id: &str| match &find(&matrix, id).work {
        Work::Kind { params, .. } => Arc::as_ptr(params),
        Work::Command(_) => panic!(),
    };
    assert_eq!(shared("b[i=0,j=0]"), shared("b[i=999,j=49]"));
    assert_eq!(
        needs(&matrix, "b[i=999,j=7]"),
        ["part <- a[i=999,j=7].thing @ in/part/thing.bin"]
    );
    let mut text = "version: 1\nstages:\n".to_owned();
    for i in 0..10_000 {
        let need = if i == 0 {
            String::new()
        } else {
            format!(", needs: {{part: s{}.thing}}", i - 1)
        };
        text.push_str(&format!("  s{i}:\n    {{uses: make, description: \"a stage that makes the thing number {i} from the one before\", with: {{size: {}, speed: 0.5, tool: {{teeth: 3}}}}{need}}}\n", i + 1));
    }
    assert_eq!(project(&text).plan().instances.len(), 10_000);
}

fn checked(text: &str) {
    if let Err(errors) = project(text).load() {
        assert!(!errors.is_empty());
        assert!(errors.to_string().contains("error"));
        assert_eq!(
            errors.to_json().as_array().map(Vec::len),
            Some(errors.len())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        checked(&text);
    }

    #[test]
    fn any_damage_is_answered(cuts in prop::collection::vec((0usize..2000, 0usize..12, "[\\[\\]{}:,\"'$*&!|>#\\-=. \\nü0a\\\\]{0,4}"), 1..5)) {
        let mut chars: Vec<char> = RICH.chars().collect();
        for (at, length, insert) in cuts {
            let at = at % chars.len().max(1);
            let end = (at + length).min(chars.len());
            chars.splice(at..end, insert.chars());
        }
        checked(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn any_order_of_words_is_answered(words in prop::collection::vec(prop::sample::select(vec![
        "version: 1", "stages:", "\n", "\n  ", "\n    ", "a:", "b:", "uses: make", "run: x", "needs:", "{part: a.thing}", "{", "}", "[", "]", ",", "matrix:", "rounds:", "count: 2", "carry:", "${round.m}",
        "'${matrix.x}'", "a[*].thing", "'a[x=1]'", "include:", "claims:", "compare:", "expect:", "null", "- ", "*x", "&x", "!!str", "|", "zip:", "exclude:", "outputs:", "env:", "${vars.v}", "vars:", "v: 1"]), 0..40)) {
        checked(&words.join(" "));
    }
}

#[test]
fn the_schema_accepts_good_files_and_refuses_bad_ones() {
    let schema = schema(&catalog());
    let validator = jsonschema::draft202012::new(&schema).unwrap_or_else(|e| panic!("{e}"));
    let value = |text: &str| as_json(&document::parse(0, text).0.unwrap());
    let good = value(RICH);
    let found: Vec<String> = validator
        .iter_errors(&good)
        .map(|e| format!("{} at {}", e, e.instance_path()))
        .collect();
    assert_eq!(found, Vec::<String>::new());
    let stage = |text: &str| value(&format!("version: 1\nstages: {{s: {text}}}"));
    for text in [
        "{uses: make, with: {size: '${matrix.n}', tool: {teeth: '${vars.t}'}}}",
        "{uses: make, with: '${vars.w}', retries: '${vars.n}'}",
        "{uses: ./tools/saw, with: {any: 1}}",
        "{run: x, desc: y, outputs: {a: b}, env: [A], timeout: 5, sandbox: off, shell: bash}",
    ] {
        let found: Vec<String> = validator
            .iter_errors(&stage(text))
            .map(|e| format!("{} at {}", e, e.instance_path()))
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{text}");
    }
    for text in [
        "{uses: mke}",
        "{uses: make, with: {size: big}}",
        "{uses: make, with: {tool: {tooth: 1}}}",
        "{uses: make, wiht: {}}",
        "{run: [x]}",
        "{uses: make, retries: many}",
        "{uses: make, resources: {cpu: 1}}",
    ] {
        assert!(!validator.is_valid(&stage(text)), "{text}");
    }
    assert!(
        !validator.is_valid(&value("stages: {}")),
        "version is required"
    );
    assert!(!validator.is_valid(&value("version: 2")));
}

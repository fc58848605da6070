//! `dvc.yaml` as types: what is written, with its places. What references mean is not known here.

use repro_engine::spec::yaml::{Data, Key, Node, Problem, Span};

use super::words::{self, Words};

/// A whole file.
#[derive(Default)]
pub struct File {
    /// `vars`.
    pub vars: Vec<Vars>,
    /// `stages`, in order.
    pub stages: Vec<Stage>,
    /// Names of top-level sections that say how things are shown.
    pub shown: Vec<&'static str>,
    /// Names of top-level sections that nothing here stands for.
    pub lost: Vec<&'static str>,
}

/// An entry of `vars`.
pub enum Vars {
    /// A file, whole or some of its keys.
    File {
        path: String,
        keys: Option<Vec<String>>,
        span: Span,
    },
    /// Values.
    Map(Node),
}

/// A stage, or several of them made from one.
pub struct Stage {
    pub name: Key,
    pub each: Each,
    pub cmd: Vec<Text>,
    pub wdir: Option<Text>,
    pub vars: Vec<Vars>,
    pub deps: Vec<Text>,
    pub params: Vec<Params>,
    pub outs: Vec<Out>,
    pub frozen: bool,
    pub always_changed: bool,
    pub desc: Option<String>,
    pub meta: bool,
}

/// How many stages it stands for.
pub enum Each {
    Once,
    Foreach(Node),
    Matrix(Vec<(Key, Node)>),
}

/// A text with its place.
#[derive(Clone)]
pub struct Text {
    pub words: Words,
    pub span: Span,
}

/// Parameters of one file.
pub struct Params {
    /// `None`: params.yaml.
    pub file: Option<Text>,
    /// None: all of it.
    pub keys: Vec<Text>,
}

/// What an output is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Out,
    Metrics,
    Plots,
}

/// An output.
pub struct Out {
    pub path: Text,
    pub role: Role,
    pub persist: bool,
    /// `cache: false` was said.
    pub uncached: bool,
    /// Where and whether it is pushed was said.
    pub pushed: bool,
    /// How it is drawn was said.
    pub drawn: bool,
    /// What no version of DVC since 3 knows.
    pub checkpoint: bool,
}

/// Reads the tree of a file.
pub fn read(root: &Node, problems: &mut Vec<Problem>) -> File {
    let mut file = File::default();
    if matches!(root.data, Data::Null) {
        return file;
    }
    if !matches!(root.data, Data::Map(_)) {
        problems.push(Problem::new(
            root.span,
            format!("dvc.yaml is a map, found {}", root.describe()),
        ));
        return file;
    }
    for (key, node) in root.entries() {
        match &*key.name {
            "vars" => file.vars = vars(node, problems),
            "stages" => {
                for (name, stage) in map(node, "stages by name", problems) {
                    file.stages.extend(self::stage(name, stage, problems));
                }
            }
            "metrics" => file.shown.push("metrics"),
            "plots" => file.shown.push("plots"),
            "params" => file.shown.push("params"),
            "artifacts" => file.lost.push("artifacts"),
            "datasets" => file.lost.push("datasets"),
            "schema" => {}
            _ => problems.push(
                Problem::new(key.span, format!("dvc.yaml has no section `{}`", key.name)).suggest(
                    &key.name,
                    [
                        "vars",
                        "stages",
                        "metrics",
                        "plots",
                        "params",
                        "artifacts",
                        "datasets",
                    ],
                ),
            ),
        }
    }
    file
}

fn map<'n>(node: &'n Node, what: &str, problems: &mut Vec<Problem>) -> &'n [(Key, Node)] {
    if !matches!(node.data, Data::Map(_) | Data::Null) {
        problems.push(wanted(node, what));
    }
    node.entries()
}

fn list<'n>(node: &'n Node, what: &str, problems: &mut Vec<Problem>) -> &'n [Node] {
    match &node.data {
        Data::Seq(items) => items,
        Data::Null => &[],
        _ => {
            problems.push(wanted(node, what));
            &[]
        }
    }
}

fn wanted(node: &Node, what: &str) -> Problem {
    Problem::new(
        node.span,
        format!("expected {what}, found {}", node.describe()),
    )
}

fn flag(node: &Node, problems: &mut Vec<Problem>) -> bool {
    match &node.data {
        Data::Bool(b) => b.value,
        Data::Null => false,
        _ => {
            problems.push(wanted(node, "true or false"));
            false
        }
    }
}

/// A text, or a number where a text is meant.
pub fn text(node: &Node, problems: &mut Vec<Problem>) -> Option<Text> {
    let written = match &node.data {
        Data::String(s) => s.to_string(),
        Data::Number(n) => n.text(),
        Data::Bool(b) => b.text(),
        _ => {
            problems.push(wanted(node, "a text"));
            return None;
        }
    };
    match words::read(&written) {
        Ok(words) => Some(Text {
            words,
            span: node.span,
        }),
        Err(bad) => {
            problems.push(
                Problem::new(node.span, format!("`{bad}` is not a reference"))
                    .help("write `${name}`, `${name.field}` or `${name[0]}`"),
            );
            None
        }
    }
}

fn vars(node: &Node, problems: &mut Vec<Problem>) -> Vec<Vars> {
    let mut all = Vec::new();
    for item in list(node, "a list of files and maps", problems) {
        match &item.data {
            Data::String(text) => {
                let (path, keys) = match text.split_once(':') {
                    Some((path, keys)) => (path, Some(keys)),
                    None => (&**text, None),
                };
                let keys: Option<Vec<String>> = keys.map(|keys| {
                    let keys = keys.split(',').filter(|k| !k.is_empty());
                    keys.map(str::to_owned).collect()
                });
                all.push(Vars::File {
                    path: path.to_owned(),
                    keys: keys.filter(|k| !k.is_empty()),
                    span: item.span,
                });
            }
            Data::Map(_) => all.push(Vars::Map(item.clone())),
            _ => problems.push(wanted(item, "a file or a map of values")),
        }
    }
    all
}

fn stage(name: &Key, node: &Node, problems: &mut Vec<Problem>) -> Option<Stage> {
    let (each, body) = match node.get("foreach") {
        Some(data) => {
            for (key, _) in node.entries() {
                if !matches!(&*key.name, "foreach" | "do") {
                    problems.push(
                        Problem::new(key.span, format!("`{}` stands beside `foreach`", key.name))
                            .help("it belongs under `do:`"),
                    );
                }
            }
            let Some(body) = node.get("do") else {
                problems.push(Problem::new(
                    name.span,
                    format!("`{}` has `foreach` and no `do`", name.name),
                ));
                return None;
            };
            (Each::Foreach(data.clone()), body)
        }
        None => match node.get("matrix") {
            Some(axes) => {
                let axes = map(axes, "axes by name", problems).to_vec();
                (Each::Matrix(axes), node)
            }
            None => (Each::Once, node),
        },
    };
    if !matches!(body.data, Data::Map(_)) {
        problems.push(wanted(body, "a stage"));
        return None;
    }
    let mut stage = Stage {
        name: name.clone(),
        each,
        cmd: Vec::new(),
        wdir: None,
        vars: Vec::new(),
        deps: Vec::new(),
        params: Vec::new(),
        outs: Vec::new(),
        frozen: false,
        always_changed: false,
        desc: None,
        meta: false,
    };
    for (key, value) in body.entries() {
        match &*key.name {
            "cmd" => {
                let lines = match &value.data {
                    Data::Seq(items) => items.to_vec(),
                    _ => vec![value.clone()],
                };
                stage
                    .cmd
                    .extend(lines.iter().filter_map(|n| text(n, problems)));
            }
            "wdir" => stage.wdir = text(value, problems),
            "vars" => stage.vars = vars(value, problems),
            "deps" => {
                let items = list(value, "a list of paths", problems).iter();
                stage.deps = items.filter_map(|n| text(n, problems)).collect();
            }
            "params" => stage.params = params(value, problems),
            "outs" => outs(value, Role::Out, &mut stage.outs, problems),
            "metrics" => outs(value, Role::Metrics, &mut stage.outs, problems),
            "plots" => outs(value, Role::Plots, &mut stage.outs, problems),
            "frozen" => stage.frozen = flag(value, problems),
            "always_changed" => stage.always_changed = flag(value, problems),
            "desc" => stage.desc = value.as_str().map(str::to_owned),
            "meta" => stage.meta = true,
            "matrix" => {}
            _ => problems.push(
                Problem::new(
                    key.span,
                    format!("a stage of DVC has no field `{}`", key.name),
                )
                .suggest(
                    &key.name,
                    [
                        "cmd",
                        "wdir",
                        "vars",
                        "deps",
                        "params",
                        "outs",
                        "metrics",
                        "plots",
                        "frozen",
                        "always_changed",
                        "desc",
                        "meta",
                        "matrix",
                    ],
                ),
            ),
        }
    }
    if body.get("cmd").is_none() {
        problems.push(
            Problem::new(name.span, format!("the stage `{}` has no `cmd`", name.name))
                .help("add the command that DVC runs"),
        );
        return None;
    }
    Some(stage)
}

fn params(node: &Node, problems: &mut Vec<Problem>) -> Vec<Params> {
    let mut all = Vec::new();
    for item in list(node, "a list of parameters", problems) {
        if !matches!(item.data, Data::Map(_)) {
            let keys = text(item, problems).into_iter().collect();
            all.push(Params { file: None, keys });
            continue;
        }
        for (key, keys) in item.entries() {
            let file = Node {
                span: key.span,
                data: Data::String(key.name.clone()),
            };
            let items = list(keys, "a list of parameters", problems).iter();
            all.push(Params {
                file: text(&file, problems),
                keys: items.filter_map(|n| text(n, problems)).collect(),
            });
        }
    }
    all
}

fn outs(node: &Node, role: Role, all: &mut Vec<Out>, problems: &mut Vec<Problem>) {
    for item in list(node, "a list of paths", problems) {
        let mut add = |path: Option<Text>, options: &Node, problems: &mut Vec<Problem>| {
            let Some(path) = path else { return };
            let mut out = Out {
                path,
                role,
                persist: false,
                uncached: false,
                pushed: false,
                drawn: false,
                checkpoint: false,
            };
            // Several plots of one file are a list.
            let options: Vec<&Node> = match &options.data {
                Data::Seq(items) => items.iter().collect(),
                _ => vec![options],
            };
            for (key, value) in options.iter().flat_map(|o| o.entries()) {
                match &*key.name {
                    "persist" => out.persist = flag(value, problems),
                    "cache" => out.uncached = !flag(value, problems),
                    "push" | "remote" => out.pushed = true,
                    "checkpoint" => out.checkpoint = flag(value, problems),
                    _ => out.drawn |= role == Role::Plots,
                }
            }
            all.push(out);
        };
        match &item.data {
            Data::Map(entries) => {
                for (key, options) in entries.iter() {
                    let path = Node {
                        span: key.span,
                        data: Data::String(key.name.clone()),
                    };
                    add(text(&path, problems), options, problems);
                }
            }
            _ => add(text(item, problems), item, problems),
        }
    }
}

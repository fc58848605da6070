//! `repro dag`: the graph as a tree for people, and as Mermaid, DOT or JSON for programs.

use std::fmt::Write;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Context, Exit, PipelineArgs, output};
use repro_engine::outline::{Node, Nodes, edges, outline};

/// Show which stage needs which.
///
/// A stage with a matrix is one node, with the number of its instances (`train ×3`). In the tree
/// every stage appears once, under the latest of the stages it needs. The other stages that it
/// needs or only waits for are named beside it.
#[derive(Debug, Clone, Args)]
pub struct DagArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Tree)]
    format: Format,
    /// One node per instance.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A tree for people.
    Tree,
    /// A Mermaid flow chart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// One object with nodes and edges.
    Json,
}

/// `train ×3`.
fn label(node: &Node) -> String {
    if node.count > 1 {
        format!("{} ×{}", node.name, node.count)
    } else {
        node.name.to_owned()
    }
}

/// Runs the command.
pub fn main(context: &Context, args: &DagArgs) -> anyhow::Result<Exit> {
    let opening = args.pipeline.opening(context);
    let plan = opening.plan(&opening.project()?)?;
    let nodes = outline(
        &plan,
        match args.all {
            true => Nodes::Instances,
            false => Nodes::Stages,
        },
    );
    match args.format {
        Format::Tree => output::text(&tree(&nodes))?,
        Format::Mermaid => output::text(&mermaid(&nodes))?,
        Format::Dot => output::text(&dot(&nodes))?,
        Format::Json => {
            output::json(&json!({"nodes": nodes, "edges": edges(&nodes)}))?;
        }
    }
    Ok(Exit::Done)
}

fn tree(nodes: &[Node]) -> String {
    let mut depth = vec![0usize; nodes.len()];
    let mut parent = vec![None; nodes.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        // Rounds of two stages may need each other; such a back edge is only named.
        let latest = |above: &mut dyn Iterator<Item = usize>| {
            above.filter(|p| *p < i).max_by_key(|p| (depth[*p], *p))
        };
        let needed = latest(&mut node.needs.keys().copied());
        let latest = needed.or_else(|| latest(&mut node.after.iter().copied()));
        if let Some(latest) = latest {
            depth[i] = depth[latest] + 1;
            parent[i] = Some(latest);
            children[latest].push(i);
        }
    }
    let mut text = String::new();
    for root in (0..nodes.len()).filter(|i| parent[*i].is_none()) {
        branch(nodes, &children, &parent, root, "", "", &mut text);
    }
    text
}

fn branch(
    nodes: &[Node],
    children: &[Vec<usize>],
    parent: &[Option<usize>],
    root: usize,
    lead: &str,
    below: &str,
    text: &mut String,
) {
    let colour = output::colour();
    // Depth can be that of a chain of ten thousand: a stack of our own.
    let mut open = vec![(root, lead.to_owned(), below.to_owned())];
    while let Some((at, lead, below)) = open.pop() {
        let node = &nodes[at];
        let others: Vec<&str> = node
            .needs
            .keys()
            .filter(|p| Some(**p) != parent[at])
            .map(|p| nodes[*p].name)
            .collect();
        let files: Vec<&str> = node.files.iter().map(String::as_str).collect();
        let mut notes = vec![node.kind.to_owned()];
        if !others.is_empty() {
            notes.push(format!("also needs {}", others.join(", ")));
        }
        if !node.after.is_empty() {
            let after: Vec<&str> = node.after.iter().map(|a| nodes[*a].name).collect();
            notes.push(format!("after {}", after.join(", ")));
        }
        if !files.is_empty() {
            notes.push(format!("reads {}", files.join(", ")));
        }
        let _ = writeln!(
            text,
            "{lead}{} {}",
            colour.bold(&label(node)),
            colour.dim(&format!("({})", notes.join("; ")))
        );
        for (n, child) in children[at].iter().enumerate().rev() {
            let last = n + 1 == children[at].len();
            let (branch, trunk) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            open.push((
                *child,
                format!("{below}{branch}"),
                format!("{below}{trunk}"),
            ));
        }
    }
}

fn mermaid(nodes: &[Node]) -> String {
    // Mermaid takes HTML entities in quoted labels.
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('#', "&num;")
            .replace('\n', " ")
    };
    let mut text = "flowchart TD\n".to_owned();
    for (i, node) in nodes.iter().enumerate() {
        let _ = writeln!(
            text,
            "  n{i}[\"{}<br/><small>{}</small>\"]",
            escaped(&label(node)),
            escaped(node.kind)
        );
    }
    for (i, node) in nodes.iter().enumerate() {
        for from in node.needs.keys() {
            let _ = writeln!(text, "  n{from} --> n{i}");
        }
        for from in &node.after {
            let _ = writeln!(text, "  n{from} -.-> n{i}");
        }
    }
    text
}

fn dot(nodes: &[Node]) -> String {
    let quoted = |text: &str| {
        format!(
            "\"{}\"",
            text.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
        )
    };
    let mut text = "digraph pipeline {\n  node [shape=box];\n".to_owned();
    for (i, node) in nodes.iter().enumerate() {
        let _ = writeln!(
            text,
            "  n{i} [label={}];",
            quoted(&format!("{}\n{}", label(node), node.kind))
        );
    }
    for (i, node) in nodes.iter().enumerate() {
        for (from, names) in &node.needs {
            let names: Vec<&str> = names.iter().copied().collect();
            let _ = writeln!(
                text,
                "  n{from} -> n{i} [label={}];",
                quoted(&names.join(", "))
            );
        }
        for from in &node.after {
            let _ = writeln!(text, "  n{from} -> n{i} [style=dashed];");
        }
    }
    text.push_str("}\n");
    text
}

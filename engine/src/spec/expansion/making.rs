//! What instances are made from, and what has been made so far.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::arrange::Order;
use crate::catalog::Catalog;
use crate::plan::{self, Axes, Claim, Instance, InstanceIndex, Place};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::tying::after::AfterDef;
use crate::spec::tying::needs::NeedDef;
use crate::spec::tying::number::First;
use crate::spec::tying::stages::Table;
use crate::spec::tying::tie::Tying;
use crate::spec::tying::work::Work;
use repro_protocol::relpath::RelPath;

/// Everything a stage needs to make its instances.
pub struct Making {
    pub consumer_name: Arc<str>,
    pub axes: Vec<Arc<str>>,
    /// What tells an instance apart that has no row.
    pub own_axes: Axes,
    /// What it gathers of each stage, if not all.
    pub only: Option<First>,
    pub round_axis: Option<usize>,
    pub needs: Vec<NeedDef>,
    pub after: Vec<AfterDef>,
    /// Whom all its instances wait for, where these are the same.
    pub awaited: Option<Arc<[InstanceIndex]>>,
    pub work: Work,
    pub policy: Arc<plan::Policy>,
    pub place: Arc<Place>,
    pub key: Span,
    /// Placed paths by part of a need and producer (gathers) or file name.
    pub gathered: HashMap<(usize, usize, u32, u32), RelPath>,
    pub single: HashMap<(usize, usize, Arc<str>), RelPath>,
    /// How many instances it has.
    pub rows: usize,
    /// What its kind found out, by parameters and facts of inputs.
    pub found: super::known::Memory,
}

/// Everything that was made.
pub struct Expanded {
    pub instances: Vec<Instance>,
    pub claims: Vec<Claim>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Makes instances in order.
pub struct Expander<'a, 't> {
    pub tying: Tying<'a>,
    pub table: &'t Table,
    pub catalog: &'t Catalog,
    /// Where a span stands in a file.
    pub place: &'t dyn Fn(Span) -> Place,
    pub order: Order,
    pub instances: Vec<Instance>,
    pub axes: Vec<Axes>,
    pub broken: Vec<bool>,
    pub reported: HashSet<(Span, &'static str)>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub none: Axes,
    /// What is known of the outputs of every instance.
    pub facts: Vec<super::known::Outputs>,
}

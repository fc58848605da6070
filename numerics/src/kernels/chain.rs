//! The one loop nest behind dense layers and convolutions: many fma chains at once, up to 32
//! outputs wide.
//!
//! An output is a sum of *blocks* in order; a block is one chain `acc = fma(x, w, acc)` over its
//! segments in order. The vectors run across outputs, so that neither their width nor the number of
//! rows in flight changes an output's chain: that is why tiles may be cut as the processor likes.
//! What the operands mean (channels, positions, images) is the callers' business.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod halves;
mod panel;

use super::out::Out;
use super::parallel;
use super::path::Path;
use crate::exact::chains::WIDTH;
use crate::exact::fma::{self, Magnitudes};

pub(crate) use panel::{pack, packed_len, packed_panel};

/// Outputs side by side in a panel.
pub(crate) const WIDE: usize = 2 * LANES;
/// Outputs in half a panel; lines of the last panel are padded to a multiple of this.
pub(crate) const LANES: usize = WIDTH;

/// A run of steps within a chain: step `i` multiplies a row's `x[x + i·k_step]` with panel line `k
/// + i`. The order of the fields is known to the assembly of `avx512/loops.rs`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Segment {
    pub x: usize,
    pub k: usize,
    pub len: usize,
    /// A new block begins here; the first segment's is implied.
    pub begins: bool,
}

/// The chain of these segments, whose lines follow each other in the panel from line 0 on, cut into
/// blocks of `steps` steps; the last may be shorter.
pub(crate) fn in_blocks(chain: impl Iterator<Item = Segment>, steps: usize) -> Vec<Segment> {
    let mut blocks = Vec::new();
    for mut rest in chain {
        while rest.len > 0 {
            let begins = rest.k.is_multiple_of(steps);
            let len = rest.len.min(steps - rest.k % steps);
            blocks.push(Segment {
                len,
                begins,
                ..rest
            });
            rest.x += len;
            rest.k += len;
            rest.len -= len;
        }
    }
    blocks
}

/// Rows of outputs in a grid of lines: `lines × per_line`, and how far apart in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub lines: usize,
    pub per_line: usize,
}

/// Distances between the rows of a [`Grid`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    /// From a line's first row to the next line's.
    pub line: usize,
    /// From a row to the next of its line.
    pub row: usize,
}

impl Grid {
    /// One line.
    pub(crate) fn line(rows: usize) -> Grid {
        Grid {
            lines: 1,
            per_line: rows,
        }
    }

    fn rows(&self) -> usize {
        self.lines * self.per_line
    }

    /// The places of `N` rows from `row` on; those beyond the last row are of no meaning.
    #[inline(always)]
    fn places<const N: usize>(&self, row: usize, steps: Steps) -> [usize; N] {
        if self.lines == 1 {
            return std::array::from_fn(|p| (row + p).wrapping_mul(steps.row));
        }
        let (line, mut column) = (row / self.per_line, row % self.per_line);
        let mut place = line * steps.line + column * steps.row;
        let to_next_line = steps.line.wrapping_sub((self.per_line - 1) * steps.row);
        let mut places = [0; N];
        for at in &mut places {
            *at = place;
            column += 1;
            if column == self.per_line {
                column = 0;
                place = place.wrapping_add(to_next_line);
            } else {
                place = place.wrapping_add(steps.row);
            }
        }
        places
    }

    /// The place of the last row.
    fn last(&self, steps: Steps) -> usize {
        (self.lines - 1) * steps.line + (self.per_line - 1) * steps.row
    }
}

impl Steps {
    /// Equal ones.
    pub(crate) fn even(row: usize) -> Steps {
        Steps { line: 0, row }
    }
}

/// How the rows of a group of outputs read their operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub x: &'a [f32],
    pub grid: Grid,
    /// Between the rows' first values.
    pub steps: Steps,
    /// From one step of a chain to the next.
    pub k_step: usize,
    pub segments: &'a [Segment],
    /// As [`ordinary`] said of the operands; `false` is always right.
    pub ordinary: bool,
}

/// Lines of numbers, one per step of a chain, as long as the outputs are wide, rounded up to
/// [`LANES`]: line `k` begins at `k·step`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub lines: &'a [f32],
    pub step: usize,
}

/// What becomes of a finished output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// It is written.
    Set,
    /// It is written, +0 in place of a number below +0.
    Relu,
    /// 0 is added and it is written: a negative zero becomes positive.
    ZeroPlus,
    /// It is added to what is there.
    Add,
    /// It is added to what is there, and +0 written in place of a sum below +0.
    AddRelu,
}

impl Store {
    /// What is written, given what is there.
    #[inline(always)]
    pub(crate) fn of(self, there: f32, value: f32) -> f32 {
        let relu = |v: f32| if v <= 0.0 { 0.0 } else { v };
        match self {
            Store::Set => value,
            Store::Relu => relu(value),
            Store::ZeroPlus => 0.0 + value,
            Store::Add => there + value,
            Store::AddRelu => relu(there + value),
        }
    }
}

/// Where the outputs go: `lanes` of them at each row's place.
pub(crate) struct Target<'a> {
    pub out: Out<'a>,
    pub steps: Steps,
    /// From an output of a row to the next; where it is not 1, the rows lie side by side in one
    /// line.
    pub across: usize,
    /// Outputs that exist, at most [`WIDE`].
    pub lanes: usize,
    pub store: Store,
}

/// Where the chains of a row begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// All rows with the same values.
    With([f32; WIDE]),
    /// With what the target holds: an earlier part of the same chains, which go on.
    Resume,
}

impl Start {
    /// From 0.
    pub(crate) const ZERO: Start = Start::With([0.0; WIDE]);
}

/// Computes `rows` × `lanes` outputs against one panel. The first block starts from `start`; every
/// later one is a chain from 0 whose value is then added. Rows without segments are `start`.
///
/// # Panics
/// An index that leaves its slice.
pub(crate) fn chains(
    path: Path,
    rows: &Rows<'_>,
    panel: Panel<'_>,
    start: &Start,
    to: &mut Target<'_>,
) {
    if rows.grid.rows() == 0 || to.lanes == 0 {
        return;
    }
    let last = rows.grid.last(to.steps) + (to.lanes - 1) * to.across;
    assert!(
        to.lanes <= WIDE && last < to.out.len(),
        "chains: the target is too short"
    );
    assert!(
        to.across == 1 || (to.steps.row == 1 && rows.grid.lines == 1),
        "chains: rows of a transposed target lie side by side"
    );
    let (width, row) = (to.lanes.next_multiple_of(LANES), rows.grid.last(rows.steps));
    for s in rows.segments.iter().filter(|s| s.len > 0) {
        let last = s.x + row + (s.len - 1) * rows.k_step;
        assert!(
            last < rows.x.len() && (s.k + s.len - 1) * panel.step + width <= panel.lines.len(),
            "chains: an operand is too short"
        );
    }
    match path.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the path exists only where the processor has the instructions, and the assertions
        // above cover every row and step of every segment, and every output.
        super::path::Instructions::Avx512 => unsafe { avx512::chains(rows, panel, start, to) },
        // SAFETY: as above.
        _ => unsafe { halves::chains(path, rows, panel, start, to) },
    }
}

/// Whether the plain path may leave out its care for rare operands ([`fma::ordinary`]) in chains of
/// at most `steps` steps; other paths have no use for it and do not look.
pub(crate) fn ordinary(
    path: Path,
    x: &[f32],
    w: &[f32],
    init: Option<&[f32]>,
    steps: usize,
) -> bool {
    let of = |values: &[f32]| -> Magnitudes {
        parallel::fold(
            values,
            1 << 16,
            Magnitudes::ZEROS,
            Magnitudes::of,
            Magnitudes::and,
        )
    };
    path == Path::PLAIN && fma::ordinary(of(x), of(w), of(init.unwrap_or_default()), steps)
}

/// From the `which`-th [`WIDE`] of `values`, padded with zeros.
pub(crate) fn start_of(values: Option<&[f32]>, which: usize) -> Start {
    let mut start = [0.0; WIDE];
    if let Some(values) = values {
        let rest = &values[which * WIDE..];
        let len = rest.len().min(WIDE);
        start[..len].copy_from_slice(&rest[..len]);
    }
    Start::With(start)
}

//! The innermost loops, in assembly: the chains of a tile, all accumulators in registers.
//!
//! A compiler left to itself keeps a pointer for every row, of which there are more than registers,
//! and spends as much on them as on the arithmetic. Here rows are addressed in groups of four, by
//! one pointer and one stride: `[a]`, `[a + one]`, `[a + 2·one]`, `[a + three]`.

use std::arch::asm;
use std::arch::x86_64::{_mm512_set1_ps, _mm512_storeu_ps};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use super::super::{LANES, Segment};

/// What a loop reads besides its registers. Its layout is known to the assembly.
#[repr(C)]
pub(super) struct Run {
    /// The first value of rows 0, 4, 8 and 12 (or of the last of these that exists).
    pub groups: [*const f32; 4],
    /// The panel.
    pub lines: *const f32,
    /// The end of the block's segments.
    pub end: *const Segment,
    /// Where the accumulators come from and the sums go to: row after row, one or two vectors each.
    pub sums: *mut f32,
    /// The sums of the blocks that have ended, laid out like `sums`: -0 at first, which changes
    /// nothing it is added to. Null where there is one block.
    pub totals: *mut f32,
    /// Whether the accumulators start from 0 instead of what the sums hold.
    pub from_zero: u64,
}

/// Distances in bytes.
#[derive(Clone, Copy)]
pub(super) struct Distances {
    /// From a row to the next.
    pub row: usize,
    /// From a step to the next.
    pub step: usize,
    /// From a line of the panel to the next.
    pub line: usize,
}

/// `[address] → every lane of a register`, then one multiply-add per vector.
macro_rules! step {
    (1, $row:tt) => {
        concat!(
            "vbroadcastss ",
            spread!($row),
            ", dword ptr [",
            address!($row),
            "]\n",
            "vfmadd231ps zmm",
            $row,
            ", ",
            spread!($row),
            ", zmm28\n"
        )
    };
    (2, $row:tt) => {
        concat!(
            "vbroadcastss ",
            spread!($row),
            ", dword ptr [",
            address!($row),
            "]\n",
            "vfmadd231ps ",
            even!($row),
            ", ",
            spread!($row),
            ", zmm28\n",
            "vfmadd231ps ",
            odd!($row),
            ", ",
            spread!($row),
            ", zmm29\n"
        )
    };
}

/// The registers of a row's two accumulators.
macro_rules! even {
    (0) => {
        "zmm0"
    };
    (1) => {
        "zmm2"
    };
    (2) => {
        "zmm4"
    };
    (3) => {
        "zmm6"
    };
    (4) => {
        "zmm8"
    };
    (5) => {
        "zmm10"
    };
    (6) => {
        "zmm12"
    };
    (7) => {
        "zmm14"
    };
    (8) => {
        "zmm16"
    };
    (9) => {
        "zmm18"
    };
    (10) => {
        "zmm20"
    };
    (11) => {
        "zmm22"
    };
    (12) => {
        "zmm24"
    };
    (13) => {
        "zmm26"
    };
}
macro_rules! odd {
    (0) => {
        "zmm1"
    };
    (1) => {
        "zmm3"
    };
    (2) => {
        "zmm5"
    };
    (3) => {
        "zmm7"
    };
    (4) => {
        "zmm9"
    };
    (5) => {
        "zmm11"
    };
    (6) => {
        "zmm13"
    };
    (7) => {
        "zmm15"
    };
    (8) => {
        "zmm17"
    };
    (9) => {
        "zmm19"
    };
    (10) => {
        "zmm21"
    };
    (11) => {
        "zmm23"
    };
    (12) => {
        "zmm25"
    };
    (13) => {
        "zmm27"
    };
}

/// Rows take turns with two registers.
macro_rules! spread {
    (0) => {
        "zmm30"
    };
    (2) => {
        "zmm30"
    };
    (4) => {
        "zmm30"
    };
    (6) => {
        "zmm30"
    };
    (8) => {
        "zmm30"
    };
    (10) => {
        "zmm30"
    };
    (12) => {
        "zmm30"
    };
    ($odd:tt) => {
        "zmm31"
    };
}

macro_rules! address {
    (0) => {
        "{a}"
    };
    (1) => {
        "{a} + {one}"
    };
    (2) => {
        "{a} + 2*{one}"
    };
    (3) => {
        "{a} + {three}"
    };
    (4) => {
        "{b}"
    };
    (5) => {
        "{b} + {one}"
    };
    (6) => {
        "{b} + 2*{one}"
    };
    (7) => {
        "{b} + {three}"
    };
    (8) => {
        "{c}"
    };
    (9) => {
        "{c} + {one}"
    };
    (10) => {
        "{c} + 2*{one}"
    };
    (11) => {
        "{c} + {three}"
    };
    (12) => {
        "{d}"
    };
    (13) => {
        "{d} + {one}"
    };
}

macro_rules! load {
    (1, $row:tt) => {
        concat!("vmovups zmm", $row, ", [{len} + 64*", $row, "]\n")
    };
    (2, $row:tt) => {
        concat!(
            "vmovups ",
            even!($row),
            ", [{len} + 128*",
            $row,
            "]\n",
            "vmovups ",
            odd!($row),
            ", [{len} + 128*",
            $row,
            " + 64]\n"
        )
    };
}

macro_rules! store {
    (1, $row:tt) => {
        concat!("vmovups [{len} + 64*", $row, "], zmm", $row, "\n")
    };
    (2, $row:tt) => {
        concat!(
            "vmovups [{len} + 128*",
            $row,
            "], ",
            even!($row),
            "\n",
            "vmovups [{len} + 128*",
            $row,
            " + 64], ",
            odd!($row),
            "\n"
        )
    };
}

/// Adds an accumulator to what its place in the totals holds.
macro_rules! add {
    (1, $row:tt) => {
        concat!(
            "vaddps zmm",
            $row,
            ", zmm",
            $row,
            ", [{len} + 64*",
            $row,
            "]\n"
        )
    };
    (2, $row:tt) => {
        concat!(
            "vaddps ",
            even!($row),
            ", ",
            even!($row),
            ", [{len} + 128*",
            $row,
            "]\n",
            "vaddps ",
            odd!($row),
            ", ",
            odd!($row),
            ", [{len} + 128*",
            $row,
            " + 64]\n"
        )
    };
}

macro_rules! zero {
    (1, $row:tt) => {
        concat!("vpxord zmm", $row, ", zmm", $row, ", zmm", $row, "\n")
    };
    (2, $row:tt) => {
        concat!(
            "vpxord ",
            even!($row),
            ", ",
            even!($row),
            ", ",
            even!($row),
            "\n",
            "vpxord ",
            odd!($row),
            ", ",
            odd!($row),
            ", ",
            odd!($row),
            "\n"
        )
    };
}

macro_rules! second_vector {
    (1) => {
        ""
    };
    (2) => {
        "vmovups zmm29, [{line_at} + 64]\n"
    };
}

macro_rules! loops {
    ($v:tt: $($name:ident($($row:tt)+))+) => {$(
        /// # Safety
        /// The processor has AVX-512F; there is a segment; every step of every segment lies within
        /// rows and panel; `sums` holds these rows' vectors.
        #[target_feature(enable = "avx512f")]
        unsafe fn $name(run: &Run, segments: *const Segment, by: Distances) {
            // SAFETY: the caller's promise; nothing else is read or written.
            unsafe {
                asm!(concat!(
                    // Few rows have no use for these.
                    "/* {one} {three} */\n",
                    "mov {len}, [{run} + 48]\n",
                    "cmp qword ptr [{run} + 64], 0\n",
                    "jne 7f\n",
                    $(load!($v, $row),)+
                    "jmp 2f\n",
                    "7:\n",
                    $(zero!($v, $row),)+
                    "jmp 2f\n",
                    // The next segment. Where a block begins, the last one joins the totals.
                    "5:\n",
                    "cmp byte ptr [{segment} + 24], 0\n",
                    "je 2f\n",
                    "mov {len}, [{run} + 56]\n",
                    $(add!($v, $row),)+
                    $(store!($v, $row),)+
                    $(zero!($v, $row),)+
                    // A segment.
                    "2:\n",
                    "mov {len}, [{segment}]\n",
                    "mov {a}, [{run}]\n",
                    "mov {b}, [{run} + 8]\n",
                    "mov {c}, [{run} + 16]\n",
                    "mov {d}, [{run} + 24]\n",
                    "lea {a}, [{a} + 4*{len}]\n",
                    "lea {b}, [{b} + 4*{len}]\n",
                    "lea {c}, [{c} + 4*{len}]\n",
                    "lea {d}, [{d} + 4*{len}]\n",
                    "mov {line_at}, [{segment} + 8]\n",
                    "imul {line_at}, {line}\n",
                    "add {line_at}, [{run} + 32]\n",
                    "mov {len}, [{segment} + 16]\n",
                    "test {len}, {len}\n",
                    "jz 4f\n",
                    ".p2align 5\n",
                    // A step. What the step after next but six reads is fetched.
                    "3:\n",
                    "vmovups zmm28, [{line_at}]\n",
                    second_vector!($v),
                    $(step!($v, $row),)+
                    "prefetcht0 [{a} + 8*{step}]\n",
                    "prefetcht0 [{d} + 8*{step}]\n",
                    "add {a}, {step}\n",
                    "add {b}, {step}\n",
                    "add {c}, {step}\n",
                    "add {d}, {step}\n",
                    "add {line_at}, {line}\n",
                    "dec {len}\n",
                    "jnz 3b\n",
                    "4:\n",
                    "add {segment}, {size}\n",
                    "cmp {segment}, [{run} + 40]\n",
                    "jne 5b\n",
                    "mov {len}, [{run} + 56]\n",
                    "test {len}, {len}\n",
                    "jz 6f\n",
                    $(add!($v, $row),)+
                    "6:\n",
                    "mov {len}, [{run} + 48]\n",
                    $(store!($v, $row),)+
                    ),
                    run = in(reg) run,
                    segment = inout(reg) segments => _,
                    one = in(reg) by.row,
                    three = in(reg) 3 * by.row,
                    step = in(reg) by.step,
                    line = in(reg) by.line,
                    a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
                    line_at = out(reg) _, len = out(reg) _,
                    size = const size_of::<Segment>(),
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
                    out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
                    out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                    out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _,
                    out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                    options(nostack),
                );
            }
        }
    )+};
}

mod one {
    use super::*;
    loops! { 1:
        r1(0) r2(0 1) r3(0 1 2) r4(0 1 2 3) r5(0 1 2 3 4) r6(0 1 2 3 4 5) r7(0 1 2 3 4 5 6) r8(0 1 2 3 4 5 6 7)
        r9(0 1 2 3 4 5 6 7 8) r10(0 1 2 3 4 5 6 7 8 9) r11(0 1 2 3 4 5 6 7 8 9 10) r12(0 1 2 3 4 5 6 7 8 9 10 11)
        r13(0 1 2 3 4 5 6 7 8 9 10 11 12) r14(0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    }
    pub(super) const BY_ROWS: [Loop; 14] =
        [r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14];
}

mod two {
    use super::*;
    loops! { 2:
        r1(0) r2(0 1) r3(0 1 2) r4(0 1 2 3) r5(0 1 2 3 4) r6(0 1 2 3 4 5) r7(0 1 2 3 4 5 6) r8(0 1 2 3 4 5 6 7)
        r9(0 1 2 3 4 5 6 7 8) r10(0 1 2 3 4 5 6 7 8 9) r11(0 1 2 3 4 5 6 7 8 9 10) r12(0 1 2 3 4 5 6 7 8 9 10 11)
        r13(0 1 2 3 4 5 6 7 8 9 10 11 12) r14(0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    }
    pub(super) const BY_ROWS: [Loop; 14] =
        [r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14];
}

/// A loop for a number of rows; see its safety section.
type Loop = unsafe fn(&Run, *const Segment, Distances);

/// The chains of `rows` rows (1 to 14), `V` (1 or 2) vectors wide, from the values in `sums`, row
/// after row, or from 0, to the sums of their blocks there.
///
/// # Safety
/// The processor has AVX-512F; there is a segment; every step of every segment lies within rows and
/// panel; `sums` holds these rows, and nothing else reads or writes them meanwhile.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn chains<const V: usize>(
    rows: usize,
    groups: [*const f32; 4],
    lines: *const f32,
    segments: &[Segment],
    by: Distances,
    sums: *mut f32,
    from_zero: bool,
) {
    let range = segments.as_ptr_range();
    let mut totals: MaybeUninit<[[f32; 2 * LANES]; 14]> = MaybeUninit::uninit();
    let mut run = Run {
        groups,
        lines,
        end: range.end,
        sums,
        totals: null_mut(),
        from_zero: from_zero.into(),
    };
    if segments[1..].iter().any(|s| s.begins) {
        run.totals = totals.as_mut_ptr().cast();
        for i in 0..rows * V {
            // SAFETY: there is room for 14 rows of two vectors.
            unsafe { _mm512_storeu_ps(run.totals.add(i * LANES), _mm512_set1_ps(-0.0)) };
        }
    }
    let of = if V == 1 { &one::BY_ROWS } else { &two::BY_ROWS };
    // SAFETY: the caller's promise; the loop reads and writes as many rows of the totals as were
    // written above.
    unsafe { of[rows - 1](&run, range.start, by) }
}

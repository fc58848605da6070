//! What can go wrong on a device.

use bytesize::ByteSize;

/// See the variants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A call of the driver failed.
    #[error("{device}: {call} failed: {why}")]
    Call {
        /// Whose driver.
        device: String,
        /// The function of the driver.
        call: &'static str,
        /// What the driver says.
        why: String,
    },
    /// The kernels do not compile there.
    #[error("{device}: its compiler refuses the kernels:\n{log}")]
    Compiler {
        /// Whose compiler.
        device: String,
        /// What the compiler says.
        log: String,
    },
    /// Memory is short.
    #[error("{device}: no memory for {} more; {}", ByteSize(*.asked), memory(*.total, *.free, *.share))]
    Memory {
        /// Whose memory.
        device: String,
        /// Bytes.
        asked: u64,
        /// Bytes, where it is known how many are left.
        free: Option<u64>,
        /// Bytes.
        total: u64,
        /// Bytes of them that may be taken, where that is what is short.
        share: Option<u64>,
    },
    /// An array is longer than the places that kernels count to, which is said before a place beyond
    /// could become one of other memory.
    #[error("{device}: an array of {len} values is longer than its kernels can count (2147483647)")]
    Count {
        /// Whose kernels.
        device: String,
        /// Values.
        len: usize,
    },
    /// It gives less in one piece.
    #[error("{device}: it gives less than {} in one piece", ByteSize(*.asked))]
    Piece {
        /// Whose memory.
        device: String,
        /// Bytes.
        asked: u64,
    },
    /// It cannot do the arithmetic.
    #[error("{device}: it cannot give the CPU's bits: {lacks}")]
    Unfit {
        /// Which one.
        device: String,
        /// What it lacks, or what differs.
        lacks: String,
    },
    /// No driver, or no device of one.
    #[error("there is no device: {why}")]
    None {
        /// What was looked for, and what came of it.
        why: String,
    },
}

fn memory(total: u64, free: Option<u64>, share: Option<u64>) -> String {
    let total = ByteSize(total);
    let free = free.map(ByteSize);
    let free = free.map_or_else(String::new, |free| format!(", and {free} are free"));
    match share.map(ByteSize) {
        None => format!("it has {total} in all{free}"),
        Some(share) => format!("the share of its {total} that may be taken is {share}{free}"),
    }
}

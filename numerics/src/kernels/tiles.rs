//! Loops over channels in pieces that fit the registers.

/// Channels in registers at once.
pub(super) const TILE: usize = 32;

/// Runs `$body` for every tile of channels `$at .. $at + $len`; for whole tiles `$len` is a
/// constant.
macro_rules! tiles {
    ($channels:expr, |$at:ident, $len:ident| $body:expr) => {
        let mut $at = 0;
        while $at + $crate::kernels::tiles::TILE <= $channels {
            const $len: usize = $crate::kernels::tiles::TILE;
            $body;
            $at += $crate::kernels::tiles::TILE;
        }
        if $at < $channels {
            #[allow(non_snake_case)]
            let $len = $channels - $at;
            $body;
        }
    };
}
pub(super) use tiles;

//! Which instructions the kernels use: chosen once, from the processor or `REPRO_SIMD`; never a
//! matter of results.

use std::sync::OnceLock;

/// A set of vector instructions this processor has: holding a `Path` is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path(pub(super) Instructions);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Avx512,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Avx2,
    /// What every 64-bit ARM processor has: fused multiply-adds of four.
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

/// `REPRO_SIMD` asks for what is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// An unknown name.
    #[error(
        "REPRO_SIMD={0:?} is unknown; it may be avx512, avx2, neon or plain (or unset: the best there is)"
    )]
    Unknown(String),
    /// The processor lacks it.
    #[error(
        "REPRO_SIMD={0} asks for instructions this processor does not have; unset it, or say plain"
    )]
    Missing(&'static str),
}

impl Path {
    /// The path `REPRO_SIMD` names, or the best one.
    ///
    /// # Errors
    /// An unknown name, or instructions the processor lacks. A worker should ask here before
    /// anything is computed.
    pub fn from_env() -> Result<Path, BadPath> {
        match std::env::var_os("REPRO_SIMD") {
            None => Path::select(None),
            Some(name) => Path::select(Some(&name.to_string_lossy())),
        }
    }

    /// The path of that name, or the best one.
    ///
    /// # Errors
    /// As [`Path::from_env`].
    pub fn select(name: Option<&str>) -> Result<Path, BadPath> {
        let demand = |path: Option<Path>, name| path.ok_or(BadPath::Missing(name));
        match name {
            None | Some("") => Ok(Path::all()[0]),
            Some("avx512") => demand(Path::avx512(), "avx512"),
            Some("avx2") => demand(Path::avx2(), "avx2"),
            Some("neon") => demand(Path::neon(), "neon"),
            Some("plain") => Ok(Path::PLAIN),
            Some(other) => Err(BadPath::Unknown(other.to_owned())),
        }
    }

    /// The path of this process, settled at the first call.
    ///
    /// # Panics
    /// Where [`Path::from_env`] has an error.
    pub fn current() -> Path {
        static CURRENT: OnceLock<Path> = OnceLock::new();
        *CURRENT.get_or_init(|| Path::from_env().unwrap_or_else(|e| panic!("{e}")))
    }

    /// All paths this processor has, the best first.
    pub fn all() -> Vec<Path> {
        let some = [Path::avx512(), Path::avx2(), Path::neon()];
        some.into_iter().flatten().chain([Path::PLAIN]).collect()
    }

    /// What `REPRO_SIMD` calls it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Instructions::Avx512 => "avx512",
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => "neon",
            Instructions::Plain => "plain",
        }
    }

    /// No instructions but those every processor has.
    pub const PLAIN: Path = Path(Instructions::Plain);

    #[cfg(target_arch = "x86_64")]
    fn avx512() -> Option<Path> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("fma");
        all.then_some(Path(Instructions::Avx512))
    }

    #[cfg(target_arch = "x86_64")]
    fn avx2() -> Option<Path> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
            .then_some(Path(Instructions::Avx2))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn avx512() -> Option<Path> {
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn avx2() -> Option<Path> {
        None
    }

    #[cfg(target_arch = "aarch64")]
    fn neon() -> Option<Path> {
        Some(Path(Instructions::Neon))
    }

    #[cfg(not(target_arch = "aarch64"))]
    fn neon() -> Option<Path> {
        None
    }
}

/// Defines a function compiled once per path from one source: `fn name<F>(args) -> R { .. }`
/// becomes `fn name(path: Path, args) -> R`, in whose body `F` is the path's fused multiply-add.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$f:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(path: $crate::kernels::Path, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters)]
            fn body<$f: $crate::exact::fma::Fma>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::exact::fma::Hardware>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::exact::fma::Hardware>($($arg),*)
            }

            match path.0 {
                // SAFETY: a path with these instructions exists only where the processor has them.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::path::Instructions::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::path::Instructions::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                $crate::kernels::path::Instructions::Neon => {
                    body::<$crate::exact::fma::Hardware>($($arg),*)
                }
                _ => body::<$crate::exact::fma::Software>($($arg),*),
            }
        }
    };
}
pub(super) use kernel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_refusals() {
        assert_eq!(Path::select(Some("plain")), Ok(Path::PLAIN));
        assert_eq!(Path::select(None), Ok(Path::all()[0]));
        assert_eq!(
            Path::select(Some("sse9")),
            Err(BadPath::Unknown("sse9".into()))
        );
        for path in Path::all() {
            assert_eq!(Path::select(Some(path.name())), Ok(path));
        }
        for name in ["avx512", "avx2", "neon"] {
            assert!(
                Path::all().iter().any(|p| p.name() == name) == Path::select(Some(name)).is_ok()
            );
        }
    }
}

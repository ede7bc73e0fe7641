//! Instruction-set levels, and tokens that prove one is there.
//!
//! A token is a zero-sized value that only a run-time check of this CPU makes.
//! Whoever holds one may use the level's instructions, so every algorithm in
//! `generic` is safe code that takes a token.
//!
//! The environment variable `DEMEANOR_ISA` (a level's name, such as `scalar`, `neon` or
//! `avx2`) forces a level, for tests and benchmarks. It can only choose among what the CPU
//! has.

use std::fmt;
use std::str::FromStr;

/// Name of the environment variable that forces a level.
pub const ISA_VARIABLE: &str = "DEMEANOR_ISA";

/// An instruction-set level that has kernels today, from plain to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Plain Rust: the truth the others are tested against.
    Scalar,
    /// 128-bit Advanced SIMD of every AArch64 board (Pi 4 and Jetson Nano have no more).
    Neon,
    /// The same with `sdot`, four byte products per lane (Pi 5, Jetson Orin).
    NeonDot,
    /// The same with `smmla`, 2×8 by 8×2 byte products (newer server and phone cores).
    NeonI8mm,
    /// 256-bit AVX2 with fused multiply-add, for x86-64.
    Avx2,
    /// The same with `vpdpbusd` on 256 bits (recent desktop and kiosk CPUs).
    AvxVnni,
    /// 512-bit AVX-512 with `vpdpbusd`.
    Avx512,
}

impl Level {
    /// Every level, from plain to wide.
    pub const ALL: [Level; 7] = [
        Level::Scalar,
        Level::Neon,
        Level::NeonDot,
        Level::NeonI8mm,
        Level::Avx2,
        Level::AvxVnni,
        Level::Avx512,
    ];

    /// The name used in reports and in `DEMEANOR_ISA`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Neon => "neon",
            Level::NeonDot => "neon-dot",
            Level::NeonI8mm => "neon-i8mm",
            Level::Avx2 => "avx2",
            Level::AvxVnni => "avx-vnni",
            Level::Avx512 => "avx512-vnni",
        }
    }

    /// Whether this build has kernels of the level and this CPU runs them.
    #[must_use]
    pub fn is_available(self) -> bool {
        super::Kernels::for_level(self).is_some()
    }

    /// The widest available level.
    #[must_use]
    pub fn best() -> Level {
        let widest = Level::ALL
            .into_iter()
            .rev()
            .find(|level| level.is_available());
        widest.unwrap_or(Level::Scalar)
    }

    /// The level to use when `DEMEANOR_ISA` holds `forced`.
    ///
    /// # Errors
    /// If the name is unknown or the CPU lacks the level.
    pub fn select(forced: Option<&str>) -> Result<Level, IsaError> {
        let Some(name) = forced else {
            return Ok(Level::best());
        };
        let level: Level = name.parse()?;
        if level.is_available() {
            Ok(level)
        } else {
            Err(IsaError::Unavailable { level })
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let found = Level::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| IsaError::Unknown {
            name: name.to_owned(),
        })
    }
}

/// Why a forced level cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsaError {
    /// No level has this name.
    Unknown {
        /// The name as given.
        name: String,
    },
    /// This build or this CPU lacks the level.
    Unavailable {
        /// The level asked for.
        level: Level,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IsaError::Unknown { name } => write!(
                f,
                "{ISA_VARIABLE} names no known level, {name:?}; set it to {}, or unset it",
                Level::ALL.map(Level::name).join(", ")
            ),
            IsaError::Unavailable { level } => write!(
                f,
                "{ISA_VARIABLE} asks for {level}, which this CPU or build lacks; unset it to use {}",
                Level::best()
            ),
        }
    }
}

impl std::error::Error for IsaError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
        }
    }

    #[test]
    fn scalar_can_always_be_forced() {
        assert_eq!(Level::select(Some("scalar")), Ok(Level::Scalar));
        assert_eq!(Level::select(None), Ok(Level::best()));
    }

    #[test]
    fn a_wrong_or_absent_level_is_refused_with_a_sentence() {
        let unknown = Level::select(Some("sse9")).unwrap_err();
        assert!(unknown.to_string().contains("sse9"), "{unknown}");
        for level in Level::ALL.into_iter().filter(|level| !level.is_available()) {
            let error = Level::select(Some(level.name())).unwrap_err();
            assert_eq!(error, IsaError::Unavailable { level });
            assert!(error.to_string().contains(level.name()), "{error}");
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn aarch64_gets_the_products_that_its_core_has() {
        let wanted = if std::arch::is_aarch64_feature_detected!("i8mm") {
            Level::NeonI8mm
        } else if std::arch::is_aarch64_feature_detected!("dotprod") {
            Level::NeonDot
        } else {
            Level::Neon
        };
        assert_eq!(Level::best(), wanted);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn x86_gets_the_widest_level_that_the_cpu_has() {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
        assert_eq!(Level::best() == Level::Avx512, avx512);
        assert_eq!(Level::best() == Level::Scalar, !avx2);
    }
}

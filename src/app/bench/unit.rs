//! What a figure counts.

/// What a figure counts. Both come from the same clock: under `qemu -icount shift=0` it goes
/// on by a nanosecond for each instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Nanoseconds.
    #[default]
    Time,
    /// Instructions.
    Instructions,
}

impl Unit {
    /// A thousand of what is counted.
    pub(super) fn thousand(self) -> &'static str {
        match self {
            Unit::Time => "µs",
            Unit::Instructions => "kinst",
        }
    }

    /// A million of what is counted.
    pub(super) fn million(self) -> &'static str {
        match self {
            Unit::Time => "ms",
            Unit::Instructions => "Minst",
        }
    }

    /// Heads of the columns of medians, loading and first runs.
    pub(super) fn heads(self) -> [&'static str; 3] {
        match self {
            Unit::Time => ["median ms", "load ms", "first ms"],
            Unit::Instructions => ["median", "load", "first"],
        }
    }

    /// Multiply-accumulates by what is counted.
    pub(super) fn rate(self) -> &'static str {
        match self {
            Unit::Time => "GMAC/s",
            Unit::Instructions => "MAC/inst",
        }
    }

    /// Digits behind the point of the tile's rate.
    pub(super) fn digits(self) -> usize {
        match self {
            Unit::Time => 0,
            Unit::Instructions => 2,
        }
    }

    /// What there is less of after an improvement.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Unit::Time => "the time",
            Unit::Instructions => "the instructions",
        }
    }

    /// The end of keys in JSON: `median_ns`.
    pub(super) fn key(self) -> &'static str {
        match self {
            Unit::Time => "ns",
            Unit::Instructions => "instructions",
        }
    }

    /// The same of a million: `load_ms`.
    pub(super) fn million_key(self) -> &'static str {
        match self {
            Unit::Time => "ms",
            Unit::Instructions => "minst",
        }
    }

    /// The key of a rate: `gmac_per_s`.
    pub(super) fn rate_key(self) -> &'static str {
        match self {
            Unit::Time => "gmac_per_s",
            Unit::Instructions => "mac_per_instruction",
        }
    }
}

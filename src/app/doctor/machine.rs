//! The board itself: CPU, memory, temperature.

use super::Check;
use crate::app::bench::machine;
use crate::board::{self, profile::Profile};
use crate::kernels::{ISA_VARIABLE, Level, active};

pub(super) fn board(board: &Profile, named: bool) -> Check {
    let how = if named { "named" } else { "found out" };
    Check::ok("board", format!("{}: {} ({how})", board.name, board.summary))
}

/// Whether the kernels have what the board's profile promises them.
pub(super) fn cpu(board: &Profile) -> Check {
    let (best, level) = (Level::best(), active().level());
    let name = "cpu";
    if let Some(least) = board::least_level(board.cpu)
        && !reaches(best, least)
    {
        return Check::failed(
            name,
            format!(
                "this CPU offers {best}, a {} has {least}; name the right board with --board",
                board.name
            ),
        );
    }
    if level != best {
        return Check::warning(
            name,
            format!("{ISA_VARIABLE} holds the kernels to {level}; unset it to use {best}"),
        );
    }
    Check::ok(name, format!("the kernels use {level}"))
}

/// Whether `level` is `least` or a wider one of the same architecture.
fn reaches(level: Level, least: Level) -> bool {
    let arm = [Level::Neon, Level::NeonDot, Level::NeonI8mm];
    let at = |level| arm.iter().position(|l| *l == level);
    level == least || at(least).is_some_and(|least| at(level) >= Some(least))
}

/// Resident memory while the models are loaded, against the board's budget.
pub(super) fn memory(board: &Profile) -> Check {
    let name = "memory";
    let Some(resident) = machine::resident() else {
        return Check::skipped(name, "this system does not tell");
    };
    let (mib, budget) = (resident.div_ceil(1024), u64::from(board.memory_mib));
    if mib > budget {
        let finding = format!(
            "{mib} MiB are resident with these models, more than the board's {budget}; \
             run fewer tasks ([decision] tasks)"
        );
        return Check::warning(name, finding);
    }
    Check::ok(
        name,
        format!("{mib} MiB resident with these models, of the board's {budget}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_level_of_the_same_kind_will_do() {
        assert!(reaches(Level::NeonI8mm, Level::NeonDot));
        assert!(reaches(Level::Neon, Level::Neon));
        assert!(!reaches(Level::Neon, Level::NeonDot));
        assert!(!reaches(Level::Scalar, Level::Neon));
        assert!(!reaches(Level::Avx512, Level::Neon));
    }
}

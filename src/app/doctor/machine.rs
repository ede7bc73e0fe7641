//! The board itself: CPU, memory, temperature.

use super::Check;
use crate::app::bench::machine;
use crate::board::thermal::{Condition, Reason};
use crate::board::{self, profile::Profile};
use crate::kernels::{ISA_VARIABLE, Level, active};

/// Boards slow down from about here, in °C.
const HOT: f64 = 80.0;

pub(super) fn board(board: &Profile, named: bool) -> Check {
    let how = if named { "named" } else { "found out" };
    Check::ok(
        "board",
        format!("{}: {} ({how})", board.name, board.summary),
    )
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

/// How hot it is, and whether the clock is held back.
pub(super) fn thermal(board: &Profile) -> Check {
    judged(&Condition::read(board.thermal_zone.as_deref()))
}

fn judged(condition: &Condition) -> Check {
    let name = "thermal";
    let reasons = |of: &[Reason]| -> Vec<&str> { of.iter().map(|r| r.name()).collect() };
    let throttling = condition.throttling.clone().unwrap_or_default();
    let (now, before) = (reasons(&throttling.now), reasons(&throttling.since_boot));
    let warmth = condition.temperature.map(|t| format!("{t:.0} °C"));
    let warmth = warmth.unwrap_or_else(|| "no temperature is told".into());
    if !now.is_empty() {
        let finding = format!(
            "{warmth}; the clock is held back now ({}): check the supply and the cooling",
            now.join(", ")
        );
        return Check::warning(name, finding);
    }
    if !before.is_empty() {
        let finding = format!(
            "{warmth}; the clock was held back since the board was started ({}): check the \
             supply and the cooling",
            before.join(", ")
        );
        return Check::warning(name, finding);
    }
    match condition.temperature {
        Some(t) if t >= HOT => Check::warning(name, format!("{warmth}: cool the board better")),
        None if condition.throttling.is_none() => Check::skipped(
            name,
            "this machine tells neither temperature nor throttling",
        ),
        _ => Check::ok(name, warmth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Finding;
    use crate::board::thermal::Throttling;

    #[test]
    fn heat_and_a_weak_supply_are_warnings_and_silence_is_none() {
        let verdict = |temperature, throttling| {
            let condition = Condition {
                temperature,
                throttling,
                ..Condition::default()
            };
            judged(&condition).verdict
        };
        let held = |now: &[Reason], since_boot: &[Reason]| {
            Some(Throttling {
                now: now.to_vec(),
                since_boot: since_boot.to_vec(),
            })
        };
        assert_eq!(verdict(None, None), Finding::Skipped);
        assert_eq!(verdict(Some(55.0), None), Finding::Ok);
        assert_eq!(verdict(None, held(&[], &[])), Finding::Ok);
        assert_eq!(verdict(Some(85.0), None), Finding::Warning);
        let weak = [Reason::UnderVoltage];
        assert_eq!(verdict(Some(55.0), held(&weak, &weak)), Finding::Warning);
        assert_eq!(verdict(Some(55.0), held(&[], &weak)), Finding::Warning);
    }

    #[test]
    fn a_wider_level_of_the_same_kind_will_do() {
        assert!(reaches(Level::NeonI8mm, Level::NeonDot));
        assert!(reaches(Level::Neon, Level::Neon));
        assert!(!reaches(Level::Neon, Level::NeonDot));
        assert!(!reaches(Level::Scalar, Level::Neon));
        assert!(!reaches(Level::Avx512, Level::Neon));
    }
}

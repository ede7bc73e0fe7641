//! Power and energy, where a board measures them.

use super::{entries, monitors, number, text};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A measured supply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rail {
    /// What the board calls it, such as `VDD_IN`.
    pub name: String,
    /// Power in W.
    pub watts: f64,
}

/// Rails of the INA3221 of Jetsons: a hardware monitor in JetPack 5 and later, an industrial
/// I/O device in JetPack 4.
pub(super) fn rails(sys: &Path) -> Vec<Rail> {
    let mut rails = Vec::new();
    for monitor in monitors(sys, "ina3221") {
        rails.extend((1..=3).filter_map(|at| {
            let of = |part: String| monitor.join(part);
            let name = text(&of(format!("in{at}_label")))?;
            let millivolts = number(&of(format!("in{at}_input")))?;
            let milliamperes = number(&of(format!("curr{at}_input")))?;
            let watts = millivolts * milliamperes / 1e6;
            Some(Rail { name, watts })
        }));
    }
    for device in entries(&sys.join("bus/iio/devices"), "iio:device") {
        rails.extend((0..=2).filter_map(|at| {
            let name = text(&device.join(format!("rail_name_{at}")))?;
            let watts = number(&device.join(format!("in_power{at}_input")))? / 1e3;
            Some(Rail { name, watts })
        }));
    }
    rails
}

/// Power of the rail that feeds the others, or else of the first.
pub(super) fn input(rails: &[Rail]) -> Option<f64> {
    // the names that NVIDIA's boards give to their input
    let input = rails.iter().find(|rail| rail.name.ends_with("_IN"));
    input.or(rails.first()).map(|rail| rail.watts)
}

/// Measures power over a stretch of time: by a counter of energy (RAPL) where one may be
/// read, else by the rails at its end.
#[derive(Debug)]
pub struct Meter {
    sys: PathBuf,
    start: Instant,
    joules: Option<f64>,
}

impl Meter {
    /// Begins to measure.
    pub fn start() -> Meter {
        Meter::start_under(Path::new("/sys"))
    }

    /// The same under another root than `/sys`.
    pub fn start_under(sys: &Path) -> Meter {
        Meter {
            sys: sys.to_path_buf(),
            start: Instant::now(),
            joules: joules(sys),
        }
    }

    /// Mean power in W since the start; `None` where nothing measures it.
    pub fn watts(&self) -> Option<f64> {
        match self.joules {
            Some(before) => self.mean(before, self.start.elapsed()),
            None => input(&rails(&self.sys)),
        }
    }

    fn mean(&self, before: f64, time: Duration) -> Option<f64> {
        let after = joules(&self.sys)?;
        // the counter begins anew at its range
        let range = number(&package(&self.sys).join("max_energy_range_uj")).unwrap_or(0.0) / 1e6;
        let spent = after - before;
        let spent = if spent < 0.0 { spent + range } else { spent };
        (spent > 0.0 && !time.is_zero()).then(|| spent / time.as_secs_f64())
    }
}

fn package(sys: &Path) -> PathBuf {
    sys.join("class/powercap/intel-rapl:0")
}

/// Energy of the first CPU package; most systems let only root read it.
fn joules(sys: &Path) -> Option<f64> {
    number(&package(sys).join("energy_uj")).map(|microjoules| microjoules / 1e6)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn the_input_of_a_jetson_nano_is_found_among_its_rails() {
        let tree = Tree::of(&[
            ("bus/iio/devices/iio:device0/rail_name_0", "POM_5V_GPU"),
            ("bus/iio/devices/iio:device0/in_power0_input", "80"),
            ("bus/iio/devices/iio:device0/rail_name_1", "POM_5V_IN"),
            ("bus/iio/devices/iio:device0/in_power1_input", "3250"),
        ]);
        assert_eq!(tree.read(None).watts(), Some(3.25));
        assert_eq!(Meter::start_under(&tree.0).watts(), Some(3.25));
    }

    #[test]
    fn energy_is_counted_across_the_counters_end() {
        let counter = "class/powercap/intel-rapl:0/energy_uj";
        let range = "class/powercap/intel-rapl:0/max_energy_range_uj";
        let tree = Tree::of(&[(counter, "2000000"), (range, "10000000")]);
        let meter = Meter::start_under(&tree.0);
        tree.write(&[(counter, "8000000")]);
        assert_eq!(meter.mean(2.0, Duration::from_secs(2)), Some(3.0));
        assert_eq!(meter.mean(9.0, Duration::from_secs(3)), Some(3.0));
        assert_eq!(meter.mean(8.0, Duration::from_secs(1)), None);
    }
}

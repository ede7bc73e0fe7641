//! The state that a measurement was made in: temperature, clocks, throttling, power.
//!
//! Everything is read from sysfs. What a board does not expose is absent, never zero.

mod power;

pub use power::{Meter, Rail};

use power::rails;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The state of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Condition {
    /// Temperature of the CPU's thermal zone in °C.
    pub temperature: Option<f64>,
    /// Clocks of the CPUs, one for each group that shares one.
    pub clocks: Vec<Clock>,
    /// What holds the clock back; absent where nothing would tell.
    pub throttling: Option<Throttling>,
    /// Times that the CPUs were throttled since boot, where they are counted (x86).
    pub throttle_count: Option<u64>,
    /// Power of each rail that is measured.
    pub rails: Vec<Rail>,
}

/// The clock of a group of CPUs, in MHz.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Clock {
    /// Now.
    pub now: f64,
    /// The most that the hardware allows.
    pub most: f64,
}

/// What holds, or held, the clock back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Throttling {
    /// At this moment.
    pub now: Vec<Reason>,
    /// At any time since boot, where it is remembered (Raspberry Pi).
    pub since_boot: Vec<Reason>,
}

/// Why a clock is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The supply gives less than the board needs.
    UnderVoltage,
    /// The firmware holds the clock below its maximum.
    FrequencyCapped,
    /// The firmware has lowered the clock.
    Throttled,
    /// The soft temperature limit is reached.
    TemperatureLimit,
    /// The kernel cools by lowering the clock.
    Cooling,
}

impl Reason {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Reason::UnderVoltage => "under-voltage",
            Reason::FrequencyCapped => "frequency capped",
            Reason::Throttled => "throttled",
            Reason::TemperatureLimit => "soft temperature limit",
            Reason::Cooling => "cooled by a lower clock",
        }
    }

    /// The firmware's bits, from the lowest; the same 16 bits up mean "since boot".
    const FIRMWARE: [Reason; 4] = [
        Reason::UnderVoltage,
        Reason::FrequencyCapped,
        Reason::Throttled,
        Reason::TemperatureLimit,
    ];

    fn of_bits(bits: u32) -> Vec<Reason> {
        let set = |(at, reason): (usize, Reason)| (bits >> at & 1 == 1).then_some(reason);
        Reason::FIRMWARE
            .into_iter()
            .enumerate()
            .filter_map(set)
            .collect()
    }
}

impl Condition {
    /// The state now. `zone` is the type of the CPU's thermal zone, from the board's profile;
    /// without it, a zone that calls itself the CPU's is looked for.
    pub fn read(zone: Option<&str>) -> Condition {
        Condition::read_under(Path::new("/sys"), zone)
    }

    /// The same under another root than `/sys`.
    pub fn read_under(sys: &Path, zone: Option<&str>) -> Condition {
        Condition {
            temperature: temperature(sys, zone),
            clocks: clocks(sys),
            throttling: throttling(sys),
            throttle_count: throttle_count(sys),
            rails: rails(sys),
        }
    }

    /// The fastest clock now in MHz: that of whoever works.
    pub fn clock(&self) -> Option<f64> {
        self.clocks.iter().map(|c| c.now).reduce(f64::max)
    }

    /// Is the clock held back now? `None` where nothing would tell.
    pub fn throttled(&self) -> Option<bool> {
        self.throttling.as_ref().map(|t| !t.now.is_empty())
    }

    /// Power of the whole board in W: the rail that feeds the others, or else the first.
    pub fn watts(&self) -> Option<f64> {
        power::input(&self.rails)
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}

fn number(path: &Path) -> Option<f64> {
    text(path)?.parse().ok()
}

/// Entries of `folder` whose names begin with `start`, in a fixed order.
fn entries(folder: &Path, start: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = listed
        .filter(|e| e.file_name().to_string_lossy().starts_with(start))
        .map(|e| e.path())
        .collect();
    paths.sort();
    paths
}

fn temperature(sys: &Path, zone: Option<&str>) -> Option<f64> {
    let wanted = |kind: &str| match zone {
        Some(zone) => kind == zone,
        None => kind.to_ascii_lowercase().contains("cpu") || kind == "x86_pkg_temp",
    };
    let zones = entries(&sys.join("class/thermal"), "thermal_zone");
    let ours = zones
        .iter()
        .find(|z| text(&z.join("type")).is_some_and(|kind| wanted(&kind)))?;
    let celsius = number(&ours.join("temp"))? / 1e3;
    // a zone that is switched off says -256 °C or the like
    (-60.0..=200.0).contains(&celsius).then_some(celsius)
}

fn clocks(sys: &Path) -> Vec<Clock> {
    let policies = entries(&sys.join("devices/system/cpu/cpufreq"), "policy");
    let clock = |policy: &PathBuf| {
        Some(Clock {
            now: number(&policy.join("scaling_cur_freq"))? / 1e3,
            most: number(&policy.join("cpuinfo_max_freq"))? / 1e3,
        })
    };
    policies.iter().filter_map(clock).collect()
}

/// What firmware, supply and cooling devices say; `None` when none of them is there.
fn throttling(sys: &Path) -> Option<Throttling> {
    let told = [firmware(sys), supply(sys), cooling(sys)];
    let mut told = told.into_iter().flatten().peekable();
    told.peek()?;
    Some(told.fold(Throttling::default(), |mut all, one| {
        let new: Vec<Reason> = one
            .now
            .into_iter()
            .filter(|r| !all.now.contains(r))
            .collect();
        all.now.extend(new);
        all.since_boot.extend(one.since_boot);
        all
    }))
}

/// Raspberry Pi OS: `soc:firmware/get_throttled`, a hexadecimal number. A kernel without it
/// leaves only `vcgencmd get_throttled`, which this program does not run.
fn firmware(sys: &Path) -> Option<Throttling> {
    let platform = sys.join("devices/platform");
    let mut buses = entries(&platform, "soc");
    buses.push(platform);
    let nodes = buses.iter().flat_map(|bus| entries(bus, "soc"));
    let told = nodes
        .filter_map(|node| text(&node.join("get_throttled")))
        .next()?;
    let bits = u32::from_str_radix(told.trim_start_matches("0x"), 16).ok()?;
    Some(Throttling {
        now: Reason::of_bits(bits),
        since_boot: Reason::of_bits(bits >> 16),
    })
}

/// Raspberry Pis with a mainline kernel: the alarm of the monitor `rpi_volt`.
fn supply(sys: &Path) -> Option<Throttling> {
    let monitor = monitors(sys, "rpi_volt").next()?;
    let low = number(&monitor.join("in0_lcrit_alarm"))? != 0.0;
    Some(Throttling {
        now: low.then_some(Reason::UnderVoltage).into_iter().collect(),
        since_boot: Vec::new(),
    })
}

/// The kernel's own cooling by the clock: of the CPUs on most boards, `throttle` on Jetsons.
fn cooling(sys: &Path) -> Option<Throttling> {
    let devices = entries(&sys.join("class/thermal"), "cooling_device");
    let mut states = devices.iter().filter_map(|device| {
        let kind = text(&device.join("type"))?;
        let of_clock = kind.contains("cpufreq") || kind.contains("throttle");
        number(&device.join("cur_state")).filter(|_| of_clock)
    });
    let first = states.next()?;
    let active = first > 0.0 || states.any(|s| s > 0.0);
    Some(Throttling {
        now: active.then_some(Reason::Cooling).into_iter().collect(),
        since_boot: Vec::new(),
    })
}

fn throttle_count(sys: &Path) -> Option<u64> {
    let cpus = entries(&sys.join("devices/system/cpu"), "cpu");
    let counts = cpus
        .iter()
        .filter_map(|cpu| number(&cpu.join("thermal_throttle/core_throttle_count")));
    counts.map(|n| n as u64).reduce(|a, b| a + b)
}

/// Hardware monitors of this name.
fn monitors(sys: &Path, name: &'static str) -> impl Iterator<Item = PathBuf> {
    let named = move |m: &PathBuf| text(&m.join("name")).is_some_and(|n| n == name);
    entries(&sys.join("class/hwmon"), "hwmon")
        .into_iter()
        .filter(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A sysfs of our own, gone when dropped.
    pub(super) struct Tree(pub(super) PathBuf);

    impl Tree {
        pub(super) fn of(files: &[(&str, &str)]) -> Tree {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("demeanor-sys-{}-{count}", std::process::id());
            let tree = Tree(std::env::temp_dir().join(name));
            tree.write(files);
            tree
        }

        pub(super) fn write(&self, files: &[(&str, &str)]) {
            for (path, content) in files {
                let path = self.0.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, format!("{content}\n")).expect("a file");
            }
        }

        pub(super) fn read(&self, zone: Option<&str>) -> Condition {
            Condition::read_under(&self.0, zone)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const PI: [(&str, &str); 6] = [
        ("class/thermal/thermal_zone0/type", "cpu-thermal"),
        ("class/thermal/thermal_zone0/temp", "61835"),
        (
            "devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
            "1500000",
        ),
        (
            "devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq",
            "1800000",
        ),
        ("devices/platform/soc/soc:firmware/get_throttled", "50005"),
        ("class/thermal/cooling_device0/type", "pwm-fan"),
    ];

    #[test]
    fn a_raspberry_pi_that_throttles() {
        let now = Tree::of(&PI).read(Some("cpu-thermal"));
        assert_eq!(now.temperature, Some(61.835));
        let (now_at, most) = (1500.0, 1800.0);
        assert_eq!(now.clocks, [Clock { now: now_at, most }]);
        let both = vec![Reason::UnderVoltage, Reason::Throttled];
        let (since_boot, now_held) = (both.clone(), both);
        assert_eq!(
            now.throttling,
            Some(Throttling {
                now: now_held,
                since_boot
            })
        );
        assert_eq!((now.throttled(), now.watts()), (Some(true), None));
    }

    #[test]
    fn what_is_past_is_not_now() {
        let tree = Tree::of(&PI);
        tree.write(&[("devices/platform/soc/soc:firmware/get_throttled", "80000")]);
        let throttling = tree.read(None).throttling.expect("it tells");
        assert_eq!(throttling.now, []);
        assert_eq!(throttling.since_boot, [Reason::TemperatureLimit]);
    }

    #[test]
    fn the_firmware_of_other_kernels_is_found() {
        for node in ["soc:firmware", "soc@107c000000/soc@107c000000:firmware"] {
            let path = format!("devices/platform/{node}/get_throttled");
            let tree = Tree::of(&[(&path, "2")]);
            let throttling = tree.read(None).throttling.expect("it tells");
            assert_eq!(throttling.now, [Reason::FrequencyCapped], "{node}");
        }
    }

    #[test]
    fn a_mainline_kernel_tells_of_the_supply() {
        let tree = Tree::of(&[
            ("class/hwmon/hwmon0/name", "cpu_thermal"),
            ("class/hwmon/hwmon1/name", "rpi_volt"),
            ("class/hwmon/hwmon1/in0_lcrit_alarm", "0"),
        ]);
        assert_eq!(tree.read(None).throttled(), Some(false));
        tree.write(&[("class/hwmon/hwmon1/in0_lcrit_alarm", "1")]);
        let throttling = tree.read(None).throttling.expect("it tells");
        assert_eq!(throttling.now, [Reason::UnderVoltage]);
    }

    #[test]
    fn a_jetson_tells_its_rails_and_its_cooling() {
        let tree = Tree::of(&[
            ("class/thermal/thermal_zone0/type", "gpu-thermal"),
            ("class/thermal/thermal_zone0/temp", "40000"),
            ("class/thermal/thermal_zone1/type", "cpu-thermal"),
            ("class/thermal/thermal_zone1/temp", "50500"),
            ("class/thermal/cooling_device0/type", "pwm-fan"),
            ("class/thermal/cooling_device0/cur_state", "3"),
            ("class/thermal/cooling_device1/type", "cpufreq-cpu0"),
            ("class/thermal/cooling_device1/cur_state", "0"),
            ("class/hwmon/hwmon2/name", "ina3221"),
            ("class/hwmon/hwmon2/in1_label", "VDD_IN"),
            ("class/hwmon/hwmon2/in1_input", "5000"),
            ("class/hwmon/hwmon2/curr1_input", "1200"),
            ("class/hwmon/hwmon2/in2_label", "VDD_CPU_GPU_CV"),
            ("class/hwmon/hwmon2/in2_input", "5000"),
            ("class/hwmon/hwmon2/curr2_input", "400"),
            ("class/hwmon/hwmon2/in3_label", "unconnected"),
        ]);
        let now = tree.read(Some("cpu-thermal"));
        assert_eq!(now.temperature, Some(50.5));
        assert_eq!(now.throttled(), Some(false), "a fan holds no clock back");
        let rail = |name: &str, watts| Rail {
            name: name.into(),
            watts,
        };
        assert_eq!(
            now.rails,
            [rail("VDD_IN", 6.0), rail("VDD_CPU_GPU_CV", 2.0)]
        );
        assert_eq!(now.watts(), Some(6.0));
        tree.write(&[("class/thermal/cooling_device1/cur_state", "2")]);
        let throttling = tree.read(None).throttling.expect("it tells");
        assert_eq!(throttling.now, [Reason::Cooling]);
    }

    #[test]
    fn what_is_not_exposed_is_absent() {
        assert_eq!(Tree::of(&[]).read(None), Condition::default());
        let tree = Tree::of(&[
            ("class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("class/thermal/thermal_zone0/temp", "-256000"),
            ("class/hwmon/hwmon0/name", "ina3221"),
            (
                "devices/platform/soc/soc:firmware/get_throttled",
                "no number",
            ),
        ]);
        assert_eq!(tree.read(None), Condition::default());
        assert_eq!(tree.read(Some("other-zone")).temperature, None);
    }

    #[test]
    fn a_pc_counts_its_throttling() {
        let tree = Tree::of(&[
            (
                "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
                "3",
            ),
            (
                "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count",
                "4",
            ),
            (
                "devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
                "800000",
            ),
            (
                "devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq",
                "4000000",
            ),
            (
                "devices/system/cpu/cpufreq/policy1/scaling_cur_freq",
                "3900000",
            ),
            (
                "devices/system/cpu/cpufreq/policy1/cpuinfo_max_freq",
                "4000000",
            ),
        ]);
        let now = tree.read(None);
        assert_eq!((now.throttle_count, now.clock()), (Some(7), Some(3900.0)));
    }
}

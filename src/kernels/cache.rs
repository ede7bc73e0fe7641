//! Sizes of the caches that one core works in, which products are cut to fit.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes of the first and second cache that a core sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernels) struct Caches {
    /// Data only.
    pub first: usize,
    pub second: usize,
}

/// What most boards and all desktops have at least.
const USUAL: Caches = Caches {
    first: 32 << 10,
    second: 512 << 10,
};

/// The caches of this machine: as the kernel tells, else as the core's name tells (device trees
/// of boards often leave caches out), else the usual ones.
pub(in crate::kernels) fn caches() -> Caches {
    static FOUND: OnceLock<Caches> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let cpu = Path::new("/sys/devices/system/cpu/cpu0");
        listed(&cpu.join("cache"))
            .or_else(|| named(cpu))
            .unwrap_or(USUAL)
    })
}

fn listed(folder: &Path) -> Option<Caches> {
    let (mut first, mut second) = (None, None);
    for index in 0..8 {
        let read = |name: &str| {
            let text = fs::read_to_string(folder.join(format!("index{index}")).join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let (Some(level), Some(kind)) = (read("level"), read("type")) else {
            continue;
        };
        let size = read("size").and_then(|size| bytes(&size));
        match (level.as_str(), kind.as_str()) {
            ("1", "Data" | "Unified") => first = size,
            ("2", "Data" | "Unified") => second = size,
            _ => {}
        }
    }
    Some(Caches {
        first: first?,
        second: second?,
    })
}

/// `48K`, `2M`: a size as sysfs writes it. None of less than a page.
fn bytes(size: &str) -> Option<usize> {
    let digits = size.trim_end_matches(['K', 'M']);
    let unit = match &size[digits.len()..] {
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => 1,
    };
    let bytes = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (bytes >= 4096).then_some(bytes)
}

/// By the part number in the core's identification.
fn named(cpu: &Path) -> Option<Caches> {
    let text = fs::read_to_string(cpu.join("regs/identification/midr_el1")).ok()?;
    let id = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
    let (first, second) = match id >> 4 & 0xfff {
        0xd07 => (32, 2048), // Cortex-A57: Jetson Nano
        0xd08 => (32, 1024), // Cortex-A72: Pi 4
        0xd0b => (64, 512),  // Cortex-A76: Pi 5
        0xd42 => (64, 256),  // Cortex-A78AE: Jetson Orin
        _ => return None,
    };
    Some(Caches {
        first: first << 10,
        second: second << 10,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn sizes_are_read_as_the_kernel_lists_them() {
        let files = [
            ("index0/level", "1\n"),
            ("index0/type", "Data\n"),
            ("index0/size", "48K\n"),
            ("index1/level", "1\n"),
            ("index1/type", "Instruction\n"),
            ("index1/size", "64K\n"),
            ("index2/level", "2\n"),
            ("index2/type", "Unified\n"),
            ("index2/size", "2M\n"),
        ];
        let at = folder("caches", &files);
        let wanted = Caches {
            first: 48 << 10,
            second: 2 << 20,
        };
        assert_eq!(listed(&at), Some(wanted));
        fs::write(at.join("index2/size"), "0K\n").unwrap();
        assert_eq!(listed(&at), None, "a size of nothing is no size");
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn a_core_is_known_by_its_part_number() {
        let at = folder(
            "midr",
            &[("regs/identification/midr_el1", "0x00000000414fd0b1\n")],
        );
        assert_eq!(named(&at).unwrap().first, 64 << 10);
        fs::write(at.join("regs/identification/midr_el1"), "unreadable").unwrap();
        assert_eq!(named(&at), None);
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn this_machine_has_caches() {
        let found = caches();
        assert!(found.first >= 4096 && found.second >= found.first);
    }
}

//! Which board this is: the device tree's `compatible` against the profiles.

use super::profile::Profile;
use super::{BoardError, all, by_name};
use std::fs;
use std::path::Path;

/// Where Linux shows the device tree that it was booted with.
const TREE: &str = "/sys/firmware/devicetree/base";

/// The profile of a machine that nobody recognises.
const OTHER: &str = "host";

/// The profile called `name`, or, without a name, that of the machine this runs on.
///
/// # Errors
/// [`BoardError::Unknown`], with the names there are.
pub fn choose(name: Option<&str>) -> Result<Profile, BoardError> {
    let recognised = name.is_none().then(detect).flatten();
    let name = name.unwrap_or(OTHER);
    recognised.or_else(|| by_name(name)).ok_or_else(|| {
        let known: Vec<String> = all().map(|board| board.name).collect();
        BoardError::Unknown {
            name: name.to_owned(),
            known: known.join(", "),
        }
    })
}

/// The board this runs on, if its device tree names one that is known. PCs have none.
pub fn detect() -> Option<Profile> {
    recognise(&compatible(Path::new(TREE)))
}

/// The root's `compatible`: strings, most specific first, each ended by a zero byte.
fn compatible(tree: &Path) -> Vec<String> {
    names(&fs::read(tree.join("compatible")).unwrap_or_default())
}

fn names(bytes: &[u8]) -> Vec<String> {
    let names = bytes.split(|byte| *byte == 0).filter(|n| !n.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// The profile that knows the most specific of the names.
fn recognise(names: &[String]) -> Option<Profile> {
    let boards: Vec<Profile> = all().collect();
    let knows = |name: &String| boards.iter().find(|board| board.compatible.contains(name));
    names.iter().find_map(knows).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn recognised(bytes: &[u8]) -> Option<String> {
        recognise(&names(bytes)).map(|board| board.name)
    }

    #[test]
    fn boards_are_recognised() {
        for (bytes, board) in [
            (&b"raspberrypi,3-model-b\0brcm,bcm2837\0"[..], "rpi3"),
            (b"raspberrypi,4-model-b\0brcm,bcm2711\0", "rpi4"),
            (b"raspberrypi,5-model-b\0brcm,bcm2712\0", "rpi5"),
            (
                b"nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0",
                "jetson-nano",
            ),
            (
                b"nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
                "jetson-orin-nano",
            ),
            (b"linux,dummy-virt\0", "qemu-virt"),
            // the last string unended
            (b"linux,dummy-virt", "qemu-virt"),
        ] {
            assert_eq!(recognised(bytes).as_deref(), Some(board));
        }
    }

    #[test]
    fn other_machines_are_not() {
        for bytes in [
            &b""[..],
            b"\0\0",
            b"acme,toaster\0brcm,bcm2711\0",
            b"\xff\xfe\0",
        ] {
            assert_eq!(recognised(bytes), None);
        }
        assert!(compatible(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn names_win_and_unknown_ones_are_told() {
        assert_eq!(choose(Some("rpi5")).expect("a board").name, "rpi5");
        let error = choose(Some("rpi9")).expect_err("no board").to_string();
        assert!(
            error.contains("rpi9") && error.contains("rpi4, rpi5"),
            "{error}"
        );
    }

    #[test]
    fn a_fallback_is_there() {
        assert!(by_name(OTHER).is_some_and(|host| host.compatible.is_empty()));
    }

    #[test]
    fn no_name_belongs_to_two_boards() {
        let mut seen = BTreeSet::new();
        for name in all().flat_map(|board| board.compatible) {
            assert!(seen.insert(name.clone()), "{name} is claimed twice");
        }
    }
}

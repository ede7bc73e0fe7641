//! How much memory is left for a picture.
//!
//! A board or a service's limit (`MemoryMax=`) may leave less than the largest picture takes.
//! A decoder cannot be told to make do: it would be killed, and recognition with it.

use std::fs;
use std::path::Path;

/// Kept for everything else that goes on meanwhile.
const RESERVE: u64 = 16 << 20;

/// Bytes that may still be taken: the least of what the system has to spare and what the
/// control groups of this process allow. `None` where nobody tells.
pub(super) fn left() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let system = field(&meminfo, "MemAvailable:").map(|kib| kib << 10);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let group = group.and_then(|path| least(Path::new("/sys/fs/cgroup"), Path::new(path)));
    let left = system.into_iter().chain(group).min()?;
    Some(left.saturating_sub(RESERVE))
}

/// The least that a group and those around it allow.
fn least(root: &Path, group: &Path) -> Option<u64> {
    let folders = group.ancestors().map(|part| root.join(part));
    folders.filter_map(|folder| allowed(&folder)).min()
}

/// What one group allows: its limit without what it holds. Pages of files do not count, for
/// they are given up when memory runs short.
fn allowed(folder: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    // "max" is no number: no limit
    let (limit, held) = (number("memory.max")?, number("memory.current")?);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let files = field(&stat, "file").unwrap_or_default();
    Some(limit.saturating_sub(held.saturating_sub(files)))
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let root = std::env::temp_dir().join(format!("demeanor-groups-{}", std::process::id()));
        let group = root.join("system.slice/demeanor.service");
        fs::create_dir_all(&group).unwrap();
        let write = |folder: &Path, name: &str, text: &str| {
            fs::write(folder.join(name), text).unwrap();
        };
        let of = || least(&root, Path::new("system.slice/demeanor.service"));
        assert_eq!(of(), None);
        write(&group, "memory.max", "max\n");
        write(&group, "memory.current", "1000\n");
        assert_eq!(of(), None);
        write(&group, "memory.max", "4000\n");
        write(&group, "memory.stat", "anon 700\nfile 300\nfile_mapped 5\n");
        assert_eq!(of(), Some(3300));
        write(&root.join("system.slice"), "memory.max", "2000\n");
        write(&root.join("system.slice"), "memory.current", "1900\n");
        assert_eq!(of(), Some(100));
        fs::remove_dir_all(root).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_some() {
        assert!(left().is_some_and(|bytes| bytes > 0));
    }
}

//! What a board offers: the schema of `boards/<board>/board.toml`.
//!
//! `build.rs` includes this very file, so the table in the binary and the files on disk
//! cannot disagree.

use serde::Deserialize;

/// One board's profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The folder's name.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// Lowest CPU level that the board's kernels may rely on.
    pub cpu: Cpu,
    /// Audio input to open when neither the command line nor the config names one.
    pub audio_device: String,
    /// Resident memory that `run` should stay under, in MiB.
    pub memory_mib: u32,
}

/// CPU levels, as the kernels know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cpu {
    /// Whatever the machine has; found out at run time.
    Detect,
    /// Armv8.0 with NEON (Cortex-A72, A57).
    Neon,
    /// Armv8.2 with the dot product (Cortex-A76, A78AE).
    NeonDotprod,
}

/// A line of a GPIO controller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The controller's label, as `gpioinfo` shows it; its number changes from boot to boot.
    pub chip: String,
    /// Offset of the line within the controller.
    pub line: u32,
    /// The lamp is on, or the button pressed, when the line is low.
    #[serde(default)]
    pub active_low: bool,
}

impl Profile {
    /// Parses and checks a profile; the error names the field and says what is expected.
    pub fn parse(text: &str) -> Result<Profile, String> {
        let profile: Profile = toml::from_str(text).map_err(|e| e.message().to_string())?;
        if profile.audio_device.is_empty() {
            return Err("field `audio_device` is empty; write \"default\"".into());
        }
        if !(16..=65_536).contains(&profile.memory_mib) {
            return Err("field `memory_mib` must lie in 16..=65536".into());
        }
        Ok(profile)
    }
}

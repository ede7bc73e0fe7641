//! What a board offers: the schema of `boards/<board>/board.toml`.
//!
//! `build.rs` includes this very file, so the table in the binary and the files on disk
//! cannot disagree.

use crate::capture::channel::Channel;
use serde::Deserialize;

/// One board's profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The folder's name.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// Strings of the device tree's root `compatible` by which the board is recognised;
    /// empty for a profile that is never recognised, only named or fallen back to.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Lowest CPU level that the board's kernels may rely on.
    pub cpu: Cpu,
    /// Audio input to open when neither the command line nor the config names one.
    pub audio_device: String,
    /// Which of that input's channels is heard; the best one when left out.
    #[serde(default)]
    pub audio_channel: Channel,
    /// Resident memory that `run` should stay under, in MiB.
    pub memory_mib: u32,
    /// Type of the thermal zone of the CPU, as in `/sys/class/thermal/thermal_zone*/type`.
    /// Left out: a zone that calls itself the CPU's is looked for.
    pub thermal_zone: Option<String>,
    /// The camera that such a board usually has.
    pub camera: Option<Camera>,
    /// Where a lamp and a button are wired.
    pub gpio: Option<Gpio>,
}

/// CPU levels, as the kernels know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cpu {
    /// Whatever the machine has; found out at run time.
    Detect,
    /// Armv8.0 with NEON (Cortex-A53, A57, A72).
    Neon,
    /// Armv8.2 with the dot product (Cortex-A76, A78AE).
    NeonDotprod,
}

/// A camera: a device, or a program that writes frames.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// A device such as `/dev/video0`.
    pub source: Option<String>,
    /// A program and its arguments, instead of a source; it writes frames to its standard
    /// output.
    #[serde(default)]
    pub command: Vec<String>,
    /// What the program writes.
    #[serde(default)]
    pub format: Format,
    /// Columns of the frames, where they are not JPEGs.
    #[serde(default = "usual_width")]
    pub width: u32,
    /// Rows of the frames, where they are not JPEGs.
    #[serde(default = "usual_height")]
    pub height: u32,
    /// Bytes from one row to the next; the width when left out.
    pub stride: Option<u32>,
    /// Least seconds between two looks at the faces: what the board keeps up with.
    #[serde(default = "usual_cadence")]
    pub every: f64,
}

fn usual_width() -> u32 {
    640
}

fn usual_height() -> u32 {
    480
}

fn usual_cadence() -> f64 {
    0.5
}

/// What a camera's program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// JPEGs, one after the other.
    #[default]
    Mjpeg,
    /// Planes of luma, Cb and Cr.
    I420,
}

/// Where a lamp and a button are wired.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpio {
    /// The controller's label.
    pub chip: String,
    /// The lamp.
    pub indicator: Option<Wire>,
    /// The button.
    pub button: Option<Wire>,
}

/// A line of the profile's controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Offset of the line within the controller.
    pub line: u32,
    /// The lamp is on, or the button pressed, when the line is low.
    #[serde(default)]
    pub active_low: bool,
    /// The controller's own resistor.
    #[serde(default)]
    pub bias: Bias,
}

/// A line of a GPIO controller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The controller's label, as `gpiodetect` shows it; its number changes from boot to boot.
    pub chip: String,
    /// Offset of the line within the controller.
    pub line: u32,
    /// The lamp is on, or the button pressed, when the line is low.
    #[serde(default)]
    pub active_low: bool,
    /// The controller's own resistor.
    #[serde(default)]
    pub bias: Bias,
}

/// What holds a line that nobody drives. Controllers without such resistors pass it over;
/// kernels before 5.5 refuse anything but `as-is`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// Whatever the firmware has set.
    #[default]
    AsIs,
    /// A resistor to the supply: for a button between the line and ground.
    PullUp,
    /// A resistor to ground: for a button between the line and the supply.
    PullDown,
    /// No resistor.
    Disabled,
}

impl Gpio {
    fn line(&self, wire: Option<Wire>) -> Option<Line> {
        wire.map(|wire| Line {
            chip: self.chip.clone(),
            line: wire.line,
            active_low: wire.active_low,
            bias: wire.bias,
        })
    }
}

impl Profile {
    /// Parses and checks a profile; the error names the field and says what is expected.
    pub fn parse(text: &str) -> Result<Profile, String> {
        let profile: Profile = toml::from_str(text).map_err(|e| e.message().to_string())?;
        profile.check()?;
        Ok(profile)
    }

    /// The line of the lamp, where the board has one.
    pub fn indicator(&self) -> Option<Line> {
        self.gpio.as_ref().and_then(|g| g.line(g.indicator))
    }

    /// The line of the button, where the board has one.
    pub fn button(&self) -> Option<Line> {
        self.gpio.as_ref().and_then(|g| g.line(g.button))
    }

    fn check(&self) -> Result<(), String> {
        let texts = [
            ("name", Some(&self.name)),
            ("summary", Some(&self.summary)),
            ("audio_device", Some(&self.audio_device)),
            ("thermal_zone", self.thermal_zone.as_ref()),
            ("gpio.chip", self.gpio.as_ref().map(|g| &g.chip)),
        ];
        for (field, text) in texts {
            if text.is_some_and(|t| t.trim().is_empty()) {
                return Err(format!(
                    "field `{field}` is empty; fill it in or leave it out"
                ));
            }
        }
        // "vendor,model", as the kernel's bindings have it
        if let Some(wrong) = self.compatible.iter().find(|c| !c.contains(',')) {
            return Err(format!(
                "field `compatible` holds `{wrong}`, which is not of the form \"vendor,model\""
            ));
        }
        if !(16..=65_536).contains(&self.memory_mib) {
            return Err("field `memory_mib` must lie in 16..=65536".into());
        }
        self.camera.as_ref().map_or(Ok(()), Camera::check)?;
        self.gpio.as_ref().map_or(Ok(()), Gpio::check)
    }
}

impl Camera {
    fn check(&self) -> Result<(), String> {
        if self.source.is_some() != self.command.is_empty() {
            return Err("section `camera` needs either `source` or `command`".into());
        }
        if self.source.as_deref() == Some("board") {
            return Err("field `camera.source` is the profile's own name; name a device".into());
        }
        if self.command.iter().any(String::is_empty) {
            return Err("field `camera.command` holds an empty word".into());
        }
        if self.format == Format::I420 && self.command.is_empty() {
            return Err("field `camera.format` says what a `command` writes; leave it out".into());
        }
        if !(16..=8192).contains(&self.width) || !(16..=8192).contains(&self.height) {
            return Err("fields `camera.width` and `camera.height` must lie in 16..=8192".into());
        }
        if self.stride.is_some_and(|stride| stride < self.width) {
            return Err("field `camera.stride` must not be less than `camera.width`".into());
        }
        if !(0.0..=3600.0).contains(&self.every) {
            return Err("field `camera.every` must lie in 0..=3600 seconds".into());
        }
        Ok(())
    }
}

impl Gpio {
    fn check(&self) -> Result<(), String> {
        let (indicator, button) = (self.indicator, self.button);
        if indicator.is_none() && button.is_none() {
            return Err("section `gpio` needs an `indicator` or a `button`".into());
        }
        if indicator.map(|w| w.line) == button.map(|w| w.line) {
            return Err("fields `gpio.indicator` and `gpio.button` name the same line".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = \"b\"\nsummary = \"s\"\ncpu = \"neon\"\n\
        audio_device = \"default\"\nmemory_mib = 150\n";

    fn refused(added: &str) -> String {
        let text = format!("{LEAST}{added}");
        Profile::parse(&text).err().unwrap_or_default()
    }

    #[test]
    fn little_is_needed() {
        let profile = Profile::parse(LEAST).expect("a profile");
        assert_eq!((profile.indicator(), profile.button()), (None, None));
        assert!(profile.compatible.is_empty() && profile.camera.is_none());
        assert_eq!(profile.audio_channel, Channel::Best);
    }

    #[test]
    fn lines_share_the_chip() {
        let gpio = "[gpio]\nchip = \"c\"\nindicator = { line = 17 }\n\
            button = { line = 27, active_low = true, bias = \"pull-up\" }\n";
        let profile = Profile::parse(&format!("{LEAST}{gpio}")).expect("a profile");
        let line = |line, active_low, bias| {
            let chip = "c".to_owned();
            Some(Line {
                chip,
                line,
                active_low,
                bias,
            })
        };
        assert_eq!(profile.indicator(), line(17, false, Bias::AsIs));
        assert_eq!(profile.button(), line(27, true, Bias::PullUp));
    }

    #[test]
    fn refusals_name_the_field() {
        for (added, field) in [
            ("thermal_zone = \" \"", "`thermal_zone`"),
            ("compatible = [\"rpi\"]", "`compatible`"),
            ("led = 1", "`led`"),
            ("audio_channel = \"left\"", "`left` is no channel"),
            ("audio_channel = -1", "a channel is"),
            ("[gpio]\nchip = \"c\"", "`gpio`"),
            ("[gpio]\nchip = \"\"\nbutton = { line = 1 }", "`gpio.chip`"),
            (
                "[gpio]\nchip = \"c\"\nindicator = { line = 1 }\nbutton = { line = 1 }",
                "`gpio.button`",
            ),
            (
                "[gpio]\nchip = \"c\"\nbutton = { line = 1, bias = \"up\" }",
                "`up`",
            ),
            ("[camera]\nevery = 1.0", "`camera`"),
            ("[camera]\nsource = \"x\"\ncommand = [\"y\"]", "`camera`"),
            ("[camera]\ncommand = [\"y\", \"\"]", "`camera.command`"),
            (
                "[camera]\nsource = \"x\"\nformat = \"i420\"",
                "`camera.format`",
            ),
            ("[camera]\nsource = \"board\"", "`camera.source`"),
            ("[camera]\nsource = \"x\"\nwidth = 1", "`camera.width`"),
            (
                "[camera]\ncommand = [\"y\"]\nstride = 639",
                "`camera.stride`",
            ),
            ("[camera]\nsource = \"x\"\nevery = -1.0", "`camera.every`"),
        ] {
            let error = refused(added);
            assert!(error.contains(field), "{added}: {error}");
        }
        let small = LEAST.replace("150", "15");
        assert!(Profile::parse(&small).is_err_and(|e| e.contains("`memory_mib`")));
    }
}

//! The live microphone. With the feature `mic` the real cpal and ALSA path is driven without
//! a sound card: ALSA's `file` plug-in plays a recording into a device of our own making.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

#[cfg(not(feature = "mic"))]
#[test]
fn without_the_feature_one_sentence_says_what_to_do() {
    let error = demeanor::capture::mic::Mic::open(None, demeanor::capture::Channel::Best)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    for part in ["--features mic", "libasound2-dev", "arecord", "--audio -"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(demeanor::capture::mic::devices().is_err());
}

#[cfg(all(feature = "mic", target_os = "linux"))]
mod live {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use demeanor::capture::mic::{Mic, MicState, devices};
    use demeanor::capture::{AudioChunk, AudioSource, CaptureError, Channel, Source};

    /// The recording's tone: 1 kHz at half scale, left channel only.
    const TONE: f32 = 1000.0;

    /// Runs one of the ignored tests below in a child whose ALSA knows only our devices:
    /// the configuration is read once per process, from the environment.
    fn with_alsa(test: &str) {
        let folder = Folder::new(test);
        let tape = folder.0.join("tape.raw");
        std::fs::write(&tape, tape_bytes()).unwrap();
        let config = folder.0.join("asound.conf");
        std::fs::write(&config, alsa_config(&tape)).unwrap();
        let output = crate::support::start(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("mic::live::{test}"),
                "--ignored",
                "--nocapture",
            ])
            .env("ALSA_CONFIG_PATH", &config)
            .output()
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        let _ = write!(text, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("demeanor-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Ten minutes of stereo, for the plug-in is not paced: it is read as fast as it goes.
    fn tape_bytes() -> Vec<u8> {
        let second: Vec<u8> = (0..48_000)
            .flat_map(|i| {
                let t = i as f32 / 48_000.0;
                let left = (16_384.0 * (std::f32::consts::TAU * TONE * t).sin()) as i16;
                [left.to_le_bytes(), [0, 0]]
            })
            .flatten()
            .collect();
        second.repeat(600)
    }

    fn alsa_config(tape: &Path) -> String {
        format!(
            "pcm.tape {{ type file slave.pcm {{ type null }} file \"/dev/null\" infile \"{}\" \
             format \"raw\" }}\n\
             pcm.!default {{ type plug slave {{ pcm \"tape\" rate 48000 format S16_LE channels 2 }} \
             hint {{ show on description \"a tape\" }} }}\n\
             pcm.studio {{ type plug slave {{ pcm \"tape\" rate 48000 format S16_LE channels 2 }} \
             hint {{ show on description \"a tape in the studio\" }} }}\n",
            tape.display()
        )
    }

    fn listen(mic: &mut Mic, seconds: f64) -> Vec<AudioChunk> {
        let (mut chunks, mut heard) = (Vec::<AudioChunk>::new(), 0);
        let begun = Instant::now();
        while (heard as f64) < seconds * 16_000.0 {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{:?}",
                mic.state()
            );
            match mic.poll() {
                Ok(Some(chunk)) => {
                    heard += chunk.samples.len();
                    chunks.push(chunk);
                }
                Ok(None) => panic!("the microphone ended"),
                Err(nb::Error::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
                Err(nb::Error::Other(error)) => panic!("{error}"),
            }
        }
        chunks
    }

    /// Every chunk begins where the one before ended, gaps included.
    fn assert_continuous(chunks: &[AudioChunk]) {
        for pair in chunks.windows(2) {
            let length = Duration::from_secs_f64(pair[0].samples.len() as f64 / 16_000.0);
            let due = pair[0].start + length + pair[1].gap.unwrap_or_default();
            let error = due.abs_diff(pair[1].start);
            assert!(
                error < Duration::from_micros(200),
                "{error:?} off at {:?}",
                pair[1].start
            );
        }
    }

    /// Power at the tone's frequency over all power.
    fn purity(samples: &[f32]) -> f64 {
        let (mut re, mut im, mut all) = (0.0f64, 0.0f64, 0.0f64);
        for (i, x) in samples.iter().enumerate() {
            let angle = std::f64::consts::TAU * f64::from(TONE) * i as f64 / 16_000.0;
            re += f64::from(*x) * angle.cos();
            im += f64::from(*x) * angle.sin();
            all += f64::from(*x) * f64::from(*x);
        }
        2.0 * (re * re + im * im) / samples.len() as f64 / all
    }

    #[test]
    fn the_default_device_is_heard() {
        with_alsa("child_hears_the_default_device");
    }

    #[test]
    #[ignore = "run by the test without `child_`, with its own ALSA configuration"]
    fn child_hears_the_default_device() {
        let mut mic = Mic::open(None, Channel::Best).unwrap();
        assert_eq!(*mic.state(), MicState::Listening);
        let chunks = listen(&mut mic, 1.0);
        assert_continuous(&chunks);
        let report = mic.report();
        println!("{report:?} {:?}", mic.counters());
        assert_eq!((report.rate, report.channels), (48_000, 2));
        // Half scale: the silent right channel has not halved it.
        assert!((report.peak - 0.5).abs() < 0.01, "peak {}", report.peak);
        // The plug-in jumps at the ends of its buffer, so whole windows are asked for: most
        // of those of 10 ms lie between two jumps.
        let mut tone: Vec<f64> = chunks
            .iter()
            .flat_map(|chunk| chunk.samples.as_chunks::<160>().0)
            .map(|window| purity(window))
            .collect();
        tone.sort_by(f64::total_cmp);
        let median = tone[tone.len() / 2];
        assert!(median > 0.99, "purity {median} in {} windows", tone.len());
    }

    #[test]
    fn muting_closes_the_device_and_shows_as_a_gap() {
        with_alsa("child_mutes");
    }

    #[test]
    #[ignore = "run by the test without `child_`, with its own ALSA configuration"]
    fn child_mutes() {
        let mut mic = Mic::open(Some("studio"), Channel::Best).unwrap();
        let opened = Instant::now();
        listen(&mut mic, 0.2);
        mic.pause();
        assert_eq!(*mic.state(), MicState::Paused);
        let muted = Duration::from_millis(300);
        let begun = Instant::now();
        while begun.elapsed() < muted {
            assert!(
                matches!(mic.poll(), Err(nb::Error::WouldBlock)),
                "a muted microphone is silent"
            );
        }
        mic.resume();
        let chunks = listen(&mut mic, 0.2);
        assert_eq!(*mic.state(), MicState::Listening);
        // The unpaced device delivers the first chunk in no time; a real one would take its
        // length, which is therefore no part of the gap.
        let sounded = Duration::from_secs_f64(chunks[0].samples.len() as f64 / 16_000.0);
        let silent = chunks[0].gap.unwrap_or_default() + sounded;
        let most = opened.elapsed() + sounded;
        assert!(silent >= muted && silent <= most, "{silent:?} of {most:?}");
        assert_eq!(mic.counters().reopened, 1);
    }

    #[test]
    fn a_poll_that_comes_late_loses_sound_and_says_so() {
        with_alsa("child_polls_late");
    }

    #[test]
    #[ignore = "run by the test without `child_`, with its own ALSA configuration"]
    fn child_polls_late() {
        let mut mic = Mic::open(Some("studio"), Channel::Best).unwrap();
        listen(&mut mic, 0.1);
        std::thread::sleep(Duration::from_millis(700));
        let chunks = listen(&mut mic, 4.0);
        assert_continuous(&chunks);
        let lost: Duration = chunks.iter().filter_map(|chunk| chunk.gap).sum();
        println!("lost {lost:?}, {:?}", mic.counters());
        assert!(
            mic.counters().dropped_frames > 0,
            "the ring of two seconds did not overflow"
        );
        assert!(lost > Duration::ZERO);
        assert!(
            mic.report()
                .warnings
                .iter()
                .any(|warning| warning.contains("dropped"))
        );
    }

    #[test]
    fn devices_are_listed_and_found_by_name() {
        with_alsa("child_lists_devices");
    }

    #[test]
    #[ignore = "run by the test without `child_`, with its own ALSA configuration"]
    fn child_lists_devices() {
        let all = devices().unwrap();
        println!("{all:?}");
        assert_eq!(all[0].id, "default");
        assert!(all.iter().any(|device| device.id == "studio"));
        assert!(
            Mic::open(Some("in the STUDIO"), Channel::Best).is_ok(),
            "by words of its description"
        );
        let error = Mic::open(Some("plughw:7,0"), Channel::Best)
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, CaptureError::Device { .. }));
        let error = error.to_string();
        assert!(
            error.contains("plughw:7,0") && error.contains("studio"),
            "{error}"
        );
    }

    /// The sample over and over, as a tape has it.
    fn talk() -> Vec<u8> {
        let once =
            crate::support::stereo(&crate::support::at_rate(&crate::support::sample(), 48_000));
        let once = once.iter().map(|x| (x * 32767.0) as i16);
        let once: Vec<u8> = once.flat_map(i16::to_le_bytes).collect();
        once.repeat(60)
    }

    #[test]
    fn a_slow_recogniser_answers_in_order_and_what_it_skips_is_told() {
        // minutes of emulation, and nothing in it depends on the processor
        if crate::support::is_emulated() {
            return;
        }
        use std::io::{BufRead, BufReader};
        let folder = crate::support::Folder::new();
        let tape = folder.path("tape.raw");
        std::fs::write(&tape, talk()).unwrap();
        let alsa = folder.file("asound.conf", alsa_config(&tape));
        let recogniser = crate::support::slow::slow(&folder);
        let config = format!(
            "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
             [text]\nwait = 0.0\nrecogniser = {recogniser:?}\n"
        );
        let config = folder.file("run.toml", config);
        let options = ["--audio", "studio", "--tasks", "emotion", "--all", "--json"];
        let args = [&["run", "--config", &config][..], &options].concat();
        let mut child = crate::support::command(&args)
            .env("ALSA_CONFIG_PATH", &alsa)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, events) = std::sync::mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(crate::support::event(&line));
            }
        });
        let (mut starts, mut skipped) = (Vec::new(), false);
        // one is heard while four wait, and the tape brings hundreds in that time
        while starts.len() < 5 || !skipped {
            let event = events.recv_timeout(Duration::from_secs(300));
            let event = event.unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("answers {starts:?}, and skipping is told: {skipped}");
            });
            let detail = event["detail"].as_str().unwrap_or_default();
            if event["task"] == "emotion" {
                let spent = event["latency_ms"]["recognise"].as_f64();
                assert!(spent > Some(0.0), "{event}");
                starts.push(event["start"].as_f64().unwrap());
            }
            skipped |= event["state"] == "skipped" && detail.contains("answers take longer");
        }
        assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! The microphone through cpal: the only file that names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, ErrorKind, FromSample, InputCallbackInfo, Sample, SampleFormat, SizedSample,
    StreamConfig, StreamInstant, SupportedStreamConfig,
};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{DeviceInfo, FIRST_RETRY, LAST_RETRY, MicCounters, MicState, Presence, STALL};
use crate::capture::convert::{Clock, Converter, Unfit, silence_not_finite, time_of};
use crate::capture::{AudioChunk, AudioReport, AudioSource, CaptureError, Hearing, Source, limits};
use crate::signal::{duration_of, samples_in};

/// Frames per callback to ask for: the default buffer of some boards overruns.
const PERIOD: u32 = 1024;
/// Sound that fits into the ring while nobody polls.
const RING: Duration = Duration::from_secs(2);
/// Least sound in a chunk, or every poll would carry a handful of samples.
const LEAST_CHUNK: Duration = Duration::from_millis(10);
/// Most sound in a chunk.
const MOST_CHUNK: Duration = Duration::from_millis(100);
/// Marks and errors that may wait between two polls.
const NOTES: usize = 64;
/// Failures of an unclear kind in a row before the device is given up.
const MOST_FAILURES: u32 = 5;
/// Integer devices reach full scale at one step below 1; 16 bits are the coarsest in use.
const FULL_SCALE: f32 = 32_767.0 / 32_768.0;

/// Sound was lost before the frame `at`, counted from the stream's opening.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: u64,
    /// Frames lost; 0 when unknown.
    lost: u64,
}

/// Numbers that the audio thread counts.
#[derive(Debug, Default)]
struct Shared {
    xruns: AtomicU64,
    dropped: AtomicU64,
}

/// The audio thread's side: no allocation, no lock, no waiting.
struct Inlet {
    samples: Producer<f32>,
    marks: Producer<Mark>,
    shared: Arc<Shared>,
    channels: usize,
    rate: u32,
    pushed: u64,
    /// Frames lost and not yet marked.
    lost: Option<u64>,
    xruns_seen: u64,
    /// When the next callback's first frame should have been captured.
    expected: Option<StreamInstant>,
}

impl Inlet {
    fn take<T>(&mut self, data: &[T], info: &InputCallbackInfo)
    where
        T: Sample,
        f32: FromSample<T>,
    {
        let frames = (data.len() / self.channels) as u64;
        self.note_xruns(info.timestamp().capture, frames);
        let marked = match self.lost {
            None => true,
            Some(_) if self.samples.slots() < data.len() => false,
            Some(lost) => self
                .marks
                .push(Mark {
                    at: self.pushed,
                    lost,
                })
                .is_ok(),
        };
        let Some(chunk) = marked
            .then(|| self.samples.write_chunk_uninit(data.len()).ok())
            .flatten()
        else {
            self.lost = Some(self.lost.unwrap_or(0) + frames);
            self.shared.dropped.fetch_add(frames, Ordering::Relaxed);
            return;
        };
        self.lost = None;
        chunk.fill_from_iter(data.iter().map(|sample| sample.to_sample::<f32>()));
        self.pushed += frames;
    }

    /// After an overrun the capture times tell how much was lost.
    fn note_xruns(&mut self, captured: StreamInstant, frames: u64) {
        let xruns = self.shared.xruns.load(Ordering::Relaxed);
        if xruns != self.xruns_seen {
            self.xruns_seen = xruns;
            let late = self
                .expected
                .map_or(Duration::ZERO, |expected| captured - expected);
            let lost = (late.as_secs_f64() * f64::from(self.rate)) as u64;
            self.lost = Some(self.lost.unwrap_or(0) + lost);
        }
        self.expected = captured.checked_add(time_of(frames, self.rate));
    }
}

/// An open device and our side of its rings.
struct Link {
    /// Kept for its drop, which closes the device.
    _stream: cpal::Stream,
    samples: Consumer<f32>,
    marks: Consumer<Mark>,
    errors: Consumer<cpal::Error>,
    shared: Arc<Shared>,
    converter: Converter,
    rate: u32,
    channels: usize,
    taken: u64,
    mark: Option<Mark>,
    heard: Instant,
}

/// A live microphone.
pub struct Mic {
    device: Option<String>,
    hearing: Hearing,
    link: Option<Link>,
    state: MicState,
    backoff: Duration,
    retry_at: Instant,
    failures: u32,
    clock: Clock,
    /// When sound was last heard before the present silence; its length becomes a gap.
    lost_since: Option<Instant>,
    gap: Option<Duration>,
    scratch: Vec<f32>,
    closed: MicCounters,
    report: AudioReport,
}

impl Mic {
    /// Opens the device with this id (`plughw:1,0`), or whose id or name contains these
    /// words, or the default one. `hearing` says what of its channels is heard; a channel alone
    /// will do. A device that is busy is waited for.
    ///
    /// # Errors
    /// [`CaptureError::Device`] when there is no such device, or it may not or cannot be
    /// read, or has no such channel.
    pub fn open(device: Option<&str>, hearing: impl Into<Hearing>) -> Result<Self, CaptureError> {
        let hearing = hearing.into();
        let mut mic = Self {
            device: device.map(str::to_owned),
            hearing,
            link: None,
            state: MicState::Paused,
            backoff: FIRST_RETRY,
            retry_at: Instant::now(),
            failures: 0,
            clock: Clock::default(),
            lost_since: None,
            gap: None,
            scratch: Vec::new(),
            closed: MicCounters::default(),
            report: AudioReport::default(),
        };
        match connect(mic.device.as_deref(), hearing) {
            Ok(link) => mic.listen(link),
            Err(error) if error.kind() == ErrorKind::DeviceBusy => mic.lose(&error.to_string()),
            Err(error) => return Err(mic.failure(&error)),
        }
        Ok(mic)
    }

    /// What it is doing; changes with polling.
    #[must_use]
    pub fn state(&self) -> &MicState {
        &self.state
    }

    /// What it has lost so far.
    #[must_use]
    pub fn counters(&self) -> MicCounters {
        let mut counters = self.closed;
        if let Some(link) = &self.link {
            counters.xruns += link.shared.xruns.load(Ordering::Relaxed);
            counters.dropped_frames += link.shared.dropped.load(Ordering::Relaxed);
        }
        counters
    }

    /// What is wrong with its sound, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.report.warnings
    }

    /// Mutes: closes the device, so that nothing at all is read from it.
    pub fn pause(&mut self) {
        if self.state != MicState::Failed {
            self.close();
            self.state = MicState::Paused;
        }
    }

    /// Ends [`pause`](Self::pause): the next poll opens the device again.
    pub fn resume(&mut self) {
        if self.state == MicState::Paused {
            self.backoff = FIRST_RETRY;
            self.retry_at = Instant::now();
            self.state = MicState::Waiting {
                reason: "opening".to_owned(),
                retry_in: Duration::ZERO,
            };
        }
    }

    fn listen(&mut self, link: Link) {
        self.report.rate = link.rate;
        self.report.channels = link.channels as u16;
        self.state = MicState::Listening;
        self.link = Some(link);
    }

    /// Closes the device and keeps its accounts.
    fn close(&mut self) {
        self.closed = self.counters();
        if let Some(link) = self.link.take() {
            self.report.peak = self.report.peak.max(link.converter.peak());
            self.report.clipped_fraction = link.converter.clipped_fraction();
            self.lost_since.get_or_insert(link.heard);
        }
    }

    fn lose(&mut self, reason: &str) {
        self.close();
        self.retry_at = Instant::now() + self.backoff;
        self.state = MicState::Waiting {
            reason: reason.to_owned(),
            retry_in: self.backoff,
        };
        self.backoff = (self.backoff * 2).min(LAST_RETRY);
    }

    fn reopen(&mut self) -> Result<(), CaptureError> {
        match connect(self.device.as_deref(), self.hearing) {
            Ok(link) => {
                self.closed.reopened += 1;
                self.listen(link);
                Ok(())
            }
            Err(error) => self.survive(&error),
        }
    }

    /// Waits for what may come back; gives up what will not.
    fn survive(&mut self, error: &cpal::Error) -> Result<(), CaptureError> {
        let comes_back = matches!(
            error.kind(),
            ErrorKind::DeviceBusy
                | ErrorKind::DeviceNotAvailable
                | ErrorKind::StreamInvalidated
                | ErrorKind::HostUnavailable
        );
        self.failures += u32::from(!comes_back);
        if self.failures >= MOST_FAILURES {
            self.close();
            self.state = MicState::Failed;
            return Err(self.failure(error));
        }
        self.lose(&error.to_string());
        Ok(())
    }

    fn failure(&self, error: &cpal::Error) -> CaptureError {
        failure(self.device.as_deref(), error)
    }

    fn next_chunk(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        match self.state {
            MicState::Failed => return Ok(None),
            MicState::Paused => return Err(nb::Error::WouldBlock),
            _ => {}
        }
        if self.link.is_none() {
            if Instant::now() < self.retry_at {
                return Err(nb::Error::WouldBlock);
            }
            self.reopen()?;
        }
        let mut samples = Vec::new();
        let (ended, stalled) = match &mut self.link {
            Some(link) => {
                // What was recorded before a failure is still delivered first.
                let heard = link.take(&mut self.scratch, &mut samples, &mut self.closed.not_finite);
                self.gap = add(self.gap, heard);
                (link.errors.pop().ok(), link.heard.elapsed() > STALL)
            }
            None => return Err(nb::Error::WouldBlock),
        };
        if !samples.is_empty() {
            let link = self.link.as_mut();
            let warning = link.and_then(|link| link.converter.warning("microphone"));
            self.report.warnings.extend(warning);
            return Ok(Some(self.chunk(samples)));
        }
        if let Some(error) = ended {
            self.survive(&error)?;
        } else if stalled {
            self.lose("it delivers no sound");
        }
        Err(nb::Error::WouldBlock)
    }

    fn chunk(&mut self, samples: Vec<f32>) -> AudioChunk {
        if let Some(since) = self.lost_since.take() {
            let sounded = duration_of(samples.len() as u64);
            self.gap = add(self.gap, Some(since.elapsed().saturating_sub(sounded)));
        }
        self.backoff = FIRST_RETRY;
        self.failures = 0;
        let gap = self.gap.take();
        let link = self.link.as_mut();
        let own = link.is_some_and(|link| link.converter.own_voice());
        self.clock.advance(samples_in(gap.unwrap_or_default()));
        AudioChunk {
            start: self.clock.advance(samples.len()),
            samples,
            gap,
            own,
        }
    }
}

fn add(gap: Option<Duration>, more: Option<Duration>) -> Option<Duration> {
    more.map_or(gap, |more| Some(gap.unwrap_or_default() + more))
}

impl Link {
    /// Takes what has been recorded up to the next mark, as 16 kHz mono; returns the gap
    /// that lies before it.
    fn take(
        &mut self,
        scratch: &mut Vec<f32>,
        out: &mut Vec<f32>,
        not_finite: &mut u64,
    ) -> Option<Duration> {
        let frames_of = |time: Duration| (time.as_secs_f64() * f64::from(self.rate)) as usize;
        let (least, most) = (frames_of(LEAST_CHUNK), frames_of(MOST_CHUNK));
        let mut gap = None;
        self.mark = self.mark.or_else(|| self.marks.pop().ok());
        if let Some(mark) = self.mark.filter(|mark| mark.at == self.taken) {
            gap = Some(time_of(mark.lost, self.rate));
            self.mark = self.marks.pop().ok();
        }
        let ready = self.samples.slots() / self.channels;
        // Read only after `ready`: a mark is pushed before the frames that it precedes.
        self.mark = self.mark.or_else(|| self.marks.pop().ok());
        let before_mark = self.mark.map(|mark| (mark.at - self.taken) as usize);
        let wanted = ready.min(most).min(before_mark.unwrap_or(usize::MAX));
        let ends = before_mark == Some(wanted);
        if wanted == 0 || wanted < least && !ends {
            return gap;
        }
        self.read(wanted, scratch);
        *not_finite += silence_not_finite(scratch);
        self.converter.push(scratch, out);
        if ends {
            // What follows is no neighbour of what was: the filter must not mix them.
            self.converter.flush(out);
        }
        gap
    }

    fn read(&mut self, frames: usize, scratch: &mut Vec<f32>) {
        scratch.clear();
        if let Ok(chunk) = self.samples.read_chunk(frames * self.channels) {
            let (first, second) = chunk.as_slices();
            scratch.extend_from_slice(first);
            scratch.extend_from_slice(second);
            chunk.commit_all();
            self.taken += frames as u64;
            self.heard = Instant::now();
        }
    }
}

impl Source for Mic {
    type Item = AudioChunk;

    fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        self.next_chunk()
    }
}

impl AudioSource for Mic {
    fn report(&self) -> AudioReport {
        let mut report = self.report.clone();
        report.duration = self.clock.now();
        if let Some(link) = &self.link {
            report.peak = report.peak.max(link.converter.peak());
            report.clipped_fraction = link.converter.clipped_fraction();
        }
        let lost = self.counters();
        report.not_finite = lost.not_finite;
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                report.warnings.push(format!("microphone: {count} {what}"));
            }
        };
        warn(lost.xruns, "overruns of the device; sound was lost");
        warn(
            lost.dropped_frames,
            "frames were dropped because they were not fetched in time",
        );
        warn(
            lost.not_finite,
            "samples were not finite and were taken as silence",
        );
        report
    }
}

fn connect(wanted: Option<&str>, hearing: Hearing) -> Result<Link, cpal::Error> {
    let device = find(wanted)?;
    let supported = device.default_input_config()?;
    let fixed = BufferSize::Fixed(PERIOD);
    match build(&device, &supported, fixed, hearing) {
        // A device may insist on a period of its own.
        Err(error) if error.kind() == ErrorKind::UnsupportedConfig => {
            build(&device, &supported, BufferSize::Default, hearing)
        }
        other => other,
    }
}

fn find(wanted: Option<&str>) -> Result<cpal::Device, cpal::Error> {
    let host = cpal::default_host();
    let missing = |what: String| cpal::Error::with_message(ErrorKind::DeviceNotAvailable, what);
    let Some(wanted) = wanted else {
        let device = host.default_input_device();
        return device.ok_or_else(|| missing("this machine has no input device".to_owned()));
    };
    let id = cpal::DeviceId::new(host.id(), wanted);
    if let Some(device) = host.device_by_id(&id) {
        return Ok(device);
    }
    let words = wanted.to_lowercase();
    let mut known = Vec::new();
    for device in host.input_devices()? {
        let info = describe(&device);
        if info.id.to_lowercase().contains(&words) || info.name.to_lowercase().contains(&words) {
            return Ok(device);
        }
        known.push(info.id);
    }
    Err(missing(format!(
        "no input device has this in its id or name (there are: {})",
        known.join(", ")
    )))
}

fn describe(device: &cpal::Device) -> DeviceInfo {
    let id = device.id().map(|id| id.id().to_owned()).unwrap_or_default();
    let name = device
        .description()
        .map(|d| d.name().to_owned())
        .unwrap_or_else(|_| id.clone());
    DeviceInfo { id, name }
}

/// The input devices of this machine, the default one first.
///
/// # Errors
/// [`CaptureError::Device`] when the sound system does not answer.
pub fn devices() -> Result<Vec<DeviceInfo>, CaptureError> {
    let host = cpal::default_host();
    let found = host.input_devices().map_err(|error| CaptureError::Device {
        name: "(any)".to_owned(),
        what: error.to_string(),
        advice: "check that ALSA is installed and the user is in the group `audio`",
    })?;
    let mut all: Vec<_> = host.default_input_device().iter().map(describe).collect();
    for info in found.map(|device| describe(&device)) {
        if all.iter().all(|known| known.id != info.id) {
            all.push(info);
        }
    }
    Ok(all)
}

/// Looks for the device that [`Mic::open`] would open and asks it for its form; nothing is
/// recorded.
///
/// # Errors
/// As [`Mic::open`].
pub fn probe(device: Option<&str>) -> Result<Presence, CaptureError> {
    let found = find(device).map_err(|e| failure(device, &e))?;
    let busy = match found.default_input_config() {
        Ok(_) => false,
        Err(e) if e.kind() == ErrorKind::DeviceBusy => true,
        Err(e) => return Err(failure(device, &e)),
    };
    let device = describe(&found);
    Ok(Presence { device, busy })
}

fn failure(device: Option<&str>, error: &cpal::Error) -> CaptureError {
    let advice = match error.kind() {
        ErrorKind::DeviceNotAvailable => "plug it in, or choose another of `demeanor devices`",
        ErrorKind::PermissionDenied => "add the user to the group `audio`",
        ErrorKind::UnsupportedConfig => "use its `plughw:` form, which converts",
        ErrorKind::InvalidInput => "check `channel` in the config's [audio]",
        _ => "check it with `arecord -d 2 test.wav`",
    };
    CaptureError::Device {
        name: device.unwrap_or("(default)").to_owned(),
        what: error.to_string(),
        advice,
    }
}

fn build(
    device: &cpal::Device,
    supported: &SupportedStreamConfig,
    buffer_size: BufferSize,
    hearing: Hearing,
) -> Result<Link, cpal::Error> {
    let config = StreamConfig {
        buffer_size,
        ..supported.config()
    };
    match supported.sample_format() {
        SampleFormat::I8 => start::<i8>(device, config, hearing),
        SampleFormat::I16 => start::<i16>(device, config, hearing),
        SampleFormat::I24 => start::<cpal::I24>(device, config, hearing),
        SampleFormat::I32 => start::<i32>(device, config, hearing),
        SampleFormat::I64 => start::<i64>(device, config, hearing),
        SampleFormat::U8 => start::<u8>(device, config, hearing),
        SampleFormat::U16 => start::<u16>(device, config, hearing),
        SampleFormat::U24 => start::<cpal::U24>(device, config, hearing),
        SampleFormat::U32 => start::<u32>(device, config, hearing),
        SampleFormat::U64 => start::<u64>(device, config, hearing),
        SampleFormat::F32 => start::<f32>(device, config, hearing),
        SampleFormat::F64 => start::<f64>(device, config, hearing),
        other => Err(cpal::Error::with_message(
            ErrorKind::UnsupportedConfig,
            format!("it delivers samples of the kind {other}, which are not read"),
        )),
    }
}

fn start<T>(
    device: &cpal::Device,
    config: StreamConfig,
    hearing: Hearing,
) -> Result<Link, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let (rate, channels) = (config.sample_rate, config.channels);
    let refused = |what: String| cpal::Error::with_message(ErrorKind::UnsupportedConfig, what);
    let unfit = |unfit: Unfit| {
        let kind = match unfit {
            Unfit::Rate(_) => ErrorKind::UnsupportedConfig,
            Unfit::Channel { .. } | Unfit::Alone => ErrorKind::InvalidInput,
        };
        cpal::Error::with_message(kind, unfit.to_string())
    };
    if channels == 0 || channels > limits::MAX_CHANNELS {
        return Err(refused(format!("it has {channels} channels")));
    }
    let converter = Converter::new(rate, channels, FULL_SCALE, hearing).map_err(unfit)?;
    let room = (RING.as_secs_f64() * f64::from(rate)) as usize * usize::from(channels);
    let (producer, samples) = RingBuffer::new(room);
    let (mark_producer, marks) = RingBuffer::new(NOTES);
    let (mut error_producer, errors) = RingBuffer::new(NOTES);
    let shared = Arc::new(Shared::default());
    let mut inlet = Inlet {
        samples: producer,
        marks: mark_producer,
        shared: Arc::clone(&shared),
        channels: usize::from(channels),
        rate,
        pushed: 0,
        lost: None,
        xruns_seen: 0,
        expected: None,
    };
    let counted = Arc::clone(&shared);
    let stream = device.build_input_stream(
        config,
        move |data: &[T], info: &InputCallbackInfo| inlet.take(data, info),
        move |error: cpal::Error| match error.kind() {
            ErrorKind::Xrun => {
                counted.xruns.fetch_add(1, Ordering::Relaxed);
            }
            // The stream goes on as it is.
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            // A full ring holds errors enough to end the stream.
            _ => drop(error_producer.push(error)),
        },
        None,
    )?;
    stream.play()?;
    Ok(Link {
        _stream: stream,
        samples,
        marks,
        errors,
        shared,
        converter,
        rate,
        channels: usize::from(channels),
        taken: 0,
        mark: None,
        heard: Instant::now(),
    })
}

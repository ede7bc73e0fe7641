//! A blocking source behind a thread of its own, so that polling it never waits.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{
    AudioChunk, AudioReport, AudioSource, CaptureError, Hearing, Source, limits, open_reader,
};

type Sent<T> = Result<T, CaptureError>;

/// Items from a reading thread. The queue is bounded: when nobody polls, the thread waits
/// and its pipe fills, so memory does not grow.
pub(super) struct Background<T> {
    /// `None` once the source has ended.
    receiver: Option<Receiver<Sent<T>>>,
}

impl<T: Send + 'static> Background<T> {
    /// Runs `work` in a new thread; the source ends when it returns. `work` should return
    /// when sending fails, for then nobody polls any more. Up to `queue` items wait.
    pub(super) fn spawn(
        queue: usize,
        work: impl FnOnce(&SyncSender<Sent<T>>) + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::sync_channel(queue);
        thread::spawn(move || work(&sender));
        Self {
            receiver: Some(receiver),
        }
    }
}

/// Polls `source` to its end and sends what it gives, calling `after` behind each poll.
pub(super) fn forward<S: Source>(
    source: &mut S,
    sender: &SyncSender<Sent<S::Item>>,
    mut after: impl FnMut(&S),
) {
    loop {
        // The source reads a pipe: its poll waits by itself, so this does not spin.
        let polled = source.poll();
        after(source);
        let item = match polled {
            Ok(Some(item)) => Ok(item),
            Ok(None) => return,
            // It passed over something, and reads on.
            Err(nb::Error::WouldBlock) => continue,
            Err(nb::Error::Other(error)) => Err(error),
        };
        if sender.send(item).is_err() {
            return;
        }
    }
}

impl<T> Source for Background<T> {
    type Item = T;

    fn poll(&mut self) -> nb::Result<Option<T>, CaptureError> {
        let Some(receiver) = &self.receiver else {
            return Ok(None);
        };
        match receiver.try_recv() {
            Ok(Ok(item)) => Ok(Some(item)),
            Err(TryRecvError::Empty) => Err(nb::Error::WouldBlock),
            Ok(Err(error)) => {
                self.receiver = None;
                Err(nb::Error::Other(error))
            }
            Err(TryRecvError::Disconnected) => {
                self.receiver = None;
                Ok(None)
            }
        }
    }
}

/// Sound from a pipe.
pub(super) struct Piped {
    chunks: Background<AudioChunk>,
    report: Arc<Mutex<AudioReport>>,
}

impl Piped {
    /// Opens and reads in a new thread, for opening a pipe may wait as well.
    pub(super) fn spawn<F>(name: String, hearing: Hearing, open: F) -> Self
    where
        F: FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
    {
        let report = Arc::new(Mutex::new(AudioReport::default()));
        let shared = Arc::clone(&report);
        let chunks = Background::spawn(limits::QUEUE, move |sender| {
            let opened = open()
                .map_err(|source| CaptureError::Open {
                    name: name.clone(),
                    source,
                })
                .and_then(|reader| open_reader(reader, name, None, hearing));
            match opened {
                Ok(mut source) => forward(&mut source, sender, |source| {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = source.report();
                }),
                // Nobody left to hear of it is no failure.
                Err(error) => drop(sender.send(Err(error))),
            }
        });
        Self { chunks, report }
    }
}

impl Source for Piped {
    type Item = AudioChunk;

    fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        self.chunks.poll()
    }
}

impl AudioSource for Piped {
    fn report(&self) -> AudioReport {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

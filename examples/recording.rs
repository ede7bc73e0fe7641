//! What a recording expresses, utterance by utterance:
//! `cargo run --release --example recording -- tests/data/sample.wav`

use demeanor::{
    Channel, Error, Observation, SegmentConfig, Segmenter, Session, SessionOptions, open_audio,
};
use std::path::PathBuf;

fn main() -> Result<(), Error> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let file = file.unwrap_or("tests/data/sample.wav".into());
    let mut session = Session::open(SessionOptions::default())?;
    let segmenter = Segmenter::new(&SegmentConfig::default());
    let mut segmenter = segmenter.map_err(|e| Error::Usage(e.to_string()))?;
    let mut source = open_audio(&file, Channel::Best)?;
    loop {
        // a file has its next chunk at hand; a live source may say "not yet", which is waited for
        let chunk = nb::block!(source.poll())?;
        let utterances = match &chunk {
            Some(chunk) => segmenter.push(chunk),
            None => segmenter.finish().into_iter().collect(),
        };
        for utterance in &utterances {
            let observed = Observation::of_utterance("recording", utterance);
            for event in session.observe(&observed)? {
                println!("{:?} to {:?}: {}", event.start, event.end, event.label);
            }
        }
        if chunk.is_none() {
            return Ok(());
        }
    }
}

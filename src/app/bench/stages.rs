//! The stages around the models: sound to mels, words to ids, pictures to pixels.

use super::report::Measured;
use super::{Options, machine, timing};
use crate::Error;
use crate::model::bundles;
use crate::signal::mel::Mel;
use crate::text::Tokenizer;
use crate::vision::Picture;
use crate::vision::resize::{Crop, Resizer};
use std::hint::black_box;

/// Four seconds of a made-up voice, and what it says.
pub(super) fn measure(options: &Options) -> Result<Vec<Measured>, Error> {
    let span = options.span();
    let voice: Vec<f32> = (0..64_000)
        .map(|i| ((i * i) as f32 * 1e-6).sin() * (i as f32 * 0.01).sin() * 0.3)
        .collect();
    let mut mel = Mel::new();
    let mels = timing::sample(span, || {
        black_box(mel.log_mel(black_box(&voice)));
        Ok(())
    })?;
    let mut stages = vec![stage("log-mel of 4 s", mels)];
    // bundles share a vocabulary: it is measured where it lies
    for bundle in bundles(options.models.as_deref())? {
        let text = bundle.manifest.text.as_ref();
        let own = text.filter(|text| bundle.own_files().any(|f| f.name == text.vocab));
        let Some(vocab) = own.and_then(|text| bundle.bytes(&text.vocab)) else {
            continue;
        };
        let Ok(vocab) = std::str::from_utf8(vocab) else {
            continue;
        };
        let Ok(tokenizer) = Tokenizer::from_vocab(vocab) else {
            continue;
        };
        let text = "I told you twice that it would not work, and now look at what we have here! "
            .repeat(3);
        let tokens = timing::sample(span, || {
            black_box(tokenizer.encode(black_box(&text), &[], 128));
            Ok(())
        })?;
        stages.push(stage("WordPiece of 51 words", tokens));
    }
    stages.extend(resize(span)?);
    Ok(stages)
}

/// A camera's frame to what the image trunk sees.
fn resize(span: timing::Span) -> Result<Option<Measured>, Error> {
    let noise = |x: u32, y: u32| [(x * 7 + y) as u8, (x ^ y) as u8, (y * 5) as u8];
    let Some(frame) = Picture::from_fn(640, 480, noise) else {
        return Ok(None);
    };
    let (mut resizer, mut pixels) = (Resizer::new(), Vec::new());
    let times = timing::sample(span, || {
        let whole = Crop::whole(black_box(&frame));
        resizer.rgb(&frame, whole, 192, 192, &mut pixels);
        black_box(&pixels);
        Ok(())
    })?;
    Ok(Some(stage("resize 640x480 to 192x192", times)))
}

fn stage(name: &str, times: timing::Times) -> Measured {
    Measured {
        name: name.into(),
        bytes: 0,
        load: None,
        first: None,
        macs: 0,
        arena: None,
        times,
        rss: machine::resident(),
        watts: None,
    }
}

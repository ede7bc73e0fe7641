//! A dialogue as it comes in: each line on standard input is judged after those before it, and
//! only while its emotion is certain enough is anything said.
//! `printf 'We lost.\nAgain.\n' | cargo run --release --example live_lines`

use demeanor::{Error, Observation, Session, SessionOptions, Tasks};
use std::time::Instant;

fn main() -> Result<(), Error> {
    let mut session = Session::open(SessionOptions {
        tasks: Some(Tasks::parse("emotion").map_err(Error::Usage)?),
        smooth: 10.0,
        unsure_below: Some(0.5),
        ..SessionOptions::default()
    })?;
    // the first line waits no longer than the second
    session.warm_up(false)?;
    let start = Instant::now();
    for line in std::io::stdin().lines() {
        let line = line.map_err(Error::Output)?;
        let observed = Observation {
            at: Some(start.elapsed()),
            ..Observation::of_words("standard input", &line)
        };
        for event in session.observe(&observed)? {
            println!("{}", event.to_json());
        }
    }
    Ok(())
}

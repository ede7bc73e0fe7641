//! What an image and its words say together, and what its faces show:
//! `cargo run --release --example image_with_words -- photo.jpg "what a day"`

use demeanor::{Error, Observation, Session, SessionOptions, vision};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let file = args.next().unwrap_or("tests/data/pictures/face.jpg".into());
    let words = args.next().unwrap_or("what a day".into());
    let bytes = std::fs::read(&file).map_err(|source| Error::File {
        path: file.clone().into(),
        doing: "read",
        source,
    })?;
    let image = vision::decode(&bytes, &file)?;
    let mut session = Session::open(SessionOptions::default())?;
    let observed = Observation::of_image(&file, &image).with_words(&words);
    for event in session.observe(&observed)? {
        println!(
            "{}: {} ({})",
            event.task,
            event.label,
            event.modality.name()
        );
        for (label, probability) in &event.scores {
            println!("  {label} {probability:.2}");
        }
    }
    Ok(())
}

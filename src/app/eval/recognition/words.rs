//! Words as they are compared: how they are written does not count.

/// The words of a text in small letters, without marks but for the apostrophe within one.
pub(super) fn of(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('’', "'");
    let parted = text.split(|c: char| !(c.is_alphanumeric() || c == '\''));
    let bare = parted.map(|word| word.trim_matches('\''));
    bare.filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

/// The least number of words that must be put in, left out or exchanged.
pub(super) fn distance(said: &[String], heard: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (at, word) in said.iter().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (i, other) in heard.iter().enumerate() {
            let exchanged = before + usize::from(word != other);
            before = row[i + 1];
            row[i + 1] = exchanged.min(row[i] + 1).min(before + 1);
        }
    }
    row[heard.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_as_they_sound() {
        assert_eq!(
            of("“I’m OK,” she said – twice!"),
            of("i'm ok she said twice")
        );
        assert_eq!(of("well-known 'quote'"), ["well", "known", "quote"]);
        assert!(of(" … !").is_empty());
    }

    #[test]
    fn distances_agree_with_pencil_and_paper() {
        let of = |a: &str, b: &str| distance(&super::of(a), &super::of(b));
        assert_eq!(of("a b c d", "a b c d"), 0);
        assert_eq!(of("a b c d", "a x c"), 2);
        assert_eq!(of("", "a b"), 2);
        assert_eq!(of("a b", ""), 2);
        assert_eq!(of("a b c", "b c d"), 2);
    }
}

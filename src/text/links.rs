//! Links are no words: they say nothing and cut into dozens of tokens.

use std::borrow::Cow;

/// `text` with as much space instead of each link (`http://…`, `https://…`, `t.co/…`, as far as
/// the next white space). Everything else stays as it is and where it is, to the byte.
#[must_use]
pub fn without_links(text: &str) -> Cow<'_, str> {
    if !text.split_whitespace().any(|word| link(word).is_some()) {
        return Cow::Borrowed(text);
    }
    let words = text.split_inclusive(char::is_whitespace);
    let kept = words.map(|word| {
        let bare = word.trim_end();
        link(bare).map_or(Cow::Borrowed(word), |at| {
            let blank = " ".repeat(bare.len() - at);
            Cow::Owned(format!("{}{blank}{}", &word[..at], &word[bare.len()..]))
        })
    });
    Cow::Owned(kept.collect())
}

/// Where a link begins in a word.
fn link(word: &str) -> Option<usize> {
    ["http://", "https://", "t.co/"]
        .into_iter()
        .filter_map(|start| find(word, start))
        .min()
}

/// `str::find`, whatever the case of ASCII letters.
fn find(word: &str, start: &str) -> Option<usize> {
    let (word, start) = (word.as_bytes(), start.as_bytes());
    word.windows(start.len())
        .position(|w| w.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_and_all_else_stays_where_it_is() {
        for (text, wanted) in [
            ("look http://t.co/abc now", "look                 now"),
            ("HTTPS://x.y/z\nend", "             \nend"),
            ("see:http://a.b ok", "see:           ok"),
            ("t.co/ü", "       "),
            ("no link, ☺ emoji", "no link, ☺ emoji"),
            ("ätt http", "ätt http"),
            ("", ""),
        ] {
            assert_eq!(without_links(text), wanted, "{text:?}");
        }
    }
}

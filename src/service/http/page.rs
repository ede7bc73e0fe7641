//! The page: one file with its style and its script, which alone may run.

use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// The page.
pub const PAGE: &str = include_str!("page.html");

/// What it may load: itself, and what this server answers.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash(inside("style")), hash(inside("script")));
    format!(
        "default-src 'none'; connect-src 'self'; style-src 'sha256-{style}'; \
         script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// What stands between the tags of an element that is there once.
fn inside(element: &str) -> &'static str {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let after = PAGE.split_once(&open).map_or("", |(_, after)| after);
    after.split_once(&close).map_or("", |(inside, _)| inside)
}

fn hash(text: &str) -> String {
    base64(&Sha256::digest(text))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_hashes_of_what_stands_in_the_page() {
        assert_eq!(base64(b"light work."), "bGlnaHQgd29yay4=");
        assert_eq!(base64(b"light wor"), "bGlnaHQgd29y");
        assert_eq!(base64(b"light wo"), "bGlnaHQgd28=");
        // of nothing: what a browser computes for an empty element
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(hash(""), empty);
        assert!(!POLICY.contains(empty), "style or script were not found");
        for element in ["<style", "<script"] {
            assert_eq!(PAGE.matches(element).count(), 1);
        }
        // what the policy would refuse
        for refused in [" style=", " onclick=", "innerHTML", "http://", "https://"] {
            assert!(!PAGE.contains(refused), "{refused}");
        }
        assert!(PAGE.len() < 16 << 10, "{} bytes", PAGE.len());
    }
}

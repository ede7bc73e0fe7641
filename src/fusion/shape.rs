//! Shapes by letter: what an operator takes and makes, written as in its equation.

/// Sizes of the letters that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(Vec<(char, usize)>);

impl Sizes {
    /// Sizes of these letters.
    #[must_use]
    pub fn of(pairs: &[(char, usize)]) -> Sizes {
        Sizes(pairs.to_vec())
    }

    /// The size of a letter, if it is known.
    #[must_use]
    pub fn get(&self, letter: char) -> Option<usize> {
        let found = self.0.iter().find(|(l, _)| *l == letter);
        found.map(|(_, size)| *size)
    }

    /// Fixes a letter, or changes it.
    pub fn set(&mut self, letter: char, size: usize) {
        match self.0.iter_mut().find(|(l, _)| *l == letter) {
            Some(pair) => pair.1 = size,
            None => self.0.push((letter, size)),
        }
    }

    /// The value of a dimension such as `c`, `p+q` or `2*h`: a sum of products of letters and
    /// numbers. `None` if a letter is not known or the value is beyond all memory.
    #[must_use]
    pub fn value(&self, dim: &str) -> Option<usize> {
        let factor = |text: &str| match text.parse() {
            Ok(number) => Some(number),
            Err(_) => self.get(letter(text)?),
        };
        let term = |text: &str| {
            let mut factors = text.split('*').map(factor);
            factors.try_fold(1_usize, |product, f| product.checked_mul(f?))
        };
        let mut terms = dim.split('+').map(term);
        terms.try_fold(0_usize, |sum, t| sum.checked_add(t?))
    }

    /// The values of all dimensions of a shape.
    #[must_use]
    pub fn values(&self, shape: &[&str]) -> Option<Vec<usize>> {
        shape.iter().map(|dim| self.value(dim)).collect()
    }

    /// Learns the letters of `shape` from the `dims` of a tensor that has it, and checks those
    /// that are known. A sum whose letters are not known yet is passed over.
    ///
    /// # Errors
    /// The axis that does not fit, with its size by the letters and in the tensor; axis
    /// `shape.len()` stands for the number of axes.
    pub fn learn(&mut self, shape: &[&str], dims: &[usize]) -> Result<(), (usize, usize, usize)> {
        if shape.len() != dims.len() {
            return Err((shape.len(), shape.len(), dims.len()));
        }
        for (axis, (dim, found)) in shape.iter().zip(dims).enumerate() {
            match (self.value(dim), letter(dim)) {
                (Some(wanted), _) if wanted != *found => return Err((axis, wanted, *found)),
                (None, Some(letter)) => self.set(letter, *found),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The letter that a dimension is, if it is no more than one.
pub(crate) fn letter(dim: &str) -> Option<char> {
    let mut chars = dim.chars();
    let first = chars.next().filter(char::is_ascii_alphabetic)?;
    chars.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_dimensions() {
        let sizes = Sizes::of(&[('p', 3), ('q', 4), ('h', 5)]);
        for (dim, value) in [
            ("p", Some(3)),
            ("p+q", Some(7)),
            ("2*h", Some(10)),
            ("1", Some(1)),
        ] {
            assert_eq!(sizes.value(dim), value, "{dim}");
        }
        assert_eq!(sizes.value("p*q+h"), Some(17));
        assert_eq!(sizes.value("p+x"), None);
        assert_eq!(Sizes::of(&[('p', usize::MAX)]).value("2*p"), None);
    }

    #[test]
    fn letters_are_learnt_and_then_checked() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.learn(&["c", "p+q"], &[8, 7]), Ok(()));
        assert_eq!(sizes.learn(&["n", "p"], &[1, 3]), Ok(()));
        assert_eq!(sizes.learn(&["c"], &[9]), Err((0, 8, 9)));
        assert_eq!(sizes.learn(&["c"], &[8, 1]), Err((1, 1, 2)));
        sizes.set('q', 5);
        assert_eq!(sizes.learn(&["c", "p+q"], &[8, 7]), Err((1, 8, 7)));
    }
}

//! Patterns with `*` and `?`, as in `attn.*`.

/// Whether `text` as a whole matches `pattern`: `*` stands for any characters, `?` for one. On a
/// mismatch only the last `*` is tried one character further, so the time is at most the product of the lengths.
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match last_star {
                Some((star, from)) => {
                    last_star = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches_glob("a*c?e", "abbcde"));
        assert!(matches_glob("*", ""));
        assert!(matches_glob("a*", "a"));
        assert!(!matches_glob("a", "ab"));
        assert!(!matches_glob("?", ""));
        assert!(matches_glob("*.delta", "resid_pre.delta"));
        assert!(matches_glob("*a*a*a*", "xxaxxaxxaxx"));
        assert!(!matches_glob("*a*a*a*b", &"a".repeat(2000)));
    }
}

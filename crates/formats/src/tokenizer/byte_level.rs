//! GPT-2's spelling of bytes as printable characters.
//!
//! The 188 bytes that are printable in Latin-1 stand for themselves; the other 68 follow from U+0100 on in
//! their order, so that a blank is `Ġ` (U+0120).

/// The byte that a character of a vocabulary entry stands for.
fn byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        // 0..=0x20, 0x7F..=0xA0 and 0xAD, in this order.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The bytes that a vocabulary entry stands for; its own UTF-8 when it is not spelled byte by byte.
pub(super) fn bytes(token: &str) -> Vec<u8> {
    token.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn the_spelling_is_a_bijection_with_the_libraries_alphabet() {
        let alphabet = ByteLevel::alphabet();
        let mut seen: Vec<u8> = alphabet.iter().map(|&c| byte(c).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes("Ġthe"), b" the");
        assert_eq!(bytes("Ċ"), b"\n");
        assert_eq!(bytes("ÃŃ"), [0xC3, 0xAD]);
        assert_eq!(bytes("a b"), b"a b");
    }
}

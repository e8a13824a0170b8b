//! Horizontal bars with a resolution of an eighth of a column.

/// Eighths of a block, from one to seven.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar for `share` (0 to 1) of `width` columns, without trailing blanks. What is not zero is visible.
pub(crate) fn bar(share: f64, width: usize) -> String {
    if share.is_nan() || share <= 0.0 || width == 0 {
        return String::new();
    }
    let eighths = ((share.min(1.0) * (width * 8) as f64).round() as usize).max(1);
    let mut text = "█".repeat(eighths / 8);
    if let Some(rest) = (eighths % 8).checked_sub(1) {
        text.push(EIGHTHS[rest]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars() {
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(1e-9, 3), "▏");
        assert_eq!(bar(0.0, 3), "");
        assert_eq!(bar(f64::NAN, 3), "");
        assert_eq!(bar(7.0, 2), "██");
    }
}

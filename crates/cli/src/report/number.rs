//! Numbers as a person reads them.

/// Three significant digits.
pub(crate) fn short(x: f64) -> String {
    let size = x.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e5).contains(&size) {
        format!("{x:.2e}")
    } else {
        let digits = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
        format!("{x:.digits$}")
    }
}

/// A probability: never 100.0 % or 0.0 % for what is not quite so.
pub(crate) fn percent(p: f64) -> String {
    if (0.9995..1.0).contains(&p) {
        format!("{:.2}%", (p * 100.0).min(99.99))
    } else if p >= 0.001 {
        format!("{:.1}%", p * 100.0)
    } else if p == 0.0 {
        "0%".to_owned()
    } else {
        format!("{:.1e}", p)
    }
}

/// A count with thousands apart.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let (mut size, mut unit) = (n as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(size < 10.0);
    format!("{size:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let cases =
            [(0.0, "0"), (0.0233331, "0.0233"), (7.42149, "7.42"), (12345.6, "12346"), (1e-7, "1.00e-7")];
        for (x, text) in cases {
            assert_eq!(short(x), text);
        }
        assert_eq!(short(-0.5), "-0.500");
    }

    #[test]
    fn shares_counts_and_sizes() {
        assert_eq!((percent(0.987).as_str(), percent(0.99999).as_str()), ("98.7%", "99.99%"));
        assert_eq!((percent(1.0).as_str(), percent(0.00002).as_str()), ("100.0%", "2.0e-5"));
        assert_eq!((count(1234567), count(12)), ("1,234,567".to_owned(), "12".to_owned()));
        assert_eq!(
            (bytes(12), bytes(134217728), bytes(4_831_838_208)),
            ("12 B".into(), "128 MiB".into(), "4.5 GiB".into())
        );
    }
}

//! The lens as comma-separated values (RFC 4180), for spreadsheets and data frames.

use super::{LensEntry, LensReport};
use crate::{Prediction, TokenText};
use std::fmt::Write;

/// One line an entry under a line of names: site, layer, position, the token there, norm, ranks, the target's
/// probability, entropy, and each named token with its id and probability (`top1`, `top1_id`, `top1_probability`, …,
/// `bottom1`, …). Texts are quoted; a token without a text has an empty one.
pub fn lens_csv(report: &LensReport) -> String {
    let named = report.entries.first().map_or(0, |entry| entry.top.len());
    let mut out = String::from(
        "site,layer,position,token,token_id,norm,target_rank,answer_rank,target_probability,entropy_bits",
    );
    for list in ["top", "bottom"] {
        for at in 1..=named {
            let _ = write!(out, ",{list}{at},{list}{at}_id,{list}{at}_probability");
        }
    }
    out.push_str("\r\n");
    for entry in &report.entries {
        line(&mut out, report.tokens.get(entry.position), entry);
    }
    out
}

// Writing to a String does not fail.
fn line(out: &mut String, token: Option<&TokenText>, entry: &LensEntry) {
    let _ = write!(out, "{},{},{},", entry.site, entry.layer, entry.position);
    if let Some(token) = token {
        let _ = write!(out, "{},{}", quoted(token), token.id);
    }
    let optional = |value: Option<String>| value.unwrap_or_default();
    let _ = write!(
        out,
        ",{},{},{},{},{}",
        entry.norm,
        optional(entry.target_rank.map(|rank| rank.to_string())),
        entry.answer_rank,
        optional(entry.target_probability.map(|p| format!("{p:e}"))),
        entry.entropy_bits
    );
    for Prediction { token, probability } in entry.top.iter().chain(&entry.bottom) {
        let _ = write!(out, ",{},{},{probability:e}", quoted(token), token.id);
    }
    out.push_str("\r\n");
}

fn quoted(token: &TokenText) -> String {
    match &token.text {
        Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_columns_are_named() {
        let token = |id, text: &str| TokenText { id, text: Some(text.to_owned()) };
        let prediction = |id, text: &str, probability| Prediction { token: token(id, text), probability };
        let report = LensReport {
            schema: "retrograd-lens/1",
            model: "m".to_owned(),
            tokens: vec![token(4, "\n")],
            position: 0,
            answer: prediction(1, "a", 0.5),
            target: None,
            loss: 1.0,
            normalized: false,
            entries: vec![LensEntry {
                site: "resid_post",
                layer: 2,
                position: 0,
                norm: 0.25,
                target_rank: None,
                answer_rank: 3,
                target_probability: None,
                entropy_bits: 1.5,
                top: vec![prediction(7, " \"x,", 0.125)],
                bottom: vec![prediction(9, "é", 1e-9)],
            }],
            gradients: None,
        };
        let text = lens_csv(&report);
        let (names, line) = text.split_once("\r\n").unwrap();
        assert!(
            names.ends_with(
                "entropy_bits,top1,top1_id,top1_probability,bottom1,bottom1_id,bottom1_probability"
            )
        );
        assert_eq!(line, "resid_post,2,0,\"\n\",4,0.25,,3,,1.5,\" \"\"x,\",7,1.25e-1,\"é\",9,1e-9\r\n");
    }
}

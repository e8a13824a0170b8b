//! The page that `retrograd trace` prints.

use super::heads::strongest;
use super::number::{count, percent};
use super::page::{Page, columns, paint};
use super::style::{BOLD, DIM};
use super::{grid, layers, predictions};
use crate::error::CliError;
use crate::output::visible;
use retrograd::TraceRead;
use retrograd::lens::{TargetPrediction, TokenText, TraceSummary};

/// Heads that are listed, and pairs of each.
const STRONGEST: (usize, usize) = (5, 3);

/// The whole page but for where it was computed.
pub(crate) fn trace(page: &mut Page, summary: &TraceSummary, trace: &dyn TraceRead) -> Result<(), CliError> {
    tokens(page, &summary.tokens);
    loss(page, summary);
    predictions::predictions(page, summary);
    if !summary.heads.is_empty() {
        grid::grid(page, &summary.heads);
        strongest(page, &summary.heads, &summary.tokens, trace, STRONGEST)?;
    }
    layers::layers(page, &summary.layers);
    Ok(())
}

/// The tokens with their positions, blanks visible.
pub(crate) fn tokens(page: &mut Page, tokens: &[TokenText]) {
    page.heading("Tokens", &format!("{} of them; ␣ is a blank", tokens.len()));
    page.flow(
        2,
        tokens.iter().enumerate().map(|(position, token)| {
            let text = token_name(token);
            let width = position.to_string().len() + 1 + columns(&text) + 2;
            (format!("{} {}  ", paint(DIM, position), paint(BOLD, &text)), width)
        }),
    );
}

/// The loss in words.
fn loss(page: &mut Page, summary: &TraceSummary) {
    let kind = summary.objective.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
    let positions = summary.objective.get("positions").and_then(|p| p.as_array()).map_or(0, Vec::len);
    let target = summary.target.as_ref().map(|t| quoted(&t.token)).unwrap_or_default();
    let meaning = match kind {
        "target" => format!("−log p({target})"),
        "completion" => format!("mean −log p over the completion's {positions} tokens"),
        "next_token" => format!("mean −log p over {positions} next tokens"),
        "logit_difference" => {
            let minus = summary.minus.as_ref().map(|t| quoted(&t.token)).unwrap_or_default();
            format!("logit({minus}) − logit({target})")
        }
        _ => kind.to_owned(),
    };
    page.heading("Loss", &meaning);
    let alone = positions == 1;
    let about = |t: &TargetPrediction| {
        format!("{} has {}, {}", quoted(&t.token), percent(t.probability), rank(t.rank))
    };
    let target = summary.target.as_ref().filter(|_| alone).map(about);
    let minus = summary.minus.as_ref().map(about);
    let rest: String = [target, minus].into_iter().flatten().map(|text| format!("   {text}")).collect();
    page.line(format_args!("  {}{rest}", paint(BOLD, format_args!("{:.4}", summary.loss))));
}

fn rank(rank: usize) -> String {
    match rank {
        0 => "rank 0: the most probable".to_owned(),
        1 => "rank 1: one token is more probable".to_owned(),
        rank => format!("rank {}", count(rank)),
    }
}

/// A token's visible text, or `#17` where there is no tokenizer.
pub(crate) fn token_name(token: &TokenText) -> String {
    token.label()
}

/// A token's text between quotes, so that an empty or blank one shows.
pub(crate) fn quoted(token: &TokenText) -> String {
    match &token.text {
        Some(text) => format!("'{}'", visible(text).replace('␣', " ")),
        None => format!("#{}", token.id),
    }
}

/// A token at a position: `␣France·3`.
pub(crate) fn token_label(token: &TokenText, position: usize) -> String {
    format!("{} ({position})", token_name(token))
}

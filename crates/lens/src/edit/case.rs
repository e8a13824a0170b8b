//! One record of a CounterFact file in tokens, and what a model says to its prompts.

use super::{Fact, ngram_entropy};
use retrograd_formats::{CounterFact, Interventions, RequestError, TokenId, Tokenizer};
use retrograd_model::{GenerateOptions, Gpt2, ModelError, SamplingOptions};
use std::ops::ControlFlow;

/// A record in tokens.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the file calls it.
    pub id: u64,
    /// The prompt and the new answer.
    pub fact: Fact,
    /// The right answer.
    pub truth: Vec<TokenId>,
    /// The same question in other words.
    pub paraphrases: Vec<Vec<TokenId>>,
    /// Other subjects, each with its right answer.
    pub neighbours: Vec<(Vec<TokenId>, Vec<TokenId>)>,
    /// Beginnings of texts.
    pub generation: Vec<Vec<TokenId>>,
}

impl Case {
    /// Tokenises a record. An answer gets a blank before it where it has none, as CounterFact means it.
    pub fn new(record: &CounterFact, tokenizer: &Tokenizer) -> Result<Case, RequestError> {
        let fail = |error: RequestError| {
            RequestError::invalid(format!("case_id {}", record.case_id), error.to_string())
        };
        let text = |text: &str| tokenizer.encode(text).map_err(fail);
        let answer = |answer: &str| match answer.starts_with(char::is_whitespace) {
            true => text(answer),
            false => text(&format!(" {answer}")),
        };
        let texts = |list: &[String]| list.iter().map(|entry| text(entry)).collect::<Result<Vec<_>, _>>();
        let neighbours = record.neighborhood_prompts.iter().zip(&record.neighborhood_targets);
        Ok(Case {
            id: record.case_id,
            fact: Fact { prompt: text(&record.rewrite_prompt())?, target: answer(&record.target_new)? },
            truth: answer(&record.target_true)?,
            paraphrases: texts(&record.paraphrase_prompts)?,
            neighbours: neighbours
                .map(|(prompt, truth)| Ok((text(prompt)?, answer(truth)?)))
                .collect::<Result<_, RequestError>>()?,
            generation: texts(&record.generation_prompts)?,
        })
    }
}

impl Case {
    /// Tokens of the longest prompt together with its longest answer.
    pub fn longest(&self) -> usize {
        let answer = self.fact.target.len().max(self.truth.len());
        let asked = self.paraphrases.iter().chain([&self.fact.prompt]).map(|prompt| prompt.len() + answer);
        let new = self.fact.target.len();
        let near = self.neighbours.iter().map(|(prompt, own)| prompt.len() + own.len().max(new));
        asked.chain(near).chain(self.generation.iter().map(Vec::len)).max().unwrap_or(0)
    }
}

/// What is measured beside the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// Tokens that are generated after each of a record's generation prompts; 0 for none.
    pub generate: usize,
    /// Generation prompts of a record that are used at most.
    pub generations: usize,
    /// A text whose perplexity is measured after each edit.
    pub text: Option<Vec<TokenId>>,
}

/// Generated text is drawn among the five most probable tokens, as the paper does.
const SAMPLING: SamplingOptions = SamplingOptions { temperature: 1.0, top_k: Some(5), top_p: None, seed: 1 };

/// What a model says to the prompts of one record: shares of 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CaseScores {
    /// P(new) > P(true) after the prompt.
    pub efficacy: f64,
    /// The new answer's first token is the most probable.
    pub efficacy_argmax: f64,
    /// P(new) − P(true) after the prompt.
    pub magnitude: f64,
    /// P(new) > P(true) after the paraphrases; none without paraphrases.
    pub paraphrase: Option<f64>,
    /// The new answer's first token is the most probable there.
    pub paraphrase_argmax: Option<f64>,
    /// P(its own answer) > P(new) after the neighbours' prompts; none without neighbours.
    pub neighbourhood: Option<f64>,
    /// Its own answer's first token is the most probable there.
    pub neighbourhood_argmax: Option<f64>,
    /// Entropy of what is generated, in bits.
    pub entropy: Option<f64>,
    /// Perplexity of the text.
    pub perplexity: Option<f64>,
}

/// Asks a model everything about a record.
pub fn measure(model: &Gpt2, case: &Case, measures: &Measures) -> Result<CaseScores, ModelError> {
    let (new, truth) = (&case.fact.target[..], &case.truth[..]);
    let asked = compare(model, &case.fact.prompt, new, truth)?;
    let mut scores = CaseScores {
        efficacy: share(asked.first > asked.second),
        efficacy_argmax: share(asked.answer == new.first().copied()),
        magnitude: asked.first.exp() - asked.second.exp(),
        ..CaseScores::default()
    };
    let (mut agreed, mut said) = (Vec::new(), Vec::new());
    for prompt in &case.paraphrases {
        let asked = compare(model, prompt, new, truth)?;
        agreed.push(share(asked.first > asked.second));
        said.push(share(asked.answer == new.first().copied()));
    }
    (scores.paraphrase, scores.paraphrase_argmax) = (mean(&agreed), mean(&said));
    let (mut kept, mut said) = (Vec::new(), Vec::new());
    for (prompt, own) in &case.neighbours {
        let asked = compare(model, prompt, own, new)?;
        kept.push(share(asked.first > asked.second));
        said.push(share(asked.answer == own.first().copied()));
    }
    (scores.neighbourhood, scores.neighbourhood_argmax) = (mean(&kept), mean(&said));
    if measures.generate > 0 {
        let mut entropies = Vec::new();
        for prompt in case.generation.iter().take(measures.generations) {
            let options = GenerateOptions {
                max_new_tokens: measures.generate,
                sampling: SAMPLING,
                ..GenerateOptions::default()
            };
            let generated = model.generate(prompt, &options, |_| ControlFlow::Continue(()))?;
            entropies.push(ngram_entropy(&generated.ids));
        }
        scores.entropy = mean(&entropies);
    }
    if let Some(text) = &measures.text {
        scores.perplexity = Some(super::perplexity(model, text)?);
    }
    Ok(scores)
}

/// Two answers to a prompt: mean log probability of their tokens, and the most probable next token.
struct Compared {
    first: f64,
    second: f64,
    answer: Option<TokenId>,
}

fn compare(
    model: &Gpt2,
    prompt: &[TokenId],
    first: &[TokenId],
    second: &[TokenId],
) -> Result<Compared, ModelError> {
    let logits = model.logits(prompt, &Interventions::default())?;
    let largest = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)));
    let answer = largest.filter(|_| logits.iter().all(|x| x.is_finite())).map(|id| TokenId(id as u32));
    let log_p = |answer: &[TokenId]| match answer {
        [only] => Ok(log_softmax(&logits, *only)),
        several => mean_log_p(model, prompt, several),
    };
    Ok(Compared { first: log_p(first)?, second: log_p(second)?, answer })
}

/// Mean log probability of an answer's tokens, one after the other.
fn mean_log_p(model: &Gpt2, prompt: &[TokenId], answer: &[TokenId]) -> Result<f64, ModelError> {
    let Some((_, all_but_last)) = answer.split_last() else { return Ok(f64::NEG_INFINITY) };
    let ids = [prompt, all_but_last].concat();
    let logits = model.logits_from(&ids, prompt.len() - 1)?;
    let rows = logits.as_f32().chunks_exact(model.config().vocab_size);
    Ok(rows.zip(answer).map(|(row, id)| log_softmax(row, *id)).sum::<f64>() / answer.len() as f64)
}

fn log_softmax(logits: &[f32], id: TokenId) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
    logits.get(id.0 as usize).map_or(f64::NAN, |&x| f64::from(x) - largest - sum.ln())
}

fn share(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

//! Prompts of a task, and which of them may be laid on top of each other.

use super::{Example, Splits, Task, Template, below, random, shuffle};
use retrograd_formats::{Config, RequestError, TokenId, Tokenizer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How prompts are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptOptions {
    /// The texts around inputs and outputs.
    pub template: Template,
    /// Whether the prompt begins with the model's beginning-of-text token.
    pub bos: bool,
    /// Demonstrations before the question.
    pub shots: usize,
    /// Prompts for each question, with other demonstrations each.
    pub draws: usize,
    /// What demonstrations are drawn by.
    pub seed: u64,
}

impl Default for PromptOptions {
    fn default() -> Self {
        PromptOptions { template: Template::default(), bos: true, shots: 0, draws: 1, seed: 0 }
    }
}

/// A question with its demonstrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPrompt {
    /// The prompt; it ends before the answer.
    pub ids: Vec<TokenId>,
    /// The answer's tokens.
    pub answer: Vec<TokenId>,
    /// Tokens of every input and output in turn, the question's last: prompts that agree in it have the same things at
    /// the same positions.
    pub layout: Vec<usize>,
    /// The question's index in the task.
    pub query: usize,
    /// Indices of the demonstrations.
    pub demonstrations: Vec<usize>,
}

impl TaskPrompt {
    /// The first token of the answer.
    pub fn target(&self) -> TokenId {
        self.answer.first().copied().unwrap_or(TokenId(0))
    }
}

/// Prompts for these questions; demonstrations come from the training part and never show the question itself.
///
/// # Errors
/// When there are less demonstrations than shots, or a prompt does not fit the model's positions.
pub fn prompts(
    task: &Task,
    splits: &Splits,
    queries: &[usize],
    options: &PromptOptions,
    model: (&Config, &Tokenizer),
) -> Result<Vec<TaskPrompt>, RequestError> {
    draw(task, splits, queries, options, model, false)
}

/// The same prompts, but in each the demonstrations' outputs have changed places, so that they no longer show the task.
///
/// # Errors
/// As [`prompts`], and with less than two demonstrations, which cannot be shuffled.
pub fn shuffled_prompts(
    task: &Task,
    splits: &Splits,
    queries: &[usize],
    options: &PromptOptions,
    model: (&Config, &Tokenizer),
) -> Result<Vec<TaskPrompt>, RequestError> {
    if options.shots < 2 {
        return Err(RequestError::invalid(
            "shots",
            format!("{} demonstrations cannot change places: shuffled labels need 2 at least", options.shots),
        ));
    }
    draw(task, splits, queries, options, model, true)
}

fn draw(
    task: &Task,
    splits: &Splits,
    queries: &[usize],
    options: &PromptOptions,
    (config, tokenizer): (&Config, &Tokenizer),
    shuffled: bool,
) -> Result<Vec<TaskPrompt>, RequestError> {
    let PromptOptions { shots, draws, seed, .. } = *options;
    let mut made = Vec::with_capacity(queries.len() * draws);
    for query in queries {
        let pool: Vec<usize> = splits.train.iter().copied().filter(|at| at != query).collect();
        if pool.len() < shots {
            return Err(RequestError::invalid(
                "shots",
                format!(
                    "{shots} demonstrations are more than the {} that task {} has for training beside the question",
                    pool.len(),
                    task.name
                ),
            ));
        }
        for number in 0..draws {
            let mut random = random(seed, &format!("demonstrations of {query}, {number}"));
            let mut order = pool.clone();
            shuffle(&mut order, &mut random);
            order.truncate(shots);
            let mut outputs = order.clone();
            if shuffled {
                // Everyone gets another's: a rotation of a shuffle.
                let by = 1 + below(&mut random, shots - 1);
                outputs.rotate_left(by);
            }
            let prompt = build(task, *query, &order, &outputs, options, config, tokenizer)?;
            if prompt.ids.len() > config.n_positions {
                return Err(RequestError::invalid(
                    "shots",
                    format!(
                        "a prompt with {shots} demonstrations has {} tokens; the model has {} positions",
                        prompt.ids.len(),
                        config.n_positions
                    ),
                ));
            }
            made.push(prompt);
        }
    }
    Ok(made)
}

fn build(
    task: &Task,
    query: usize,
    inputs: &[usize],
    outputs: &[usize],
    options: &PromptOptions,
    config: &Config,
    tokenizer: &Tokenizer,
) -> Result<TaskPrompt, RequestError> {
    let example = |at: usize| -> &Example { &task.examples[at] };
    let pairs = inputs.iter().zip(outputs);
    let shown = pairs
        .clone()
        .map(|(input, output)| (example(*input).pair.input.as_str(), example(*output).pair.output.as_str()));
    let text = options.template.text(shown, &example(query).pair.input);
    let mut ids = Vec::new();
    if options.bos {
        ids.extend(config.bos_token_id.map(TokenId));
    }
    ids.extend(tokenizer.encode(&text)?);
    let mut layout: Vec<usize> = pairs
        .flat_map(|(input, output)| [example(*input).input.len(), example(*output).output.len()])
        .collect();
    layout.push(example(query).input.len());
    Ok(TaskPrompt {
        ids,
        answer: example(query).output.clone(),
        layout,
        query,
        demonstrations: inputs.to_vec(),
    })
}

/// Indices of the prompts that have the same things at the same positions, the largest group first.
pub fn by_layout(prompts: &[TaskPrompt]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(usize, &[usize]), Vec<usize>> = BTreeMap::new();
    for (at, prompt) in prompts.iter().enumerate() {
        groups.entry((prompt.ids.len(), &prompt.layout)).or_default().push(at);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0]));
    groups
}

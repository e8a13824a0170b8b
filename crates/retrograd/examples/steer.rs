// Reversed Attention of a task: which heads it ranks first, what silencing them does, and what patching with its mean does
// to questions that were never used.

use retrograd::lens::{
    MapSpan, OrderBy, PromptOptions, SplitShares, Splits, Task, mediate, order_by_size, patch_accuracy,
    prompts, task_maps,
};
use retrograd::{Gpt2, Gpu, GpuOptions, PatchMap, Precision};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let tokenizer = model.require_tokenizer()?;
    let task = Task::read(Path::new("models/atlas/tasks/adjective-antonym.json"), tokenizer)?;
    let splits = Splits::new(task.examples.len(), SplitShares::default(), 0)?;
    let zero_shot = PromptOptions::default();
    let make = |part: &[usize]| prompts(&task, &splits, part, &zero_shot, (model.config(), tokenizer));

    let training = make(&splits.train)?; // "Q: big\nA:" → " small", …
    let maps = task_maps(&model, &training, MapSpan::Prompt, &mut |_| ())?;
    let order = order_by_size(&maps.heads, OrderBy::Reversed).unwrap_or_default();
    println!("by ‖R‖: {} {} {}", order[0], order[1], order[2]);

    let given: Vec<_> = training.iter().map(|prompt| (prompt.ids.clone(), prompt.target())).collect();
    let mediation = mediate(&model, &given, &mut |_| ())?;
    let strongest = mediation.heads.iter().min_by(|a, b| a.indirect_effect.total_cmp(&b.indirect_effect));
    if let Some(head) = strongest {
        println!("without {}: P(answer) changes by {:+.3}", head.id(), head.indirect_effect);
    }

    let (alphas, unseen) = ([0.0, -5.0, -20.0], make(&splits.test)?);
    let found = patch_accuracy(&model, &maps, PatchMap::Reversed, None, &unseen, &alphas, &mut |_| ())?;
    for (alpha, accuracy) in alphas.iter().zip(found) {
        println!(
            "A + ({alpha})·mean R: {:.0} % of {} unseen questions right",
            100.0 * accuracy.top1,
            unseen.len()
        );
    }
    Ok(())
}

//! GPT-2 on the engine: forward and closed-form backward passes, traces, generation, training.

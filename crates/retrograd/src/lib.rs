//! Closed-form GPT-2 backward passes as WGSL shaders: Reversed Attention and gradient factors without autograd.

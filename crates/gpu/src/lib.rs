//! A small tensor engine on wgpu: tensors, recorded passes, WGSL kernels. Knows nothing of GPT-2.

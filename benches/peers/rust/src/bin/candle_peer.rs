//! candle on the CPU: the products of GPT-2 124M's linear layers, and a forward and backward pass of a random model of
//! that shape (without weight gradients: only the embedded tokens are a variable).
//!
//!     candle_peer gemm|trace TOKENS RUNS

#[path = "../samples.rs"]
mod samples;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use samples::{operations, products, report, time};

const LAYERS: usize = 12;
const HEADS: usize = 12;
const WIDTH: usize = 768;
const VOCABULARY: usize = 50257;

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(input: usize, output: usize) -> Result<Linear> {
        let weight = Tensor::randn(0f32, 0.02, (input, output), &Device::Cpu)?;
        Ok(Linear { weight, bias: Tensor::zeros(output, DType::F32, &Device::Cpu)? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Block {
    c_attn: Linear,
    attn_proj: Linear,
    c_fc: Linear,
    mlp_proj: Linear,
}

/// γ = 1, β = 0: the arithmetic is that of any layer norm.
fn layer_norm(x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

impl Block {
    fn forward(&self, r: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (t, d) = r.dims2()?;
        let qkv = self.c_attn.forward(&layer_norm(r)?)?;
        let part = |i: usize| -> Result<Tensor> {
            qkv.narrow(1, i * d, d)?.reshape((t, HEADS, d / HEADS))?.transpose(0, 1)?.contiguous()
        };
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scores = (q.matmul(&k.transpose(1, 2)?)? / ((d / HEADS) as f64).sqrt())?;
        let pattern = softmax(&scores.broadcast_add(mask)?)?;
        let o = pattern.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((t, d))?;
        let r = (r + self.attn_proj.forward(&o)?)?;
        let f = self.c_fc.forward(&layer_norm(&r)?)?;
        &r + self.mlp_proj.forward(&f.gelu()?)?
    }
}

fn trace(tokens: usize, runs: usize) -> Result<()> {
    let blocks: Vec<Block> = (0..LAYERS)
        .map(|_| {
            Ok(Block {
                c_attn: Linear::new(WIDTH, 3 * WIDTH)?,
                attn_proj: Linear::new(WIDTH, WIDTH)?,
                c_fc: Linear::new(WIDTH, 4 * WIDTH)?,
                mlp_proj: Linear::new(4 * WIDTH, WIDTH)?,
            })
        })
        .collect::<Result<_>>()?;
    let wte = Tensor::randn(0f32, 0.02, (VOCABULARY, WIDTH), &Device::Cpu)?;
    let mask: Vec<f32> = (0..tokens * tokens)
        .map(|at| if at % tokens > at / tokens { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    let mask = Tensor::from_vec(mask, (tokens, tokens), &Device::Cpu)?;
    let embedded = Var::randn(0f32, 0.02, (tokens, WIDTH), &Device::Cpu)?;
    let mut failure = None;
    let times = time(runs, || {
        let run = || -> Result<()> {
            let mut r = embedded.as_tensor().clone();
            for block in &blocks {
                r = block.forward(&r, &mask)?;
            }
            let last = layer_norm(&r.narrow(0, tokens - 1, 1)?)?;
            let logits = last.matmul(&wte.t()?)?;
            let max = logits.max_keepdim(D::Minus1)?.detach();
            let log_sum = logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?.log()?.broadcast_add(&max)?;
            let loss = (log_sum - logits.narrow(1, 11, 1)?)?.sum_all()?;
            let gradients = loss.backward()?;
            let delta = gradients.get(embedded.as_tensor());
            assert!(delta.is_some(), "the gradient reaches the embedded tokens");
            Ok(())
        };
        if let Err(error) = run() {
            failure = Some(error);
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    report("candle forward and backward", tokens, None, times, runs);
    Ok(())
}

fn gemm(tokens: usize, runs: usize) -> Result<()> {
    let operands: Vec<(Tensor, Tensor)> = products(tokens)
        .iter()
        .map(|&(m, n, k)| {
            let a = Tensor::randn(0f32, 1.0, (m, k), &Device::Cpu)?;
            Ok((a, Tensor::randn(0f32, 1.0, (k, n), &Device::Cpu)?))
        })
        .collect::<Result<_>>()?;
    let times = time(runs, || {
        for (a, b) in &operands {
            std::hint::black_box(a.matmul(b).expect("a product"));
        }
    });
    report("candle GEMM", tokens, Some(operations(&products(tokens))), times, runs);
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, usual: usize| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(usual);
    match arguments.get(1).map(String::as_str) {
        Some("gemm") => gemm(number(2, 64), number(3, 7)),
        _ => trace(number(2, 64), number(3, 7)),
    }
}

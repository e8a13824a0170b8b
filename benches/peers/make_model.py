"""A Hugging Face directory of GPT-2 124M's shape with random weights, for processes that load one.

    python benches/peers/make_model.py DIR
"""

import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
GPT2LMHeadModel(GPT2Config()).save_pretrained(sys.argv[1])

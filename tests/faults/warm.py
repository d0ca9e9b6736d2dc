"""What a tiny run imports on its way, imported once: processes that are forked from here begin in milliseconds."""

import boto3  # noqa: F401
import matplotlib.figure  # noqa: F401
import mlflow  # noqa: F401
import torch
import transformers
import trl  # noqa: F401
from datasets import Dataset  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer  # noqa: F401
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: F401

import components.run.html_report
import components.training.batches
import components.training.dpo.dpo
import components.training.dpo.watch
import components.training.model
import components.training.saving
import components.training.sft.sft
import components.training.trainer  # noqa: F401

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

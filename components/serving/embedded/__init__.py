"""The embedded engine: a server process that speaks TGI's API over `transformers` on a local model directory.

Start it with `python -m components.serving.embedded --model DIR --ready-file PATH`. It is for machines where TGI and
vLLM do not run (a laptop, CI); on a cluster the same client talks to one of those.

Imports run one way: `http` (the API and its process), over `scheduler` (the queue and the decode thread), over
`decoding` (sequences, their batch, sampling), over `model` (forward passes, keys and values, tokenizer).
"""

"""Worked examples: data and scripts around the pipeline. Nothing in `components` or `pipelines` knows them."""

"""Inference with trained models: `load()`, prediction files, drawings, export."""

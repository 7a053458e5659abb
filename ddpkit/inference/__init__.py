"""Trained models on new images: `load()`, prediction files, drawings, export."""

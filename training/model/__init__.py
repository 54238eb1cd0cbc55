"""Backbones, heads, fine-tuning, evaluation."""

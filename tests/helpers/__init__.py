"""What tests share: images, templates, stages, and programs that run next to them."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

"""The course project's handler for AWS's PyTorch inference toolkit, as a baseline: what `infernce2.py` does, and how.

ResNet50 in eager mode with a head of two layers, Pillow, a transform made again for each request, no normalisation.
"""

import io

import torch
from PIL import Image
from torch import nn
from torchvision import models, transforms

CLASSES = 133


def model_fn(model_dir: str) -> nn.Module:
    """The network, with random weights: they cost as much as trained ones."""
    torch.manual_seed(1)
    model = models.resnet50()
    model.fc = nn.Sequential(nn.Linear(model.fc.in_features, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def input_fn(request_body: bytes, content_type: str) -> Image.Image:
    """The image of a request."""
    if content_type != "image/jpeg":
        raise ValueError(f"unsupported content type {content_type}")
    return Image.open(io.BytesIO(request_body))


def predict_fn(image: Image.Image, model: nn.Module) -> torch.Tensor:
    """Scores of shape (1, CLASSES)."""
    transform = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
    with torch.no_grad():
        return model(transform(image).unsqueeze(0))

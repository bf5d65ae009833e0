"""EfficientNet blocks: swish, squeeze-and-excitation, stochastic depth."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class SEBlock(nn.Module):
    def __init__(self, channel, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.SiLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


def drop_path(x, drop_prob: float = 0.0, training: bool = False):
    if drop_prob == 0.0 or not training:
        return x
    keep_prob = 1 - drop_prob
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    return x.div(keep_prob) * torch.ones(shape, dtype=x.dtype, device=x.device)


class MBConv(nn.Module):
    def __init__(self, inp, oup, kernel, stride, expand, drop=0.0):
        super().__init__()
        hidden = inp * expand
        self._expand = expand
        self._stride = stride
        self.drop = drop
        if expand != 1:
            self.expand_conv = nn.Conv2d(inp, hidden, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(hidden, momentum=0.01, eps=1e-3)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden, momentum=0.01, eps=1e-3)
        self.se = SEBlock(hidden)
        self.project = nn.Conv2d(hidden, oup, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(oup, momentum=0.01, eps=1e-3)
        self.swish = Swish()

    def forward(self, inputs):
        x = inputs
        if self._expand != 1:
            x = self.swish(self.bn0(self.expand_conv(x)))
        # "same" padding, as TensorFlow has it
        ih, iw = x.shape[-2:]
        kh, kw = self.depthwise.weight.shape[-2:]
        s = self._stride
        pad_h = max((math.ceil(ih / s) - 1) * s + kh - ih, 0)
        pad_w = max((math.ceil(iw / s) - 1) * s + kw - iw, 0)
        x = F.pad(x, [pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2])
        x = self.swish(self.bn1(self.depthwise(x)))
        x = self.se(x)
        x = self.bn2(self.project(x))
        if self._stride == 1 and inputs.shape[1] == x.shape[1]:
            x = drop_path(x, self.drop, self.training)
            x = x + inputs
        return x


class EfficientNet(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(4, momentum=0.01, eps=1e-3)
        self._blocks = nn.ModuleList([])
        for args in [(4, 4, 3, 1, 1), (4, 8, 5, 2, 2), (8, 8, 3, 1, 2)]:
            self._blocks.append(MBConv(*args))
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(8, num_classes)
        self.set_swish()

    def set_swish(self):
        for block in self._blocks:
            block.swish = nn.SiLU()

    def extract_features(self, inputs):
        endpoints = dict()
        x = F.silu(self._bn0(self._conv_stem(inputs)))
        for idx, block in enumerate(self._blocks):
            x = block(x)
            endpoints[f"reduction_{idx + 1}"] = x
        return endpoints

    def forward(self, inputs):
        endpoints = self.extract_features(inputs)
        x = endpoints["reduction_3"]
        x = x.mean(dim=(2, 3))
        return self._fc(self._dropout(x))

"""StyleGAN pieces: equalised learning rate, pixel norm, modulated convolution, blur, noise as buffers."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class PixelNorm(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, input):
        return input * torch.rsqrt(torch.mean(input**2, dim=1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    def __init__(self, in_dim, out_dim, bias=True, bias_init=0, lr_mul=1, activation=None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim).div_(lr_mul))
        if bias:
            self.bias = nn.Parameter(torch.zeros(out_dim).fill_(bias_init))
        else:
            self.bias = None
        self.activation = activation
        self.scale = (1 / math.sqrt(in_dim)) * lr_mul
        self.lr_mul = lr_mul

    def forward(self, input):
        out = F.linear(input, self.weight * self.scale, bias=self.bias * self.lr_mul)
        if self.activation:
            out = F.leaky_relu(out, 0.2)
        return out

    def __repr__(self):
        return f"{self.__class__.__name__}({self.weight.shape[1]}, {self.weight.shape[0]})"


class ModulatedConv2d(nn.Module):
    def __init__(self, in_channel, out_channel, kernel_size, style_dim, demodulate=True):
        super().__init__()
        self.eps = 1e-8
        self.kernel_size = kernel_size
        self.in_channel = in_channel
        self.out_channel = out_channel
        fan_in = in_channel * kernel_size**2
        self.scale = 1 / math.sqrt(fan_in)
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.randn(1, out_channel, in_channel, kernel_size, kernel_size))
        self.modulation = EqualLinear(style_dim, in_channel, bias_init=1)
        self.demodulate = demodulate

    def forward(self, input, style):
        batch, in_channel, height, width = input.shape
        style = self.modulation(style).view(batch, 1, in_channel, 1, 1)
        weight = self.scale * self.weight * style
        if self.demodulate:
            demod = torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8)
            weight = weight * demod.view(batch, self.out_channel, 1, 1, 1)
        weight = weight.view(batch * self.out_channel, in_channel, self.kernel_size, self.kernel_size)
        input = input.view(1, batch * in_channel, height, width)
        out = F.conv2d(input, weight, padding=self.padding, groups=batch)
        _, _, height, width = out.shape
        return out.view(batch, self.out_channel, height, width)


class NoiseInjection(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image, noise=None):
        if noise is None:
            batch, _, height, width = image.shape
            noise = image.new_ones(batch, 1, height, width)
        return image + self.weight * noise


class Blur(nn.Module):
    def __init__(self, kernel=(1, 2, 1)):
        super().__init__()
        kernel = torch.tensor(kernel, dtype=torch.float32)
        kernel = kernel[None, :] * kernel[:, None]
        kernel = kernel / kernel.sum()
        self.register_buffer("kernel", kernel)

    def forward(self, input):
        c = input.size(1)
        kernel = torch.flip(self.kernel, [0, 1])[None, None].repeat(c, 1, 1, 1)
        return F.conv2d(input, kernel, padding=1, groups=c)


class Generator(nn.Module):
    def __init__(self, style_dim=6, size=4, channels=4):
        super().__init__()
        layers = [PixelNorm()]
        for i in range(2):
            layers.append(EqualLinear(style_dim, style_dim, lr_mul=0.01, activation="fused_lrelu"))
        self.style = nn.Sequential(*layers)
        self.input = nn.Parameter(torch.randn(1, channels, size, size))
        self.conv1 = ModulatedConv2d(channels, channels, 3, style_dim)
        self.noise1 = NoiseInjection()
        self.noises = nn.Module()
        for layer_idx in range(2):
            self.noises.register_buffer(f"noise_{layer_idx}", torch.ones(1, 1, size, size))
        self.blur = Blur()
        self.to_rgb = ModulatedConv2d(channels, 3, 1, style_dim, demodulate=False)

    def forward(self, styles):
        latent = self.style(styles)
        noise = [getattr(self.noises, f"noise_{i}") for i in range(2)]
        out = self.input.repeat(latent.shape[0], 1, 1, 1)
        out = self.noise1(self.conv1(out, latent), noise=noise[0])
        out = F.interpolate(F.leaky_relu(out, 0.2), scale_factor=2, mode="bilinear", align_corners=False)
        return self.to_rgb(self.blur(out), latent)

"""RealNVP: affine couplings with masks as buffers, its inverse as a method, a prior on buffers."""

import math

import torch
import torch.nn as nn


class Coupling(nn.Module):
    def __init__(self, mask, hidden=6):
        super().__init__()
        self.register_buffer("mask", mask)
        dim = len(mask)
        self.s = nn.Sequential(nn.Linear(dim, hidden), nn.LeakyReLU(), nn.Linear(hidden, dim), nn.Tanh())
        self.t = nn.Sequential(nn.Linear(dim, hidden), nn.LeakyReLU(), nn.Linear(hidden, dim))
        self.rescale = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x):
        x_ = self.mask * x
        s = self.s(x_) * self.rescale * (1 - self.mask)
        t = self.t(x_) * (1 - self.mask)
        return x_ + (1 - self.mask) * (x * torch.exp(s) + t), s.sum(dim=1)

    def inverse(self, z):
        z_ = self.mask * z
        s = self.s(z_) * self.rescale * (1 - self.mask)
        t = self.t(z_) * (1 - self.mask)
        return z_ + (1 - self.mask) * (z - t) * torch.exp(-s)


class RealNVP(nn.Module):
    def __init__(self, dim=4, layers=3):
        super().__init__()
        masks = torch.stack([torch.arange(i, dim + i).remainder(2).float() for i in range(layers)])
        self.couplings = nn.ModuleList([Coupling(m) for m in masks])
        self.register_buffer("prior_mean", torch.zeros(dim))
        self.register_buffer("prior_logvar", torch.zeros(dim), persistent=False)

    def log_prob(self, x):
        log_det = x.new_zeros(x.shape[0])
        for coupling in self.couplings:
            x, ld = coupling(x)
            log_det = log_det + ld
        prior = -0.5 * (
            (x - self.prior_mean) ** 2 / self.prior_logvar.exp() + self.prior_logvar + math.log(2 * math.pi)
        )
        return prior.sum(-1) + log_det, x

    def forward(self, x):
        log_prob, z = self.log_prob(x)
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return -log_prob.mean(), z

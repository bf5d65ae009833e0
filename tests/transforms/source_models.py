"""Small torch models whose generated source is tested: each with its inputs, and the classes that are its source."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    def __init__(self, wide=8):
        super().__init__()
        self.fc1 = nn.Linear(3, wide)
        self.drop = nn.Dropout(0.25)
        self.fc2 = nn.Linear(wide, 2)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.drop(x)
        return self.fc2(x)


class Block(nn.Module):
    def __init__(self, inside, outside, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.skip = None
        if stride != 1 or inside != outside:
            self.skip = nn.Sequential(nn.Conv2d(inside, outside, 1, stride=stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.skip is not None:
            x = self.skip(x)
        return F.relu(x + y)


class ResNet(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stage1 = nn.Sequential(*[Block(4, 4) for _ in range(3)])
        self.stage2 = nn.Sequential(Block(4, 8, stride=2), Block(8, 8), Block(8, 8))
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = self.stem(x)
        x = self.stage1(x)
        x = self.stage2(x)
        x = x.mean((2, 3))
        return self.head(x)


class Attention(nn.Module):
    def __init__(self, e, h):
        super().__init__()
        self.h = h
        self.qkv = nn.Linear(e, 3 * e)
        self.proj = nn.Linear(e, e)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        n, t, e = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.view(n, t, self.h, e // self.h).transpose(1, 2)
        k = k.view(n, t, self.h, e // self.h).transpose(1, 2)
        v = v.view(n, t, self.h, e // self.h).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1 if self.training else 0.0)
        y = y.transpose(1, 2).reshape(n, t, e)
        return self.drop(self.proj(y))


class Layer(nn.Module):
    def __init__(self, e, h):
        super().__init__()
        self.ln1 = nn.LayerNorm(e)
        self.attn = Attention(e, h)
        self.ln2 = nn.LayerNorm(e)
        self.mlp = nn.Sequential(nn.Linear(e, 4 * e), nn.GELU(), nn.Linear(4 * e, e))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, v=11, e=8, h=2, n=2):
        super().__init__()
        self.wte = nn.Embedding(v, e)
        self.wpe = nn.Embedding(6, e)
        self.h = nn.ModuleList(Layer(e, h) for _ in range(n))
        self.ln_f = nn.LayerNorm(e)
        self.head = nn.Linear(e, v, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, idx):
        pos = torch.arange(idx.shape[1])
        x = self.wte(idx) + self.wpe(pos)
        for block in self.h:
            x = block(x)
        return self.head(self.ln_f(x))


class Tagger(nn.Module):
    def __init__(self, v=9, e=4, h=5, t=3):
        super().__init__()
        self.embed = nn.Embedding(v, e, padding_idx=0)
        self.lstm = nn.LSTM(e, h, num_layers=2, dropout=0.2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * h, t)

    def forward(self, words):
        x = self.embed(words)
        x, _ = self.lstm(x)
        return F.log_softmax(self.out(x), dim=-1)


class VAE(nn.Module):
    def __init__(self, d=6, h=5, z=2):
        super().__init__()
        self.enc = nn.Linear(d, h)
        self.mu = nn.Linear(h, z)
        self.logvar = nn.Linear(h, z)
        self.dec = nn.Sequential(nn.Linear(z, h), nn.ReLU(), nn.Linear(h, d))

    def forward(self, x):
        h = torch.tanh(self.enc(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return {"out": self.dec(z), "stats": (mu, logvar)}


class Double(nn.Module):
    def __init__(self, a, b, groups):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, padding=1)
        self.norm = nn.GroupNorm(groups, b)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1)

    def forward(self, x):
        x = F.silu(self.norm(self.conv1(x)))
        return F.silu(self.conv2(x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = Double(1, 4, 2)
        self.down2 = Double(4, 8, 4)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.last = Double(8, 4, 2)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        b = self.up(b)
        x = torch.cat([a, b], dim=1)
        return self.head(self.last(x))


class Encoder(nn.Module):
    def __init__(self, e=8, layers=2):
        super().__init__()
        layer = nn.TransformerEncoderLayer(e, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(e, 3)

    def forward(self, x, mask=None):
        x = self.encoder(x, src_key_padding_mask=mask)
        return self.head(x[:, 0])


class DropPath(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if self.p == 0.0 or not self.training:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.p)
        return x * keep / (1 - self.p)


class Mixer(nn.Module):
    """Patches, blocks whose probability to be dropped grows, a class token."""

    def __init__(self, e=8, n=3):
        super().__init__()
        self.patch = nn.Conv2d(3, e, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, e))
        self.position = nn.Parameter(torch.zeros(1, 5, e))
        self.mix = nn.ModuleList(nn.Linear(5, 5) for _ in range(n))
        self.paths = nn.ModuleList(DropPath(0.1 * (i + 1)) for i in range(n))
        self.norm = nn.LayerNorm(e, eps=1e-6)
        self.head = nn.Linear(e, 4)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        for mix, path in zip(self.mix, self.paths, strict=True):
            x = x + path(mix(x.transpose(1, 2)).transpose(1, 2))
        return self.head(self.norm(x)[:, 0])


class Codebook(nn.Module):
    """A buffer that training moves, and a branch for each mode."""

    def __init__(self, n=6, d=4):
        super().__init__()
        self.register_buffer("codes", torch.linspace(-1, 1, n * d).reshape(n, d))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        distance = (x[:, None, :] - self.codes).pow(2).sum(-1)
        index = distance.argmin(-1)
        found = self.codes[index]
        if self.training:
            self.steps += 1
            self.codes.mul_(0.9).add_(0.1 * x.mean(0))
            return x + (found - x).detach()
        return found


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(3, 4)
        self.book = Codebook()
        self.dec = nn.Linear(4, 3)

    def forward(self, x):
        x = self.book(self.enc(x))
        return self.dec(x)


class Decoder(nn.Module):
    """Nested arguments, keywords, cells, constants, masks."""

    def __init__(self, v=7, h=5):
        super().__init__()
        self.embed = nn.Embedding(v, h)
        self.cell = nn.LSTMCell(h, h)
        self.out = nn.Linear(h, v)
        self.register_buffer("scale", torch.arange(5.0), persistent=False)

    def forward(self, token, state, *, lengths):
        h, c = self.cell(self.embed(token) * self.scale, state)
        bias = torch.tensor([0.5, -1.0, 0.25, 0.0, 2.0, 1.0, 3.0])
        logits = self.out(h) + bias
        allowed = torch.arange(7)[None] < lengths[:, None]
        logits = logits.masked_fill(~allowed, float("-inf"))
        values, places = logits.topk(2, dim=-1)
        return values, torch.where(places > 3, places, 0), (h, c)


class Switch(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        def positive(x, weight):
            y = x @ weight
            return y * torch.sigmoid(y)

        def negative(x, weight):
            return -x

        x = torch.cond(x.sum() > 0, positive, negative, (x, self.fc.weight))
        return self.fc(x)


class Spectral(nn.Module):
    """Complex numbers, a submodule that is called twice, integers that are divided."""

    def __init__(self, n=6):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(n // 2 + 1, dtype=torch.cfloat))
        self.fc = nn.Linear(n, n)

    def forward(self, x):
        spectrum = torch.fft.rfft(x) * self.filter
        x = torch.fft.irfft(spectrum, n=x.shape[-1])
        x = torch.tanh(self.fc(x))
        x = torch.tanh(self.fc(x))
        ranks = x.argsort(-1)
        return x, ranks / 2, ranks // 2, torch.gather(x, 1, ranks), x.clamp(-0.5, 0.5), x.std(-1)


class Features(nn.Module):
    def __init__(self, sizes=(4, 4, 4, 4)):
        super().__init__()
        layers, channels = [], 3
        for size in sizes:
            layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU(inplace=True)]
            channels = size
        self.features = nn.Sequential(*layers, nn.MaxPool2d(2))
        self.head = nn.Linear(channels * 4, 2)

    def forward(self, x):
        x = self.features(x)
        x = torch.flatten(x, 1)
        return self.head(x)


class Case(NamedTuple):
    """A model, its inputs, and the classes whose lines are its source."""

    module: nn.Module
    args: tuple
    kwargs: dict
    classes: tuple


def cases():
    """The models, by name."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.MultiheadAttention
    state = (torch.randn(2, 5), torch.randn(2, 5))
    return {
        "mlp": Case(MLP(), (torch.randn(2, 3),), {}, (MLP,)),
        "resnet": Case(ResNet(), (torch.randn(2, 3, 8, 8),), {}, (Block, ResNet)),
        "gpt": Case(GPT(), (torch.randint(0, 11, (2, 6)),), {}, (Attention, Layer, GPT)),
        "tagger": Case(Tagger(), (torch.randint(0, 9, (2, 4)),), {}, (Tagger,)),
        "vae": Case(VAE(), (torch.randn(3, 6),), {}, (VAE,)),
        "unet": Case(UNet(), (torch.randn(1, 1, 8, 8),), {}, (Double, UNet)),
        "encoder": Case(Encoder(), (torch.randn(2, 5, 8),), {"mask": torch.zeros(2, 5, dtype=torch.bool)},
                        (Encoder, *encoder)),
        "mixer": Case(Mixer(), (torch.randn(2, 3, 8, 8),), {}, (DropPath, Mixer)),
        "quantised": Case(Quantised(), (torch.randn(2, 3),), {}, (Codebook, Quantised)),
        "decoder": Case(Decoder(), (torch.tensor([1, 2]), state), {"lengths": torch.tensor([3, 7])}, (Decoder,)),
        "switch": Case(Switch(), (torch.randn(2, 3),), {}, (Switch,)),
        "spectral": Case(Spectral(), (torch.randn(2, 6),), {}, (Spectral,)),
        "features": Case(Features(), (torch.randn(2, 3, 4, 4),), {}, (Features,)),
    }  # fmt: skip

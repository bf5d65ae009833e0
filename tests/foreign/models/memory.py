"""Highway layers, a key-value memory, and a momentum encoder with a queue that the forward changes."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Highway(nn.Module):
    def __init__(self, size, num_layers, f):
        super().__init__()
        self.num_layers = num_layers
        self.nonlinear = nn.ModuleList([nn.Linear(size, size) for _ in range(num_layers)])
        self.linear = nn.ModuleList([nn.Linear(size, size) for _ in range(num_layers)])
        self.gate = nn.ModuleList([nn.Linear(size, size) for _ in range(num_layers)])
        for gate in self.gate:
            gate.bias.data.fill_(-1)
        self.f = f

    def forward(self, x):
        for layer in range(self.num_layers):
            gate = torch.sigmoid(self.gate[layer](x))
            nonlinear = self.f(self.nonlinear[layer](x))
            linear = self.linear[layer](x)
            x = gate * nonlinear + (1 - gate) * linear
        return x


class KeyValueMemory(nn.Module):
    def __init__(self, dim=4, slots=5):
        super().__init__()
        self.keys = nn.Parameter(torch.empty(slots, dim))
        self.values = nn.Parameter(torch.empty(slots, dim))
        nn.init.kaiming_uniform_(self.keys, a=5**0.5)
        nn.init.kaiming_uniform_(self.values, a=5**0.5)
        self.register_buffer("usage", torch.zeros(slots))
        self.register_buffer("steps", torch.tensor(0, dtype=torch.long))

    def forward(self, query):
        attention = F.softmax(query @ self.keys.t(), dim=-1)
        if self.training:
            self.usage = 0.9 * self.usage + 0.1 * attention.detach().sum(0)
            self.steps += 1
        return attention @ self.values


class MemoryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.highway = Highway(4, 2, F.relu)
        self.memory = KeyValueMemory()
        self.norm = nn.BatchNorm1d(4, momentum=None)

    def forward(self, x):
        return self.norm(x + self.memory(self.highway(x)))


class MoCo(nn.Module):
    """Momentum contrast, in one process."""

    def __init__(self, dim=4, K=8, m=0.9, T=0.07):
        super().__init__()
        self.K = K
        self.m = m
        self.T = T
        self.encoder_q = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, dim))
        self.encoder_k = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, dim))
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            param_k.data.copy_(param_q.data)  # initialize
            param_k.requires_grad = False  # not update by gradient
        self.register_buffer("queue", torch.ones(dim, K) / 2)
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys):
        self.queue = torch.cat([keys.t(), self.queue[:, : self.K - keys.size(0)]], dim=1)
        self.queue_ptr = (self.queue_ptr + keys.size(0)) % self.K

    def forward(self, im_q, im_k):
        q = self.encoder_q(im_q)  # queries: NxC
        q = nn.functional.normalize(q, dim=1)
        with torch.no_grad():
            k = self.encoder_k(im_k)  # keys: NxC
            k = nn.functional.normalize(k, dim=1)
        l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
        logits = torch.cat([l_pos, l_neg], dim=1)
        logits /= self.T
        if self.training:
            self._dequeue_and_enqueue(k.detach())
        return logits

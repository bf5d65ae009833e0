"""Sentence classification by convolutions of several widths, static and trained embeddings."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class TextCNN(nn.Module):
    def __init__(self, vocab=15, dim=6, kernel_num=4, kernel_sizes=(2, 3), classes=3, dropout=0.5):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, padding_idx=0)
        pretrained = torch.arange(vocab * dim).view(vocab, dim).float() / (vocab * dim)
        self.embed_static = nn.Embedding.from_pretrained(pretrained, freeze=True)
        self.convs1 = nn.ModuleList([nn.Conv2d(2, kernel_num, (K, dim)) for K in kernel_sizes])
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(len(kernel_sizes) * kernel_num, classes)

    def forward(self, x):
        x = torch.stack([self.embed(x), self.embed_static(x)], dim=1)  # (N, Ci, W, D)
        x = [F.relu(conv(x)).squeeze(3) for conv in self.convs1]  # [(N, Co, W), ...]*len(Ks)
        x = [F.max_pool1d(i, i.size(2)).squeeze(2) for i in x]  # [(N, Co), ...]*len(Ks)
        x = torch.cat(x, 1)
        x = self.dropout(x)  # (N, len(Ks)*Co)
        return self.fc1(x)

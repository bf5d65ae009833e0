"""BERT encoder: embeddings summed, extended attention mask, pooler, initialisation with a padding row."""

import math

import torch
from torch import nn


class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config["vocab_size"], config["hidden_size"], padding_idx=0)
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], config["hidden_size"])
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=1e-12)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.register_buffer(
            "position_ids", torch.arange(config["max_position_embeddings"]).expand((1, -1)), persistent=False
        )

    def forward(self, input_ids, token_type_ids=None):
        input_shape = input_ids.size()
        seq_length = input_shape[1]
        position_ids = self.position_ids[:, :seq_length]
        if token_type_ids is None:
            token_type_ids = torch.zeros(input_shape, dtype=torch.long, device=self.position_ids.device)
        embeddings = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        embeddings += self.position_embeddings(position_ids)
        embeddings = self.LayerNorm(embeddings)
        return self.dropout(embeddings)


class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_attention_heads = config["num_attention_heads"]
        self.attention_head_size = int(config["hidden_size"] / config["num_attention_heads"])
        self.all_head_size = self.num_attention_heads * self.attention_head_size
        self.query = nn.Linear(config["hidden_size"], self.all_head_size)
        self.key = nn.Linear(config["hidden_size"], self.all_head_size)
        self.value = nn.Linear(config["hidden_size"], self.all_head_size)
        self.dropout = nn.Dropout(config["attention_probs_dropout_prob"])

    def transpose_for_scores(self, x):
        new_x_shape = x.size()[:-1] + (self.num_attention_heads, self.attention_head_size)
        x = x.view(new_x_shape)
        return x.permute(0, 2, 1, 3)

    def forward(self, hidden_states, attention_mask=None):
        key_layer = self.transpose_for_scores(self.key(hidden_states))
        value_layer = self.transpose_for_scores(self.value(hidden_states))
        query_layer = self.transpose_for_scores(self.query(hidden_states))
        attention_scores = torch.matmul(query_layer, key_layer.transpose(-1, -2))
        attention_scores = attention_scores / math.sqrt(self.attention_head_size)
        if attention_mask is not None:
            attention_scores = attention_scores + attention_mask
        attention_probs = nn.functional.softmax(attention_scores, dim=-1)
        attention_probs = self.dropout(attention_probs)
        context_layer = torch.matmul(attention_probs, value_layer)
        context_layer = context_layer.permute(0, 2, 1, 3).contiguous()
        new_context_layer_shape = context_layer.size()[:-2] + (self.all_head_size,)
        return context_layer.view(new_context_layer_shape)


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = BertSelfAttention(config)
        self.dense = nn.Linear(config["hidden_size"], config["hidden_size"])
        self.LayerNorm1 = nn.LayerNorm(config["hidden_size"], eps=1e-12)
        self.intermediate = nn.Linear(config["hidden_size"], config["intermediate_size"])
        self.intermediate_act_fn = nn.functional.gelu
        self.output = nn.Linear(config["intermediate_size"], config["hidden_size"])
        self.LayerNorm2 = nn.LayerNorm(config["hidden_size"], eps=1e-12)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, hidden_states, attention_mask):
        attention_output = self.dropout(self.dense(self.attention(hidden_states, attention_mask)))
        attention_output = self.LayerNorm1(attention_output + hidden_states)
        layer_output = self.output(self.intermediate_act_fn(self.intermediate(attention_output)))
        return self.LayerNorm2(self.dropout(layer_output) + attention_output)


class BertModel(nn.Module):
    config = dict(
        vocab_size=13, hidden_size=8, max_position_embeddings=9, type_vocab_size=2, num_attention_heads=2,
        intermediate_size=12, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, num_hidden_layers=2,
    )  # fmt: skip

    def __init__(self, initializer_range=0.02):
        super().__init__()
        self.initializer_range = initializer_range
        self.embeddings = BertEmbeddings(self.config)
        self.layer = nn.ModuleList([BertLayer(self.config) for _ in range(self.config["num_hidden_layers"])])
        self.pooler = nn.Linear(self.config["hidden_size"], self.config["hidden_size"])
        self.pooler_activation = nn.Tanh()
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(mean=0.0, std=self.initializer_range)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=self.initializer_range)
            if module.padding_idx is not None:
                module.weight.data[module.padding_idx].zero_()
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)

    def forward(self, input_ids, attention_mask):
        extended_attention_mask = attention_mask[:, None, None, :]
        extended_attention_mask = (1.0 - extended_attention_mask) * -10000.0
        hidden_states = self.embeddings(input_ids)
        all_hidden_states = ()
        for layer_module in self.layer:
            all_hidden_states = all_hidden_states + (hidden_states,)
            hidden_states = layer_module(hidden_states, extended_attention_mask)
        pooled = self.pooler_activation(self.pooler(hidden_states[:, 0]))
        return {"last_hidden_state": hidden_states, "pooled": pooled, "hidden_states": all_hidden_states}

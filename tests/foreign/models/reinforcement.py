"""Deep Q network (dueling), actor-critic with a learnt log-deviation, noisy linear layers."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class DQN(nn.Module):
    def __init__(self, input_shape=(2, 12, 12), n_actions=3):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Conv2d(4, 4, kernel_size=3, stride=1),
            nn.ReLU(),
        )
        conv_out_size = self._get_conv_out(input_shape)
        self.fc_adv = nn.Sequential(nn.Linear(conv_out_size, 8), nn.ReLU(), nn.Linear(8, n_actions))
        self.fc_val = nn.Sequential(nn.Linear(conv_out_size, 8), nn.ReLU(), nn.Linear(8, 1))

    def _get_conv_out(self, shape):
        o = self.conv(torch.zeros(1, *shape))
        return int(np.prod(o.size()))

    def forward(self, x):
        fx = x.float() / 256
        conv_out = self.conv(fx).view(fx.size()[0], -1)
        val, adv = self.fc_val(conv_out), self.fc_adv(conv_out)
        return val + (adv - adv.mean(dim=1, keepdim=True))


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class ActorCritic(nn.Module):
    LOG_STD_MAX = 2
    LOG_STD_MIN = -5

    def __init__(self, obs=4, act=2):
        super().__init__()
        self.critic = nn.Sequential(layer_init(nn.Linear(obs, 8)), nn.Tanh(), layer_init(nn.Linear(8, 1), std=1.0))
        self.actor_mean = nn.Sequential(
            layer_init(nn.Linear(obs, 8)),
            nn.Tanh(),
            layer_init(nn.Linear(8, act), std=0.01),
        )
        self.actor_logstd = nn.Parameter(torch.zeros(1, act))

    def get_value(self, x):
        return self.critic(x)

    def forward(self, x, action):
        action_mean = self.actor_mean(x)
        action_logstd = self.actor_logstd.expand_as(action_mean)
        action_logstd = torch.clamp(action_logstd, self.LOG_STD_MIN, self.LOG_STD_MAX)
        action_std = torch.exp(action_logstd)
        log_prob = (
            -((action - action_mean) ** 2) / (2 * action_std**2) - action_logstd - math.log(math.sqrt(2 * math.pi))
        )
        return log_prob.sum(1), self.critic(x).squeeze(-1), action_std.log().sum(-1)


class NoisyLinear(nn.Module):
    def __init__(self, in_features, out_features, std_init=0.4):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.std_init = std_init

        self.weight_mu = nn.Parameter(torch.FloatTensor(out_features, in_features))
        self.weight_sigma = nn.Parameter(torch.FloatTensor(out_features, in_features))
        self.register_buffer("weight_epsilon", torch.zeros(out_features, in_features))
        self.bias_mu = nn.Parameter(torch.FloatTensor(out_features))
        self.reset_parameters()

    def reset_parameters(self):
        mu_range = 1 / math.sqrt(self.weight_mu.size(1))
        self.weight_mu.data.uniform_(-mu_range, mu_range)
        self.weight_sigma.data.fill_(self.std_init / math.sqrt(self.weight_sigma.size(1)))
        self.bias_mu.data.uniform_(-mu_range, mu_range)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def forward(self, x):
        if self.training:
            weight = self.weight_mu + self.weight_sigma.mul(self.weight_epsilon)
        else:
            weight = self.weight_mu
        return F.linear(x, weight, self.bias_mu)


def noisy():
    return nn.Sequential(NoisyLinear(4, 6), nn.ReLU(), NoisyLinear(6, 2))

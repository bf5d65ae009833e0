"""PointNet: shared perceptrons over points, a learnt transform that starts as the identity."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class STN3d(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv1d(3, 6, 1)
        self.conv2 = torch.nn.Conv1d(6, 8, 1)
        self.fc1 = nn.Linear(8, 6)
        self.fc3 = nn.Linear(6, 9)
        self.relu = nn.ReLU()
        self.bn1 = nn.BatchNorm1d(6)
        self.bn2 = nn.BatchNorm1d(8)
        self.bn4 = nn.BatchNorm1d(6)
        self.fc3.weight.data.zero_()
        self.fc3.bias.data.copy_(torch.eye(3).view(-1))

    def forward(self, x):
        batchsize = x.size()[0]
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = torch.max(x, 2, keepdim=True)[0]
        x = x.view(-1, 8)
        x = F.relu(self.bn4(self.fc1(x)))
        x = self.fc3(x)
        return x.view(batchsize, 3, 3)


class PointNetCls(nn.Module):
    def __init__(self, k=4):
        super().__init__()
        self.stn = STN3d()
        self.conv1 = torch.nn.Conv1d(3, 8, 1)
        self.bn1 = nn.BatchNorm1d(8)
        self.fc1 = nn.Linear(8, 6)
        self.fc2 = nn.Linear(6, k)
        self.dropout = nn.Dropout(p=0.3)
        self.bn2 = nn.BatchNorm1d(6)

    def forward(self, x):
        trans = self.stn(x)
        x = x.transpose(2, 1)
        x = torch.bmm(x, trans)
        x = x.transpose(2, 1)
        x = self.bn1(self.conv1(x))
        x = x.max(dim=2)[0]
        x = F.relu(self.bn2(self.dropout(self.fc1(x))))
        x = self.fc2(x)
        return F.log_softmax(x, dim=1), trans


def feature_transform_regularizer(trans):
    d = trans.size()[1]
    identity = torch.eye(d)[None, :, :]
    return torch.mean(torch.norm(torch.bmm(trans, trans.transpose(2, 1)) - identity, dim=(1, 2)))

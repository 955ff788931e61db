"""Layers, losses, optimisers and training: `closedform.nn`."""

from .activations import GELU, ReLU, Sigmoid, Softplus, Tanh
from .convolution import Conv2d
from .dense import Dense
from .embedding import Embedding, LastStep
from .files import load, save
from .folding import fold_batchnorm
from .history import History
from .layer import Layer
from .layers import Dropout, Flatten, Sequential
from .losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from .normalization import BatchNorm
from .optimizers import SGD, Adam, AdamW, Optimizer, clip_grad_norm
from .pooling import AvgPool2d, MaxPool2d
from .recurrent import LSTM, RNN
from .training import evaluate, fit, predict, train_step

__all__ = [
    "GELU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Conv2d",
    "CrossEntropy",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "History",
    "LastStep",
    "Layer",
    "Loss",
    "MaxPool2d",
    "Optimizer",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "SquaredError",
    "Tanh",
    "clip_grad_norm",
    "evaluate",
    "fit",
    "fold_batchnorm",
    "load",
    "predict",
    "save",
    "train_step",
]

"""Layers, losses, optimisers and training: `closedform.nn`."""

from .activations import GELU, ReLU, Sigmoid, Softplus, Tanh
from .dense import Dense
from .files import load, save
from .history import History
from .layer import Layer
from .layers import Dropout, Flatten, Sequential
from .losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from .optimizers import SGD, Adam, AdamW, Optimizer, clip_grad_norm
from .training import evaluate, fit, predict, train_step

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Dense",
    "Dropout",
    "Flatten",
    "History",
    "Layer",
    "Loss",
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
    "load",
    "predict",
    "save",
    "train_step",
]

# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=False, freethreading_compatible=True
"""Compiled driver of boosting. Call the wrappers in `closedform`: they validate and explain."""

import numpy as np


class Stumps:
    def __init__(self, x, y, n_classes, missing_left=False):
        self.x, self.y, self.n_classes = x, y, n_classes
        if missing_left:
            self.x = np.where(np.isnan(x), x.dtype.type(-np.inf), x)
        elif np.isnan(x).any():
            raise ValueError("x: expected no NaN")
        self.order = np.argsort(self.x, axis=0, kind="stable")

    def find(self, sample_weight, /):
        w = np.asarray(sample_weight)
        exponent = 61 - np.frexp(w.sum())[1]
        weights = np.rint(np.ldexp(w, exponent)).astype(np.int64)
        by_class = np.where(self.y[:, None] == np.arange(self.n_classes), weights[:, None], 0)
        total = by_class.sum(axis=0)
        majority = int(total.argmax())
        found = -1, 0, np.inf, majority, majority, 1 - int(total.max()) / int(total.sum())
        for feature in range(self.x.shape[1]):
            order = self.order[:, feature]
            order = order[weights[order] > 0]
            values, left = self.x[order, feature], by_class[order].cumsum(axis=0)
            right = total - left
            correct = np.where(values[:-1] < values[1:], left.max(axis=1)[:-1] + right.max(axis=1)[:-1], -1)
            if len(correct) and correct.max() > found[0]:
                i = int(correct.argmax())
                a, b = values[i], values[i + 1]
                t = a / 2 + b / 2 if np.isfinite(a) else a
                t = float(t) if a <= t < b else float(a)
                error = (int(total.sum()) - int(correct[i])) / int(total.sum())
                found = correct[i], feature, t, int(left[i].argmax()), int(right[i].argmax()), error
        return found[1:]

    def reweigh(self, sample_weight, feature, threshold, left_class, right_class, right_factor, wrong_factor, /):
        predicted = np.where(self.x[:, feature] <= threshold, left_class, right_class)
        sample_weight *= np.where(predicted == self.y, right_factor, wrong_factor)

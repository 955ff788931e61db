from ._results import Array

class Stumps:
    def __init__(self, x: Array, y: Array, n_classes: int, missing_left: bool = False) -> None: ...
    def find(self, sample_weight: Array, /) -> tuple[int, float, int, int, float]: ...
    def reweigh(
        self,
        sample_weight: Array,
        feature: int,
        threshold: float,
        left_class: int,
        right_class: int,
        right_factor: float,
        wrong_factor: float,
        /,
    ) -> None: ...

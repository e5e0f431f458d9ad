"""How large the arrays are that a training makes: what would not fit with a thousand times the rows."""

from __future__ import annotations

from collections.abc import Callable


def largest_tensor(run: Callable[[], object]) -> int:
    """Bytes of the largest tensor that torch makes while something runs; of a view, those of what it looks at.

    Buffers inside its kernels, and arrays of numpy, are not seen.
    """
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            made = function(*args, **(kwargs or {}))
            sizes = (leaf.untyped_storage().nbytes() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
            self.largest = max(self.largest, *sizes, 0)
            return made

    with Watch() as watch:
        run()
    return watch.largest

"""Computed: the attributes of a module that are functions of its arrays."""

from typing import Any, ClassVar


class Computed:
    """An attribute that a node computes at each read, from arrays it keeps elsewhere (see `stateful.utils`)."""

    # what the name of the node's class is printed behind
    prefix: ClassVar[str] = ""

    def read(self, node: Any) -> Any:
        """Computes it.

        Args:
            node: the one that has it, or its copy of a call.

        Returns:
            The array.
        """
        raise NotImplementedError

    def write(self, node: Any, value: Any) -> None:
        """Takes a value: changes the arrays that are kept, so that it is computed.

        Args:
            node: the one that has it.
            value: assigned.
        """
        raise NotImplementedError

    def start(self, node: Any, rng: Any, params: dict[str, Any], buffers: dict[str, Any]) -> None:
        """Draws it, and replaces what the arrays that are kept have drawn themselves.

        Args:
            node: the one that has it.
            rng: its key.
            params: drawn for it and its children; written into.
            buffers: drawn for it and its children; written into.
        """
        raise NotImplementedError

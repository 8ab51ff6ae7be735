"""Reads pickles without running anything that is in them.

A pickle names functions and calls them; here every name must be one of a few that only describe
data, and is given a meaning of ours.
"""

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

from spotting.base.errors import InputError

_REMEMBERING = ("PUT", "BINPUT", "LONG_BINPUT")
_MOST_REMEMBERED = 1_000_000


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows a fixed set of names and refuses all others.

    Args:
      file: the pickle.
      source: names it in errors.
      names: what the names "module.name" stand for.
      storages: gives what a persistent identifier stands for; without it there may be none.
    """

    def __init__(
        self,
        file: IO[bytes],
        source: str,
        names: Mapping[str, Any],
        storages: Callable[[Any], Any] | None = None,
    ):
        super().__init__(file, encoding="latin1")
        self._file = file
        self._source, self._names, self._storages = source, names, storages

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; InputError if it is not one of the few."""
        try:
            return self._names[f"{module}.{name}"]
        except KeyError:
            raise InputError(
                f"{self._source}: refused, it asks for {module}.{name}, which data does not need; "
                "it is not the published file"
            ) from None

    def persistent_load(self, identifier: Any) -> Any:
        """What a persistent identifier stands for."""
        if self._storages is None:
            raise InputError(f"{self._source}: refused, it refers to data outside the file")
        return self._storages(identifier)

    def read(self) -> Any:
        """The next object; InputError if the bytes are no pickle."""
        try:
            self._check_memory()
            return self.load()
        except InputError:
            raise
        except Exception as error:  # whatever damaged bytes may bring about
            reason = str(error) or type(error).__name__
            raise InputError(f"{self._source}: damaged: {reason}; copy it again") from error

    def _check_memory(self) -> None:
        """Raises ValueError where an object is to be remembered under a number beyond all sense.

        Python makes room for all numbers up to it.
        """
        start = self._file.tell()
        for opcode, argument, _ in pickletools.genops(self._file):
            if opcode.name in _REMEMBERING and int(argument or 0) > _MOST_REMEMBERED:
                raise ValueError(f"it remembers an object as number {argument}")
        self._file.seek(start)

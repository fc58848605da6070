"""Rows with named columns, and the tables of other packages made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence

if TYPE_CHECKING:
    import numpy
    import pandas
    import polars

Row = Dict[str, Any]


class Table(Sequence[Row]):
    """Rows, each a map from column to value. A value that a row does not have is None."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        self.columns: List[str] = list(columns)
        self.rows: List[Row] = [{name: row.get(name) for name in self.columns} for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"<Table of {len(self.rows)} rows: {', '.join(self.columns)}>"

    def column(self, name: str) -> List[Any]:
        """The values of a column, top to bottom."""
        if name not in self.columns:
            raise KeyError(f"no column is called {name!r}; there are {', '.join(self.columns)}")
        return [row[name] for row in self.rows]

    def numpy(self, name: str) -> "numpy.ndarray[Any, Any]":
        """A column as an array; where numbers are missing it holds NaN."""
        import numpy as np

        values = self._uniform(name)
        if any(value is None for value in values) and _is_of(values, (int, float)):
            values = [float("nan") if value is None else float(value) for value in values]
        return np.array(values)

    def pandas(self) -> "pandas.DataFrame":
        """A data frame of pandas. Whole numbers with gaps have the type Int64."""
        import pandas as pd

        columns = {}
        for name in self.columns:
            values = self._uniform(name)
            has_gaps = any(value is None for value in values)
            is_whole = has_gaps and _is_of(values, (int,)) and any(v is not None for v in values)
            columns[name] = pd.Series(values, dtype="Int64" if is_whole else None)
        return pd.DataFrame(columns, columns=self.columns)

    def polars(self) -> "polars.DataFrame":
        """A data frame of polars."""
        import polars as pl

        return pl.DataFrame([pl.Series(name, self._uniform(name)) for name in self.columns])

    def _uniform(self, name: str) -> List[Any]:
        """A column whose values have one type: where types differ, numbers become floats, and
        everything else becomes text, as an axis can have the values 1 and "all"."""
        values = self.column(name)
        types = {type(value) for value in values if value is not None}
        if len(types) <= 1 and not types & {dict, list}:
            return values
        if types == {int, float}:
            return [None if value is None else float(value) for value in values]
        return [None if value is None else str(value) for value in values]


def _is_of(values: Sequence[Any], types: "tuple[type, ...]") -> bool:
    return all(v is None or (isinstance(v, types) and not isinstance(v, bool)) for v in values)
